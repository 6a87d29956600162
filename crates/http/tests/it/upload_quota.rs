//! How many bytes of files an organisation may store, by every path that stores some.

use std::time::Duration;

use parlance_domain::Timestamp;
use parlance_testkit::{Actor, Answer, ManualClock, Method, TestApp};
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

const QUOTA: u64 = 1000;

async fn limited() -> TestApp {
    TestApp::builder().settings(|settings| settings.organisation_upload_bytes = QUOTA).start().await
}

/// What the organisation stores, as it is shown.
async fn stored(app: &TestApp) -> u64 {
    let list = app.owner().get("organizations/").await.body_of(200);
    let own = app.owner().get(&format!("organizations/{}/", list["results"][0]["id"].as_str().unwrap())).await;
    let own = own.body_of(200);
    assert_eq!(own, list["results"][0]);
    assert_eq!(own["storedBytesLimit"], QUOTA);
    own["storedBytes"].as_u64().unwrap()
}

async fn attach(actor: &Actor, path: &str, bytes: usize) -> Answer {
    let part = Part::bytes(vec![b'x'; bytes]).file_name("a.txt");
    actor.send(actor.request(Method::POST, path).multipart(Form::new().part("file", part))).await
}

fn refused(answer: Answer) {
    let body = answer.body_of(507);
    assert_eq!(body["code"], "quota_exceeded");
    assert!(body["detail"].as_str().unwrap().contains("LIMITS__ORGANISATION_UPLOAD_BYTES"), "{body}");
}

#[tokio::test]
async fn what_is_over_the_quota_is_refused_by_every_path() {
    let app = limited().await;
    let owner = app.owner();
    // Both asked for while there was room.
    let first = owner.presign("chatbot-file", "a.txt", 600).await;
    let second = owner.presign("chatbot-file", "b.txt", 600).await;
    owner.post_form(&first, "a.txt", &[b'x'; 600]).await.expect(204);
    assert_eq!(stored(&app).await, 600);
    refused(owner.post_form(&second, "b.txt", &[b'x'; 600]).await);
    owner.post_form(&second, "b.txt", &[b'x'; 300]).await.expect(204);
    refused(attach(&owner, "attachments/", 101).await);
    attach(&owner, "attachments-upload/", 100).await.expect(201).json();
    assert_eq!(stored(&app).await, 1000);
    let form = json!({"filename": "a.txt", "modelName": "x", "fieldName": "file", "fileSize": 1});
    refused(owner.post("upload-presigned-url/", &form).await);
    refused(attach(&owner, "attachments/", 1).await);
    // A lost answer is given again, also when the quota is used up.
    owner.post_form(&first, "a.txt", &[b'x'; 600]).await.expect(204);
    owner.post_form(&first, "a.txt", &[b'y'; 600]).await.expect(409).json();

    // Visitors' files count, and another organisation's do not.
    let body = json!({"chatbot": app.chatbot(), "theme": {}, "darkTheme": {}, "enableFileUpload": true});
    let page = owner.make("web-chats/", &body).await;
    let session = app.nobody().post(&format!("web-chats/{page}/sessions/"), &json!({})).await.body_of(201);
    let visitor = app.with_header(&format!("Visitor {}", session["token"].as_str().unwrap()));
    let conversation = visitor.make("conversations/", &json!({"webChat": page})).await;
    refused(attach(&visitor, &format!("conversations/{conversation}/attachments/"), 1).await);
    attach(&app.other_organisation().await, "attachments/", 900).await.expect(201).json();
    assert_eq!(stored(&app).await, 1000);
}

#[tokio::test]
async fn room_comes_back_with_deletion_and_from_what_nobody_used() {
    let clock = std::sync::Arc::new(ManualClock::starting_at(Timestamp::from_millis(1_790_000_000_000)));
    let app = TestApp::builder().clock(&clock).settings(|settings| settings.organisation_upload_bytes = QUOTA);
    let app = app.start().await;
    let owner = app.owner();
    let base = app.base();
    let file = owner.add_file(&base, "a.txt", &"words ".repeat(100)).await;
    let picture = attach(&owner, "attachments/", 200).await.body_of(201);
    owner.upload("attachment", "unused.txt", &[b'x'; 150]).await;
    app.run_jobs().await;
    assert_eq!(stored(&app).await, 950);
    // The same bytes once more take no more room, and stay until the last of both is gone.
    let twin = owner.post("attachments/", &json!({"file": picture["file"]})).await.body_of(201);
    let path = |attachment: &Value| format!("attachments/{}/", attachment["id"].as_str().unwrap());
    owner.delete(&path(&picture)).await.expect(204);
    assert_eq!(stored(&app).await, 950);
    owner.delete(&path(&twin)).await.expect(204);
    assert_eq!(stored(&app).await, 750);
    // What was deleted cannot be brought back by its address, which would not be counted.
    owner.post("attachments/", &json!({"file": twin["file"]})).await.expect(400).json();
    attach(&owner, "attachments/", 250).await.expect(201).json();
    refused(attach(&owner, "attachments/", 1).await);

    owner.delete(&format!("knowledge-bases/{base}/files/{file}/")).await.expect(204);
    app.run_jobs().await;
    assert_eq!(stored(&app).await, 400);
    parlance_service::uploads::sweep(&app.app).await.unwrap();
    assert_eq!(stored(&app).await, 400, "the sweep takes nothing off twice");
    clock.advance(Duration::from_hours(25));
    parlance_service::uploads::sweep(&app.app).await.unwrap();
    assert_eq!(stored(&app).await, 250, "the unused one is gone");
}

#[tokio::test]
async fn uploads_at_the_same_time_are_together_within_the_quota() {
    let app = limited().await;
    let owner = app.owner();
    let mut forms = Vec::new();
    for _ in 0..12 {
        forms.push(owner.presign("attachment", "a.txt", 150).await);
    }
    let forms = forms.iter().map(|form| async { owner.post_form(form, "a.txt", &[b'x'; 150]).await.status.as_u16() });
    let direct = (0..12).map(|_| async { attach(&owner, "attachments/", 150).await.status.as_u16() });
    let (forms, direct) = tokio::join!(futures_util::future::join_all(forms), futures_util::future::join_all(direct));
    let statuses: Vec<u16> = forms.into_iter().chain(direct).collect();
    let kept = statuses.iter().filter(|status| matches!(status, 201 | 204)).count();
    assert_eq!(kept, 6, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 507).count(), 18, "{statuses:?}");
    assert_eq!(stored(&app).await, 900);
    let mut keys = app.app.blobs.stored_before(Timestamp::from_millis(i64::MAX / 2));
    let mut on_disk = 0;
    while let Some(slice) = keys.recv().await {
        on_disk += slice.len();
    }
    assert_eq!(on_disk, 6, "nothing of those that were refused is left");
}
