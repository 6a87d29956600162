//! Webhooks of a chatbot: the secret that signs them, what became of them, and sending one again.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use parlance_domain::{Permission, Scopes, kind};
use parlance_service::{App, webhooks};
use parlance_storage::webhooks::LoggedAttempt;
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::{ApiErrors, ApiResult};
use crate::extract::{Authorized, PageBody, Paging, PathId, PathIds, grants};
use crate::v1::chatbots::IdName;

/// A secret, which is shown this once. Has no `Debug`.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SecretOut {
    /// `whsec_` and the key in base64.
    secret: String,
    /// Until when the secret before it signs as well; null for the first.
    previous_secret_valid_until: Option<String>,
}

/// Make a new secret for a chatbot's webhooks. It is shown this once; the one before it signs as
/// well for 24 hours.
#[utoipa::path(post, path = "/api/v1/chatbots/{id}/webhook-secret/", tag = "webhooks", params(("id" = String, Path)),
    responses((status = 200, body = SecretOut), ApiErrors))]
pub(crate) async fn rotate_secret(
    auth: Authorized<grants::WriteChatbots>,
    State(app): State<App>,
    PathId(id): PathId<kind::Chatbot>,
) -> ApiResult<Json<SecretOut>> {
    let made = webhooks::rotate_secret(&app, auth.tenant(), id).await?;
    let out = SecretOut {
        secret: made.secret.to_string(),
        previous_secret_valid_until: made.previous_valid_until.map(|until| until.to_string()),
    };
    Ok(Json(out))
}

/// An attempt to deliver a reply.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WebhookRecord {
    id: String,
    chatbot: IdName,
    /// The address that was called.
    url: String,
    /// The body that was sent; null without `conversations:read`.
    #[schema(value_type = Option<Object>)]
    request_body: Option<serde_json::Value>,
    /// What happened, such as `HTTP 503`. What the receiver answered is not kept.
    response: String,
    /// The status of the receiver's answer; null when there was none.
    status_code: Option<i64>,
    created_at: String,
    /// The `webhook-id` of this and all other attempts of the same delivery.
    webhook_id: String,
    /// The reply that was told of.
    message: String,
    /// How the delivery stands now: `pending`, `succeeded` or `failed`.
    status: String,
    /// When it is tried again, while it is pending.
    next_attempt_at: Option<String>,
    /// Seconds that the attempt took.
    duration: f64,
}

/// An attempt as the caller reads it. The body is a message with who wrote it, so it takes what reading
/// conversations takes.
fn view(scopes: Scopes, chatbot: &str, logged: LoggedAttempt) -> WebhookRecord {
    let LoggedAttempt { attempt, message_id, body, status, next_attempt_at } = logged;
    WebhookRecord {
        id: attempt.id.to_string(),
        chatbot: IdName { id: attempt.chatbot_id.to_string(), name: chatbot.to_owned() },
        url: attempt.url,
        request_body: scopes
            .contains(Permission::ReadConversations)
            .then(|| serde_json::from_str(&body).unwrap_or_default()),
        response: attempt.response,
        status_code: attempt.status_code,
        created_at: attempt.created_at.to_string(),
        webhook_id: attempt.delivery_id.to_string(),
        message: message_id.to_string(),
        next_attempt_at: (status == "pending").then(|| next_attempt_at.to_string()),
        status,
        #[expect(clippy::cast_precision_loss, reason = "an attempt takes seconds")]
        duration: attempt.duration_millis as f64 / 1000.0,
    }
}

/// Attempts of one page: each holds what was sent and what the receiver answered.
const MAX_RECORDS: u64 = 100;

/// List the attempts to deliver a chatbot's replies, newest first. A page has 100 at most. What was sent
/// is shown with `conversations:read` alone.
#[utoipa::path(get, path = "/api/v1/chatbots/{id}/webhook-records/", tag = "webhooks",
    params(("id" = String, Path), ("page" = Option<u64>, Query), ("pageSize" = Option<u64>, Query)),
    responses((status = 200, body = PageBody<WebhookRecord>), ApiErrors))]
pub(crate) async fn records(
    auth: Authorized<grants::ReadChatbots>,
    State(app): State<App>,
    PathId(id): PathId<kind::Chatbot>,
    paging: Paging<MAX_RECORDS>,
) -> ApiResult<Json<PageBody<WebhookRecord>>> {
    let (name, listing) = webhooks::records(&app, auth.tenant(), id, paging.page()).await?;
    Ok(Json(paging.answer(listing, |logged| view(auth.principal.scopes, &name, logged))?))
}

/// Send what an attempt sent once more, with the same `webhook-id`. Also to an endpoint that is
/// disabled, which works again when it answers.
#[utoipa::path(post, path = "/api/v1/chatbots/{chatbot}/webhook-records/{id}/redeliver/", tag = "webhooks",
    params(("chatbot" = String, Path), ("id" = String, Path)),
    responses((status = 202, body = WebhookRecord), ApiErrors))]
pub(crate) async fn redeliver(
    auth: Authorized<grants::WriteChatbots>,
    State(app): State<App>,
    PathIds(chatbot, id): PathIds<kind::Chatbot, kind::WebhookAttempt>,
) -> ApiResult<(StatusCode, Json<WebhookRecord>)> {
    let (name, logged) = webhooks::redeliver(&app, auth.tenant(), chatbot, id).await?;
    Ok((StatusCode::ACCEPTED, Json(view(auth.principal.scopes, &name, logged))))
}
