//! Tools, their secrets, and the assistants that have them.

use parlance_testkit::{Method, TestApp};
use serde_json::{Value, json};

use crate::stored::assert_nowhere;
use crate::world::UNKNOWN;

const CANARY: &str = "tool-canary-91be07";

fn api() -> Value {
    json!({
        "name": "get_weather", "display_name": "天氣查詢", "description": "Tells the weather.", "tool_type": "api",
        "api_url": "https://weather.example/v1", "http_method": "post",
        "raw_headers": {"X_Api_Key": CANARY, "Accept": "application/json"},
        "raw_parameters_schema": {"type": "object", "properties": {"city_name": {"type": "string"}}},
    })
}

#[tokio::test]
async fn secrets_of_tools_are_written_and_never_read() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let made = owner.post("tools/", &api()).await;
    let mut seen = vec![made.text()];
    let made = made.body_of(201);
    let path = format!("tools/{}/", made["id"].as_str().unwrap());
    assert_eq!(made["rawHeaders"], json!({"Accept": null, "X_Api_Key": null}), "names as they came, no values");
    assert_eq!(made["rawParametersSchema"]["properties"], json!({"city_name": {"type": "string"}}));
    assert_eq!((&made["httpMethod"], &made["mcpUrl"], &made["prompt"]), (&json!("POST"), &Value::Null, &json!("")));
    assert!(made.get("warnings").is_none());

    // What was read can be written back: null stands for the stored value.
    let mut back = owner.get(&path).await.body_of(200);
    assert_eq!(back, made);
    back["description"] = json!("Changed.");
    back["rawHeaders"]["X-New"] = json!(CANARY);
    let same = owner.put(&path, &back).await.body_of(200);
    assert_eq!(same["rawHeaders"], json!({"Accept": null, "X-New": null, "X_Api_Key": null}));
    let fewer = owner.patch(&path, &json!({"rawHeaders": {"X_Api_Key": null}})).await.body_of(200);
    assert_eq!((&fewer["rawHeaders"], &fewer["description"]), (&json!({"X_Api_Key": null}), &json!("Changed.")));
    let unknown = owner.patch(&path, &json!({"rawHeaders": {"X-Other": null}})).await.body_of(400);
    assert_eq!(unknown, json!({"rawHeaders": ["A value is required: X-Other."]}));
    let bad = json!({"displayName": "", "rawHeaders": {"Host": CANARY}, "mcpArgs": ["run", CANARY]});
    let bad = owner.patch(&path, &bad).await;
    seen.push(bad.text());
    assert_eq!(
        bad.body_of(400).as_object().unwrap().keys().collect::<Vec<_>>(),
        ["displayName", "mcpArgs", "rawHeaders"]
    );
    for path in ["tools/", "tools/?query=天气", &path, "chatbots/"] {
        seen.push(owner.get(path).await.expect(200).text());
    }
    assert!(seen.iter().all(|text| !text.contains(CANARY)), "{seen:?}");
    assert_nowhere(&app, CANARY, "get_weather");

    // The same address under another path keeps them; another host, port or scheme does not.
    let near = owner.patch(&path, &json!({"apiUrl": "https://weather.example/v2?x=1"})).await.body_of(200);
    assert_eq!(near["rawHeaders"], json!({"X_Api_Key": null}));
    for url in ["https://weather.example:8443/", "http://weather.example/", "https://elsewhere.example/"] {
        owner.patch(&path, &json!({"apiUrl": "https://weather.example/"})).await.expect(200);
        owner.patch(&path, &json!({"rawHeaders": {"X_Api_Key": CANARY}})).await.expect(200);
        let body = json!({"apiUrl": url, "rawHeaders": {"X_Api_Key": null, "X-Given": "again"}});
        let moved = owner.patch(&path, &body).await.body_of(200);
        assert_eq!(moved["rawHeaders"], json!({"X-Given": null}), "{url}");
        assert_eq!(moved["warnings"].as_array().unwrap().len(), 1);
        owner.patch(&path, &json!({"rawHeaders": {}})).await.expect(200);
    }
    owner.delete(&path).await.expect(204);
    owner.get(&path).await.expect(404);
}

#[tokio::test]
async fn wrong_tools_are_named_by_field() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let refused = async |change: Value| {
        let mut body = api();
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let answer = owner.post("tools/", &body).await.body_of(400);
        answer.as_object().unwrap().keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(refused(json!({"name": "has space"})).await, ["name"]);
    assert_eq!(refused(json!({"name": ""})).await, ["name"]);
    assert_eq!(refused(json!({"name": "天氣"})).await, ["name"]);
    assert_eq!(refused(json!({"display_name": "x".repeat(256)})).await, ["displayName"]);
    assert_eq!(refused(json!({"tool_type": "function"})).await, ["toolType"]);
    assert_eq!(refused(json!({"tool_type": "shell"})).await, ["toolType"]);
    assert_eq!(refused(json!({"http_method": "TRACE"})).await, ["httpMethod"]);
    assert_eq!(refused(json!({"raw_parameters_schema": [1]})).await, ["rawParametersSchema"]);
    assert_eq!(refused(json!({"raw_headers": {"a": 5}})).await, ["rawHeaders"]);
    assert_eq!(refused(json!({"mcp_env": {"1": "x"}})).await, ["mcpEnv"]);
    assert_eq!(refused(json!({"mcp_url": "https://mcp.example/"})).await, ["mcpUrl"]);
    assert_eq!(refused(json!({"function_code": "print(1)"})).await, ["functionCode"]);
    assert_eq!(refused(json!({"mcp_command": "npx"})).await, ["mcpCommand"]);
    for url in ["", "x", "ftp://a.example/", "file:///etc/passwd", "https://user:pw@a.example/", "https://"] {
        assert_eq!(refused(json!({"api_url": url})).await, ["apiUrl"], "{url}");
    }
    assert_eq!(owner.post("tools/", &json!({})).await.body_of(400)["toolType"], json!(["This field is required."]));
    assert_eq!(owner.get("tools/").await.body_of(200)["count"], 0);

    // What clients send empty for the other type is no mistake.
    let mcp = json!({
        "displayName": "行事曆", "toolType": "mcp", "mcpUrl": "https://mcp.example/sse", "apiUrl": "", "mcpArgs": [],
        "mcpAllowedTools": ["list", "create"], "rawMcpHeader": "{\"Authorization\": \"Bearer x\"}", "rawHeaders": {},
        "mcpEnv": {"API_KEY": "x"}, "functionCode": "", "rawParametersSchema": {},
    });
    let mcp = owner.post("tools/", &mcp).await.body_of(201);
    assert_eq!((&mcp["apiUrl"], &mcp["mcpUrl"]), (&Value::Null, &json!("https://mcp.example/sse")));
    assert_eq!((&mcp["rawMcpHeader"], &mcp["mcpEnv"]), (&json!({"Authorization": null}), &json!({"API_KEY": null})));
    assert_eq!(mcp["mcpAllowedTools"], json!(["list", "create"]));
    owner.post("tools/", &api()).await.expect(201);
    assert_eq!(owner.get("tools/?toolType=mcp").await.body_of(200)["results"], json!([mcp]));
    assert_eq!(owner.get("tools/?query=GET_wea").await.body_of(200)["count"], 1);
}

#[tokio::test]
async fn assistants_have_tools_of_their_organisation() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let first = owner.make("tools/", &api()).await;
    let second = owner.make("tools/", &api()).await;
    let body = json!({"name": "Bot", "tools": [second, {"id": first, "displayName": "x"}]});
    let bot = owner.post("chatbots/", &body).await.body_of(201);
    let path = format!("chatbots/{}/", bot["id"].as_str().unwrap());
    let ids = |bot: &Value| bot["tools"].as_array().unwrap().iter().map(|tool| tool["id"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(&bot), [json!(second), json!(first)]);
    assert_eq!(bot["tools"][0]["displayName"], "天氣查詢");
    let other = app.other_organisation().await;
    let foreign = other.make("tools/", &api()).await;
    for unknown in [foreign.as_str(), UNKNOWN, "x"] {
        for (method, path) in [(Method::PATCH, path.as_str()), (Method::POST, "chatbots/")] {
            let body = json!({"name": "Bot", "tools": [first, unknown]});
            let answer = owner.call(method, path, Some(&body)).await.body_of(400);
            assert_eq!(answer, json!({"tools": [{}, {"id": ["No tool has this id."]}]}));
        }
    }
    let copy = owner.post(&format!("{path}duplicate/"), &json!({})).await.body_of(201);
    assert_eq!(ids(&copy), [json!(second), json!(first)]);
    owner.delete(&format!("tools/{second}/")).await.expect(204);
    assert_eq!(ids(&owner.get(&path).await.body_of(200)), [json!(first)]);
    assert_eq!(owner.patch(&path, &json!({"tools": []})).await.body_of(200)["tools"], json!([]));
}
