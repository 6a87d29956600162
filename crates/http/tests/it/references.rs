//! Ids inside bodies that are another organisation's, and members nobody may write.

use parlance_testkit::{Actor, Method, TestApp};
use serde_json::{Value, json};

use crate::world::{UNKNOWN, told, world};

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a list of requests")]
async fn foreign_ids_in_bodies_are_wrong_fields() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let own = world(&app, &owner, "heron").await;
    let other = app.other_organisation().await;
    let theirs = world(&app, &other, "curlew").await;
    let before = told(&owner, &own).await;
    let no_upload = "No such upload: use the key of a finished upload, or one of our own file links.";
    let completion = format!("chatbots/{}/completions/", theirs.chatbot);
    let files = format!("knowledge-bases/{}/files/", theirs.base);
    for foreign in [&own, &world(&app, &owner, "bittern").await] {
        let mut cases: Vec<(Method, String, Value, Value)> = vec![
            (
                Method::POST,
                "chatbots/".into(),
                json!({"name": "x", "knowledgeBases": [{"id": theirs.base}, {"id": foreign.base}]}),
                json!({"knowledgeBases": [{}, {"id": ["No knowledge base has this id."]}]}),
            ),
            (
                Method::PATCH,
                format!("chatbots/{}/", theirs.chatbot),
                json!({"knowledge_bases": [foreign.base]}),
                json!({"knowledgeBases": [{"id": ["No knowledge base has this id."]}]}),
            ),
            (
                Method::POST,
                "knowledge-bases/".into(),
                json!({"name": "x", "chatbots": [{"id": foreign.chatbot}]}),
                json!({"chatbots": [{"id": ["No chatbot has this id."]}]}),
            ),
            (
                Method::PUT,
                format!("knowledge-bases/{}/", theirs.base),
                json!({"chatbots": [{"id": foreign.chatbot}]}),
                json!({"chatbots": [{"id": ["No chatbot has this id."]}]}),
            ),
            (
                Method::POST,
                completion.clone(),
                json!({"conversation": foreign.conversation, "message": {"content": "x"}}),
                json!({"conversation": ["No conversation of this chatbot has this id."]}),
            ),
            (
                Method::POST,
                completion.clone(),
                json!({"message": {"content": "x", "attachments": [{"id": theirs.attachment}, {"id": foreign.attachment}]}}),
                json!({"message": {"attachments": [{}, {"id": ["No attachment has this id."]}]}}),
            ),
            (
                Method::POST,
                completion.clone(),
                json!({"message": {"content": "x", "sender": UNKNOWN}}),
                json!({"message": {"sender": ["No contact has this id."]}}),
            ),
            (
                Method::POST,
                format!("knowledge-bases/{}/files/batch-delete/", theirs.base),
                json!({"ids": [theirs.file, foreign.file]}),
                json!({"ids": [{}, ["No file of this knowledge base has this id."]]}),
            ),
            (
                Method::PATCH,
                format!("knowledge-bases/{}/files/batch-reparse/", theirs.base),
                json!([{"id": foreign.file}]),
                json!([{"id": ["No file of this knowledge base has this id."]}]),
            ),
            (
                Method::PUT,
                format!("model-providers/{}/", theirs.provider),
                json!({"name": "x", "kind": "openai", "baseUrl": "https://models.example/v1",
                       "models": [{"id": foreign.model, "name": "m", "role": "chat"}]}),
                json!({"models": [{"id": ["No model of this provider."]}]}),
            ),
        ];
        for file in
            [&foreign.upload, &foreign.link, &foreign.file, "https://elsewhere.example/a.txt", "../../etc/passwd"]
        {
            cases.push((
                Method::POST,
                files.clone(),
                json!({"files": [{"file": file}]}),
                json!({"files": [{"file": [no_upload]}]}),
            ));
            cases.push((Method::POST, "attachments/".into(), json!({"file": file}), json!({"file": [no_upload]})));
        }
        for (method, path, body, expected) in cases {
            let answer = other.call(method, &path, Some(&body)).await;
            assert_eq!(answer.body_of(400), expected, "{path} {body}");
        }
    }
    // The batch did not delete the caller's own file either.
    other.get(&format!("knowledge-bases/{}/files/{}/", theirs.base, theirs.file)).await.expect(200).json();
    let after = told(&owner, &own).await;
    assert_eq!(after[1], before[1]);
    assert_eq!(after[4], before[4]);
}

async fn member(actor: &Actor, path: &str, name: &str) -> Value {
    actor.get(path).await.body_of(200)[name].clone()
}

#[tokio::test]
async fn nobody_writes_what_is_the_products_own() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let own = world(&app, &owner, "heron").await;
    let organisation = member(&owner, &format!("chatbots/{}/", own.chatbot), "organization").await;
    let forged = json!({
        "name": "Forged", "id": UNKNOWN, "organization": UNKNOWN, "organisation": UNKNOWN, "org_id": UNKNOWN,
        "orgId": UNKNOWN, "tenant": UNKNOWN, "user": UNKNOWN, "owner": UNKNOWN, "role": "owner",
        "createdAt": "1", "created_at": "1", "updatedAt": "1", "apiWebChatId": UNKNOWN, "filesCount": 99,
        "status": "failed", "size": 1, "blobKey": "x", "knowledgeBase": UNKNOWN, "filename": "forged.txt",
        "kind": "openai", "baseUrl": "https://models.example/v1", "models": [], "hasApiKey": false,
    });
    for path in [
        format!("chatbots/{}/", own.chatbot),
        format!("knowledge-bases/{}/", own.base),
        format!("knowledge-bases/{}/files/{}/", own.base, own.file),
        format!("model-providers/{}/", own.provider),
    ] {
        let before = owner.get(&path).await.body_of(200);
        let after = owner.put(&path, &forged).await.body_of(200);
        for name in [
            "id",
            "organization",
            "createdAt",
            "apiWebChatId",
            "filesCount",
            "status",
            "size",
            "knowledgeBase",
            "hasApiKey",
            "role",
        ] {
            assert_eq!(after[name], before[name], "{path} {name}");
        }
        assert_ne!(after["updatedAt"], "1");
    }
    for path in ["chatbots/", "knowledge-bases/"] {
        let made = owner.post(path, &forged).await.body_of(201);
        assert_ne!(made["id"], UNKNOWN);
        assert_eq!(made["organization"], organisation);
        assert_ne!(made["createdAt"], "1");
    }
}
