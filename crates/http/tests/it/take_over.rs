//! A person takes a conversation over: the assistant is silent from that moment on.

use std::sync::Arc;
use std::time::Duration;

use parlance_domain::Id;
use parlance_domain::kind::ConversationId;
use parlance_storage::{conversations, replies};
use parlance_testkit::{Actor, Receiver, Script, ScriptedChat, Step, TestApp};
use serde_json::{Value, json};

use crate::visitors::{ask, hello, session, web_chat};

/// A web chat with a visitor in a conversation, whose assistant sends its replies to a receiver.
struct Story {
    app: TestApp,
    receiver: Receiver,
    page: String,
    visitor: Actor,
    conversation: String,
}

impl Story {
    async fn begin(chat: ScriptedChat, places: usize) -> Self {
        let (chat, receiver) = (Arc::new(chat), Receiver::start().await);
        let app = TestApp::builder().chat(&chat).allow(&receiver.address);
        let app = app.settings(move |settings| settings.max_concurrent_answers = places).start().await;
        // Without knowledge, so that the model is asked for answers alone.
        let bot = json!({"name": "客服", "webhookUrl": receiver.url("hook")});
        let bot = app.owner().make("chatbots/", &bot).await;
        let page = web_chat(&app, json!({"chatbot": bot})).await;
        let (visitor, _) = session(&app, &page).await;
        let conversation = visitor.make("conversations/", &json!({"webChat": page})).await;
        Self { app, receiver, page, visitor, conversation }
    }

    fn id(&self) -> ConversationId {
        Id::parse(&self.conversation).unwrap()
    }

    /// A message of the visitor, for the assistant to reply to.
    async fn say(&self) -> Value {
        let body = json!({"conversation": self.conversation, "content": "在嗎？"});
        self.visitor.post("messages/", &body).await.body_of(201)
    }

    async fn take_over(&self) {
        let body = json!({"conversation": self.conversation, "content": "我來", "type": "outgoing"});
        self.app.owner().post("messages/", &body).await.expect(201).json();
    }

    async fn hand_over(&self, is_enabled: bool) {
        let path = format!("conversations/{}/update-auto-reply/", self.conversation);
        self.app.owner().patch(&path, &json!({"autoReplyEnabled": is_enabled})).await.expect(200).json();
    }

    /// Type, state and text of the messages, the newest first.
    async fn messages(&self) -> Vec<(String, String, String)> {
        let list = self.app.owner().get(&format!("messages/?conversation={}", self.conversation)).await.body_of(200);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let rows = list["results"].as_array().unwrap();
        rows.iter().map(|row| (text(&row["type"]), text(&row["state"]), text(&row["content"]))).collect()
    }

    /// Waits until nothing is owed for a message any more.
    async fn settled(&self, message: &Value) {
        let id = Id::parse(message["id"].as_str().unwrap()).unwrap();
        loop {
            let mut tx = self.app.app.db.read(self.app.tenant).await.unwrap();
            let reply = replies::get(&mut tx, self.app.tenant, id).await.unwrap().unwrap();
            drop(tx);
            if !reply.is_waiting {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn until_live(&self, count: usize) {
        while self.app.app.streams.live() != count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn row(kind: &str, state: &str, content: &str) -> (String, String, String) {
    (kind.to_owned(), state.to_owned(), content.to_owned())
}

#[tokio::test]
async fn a_visitor_s_question_is_for_the_person_then() {
    let story = Story::begin(ScriptedChat::always(Script::text(["Yes."])), 9).await;
    let question = json!({"conversation": story.conversation, "message": {"content": "Hello?"}});
    ask(&story.visitor, &story.page, question.clone()).await.expect(200).json();
    story.take_over().await;
    let before = story.messages().await.len();
    let refused = ask(&story.visitor, &story.page, question.clone()).await.body_of(409);
    assert_eq!(refused["code"], "taken_over");
    assert!(refused["detail"].as_str().unwrap().contains("POST messages/"), "{refused}");
    assert_eq!(story.messages().await.len(), before, "nothing was stored");
    story.say().await;
    assert_eq!(story.app.run_jobs().await, 0);
    // A conversation of their own besides it, and a program that asks, get their answers.
    ask(&story.visitor, &story.page, hello()).await.expect(200).json();
    ask(&story.app.owner(), &story.page, question.clone()).await.expect(200).json();
    story.hand_over(true).await;
    ask(&story.visitor, &story.page, question).await.expect(200).json();
}

#[tokio::test]
async fn a_reply_under_way_stops() {
    let story =
        Story::begin(ScriptedChat::always(Script::Answer(vec![Step::Text("Part".into()), Step::Hang])), 9).await;
    story.app.run_jobs_in_background();
    let message = story.say().await;
    story.until_live(1).await;
    // In another conversation it goes on, and so does what a program asked for in this one.
    let question = json!({"conversation": story.conversation, "message": {"content": "Hello?"}});
    let path = format!("web-chats/{}/completions/", story.page);
    let mut asked_for = story.app.owner().stream_from(&path, &question).await;
    asked_for.until_text().await;
    let mut elsewhere = story.visitor.stream_from(&path, &hello()).await;
    elsewhere.until_text().await;
    let mut own = story.visitor.stream_from(&path, &question).await;
    own.until_text().await;
    story.until_live(4).await;
    story.take_over().await;
    story.settled(&message).await;
    assert_eq!(own.rest().await.last().unwrap().kind(), "cancelled");
    story.until_live(2).await;
    let rows = story.messages().await;
    assert_eq!(rows.iter().filter(|row| row.0 == "outgoing" && row.1 == "cancelled").count(), 2, "{rows:?}");
    assert!(story.receiver.seen().is_empty());
    assert!(!asked_for.has_ended() && !elsewhere.has_ended());

    story.hand_over(true).await;
    let message = story.say().await;
    story.until_live(3).await;
    story.hand_over(false).await;
    story.settled(&message).await;
}

#[tokio::test]
async fn a_reply_that_waited_for_its_turn_is_not_begun() {
    let story =
        Story::begin(ScriptedChat::always(Script::Answer(vec![Step::Text("Part".into()), Step::Hang])), 1).await;
    let mut other = story.app.owner().stream(&story.app.chatbot(), &hello()).await;
    other.until_text().await;
    story.app.run_jobs_in_background();
    let message = story.say().await;
    // Long enough for the job to have looked at the conversation and to wait for the only place.
    tokio::time::sleep(Duration::from_millis(300)).await;
    story.take_over().await;
    drop(other);
    story.settled(&message).await;
    assert_eq!(story.messages().await, [row("outgoing", "done", "我來"), row("incoming", "done", "在嗎？")]);
}

#[tokio::test]
async fn a_reply_that_was_not_told_in_time_is_not_sent() {
    let steps = vec![Step::Text("Part".into()), Step::Delay(Duration::from_millis(400)), Step::Text(" two".into())];
    let story = Story::begin(ScriptedChat::always(Script::Answer(steps)), 9).await;
    story.app.run_jobs_in_background();
    let message = story.say().await;
    story.until_live(1).await;
    // As another process does it, which cannot stop what is made here.
    let (tenant, id) = (story.app.tenant, story.id());
    let taken_over =
        story.app.app.db.write(tenant, move |tx| Box::pin(conversations::set_auto_reply(tx, tenant, id, false)));
    assert!(taken_over.await.unwrap());
    story.settled(&message).await;
    let rows = story.messages().await;
    assert_eq!(rows[0], row("outgoing", "cancelled", "Part two"));
    assert_eq!(story.app.run_jobs().await, 0, "nothing is delivered");
    assert!(story.receiver.seen().is_empty());
}
