//! Knowledge bases and their files, from upload to search.

use parlance_testkit::{Actor, TestApp};
use serde_json::{Value, json};

const SIMPLE: &str = "Goods can be returned within seven days. Keep the receipt.";

async fn file(owner: &Actor, base: &str, id: &str) -> Value {
    owner.get(&format!("knowledge-bases/{base}/files/{id}/")).await.body_of(200)
}

fn names(page: &Value) -> Vec<&str> {
    page["results"].as_array().unwrap().iter().map(|item| item["filename"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn bases_are_made_changed_and_removed() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let made = owner.post("knowledge-bases/", &json!({"name": " Shop 商店 "})).await.body_of(201);
    for (name, value) in [
        ("name", json!("Shop 商店")),
        ("numberOfRetrievedChunks", json!(12)),
        ("sentenceWindowSize", json!(2)),
        ("enableHyde", json!(false)),
        ("similarityCutoff", json!(0.0)),
        ("enableRerank", json!(true)),
        ("filesCount", json!(0)),
        ("chatbots", json!([])),
        ("groups", json!([])),
    ] {
        assert_eq!(made[name], value, "{name}");
    }
    let path = format!("knowledge-bases/{}/", made["id"].as_str().unwrap());
    let body = json!({"number_of_retrieved_chunks": 3, "chatbots": [{"id": app.chatbot()}], "unknown": 1, "similarity_cutoff": 0.5});
    let changed = owner.put(&path, &body).await.body_of(200);
    assert_eq!((changed["name"].clone(), changed["numberOfRetrievedChunks"].clone()), (json!("Shop 商店"), json!(3)));
    assert_eq!(changed["chatbots"][0]["id"], app.chatbot());
    assert_eq!(owner.get(&path).await.body_of(200), changed);
    for (body, field) in [
        (json!({"name": ""}), "name"),
        (json!({"name": "x".repeat(256)}), "name"),
        (json!({"numberOfRetrievedChunks": 0}), "numberOfRetrievedChunks"),
        (json!({"sentenceWindowSize": -1}), "sentenceWindowSize"),
        (json!({"similarityCutoff": 1.5}), "similarityCutoff"),
        (json!({"similarityCutoff": "x"}), "similarityCutoff"),
    ] {
        assert!(owner.patch(&path, &body).await.body_of(400)[field].is_array(), "{body}");
    }
    // A Simplified query finds the Traditional name.
    let list = owner.get("knowledge-bases/?query=%E5%95%86%E5%BA%97").await.body_of(200);
    assert_eq!(list["count"], 1);
    let unknown = owner.patch(&path, &json!({"embeddingModel": "nonsense"})).await.body_of(200);
    assert_eq!(unknown["warnings"].as_array().unwrap().len(), 1);
    assert!(owner.delete(&path).await.expect(204).body.is_empty());
    owner.get(&path).await.expect(404).json();
    owner.delete(&path).await.expect(404).json();
}

#[tokio::test]
async fn a_file_goes_from_upload_to_search_and_away() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let base = app.base();
    let metadata = json!({"some_key": {"Inner_Key": [1, null]}, "other": "x"});
    let key = owner.upload("chatbot-file", "returns.txt", SIMPLE.as_bytes()).await;
    let body = json!({"files": [{"file": key, "filename": "Returns.txt", "raw_user_define_metadata": metadata}]});
    let made = owner.post(&format!("knowledge-bases/{base}/files/"), &body).await.body_of(201);
    let id = made[0]["id"].as_str().unwrap();
    assert_eq!((made[0]["status"].clone(), made[0]["progress"]["stage"].clone()), (json!("initial"), json!("waiting")));
    assert_eq!((made[0]["rawUserDefineMetadata"].clone(), made[0]["size"].clone()), (metadata, json!(SIMPLE.len())));
    assert!(made[0]["createdAt"].as_str().is_some_and(|time| time.len() == 13));
    assert!(owner.found(&base, "returned").await.is_empty());
    assert_eq!(app.run_jobs().await, 1);
    let done = file(&owner, &base, id).await;
    assert_eq!((done["status"].clone(), done["textNodesCount"].clone()), (json!("done"), json!(1)), "{done}");
    assert_eq!(app.nobody().get(done["file"].as_str().unwrap()).await.expect(200).text(), SIMPLE);

    let search = format!("knowledge-bases/{base}/search/");
    let posted = owner.post(&search, &json!({"query": "returned within seven days"})).await.body_of(200);
    assert_eq!(owner.get(&format!("{search}?query=returned+within+seven+days")).await.body_of(200), posted);
    let hit = &posted[0];
    assert_eq!((hit["text"].clone(), hit["chatbotFile"]["id"].clone()), (json!(SIMPLE), json!(id)));
    assert_eq!(hit["chatbot_file"], hit["chatbotFile"]);
    assert!(hit.as_object().unwrap().contains_key("page_number") && hit["page_number"] == hit["pageNumber"]);
    assert!((0.0..=1.0).contains(&hit["score"].as_f64().unwrap()));
    let nodes = owner.get(&format!("chatbot-text-nodes/?chatbot_file={id}")).await.body_of(200);
    assert_eq!((nodes["count"].clone(), nodes["results"][0]["text"].clone()), (json!(1), json!(SIMPLE)));
    assert_eq!(nodes["results"][0]["id"], hit["id"]);

    let path = format!("knowledge-bases/{base}/files/{id}/");
    let renamed =
        owner.patch(&path, &json!({"filename": "../新名稱.txt", "rawUserDefineMetadata": null})).await.body_of(200);
    assert_eq!(
        (renamed["filename"].clone(), renamed["rawUserDefineMetadata"].clone()),
        (json!("新名稱.txt"), Value::Null)
    );
    owner.patch(&path, &json!({"filename": "/"})).await.expect(400).json();

    assert!(owner.delete(&path).await.expect(204).body.is_empty());
    // Before the index has learnt it.
    assert!(owner.found(&base, "returned").await.is_empty());
    owner.get(&path).await.expect(404).json();
    app.run_jobs().await;
    assert!(owner.found(&base, "returned").await.is_empty());
    assert_eq!(owner.get(&format!("knowledge-bases/{base}/")).await.body_of(200)["filesCount"], 0);
    parlance_service::uploads::sweep(&app.app).await.unwrap();
    assert!(app.app.blobs.open_file(&key).await.unwrap().is_none(), "the bytes are gone as well");
}

#[tokio::test]
async fn files_are_listed_deleted_and_fail_with_a_reason() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let base = app.base();
    let other = owner.make("knowledge-bases/", &json!({"name": "Other"})).await;
    let foreign = owner.add_file(&other, "other.txt", SIMPLE).await;
    let mut ids = Vec::new();
    for (name, text) in
        [("報價單.txt", "價格"), ("b.md", "# Title\n\nText"), ("c.csv", "a,b\n1,2\n"), ("broken.pdf", "no pdf")]
    {
        ids.push(owner.add_file(&base, name, text).await);
    }
    app.run_jobs().await;
    let broken = file(&owner, &base, &ids[3]).await;
    assert_eq!(broken["status"], "failed");
    assert!(broken["failedReason"].as_str().is_some_and(|reason| reason.len() > 10), "{broken}");
    let files = format!("knowledge-bases/{base}/files/");
    for (query, expected) in [
        ("", vec!["broken.pdf", "c.csv", "b.md", "報價單.txt"]),
        ("?status=done", vec!["c.csv", "b.md", "報價單.txt"]),
        ("?status=failed", vec!["broken.pdf"]),
        ("?fileType=md", vec!["b.md"]),
        ("?file_type=.MD", vec!["b.md"]),
        // Simplified letters find a Traditional name.
        ("?query=%E6%8A%A5%E4%BB%B7", vec!["報價單.txt"]),
        ("?filename=B", vec!["broken.pdf", "b.md"]),
        ("?pageSize=1&page=2", vec!["c.csv"]),
    ] {
        assert_eq!(names(&owner.get(&format!("{files}{query}")).await.body_of(200)), expected, "{query}");
    }
    let delete = format!("{files}batch-delete/");
    let refused = owner.post(&delete, &json!({"ids": [ids[0], foreign]})).await.body_of(400);
    assert_eq!(refused, json!({"ids": [{}, ["No file of this knowledge base has this id."]]}));
    assert_eq!(owner.get(&files).await.body_of(200)["count"], 4, "all or none");
    assert!(owner.post(&delete, &json!({"ids": [ids[0], ids[3]]})).await.expect(204).body.is_empty());
    assert_eq!(names(&owner.get(&files).await.body_of(200)), ["c.csv", "b.md"]);
    // The whole base goes with its files, and they are found no more.
    owner.delete(&format!("knowledge-bases/{base}/")).await.expect(204);
    owner.get(&files).await.expect(404).json();
    owner.get(&format!("chatbot-text-nodes/?chatbotFile={}", ids[1])).await.expect(400).json();
}

#[tokio::test]
async fn what_is_searchable_stays_so_while_a_file_is_parsed_again() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let base = app.base();
    let ids = app.know(&[("returns.txt", SIMPLE)]).await;
    let before = owner.found(&base, "returned within seven days").await;
    let path = format!("knowledge-bases/{base}/files/batch-reparse/");
    let again = owner.patch(&path, &json!([{"id": ids[0], "parser": {"id": "any"}}])).await.body_of(200);
    assert_ne!(again[0]["status"], "done");
    assert_eq!(owner.found(&base, "returned within seven days").await, before);
    assert_eq!(app.run_jobs().await, 1);
    assert_eq!(owner.found(&base, "returned within seven days").await, before, "and only once");
    assert_eq!(file(&owner, &base, &ids[0]).await["status"], "done");
    owner.patch(&path, &json!({"id": ids[0]})).await.expect(400).json();
}

#[tokio::test]
async fn one_upload_may_be_used_twice() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let base = app.base();
    let key = owner.upload("chatbot-file", "a.txt", SIMPLE.as_bytes()).await;
    let body = json!({"files": [{"file": key}, {"file": key, "filename": "b.txt"}]});
    let made = owner.post(&format!("knowledge-bases/{base}/files/"), &body).await.body_of(201);
    app.run_jobs().await;
    owner.delete(&format!("knowledge-bases/{base}/files/{}/", made[0]["id"].as_str().unwrap())).await.expect(204);
    parlance_service::uploads::sweep(&app.app).await.unwrap();
    let left = file(&owner, &base, made[1]["id"].as_str().unwrap()).await;
    assert_eq!(app.nobody().get(left["file"].as_str().unwrap()).await.expect(200).text(), SIMPLE);
    assert_eq!(owner.found(&base, "returned within seven days").await.len(), 1);
}

#[tokio::test]
async fn parsers_and_file_types_are_told() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let parsers = owner.get("parsers/").await.body_of(200);
    let id = parsers[0]["id"].as_str().unwrap();
    assert_eq!(owner.get(&format!("parsers/{id}/")).await.body_of(200), parsers[0]);
    let types = owner.get("parsers/supported-file-types/").await.body_of(200);
    let allowed = owner.get("allowed-file-types/").await.body_of(200);
    for extension in [".docx", ".txt", ".pdf", ".md", ".xlsx", ".csv", ".pptx", ".json", ".jsonl"] {
        assert!(types.as_array().unwrap().contains(&json!(extension)), "{extension}");
        assert!(allowed["attachment"].as_array().unwrap().contains(&json!(extension)), "{extension}");
    }
    assert!(allowed["maxFileSize"].as_u64().unwrap() > 1 << 20);
}
