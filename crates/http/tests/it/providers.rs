//! Model providers of an organisation, and their keys.

use parlance_testkit::TestApp;
use serde_json::{Value, json};

const CANARY: &str = "sk-canary-4f9a2c7e11";

fn draft(url: &str, key: Option<&str>) -> Value {
    let mut draft = json!({
        "name": "Mine", "kind": "openai", "base_url": url,
        "models": [{"name": "large", "role": "chat", "sees_images": true}, {"name": "vec", "role": "embedding", "dimensions": 8}],
    });
    if let Some(key) = key {
        draft["apiKey"] = json!(key);
    }
    draft
}

#[tokio::test]
async fn keys_are_written_and_never_read() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let made = owner.post("model-providers/", &draft("https://models.example/v1", Some(CANARY))).await;
    let mut seen = vec![made.text()];
    let made = made.body_of(201);
    assert_eq!(made["hasApiKey"], true);
    let path = format!("model-providers/{}/", made["id"].as_str().unwrap());
    let models = owner.get("large-language-models/").await.body_of(200);
    assert!(models.as_array().unwrap().iter().any(|model| model["name"] == "large" && model["provider"] == "Mine"));
    assert_eq!(owner.get("embedding-models/").await.body_of(200)[0]["id"], made["models"][1]["id"]);

    // Without a key the stored one stays; ids of models stay as well.
    let same = owner.put(&path, &draft("https://models.example/v2", None)).await.body_of(200);
    assert_eq!((same["hasApiKey"].clone(), same["models"].clone()), (json!(true), made["models"].clone()));
    for path in ["model-providers/", &path, "large-language-models/", "chatbots/"] {
        seen.push(owner.get(path).await.expect(200).text());
    }
    let bad = owner.put(&path, &json!({"name": "", "kind": "nonsense", "baseUrl": "x", "apiKey": CANARY})).await;
    seen.push(bad.text());
    assert_eq!(bad.body_of(400).as_object().unwrap().keys().collect::<Vec<_>>(), ["baseUrl", "kind", "name"]);
    assert!(seen.iter().all(|text| !text.contains(CANARY)), "{seen:?}");

    let rows = {
        let mut tx = app.app.db.read(app.tenant).await.unwrap();
        parlance_storage::providers::list(&mut tx, app.tenant).await.unwrap()
    };
    let sealed = rows[0].api_key_sealed.clone().unwrap();
    assert!(sealed.len() > CANARY.len() && !contains(&sealed, CANARY.as_bytes()));
    for entry in std::fs::read_dir(app.folder()).unwrap().flatten().filter(|entry| entry.path().is_file()) {
        let bytes = std::fs::read(entry.path()).unwrap();
        assert!(!contains(&bytes, CANARY.as_bytes()), "{}", entry.path().display());
    }

    // Another host does not get the key of the first.
    let moved = owner.put(&path, &draft("https://elsewhere.example/v1", None)).await.body_of(200);
    assert_eq!(moved["hasApiKey"], false);
    let keyed = owner.put(&path, &draft("https://elsewhere.example/v1", Some(CANARY))).await.body_of(200);
    assert_eq!(keyed["hasApiKey"], true);
    let cleared = owner.put(&path, &draft("https://elsewhere.example/v1", Some(""))).await.body_of(200);
    assert_eq!(cleared["hasApiKey"], false);
    owner.delete(&path).await.expect(204);
    owner.get(&path).await.expect(404).json();
    assert_eq!(owner.get("embedding-models/").await.body_of(200), json!([]));
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[tokio::test]
async fn private_addresses_are_refused_unless_allowed() {
    let addresses = ["http://127.0.0.1:9/v1", "http://169.254.169.254/", "http://[::1]:80/v1", "http://10.0.0.1/v1"];
    let app = TestApp::start().await;
    for address in addresses {
        let refused = app.owner().post("model-providers/", &draft(address, None)).await.body_of(400);
        assert!(refused["baseUrl"].is_array(), "{address} {refused}");
    }
    for address in ["ftp://models.example", "file:///etc/passwd", "models.example", ""] {
        let refused = app.owner().post("model-providers/", &draft(address, None)).await.body_of(400);
        assert_eq!(refused["baseUrl"], json!(["Enter a valid http or https URL."]), "{address}");
    }
    let app = TestApp::builder().allow("127.0.0.1:9").start().await;
    app.owner().post("model-providers/", &draft(addresses[0], None)).await.expect(201).json();
    app.owner().post("model-providers/", &draft(addresses[3], None)).await.expect(400).json();
}
