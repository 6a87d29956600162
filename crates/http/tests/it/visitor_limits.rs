//! What visitors may use, by whichever operation they ask.

use std::sync::Arc;
use std::time::Duration;

use parlance_domain::Timestamp;
use parlance_domain::kind::WebChatId;
use parlance_service::rate_limit::Rate;
use parlance_storage::web_chat_usage::{self, Usage};
use parlance_testkit::{Actor, Answer, ManualClock, Script, ScriptedChat, TestApp};
use serde_json::json;

use crate::visitors::{ask, hello, session, web_chat};

/// In the evening of 21 September in Taipei.
const EVENING: Timestamp = Timestamp::from_millis(1_790_000_000_000);

async fn say(actor: &Actor, conversation: &str) -> Answer {
    actor.post("messages/", &json!({"conversation": conversation, "content": "在嗎？"})).await
}

async fn take_over(app: &TestApp, conversation: &str) {
    let reply = json!({"conversation": conversation, "content": "您好", "type": "outgoing"});
    app.owner().post("messages/", &reply).await.expect(201).json();
}

async fn hand_back(app: &TestApp, conversation: &str) {
    let path = format!("conversations/{conversation}/update-auto-reply/");
    app.owner().patch(&path, &json!({"autoReplyEnabled": true})).await.expect(200).json();
}

async fn used(app: &TestApp, page: &str) -> Usage {
    let page = WebChatId::parse(page).unwrap();
    let mut tx = app.app.db.read(app.tenant).await.unwrap();
    web_chat_usage::of_day(&mut tx, app.tenant, page, "2026-09-21").await.unwrap()
}

#[tokio::test]
async fn stored_messages_are_answered_as_often_as_questions() {
    let rate = |requests| Rate { requests, period: Duration::from_hours(1) };
    let app = TestApp::builder().settings(move |settings| settings.visitor_answer_rate = rate(3)).start().await;
    let page = web_chat(&app, json!({})).await;
    let (visitor, _) = session(&app, &page).await;
    let conversation = visitor.make("conversations/", &json!({"webChat": page})).await;
    say(&visitor, &conversation).await.expect(201).json();
    ask(&visitor, &page, hello()).await.expect(200).json();
    say(&visitor, &conversation).await.expect(201).json();
    let refused = say(&visitor, &conversation).await;
    assert!(refused.header("retry-after").parse::<u64>().unwrap() > 0);
    assert_eq!(refused.body_of(429)["code"], "throttled");
    ask(&visitor, &page, hello()).await.expect(429).json();
    let list = visitor.get(&format!("messages/?conversation={conversation}")).await.body_of(200);
    assert_eq!(list["count"], 2, "what was refused is not stored");
    // Programs are not counted, nor what a person answers.
    say(&app.owner(), &conversation).await.expect(201).json();
    take_over(&app, &conversation).await;
    for _ in 0..5 {
        say(&visitor, &conversation).await.expect(201).json();
    }
}

#[tokio::test]
async fn stored_messages_use_up_the_day() {
    let clock = Arc::new(ManualClock::starting_at(EVENING));
    let chat = Arc::new(ScriptedChat::always(Script::text(["Yes, certainly."])));
    let app = TestApp::builder().clock(&clock).chat(&chat).start().await;
    let page = web_chat(&app, json!({"dailyReplyLimit": 2})).await;
    let (visitor, _) = session(&app, &page).await;
    let conversation = visitor.make("conversations/", &json!({"webChat": page})).await;
    let at_once = futures_util::future::join_all((0..5).map(|_| say(&visitor, &conversation))).await;
    let mut statuses: Vec<u16> = at_once.iter().map(|answer| answer.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 201, 429, 429, 429]);
    ask(&visitor, &page, hello()).await.expect(429).json();
    assert_eq!(used(&app, &page).await, Usage { replies: 2, tokens: 16_000 });
    app.run_jobs().await;
    let after = used(&app, &page).await;
    assert!(after.replies == 2 && (1..8_000).contains(&after.tokens), "the tokens are known now: {after:?}");
    let list = visitor.get(&format!("messages/?conversation={conversation}")).await.body_of(200);
    assert_eq!(list["count"], 4);
    let (other, _) = session(&app, &page).await;
    let elsewhere = other.make("conversations/", &json!({"webChat": page})).await;
    say(&other, &elsewhere).await.expect(429).json();
    say(&app.owner(), &elsewhere).await.expect(201).json();
}

#[tokio::test]
async fn a_reply_that_is_not_made_is_given_back() {
    let clock = Arc::new(ManualClock::starting_at(EVENING));
    let app = TestApp::builder().clock(&clock).start().await;
    let page = web_chat(&app, json!({"dailyReplyLimit": 1})).await;
    let (visitor, _) = session(&app, &page).await;
    let conversation = visitor.make("conversations/", &json!({"webChat": page})).await;
    say(&visitor, &conversation).await.expect(201).json();
    take_over(&app, &conversation).await;
    say(&visitor, &conversation).await.expect(201).json();
    app.run_jobs().await;
    assert_eq!(used(&app, &page).await, Usage { replies: 0, tokens: 0 });
    hand_back(&app, &conversation).await;
    say(&visitor, &conversation).await.expect(201).json();
    say(&visitor, &conversation).await.expect(429).json();
}
