//! Labels, and the files and FAQs that carry them.

use parlance_testkit::TestApp;
use serde_json::{Value, json};

#[tokio::test]
async fn labels_are_made_renamed_and_removed() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let labels = format!("knowledge-bases/{}/labels/", app.base());
    let made = owner.post(&labels, &json!({"name": " 公開 "})).await.body_of(201);
    assert_eq!(made["name"], "公開");
    let path = format!("{labels}{}/", made["id"].as_str().unwrap());
    assert_eq!(owner.get(&path).await.body_of(200), made);
    owner.post(&labels, &json!({"name": "內部"})).await.expect(201);
    for body in [json!({"name": "公開"}), json!({"name": ""}), json!({"name": "x".repeat(256)}), json!({})] {
        assert!(owner.post(&labels, &body).await.body_of(400)["name"].is_array(), "{body}");
    }
    assert!(owner.put(&path, &json!({"name": "內部"})).await.body_of(400)["name"].is_array());
    assert_eq!(owner.put(&path, &json!({"name": "公開"})).await.body_of(200), made, "its own name is no other's");
    assert_eq!(owner.patch(&path, &json!({})).await.body_of(200), made);
    assert_eq!(owner.patch(&path, &json!({"name": "全員"})).await.body_of(200)["name"], "全員");
    let list = owner.get(&labels).await.body_of(200);
    assert_eq!((list["count"].clone(), list["results"][1]["name"].clone()), (json!(2), json!("全員")));
    // A Simplified query finds the Traditional name.
    assert_eq!(owner.get(&format!("{labels}?query=%E5%85%A8%E5%91%98")).await.body_of(200)["count"], 1);
    // The same name is free in another base, where this label is not.
    let other = owner.make("knowledge-bases/", &json!({"name": "Other"})).await;
    owner.post(&format!("knowledge-bases/{other}/labels/"), &json!({"name": "全員"})).await.expect(201);
    owner.get(&path.replace(&app.base(), &other)).await.expect(404);
    owner.delete(&path).await.expect(204);
    owner.delete(&path).await.expect(404);
    assert_eq!(owner.get(&labels).await.body_of(200)["count"], 1);
}

#[tokio::test]
async fn files_carry_labels_and_metadata() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let base = app.base();
    let label = owner.make(&format!("knowledge-bases/{base}/labels/"), &json!({"name": "B"})).await;
    let unknown = "019a0000-0000-7000-8000-000000000000";
    let key = owner.upload("chatbot-file", "a.txt", b"Text.").await;
    let files = format!("knowledge-bases/{base}/files/");
    let named = json!([{"id": label}, {"id": unknown, "name": "A"}, {"name": "A"}]);
    let made = owner.post(&files, &json!({"files": [{"file": key, "labels": named}]})).await.body_of(201);
    let labels_of = |file: &Value| -> Vec<String> {
        file["labels"].as_array().unwrap().iter().map(|label| label["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(labels_of(&made[0]), ["A", "B"]);
    assert_eq!(owner.get(&format!("knowledge-bases/{base}/labels/")).await.body_of(200)["count"], 2);
    let path = format!("{files}{}/", made[0]["id"].as_str().unwrap());
    assert_eq!(owner.get(&path).await.body_of(200)["labels"], made[0]["labels"]);
    assert_eq!(owner.get(&files).await.body_of(200)["results"][0]["labels"], made[0]["labels"]);
    for (query, count) in [(label.as_str(), 1), (unknown, 0), ("x", 0)] {
        assert_eq!(owner.get(&format!("{files}?label={query}")).await.body_of(200)["count"], count, "{query}");
    }
    let refused = owner.patch(&path, &json!({"labels": [{"id": label}, {"id": unknown}]})).await.body_of(400);
    assert_eq!(refused, json!({"labels": [{}, {"id": ["No label of this knowledge base has this id."]}]}));
    assert_eq!(
        labels_of(&owner.patch(&path, &json!({"filename": "b.txt"})).await.body_of(200)),
        ["A", "B"],
        "left alone"
    );
    assert_eq!(labels_of(&owner.put(&path, &json!({"labels": [label]})).await.body_of(200)), ["B"]);
    assert_eq!(labels_of(&owner.patch(&path, &json!({"labels": []})).await.body_of(200)), [""; 0]);

    let metadata = json!({"Some_Key": {"inner_key": [1, null]}});
    let body = json!({"raw_user_define_metadata": metadata});
    let update = format!("{path}update-metadata/");
    assert_eq!(owner.patch(&update, &body).await.body_of(200)["rawUserDefineMetadata"], metadata);
    let cleared = owner.post(&update, &json!({"rawUserDefineMetadata": null})).await.body_of(200);
    assert_eq!(cleared["rawUserDefineMetadata"], Value::Null);
    assert!(owner.post(&update, &json!({})).await.body_of(400)["rawUserDefineMetadata"].is_array());
    let long = json!({"rawUserDefineMetadata": "x".repeat(70_000)});
    assert!(owner.post(&update, &long).await.body_of(400)["rawUserDefineMetadata"].is_array());
}
