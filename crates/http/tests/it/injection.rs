//! Text that means something to a database, wherever an operation takes text, is only text.

use parlance_testkit::TestApp;
use serde_json::{Value, json};

use crate::openapi::{document, operations};
use crate::world::{UNKNOWN, told, world};

const PAYLOADS: &[&str] = &[
    "'",
    "\"",
    "';--",
    "' OR '1'='1",
    "\" OR \"\"=\"",
    "1) OR (1=1",
    "') OR org_id <> org_id --",
    "'; DROP TABLE messages; --",
    "' UNION SELECT key_hash FROM api_keys --",
    "x' AND (SELECT count(*) FROM contacts) > 0 --",
    "%",
    "_",
    "%%%",
    "\\",
    "\\'",
    "[a-z]",
    "*",
    "a* OR b*",
    "NEAR(a b)",
    "\"unclosed",
    "-name",
    "name:x",
    "^x",
    "a & b | !c",
    "'heron':*",
    "$1",
    "?1",
    ":name",
    "@p",
    "${jndi:x}",
    "{{7*7}}",
    "\u{202e}txt",
    "Robert\r\n--",
    "/*",
    "*/",
    "0x27",
    "CHAR(39)",
    "null",
    "true",
    "1e309",
    "-0",
    "createdAt; SELECT 1",
    "-createdAt,(SELECT 1)",
    "name DESC NULLS LAST, id",
];

/// Names of the parameters of the query that an operation takes.
fn query_names(operation: &Value) -> Vec<String> {
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    parameters
        .filter(|parameter| parameter["in"] == "query")
        .map(|parameter| parameter["name"].as_str().unwrap().to_owned())
        .collect()
}

/// The path with one parameter.
fn asked(path: &str, name: &str, value: &str) -> String {
    let query: String = url::form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish();
    format!("{path}?{query}")
}

#[tokio::test]
async fn every_query_parameter_is_only_text() {
    let app = TestApp::start().await;
    let owner = app.owner();
    let own = world(&app, &owner, "heron").await;
    let other = app.other_organisation().await;
    let theirs = world(&app, &other, "curlew").await;
    let before = (told(&owner, &own).await, told(&other, &theirs).await);
    let mut tried = 0;
    for (method, path, operation) in operations(&document()) {
        if method != "GET" || path.ends_with("/stream/") || path.ends_with("/events/") {
            continue;
        }
        let path = crate::authorization::filled(&path, Some(&own));
        let path = path.split('?').next().unwrap();
        for name in query_names(&operation) {
            for payload in PAYLOADS {
                let answer = owner.get(&asked(path, &name, payload)).await;
                let status = answer.status.as_u16();
                assert!(matches!(status, 200 | 400 | 404), "{} {}", answer.asked, answer.text());
                assert!(!answer.text().contains("curlew"), "{} tells of another organisation", answer.asked);
                tried += 1;
            }
        }
    }
    assert!(tried > 500, "only {tried} requests: is the search for parameters still right?");
    assert_eq!((told(&owner, &own).await, told(&other, &theirs).await), before);
}

#[tokio::test]
async fn a_name_comes_back_as_it_was_given() {
    let app = TestApp::start().await;
    let owner = app.owner();
    for payload in PAYLOADS {
        let name = format!("n{payload}n");
        let made = owner.post("knowledge-bases/", &json!({"name": name, "description": payload})).await.body_of(201);
        let path = format!("knowledge-bases/{}/", made["id"].as_str().unwrap());
        let got = owner.get(&path).await.body_of(200);
        assert_eq!((&got["name"], &got["description"]), (&json!(name), &json!(payload)));
        let found = owner.get(&asked("knowledge-bases/", "query", &name)).await.body_of(200);
        let names: Vec<&Value> = found["results"].as_array().unwrap().iter().map(|base| &base["name"]).collect();
        assert_eq!(names, [&json!(name)], "a filter finds its own text and nothing else");
        let unknown = owner.post("knowledge-bases/", &json!({"name": "x", "embeddingModel": payload})).await;
        assert!(matches!(unknown.status.as_u16(), 201 | 400), "{}", unknown.text());
    }
    owner.get(&format!("knowledge-bases/{UNKNOWN}/")).await.expect(404).text();
}
