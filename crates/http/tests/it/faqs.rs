//! FAQs: kept, listed, and searched as passages of their own.

use parlance_testkit::TestApp;
use serde_json::{Value, json};

const QUESTION: &str = "可以開三聯式發票嗎？";
const ANSWER: &str = "可以，請於結帳時填寫統一編號。";

#[tokio::test]
async fn faqs_are_made_changed_listed_and_removed() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let faqs = format!("knowledge-bases/{}/faqs/", app.base());
    let body = json!({"question": QUESTION, "answer": ANSWER, "labels": [{"id": "?", "name": "發票"}], "tenant": 1});
    let made = owner.post(&faqs, &body).await.body_of(201);
    assert_eq!((made["question"].clone(), made["answer"].clone()), (json!(QUESTION), json!(ANSWER)));
    assert_eq!((made["labels"][0]["name"].clone(), made["hitsCount"].clone()), (json!("發票"), json!(0)));
    assert_eq!(made["rawUserDefineMetadata"], Value::Null);
    assert!(made["createdAt"].as_str().is_some_and(|time| time.len() == 13));
    let path = format!("{faqs}{}/", made["id"].as_str().unwrap());
    assert_eq!(owner.get(&path).await.body_of(200), made);
    for (body, field) in [
        (json!({"answer": ANSWER}), "question"),
        (json!({"question": QUESTION}), "answer"),
        (json!({"question": " ", "answer": ANSWER}), "question"),
        (json!({"question": "x".repeat(2001), "answer": ANSWER}), "question"),
        (json!({"question": QUESTION, "answer": "x".repeat(10_001)}), "answer"),
        (json!({"question": QUESTION, "answer": ANSWER, "labels": [{"id": "?"}]}), "labels"),
        (json!({"question": QUESTION, "answer": ANSWER, "labels": [7]}), "labels"),
    ] {
        assert!(!owner.post(&faqs, &body).await.body_of(400)[field].is_null(), "{body}");
    }
    assert_eq!(owner.get(&faqs).await.body_of(200)["count"], 1);
    // Labels are left alone where they are left out.
    let changed = owner.put(&path, &json!({"answer": "不可以。"})).await.body_of(200);
    assert_eq!((changed["question"].clone(), changed["labels"].clone()), (json!(QUESTION), made["labels"].clone()));
    let metadata = json!({"Some_Key": {"inner_key": 1}});
    let update = format!("{path}update-metadata/");
    for method in ["PATCH", "POST"] {
        let method = parlance_testkit::Method::from_bytes(method.as_bytes()).unwrap();
        let answer = owner.call(method, &update, Some(&json!({"rawUserDefineMetadata": metadata}))).await.body_of(200);
        assert_eq!(answer["rawUserDefineMetadata"], metadata);
    }
    let second = owner.make(&faqs, &json!({"question": "Open on Sunday?", "answer": "No."})).await;
    for (query, expected) in [
        ("", 2),
        ("?query=%E5%8F%91%E7%A5%A8", 1),
        ("?query=SUNDAY", 1),
        ("?query=zebra", 0),
        (&format!("?label={}", made["labels"][0]["id"].as_str().unwrap()), 1),
    ] {
        assert_eq!(owner.get(&format!("{faqs}{query}")).await.body_of(200)["count"], expected, "{query}");
    }
    let page = owner.get(&format!("{faqs}?page_size=1")).await.body_of(200);
    assert_eq!(page["results"][0]["id"], json!(second), "newest first");
    owner.delete(&path).await.expect(204);
    owner.get(&path).await.expect(404);
    owner.delete(&path).await.expect(404);
}

#[tokio::test]
async fn several_are_removed_at_once_and_an_empty_list_means_all() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let faqs = format!("knowledge-bases/{}/faqs/", app.base());
    let mut ids = Vec::new();
    for number in 0..4 {
        ids.push(owner.make(&faqs, &json!({"question": format!("Q{number}?"), "answer": "A."})).await);
    }
    let other = owner.make("knowledge-bases/", &json!({"name": "Other"})).await;
    let foreign = format!("knowledge-bases/{other}/faqs/");
    let foreign = owner.make(&foreign, &json!({"question": "Q?", "answer": "A."})).await;
    let delete = format!("{faqs}batch-delete/");
    let refused = owner.post(&delete, &json!({"ids": [ids[0], foreign]})).await.body_of(400);
    assert_eq!(refused, json!({"ids": [{}, ["No FAQ has this id."]]}));
    assert!(owner.post(&delete, &json!({})).await.body_of(400)["ids"].is_array());
    assert_eq!(owner.get(&faqs).await.body_of(200)["count"], 4, "all or none");
    let deleted = owner.post(&delete, &json!({"ids": [ids[0], ids[0], ids[1]]})).await.body_of(200);
    assert_eq!(deleted["deletedCount"], 2);
    assert_eq!(owner.post(&delete, &json!({"ids": []})).await.body_of(200)["deletedCount"], 2);
    assert_eq!(owner.get(&faqs).await.body_of(200)["count"], 0);
    assert_eq!(owner.get(&format!("knowledge-bases/{other}/faqs/")).await.body_of(200)["count"], 1);
}

#[tokio::test]
async fn an_faq_is_searched_answered_and_cited() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let base = app.base();
    app.know(&[("store.txt", "門市每天上午十點開門，晚上九點關門。")]).await;
    let faqs = format!("knowledge-bases/{base}/faqs/");
    let id = owner.make(&faqs, &json!({"question": QUESTION, "answer": ANSWER})).await;
    app.run_jobs().await;
    let search = format!("knowledge-bases/{base}/search/");
    let hits = owner.post(&search, &json!({"query": "能不能开三联式发票"})).await.body_of(200);
    assert_eq!((hits[0]["id"].clone(), hits[0]["faq"].clone()), (json!(id), json!(id)), "{hits}");
    assert_eq!(hits[0]["text"], format!("{QUESTION}\n{ANSWER}"));
    assert_eq!(hits[0]["chatbot_file"], json!({"id": null, "filename": QUESTION}));

    let answer = owner.ask(&app.chatbot(), "可以開三聯式發票嗎").await;
    assert_eq!(answer["content"], format!("{ANSWER} [1]"));
    assert_eq!(answer["citations"], json!([]), "an FAQ is no file");
    let node = &answer["citationNodes"][0]["chatbotTextNode"];
    assert_eq!((node["chatbotFile"].clone(), node["filename"].clone()), (Value::Null, json!(QUESTION)));
    assert_eq!(owner.get(&format!("{faqs}{id}/")).await.body_of(200)["hitsCount"], 1);

    // What the database has counts at once, whatever the index knows.
    owner.patch(&format!("{faqs}{id}/"), &json!({"answer": "暫不提供。"})).await.expect(200);
    assert_eq!(owner.found(&base, "三聯式發票").await, [format!("{QUESTION}\n暫不提供。")]);
    app.run_jobs().await;
    assert_eq!(owner.found(&base, "統一編號").await, [""; 0], "the words of before are forgotten");
    assert_eq!(owner.found(&base, "暫不提供").await.len(), 1);
    parlance_service::indexer::rebuild(&app.app).await.unwrap();
    app.run_jobs().await;
    assert_eq!(owner.found(&base, "暫不提供").await.len(), 1, "once, also after a rebuild");
    assert_eq!(app.app.text_index.health().unwrap().passages, 2);
    owner.delete(&format!("{faqs}{id}/")).await.expect(204);
    assert_eq!(owner.found(&base, "三聯式發票").await, [""; 0]);
    app.run_jobs().await;
    assert_eq!(app.app.text_index.health().unwrap().passages, 1);
}
