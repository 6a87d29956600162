//! The older paths, which address knowledge by the assistant.

use parlance_testkit::TestApp;
use serde_json::{Value, json};

use crate::world::UNKNOWN;

#[tokio::test]
async fn knowledge_is_kept_through_the_assistant() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let bot = owner.make("chatbots/", &json!({"name": "Alone"})).await;
    let made =
        owner.post("faqs/", &json!({"chatbot": bot, "question": "Open?", "answer": "Always."})).await.body_of(201);
    let shown = owner.get(&format!("chatbots/{bot}/")).await.body_of(200);
    assert_eq!(shown["knowledgeBases"][0], json!({"id": made["knowledgeBase"], "name": "Alone"}), "one was made");
    let faqs = format!("chatbots/{bot}/faqs/");
    let second = owner.post(&faqs, &json!({"question": "Closed?", "answer": "Never."})).await.body_of(201);
    assert_eq!(second["knowledgeBase"], made["knowledgeBase"]);
    assert_eq!(owner.get(&faqs).await.body_of(200)["count"], 2);
    let path = format!("{faqs}{}/", second["id"].as_str().unwrap());
    assert_eq!(owner.put(&path, &json!({"answer": "At night."})).await.body_of(200)["answer"], "At night.");
    assert_eq!(owner.get(&path).await.body_of(200)["answer"], "At night.");
    owner.get(&path.replace(&bot, &app.chatbot())).await.expect(404);
    let delete = format!("{faqs}batch-delete/");
    assert_eq!(owner.post(&delete, &json!({"ids": []})).await.body_of(200)["deletedCount"], 0);
    assert_eq!(owner.post(&delete, &json!({"ids": [second["id"]]})).await.body_of(200)["deletedCount"], 1);
    for chatbot in [json!(UNKNOWN), json!("x")] {
        let refused = owner.post("faqs/", &json!({"chatbot": chatbot, "question": "a", "answer": "b"})).await;
        assert_eq!(refused.body_of(400), json!({"chatbot": ["No chatbot has this id."]}));
    }
    assert!(owner.post("faqs/", &json!({"chatbot": bot, "question": "a"})).await.body_of(400)["answer"].is_array());

    let files = format!("chatbots/{bot}/files/");
    let key = owner.upload("chatbot-file", "a.txt", b"Parcels come on Monday.").await;
    let one = owner.post(&files, &json!({"file": key, "filename": "one.txt"})).await.body_of(201);
    assert_eq!(
        (one["filename"].clone(), one["knowledgeBase"].clone()),
        (json!("one.txt"), made["knowledgeBase"].clone())
    );
    let list = owner.post(&files, &json!({"files": [{"file": key, "filename": "b.pdf"}]})).await.body_of(201);
    assert_eq!(list[0]["filename"], "b.pdf");
    app.run_jobs().await;
    for path in [files.clone(), format!("chatbots/{bot}/knowledge-bases-files/")] {
        assert_eq!(owner.get(&path).await.body_of(200)["count"], 2);
        assert_eq!(owner.get(&format!("{path}?query=one")).await.body_of(200)["count"], 1);
    }
    let path = format!("{files}{}/", one["id"].as_str().unwrap());
    let none = owner.get(&format!("{path}latest-failed-reason/")).await.body_of(200);
    assert_eq!((none["failedReason"].clone(), none["status"].clone()), (Value::Null, json!("done")));
    let broken = format!("{files}{}/latest-failed-reason/", list[0]["id"].as_str().unwrap());
    assert!(owner.get(&broken).await.body_of(200)["failedReason"].is_string());
    let hits = owner.post(&format!("chatbots/{bot}/search/"), &json!({"query": "parcels"})).await.body_of(200);
    assert_eq!(hits[0]["chatbotFile"]["id"], one["id"]);
    assert_eq!(owner.patch(&path, &json!({"filename": "two.txt"})).await.body_of(200)["filename"], "two.txt");
    owner.delete(&path).await.expect(204);
    owner.get(&path).await.expect(404);
    owner.post(&format!("{files}batch-delete/"), &json!({"ids": [list[0]["id"]]})).await.expect(204);
    assert_eq!(owner.get(&files).await.body_of(200)["count"], 0);
}
