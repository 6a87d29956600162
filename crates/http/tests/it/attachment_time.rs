//! Attached documents are read by a parser of their own, within a time of their own.

use std::sync::Arc;
use std::time::Duration;

use parlance_testkit::{Script, ScriptedChat, TestApp};
use serde_json::json;

/// What the model is told of an attached note, as the last message of its request.
async fn told(app: &TestApp, chat: &ScriptedChat) -> String {
    let owner = app.owner();
    let note = owner.upload("attachment", "note.txt", b"The code is 4711.").await;
    let note = owner.make("attachments/", &json!({"file": note})).await;
    let body = json!({"message": {"content": "What is the code?", "attachments": [note]}});
    owner.post(&format!("chatbots/{}/completions/", app.chatbot()), &body).await.expect(200).json();
    chat.take_requests()[0].messages.last().unwrap().text.clone()
}

#[tokio::test]
async fn attachments_do_not_use_the_parser_of_knowledge() {
    let chat = Arc::new(ScriptedChat::always(Script::text(["Ok."])));
    let app = TestApp::builder().chat(&chat).without_reading_knowledge().start().await;
    let told = told(&app, &chat).await;
    assert!(told.contains("The code is 4711."), "{told}");
}

#[tokio::test]
async fn a_document_that_takes_too_long_is_told_of() {
    let chat = Arc::new(ScriptedChat::always(Script::text(["Ok."])));
    let app = TestApp::builder().chat(&chat);
    let app = app.settings(|settings| settings.attachment_time = Duration::ZERO).start().await;
    let told = told(&app, &chat).await;
    assert!(told.contains("note.txt") && told.contains("(could not be read in time)"), "{told}");
    assert!(!told.contains("4711"), "{told}");
}
