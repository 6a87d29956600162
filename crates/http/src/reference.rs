//! The API's description, as a document and as a page.

use axum::response::{Html, IntoResponse};
use http::header;
use utoipa::Modify;
use utoipa::openapi::OpenApi;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityScheme};

/// Adds how callers prove who they are.
pub(crate) struct ApiKeyScheme;

impl Modify for ApiKeyScheme {
    fn modify(&self, document: &mut OpenApi) {
        let value = ApiKeyValue::with_description("Authorization", "`Api-Key <key>`");
        let scheme = SecurityScheme::ApiKey(ApiKey::Header(value));
        document.components.get_or_insert_default().add_security_scheme("apiKey", scheme);
    }
}

/// Gives every operation an id of its own, from its method and path: handlers of different nouns
/// share names such as `list`.
fn name_operations(document: &mut OpenApi) {
    for (path, item) in &mut document.paths.paths {
        let words: Vec<&str> = path
            .trim_start_matches("/api/v1/")
            .split(['/', '-'])
            .map(|word| word.trim_matches(['{', '}']))
            .filter(|word| !word.is_empty())
            .collect();
        let methods = [
            ("get", &mut item.get),
            ("post", &mut item.post),
            ("put", &mut item.put),
            ("patch", &mut item.patch),
            ("delete", &mut item.delete),
        ];
        for (method, operation) in methods {
            if let Some(operation) = operation {
                operation.operation_id = Some(format!("{method}_{}", words.join("_")));
            }
        }
    }
}

/// `openapi.json`, as it is committed.
pub fn openapi_json() -> String {
    let mut document = crate::routes::openapi();
    name_operations(&mut document);
    document.to_pretty_json().unwrap_or_default() + "\n"
}

/// Serve the document: the committed one, which a test compares with [`openapi_json`]. Making it takes
/// more memory than the server needs for anything else at its start.
pub(crate) async fn document() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], include_str!("../../../openapi.json"))
}

/// Serve a page that shows the document. It loads nothing from anywhere else.
pub(crate) async fn page() -> impl IntoResponse {
    let policy = "default-src 'none'; connect-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'";
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(include_str!("reference.html")))
}
