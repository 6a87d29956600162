//! Changes of different fields of the same thing at the same time: every one of them stays.

use futures_util::future::join_all;
use parlance_testkit::{Actor, TestApp};
use serde_json::{Value, json};

/// Rounds of each race, so that one that goes well by luck does not pass for a rule.
const ROUNDS: usize = 5;

/// Changes the fields of `path` all at once, each by a request of its own, and looks that all arrived.
async fn race(actor: &Actor, path: &str, fields: impl Fn(usize) -> Value) {
    for round in 0..ROUNDS {
        let fields = fields(round);
        let changes = fields.as_object().unwrap().iter().map(|(field, value)| {
            let change = json!({field: value});
            async move { actor.patch(path, &change).await.expect(200) }
        });
        join_all(changes).await;
        let now = actor.get(path).await.body_of(200);
        for (field, value) in fields.as_object().unwrap() {
            assert_eq!(&now[field], value, "{path}: {field} in round {round}");
        }
    }
}

async fn made(actor: &Actor, list: &str, body: &Value) -> String {
    format!("{list}{}/", actor.make(list, body).await)
}

#[tokio::test]
async fn changes_of_different_fields_at_once_all_stay() {
    let app = TestApp::start().await;
    let owner = app.owner();

    let chatbot = made(&owner, "chatbots/", &json!({"name": "A"})).await;
    race(&owner, &chatbot, |round| {
        json!({"name": format!("Name {round}"), "instructions": format!("Be {round}."), "numberOfRetrievedChunks": round + 1,
               "enableEvaluation": round % 2 == 0, "template": format!("Say {round}."), "unanswerableTemplate": format!("No {round}.")})
    })
    .await;

    let base = made(&owner, "knowledge-bases/", &json!({"name": "B"})).await;
    race(&owner, &base, |round| {
        json!({"name": format!("Base {round}"), "description": format!("Of {round}."),
               "numberOfRetrievedChunks": round + 1, "enableRerank": round % 2 == 0})
    })
    .await;

    let page = json!({"name": "W", "chatbot": app.chatbot(), "theme": {}, "darkTheme": {}});
    let web_chat = made(&owner, "web-chats/", &page).await;
    race(&owner, &web_chat, |round| {
        json!({"name": format!("Chat {round}"), "isActive": round % 2 == 0, "dailyReplyLimit": round, "dailyTokenLimit": round})
    })
    .await;

    let contact = made(&owner, "contacts/", &json!({"name": "C"})).await;
    race(&owner, &contact, |round| {
        json!({"name": format!("Contact {round}"), "email": format!("c{round}@example.org"), "phoneNumber": format!("+88{round}")})
    })
    .await;

    let tool = json!({"name": "t", "displayName": "T", "toolType": "api", "apiUrl": "https://tool.example/"});
    let tool = made(&owner, "tools/", &tool).await;
    race(&owner, &tool, |round| {
        json!({"displayName": format!("Tool {round}"), "description": format!("Does {round}."), "prompt": format!("Ask {round}.")})
    })
    .await;
}

#[tokio::test]
async fn two_owners_who_step_down_at_once_leave_one() {
    for round in 0..ROUNDS {
        let app = TestApp::start().await;
        let owner = app.owner();
        let place = owner.get("organizations/").await.body_of(200)["results"][0]["id"].as_str().unwrap().to_owned();
        let members = format!("organizations/{place}/members/");
        let first = owner.get("users/current/").await.body_of(200)["id"].as_str().unwrap().to_owned();
        let second = owner.make(&members, &json!({"name": "Second", "role": "owner"})).await;
        let steps = [&first, &second].map(|id| {
            let (owner, path) = (&owner, format!("{members}{id}/"));
            async move { owner.patch(&path, &json!({"role": "member"})).await.status.as_u16() }
        });
        let statuses = join_all(steps).await;
        assert!(statuses.contains(&200), "round {round}: {statuses:?}");
        let listed = owner.get(&members).await.body_of(200);
        let owners = listed["results"].as_array().unwrap().iter().filter(|member| member["role"] == "owner").count();
        assert_eq!(owners, 1, "round {round}: {statuses:?}");
    }
}
