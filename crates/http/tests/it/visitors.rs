//! Visitors of chat pages: how they get in, what they reach, how they are put out.

use std::sync::Arc;
use std::time::Duration;

use parlance_domain::Timestamp;
use parlance_service::client_address::TrustedProxies;
use parlance_service::rate_limit::Rate;
use parlance_testkit::{Actor, Answer, ManualClock, Method, Script, ScriptedChat, TestApp};
use serde_json::{Value, json};

use crate::world::UNKNOWN;

pub(crate) async fn web_chat(app: &TestApp, more: Value) -> String {
    let mut body = json!({"chatbot": app.chatbot(), "theme": {}, "darkTheme": {}});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    app.owner().make("web-chats/", &body).await
}

pub(crate) async fn arrive(actor: &Actor, web_chat: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
    let mut request = actor.request(Method::POST, &format!("web-chats/{web_chat}/sessions/")).json(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    actor.send(request).await
}

pub(crate) async fn session(app: &TestApp, web_chat: &str) -> (Actor, Value) {
    let session = arrive(&app.nobody(), web_chat, &[], &json!({})).await.body_of(201);
    (app.with_header(&format!("Visitor {}", session["token"].as_str().unwrap())), session)
}

pub(crate) async fn ask(visitor: &Actor, web_chat: &str, body: Value) -> Answer {
    visitor.post(&format!("web-chats/{web_chat}/completions/"), &body).await
}

pub(crate) fn hello() -> Value {
    json!({"message": {"content": "Hello?"}})
}

#[tokio::test]
async fn a_visitor_asks_and_goes_on_in_their_own_conversation() {
    let chat = Arc::new(ScriptedChat::always(Script::text(["Yes."])));
    let app = TestApp::builder().chat(&chat).start().await;
    let page = web_chat(&app, json!({})).await;
    let (visitor, opened) = session(&app, &page).await;
    assert!(opened.get("conversation").is_none(), "{opened}");
    assert_eq!(opened["contact"]["name"], "訪客");
    let first = ask(&visitor, &page, hello()).await.body_of(200);
    let conversation = first["conversationId"].clone();
    let again = json!({"conversation": conversation, "message": {"content": "And?", "type": "incoming"}});
    assert_eq!(ask(&visitor, &page, again).await.body_of(200)["conversationId"], conversation);

    // Renewed: the same contact, a later end, and where they were.
    let renewed = arrive(&visitor, &page, &[], &json!({"contactId": UNKNOWN, "sourceId": "boss"})).await.body_of(201);
    assert_eq!((&renewed["contact"], &renewed["conversation"]), (&opened["contact"], &conversation));
    assert!(renewed["expiresAt"].as_str().unwrap() >= opened["expiresAt"].as_str().unwrap());
    let (_, other) = session(&app, &page).await;
    assert_ne!(other["contact"]["id"], opened["contact"]["id"], "claims without proof are ignored");

    // What the owner sees: the web chat's inbox, the visitor's contact.
    let shown = app.owner().get(&format!("conversations/{}/", conversation.as_str().unwrap())).await.body_of(200);
    let inbox = app.owner().get(&format!("web-chats/{page}/")).await.body_of(200)["inbox"]["id"].clone();
    assert_eq!((&shown["inbox"]["id"], &shown["contact"]["id"]), (&inbox, &opened["contact"]["id"]));

    // A program asks into the same inbox, but cannot go on with what is not there.
    let program = app.key("completions:create").await;
    ask(&program, &page, hello()).await.expect(200).json();
    let elsewhere = app.owner().ask(&app.chatbot(), "Hello?").await["conversationId"].clone();
    let body = json!({"conversation": elsewhere, "message": {"content": "And?"}});
    assert!(ask(&program, &page, body).await.body_of(400)["conversation"].is_array());
}

#[tokio::test]
async fn a_visitor_reaches_nothing_of_another() {
    let chat = Arc::new(ScriptedChat::always(Script::text(["canary-answer"])));
    let app = TestApp::builder().chat(&chat).start().await;
    let (page, other_page) = (web_chat(&app, json!({})).await, web_chat(&app, json!({})).await);
    let (alice, opened) = session(&app, &page).await;
    let (bob, _) = session(&app, &page).await;
    let (carol, _) = session(&app, &other_page).await;
    let answer = ask(&alice, &page, hello()).await.body_of(200);
    let (message, conversation) = (answer["messageId"].as_str().unwrap(), answer["conversationId"].as_str().unwrap());
    for stranger in [&bob, &carol] {
        for path in [
            format!("messages/{message}/stream/"),
            format!("messages/{message}/?conversation={conversation}"),
            format!("messages/?conversation={conversation}"),
            format!("conversations/{conversation}/"),
        ] {
            let refused = stranger.get(&path).await;
            assert!([400, 404].contains(&refused.status.as_u16()), "{} {}", refused.asked, refused.text());
            assert!(!refused.text().contains("canary"));
        }
        stranger.post(&format!("messages/{message}/cancel/"), &json!({})).await.expect(404).json();
        let own_page = if std::ptr::eq(stranger, &raw const bob) { &page } else { &other_page };
        let taken = json!({"conversation": conversation, "message": {"content": "Go on"}});
        assert!(ask(stranger, own_page, taken).await.body_of(400)["conversation"].is_array());
    }
    assert_eq!(alice.follow(message, 0).await.rest().await.last().unwrap().kind(), "done");
    alice.post(&format!("messages/{message}/cancel/"), &json!({})).await.expect(200).json();
    ask(&carol, &page, hello()).await.expect(404).json();
    arrive(&carol, &page, &[], &json!({})).await.expect(404).json();

    // Nothing in somebody else's name, nothing of the organisation.
    let contact = opened["contact"]["id"].clone();
    for body in [
        json!({"message": {"content": "x", "sender": contact}}),
        json!({"message": {"content": "x", "type": "outgoing"}}),
        json!({"message": {"content": "x"}, "contact": contact}),
        json!({"message": {"content": "x"}, "contactId": contact}),
        json!({"message": {"content": "x"}, "sourceId": "boss"}),
    ] {
        assert_eq!(ask(&bob, &page, body).await.body_of(403)["code"], "permission_denied");
    }
    let upload = app.owner().upload("attachment", "note.txt", b"canary-note").await;
    let attachment = app.owner().make("attachments/", &json!({"file": upload})).await;
    let body = json!({"message": {"content": "x", "attachments": [attachment]}});
    assert!(ask(&bob, &page, body).await.body_of(400)["message"]["attachments"].is_array());
    for path in ["chatbots/", "web-chats/", "attachments/", "knowledge-bases/", "model-providers/", "tools/"] {
        bob.get(path).await.expect(403).json();
    }
    // The assistant they talk to has a name for them, and others do not exist.
    let shown = bob.get(&format!("chatbots/{}/", app.chatbot())).await.body_of(200);
    let name = app.owner().get(&format!("chatbots/{}/", app.chatbot())).await.body_of(200)["name"].clone();
    assert_eq!(shown, json!({"id": app.chatbot(), "name": name}));
    let other = app.owner().make("chatbots/", &json!({"name": "Other"})).await;
    bob.get(&format!("chatbots/{other}/")).await.expect(404).json();
    bob.get("allowed-file-types/").await.expect(200).json();
    let public = bob.get(&format!("web-chats/{page}/")).await.body_of(200);
    assert!(public.get("inbox").is_none());
    bob.get(&format!("web-chats/{other_page}/")).await.expect(404).json();
    bob.patch(&format!("web-chats/{page}/"), &json!({"name": "taken"})).await.expect(403).json();
    bob.post(&format!("web-chats/{page}/identity-secret/"), &json!({})).await.expect(403).json();
}

#[tokio::test]
async fn only_pages_that_are_allowed_open_sessions() {
    let app = TestApp::start().await;
    let page = web_chat(&app, json!({"allowedOrigins": ["https://shop.example"]})).await;
    let own = app.url.as_str().trim_end_matches('/').to_owned();
    for (origin, status) in [
        ("https://shop.example", 201),
        (own.as_str(), 201),
        ("null", 403),
        ("", 403),
        ("https://shop.example.evil.example", 403),
        ("https://evilshop.example", 403),
        ("http://shop.example", 403),
        ("https://shop.example:444", 403),
        ("https://SHOP.example", 403),
        ("https://shop.example/", 403),
        ("https://sub.shop.example", 403),
    ] {
        let answer = arrive(&app.nobody(), &page, &[("origin", origin)], &json!({})).await;
        assert_eq!(answer.status.as_u16(), status, "{origin}");
        if status == 403 {
            assert_eq!(answer.json()["detail"], "This site may not use the web chat.");
        }
    }
    let members = web_chat(&app, json!({"accessType": "admin"})).await;
    let named = web_chat(&app, json!({"enableAnonymous": false})).await;
    let closed = web_chat(&app, json!({"isActive": false})).await;
    for (page, status) in [(members.as_str(), 403), (&named, 403), (&closed, 403), (UNKNOWN, 404), ("1", 404)] {
        let refused = arrive(&app.nobody(), page, &[], &json!({})).await.expect(status).json();
        assert!(refused["detail"].is_string());
    }
    let bot = app.owner().get(&format!("chatbots/{}/", app.chatbot())).await.body_of(200);
    arrive(&app.nobody(), bot["apiWebChatId"].as_str().unwrap(), &[], &json!({})).await.expect(404).json();
    arrive(&app.nobody(), &named, &[], &json!({"identityToken": "a.b.c"})).await.expect(403).json();
}

#[tokio::test]
async fn a_closed_web_chat_and_a_deleted_one_have_no_visitors() {
    let app = TestApp::start().await;
    let page = web_chat(&app, json!({})).await;
    let path = format!("web-chats/{page}/");
    let (visitor, _) = session(&app, &page).await;
    visitor.get(&path).await.expect(200).json();
    app.owner().patch(&path, &json!({"isActive": false})).await.expect(200).json();
    assert_eq!(visitor.get(&path).await.body_of(401)["detail"], "Invalid visitor token.");
    ask(&visitor, &page, hello()).await.expect(401).json();
    app.owner().patch(&path, &json!({"isActive": true})).await.expect(200).json();
    visitor.get(&path).await.expect(200).json();
    app.owner().delete(&path).await.expect(204);
    visitor.get(&path).await.expect(401).json();
}

#[tokio::test]
async fn tokens_end_and_cannot_be_made() {
    let clock = Arc::new(ManualClock::starting_at(Timestamp::from_millis(1_790_000_000_000)));
    let app = TestApp::builder().clock(&clock).start().await;
    let page = web_chat(&app, json!({})).await;
    let path = format!("web-chats/{page}/");
    let (visitor, opened) = session(&app, &page).await;
    let token = opened["token"].as_str().unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (id, end) = signed.split_once('.').unwrap();
    let end: i64 = end.parse().unwrap();
    let other = TestApp::start().await;
    let other_page = web_chat(&other, json!({})).await;
    let foreign = session(&other, &other_page).await.1["token"].as_str().unwrap().to_owned();
    for forged in [
        format!("{id}.{}.{signature}", end + 1),
        format!("{}.{end}.{signature}", UNKNOWN.replace('-', "")),
        format!("{id}.{end}."),
        format!("{id}.{end}.{}A", &signature[1..]),
        signed.to_owned(),
        foreign,
        String::new(),
        "x".repeat(5000),
    ] {
        app.with_header(&format!("Visitor {forged}")).get(&path).await.expect(401).json();
    }
    app.with_header(&format!("Api-Key {token}")).get(&path).await.expect(401).json();
    clock.advance(Duration::from_hours(23));
    let renewed = arrive(&visitor, &page, &[], &json!({})).await.body_of(201);
    clock.advance(Duration::from_hours(1));
    visitor.get(&path).await.expect(401).json();
    let visitor = app.with_header(&format!("Visitor {}", renewed["token"].as_str().unwrap()));
    visitor.get(&path).await.expect(200).json();
    clock.advance(Duration::from_hours(23));
    visitor.get(&path).await.expect(401).json();
}

#[tokio::test]
async fn the_secret_is_shown_once_and_sealed() {
    let app = TestApp::start().await;
    let page = web_chat(&app, json!({})).await;
    let rotate = async || {
        let made = app.owner().post(&format!("web-chats/{page}/identity-secret/"), &json!({})).await.body_of(200);
        made["secret"].as_str().unwrap().to_owned()
    };
    let (first, second) = (rotate().await, rotate().await);
    assert_ne!(first, second);
    assert!(first.starts_with("wcis_") && first.len() == 48, "{first}");
    let shown = app.owner().get(&format!("web-chats/{page}/")).await.text();
    assert!(!shown.contains("wcis_"));
}

#[tokio::test]
async fn who_arrives_or_asks_too_often_waits() {
    let rate = |requests| Rate { requests, period: Duration::from_hours(1) };
    let change = move |settings: &mut parlance_service::settings::Settings| {
        settings.session_rate = rate(3);
        settings.visitor_answer_rate = rate(2);
        settings.trusted_proxies = TrustedProxies::parse("127.0.0.1").unwrap();
    };
    let app = TestApp::builder().settings(change).start().await;
    let page = web_chat(&app, json!({})).await;
    let from = async |forwarded: &str| {
        let answer = arrive(&app.nobody(), &page, &[("x-forwarded-for", forwarded)], &json!({})).await;
        (answer.status.as_u16(), answer.header("retry-after").to_owned())
    };
    for _ in 0..3 {
        assert_eq!(from("9.9.9.1").await.0, 201);
    }
    let (status, retry_after) = from("9.9.9.1").await;
    assert!(status == 429 && retry_after.parse::<u64>().unwrap() > 0);
    assert_eq!(from("1.2.3.4, 9.9.9.1").await.0, 429, "what stands before the last hop is the client's own word");
    assert_eq!(from("9.9.9.2").await.0, 201);
    let token = arrive(&app.nobody(), &page, &[("x-forwarded-for", "9.9.9.3")], &json!({})).await.body_of(201);
    let visitor = app.with_header(&format!("Visitor {}", token["token"].as_str().unwrap()));
    for _ in 0..2 {
        ask(&visitor, &page, hello()).await.expect(200).json();
    }
    let refused = ask(&visitor, &page, hello()).await;
    assert!(refused.header("retry-after").parse::<u64>().unwrap() > 0);
    assert_eq!(refused.body_of(429)["code"], "throttled");
    ask(&app.owner(), &page, hello()).await.expect(200).json();
}

#[tokio::test]
async fn browsers_let_allowed_pages_read_what_visitors_may() {
    let app = TestApp::start().await;
    let page = web_chat(&app, json!({"allowedOrigins": ["https://shop.example"]})).await;
    let other = web_chat(&app, json!({"allowedOrigins": ["https://other.example"]})).await;
    let (visitor, _) = session(&app, &page).await;
    let allowed = |answer: &Answer| answer.header("access-control-allow-origin").to_owned();
    let preflight = async |path: &str, method: &str, origin: &str| {
        let request = app.nobody().request(Method::OPTIONS, path).header("origin", origin);
        app.nobody().send(request.header("access-control-request-method", method)).await
    };
    let sessions = format!("web-chats/{page}/sessions/");
    let stream = format!("messages/{UNKNOWN}/stream/");
    let good = preflight(&sessions, "POST", "https://shop.example").await.expect(204);
    assert_eq!(allowed(&good), "https://shop.example");
    assert!(good.header("access-control-allow-headers").contains("authorization"));
    assert_eq!(good.header("access-control-allow-credentials"), "");
    assert_eq!(good.header("vary"), "origin");
    assert_eq!(allowed(&preflight(&stream, "GET", "https://shop.example").await), "https://shop.example");
    for origin in ["null", "https://shop.example.evil.example", "https://evilshop.example", "http://shop.example", "*"]
    {
        for (path, method) in [(&sessions, "POST"), (&stream, "GET")] {
            let answer = preflight(path, method, origin).await;
            assert_eq!(
                (allowed(&answer), answer.header("access-control-allow-methods")),
                (String::new(), ""),
                "{origin}"
            );
        }
    }
    assert_eq!(allowed(&preflight(&sessions, "POST", "https://other.example").await), "", "allowed elsewhere only");
    let feedback = format!("messages/{UNKNOWN}/feedback/");
    for (path, method) in [
        (feedback.as_str(), "DELETE"),
        (&format!("messages/{UNKNOWN}/"), "PATCH"),
        ("conversations/", "GET"),
        ("allowed-file-types/", "GET"),
        (&format!("chatbots/{UNKNOWN}/"), "GET"),
    ] {
        let answer = preflight(path, method, "https://shop.example").await.expect(204);
        assert_eq!(allowed(&answer), "https://shop.example", "{method} {path}");
        let methods = answer.header("access-control-allow-methods");
        assert!(methods.split(", ").any(|allowed| allowed == method), "{method} {methods}");
    }
    for (path, method) in [("web-chats/", "GET"), ("chatbots/", "GET"), (sessions.as_str(), "DELETE")] {
        assert_eq!(allowed(&preflight(path, method, "https://shop.example").await), "");
    }
    // The answers themselves.
    let with = async |actor: &Actor, path: &str, origin: &str| {
        actor.send(actor.request(Method::GET, path).header("origin", origin)).await
    };
    let public = format!("web-chats/{page}/");
    assert_eq!(allowed(&with(&app.nobody(), &public, "https://shop.example").await), "https://shop.example");
    assert_eq!(allowed(&with(&app.nobody(), &public, "https://other.example").await), "");
    assert_eq!(allowed(&with(&visitor, &stream, "https://shop.example").await), "https://shop.example");
    assert_eq!(allowed(&with(&visitor, &stream, "https://other.example").await), "", "not the visitor's web chat");
    assert_eq!(allowed(&with(&app.owner(), "chatbots/", "https://shop.example").await), "");
    let opened = arrive(&app.nobody(), &other, &[("origin", "https://other.example")], &json!({})).await;
    assert_eq!(allowed(&opened), "https://other.example");
}

#[tokio::test]
async fn a_day_s_limit_holds_until_midnight_and_for_visitors_only() {
    let clock = Arc::new(ManualClock::starting_at(Timestamp::from_millis(1_790_000_000_000)));
    let chat = Arc::new(ScriptedChat::always(Script::text(["Yes, certainly, at any time."])));
    let app = TestApp::builder().clock(&clock).chat(&chat).start().await;
    let page = web_chat(&app, json!({"dailyReplyLimit": 2})).await;
    let (visitor, _) = session(&app, &page).await;
    for _ in 0..2 {
        ask(&visitor, &page, hello()).await.expect(200).json();
    }
    // What is refused for another reason, or by the limit, is not counted.
    let wrong = json!({"conversation": UNKNOWN, "message": {"content": "x"}});
    ask(&visitor, &page, wrong).await.expect(400).json();
    let refused = ask(&visitor, &page, hello()).await;
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert_eq!(refused.body_of(429)["code"], "throttled");
    ask(&app.owner(), &page, hello()).await.expect(200).json();
    let (other, _) = session(&app, &page).await;
    ask(&other, &page, hello()).await.expect(429).json();
    assert!(wait <= 24 * 3600);
    clock.advance(Duration::from_secs(wait));
    let (visitor, _) = session(&app, &page).await;
    ask(&visitor, &page, hello()).await.expect(200).json();

    // Tokens: the answer that passes the limit is the last one, also of several at once.
    let page = web_chat(&app, json!({"dailyTokenLimit": 1})).await;
    let (visitor, _) = session(&app, &page).await;
    let at_once = futures_util::future::join_all((0..5).map(|_| ask(&visitor, &page, hello()))).await;
    let answered = at_once.iter().filter(|answer| answer.status.as_u16() == 200).count();
    assert_eq!(answered, 1);
    ask(&visitor, &page, hello()).await.expect(429).json();
}
