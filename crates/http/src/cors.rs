//! Chat pages on other sites: which origins a browser lets read our answers.
//!
//! Only operations that visitors use, only origins that the web chat allows, never with cookies. All
//! other operations say nothing about origins, so browsers keep their answers from foreign pages.

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, header};
use parlance_domain::kind::WebChatId;
use parlance_domain::{Principal, Result};
use parlance_service::App;
use parlance_service::authenticate::{authenticate, public_web_chat};
use parlance_service::visitor_sessions::is_allowed_origin;
use parlance_storage::{Scope, web_chats};

/// What a visitor's page may call.
const VISITOR_OPERATIONS: [(&str, &str); 21] = [
    ("GET", "/api/v1/web-chats/{id}/"),
    ("POST", "/api/v1/web-chats/{id}/sessions/"),
    ("POST", "/api/v1/web-chats/{id}/completions/"),
    ("GET", "/api/v1/chatbots/{id}/"),
    ("GET", "/api/v1/conversations/"),
    ("POST", "/api/v1/conversations/"),
    ("GET", "/api/v1/conversations/{id}/"),
    ("GET", "/api/v1/messages/"),
    ("POST", "/api/v1/messages/"),
    ("GET", "/api/v1/messages/{id}/"),
    ("PATCH", "/api/v1/messages/{id}/"),
    ("PUT", "/api/v1/messages/{id}/feedback/"),
    ("DELETE", "/api/v1/messages/{id}/feedback/"),
    ("GET", "/api/v1/messages/{id}/stream/"),
    ("POST", "/api/v1/messages/{id}/cancel/"),
    ("GET", "/api/v1/allowed-file-types/"),
    ("POST", "/api/v1/upload-presigned-url/"),
    ("POST", "/api/v1/conversations/{id}/attachments/"),
    ("GET", "/api/v1/conversations/{id}/events/"),
    ("POST", "/api/v1/conversations/{id}/typing/"),
    ("POST", "/api/v1/web-chats/{id}/voice-agent/token/"),
];

/// Where the id of a web chat stands in a path.
const WEB_CHAT: &str = "/api/v1/web-chats/";

/// Says for the operations of visitors whether the page that asks may read the answer.
pub(crate) async fn let_pages_in(State(app): State<App>, request: Request, next: Next) -> Response {
    let Some(origin) = request.headers().get(header::ORIGIN).cloned() else { return next.run(request).await };
    let asked =
        request.headers().get(header::ACCESS_CONTROL_REQUEST_METHOD).filter(|_| request.method() == Method::OPTIONS);
    let is_preflight = asked.is_some();
    let method = asked.map_or(request.method().as_str(), |method| method.to_str().unwrap_or_default());
    let operation = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str).unwrap_or_default();
    if !VISITOR_OPERATIONS.contains(&(method, operation)) {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let is_allowed = Box::pin(is_allowed(&app, &parts, &origin)).await;
    let mut response = if is_preflight {
        StatusCode::NO_CONTENT.into_response()
    } else {
        next.run(Request::from_parts(parts, body)).await
    };
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    if is_allowed {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("retry-after, x-request-id"));
        if is_preflight {
            let methods = HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE");
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
            headers.insert(
                header::ACCESS_CONTROL_ALLOW_HEADERS,
                HeaderValue::from_static("authorization, content-type, idempotency-key, last-event-id, x-request-id"),
            );
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
        }
    }
    response
}

async fn is_allowed(app: &App, parts: &Parts, origin: &HeaderValue) -> bool {
    let Ok(origin) = origin.to_str() else { return false };
    let allowed = match web_chat(app, parts).await {
        Some(web_chat) => of_web_chat(app, web_chat, origin).await,
        // A preflight has no credential: then some web chat has to allow the origin.
        None => of_any(app, origin).await,
    };
    allowed.unwrap_or_else(|error| {
        tracing::debug!(%error, "an origin could not be looked up");
        false
    })
}

/// The web chat that the request is about: named in the path, or the visitor's.
async fn web_chat(app: &App, parts: &Parts) -> Option<WebChatId> {
    if let Some(rest) = parts.uri.path().strip_prefix(WEB_CHAT) {
        // What is no id is a web chat that does not exist, not any of them.
        let id = rest.split('/').next().and_then(WebChatId::parse);
        return Some(id.unwrap_or_else(|| WebChatId::from_uuid(uuid::Uuid::nil())));
    }
    let header = parts.headers.get(header::AUTHORIZATION)?;
    let principal = authenticate(app, Some(header.as_bytes())).await.ok();
    principal.as_ref().and_then(Principal::visitor).map(|visitor| visitor.web_chat)
}

async fn of_web_chat(app: &App, web_chat: WebChatId, origin: &str) -> Result<bool> {
    let view = public_web_chat(app, web_chat).await?;
    Ok(is_allowed_origin(app, &view, origin))
}

async fn of_any(app: &App, origin: &str) -> Result<bool> {
    let mut tx = app.db.read(Scope::System).await?;
    web_chats::is_origin_known(&mut tx, origin).await
}
