//! Connections end when nobody listens any more, and are reused when they can be.

use futures_util::StreamExt;
use parlance_llm::ChatEvent;

use crate::server::{Act, Server, events, stream_header};
use crate::{openai_with, policy, request};

const PIECE: &str = r#"{"choices":[{"delta":{"content":"七天"}}]}"#;

#[tokio::test]
async fn dropping_a_stream_closes_its_connection() {
    let mut acts = events(&[PIECE]);
    acts.push(Act::Hang);
    let mut server = Server::play(vec![acts]).await;
    let mut stream = openai_with(&server.base_url, policy()).chat(request()).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap(), ChatEvent::Text("七天".into()));
    assert_eq!(*server.left.borrow(), 0);
    drop(stream);
    server.left.wait_for(|left| *left == 1).await.unwrap();
}

#[tokio::test]
async fn giving_up_before_the_first_piece_closes_the_connection() {
    for acts in [vec![Act::Hang], vec![stream_header(), Act::Hang]] {
        let mut server = Server::play(vec![acts]).await;
        let model = openai_with(&server.base_url, policy());
        let call = model.chat(request());
        let seen = async {
            while server.seen().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            outcome = call => panic!("the call ended by itself: {:?}", outcome.err()),
            () = seen => {}
        }
        server.left.wait_for(|left| *left == 1).await.unwrap();
    }
}
