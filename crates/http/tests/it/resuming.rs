//! Coming back to an answer, stopping it, going away.

use std::sync::Arc;
use std::time::Duration;

use parlance_service::streams::Retention;
use parlance_testkit::{Event, Events, Script, ScriptedChat, Step, TestApp};
use serde_json::{Value, json};

use crate::stored::stored;

fn data(events: &[Event]) -> Vec<&Value> {
    events.iter().map(|event| &event.data).collect()
}

fn hello() -> Value {
    json!({"message": {"content": "Hello"}})
}

async fn begin(app: &TestApp) -> (Events, Vec<Event>, Value) {
    let mut events = app.owner().stream(&app.chatbot(), &hello()).await;
    let read = events.until_text().await;
    let message = read[0].data["messageId"].clone();
    (events, read, message)
}

#[tokio::test]
async fn a_dropped_stream_is_resumed_where_it_was() {
    let steps = vec![
        Step::Text("One ".into()),
        Step::Delay(Duration::from_millis(200)),
        Step::Text("two ".into()),
        Step::Thinking("hm".into()),
        Step::Text("three".into()),
    ];
    let chat = Arc::new(ScriptedChat::always(Script::Answer(steps)));
    let app =
        TestApp::builder().chat(&chat).settings(|settings| settings.api_grace = Duration::from_mins(1)).start().await;
    let (dropped, read, message) = begin(&app).await;
    drop(dropped);
    let message = message.as_str().unwrap();
    let rest = app.owner().follow(message, read.last().unwrap().id).await.rest().await;
    assert_eq!(rest[0].id, read.last().unwrap().id + 1);
    let content: String = read.iter().chain(&rest).map(Event::content).collect();
    assert_eq!(content, "One two three");
    assert_eq!(rest.last().unwrap().kind(), "done");

    // After the end, from any place, the same events come again.
    let all = app.owner().follow(message, 0).await.rest().await;
    assert_eq!(data(&all), [data(&read), data(&rest)].concat());
    for event in &all[..all.len() - 1] {
        let again = app.owner().follow(message, event.id).await.rest().await;
        assert_eq!(again[0].id, event.id + 1);
        assert_eq!(data(&again), data(&all)[usize::try_from(event.id).unwrap()..]);
    }
    // A client that missed nothing is told the end again, else it would come back for ever.
    for after in [all.last().unwrap().id, 1_000_000] {
        let over = app.owner().follow(message, after).await.rest().await;
        assert_eq!(data(&over), data(&all)[all.len() - 1..]);
    }
}

#[tokio::test]
async fn later_the_stored_answer_is_told() {
    let chat = Arc::new(ScriptedChat::new([
        Script::text(["Seven ", "days[1]."]),
        Script::Answer(vec![Step::Text("Half".into()), Step::Fail(parlance_llm::ErrorKind::Network)]),
    ]));
    let retention = Retention { time: Duration::ZERO, bytes: 0 };
    let app = TestApp::builder().chat(&chat).retention(retention).start().await;
    app.know(&[("returns.txt", "Goods can be returned within seven days.")]).await;
    let ask = json!({"message": {"content": "Within how many days can goods be returned?"}});
    let seen = app.owner().stream(&app.chatbot(), &ask).await.rest().await;
    let done = &seen.last().unwrap().data;
    let told = app.owner().follow(done["messageId"].as_str().unwrap(), 2).await.rest().await;
    assert_eq!(told.iter().map(Event::kind).collect::<Vec<_>>(), ["citations", "text", "done"]);
    assert_eq!(told[1].content(), "Seven days[1].");
    for member in ["recordId", "usage", "processingTime", "citationNodes"] {
        assert_eq!(told[2].data[member], done[member], "{member}");
    }
    let seen = app.owner().stream(&app.chatbot(), &hello()).await.rest().await;
    let told = app.owner().follow(seen[0].data["messageId"].as_str().unwrap(), 0).await.rest().await;
    assert_eq!(told.iter().map(Event::kind).collect::<Vec<_>>(), ["citations", "text", "error"]);
    assert_eq!(told[2].data["error"], seen.last().unwrap().data["error"]);
}

#[tokio::test]
async fn a_cancelled_answer_ends_at_once_and_keeps_its_text() {
    let chat = Arc::new(ScriptedChat::always(Script::Answer(vec![Step::Text("Part".into()), Step::Hang])));
    let app = TestApp::builder().chat(&chat).start().await;
    let owner = app.owner();
    let (events, _, message) = begin(&app).await;
    let cancel = format!("messages/{}/cancel/", message.as_str().unwrap());
    // Nobody else's key sees or stops it while it runs.
    let other = app.other_organisation().await;
    let stream = format!("messages/{}/stream/", message.as_str().unwrap());
    other.get(&stream).await.expect(404).json();
    other.post(&cancel, &json!({})).await.expect(404).json();
    assert!(!events.has_ended());
    let answer = owner.post(&cancel, &json!({})).await.body_of(200);
    assert_eq!((answer["state"].clone(), answer["content"].clone()), (json!("cancelled"), json!("Part")));
    let rest = events.rest().await;
    assert_eq!(rest.iter().map(Event::kind).collect::<Vec<_>>(), ["cancelled"]);
    let (stored_message, record) = stored(&app, &message).await;
    assert_eq!((stored_message.state.as_str(), stored_message.content.as_str()), ("cancelled", "Part"));
    assert_eq!(record.unwrap().output_message, "Part");
    // Again changes nothing.
    assert_eq!(owner.post(&cancel, &json!({})).await.body_of(200), answer);
    assert_eq!(app.app.streams.live(), 0);
}

#[tokio::test]
async fn an_answer_nobody_reads_stops() {
    let chat = Arc::new(ScriptedChat::always(Script::Answer(vec![Step::Text("Part".into()), Step::Hang])));
    let app = TestApp::builder().chat(&chat).start().await;
    let (events, _, message) = begin(&app).await;
    assert_eq!(app.app.streams.live(), 1);
    drop(events);
    while app.app.streams.live() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (stored_message, record) = stored(&app, &message).await;
    assert_eq!((stored_message.state.as_str(), stored_message.content.as_str()), ("cancelled", "Part"));
    assert!(record.is_some());
}

#[tokio::test]
async fn a_crowd_is_turned_away_and_the_rest_is_served() {
    let chat = Arc::new(ScriptedChat::always(Script::Answer(vec![Step::Text("Part".into()), Step::Hang])));
    let app = TestApp::builder().chat(&chat).settings(|settings| settings.max_concurrent_answers = 2).start().await;
    let one = begin(&app).await;
    let two = begin(&app).await;
    let path = format!("chatbots/{}/completions/", app.chatbot());
    let refused = app.owner().post(&path, &hello()).await;
    assert_eq!(refused.body_of(503)["code"], "unavailable");
    drop(one);
    while app.app.answer_slots.available_permits() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    begin(&app).await;
    drop(two);
}
