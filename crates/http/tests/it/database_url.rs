//! The connection string of an assistant: kept sealed, and shown without its password.

use parlance_domain::Id;
use parlance_storage::chatbots;
use parlance_testkit::TestApp;
use serde_json::{Value, json};

const WHOLE: &str = "postgres://reader:canary-word@db.example:5432/shop";
const SHOWN: &str = "postgres://reader:***@db.example:5432/shop";

/// The settings as they are in the database.
async fn stored(app: &TestApp, chatbot: &str) -> Value {
    let mut tx = app.app.db.read(app.tenant).await.unwrap();
    let chatbot = chatbots::get(&mut tx, app.tenant, Id::parse(chatbot).unwrap()).await.unwrap().unwrap();
    serde_json::from_str(&chatbot.settings).unwrap()
}

/// Writes settings as an earlier version did.
async fn store(app: &TestApp, chatbot: &str, settings: &Value) {
    let (tenant, id, settings) = (app.tenant, Id::parse(chatbot).unwrap(), settings.to_string());
    app.app
        .db
        .write(tenant, move |tx| {
            Box::pin(async move {
                let row = chatbots::get(tx, tenant, id).await?.unwrap();
                chatbots::update(tx, tenant, &chatbots::Chatbot { settings, ..row }).await
            })
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn a_password_is_stored_sealed_and_never_shown() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let made = owner.post("chatbots/", &json!({"name": "Bot", "databaseUrl": WHOLE, "agentMode": "canvas"})).await;
    let made = made.body_of(201);
    assert_eq!((&made["databaseUrl"], &made["agentMode"]), (&json!(SHOWN), &json!("canvas")));
    let id = made["id"].as_str().unwrap();
    let path = format!("chatbots/{id}/");
    let shown = owner.get(&path).await.body_of(200);
    assert_eq!(shown["databaseUrl"], SHOWN);
    let before = stored(&app, id).await;
    assert!(!before.to_string().contains("canary"), "{before}");
    assert!(before["databaseUrl"]["sealed"].is_string());

    // What was shown is written back, and the password stays: with another database it is shown to be there.
    assert_eq!(owner.put(&path, &shown).await.body_of(200)["databaseUrl"], SHOWN);
    let moved = json!({"database_url": "postgres://reader:***@db.example:5432/other"});
    let moved = owner.patch(&path, &moved).await.body_of(200);
    assert_eq!(moved["databaseUrl"], "postgres://reader:***@db.example:5432/other");
    assert_eq!(moved.get("warnings"), None);
    // Another host never gets it.
    let elsewhere = json!({"databaseUrl": "postgres://reader:***@evil.example/other"});
    let elsewhere = owner.patch(&path, &elsewhere).await.body_of(200);
    assert_eq!(elsewhere["databaseUrl"], "postgres://reader@evil.example/other");
    assert_eq!(elsewhere["warnings"].as_array().unwrap().len(), 1, "{elsewhere}");

    for (value, shown) in [(json!(""), json!("")), (json!(null), json!(null))] {
        assert_eq!(owner.patch(&path, &json!({"databaseUrl": value})).await.body_of(200)["databaseUrl"], shown);
    }
    // Nobody brings a sealed one along.
    for wrong in [before["databaseUrl"].clone(), json!(5), json!("***"), json!("x".repeat(5000))] {
        let refused = owner.patch(&path, &json!({"databaseUrl": wrong})).await.body_of(400);
        assert!(refused["databaseUrl"].is_array(), "{refused}");
    }
}

#[tokio::test]
async fn what_an_earlier_version_stored_is_sealed_at_the_next_write() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let id = owner.make("chatbots/", &json!({"name": "Bot"})).await;
    let path = format!("chatbots/{id}/");
    store(&app, &id, &json!({"databaseUrl": WHOLE, "databaseType": "PostgreSQL"})).await;
    let shown = owner.get(&path).await.body_of(200);
    assert_eq!((&shown["databaseUrl"], &shown["databaseType"]), (&json!(SHOWN), &json!("PostgreSQL")));
    // The password is taken over, whether the field is written back or left out.
    for body in [json!({"name": "Renamed"}), json!({"databaseUrl": SHOWN})] {
        store(&app, &id, &json!({"databaseUrl": WHOLE})).await;
        assert_eq!(owner.patch(&path, &body).await.body_of(200)["databaseUrl"], SHOWN);
        let sealed = stored(&app, &id).await;
        assert!(!sealed.to_string().contains("canary") && sealed["databaseUrl"]["sealed"].is_string(), "{sealed}");
    }
    // Nothing is in the settings that was never written.
    let bare = owner.make("chatbots/", &json!({"name": "Bare"})).await;
    owner.patch(&format!("chatbots/{bare}/"), &json!({"name": "Still"})).await.expect(200).json();
    assert_eq!(stored(&app, &bare).await, json!({}));
}

#[tokio::test]
async fn a_copy_has_the_password_sealed_for_itself() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let id = owner.make("chatbots/", &json!({"name": "Bot", "databaseUrl": WHOLE})).await;
    let copy = owner.post(&format!("chatbots/{id}/duplicate/"), &json!({})).await.body_of(201);
    assert_eq!(copy["databaseUrl"], SHOWN);
    let copy = copy["id"].as_str().unwrap().to_owned();
    let sealed = async |id: &str| stored(&app, id).await["databaseUrl"]["sealed"].clone();
    assert_ne!(sealed(&id).await, sealed(&copy).await);
    // It opens: the password goes with another database of the same server.
    let other = json!({"databaseUrl": "postgres://reader:***@db.example:5432/other"});
    let other = owner.patch(&format!("chatbots/{copy}/"), &other).await.body_of(200);
    assert_eq!(other["databaseUrl"], "postgres://reader:***@db.example:5432/other");
    // One of an earlier version is sealed in the copy.
    store(&app, &id, &json!({"databaseUrl": WHOLE})).await;
    let copy = owner.post(&format!("chatbots/{id}/duplicate/"), &json!({})).await.body_of(201);
    assert!(sealed(copy["id"].as_str().unwrap()).await.is_string());
}
