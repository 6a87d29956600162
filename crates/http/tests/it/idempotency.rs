//! A request with an `Idempotency-Key` is carried out once and answered the same each time.

use std::sync::Arc;
use std::time::Duration;

use parlance_domain::Timestamp;
use parlance_storage::idempotency::{self, Claim};
use parlance_testkit::{Actor, Answer, ManualClock, Method, TestApp};
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::authorization::{filled, sample};
use crate::openapi::{document, operations};
use crate::world::world;

async fn post(actor: &Actor, path: &str, key: &str, body: &Value) -> Answer {
    actor.send(actor.request(Method::POST, path).header("idempotency-key", key).json(body)).await
}

fn is_replayed(answer: &Answer) -> bool {
    answer.headers.contains_key("idempotent-replayed")
}

async fn chatbots(actor: &Actor, name: &str) -> u64 {
    actor.get(&format!("chatbots/?query={name}")).await.body_of(200)["count"].as_u64().unwrap()
}

/// Takes the stored answer away, as if the process had been killed between effect and answer.
async fn lose_answer(app: &TestApp, key: &str) {
    let (tenant, now) = (app.tenant, app.app.now());
    let known = {
        let mut tx = app.app.db.read(tenant).await.unwrap();
        idempotency::find(&mut tx, tenant, key, now.minus(Duration::from_hours(1))).await.unwrap().unwrap()
    };
    let claim = Claim {
        key: key.to_owned(),
        attempt: known.attempt,
        request_hash: known.request_hash,
        created_at: now,
        forgotten_before: now.plus(Duration::from_hours(1)),
    };
    let (made, message) = (known.made, known.answer_message_id);
    app.app
        .db
        .write(tenant, move |tx| Box::pin(async move { idempotency::mark(tx, tenant, &claim, &made, message).await }))
        .await
        .unwrap();
}

#[tokio::test]
async fn every_operation_that_posts_takes_a_key() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let own = world(&app, &owner, "heron").await;
    let mut checked = 0;
    for (method, path, _) in operations(&document()) {
        if method != "POST" {
            continue;
        }
        let (_, body) = sample(&method, &path, &own);
        let (body, filled) = (body.unwrap_or(json!({})), filled(&path, Some(&own)));
        let key = format!("key of {path}").replace(' ', "-");
        let first = post(&owner, &filled, &key, &body).await;
        let again = post(&owner, &filled, &key, &body).await;
        assert_eq!(first.status, again.status, "{path} {} {}", first.text(), again.text());
        if !first.status.is_success() {
            continue;
        }
        checked += 1;
        assert!(!is_replayed(&first) && is_replayed(&again), "{path}");
        if !first.header("content-type").starts_with("text/event-stream") {
            assert_eq!(first.body, again.body, "{path}");
        }
        let mut other = body.clone();
        other["somethingElse"] = json!(1);
        let refused = post(&owner, &filled, &key, &other).await.body_of(422);
        assert_eq!(refused["code"], "unprocessable", "{path}");
    }
    assert!(checked > 8, "{checked}");
}

#[tokio::test]
async fn of_eight_at_once_one_has_the_effect() {
    let app = TestApp::start().await;
    let owner = app.owner();
    for number in 0..12 {
        let (key, name) = (format!("race-{number}"), format!("Racer{number}x"));
        let body = json!({"name": name});
        let racing = (0..8).map(|_| post(&owner, "chatbots/", &key, &body));
        let answers = futures_util::future::join_all(racing).await;
        let last = post(&owner, "chatbots/", &key, &body).await.expect(201);
        for answer in answers {
            match answer.status.as_u16() {
                201 => assert_eq!(answer.body, last.body),
                409 => assert_eq!(answer.json()["code"], "conflict"),
                other => panic!("{other} {}", answer.text()),
            }
        }
        assert_eq!(chatbots(&owner, &name).await, 1);
    }
}

#[tokio::test]
async fn what_a_killed_process_made_is_the_answer() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let first = post(&owner, "chatbots/", "one", &json!({"name": "Survivor"})).await.body_of(201);
    lose_answer(&app, "one").await;
    for _ in 0..2 {
        let again = post(&owner, "chatbots/", "one", &json!({"name": "Survivor"})).await;
        assert!(is_replayed(&again));
        assert_eq!(again.body_of(201), first);
    }
    let path = format!("chatbots/{}/duplicate/", first["id"].as_str().unwrap());
    let copy = post(&owner, &path, "two", &json!({})).await.body_of(201);
    lose_answer(&app, "two").await;
    assert_eq!(post(&owner, &path, "two", &json!({})).await.body_of(201)["id"], copy["id"]);
    assert_eq!(chatbots(&owner, "Survivor").await, 2);

    let base = app.first.knowledge_base;
    let upload = owner.upload("chatbot-file", "a.txt", b"some text").await;
    let (path, body) = (format!("knowledge-bases/{base}/files/"), json!({"files": [{"file": upload}]}));
    let files = post(&owner, &path, "three", &body).await.body_of(201);
    lose_answer(&app, "three").await;
    let again = post(&owner, &path, "three", &body).await.body_of(201);
    assert_eq!((again[0]["id"].as_str(), again.as_array().unwrap().len()), (files[0]["id"].as_str(), 1));
    // What was made is gone: it is not made again.
    owner.delete(&format!("chatbots/{}/", copy["id"].as_str().unwrap())).await.expect(204);
    lose_answer(&app, "two").await;
    let path = format!("chatbots/{}/duplicate/", first["id"].as_str().unwrap());
    let lost = post(&owner, &path, "two", &json!({})).await.body_of(409);
    assert!(lost["detail"].as_str().unwrap().contains("its answer was lost"), "{lost}");
    assert_eq!(chatbots(&owner, "Survivor").await, 1);
}

#[tokio::test]
async fn a_question_is_asked_once() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let path = format!("chatbots/{}/completions/", app.first.chatbot);
    let body = json!({"message": {"content": "What is the word of the day?"}});
    let first = post(&owner, &path, "whole", &body).await.body_of(200);
    let again = post(&owner, &path, "whole", &body).await.body_of(200);
    assert_eq!(first, again);
    lose_answer(&app, "whole").await;
    let again = post(&owner, &path, "whole", &body).await.body_of(200);
    assert_eq!((&first["messageId"], &first["content"]), (&again["messageId"], &again["content"]));

    let streamed = json!({"message": {"content": "What is the word of the day?"}, "isStreaming": true});
    let first = post(&owner, &path, "stream", &streamed).await.expect(200).text();
    let again = post(&owner, &path, "stream", &streamed).await.expect(200).text();
    assert!(first.contains("\"type\":\"done\""), "{first}");
    let text = |events: &str| {
        let data = events.lines().filter_map(|line| line.strip_prefix("data: "));
        let events: Vec<Value> = data.map(|data| serde_json::from_str(data).unwrap()).collect();
        let message = events[0]["messageId"].clone();
        (message, events.iter().filter_map(|event| event["content"].as_str()).collect::<String>())
    };
    assert_eq!(text(&first), text(&again));
    let whole = json!({"message": {"content": "What is the word of the day?"}, "isStreaming": false});
    assert_eq!(post(&owner, &path, "stream", &whole).await.status.as_u16(), 422);
}

#[tokio::test]
async fn keys_are_the_organisation_s_and_the_caller_s_and_end_after_a_day() {
    let clock = Arc::new(ManualClock::starting_at(Timestamp::from_millis(1_790_000_000_000)));
    let app = TestApp::builder().clock(&clock).start().await;
    let (owner, other) = (app.owner(), app.other_organisation().await);
    let body = json!({"name": "Mine"});
    let first = post(&owner, "chatbots/", "key", &body).await.body_of(201);
    let theirs = post(&other, "chatbots/", "key", &body).await;
    assert!(!is_replayed(&theirs));
    assert_ne!(theirs.body_of(201)["id"], first["id"]);
    assert_eq!(post(&app.key("*").await, "chatbots/", "key", &body).await.status.as_u16(), 422);
    assert_eq!(post(&app.key("chatbots:read").await, "chatbots/", "key", &body).await.status.as_u16(), 403);
    assert_eq!(post(&app.nobody(), "chatbots/", "key", &body).await.status.as_u16(), 401);
    assert_eq!(post(&owner, "chatbots/", "key", &json!({"name": "Other"})).await.status.as_u16(), 422);
    assert_eq!(post(&owner, "knowledge-bases/", "key", &body).await.status.as_u16(), 422);
    clock.advance(Duration::from_hours(24));
    assert_eq!(post(&owner, "chatbots/", "key", &body).await.body_of(201)["id"], first["id"]);
    clock.advance(Duration::from_millis(1));
    assert_ne!(post(&owner, "chatbots/", "key", &body).await.body_of(201)["id"], first["id"]);
    parlance_service::forgetting::forget(&app.app).await.unwrap();
}

#[tokio::test]
async fn refusals_free_the_key_and_bad_keys_are_refused() {
    let app = TestApp::start().await;
    let owner = app.owner();
    assert_eq!(post(&owner, "chatbots/", "key", &json!({"name": ""})).await.status.as_u16(), 400);
    assert_eq!(post(&owner, "chatbots/", "key", &json!({"name": "Good"})).await.status.as_u16(), 201);
    for bad in ["a b", &"k".repeat(256), ""] {
        let refused = post(&owner, "chatbots/", bad, &json!({"name": "Bad"})).await.body_of(400);
        assert!(refused["detail"].as_str().unwrap().starts_with("Idempotency-Key must be"), "{refused}");
    }
    let long = json!({"name": "x".repeat(3 << 20)});
    assert_eq!(post(&owner, "chatbots/", "long", &long).await.status.as_u16(), 413);
    assert_eq!(chatbots(&owner, "Bad").await, 0);
}

#[tokio::test]
async fn a_form_with_a_file_takes_a_key_too() {
    let app = TestApp::start().await;
    let owner = app.owner();
    // Each form has a boundary of its own.
    let send_form = async |key: &str, form: Form| {
        let request = owner.request(Method::POST, "attachments/").header("idempotency-key", key);
        owner.send(request.multipart(form)).await
    };
    let file = |bytes: &[u8], name: &str| Part::bytes(bytes.to_vec()).file_name(name.to_owned());
    let form = |bytes: &[u8]| Form::new().text("note", "one").part("file", file(bytes, "note.txt"));
    let large: Vec<u8> = (0..3_000_000_u32).map(|number| number.to_le_bytes()[0]).collect();
    let mut changed = large.clone();
    changed[2_999_999] ^= 1;
    let longer = [large.as_slice(), b"x"].concat();
    for (key, bytes, same_length, longer) in [
        ("small", b"some bytes".as_slice(), b"same bytes".as_slice(), b"some more bytes".as_slice()),
        ("large", large.as_slice(), changed.as_slice(), longer.as_slice()),
    ] {
        let first = send_form(key, form(bytes)).await.expect(201);
        let again = send_form(key, form(bytes)).await.expect(201);
        assert!(!is_replayed(&first) && is_replayed(&again));
        assert_eq!(first.body, again.body);
        for other in [
            form(same_length),
            form(longer),
            form(b""),
            Form::new().text("note", "two").part("file", file(bytes, "note.txt")),
            Form::new().part("file", file(bytes, "note.txt")),
            Form::new().text("note", "one").part("file", file(bytes, "other.txt")),
            Form::new().text("note", "one"),
        ] {
            assert_eq!(send_form(key, other).await.body_of(422)["code"], "unprocessable");
        }
        let upload = json!({"file": first.json()["file"]});
        assert_eq!(post(&owner, "attachments/", key, &upload).await.status.as_u16(), 422);
    }
    assert_eq!(owner.get("attachments/").await.body_of(200)["count"], 2);
    // A refusal frees the key, and so does a form that has no end.
    let wrong = Form::new().text("other", "x");
    assert_eq!(send_form("wrong", wrong).await.status.as_u16(), 400);
    let cut = owner.request(Method::POST, "attachments/").header("idempotency-key", "wrong");
    let cut = cut.header("content-type", "multipart/form-data; boundary=line");
    let cut = cut.body("--line\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nsome");
    assert_eq!(owner.send(cut).await.status.as_u16(), 400);
    send_form("wrong", form(b"some bytes")).await.expect(201);
    assert_eq!(owner.get("attachments/").await.body_of(200)["count"], 3);
}
