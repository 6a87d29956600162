//! The owner's key that is set from outside.

use parlance_service::first_start;
use parlance_testkit::TestApp;
use serde_json::{Value, json};

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_bootstrap_key_of_a_removed_owner_is_a_present_owner_s() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let key = "bootstrap-key-that-was-chosen-by-the-operator";
    first_start::prepare(&app.app, Some(key), |_| Ok(())).await.unwrap();
    let bootstrap = app.with_header(&format!("Api-Key {key}"));
    let first = bootstrap.get("users/current/").await.body_of(200)["id"].clone();
    let organisation = text(&owner.get("organizations/").await.body_of(200)["results"][0]["id"]);
    let members = format!("organizations/{organisation}/members/");
    let second = owner.make(&members, &json!({"name": "Second", "role": "owner"})).await;
    // While the first one is there, it stays theirs.
    first_start::prepare(&app.app, Some(key), |_| Ok(())).await.unwrap();
    assert_eq!(bootstrap.get("users/current/").await.body_of(200)["id"], first);
    app.member(&second).await.delete(&format!("{members}{}/", text(&first))).await.expect(204);
    bootstrap.get("users/current/").await.expect(401).json();

    first_start::prepare(&app.app, Some(key), |_| Ok(())).await.unwrap();
    assert_eq!(bootstrap.get("users/current/").await.body_of(200)["id"], json!(second));
    bootstrap.post("chatbots/", &json!({"name": "Bot"})).await.expect(201).json();
}
