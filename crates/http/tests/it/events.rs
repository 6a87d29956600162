//! Pages that follow what happens in conversations.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parlance_domain::kind::{ConversationId, InboxId};
use parlance_domain::{Clock, ManualClock, Timestamp};
use parlance_service::events::{self, Topic, What};
use parlance_service::missed;
use parlance_storage::conversation_terms::Terms;
use parlance_storage::messages::{self, Message};
use parlance_storage::missed_messages::Settled;
use parlance_testkit::{Actor, Frames, Method, TestApp};
use serde_json::{Value, json};

use crate::world::UNKNOWN;

/// A page that is open. It shows a message once, however often it is told of it.
pub(crate) struct Page {
    frames: Frames,
    shown: HashSet<String>,
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
        let frames = Frames::of(request.send().await.unwrap());
        let mut page = Self { frames, shown: HashSet::new() };
        assert_eq!(page.frames.next().await.unwrap(), ": open");
        page
    }

    /// The same page after its connection was lost.
    async fn back(self, actor: &Actor, path: &str, last: &str) -> Self {
        let shown = self.shown;
        Self { shown, ..Self::open(actor, path, Some(last)).await }
    }

    /// The next event that is not a message shown already.
    async fn next(&mut self) -> Option<Told> {
        loop {
            let told = self.next_of_all().await?;
            let (kind, message) = (&told.1["type"], told.1["messageId"].as_str().unwrap());
            if kind != "message" || self.shown.insert(message.to_owned()) {
                return Some(told);
            }
        }
    }

    async fn next_of_all(&mut self) -> Option<Told> {
        loop {
            let frame = self.frames.next().await?;
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

    // The assistant answers while nobody looks; who comes back is told.
    app.run_jobs().await;
    let mut back = page.back(&owner, &path, &first).await;
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
    // It begins with what happened shortly before.
    let mut whole = whole.back(&owner, &format!("inboxes/{inbox}/events/"), &last).await;
    assert_eq!(whole.told("message").await.1["conversationId"], other.as_str());
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
            None => whole = whole.back(&owner, &format!("inboxes/{inbox}/events/"), &last).await,
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
    let mut slow = events::listen(&app.app, Topic::Conversation(ConversationId::parse(&id).unwrap()));
    let first = json!({"conversation": id, "content": "0", "type": "outgoing"});
    let mut page = Page::open(&app.owner(), &format!("conversations/{id}/events/"), None).await;
    app.owner().post("messages/", &first).await.expect(201).json();
    let (seen, _) = page.told("message").await;
    for number in 1..40 {
        let body = json!({"conversation": id, "content": number.to_string(), "type": "outgoing"});
        app.owner().post("messages/", &body).await.expect(201).json();
    }
    assert!(slow.next().await.is_none(), "the queue is short");
    let mut back = page.back(&app.owner(), &format!("conversations/{id}/events/"), &seen).await;
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

/// When the tests with a clock of their own begin.
const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

async fn with_clock() -> (TestApp, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::starting_at(START));
    (TestApp::builder().clock(&clock).start().await, clock)
}

async fn say(app: &TestApp, conversation: &str, content: &str) -> Value {
    let body = json!({"conversation": conversation, "content": content, "type": "outgoing"});
    app.owner().post("messages/", &body).await.body_of(201)
}

/// Stores messages without telling anybody, as a transaction does before it ends.
async fn store_silently(app: &TestApp, conversation: &str, texts: &[String], created_at: Timestamp) {
    let (tenant, conversation_id) = (app.tenant, ConversationId::parse(conversation).unwrap());
    let messages: Vec<Message> = texts
        .iter()
        .map(|text| Message::plain((app.app.new_id(), conversation_id), None, text.clone(), created_at))
        .collect();
    let store = app.app.db.write(tenant, move |tx| {
        Box::pin(async move {
            for message in &messages {
                messages::insert(tx, tenant, message, &Terms::NONE).await?;
            }
            Ok(())
        })
    });
    store.await.unwrap();
}

#[tokio::test]
async fn what_was_on_its_way_when_a_later_message_was_told_is_told_to_who_comes_back() {
    let (app, clock) = with_clock().await;
    let (id, inbox) = conversation(&app).await;
    for path in [format!("conversations/{id}/events/"), format!("inboxes/{inbox}/events/")] {
        let begun = clock.now();
        say(&app, &id, "long before").await;
        clock.advance(Duration::from_secs(11));
        let mut page = Page::open(&app.owner(), &path, None).await;
        say(&app, &id, "first").await;
        clock.advance(Duration::from_secs(9));
        say(&app, &id, "second").await;
        page.told("message").await;
        let (last, _) = page.told("message").await;
        // Its time is from before the second was told, its transaction ends after that.
        store_silently(&app, &id, &["late".to_owned()], begun.plus(Duration::from_secs(12))).await;
        clock.advance(Duration::from_mins(1));
        say(&app, &id, "third").await;

        let mut again = Page::open(&app.owner(), &path, Some(&last)).await;
        let mut told = Vec::new();
        for _ in 0..3 {
            told.push(again.told("message").await);
        }
        let texts: Vec<_> = told.iter().map(|(_, event)| event["content"].as_str().unwrap()).collect();
        assert_eq!(texts, ["first", "late", "third"], "not the last one, and nothing from long before");
        assert_eq!(told[1].0, last, "an earlier message sets the id of the event back for nobody");
        assert!(told[2].0 > last);
        clock.advance(Duration::from_mins(1));
    }
}

#[tokio::test]
async fn who_was_away_for_too_long_fetches_the_list_again() {
    let (app, clock) = with_clock().await;
    let (id, inbox) = conversation(&app).await;
    for (path, shown) in [(format!("conversations/{id}/events/"), &*id), (format!("inboxes/{inbox}/events/"), "")] {
        let mut page = Page::open(&app.owner(), &path, None).await;
        say(&app, &id, "first").await;
        let (last, _) = page.told("message").await;
        drop(page);
        clock.advance(Duration::from_mins(1));
        say(&app, &id, "second").await;
        clock.advance(Duration::from_hours(24) - Duration::from_mins(1));
        let mut page = Page::open(&app.owner(), &path, Some(&last)).await;
        assert_eq!(page.told("message").await.1["content"], "second");
        drop(page);

        clock.advance(Duration::from_millis(1));
        let mut page = Page::open(&app.owner(), &path, Some(&last)).await;
        let (at, reload) = page.told("reload").await;
        assert_eq!((&reload["conversationId"], &reload["messageId"]), (&json!(shown), &json!("")));
        assert_eq!((&reload["content"], &reload["done"]), (&json!(""), &json!(false)));
        let now = say(&app, &id, "third").await;
        assert_eq!(page.told("message").await.1["message"], now, "live from then on");
        // Its id is a point to come back to.
        let mut page = Page::open(&app.owner(), &path, Some(&at)).await;
        assert_eq!(page.told("message").await.1["message"], now);
        clock.advance(Duration::from_mins(1));
    }
}

#[tokio::test]
async fn who_missed_too_much_fetches_the_list_again() {
    let (app, clock) = with_clock().await;
    let (id, inbox) = conversation(&app).await;
    let last = format!("{}-{UNKNOWN}", clock.now());
    clock.advance(Duration::from_secs(1));
    let texts: Vec<String> = (0..2_000).map(|number| number.to_string()).collect();
    store_silently(&app, &id, &texts, clock.now()).await;
    let paths = [format!("conversations/{id}/events/"), format!("inboxes/{inbox}/events/")];
    for path in &paths {
        let mut page = Page::open(&app.owner(), path, Some(&last)).await;
        let mut told = HashSet::new();
        for _ in 0..2_000 {
            told.insert(page.told("message").await.1["content"].as_str().unwrap().to_owned());
        }
        assert_eq!(told.len(), 2_000);
    }
    store_silently(&app, &id, &["one too many".to_owned()], clock.now()).await;
    for path in &paths {
        let mut page = Page::open(&app.owner(), path, Some(&last)).await;
        page.told("reload").await;
        let now = say(&app, &id, "now").await;
        assert_eq!(page.told("message").await.1["message"], now);
    }
}

#[tokio::test]
async fn what_was_missed_holds_up_no_stop() {
    let (app, clock) = with_clock().await;
    let (id, _) = conversation(&app).await;
    let last = format!("{}-{UNKNOWN}", clock.now());
    // More than the buffers of a connection hold.
    store_silently(&app, &id, &vec!["long ".repeat(5_000); 1_000], clock.now()).await;
    let mut page = Page::open(&app.owner(), &format!("conversations/{id}/events/"), Some(&last)).await;
    page.told("message").await;
    app.app.stopping.cancel();
    let mut told = 1;
    let last = loop {
        let (_, event) = page.next().await.unwrap();
        if event["type"] != "message" {
            break event;
        }
        told += 1;
    };
    assert_eq!((&last["type"], &last["done"]), (&json!("shutting_down"), &json!(true)));
    assert!(told < 1_000, "{told}");
}

#[tokio::test]
async fn a_point_in_the_time_to_come_is_now() {
    let (app, clock) = with_clock().await;
    let (id, _) = conversation(&app).await;
    let path = format!("conversations/{id}/events/");
    let ahead = format!("{}-{UNKNOWN}", clock.now().plus(Duration::from_hours(1)));
    let mut page = Page::open(&app.owner(), &path, Some(&ahead)).await;
    clock.advance(Duration::from_secs(30));
    say(&app, &id, "first").await;
    let (at, _) = page.told("message").await;
    assert!(at.starts_with(&clock.now().to_string()), "{at}");
}

#[tokio::test]
async fn what_was_found_and_comes_from_the_listener_too_is_told_once() {
    let (app, clock) = with_clock().await;
    let (id, inbox) = conversation(&app).await;
    let topics =
        [Topic::Conversation(ConversationId::parse(&id).unwrap()), Topic::Inbox(InboxId::parse(&inbox).unwrap())];
    for topic in topics {
        say(&app, &id, "before").await;
        let last = Settled { at: clock.now(), id: app.app.new_id() };
        clock.advance(Duration::from_mins(1));
        let mut listener = events::listen(&app.app, topic);
        say(&app, &id, "meanwhile").await;
        let mut missed = missed::since(&app.app, app.tenant, topic, last).await.unwrap().unwrap();
        say(&app, &id, "afterwards").await;
        let mut event = async || match listener.next().await.unwrap().what {
            What::Message { at, sent } => Settled { at, id: sent.message.id },
            what => panic!("{what:?}"),
        };
        let (meanwhile, afterwards) = (event().await, event().await);
        let told = missed.next(&app.app, app.tenant).await.unwrap();
        let texts: Vec<_> = told.iter().map(|(_, sent)| &*sent.message.content).collect();
        assert_eq!(texts, ["before", "meanwhile"]);
        assert!(missed.next(&app.app, app.tenant).await.unwrap().is_empty());
        assert!(missed.has(meanwhile) && !missed.has(afterwards));
        let (at, sent) = &told[0];
        assert!(!missed.has(Settled { at: *at, id: sent.message.id }), "of a minute ago, so it is told and gone");
        clock.advance(Duration::from_secs(10));
        assert!(!missed.is_over(&app.app));
        clock.advance(Duration::from_secs(1));
        assert!(missed.is_over(&app.app));
    }
}
