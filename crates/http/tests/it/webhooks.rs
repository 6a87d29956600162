//! Replies to stored messages, and their way to the receiver.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parlance_domain::kind::{ConversationId, MessageId};
use parlance_domain::{Id, Timestamp};
use parlance_llm::ErrorKind;
use parlance_service::webhook_delivery;
use parlance_storage::conversation_terms::Terms;
use parlance_storage::jobs::{self, NewJob};
use parlance_storage::messages::{self, Message};
use parlance_storage::replies;
use parlance_storage::webhooks::{self, Delivery};
use parlance_testkit::{
    Actor, ManualClock, RECEIVERS_WORDS, Reaction, Received, Receiver, Script, ScriptedChat, TestApp,
};
use serde_json::{Value, json};

/// An app with a chatbot whose replies go to a receiver, and a conversation with it.
struct Story {
    app: TestApp,
    clock: Arc<ManualClock>,
    chat: Arc<ScriptedChat>,
    receiver: Receiver,
    /// May be called as well.
    other: Receiver,
    owner: Actor,
    chatbot: String,
    conversation: ConversationId,
}

impl Story {
    async fn begin() -> Self {
        Self::with_model(ScriptedChat::always(Script::text(["七天內", "可以退貨。"]))).await
    }

    async fn with_model(chat: ScriptedChat) -> Self {
        let (chat, receiver, other) = (Arc::new(chat), Receiver::start().await, Receiver::start().await);
        let allow = format!("{},{}", receiver.address, other.address);
        let clock = Arc::new(ManualClock::starting_at(Timestamp::from_millis(1_800_000_000_000)));
        let app = TestApp::builder().chat(&chat).clock(&clock).allow(&allow);
        let app = app.settings(|settings| settings.webhook_timeout = Duration::from_millis(300)).start().await;
        let owner = app.owner();
        let chatbot = owner.make("chatbots/", &json!({"name": "客服", "webhookUrl": receiver.url("hook")})).await;
        chat.push(Script::text(["您好。"]));
        let greeting = owner.ask(&chatbot, "你好").await;
        let conversation = Id::parse(greeting["conversationId"].as_str().unwrap()).unwrap();
        Self { app, clock, chat, receiver, other, owner, chatbot, conversation }
    }

    /// Stores a message of the contact. Gives its id.
    async fn write(&self, content: &str) -> MessageId {
        let body = json!({"conversation": self.conversation, "content": content});
        let stored = self.owner.post("messages/", &body).await.body_of(201);
        Id::parse(stored["id"].as_str().unwrap()).unwrap()
    }

    /// The answer to a message.
    async fn answer(&self, message: MessageId) -> Option<Message> {
        let tenant = self.app.tenant;
        let mut tx = self.app.app.db.read(tenant).await.unwrap();
        let reply = replies::get(&mut tx, tenant, message).await.unwrap().unwrap();
        messages::get(&mut tx, tenant, reply.answer_id).await.unwrap()
    }

    async fn records(&self) -> Vec<Value> {
        let page = self.owner.get(&format!("chatbots/{}/webhook-records/?pageSize=100", self.chatbot)).await;
        let page = page.body_of(200);
        assert_eq!(page["count"], page["results"].as_array().unwrap().len());
        page["results"].as_array().unwrap().clone()
    }

    /// Response and state of each attempt, the oldest first.
    async fn attempts(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        self.records().await.iter().rev().map(|record| (text(&record["response"]), text(&record["status"]))).collect()
    }

    async fn shown(&self) -> Value {
        self.owner.get(&format!("chatbots/{}/", self.chatbot)).await.body_of(200)
    }

    /// Moves the clock and runs what is due then.
    async fn after(&self, time: Duration) {
        self.clock.advance(time);
        self.app.run_jobs().await;
    }

    async fn redeliver(&self, record: &Value) -> Value {
        let path = format!("chatbots/{}/webhook-records/{}/redeliver/", self.chatbot, record["id"].as_str().unwrap());
        self.owner.post(&path, &json!({})).await.body_of(202)
    }
}

#[tokio::test]
async fn a_stored_message_is_answered_and_the_receiver_is_told() {
    let story = Story::begin().await;
    let message = story.write("可以退貨嗎？").await;
    assert!(story.answer(message).await.is_none() && story.receiver.seen().is_empty(), "nothing happens by itself");
    story.app.run_jobs().await;
    let answer = story.answer(message).await.unwrap();
    assert_eq!((answer.state.as_str(), answer.content.as_str()), ("done", "七天內可以退貨。"));
    let seen = story.receiver.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].path.as_str(), seen[0].header("content-type")), ("/hook", "application/json"));
    let body = seen[0].json();
    let created_at = answer.created_at.to_string();
    let number = body["sender"]["id"].as_u64().unwrap();
    assert!(number > 0 && number < 1 << 53);
    assert_eq!(
        body,
        json!({
            "id": answer.id,
            "conversation": story.conversation,
            "conversation_id": story.conversation,
            "replyTo": message,
            "contact": body["contact"],
            "sender": {"id": number, "name": "客服", "avatar": null},
            "type": "outgoing",
            "content": "七天內可以退貨。",
            "contentPayload": null,
            "feedback": null,
            "createdAt": created_at,
            "created_at": created_at,
            "attachments": [],
            "citations": [],
            "citationNodes": [],
        })
    );
    // The model saw the conversation, and the question once.
    let asked = story.chat.requests().pop().unwrap();
    let texts: Vec<_> = asked.messages.iter().map(|message| message.text.clone()).collect();
    assert_eq!(texts.iter().filter(|text| text.contains("可以退貨嗎？")).count(), 1, "{texts:?}");
    assert!(texts.iter().any(|text| text.contains("您好。")), "{texts:?}");

    let records = story.records().await;
    assert_eq!(records.len(), 1);
    assert_eq!(records[0]["requestBody"], body);
    assert_eq!(records[0]["chatbot"], json!({"id": story.chatbot, "name": "客服"}));
    assert_eq!(records[0]["url"], story.receiver.url("hook"));
    assert_eq!((&records[0]["response"], &records[0]["statusCode"]), (&json!("HTTP 200"), &json!(200)));
    assert_eq!((&records[0]["status"], &records[0]["nextAttemptAt"]), (&json!("succeeded"), &Value::Null));
    assert_eq!(records[0]["webhookId"], seen[0].header("webhook-id"));
    assert_eq!(records[0]["message"], json!(answer.id));
    assert!(!records[0].to_string().contains(RECEIVERS_WORDS));
    // Completions never call it.
    story.owner.ask(&story.chatbot, "還有嗎？").await;
    assert_eq!(story.app.run_jobs().await, 0);
    assert_eq!(story.receiver.seen().len(), 1);
}

#[tokio::test]
async fn citations_name_their_documents() {
    let chat = ScriptedChat::always(Script::text(["七天內可以退貨。[1]"]));
    let story = Story::with_model(chat).await;
    let base = story.app.base();
    let file = story.owner.add_file(&base, "policy.txt", "購買後七天內可以退貨。").await;
    story.app.run_jobs().await;
    let path = format!("chatbots/{}/", story.chatbot);
    story.owner.patch(&path, &json!({"knowledgeBases": [{"id": base}]})).await.expect(200);
    story.write("可以退貨嗎？").await;
    story.app.run_jobs().await;
    let body = story.receiver.seen().pop().unwrap().json();
    let citation = &body["citations"][0];
    assert_eq!((&citation["id"], &citation["document"]), (&json!(file), &json!(file)));
    assert_eq!((&citation["filename"], &citation["fileType"]), (&json!("policy.txt"), &json!("txt")));
    assert_eq!(citation["status"], "done");
    story.app.nobody().get(citation["file"].as_str().unwrap()).await.expect(200);
    let node = &body["citationNodes"][0];
    assert_eq!((&node["index"], &node["chatbotTextNode"]["chatbotFile"]), (&json!(1), &json!(file)));
}

#[tokio::test]
async fn messages_are_answered_in_order_one_at_a_time() {
    let story = Story::with_model(ScriptedChat::default()).await;
    let mut messages = Vec::new();
    for number in 1..=3 {
        messages.push(story.write(&format!("第{number}題")).await);
        story.chat.push(Script::text([format!("答{number}")]));
    }
    story.app.run_jobs().await;
    let told: Vec<_> = story.receiver.seen().iter().map(|seen| seen.json()["content"].clone()).collect();
    assert_eq!(told, [json!("答1"), json!("答2"), json!("答3")]);
    // The second was asked with the first answer before it, and without the third question.
    let requests = story.chat.requests();
    let texts: String = requests[2].messages.iter().map(|message| message.text.clone() + "\n").collect();
    assert!(texts.contains("第1題") && texts.contains("答1") && texts.contains("第2題"), "{texts}");
    assert!(!texts.contains("第3題"), "{texts}");
    for message in messages {
        assert_eq!(story.answer(message).await.unwrap().state, "done");
    }
}

#[tokio::test]
async fn an_answer_that_fails_is_kept_and_told_to_nobody() {
    let story = Story::with_model(ScriptedChat::default()).await;
    story.chat.push(Script::refuse(ErrorKind::Filtered));
    story.chat.push(Script::text(["好的。"]));
    let (first, second) = (story.write("一").await, story.write("二").await);
    story.app.run_jobs().await;
    let failed = story.answer(first).await.unwrap();
    assert_eq!((failed.state.as_str(), failed.error.as_deref()), ("error", Some("model_filtered")));
    assert_eq!(story.answer(second).await.unwrap().state, "done", "the next one is answered all the same");
    let told: Vec<_> = story.receiver.seen().iter().map(|seen| seen.json()["content"].clone()).collect();
    assert_eq!(told, [json!("好的。")]);
}

#[tokio::test]
async fn a_person_who_takes_over_stops_what_waits() {
    let story = Story::begin().await;
    let message = story.write("在嗎？").await;
    let path = format!("conversations/{}/update-auto-reply/", story.conversation);
    story.owner.patch(&path, &json!({"autoReplyEnabled": false})).await.expect(200);
    story.app.run_jobs().await;
    assert!(story.answer(message).await.is_none() && story.receiver.seen().is_empty());
    assert_eq!(story.chat.requests().len(), 1, "the greeting");
}

/// Seconds between the attempts to deliver one reply, by the receiver's signatures.
fn pauses(seen: &[Received]) -> Vec<i64> {
    let times: Vec<i64> = seen.iter().map(|seen| seen.header("webhook-timestamp").parse().unwrap()).collect();
    times.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[tokio::test]
async fn failures_are_tried_again_by_the_schedule() {
    let story = Story::begin().await;
    for _ in 0..7 {
        story.receiver.react(Reaction::Status(500));
    }
    story.write("在嗎？").await;
    story.app.run_jobs().await;
    assert_eq!(story.receiver.seen().len(), 1);
    // In steps smaller than the schedule's tolerance, until nothing is left to do.
    for (step, steps) in [(1, 10), (10, 60), (120, 40), (600, 60)] {
        for _ in 0..steps {
            story.after(Duration::from_secs(step)).await;
        }
    }
    let seen = story.receiver.seen();
    let planned = [(5, 1), (60, 10), (300, 10), (1800, 120), (7200, 600), (21600, 600)];
    assert_eq!(seen.len(), 7);
    for ((planned, step), pause) in planned.into_iter().zip(pauses(&seen)) {
        let tolerance = planned / 10 + step;
        assert!((planned - tolerance..=planned + tolerance).contains(&pause), "{pause} {planned}");
    }
    assert!(
        seen.iter().all(|one| one.body == seen[0].body && one.header("webhook-id") == seen[0].header("webhook-id"))
    );
    let attempts = story.attempts().await;
    assert_eq!(attempts, vec![("HTTP 500".to_owned(), "failed".to_owned()); 7]);
    assert_eq!(story.shown().await["webhookDisabledAt"], Value::Null, "five days have not gone by");
}

#[tokio::test]
async fn a_receiver_may_ask_for_more_time() {
    let story = Story::begin().await;
    story.receiver.react(Reaction::With(429, "retry-after", "600".to_owned()));
    story.receiver.react(Reaction::With(503, "retry-after", "99999999".to_owned()));
    story.write("在嗎？").await;
    story.app.run_jobs().await;
    story.after(Duration::from_secs(599)).await;
    assert_eq!(story.receiver.seen().len(), 1);
    story.after(Duration::from_secs(1)).await;
    assert_eq!(story.receiver.seen().len(), 2);
    // But not for more than a day.
    story.after(Duration::from_secs(24 * 3600 - 1)).await;
    assert_eq!(story.receiver.seen().len(), 2);
    story.after(Duration::from_secs(1)).await;
    assert_eq!(story.attempts().await.pop().unwrap(), ("HTTP 200".to_owned(), "succeeded".to_owned()));
}

#[tokio::test]
async fn a_secret_is_shown_once_and_the_one_before_signs_for_a_day() {
    let story = Story::begin().await;
    let path = format!("chatbots/{}/webhook-secret/", story.chatbot);
    let signatures = async || {
        story.write("在嗎？").await;
        story.app.run_jobs().await;
        let seen = story.receiver.seen().pop().unwrap();
        seen.header("webhook-signature").split(' ').map(str::to_owned).collect::<Vec<_>>()
    };
    // Before anybody asked for a secret there is a signature that nobody can check.
    assert_eq!(signatures().await.len(), 1);
    let first = story.owner.post(&path, &json!({})).await.body_of(200);
    assert!(first["secret"].as_str().unwrap().starts_with("whsec_"));
    assert_eq!(first["previousSecretValidUntil"], Value::Null);
    assert_eq!(signatures().await.len(), 1);
    let second = story.owner.post(&path, &json!({})).await.body_of(200);
    assert_ne!(first["secret"], second["secret"]);
    let until = story.app.app.now().plus(Duration::from_hours(24));
    assert_eq!(second["previousSecretValidUntil"], until.to_string());
    story.clock.advance(Duration::from_secs(24 * 3600 - 1));
    let both = signatures().await;
    assert!(both.len() == 2 && both.iter().all(|one| one.starts_with("v1,")) && both[0] != both[1], "{both:?}");
    story.clock.advance(Duration::from_secs(1));
    assert_eq!(signatures().await.len(), 1);
    let shown = story.shown().await.to_string() + &json!(story.records().await).to_string();
    assert!(!shown.contains("whsec_"));
}

#[tokio::test]
async fn redirects_silence_and_refusals_are_failures() {
    let story = Story::begin().await;
    let elsewhere = story.receiver.url("elsewhere");
    story.receiver.react(Reaction::With(302, "location", elsewhere));
    story.receiver.react(Reaction::Hang);
    story.write("在嗎？").await;
    story.app.run_jobs().await;
    story.after(Duration::from_secs(6)).await;
    story.after(Duration::from_secs(70)).await;
    let attempts: Vec<_> = story.attempts().await.into_iter().map(|(response, _)| response).collect();
    assert_eq!(attempts, ["HTTP 302 (redirects are not followed)", "no answer within 300ms", "HTTP 200"]);
    assert!(story.receiver.seen().iter().all(|seen| seen.path == "/hook"), "no redirect was followed");
}

#[tokio::test]
async fn private_addresses_are_not_called() {
    let story = Story::begin().await;
    let path = format!("chatbots/{}/", story.chatbot);
    for address in [
        "http://127.0.0.1:9/",
        "http://169.254.169.254/",
        "http://[::1]/",
        "http://localhost:80/",
        "http://2130706433:1/",
    ] {
        let refused = story.owner.patch(&path, &json!({"webhookUrl": address})).await.body_of(400);
        assert!(refused["webhookUrl"][0].as_str().unwrap().starts_with("Enter another URL:"), "{address} {refused}");
    }
    // One that was stored while it was allowed, or whose name leads there by now.
    let (tenant, chatbot) = (story.app.tenant, Id::parse(&story.chatbot).unwrap());
    let other = Receiver::start().await;
    let url = other.url("hook");
    let moved = story.app.app.db.write(tenant, move |tx| {
        Box::pin(async move {
            let chatbot = parlance_storage::chatbots::get(tx, tenant, chatbot).await?.unwrap();
            let chatbot = parlance_storage::chatbots::Chatbot { webhook_url: Some(url), ..chatbot };
            parlance_storage::chatbots::update(tx, tenant, &chatbot).await
        })
    });
    moved.await.unwrap();
    story.write("在嗎？").await;
    story.app.run_jobs().await;
    assert_eq!(story.attempts().await[0].0, "this address may not be called: the address is not public");
    assert!(other.seen().is_empty() && story.receiver.seen().is_empty());
}

#[tokio::test]
async fn an_endpoint_that_is_gone_is_disabled_until_its_address_is_written() {
    let story = Story::begin().await;
    story.receiver.react(Reaction::Status(500));
    story.write("一").await;
    story.app.run_jobs().await;
    story.receiver.react(Reaction::Status(410));
    story.write("二").await;
    story.app.run_jobs().await;
    let shown = story.shown().await;
    assert_eq!(shown["webhookDisabledAt"], story.app.app.now().to_string());
    assert_eq!(shown["webhookDisabledReason"], "It answered 410 (gone).");
    story.write("三").await;
    story.app.run_jobs().await;
    let refused = ("not sent: the endpoint is disabled".to_owned(), "failed".to_owned());
    let attempts = story.attempts().await;
    assert_eq!(story.receiver.seen().len(), 2);
    assert_eq!(attempts.iter().filter(|one| **one == refused).count(), 2, "what waited and what came: {attempts:?}");
    assert!(attempts.iter().all(|(_, status)| status == "failed"));

    let path = format!("chatbots/{}/", story.chatbot);
    let written = story.owner.patch(&path, &json!({"webhookUrl": story.receiver.url("hook")})).await.body_of(200);
    assert_eq!((&written["webhookDisabledAt"], &written["webhookDisabledReason"]), (&Value::Null, &Value::Null));
    story.write("四").await;
    story.app.run_jobs().await;
    assert_eq!(story.attempts().await.pop().unwrap(), ("HTTP 200".to_owned(), "succeeded".to_owned()));
}

#[tokio::test]
async fn five_days_of_failures_disable_and_a_redelivery_enables() {
    let story = Story::begin().await;
    for _ in 0..9 {
        story.receiver.react(Reaction::Status(500));
    }
    story.write("一").await;
    story.app.run_jobs().await;
    for _ in 0..6 {
        story.after(Duration::from_hours(7)).await;
    }
    assert_eq!(story.receiver.seen().len(), 7);
    assert_eq!(story.shown().await["webhookDisabledAt"], Value::Null);
    story.clock.advance(Duration::from_hours(5 * 24));
    story.write("二").await;
    story.app.run_jobs().await;
    let shown = story.shown().await;
    assert_eq!(shown["webhookDisabledReason"], "It did nothing but fail for five days.");

    // A redelivery goes there all the same, once, and enables it when it is answered.
    let record = story.records().await.pop().unwrap();
    let asked = story.redeliver(&record).await;
    assert_eq!((&asked["id"], &asked["status"]), (&record["id"], &json!("pending")));
    story.app.run_jobs().await;
    story.after(Duration::from_hours(24)).await;
    assert_eq!(story.receiver.seen().len(), 9);
    assert!(story.shown().await["webhookDisabledAt"].is_string());
    story.redeliver(&record).await;
    story.app.run_jobs().await;
    let seen = story.receiver.seen();
    assert_eq!((seen.len(), seen[9].header("webhook-id")), (10, seen[0].header("webhook-id")));
    assert_eq!(seen[9].body, seen[0].body);
    assert_eq!(story.shown().await["webhookDisabledAt"], Value::Null);
    let one = story.records().await.into_iter().find(|one| one["id"] == record["id"]).unwrap();
    assert_eq!(one["status"], "succeeded");

    story.owner.patch(&format!("chatbots/{}/", story.chatbot), &json!({"webhookUrl": null})).await.expect(200);
    let path = format!("chatbots/{}/webhook-records/{}/redeliver/", story.chatbot, record["id"].as_str().unwrap());
    story.owner.post(&path, &json!({})).await.expect(409);
}

/// Puts deliveries into the outbox of a chatbot, each of a message like `template`.
async fn fill_outbox(story: &Story, chatbot: &str, template: &Message, count: usize) {
    let (app, tenant, template) = (story.app.app.clone(), story.app.tenant, template.clone());
    let (chatbot, url) = (Id::parse(chatbot).unwrap(), story.other.url("hook"));
    let filled = story.app.app.db.write(tenant, move |tx| {
        Box::pin(async move {
            let now = app.now();
            for _ in 0..count {
                let message = Message { id: app.new_id(), ..template.clone() };
                messages::insert(tx, tenant, &message, &Terms::NONE).await?;
                let delivery = Delivery {
                    id: app.new_id(),
                    chatbot_id: chatbot,
                    message_id: message.id,
                    url: url.clone(),
                    body: "{}".to_owned(),
                    status: "pending".to_owned(),
                    attempts: 0,
                    is_redelivery: false,
                    next_attempt_at: now,
                    created_at: now,
                };
                webhooks::insert(tx, tenant, &delivery).await?;
            }
            let job = NewJob {
                id: app.new_id(),
                kind: webhook_delivery::KIND,
                unique_key: format!("{}:{chatbot}", webhook_delivery::KIND),
                payload: json!({"chatbot": chatbot}).to_string(),
                run_at: now,
            };
            jobs::enqueue_or_advance(tx, tenant, &job, now).await
        })
    });
    filled.await.unwrap();
}

/// Lets an endpoint with 10,000 deliveries that wait for it be dead in this way, and measures how long
/// the replies to a good one take meanwhile.
async fn measure_beside_a_dead_endpoint(reaction: Reaction) {
    const WAITING: usize = 10_000;
    const WRITTEN: usize = 40;
    let story = Story::begin().await;
    let dead = story.owner.make("chatbots/", &json!({"name": "二", "webhookUrl": story.other.url("hook")})).await;
    let template = {
        let message = story.write("一").await;
        story.app.run_jobs().await;
        story.answer(message).await.unwrap()
    };
    let heard_before = story.receiver.seen().len();
    (0..WAITING).for_each(|_| story.other.react(reaction.clone()));
    fill_outbox(&story, &dead, &template, WAITING).await;
    story.app.run_jobs_in_background();
    let mut times = Vec::new();
    for number in 1..=WRITTEN {
        story.write("還在嗎？").await;
        let written = Instant::now();
        while story.receiver.seen().len() < heard_before + number {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        times.push(written.elapsed());
    }
    let tried = story.other.seen().len();
    times.sort();
    let of_95 = times[WRITTEN * 95 / 100 - 1];
    eprintln!("{reaction:?}: half within {:?}, 95% within {of_95:?}, {tried} attempts beside", times[WRITTEN / 2]);
    assert!((1..WAITING).contains(&tried), "{tried}: it was dead all the time");
    assert!(of_95 <= Duration::from_secs(2), "{times:?}");
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_holds_up_no_other() {
    measure_beside_a_dead_endpoint(Reaction::Hang).await;
}

#[tokio::test]
async fn an_endpoint_that_refuses_at_once_holds_up_no_other() {
    measure_beside_a_dead_endpoint(Reaction::Status(500)).await;
}
