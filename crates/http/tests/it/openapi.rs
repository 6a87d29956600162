//! The committed description is the one of the code, and complete.

use serde_json::Value;

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// Every operation as (method, path, description).
pub(crate) fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in METHODS {
            if let Some(operation) = item.get(method) {
                operations.push((method.to_uppercase(), path.clone(), operation.clone()));
            }
        }
    }
    operations
}

pub(crate) fn document() -> Value {
    serde_json::from_str(&parlance_http::openapi_json()).unwrap()
}

#[test]
fn openapi_is_current() {
    let committed = include_str!("../../../../openapi.json");
    assert!(committed == parlance_http::openapi_json(), "openapi.json is not current; run `make generate`");
}

fn check_references(document: &Value, value: &Value) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get("$ref") {
                let pointer = reference.strip_prefix('#').expect("a reference into the document");
                assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
            }
            members.values().for_each(|member| check_references(document, member));
        }
        Value::Array(items) => items.iter().for_each(|item| check_references(document, item)),
        _ => {}
    }
}

#[test]
fn references_lead_somewhere() {
    let document = document();
    check_references(&document, &document);
}

#[test]
fn every_operation_is_described() {
    let document = document();
    let operations = operations(&document);
    assert!(operations.len() > 40, "{}", operations.len());
    for (method, path, operation) in operations {
        let name = format!("{method} {path}");
        assert!(operation["tags"].as_array().is_some_and(|tags| tags.len() == 1), "{name} has no tag");
        assert!(operation["summary"].as_str().is_some_and(|summary| summary.len() > 5), "{name} has no summary");
        assert!(operation["responses"]["401"].is_object(), "{name} documents no 401");
        let good = operation["responses"].as_object().unwrap().keys().any(|status| status.starts_with('2'));
        assert!(good, "{name} documents no success");
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        for part in path.split('/').filter_map(|part| part.strip_prefix('{')) {
            let name_of_part = part.trim_end_matches('}');
            assert!(
                parameters.iter().any(|parameter| parameter["in"] == "path" && parameter["name"] == name_of_part),
                "{name} does not describe {name_of_part}"
            );
        }
    }
}

#[tokio::test]
async fn the_document_is_served() {
    let app = parlance_testkit::TestApp::start().await;
    let served = app.nobody().get("/openapi.json").await.expect(200);
    assert_eq!(served.text(), parlance_http::openapi_json());
    let page = app.nobody().get("/docs").await.expect(200);
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(page.header("content-security-policy").contains("default-src 'none'"));
    for (path, text) in [("/healthz", "ok"), ("/readyz", "ready")] {
        assert_eq!(app.nobody().get(path).await.expect(200).text(), text);
    }
}
