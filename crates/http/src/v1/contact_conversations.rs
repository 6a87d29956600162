//! The conversations of one contact.

use axum::Json;
use axum::extract::{RawQuery, State};
use parlance_domain::kind;
use parlance_service::App;
use parlance_service::contact_conversations;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::{ApiErrors, ApiResult};
use crate::extract::{Authorized, PathId, Query, grants};
use crate::v1::contacts::inboxes_of;
use crate::v1::conversations::{ConversationView, view};

/// Conversations, the one with the latest message first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ContactConversations {
    /// How many there are in this answer, at most 200.
    count: usize,
    results: Vec<ConversationView>,
}

/// What is looked for.
#[derive(Debug, Deserialize)]
pub(crate) struct KeywordParams {
    keyword: Option<String>,
}

/// List a contact's conversations, at most the latest 200.
#[utoipa::path(get, path = "/api/v1/contacts/{id}/conversations/", tag = "contacts",
    params(("id" = String, Path), ("keyword" = Option<String>, Query), ("inboxes" = Option<String>, Query)),
    responses((status = 200, body = ContactConversations), ApiErrors))]
pub(crate) async fn list(
    auth: Authorized<grants::ReadConversations>,
    State(app): State<App>,
    PathId(id): PathId<kind::Contact>,
    Query(params): Query<KeywordParams>,
    RawQuery(query): RawQuery,
) -> ApiResult<Json<ContactConversations>> {
    let keyword = params.keyword.unwrap_or_default();
    let inboxes = inboxes_of(query.as_deref());
    let found = contact_conversations::list(&app, &auth.principal, id, &keyword, inboxes).await?;
    let results: Vec<ConversationView> = found.into_iter().map(|shown| view(app.now(), shown)).collect();
    Ok(Json(ContactConversations { count: results.len(), results }))
}

/// A contact's conversation with the latest message; 404 when there is none.
#[utoipa::path(get, path = "/api/v1/contacts/{id}/conversations/latest/", tag = "contacts",
    params(("id" = String, Path)), responses((status = 200, body = ConversationView), ApiErrors))]
pub(crate) async fn latest(
    auth: Authorized<grants::ReadConversations>,
    State(app): State<App>,
    PathId(id): PathId<kind::Contact>,
) -> ApiResult<Json<ConversationView>> {
    let shown = contact_conversations::latest(&app, &auth.principal, id).await?;
    Ok(Json(view(app.now(), shown)))
}
