//! API keys and the audit log.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use parlance_domain::{Error, Timestamp, kind};
use parlance_service::App;
use parlance_service::api_keys::{self, NewKey};
use parlance_storage::api_keys::ApiKey;
use parlance_storage::audit::{self, AuditEntry, Filter};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::error::{ApiErrors, ApiResult};
use crate::extract::{Authorized, Body, PageBody, Paging, PathId, Query, grants};

/// An API key; the key itself is not stored.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ApiKeyView {
    id: String,
    name: String,
    user: String,
    /// Names of permissions, or `*`. The role of the user may allow less.
    scopes: Vec<String>,
    created_at: String,
    expires_at: Option<String>,
    revoked_at: Option<String>,
}

impl From<ApiKey> for ApiKeyView {
    fn from(key: ApiKey) -> Self {
        Self {
            id: key.id.to_string(),
            name: key.name,
            user: key.user_id.to_string(),
            scopes: key.scopes.split_whitespace().map(str::to_owned).collect(),
            created_at: key.created_at.to_string(),
            expires_at: key.expires_at.map(|time| time.to_string()),
            revoked_at: key.revoked_at.map(|time| time.to_string()),
        }
    }
}

/// A new key, shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NewApiKeyView {
    #[serde(flatten)]
    view: ApiKeyView,
    /// The key.
    key: String,
}

/// A key to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NewApiKeyBody {
    name: String,
    /// Names of permissions that the caller has; all of these when absent.
    #[serde(default)]
    scopes: Option<Vec<String>>,
    /// Milliseconds since 1970; never when absent.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    expires_at: Option<Value>,
}

/// What may be changed of a key.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct ApiKeyBody {
    name: String,
}

/// List the API keys, newest first, also those that were taken back.
#[utoipa::path(get, path = "/api/v1/api-keys/", tag = "organization",
    responses((status = 200, body = Vec<ApiKeyView>), ApiErrors))]
pub(crate) async fn list(
    auth: Authorized<grants::ReadOrganisation>,
    State(app): State<App>,
) -> ApiResult<Json<Vec<ApiKeyView>>> {
    let keys = api_keys::list(&app, &auth.principal).await?;
    Ok(Json(keys.into_iter().map(ApiKeyView::from).collect()))
}

/// Make an API key for the user behind the caller's.
#[utoipa::path(post, path = "/api/v1/api-keys/", tag = "organization", request_body = NewApiKeyBody,
    responses((status = 201, body = NewApiKeyView), ApiErrors))]
pub(crate) async fn create(
    auth: Authorized<grants::WriteOrganisation>,
    State(app): State<App>,
    Body(body): Body<NewApiKeyBody>,
) -> ApiResult<(StatusCode, Json<NewApiKeyView>)> {
    let expires_at = match body.expires_at {
        None | Some(Value::Null) => None,
        Some(Value::Number(number)) => Some(number.as_i64()),
        Some(Value::String(text)) => Some(text.trim().parse().ok()),
        Some(_) => Some(None),
    };
    let wrong = || Error::field("expiresAt", "Enter milliseconds since 1970.");
    let expires_at = expires_at.map(|millis| millis.map(Timestamp::from_millis).ok_or_else(wrong)).transpose()?;
    let new = NewKey { name: body.name, scopes: body.scopes, expires_at };
    let (key, text) = api_keys::create(&app, &auth.principal, new).await?;
    Ok((StatusCode::CREATED, Json(NewApiKeyView { view: key.into(), key: text })))
}

/// One API key.
#[utoipa::path(get, path = "/api/v1/api-keys/{id}/", tag = "organization", params(("id" = String, Path)),
    responses((status = 200, body = ApiKeyView), ApiErrors))]
pub(crate) async fn get(
    auth: Authorized<grants::ReadOrganisation>,
    State(app): State<App>,
    PathId(id): PathId<kind::ApiKey>,
) -> ApiResult<Json<ApiKeyView>> {
    Ok(Json(api_keys::get(&app, &auth.principal, id).await?.into()))
}

/// Rename an API key.
#[utoipa::path(patch, path = "/api/v1/api-keys/{id}/", tag = "organization", params(("id" = String, Path)),
    request_body = ApiKeyBody, responses((status = 200, body = ApiKeyView), ApiErrors))]
pub(crate) async fn update(
    auth: Authorized<grants::WriteOrganisation>,
    State(app): State<App>,
    PathId(id): PathId<kind::ApiKey>,
    Body(body): Body<ApiKeyBody>,
) -> ApiResult<Json<ApiKeyView>> {
    Ok(Json(api_keys::rename(&app, &auth.principal, id, &body.name).await?.into()))
}

/// Take an API key back. It stops working within five seconds, and its streams end.
#[utoipa::path(delete, path = "/api/v1/api-keys/{id}/", tag = "organization", params(("id" = String, Path)),
    responses((status = 204), ApiErrors))]
pub(crate) async fn revoke(
    auth: Authorized<grants::WriteOrganisation>,
    State(app): State<App>,
    PathId(id): PathId<kind::ApiKey>,
) -> ApiResult<StatusCode> {
    api_keys::revoke(&app, &auth.principal, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A change that was made through the API.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AuditEntryView {
    id: String,
    user: Option<String>,
    /// Id of the API key.
    credential: String,
    method: String,
    /// Path of the operation, with names in place of ids.
    operation: String,
    /// What was changed or made, where that is one thing.
    object: Option<String>,
    status: i64,
    request_id: String,
    address: String,
    created_at: String,
}

impl From<AuditEntry> for AuditEntryView {
    fn from(entry: AuditEntry) -> Self {
        Self {
            id: entry.id.to_string(),
            user: entry.user_id.map(|id| id.to_string()),
            credential: entry.credential_id,
            method: entry.method,
            operation: entry.operation,
            object: entry.object_id,
            status: entry.status,
            request_id: entry.request_id,
            address: entry.address,
            created_at: entry.created_at.to_string(),
        }
    }
}

/// What the audit log is narrowed to.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct AuditFilter {
    /// Id of a user.
    user: Option<String>,
    /// Method, such as `DELETE`.
    method: Option<String>,
    /// Path of an operation, with names in place of ids, such as `chatbots/{id}/`.
    operation: Option<String>,
    /// Id of a thing.
    object: Option<String>,
    /// Milliseconds since 1970.
    since: Option<String>,
    /// Milliseconds since 1970, exclusive.
    until: Option<String>,
}

fn time(text: Option<String>, field: &str) -> Result<Option<Timestamp>, Error> {
    let wrong = |_not_a_number| Error::field(field, "Enter milliseconds since 1970.");
    text.map(|text| text.trim().parse().map(Timestamp::from_millis).map_err(wrong)).transpose()
}

/// List the changes made through the API, newest first.
#[utoipa::path(get, path = "/api/v1/audit-log/", tag = "organization",
    params(AuditFilter, ("page" = Option<u64>, Query), ("pageSize" = Option<u64>, Query)),
    responses((status = 200, body = PageBody<AuditEntryView>), ApiErrors))]
pub(crate) async fn audit_log(
    auth: Authorized<grants::ReadOrganisation>,
    State(app): State<App>,
    Query(filter): Query<AuditFilter>,
    paging: Paging,
) -> ApiResult<Json<PageBody<AuditEntryView>>> {
    let user =
        filter.user.map(|text| kind::UserId::parse(&text).ok_or_else(|| Error::field("user", "No user has this id.")));
    let filter = Filter {
        user: user.transpose()?,
        method: filter.method.map(|method| method.to_ascii_uppercase()),
        operation: filter.operation,
        object: filter.object,
        since: time(filter.since, "since")?,
        until: time(filter.until, "until")?,
    };
    let mut tx = app.db.read(auth.tenant()).await?;
    let listing = audit::list(&mut tx, auth.tenant(), &filter, paging.page()).await?;
    Ok(Json(paging.answer(listing, AuditEntryView::from)?))
}
