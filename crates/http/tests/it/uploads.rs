//! The upload form, and attachments in all their forms.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parlance_domain::Timestamp;
use parlance_testkit::{ManualClock, Method, TestApp};
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

const FIELDS: [&str; 6] = ["key", "x-amz-algorithm", "x-amz-credential", "x-amz-date", "policy", "x-amz-signature"];

fn stored_files(app: &TestApp) -> Vec<String> {
    fn walk(folder: &std::path::Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                walk(&entry.path(), found);
            } else {
                found.push(entry.path().display().to_string());
            }
        }
    }
    let mut found = Vec::new();
    walk(&app.folder().join("blobs"), &mut found);
    found
}

#[tokio::test]
async fn a_form_has_six_fields_and_works_for_its_time_only() {
    let clock = Arc::new(ManualClock::starting_at(Timestamp::from_millis(1_790_000_000_000)));
    let app = TestApp::builder().clock(&clock).settings(|settings| settings.max_upload_bytes = 1000).start().await;
    let owner = app.owner();
    let form = owner.presign("attachment", "報告.txt", 5).await;
    let fields = form["fields"].as_object().unwrap();
    assert_eq!(fields.keys().map(String::as_str).collect::<Vec<_>>(), FIELDS);
    assert!(form["url"].as_str().unwrap().starts_with(app.url.as_str()));
    assert_eq!(fields["x-amz-algorithm"], "AWS4-HMAC-SHA256");
    assert_eq!(fields["x-amz-date"], "20260921T141320Z");
    let key = fields["key"].as_str().unwrap();
    assert!(key.starts_with("media/chat/attachment/") && key.strip_suffix(".txt").is_some(), "{key}");

    let change = |name: &str, value: &str| {
        let mut form = form.clone();
        form["fields"][name] = json!(value);
        form
    };
    let signature = fields["x-amz-signature"].as_str().unwrap();
    // A digit that every signature has: one of 64 hexadecimal digits in sixty has no 0 to be changed.
    let flipped = format!("{}{}", if signature.starts_with('0') { '1' } else { '0' }, &signature[1..]);
    assert_ne!(flipped, signature);
    let another = owner.presign("attachment", "other.txt", 5).await;
    for bad in [
        change("key", "media/chat/attachment/other.txt"),
        change("key", "../../../etc/passwd"),
        change("x-amz-signature", ""),
        change("x-amz-signature", &flipped),
        change("policy", another["fields"]["policy"].as_str().unwrap()),
        change("policy", "e30="),
        change("key", another["fields"]["key"].as_str().unwrap()),
    ] {
        owner.post_form(&bad, "a.txt", b"hello").await.expect(403).json();
    }
    // The form is for the five bytes that were announced.
    let refused = owner.post_form(&form, "a.txt", b"hello!").await.body_of(413);
    assert_eq!(refused["detail"], "the request is larger than the limit of 5 bytes.");
    owner.post_form(&form, "a.txt", &[b'x'; 1001]).await.expect(413).json();
    // The file must come last: what follows it is not read.
    let url = form["url"].as_str().unwrap();
    let early = Form::new().part("file", Part::bytes(b"hello".to_vec()).file_name("a.txt")).text("key", key.to_owned());
    let refused = app.nobody().send(app.nobody().request(Method::POST, url).multipart(early)).await;
    assert_eq!(refused.body_of(400)["detail"], "The file must be the last field of the form.");
    let none = Form::new().text("key", key.to_owned());
    app.nobody().send(app.nobody().request(Method::POST, url).multipart(none)).await.expect(400).json();
    let long = change("key", &"k".repeat(20_000));
    owner.post_form(&long, "a.txt", b"hello").await.expect(413).json();
    clock.advance(Duration::from_hours(1));
    let late = owner.post_form(&form, "a.txt", b"hello").await.body_of(400);
    assert!(late["detail"].as_str().unwrap().contains("expired"));
    assert_eq!(stored_files(&app), [""; 0], "nothing is left behind");
    assert_eq!(
        owner.post("attachments/", &json!({"file": key})).await.body_of(400)["file"].as_array().unwrap().len(),
        1
    );

    let form = owner.presign("chatbot-file", "a.txt", 5).await;
    for _ in 0..2 {
        // Posting it again is a retry, not a fault.
        let answer = owner.post_form(&form, "a.txt", b"hello").await.expect(204);
        assert!(answer.body.is_empty());
    }
    owner.post_form(&form, "a.txt", b"other").await.expect(409).json();
    assert_eq!(stored_files(&app).len(), 1);
    owner.post("attachments/", &json!({"file": form["fields"]["key"]})).await.expect(201).json();
}

/// The condition on the length in the policy of a form.
fn length_range(form: &Value) -> Value {
    let policy = STANDARD.decode(form["fields"]["policy"].as_str().unwrap()).unwrap();
    serde_json::from_slice::<Value>(&policy).unwrap()["conditions"][0].clone()
}

#[tokio::test]
async fn a_form_takes_what_was_announced_and_no_more() {
    let app = TestApp::builder().settings(|settings| settings.max_upload_bytes = 1000).start().await;
    let owner = app.owner();
    for (announced, largest) in [(1, 1), (999, 999), (1000, 1000), (0, 1000)] {
        let form = owner.presign("attachment", "a.bin", announced).await;
        assert_eq!(length_range(&form), json!(["content-length-range", 0, largest]));
        owner.post_form(&form, "a.bin", &vec![b'x'; largest + 1]).await.expect(413).json();
        // The refusal used nothing up.
        owner.post_form(&form, "a.bin", &vec![b'x'; largest]).await.expect(204);
    }
    let form = owner.presign("attachment", "a.bin", 5).await;
    owner.post_form(&form, "a.bin", b"").await.expect(204);
    let words = json!({"filename": "a", "modelName": "x", "fieldName": "file", "fileSize": " 7 "});
    let form = owner.post("upload-presigned-url/", &words).await.body_of(200);
    assert_eq!(length_range(&form), json!(["content-length-range", 0, 7]));
    assert_eq!(stored_files(&app).len(), 5);
    let over = json!({"filename": "a", "modelName": "x", "fieldName": "file", "fileSize": 1001});
    owner.post("upload-presigned-url/", &over).await.expect(413).json();
}

#[tokio::test]
async fn a_form_is_asked_for_in_a_body_or_a_query() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let query = "upload-presigned-url/?filename=a.txt&modelName=batch-qa&fieldName=file";
    owner.post(query, &json!({"fileSize": 5})).await.expect(200).json();
    owner
        .post(
            "upload-presigned-url",
            &json!({"filename": "a.txt", "model_name": "x", "field_name": "file", "file_size": "5"}),
        )
        .await
        .expect(200)
        .json();
    for (body, field) in [
        (json!({"modelName": "x", "fieldName": "file", "fileSize": 1}), "filename"),
        (json!({"filename": "a", "fieldName": "file", "fileSize": 1}), "modelName"),
        (json!({"filename": "a", "modelName": "x", "fileSize": 1}), "fieldName"),
        (json!({"filename": "a", "modelName": "x", "fieldName": "file"}), "fileSize"),
        (json!({"filename": "a", "modelName": "x", "fieldName": "file", "fileSize": -1}), "fileSize"),
        (json!({"filename": "a", "modelName": "x", "fieldName": "file", "fileSize": "big"}), "fileSize"),
        (json!({"filename": "..", "modelName": "x", "fieldName": "file", "fileSize": 1}), "filename"),
    ] {
        assert!(owner.post("upload-presigned-url/", &body).await.body_of(400)[field].is_array(), "{body}");
    }
    let huge = json!({"filename": "a", "modelName": "x", "fieldName": "file", "fileSize": u64::MAX});
    owner.post("upload-presigned-url/", &huge).await.expect(413).json();
}

#[tokio::test]
async fn attachments_are_made_in_every_form() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let form = |name: &str| Form::new().part("file", Part::bytes(b"hello".to_vec()).file_name(name.to_owned()));
    let conversation = owner.ask(&app.chatbot(), "Hello").await["conversationId"].as_str().unwrap().to_owned();
    let inside = format!("conversations/{conversation}/attachments/");
    let mut made: Vec<Value> = Vec::new();
    for (path, name, kind) in [
        ("attachments/", "照片.PNG", "image"),
        ("attachments-upload/", "a.mp3", "audio"),
        (inside.as_str(), "a.pdf", "other"),
    ] {
        let answer = owner.send(owner.request(Method::POST, path).multipart(form(name))).await.body_of(201);
        assert_eq!((answer["filename"].clone(), answer["type"].clone()), (json!(name), json!(kind)));
        assert_eq!(app.nobody().get(answer["file"].as_str().unwrap()).await.expect(200).text(), "hello");
        made.push(answer);
    }
    assert_eq!(made[2]["conversation"], conversation);
    let key = owner.upload("attachment", "b.txt", b"hello").await;
    let named =
        owner.post(&inside, &json!({"file": key, "filename": "../c.txt", "type": "sticker"})).await.body_of(201);
    assert_eq!((named["filename"].clone(), named["type"].clone()), (json!("c.txt"), json!("sticker")));
    // The address of an attachment names its bytes again.
    let again = owner.post("attachments/", &json!({"file": named["file"], "type": "nonsense"})).await.body_of(201);
    assert_eq!((again["filename"].clone(), again["type"].clone()), (json!("b.txt"), json!("other")));
    assert_ne!(again["id"], named["id"]);

    let list = owner.get("attachments/").await.body_of(200);
    assert_eq!((list["count"].clone(), list["results"][0].clone()), (json!(5), again.clone()));
    let path = format!("attachments/{}/", again["id"].as_str().unwrap());
    assert_eq!(owner.get(&path).await.body_of(200), again);
    owner.delete(&path).await.expect(204);
    owner.get(&path).await.expect(404).json();
    // Another one still shows the bytes.
    parlance_service::uploads::sweep(&app.app).await.unwrap();
    assert_eq!(app.nobody().get(named["file"].as_str().unwrap()).await.expect(200).text(), "hello");
    let wrong = Form::new().text("other", "x");
    let refused = owner.send(owner.request(Method::POST, "attachments/").multipart(wrong)).await;
    assert_eq!(refused.body_of(400), json!({"file": ["No file was submitted."]}));
    let shown = app.nobody().get(made[0]["file"].as_str().unwrap()).await;
    assert!(shown.header("content-disposition").starts_with("inline;"));
    let saved = app.nobody().get(made[2]["file"].as_str().unwrap()).await;
    assert!(saved.header("content-disposition").starts_with("attachment;"));
    assert_eq!(saved.header("x-content-type-options"), "nosniff");
}
