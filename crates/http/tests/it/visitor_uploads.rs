//! Files of visitors: where they may upload, and that nobody else uses what they did.

use parlance_testkit::{Actor, TestApp};
use serde_json::json;

async fn page(app: &TestApp, takes_files: bool) -> String {
    let body = json!({"chatbot": app.chatbot(), "theme": {}, "darkTheme": {}, "enableFileUpload": takes_files});
    app.owner().make("web-chats/", &body).await
}

async fn visitor(app: &TestApp, page: &str) -> Actor {
    let session = app.nobody().post(&format!("web-chats/{page}/sessions/"), &json!({})).await.body_of(201);
    app.with_header(&format!("Visitor {}", session["token"].as_str().unwrap()))
}

#[tokio::test]
async fn what_a_visitor_uploads_is_theirs_alone() {
    let app = TestApp::start().await;
    let page = page(&app, true).await;
    let (alice, bob) = (visitor(&app, &page).await, visitor(&app, &page).await);
    let mut conversations = Vec::new();
    for who in [&alice, &bob] {
        conversations.push(who.make("conversations/", &json!({"webChat": page})).await);
    }
    let key = alice.upload("attachment", "note.txt", b"The canary sings.").await;
    let owners = app.owner().upload("attachment", "plan.txt", b"A plan.").await;

    // Neither another visitor's file nor the organisation's, by any path that takes a key.
    let files = |conversation: &str| format!("conversations/{conversation}/attachments/");
    for foreign in [&key, &owners] {
        let refused = bob.post(&files(&conversations[1]), &json!({"file": foreign})).await;
        assert!(refused.body_of(400)["file"].is_array());
        let message = json!({"conversation": conversations[1], "content": "x",
            "attachments": [{"file": foreign, "filename": "x.txt"}]});
        let refused = bob.post("messages/", &message).await.body_of(400);
        assert!(refused.to_string().contains("No such upload"), "{refused}");
    }
    bob.post(&files(&conversations[0]), &json!({"file": key})).await.expect(404).json();
    let made = alice.post(&files(&conversations[0]), &json!({"file": key})).await.body_of(201);
    assert_eq!(made["filename"], "note.txt");
    let theirs = json!({"conversation": conversations[1], "content": "x", "attachments": [{"id": made["id"]}]});
    bob.post("messages/", &theirs).await.expect(400).json();
    let own = json!({"conversation": conversations[0], "content": "x", "attachments": [{"id": made["id"]}]});
    alice.post("messages/", &own).await.expect(201).json();

    // Knowledge is not for visitors.
    let form = json!({"filename": "a.txt", "modelName": "chatbot-file", "fieldName": "file", "fileSize": 1});
    assert!(alice.post("upload-presigned-url/", &form).await.body_of(400)["modelName"].is_array());
}

#[tokio::test]
async fn a_web_chat_that_takes_no_files_takes_none() {
    let app = TestApp::start().await;
    let page = page(&app, false).await;
    let visitor = visitor(&app, &page).await;
    let conversation = visitor.make("conversations/", &json!({"webChat": page})).await;
    let form = json!({"filename": "a.txt", "modelName": "attachment", "fieldName": "file", "fileSize": 1});
    visitor.post("upload-presigned-url/", &form).await.expect(403).json();
    let path = format!("conversations/{conversation}/attachments/");
    visitor.post(&path, &json!({"file": "media/chat/attachment/x"})).await.expect(403).json();
}
