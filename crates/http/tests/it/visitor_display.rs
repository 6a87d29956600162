//! What visitors are shown of an answer beside its text: what the owner of the web chat decided,
//! wherever they look.

use std::sync::Arc;
use std::time::Duration;

use parlance_service::streams::Retention;
use parlance_testkit::{Actor, Event, Script, ScriptedChat, Step, TestApp};
use serde_json::{Value, json};

use crate::events::Page;
use crate::visitors::{ask, session, web_chat};

/// What a visitor is to be shown.
#[derive(Clone, Copy, Debug)]
struct Shown {
    citations: bool,
    files: bool,
    thinking: bool,
}

impl Shown {
    fn flags(self) -> Value {
        json!({
            "enableDisplayCitations": self.citations,
            "enableDownloadCitations": self.files,
            "enableDisplayThinking": self.thinking,
        })
    }

    /// Checks something that has citations.
    fn check(self, told: &Value) {
        let citations = told["citations"].as_array().unwrap_or_else(|| panic!("{told}"));
        let nodes = told["citationNodes"].as_array().unwrap();
        assert_eq!((citations.is_empty(), nodes.is_empty()), (!self.citations, !self.citations), "{self:?} {told}");
        if self.citations {
            assert_eq!(citations[0]["filename"], "returns.txt");
            assert_eq!(citations[0]["file"].is_string(), self.files, "{self:?} {told}");
        }
        let is_linked = told.to_string().contains("/media/");
        assert_eq!(is_linked, self.citations && self.files, "{self:?} {told}");
    }

    /// Checks the events of an answer, of which `has_thinking` says whether they can have reasoning.
    fn check_events(self, events: &[Event], has_thinking: bool) {
        let kinds: Vec<&str> = events.iter().map(Event::kind).collect();
        assert_eq!(kinds.contains(&"thinking"), self.thinking && has_thinking, "{self:?} {kinds:?}");
        assert_eq!(events[0].id, 1);
        let text: String = events.iter().map(Event::content).collect();
        assert_eq!(text, "Seven days[1].", "markers may stay");
        for event in events.iter().filter(|event| ["citations", "done"].contains(&event.kind())) {
            self.check(&event.data);
        }
        assert!(kinds.contains(&"citations") && kinds.ends_with(&["done"]), "{kinds:?}");
        let told: String = events.iter().map(|event| event.data.to_string()).collect();
        assert_eq!(told.contains("secret thought"), self.thinking && has_thinking);
    }
}

const EVERYTHING: Shown = Shown { citations: true, files: true, thinking: true };

fn question() -> Value {
    json!({"message": {"content": "Within how many days can goods be returned?"}})
}

/// Everything that `who` is told of an answer in the conversation, live, again and later.
async fn check_all(app: &TestApp, who: &Actor, page: &str, shown: Shown, is_kept: bool) {
    let path = format!("web-chats/{page}/completions/");
    let events = who.stream_from(&path, &question()).await.rest().await;
    shown.check_events(&events, true);
    let message = events[0].data["messageId"].as_str().unwrap();
    let conversation = events[0].data["conversationId"].as_str().unwrap();
    let again = who.follow(message, 0).await.rest().await;
    shown.check_events(&again, is_kept);
    if is_kept {
        for event in &events[..events.len() - 1] {
            let rest = who.follow(message, event.id).await.rest().await;
            let expected = &events[usize::try_from(event.id).unwrap()..];
            assert_eq!(
                rest.iter().map(Event::kind).collect::<Vec<_>>(),
                expected.iter().map(Event::kind).collect::<Vec<_>>()
            );
            assert_eq!(rest[0].id, event.id + 1);
        }
    }
    shown.check(&ask(who, page, question()).await.body_of(200));
    let list = who.get(&format!("messages/?conversation={conversation}")).await.body_of(200);
    shown.check(&list["results"][0]);
    shown.check(&who.get(&format!("messages/{message}/")).await.body_of(200));
    shown.check(&who.put(&format!("messages/{message}/feedback/"), &json!({"type": "like"})).await.body_of(200));
    shown.check(&who.patch(&format!("messages/{message}/"), &json!({"feedback": null})).await.body_of(200));
    // A page that is open, for a reply that is made by itself.
    let mut open = Page::open(who, &format!("conversations/{conversation}/events/"), None).await;
    let body = json!({"conversation": conversation, "content": question()["message"]["content"]});
    who.post("messages/", &body).await.expect(201).json();
    open.told("message").await;
    app.run_jobs().await;
    open.told("assistant").await;
    shown.check(&open.told("message").await.1["message"]);
}

#[tokio::test]
async fn visitors_are_shown_what_the_web_chat_s_owner_decided() {
    let steps =
        vec![Step::Thinking("secret thought".into()), Step::Text("Seven ".into()), Step::Text("days[1].".into())];
    // Kept in memory, and told from storage.
    for time in [Duration::from_mins(10), Duration::ZERO] {
        let chat = Arc::new(ScriptedChat::always(Script::Answer(steps.clone())));
        let app = TestApp::builder().chat(&chat).retention(Retention { time, bytes: 64 << 20 }).start().await;
        app.know(&[("returns.txt", "Goods can be returned within seven days.")]).await;
        let page = web_chat(&app, json!({})).await;
        let (visitor, _) = session(&app, &page).await;
        let default = Shown { citations: true, files: false, thinking: false };
        check_all(&app, &visitor, &page, default, !time.is_zero()).await;
        for shown in [
            EVERYTHING,
            Shown { citations: false, files: true, thinking: false },
            Shown { citations: false, files: false, thinking: true },
        ] {
            app.owner().patch(&format!("web-chats/{page}/"), &shown.flags()).await.expect(200).json();
            check_all(&app, &visitor, &page, shown, !time.is_zero()).await;
            check_all(&app, &app.owner(), &page, EVERYTHING, !time.is_zero()).await;
        }
    }
}

#[tokio::test]
async fn a_question_that_is_asked_again_shows_no_more() {
    let chat = Arc::new(ScriptedChat::always(Script::text(["Seven days[1]."])));
    let app = TestApp::builder().chat(&chat).start().await;
    app.know(&[("returns.txt", "Goods can be returned within seven days.")]).await;
    let page = web_chat(&app, json!({})).await;
    let (visitor, _) = session(&app, &page).await;
    let shown = Shown { citations: true, files: false, thinking: false };
    for _ in 0..2 {
        let mut body = question();
        body["isStreaming"] = json!(true);
        let request = visitor.request(parlance_testkit::Method::POST, &format!("web-chats/{page}/completions/"));
        let answer = visitor.send(request.header("idempotency-key", "key-1").json(&body)).await.expect(200);
        let text = answer.text();
        assert!(text.contains("returns.txt") && !text.contains("/media/"), "{text}");
        let last = text.trim_end().rsplit("data: ").next().unwrap();
        shown.check(&serde_json::from_str(last).unwrap());
    }
}
