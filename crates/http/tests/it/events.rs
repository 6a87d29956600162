//! Pages that follow what happens in conversations.

use std::collections::HashMap;
use std::time::Duration;

use parlance_testkit::{Actor, Method, TestApp};
use serde_json::{Value, json};

use crate::world::UNKNOWN;

/// A page that is open.
pub(crate) struct Page {
    response: reqwest::Response,
    waiting: String,
}

/// An event: its id and its data.
pub(crate) type Told = (String, Value);

impl Page {
    pub(crate) async fn open(actor: &Actor, path: &str, last: Option<&str>) -> Self {
        let request = actor.request(Method::GET, path);
        let request = match last {
            Some(id) => request.header("last-event-id", id),
            None => request,
        };
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut page = Self { response, waiting: String::new() };
        assert_eq!(page.frame().await.unwrap(), ": open");
        page
    }

    async fn frame(&mut self) -> Option<String> {
        loop {
            if let Some((frame, rest)) = self.waiting.split_once("\n\n") {
                let frame = frame.to_owned();
                self.waiting = String::from(rest);
                return Some(frame);
            }
            let bytes = self.response.chunk().await.unwrap()?;
            self.waiting.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }

    async fn next(&mut self) -> Option<Told> {
        loop {
            let frame = self.frame().await?;
            if frame == ": keep-alive" {
                continue;
            }
            let (id, data) = frame.split_once('\n').unwrap();
            let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            for key in ["conversationId", "conversation_id", "messageId", "content", "type"] {
                assert!(data[key].is_string(), "{key} in {frame}");
            }
            return Some((id.strip_prefix("id: ").unwrap().to_owned(), data));
        }
    }

    /// The next event, of which the type is known.
    pub(crate) async fn told(&mut self, kind: &str) -> Told {
        let told = self.next().await.unwrap();
        assert_eq!(told.1["type"], kind, "{}", told.1);
        told
    }
}

async fn conversation(app: &TestApp) -> (String, String) {
    let owner = app.owner();
    let shown = owner.get(&format!("chatbots/{}/", app.chatbot())).await.body_of(200);
    let begun = owner.post("conversations/", &json!({"webChat": shown["apiWebChatId"]})).await.body_of(201);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&begun["id"]), text(&begun["inbox"]["id"]))
}

#[tokio::test]
async fn open_pages_are_told_what_happens() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let (id, inbox) = conversation(&app).await;
    let (other, _) = conversation(&app).await;
    let path = format!("conversations/{id}/events/");
    let mut page = Page::open(&owner, &path, None).await;
    let mut whole = Page::open(&owner, &format!("inboxes/{inbox}/events/"), None).await;
    assert_eq!(app.app.events.listening(), 2);

    let say = async |conversation: &str, content: &str| {
        let body = json!({"conversation": conversation, "content": content});
        owner.post("messages/", &body).await.body_of(201)
    };
    say(&other, "elsewhere").await;
    let sent = say(&id, "hello").await;
    let (first, told) = page.told("message").await;
    assert_eq!((&told["message"], &told["content"], &told["done"]), (&sent, &json!("hello"), &json!(false)));
    assert_eq!(told["conversationId"], id.as_str());
    assert_eq!(whole.told("message").await.1["content"], "elsewhere");
    assert_eq!(whole.told("message").await.1["content"], "hello");
    owner.post(&format!("conversations/{id}/typing/"), &json!({})).await.expect(204);
    let (position, typing) = page.told("typing").await;
    assert_eq!((&typing["isTyping"], &typing["sender"]["type"]), (&json!(true), &json!("user")));
    assert_eq!(position, first, "the id says up to which message everything was told");
    owner.post(&format!("conversations/{id}/read/"), &json!({})).await.expect(200).json();
    assert_eq!(page.told("read").await.1["lastReadAt"].as_str().unwrap().len(), 13);
    drop(page);

    // The assistant answers while nobody looks; who comes back is told.
    app.run_jobs().await;
    let mut back = Page::open(&owner, &path, Some(&first)).await;
    let (last, answer) = back.told("message").await;
    assert_eq!((&answer["message"]["type"], &answer["message"]["state"]), (&json!("outgoing"), &json!("done")));
    let again = say(&id, "again").await;
    assert_eq!(back.told("message").await.1["message"], again);
    app.run_jobs().await;
    let (_, started) = back.told("assistant").await;
    assert_eq!(started["state"], "started");
    let (_, answered) = back.told("message").await;
    assert_eq!(answered["messageId"], started["messageId"]);
    let (_, ended) = back.told("assistant").await;
    assert_eq!((&ended["state"], &ended["messageId"]), (&json!("ended"), &started["messageId"]));
    drop(back);
    let mut whole = Page::open(&owner, &format!("inboxes/{inbox}/events/"), Some(&last)).await;
    assert_eq!(whole.told("message").await.1["message"], again);
    assert_eq!(whole.told("message").await.1["messageId"], started["messageId"]);

    // The stop of the server ends each page with a word.
    app.app.stopping.cancel();
    let (_, end) = whole.told("shutting_down").await;
    assert_eq!(end["done"], true);
    assert!(whole.next().await.is_none());
    while app.app.events.listening() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn open_pages_are_told_of_a_broadcast_and_the_assistant_goes_on() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let (id, inbox) = conversation(&app).await;
    // Far more of the inbox than wait for a page.
    let mut other = String::new();
    for _ in 0..40 {
        other = conversation(&app).await.0;
    }
    let contact = owner.get(&format!("conversations/{id}/")).await.body_of(200)["contact"]["id"].clone();
    let mut page = Page::open(&owner, &format!("conversations/{id}/events/"), None).await;
    let mut whole = Page::open(&owner, &format!("inboxes/{inbox}/events/"), None).await;
    owner.post("messages/", &json!({"conversation": other, "content": "hello"})).await.expect(201).json();
    let mut last = whole.told("message").await.0;
    let sent = json!({"message": "We are open.", "inbox_id": inbox});
    let sent = owner.post("contacts/broadcast-message", &sent).await.body_of(200);
    assert_eq!(sent["success_count"], 41);
    let mut told = HashMap::new();
    while told.len() < 41 {
        match whole.next().await {
            Some((position, event)) => {
                assert_eq!((&event["type"], &event["content"]), (&json!("message"), &json!("We are open.")));
                let message = event["message"].clone();
                assert!(told.insert(event["conversationId"].clone(), message).is_none(), "told once");
                last = position;
            }
            // Too slow for it, a page comes back.
            None => whole = Page::open(&owner, &format!("inboxes/{inbox}/events/"), Some(&last)).await,
        }
    }
    for result in sent["results"].as_array().unwrap() {
        let message = &told[&result["conversation_id"]];
        assert_eq!(message["id"], result["message_id"]);
        let path = format!("messages/{}/", result["message_id"].as_str().unwrap());
        assert_eq!(owner.get(&path).await.body_of(200), *message, "as it is read");
    }
    let (_, event) = page.told("message").await;
    assert_eq!(event["message"], told[&json!(id)]);

    // Nobody has taken over.
    let shown = owner.get(&format!("conversations/{id}/")).await.body_of(200);
    assert_eq!((&shown["autoReplyEnabled"], &shown["contact"]["id"]), (&json!(true), &contact));
    owner.post("messages/", &json!({"conversation": id, "content": "Until when?"})).await.expect(201).json();
    assert_eq!(page.told("message").await.1["content"], "Until when?");
    app.run_jobs().await;
    assert_eq!(page.told("assistant").await.1["state"], "started");
    assert_eq!(page.told("message").await.1["message"]["type"], "outgoing");
}

#[tokio::test]
async fn who_is_too_slow_comes_back_and_misses_nothing() {
    let app = TestApp::start().await;
    let (id, _) = conversation(&app).await;
    let conversation = parlance_domain::kind::ConversationId::parse(&id).unwrap();
    let mut slow =
        parlance_service::events::listen(&app.app, parlance_service::events::Topic::Conversation(conversation));
    let first = json!({"conversation": id, "content": "0", "type": "outgoing"});
    let mut page = Page::open(&app.owner(), &format!("conversations/{id}/events/"), None).await;
    app.owner().post("messages/", &first).await.expect(201).json();
    let (seen, _) = page.told("message").await;
    drop(page);
    for number in 1..40 {
        let body = json!({"conversation": id, "content": number.to_string(), "type": "outgoing"});
        app.owner().post("messages/", &body).await.expect(201).json();
    }
    assert!(slow.next().await.is_none(), "the queue is short");
    let mut back = Page::open(&app.owner(), &format!("conversations/{id}/events/"), Some(&seen)).await;
    for number in 1..40 {
        assert_eq!(back.told("message").await.1["content"], number.to_string());
    }
}

#[tokio::test]
async fn a_page_is_closed_when_its_key_ends() {
    let app = TestApp::start().await;
    let (id, inbox) = conversation(&app).await;
    let end = app.app.now().plus(Duration::from_secs(2));
    let guest = app.key_until("conversations:read", Some(end), None).await;
    let mut page = Page::open(&guest, &format!("conversations/{id}/events/"), None).await;
    let told = tokio::time::timeout(Duration::from_secs(20), page.told("closed")).await.unwrap();
    assert_eq!(told.1["done"], true);
    assert!(page.next().await.is_none());
    let other = app.other_organisation().await;
    for path in [
        format!("conversations/{id}/events/"),
        format!("inboxes/{inbox}/events/"),
        format!("conversations/{UNKNOWN}/events/"),
    ] {
        other.get(&path).await.expect(404).json();
    }
    other.post(&format!("conversations/{id}/typing/"), &json!({})).await.expect(404).json();
}
