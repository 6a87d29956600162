//! People, roles, groups, keys and the audit log.

use std::time::Duration;

use parlance_testkit::{Actor, Method, Script, ScriptedChat, Step, TestApp};
use serde_json::{Value, json};

async fn place(owner: &Actor) -> String {
    let list = owner.get("organizations/").await.body_of(200);
    format!("organizations/{}", list["results"][0]["id"].as_str().unwrap())
}

#[tokio::test]
async fn an_organisation_has_a_name_and_a_time_zone() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let path = place(&owner).await + "/";
    let body = json!({"name": "測試公司", "time_zone": "europe/berlin"});
    let changed = owner.patch(&path, &body).await.body_of(200);
    assert_eq!((changed["name"].as_str(), changed["timeZone"].as_str()), (Some("測試公司"), Some("Europe/Berlin")));
    assert_eq!(owner.get(&path).await.body_of(200), changed);
    for bad in ["", "Mars/Base", "+08:00"] {
        let refused = owner.put(&path, &json!({"timeZone": bad})).await.body_of(400);
        assert!(refused["timeZone"].is_array(), "{refused}");
    }
}

#[tokio::test]
async fn whoever_runs_the_installation_makes_further_organisations() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let made = owner.post("organizations/", &json!({"name": " Second ", "timeZone": "europe/berlin"})).await;
    let made = made.body_of(201);
    assert_eq!((made["name"].as_str(), made["timeZone"].as_str()), (Some("Second"), Some("Europe/Berlin")));
    assert_eq!(made["storedBytes"], 0);
    let second = app.with_header(&format!("Api-Key {}", made["apiKey"].as_str().unwrap()));
    let list = second.get("organizations/").await.body_of(200);
    assert_eq!((list["count"].as_u64(), &list["results"][0]["id"]), (Some(1), &made["id"]));
    assert_eq!(second.get("users/current/").await.body_of(200)["role"], "owner");
    let bots = second.get("chatbots/").await.body_of(200);
    second.ask(bots["results"][0]["id"].as_str().unwrap(), "Hello?").await;
    // Whoever made it has no part in it.
    assert_eq!(owner.get("organizations/").await.body_of(200)["count"], 1);
    let path = format!("organizations/{}/", made["id"].as_str().unwrap());
    owner.get(&path).await.expect(404).json();
    owner.get(&format!("chatbots/{}/", bots["results"][0]["id"].as_str().unwrap())).await.expect(404).json();
    let log = owner.get("audit-log/").await.body_of(200);
    assert_eq!(
        (&log["results"][0]["operation"], &log["results"][0]["status"]),
        (&json!("organizations/"), &json!(201))
    );
    assert!(!log.to_string().contains(made["apiKey"].as_str().unwrap()));

    let place = place(&owner).await;
    let admin = owner.make(&format!("{place}/members/"), &json!({"name": "Admin", "role": "admin"})).await;
    let most = "organisation:read organisation:write chatbots:write knowledge:write";
    for other in [second, app.other_organisation().await, app.member(&admin).await, app.key(most).await] {
        let refused = other.post("organizations/", &json!({"name": "Third"})).await;
        assert_eq!(refused.body_of(403)["code"], "permission_denied");
    }
    for bad in [json!({}), json!({"name": " "})] {
        assert!(owner.post("organizations/", &bad).await.body_of(400)["name"].is_array(), "{bad}");
    }
    let nowhere = json!({"name": "x", "timeZone": "Mars/Base"});
    assert!(owner.post("organizations/", &nowhere).await.body_of(400)["timeZone"].is_array());
}

#[tokio::test]
async fn the_last_owner_stays_and_roles_limit_their_keys() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let place = place(&owner).await;
    let own = owner.get("users/current/").await.body_of(200);
    let path = format!("{place}/members/{}/", own["id"].as_str().unwrap());
    assert_eq!(owner.delete(&path).await.status.as_u16(), 409);
    assert!(owner.patch(&path, &json!({"role": "admin"})).await.body_of(400)["role"].is_array());
    let second = json!({"name": "Second", "email": "second@example.com", "role": "owner"});
    owner.post(&format!("{place}/members/"), &second).await.expect(201);
    assert_eq!(owner.get(&format!("{place}/members/")).await.body_of(200)["count"], 2);

    let narrow = app.key("chatbots:read chatbots:write organisation:read organisation:write").await;
    assert_eq!(owner.patch(&path, &json!({"role": "viewer"})).await.body_of(200)["role"], "viewer");
    narrow.get("chatbots/").await.expect(200);
    assert_eq!(narrow.post("chatbots/", &json!({"name": "x"})).await.status.as_u16(), 403);
    assert_eq!(narrow.patch(&path, &json!({"role": "owner"})).await.status.as_u16(), 403);
    assert_eq!(owner.post("api-keys/", &json!({"name": "x"})).await.status.as_u16(), 403);
}

#[tokio::test]
async fn keys_are_made_with_part_of_their_makers_scopes_and_shown_once() {
    let app = TestApp::start().await;
    let maker = app.key("chatbots:read organisation:read organisation:write").await;
    let made = maker.post("api-keys/", &json!({"name": "All I have"})).await.body_of(201);
    assert_eq!(made["scopes"], json!(["chatbots:read", "organisation:read", "organisation:write"]));
    let key = made["key"].as_str().unwrap();
    let child = app.with_header(&format!("Api-Key {key}"));
    child.get("chatbots/").await.expect(200);
    let more = json!({"name": "More", "scopes": ["chatbots:read", "chatbots:write"]});
    assert!(maker.post("api-keys/", &more).await.body_of(400)["scopes"][1].is_array());
    let past = json!({"name": "Past", "expiresAt": "1000000000000"});
    assert!(maker.post("api-keys/", &past).await.body_of(400)["expiresAt"].is_array());
    let listed = maker.get("api-keys/").await.expect(200).text();
    assert!(!listed.contains(key) && listed.contains("All I have"));
    let path = format!("api-keys/{}/", made["id"].as_str().unwrap());
    assert_eq!(maker.patch(&path, &json!({"name": "Renamed"})).await.body_of(200)["name"], "Renamed");
    maker.delete(&path).await.expect(204);
    assert_eq!(child.get("chatbots/").await.status.as_u16(), 401);
    maker.get(&path).await.expect(404).json();
    maker.patch(&path, &json!({"name": "x"})).await.expect(404).json();
    let listed = maker.get("api-keys/").await.body_of(200);
    let revoked = |key: &Value| path.contains(key["id"].as_str().unwrap()) && key["revokedAt"].is_string();
    assert!(listed.as_array().unwrap().iter().any(revoked), "{listed}");
    // Only one carrier counts.
    let owner_key = app.owner().authorization().unwrap().strip_prefix("Api-Key ").unwrap().to_owned();
    let nobody = app.nobody();
    for request in [
        nobody.request(Method::GET, "chatbots/").header("x-api-key", &owner_key),
        nobody
            .request(Method::GET, "chatbots/")
            .header("cookie", format!("api_key={owner_key}; Authorization={owner_key}")),
        nobody.request(Method::GET, &format!("chatbots/?apiKey={owner_key}&api_key={owner_key}&token={owner_key}")),
    ] {
        assert_eq!(nobody.send(request).await.status.as_u16(), 401);
    }
}

#[tokio::test]
async fn groups_add_to_what_a_member_may() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let place = place(&owner).await;
    let own = owner.get("users/current/").await.body_of(200)["id"].clone();
    let second = json!({"name": "Second", "role": "owner"});
    owner.post(&format!("{place}/members/"), &second).await.expect(201);
    let permissions = owner.get("permissions/").await.body_of(200);
    let named =
        |name: &str| permissions.as_array().unwrap().iter().find(|one| one["name"] == name).unwrap()["id"].clone();
    let body = json!({"name": "Modellers", "permissions": [named("models:write"), named("organisation:write")]});
    let group = owner.post(&format!("{place}/groups/"), &body).await.body_of(201);
    assert_eq!(group["permissions"].as_array().unwrap().len(), 2);
    let path = format!("{place}/groups/{}", group["id"].as_str().unwrap());
    let added = owner.post(&format!("{path}/group-members/bulk-create/"), &json!({"users": [own]})).await.body_of(201);
    assert_eq!(added[0]["user"]["id"], own);
    let bot = json!({"chatbots": [app.first.chatbot]});
    owner.post(&format!("{path}/group-chatbots/bulk-create/"), &bot).await.expect(201);
    let linked = owner.get(&format!("{path}/group-chatbots/")).await.body_of(200);
    assert_eq!(linked["count"], 1);
    // With a chatbot it would limit its members, who then could not change groups.
    let link = format!("{path}/group-chatbots/{}/", linked["results"][0]["id"].as_str().unwrap());
    owner.delete(&link).await.expect(204);
    let me = format!("{place}/members/{}/", own.as_str().unwrap());
    owner.patch(&me, &json!({"role": "viewer"})).await.expect(200);
    // A viewer who may do this through the group alone.
    owner.patch(&format!("{path}/"), &json!({"name": "Renamed"})).await.expect(200);
    let member = format!("{path}/group-members/{}/", added[0]["id"].as_str().unwrap());
    owner.delete(&member).await.expect(204);
    assert_eq!(owner.patch(&format!("{path}/"), &json!({"name": "Again"})).await.status.as_u16(), 403);
}

#[tokio::test]
async fn changes_are_in_the_audit_log() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let request = owner.request(Method::POST, "chatbots/").header("x-request-id", "my-request");
    let bot = owner.send(request.json(&json!({"name": "Audited"}))).await.body_of(201);
    let id = bot["id"].as_str().unwrap();
    owner.patch(&format!("chatbots/{id}/"), &json!({"name": "Changed"})).await.expect(200);
    assert_eq!(owner.post("chatbots/", &json!({"name": ""})).await.status.as_u16(), 400);
    owner.ask(id, "Hello?").await;
    owner.delete(&format!("chatbots/{id}/")).await.expect(204);
    let log = owner.get("audit-log/").await.body_of(200);
    let told: Vec<(&str, &str, i64)> = log["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            assert_eq!((entry["object"].as_str(), entry["address"].as_str()), (Some(id), Some("127.0.0.1")));
            (entry["method"].as_str().unwrap(), entry["operation"].as_str().unwrap(), entry["status"].as_i64().unwrap())
        })
        .collect();
    let expected = [("DELETE", "chatbots/{id}/", 204), ("PATCH", "chatbots/{id}/", 200), ("POST", "chatbots/", 201)];
    assert_eq!(told, expected);
    assert_eq!(log["results"][2]["requestId"], "my-request");
    assert_eq!(owner.get("audit-log/?method=delete").await.body_of(200)["count"], 1);
    assert_eq!(owner.get("audit-log/?since=x").await.status.as_u16(), 400);
    assert_eq!(app.other_organisation().await.get("audit-log/").await.body_of(200)["count"], 0);
}

#[tokio::test]
async fn streams_of_a_revoked_key_end() {
    let script = Script::Answer(vec![Step::Text("still going".into()), Step::Hang]);
    let model = std::sync::Arc::new(ScriptedChat::new([script]));
    let app = TestApp::builder().chat(&model).start().await;
    let owner = app.owner();
    let made = owner.post("api-keys/", &json!({"name": "Short-lived"})).await.body_of(201);
    let asker = app.with_header(&format!("Api-Key {}", made["key"].as_str().unwrap()));
    let chatbot = app.first.chatbot.to_string();
    let mut events = asker.stream(&chatbot, &json!({"message": {"content": "Hello?"}})).await;
    events.until_text().await;
    owner.delete(&format!("api-keys/{}/", made["id"].as_str().unwrap())).await.expect(204);
    // The model never goes on; what ends the stream is the credential.
    let rest = tokio::time::timeout(Duration::from_mins(1), events.rest()).await.unwrap();
    assert_eq!(rest.last().unwrap().kind(), "cancelled");
}
