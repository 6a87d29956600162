//! What sites give for their visitors, so that tools are called for them.

use futures_util::future::join_all;
use parlance_domain::kind::{ContactId, ToolId};
use parlance_service::secret_headers::Secrets;
use parlance_storage::contact_credentials;
use parlance_storage::secrets::Place;
use parlance_testkit::TestApp;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::stored::assert_nowhere;
use crate::world::UNKNOWN;

const CANARY: &str = "contact-canary-5d20c1";

/// The headers that are stored for a contact and a tool.
async fn headers(app: &TestApp, contact: &str, tool: &str) -> Vec<(String, String)> {
    let (contact, tool) = (ContactId::parse(contact).unwrap(), ToolId::parse(tool).unwrap());
    let mut tx = app.app.db.read(app.tenant).await.unwrap();
    let found = contact_credentials::headers(&mut tx, app.tenant, contact, tool).await.unwrap();
    let Some((id, sealed)) = found else { return Vec::new() };
    assert!(!sealed.windows(CANARY.len()).any(|window| window == CANARY.as_bytes()));
    let row = id.to_string();
    let place = Place { tenant: app.tenant, table: "contact_credentials", row: &row, column: "headers_sealed" };
    let opened = Secrets::open(&app.app.master_key, &place, Some(&sealed)).unwrap();
    let elsewhere = Place { row: "other", ..place };
    assert!(Secrets::open(&app.app.master_key, &elsewhere, Some(&sealed)).is_err(), "bound to its row");
    opened.iter().map(|(name, value)| (name.to_owned(), value.expose_secret().to_owned())).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn headers_of_contacts_are_kept_and_never_told() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let tool = json!({"displayName": "Calendar", "toolType": "mcp", "mcpUrl": "https://mcp.example/"});
    let first = owner.make("tools/", &tool).await;
    let second = owner.make("tools/", &tool).await;
    let bot = owner.get(&format!("chatbots/{}/", app.chatbot())).await.body_of(200);
    let path = format!("web-chats/{}/setup-contact-credentials/", bot["apiWebChatId"].as_str().unwrap());
    let mut seen = Vec::new();

    let body = json!({"sourceId": "member-1", "name": "王大明",
        "mcpCredentials": {"toolId": first, "headers": {"Authorization": CANARY, "x_member_id": "7"}}});
    let answer = owner.post(&path, &body).await;
    seen.push(answer.text());
    let made = answer.body_of(200);
    assert_eq!((&made["created"], &made["contactId"], &made["name"]), (&json!(true), &made["id"], &json!("王大明")));
    assert_eq!((&made["sourceId"], &made["inbox"]["name"]), (&json!("member-1"), &bot["name"]));
    let credential = &made["mcpCredentials"][0];
    assert_eq!(credential["tool"], json!({"id": first, "name": "Calendar"}));
    let contact = made["id"].as_str().unwrap();
    let stored = headers(&app, contact, &first).await;
    assert_eq!(stored, pairs(&[("Authorization", CANARY), ("x_member_id", "7")]), "names as they came");

    // Again, in the other key style and as a list: the same contact and credential, other headers.
    let body = json!({"source_id": "member-1", "mcp_credentials": [
        {"tool_id": first, "headers": {"Authorization": "new"}}, {"tool_id": second, "headers": {"X-Key": CANARY}}]});
    let answer = owner.post(&path.replace("setup-contact-credentials/", "setup-contact-credentials"), &body).await;
    seen.push(answer.text());
    let again = answer.body_of(200);
    assert_eq!((&again["id"], &again["created"], &again["name"]), (&made["id"], &json!(false), &json!("王大明")));
    assert_eq!(again["mcpCredentials"].as_array().unwrap().len(), 2);
    assert_eq!(again["mcpCredentials"][0]["id"], credential["id"]);
    assert_eq!(headers(&app, contact, &first).await, pairs(&[("Authorization", "new")]));
    let named = owner.post(&path, &json!({"sourceId": "member-1", "name": "王小明"})).await.body_of(200);
    assert_eq!((&named["name"], named["mcpCredentials"].as_array().unwrap().len()), (&json!("王小明"), 2));

    let shown = format!("contacts/{contact}/");
    for path in ["contacts/", &shown, "tools/", "inboxes/"] {
        seen.push(owner.get(path).await.expect(200).text());
    }
    let shown = owner.get(&shown).await.body_of(200);
    assert_eq!(
        (&shown["mcpCredentials"], &shown["mcp_credentials"]),
        (&named["mcpCredentials"], &named["mcpCredentials"])
    );

    for body in [
        json!({}),
        json!({"sourceId": ""}),
        json!({"sourceId": 5}),
        json!({"sourceId": "x".repeat(256)}),
        json!({"sourceId": "new", "mcpCredentials": {"headers": {"a": CANARY}}}),
        json!({"sourceId": "new", "mcpCredentials": {"toolId": UNKNOWN, "headers": {"a": CANARY}}}),
        json!({"sourceId": "new", "mcpCredentials": {"toolId": "x", "headers": {"a": CANARY}}}),
        json!({"sourceId": "new", "mcpCredentials": {"toolId": first, "headers": {"a": 5}}}),
        json!({"sourceId": "new", "mcpCredentials": {"toolId": first, "headers": {"Host": CANARY}}}),
        json!({"sourceId": "new", "mcpCredentials": {"toolId": first, "headers": {"a": "x\ny"}}}),
        json!({"sourceId": "new", "mcpCredentials": CANARY}),
        json!([1]),
    ] {
        let refused = owner.post(&path, &body).await.expect(400);
        assert!(refused.body.is_empty(), "{body} {}", refused.text());
    }
    assert_eq!(owner.get("contacts/").await.body_of(200)["count"], 1, "what is refused makes nobody");
    assert!(seen.iter().all(|text| !text.contains(CANARY)), "{seen:?}");
    assert_nowhere(&app, CANARY, "Calendar");

    // A tool that moves to another host takes nothing along.
    owner.patch(&format!("tools/{second}/"), &json!({"mcpUrl": "https://mcp.example/v2"})).await.expect(200);
    assert_eq!(headers(&app, contact, &second).await, pairs(&[("X-Key", CANARY)]));
    let moved =
        owner.patch(&format!("tools/{second}/"), &json!({"mcpUrl": "https://evil.example/"})).await.body_of(200);
    assert_eq!(moved["warnings"].as_array().unwrap().len(), 1);
    assert!(headers(&app, contact, &second).await.is_empty());
    owner.delete(&format!("contacts/{contact}/")).await.expect(204);
    assert!(headers(&app, contact, &first).await.is_empty());
}

#[tokio::test]
async fn one_visitor_set_up_many_times_at_once_is_one_contact() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let tool = json!({"displayName": "T", "toolType": "mcp", "mcpUrl": "https://mcp.example/"});
    let tool = owner.make("tools/", &tool).await;
    let bot = owner.get(&format!("chatbots/{}/", app.chatbot())).await.body_of(200);
    let path = format!("web-chats/{}/setup-contact-credentials/", bot["apiWebChatId"].as_str().unwrap());
    let bodies: Vec<Value> = (0..16)
        .map(|number| {
            json!({"sourceId": "same", "mcpCredentials": {"toolId": tool, "headers": {"X-Number": number.to_string()}}})
        })
        .collect();
    let answers = join_all(bodies.iter().map(|body| owner.post(&path, body))).await;
    let made: Vec<Value> = answers.into_iter().map(|answer| answer.body_of(200)).collect();
    assert_eq!(made.iter().filter(|made| made["created"] == true).count(), 1);
    assert!(made.iter().all(|other| other["id"] == made[0]["id"]));
    assert_eq!(owner.get("contacts/").await.body_of(200)["count"], 1);
    let contact = made[0]["id"].as_str().unwrap();
    assert_eq!(headers(&app, contact, &tool).await.len(), 1);
}
