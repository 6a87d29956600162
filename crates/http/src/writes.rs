//! What goes with every request that writes: its line in the audit log, and its idempotency key.
//!
//! One layer around the operations, so that it holds for each of them, also for those to come. The
//! rows ride along in the transactions of the handler (`parlance_storage::request_scope`); the
//! extractor of the caller says who writes, once it knows that they may.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use parlance_domain::{Error, Principal, PrincipalKind};
use parlance_service::App;
use parlance_storage::request_scope::{AuditLine, RequestScope, Writer};
use utoipa::openapi::{PathItem, RefOr, Response as ApiResponse, Schema};
use uuid::Uuid;

use crate::error::ApiError;
use crate::extract::ClientAddress;
use crate::idempotency::{self, Attempt, InProgress};
use crate::request_log::RequestId;

/// What the layer needs.
#[derive(Clone)]
pub(crate) struct Writes {
    pub(crate) app: App,
    /// The operations without this layer, to look up what a request made.
    pub(crate) operations: Router,
    pub(crate) in_progress: InProgress,
    successes: Arc<Successes>,
}

/// How an operation answers when all went well.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Success {
    pub(crate) status: u16,
    /// Whether it answers a list.
    pub(crate) is_list: bool,
}

/// A writing request on its way to its handler; stands in the request's extensions.
#[derive(Clone)]
pub(crate) struct Write {
    pub(crate) scope: Arc<RequestScope>,
    pub(crate) attempt: Option<Arc<Attempt>>,
}

/// How the operations answer when all went well, by method and path.
#[derive(Default)]
pub(crate) struct Successes {
    known: HashMap<(Method, String), Success>,
}

impl Successes {
    /// Notes what the description of a path says of its operations.
    pub(crate) fn note(&mut self, path: &str, item: &PathItem) {
        let described = [
            (Method::GET, &item.get),
            (Method::POST, &item.post),
            (Method::PUT, &item.put),
            (Method::PATCH, &item.patch),
            (Method::DELETE, &item.delete),
        ];
        for (method, operation) in described {
            let answers = operation.iter().flat_map(|operation| &operation.responses.responses);
            let good = answers.into_iter().find_map(|(status, answer)| {
                let status = status.parse().ok().filter(|status| (200..300).contains(status))?;
                Some(Success { status, is_list: is_list(answer) })
            });
            if let Some(good) = good {
                self.known.insert((method, path.to_owned()), good);
            }
        }
    }
}

fn is_list(answer: &RefOr<ApiResponse>) -> bool {
    let RefOr::T(answer) = answer else { return false };
    let Some(RefOr::T(json)) = answer.content.get("application/json") else { return false };
    matches!(json.schema, Some(RefOr::T(Schema::Array(_))))
}

impl Writes {
    /// For operations that answer like this when all went well.
    pub(crate) fn new(app: App, operations: Router, successes: Successes) -> Self {
        Self { app, operations, in_progress: InProgress::default(), successes: Arc::new(successes) }
    }

    /// How the operation answers when all went well.
    pub(crate) fn success(&self, method: &Method, operation: &str) -> Success {
        let known = self.successes.known.get(&(method.clone(), operation.to_owned())).copied();
        known.unwrap_or(Success { status: 200, is_list: false })
    }
}

/// Lets a writing request through with what goes with it.
pub(crate) async fn around(State(writes): State<Writes>, request: Request, next: Next) -> Response {
    let method = match *request.method() {
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => return next.run(request).await,
    };
    let operation = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned()).unwrap_or_default();
    let has_key = method == "POST" && request.headers().contains_key(&idempotency::HEADER);
    let is_audited = is_audited(&operation);
    if !has_key && !is_audited {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    let success = writes.success(&parts.method, &operation);
    let line = is_audited.then(|| audit_line(&writes.app, &parts, method, &operation, success.status));
    let scope = RequestScope::new(line);
    if has_key {
        let request = Request::from_parts(parts, body);
        // On the heap, here and below: few requests come this way, and all would keep room for it.
        let once = Box::pin(idempotency::once(&writes, scope, success, request, next));
        return once.await.unwrap_or_else(ApiError::into_response);
    }
    parts.extensions.insert(Write { scope: Arc::clone(&scope), attempt: None });
    let response = scope.run(next.run(Request::from_parts(parts, body))).await;
    Box::pin(correct_status(&writes.app, &scope, response.status())).await;
    response
}

/// The line says how the request was answered; it was written before that was known.
pub(crate) async fn correct_status(app: &App, scope: &RequestScope, answered: StatusCode) {
    let (Some(line), Some(writer)) = (scope.audit_line(), scope.writer()) else { return };
    let (id, status, tenant) = (line.id, answered.as_u16(), writer.tenant);
    if scope.effects() == 0 || status == line.status {
        return;
    }
    let corrected = app
        .db
        .write(tenant, move |tx| {
            Box::pin(async move { parlance_storage::audit::set_status(tx, tenant, id, status).await })
        })
        .await;
    if let Err(error) = corrected {
        tracing::warn!(%error, %id, "the status of an audit entry could not be corrected");
    }
}

/// Whether the operation's changes belong into the audit log. What people and assistants say to each
/// other is kept as such, and searches change nothing.
fn is_audited(operation: &str) -> bool {
    let path = operation.strip_prefix("/api/v1/").unwrap_or_default();
    let is_talk = path.starts_with("conversations/") || path.starts_with("messages/");
    let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    !path.is_empty() && !is_talk && !matches!(last, "completions" | "sessions" | "search")
}

fn audit_line(app: &App, parts: &Parts, method: &'static str, operation: &str, status: u16) -> AuditLine {
    let named = operation.split('/').zip(parts.uri.path().split('/'));
    let ids = named.filter(|(name, _)| name.starts_with('{')).filter_map(|(_, value)| Uuid::try_parse(value).ok());
    let request_id = parts.extensions.get::<RequestId>().and_then(|id| id.0.to_str().ok()).unwrap_or("-");
    AuditLine {
        id: app.new_id(),
        method,
        operation: operation.strip_prefix("/api/v1/").unwrap_or(operation).to_owned(),
        object_id: ids.last().map(|id| id.to_string()),
        status,
        request_id: request_id.to_owned(),
        address: ClientAddress::of(parts, app).0.to_string(),
        created_at: app.now(),
    }
}

/// Called when it is known who makes a request and that they may: from here on its effects are
/// theirs.
///
/// # Errors
/// When the request carries an idempotency key and is not to be carried out (again).
pub(crate) async fn enter(parts: &Parts, app: &App, principal: &Principal) -> Result<(), Error> {
    let Some(write) = parts.extensions.get::<Write>() else { return Ok(()) };
    if let Some(attempt) = &write.attempt {
        Box::pin(attempt.begin(app, &write.scope, principal)).await?;
    }
    let (credential, is_visitor) = credential(principal);
    let (tenant, user) = (principal.tenant, principal.user);
    write.scope.identify(Writer { tenant, user, credential, is_audited: !is_visitor });
    Ok(())
}

/// The id of what the caller proved themselves with, and whether they are a visitor.
pub(crate) fn credential(principal: &Principal) -> (Uuid, bool) {
    match principal.kind {
        PrincipalKind::ApiKey(key) => (key.uuid(), false),
        PrincipalKind::Visitor(visitor) => (visitor.contact.uuid(), true),
    }
}

/// Marks an answer that was given before.
pub(crate) const REPLAYED: (&str, HeaderValue) = ("idempotent-replayed", HeaderValue::from_static("true"));

#[cfg(test)]
mod tests {
    use super::is_audited;

    #[test]
    fn talk_is_not_audited() {
        for operation in [
            "/api/v1/chatbots/",
            "/api/v1/knowledge-bases/{id}/files/batch-delete/",
            "/api/v1/organizations/{id}/members/{member}/",
            "/api/v1/web-chats/{id}/",
        ] {
            assert!(is_audited(operation), "{operation}");
        }
        for operation in [
            "/api/v1/chatbots/{id}/completions/",
            "/api/v1/web-chats/{id}/completions/",
            "/api/v1/web-chats/{id}/sessions/",
            "/api/v1/knowledge-bases/{id}/search/",
            "/api/v1/messages/{id}/cancel/",
            "/api/v1/conversations/",
            "/uploads/",
            "",
        ] {
            assert!(!is_audited(operation), "{operation}");
        }
    }
}
