//! Sessions of visitors of chat pages, and the secret that proves who they are.

use axum::Json;
use axum::extract::State;
use http::{HeaderMap, StatusCode, header};
use parlance_domain::kind;
use parlance_service::App;
use parlance_service::authenticate::visitor_session;
use parlance_service::visitor_sessions::{self, Arrival};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::{ApiErrors, ApiResult};
use crate::extract::{Anyone, Authorized, Body, ClientAddress, PathId, grants};

/// Who arrives. `contactId`, `sourceId` and other claims without proof are ignored.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SessionBody {
    /// An HS256 JWT `{sub, aud, exp}`, signed with the web chat's identity secret.
    #[serde(default)]
    identity_token: Option<String>,
}

/// The contact that a visitor is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct VisitorOut {
    id: String,
    name: String,
    created_at: String,
}

/// A visitor's session.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SessionOut {
    /// Goes into `Authorization: Visitor <token>`.
    token: String,
    expires_at: String,
    contact: VisitorOut,
    /// The visitor's latest conversation in this web chat.
    #[serde(skip_serializing_if = "Option::is_none")]
    conversation: Option<String>,
}

/// Begin a visitor's session, or renew the one whose token is given. Needs no credential.
#[utoipa::path(post, path = "/api/v1/web-chats/{id}/sessions/", tag = "web chats", params(("id" = String, Path)),
    security((), ("apiKey" = [])), request_body = SessionBody,
    responses((status = 201, body = SessionOut), ApiErrors))]
pub(crate) async fn create(
    caller: Anyone<grants::WriteChannels>,
    ClientAddress(address): ClientAddress,
    State(app): State<App>,
    PathId(id): PathId<kind::WebChat>,
    headers: HeaderMap,
    Body(body): Body<SessionBody>,
) -> ApiResult<(StatusCode, Json<SessionOut>)> {
    let authorization = headers.get(header::AUTHORIZATION).map(http::HeaderValue::as_bytes);
    let arrival = Arrival {
        address,
        // What is no text is no origin that anybody allowed.
        origin: headers.get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or("null")),
        caller: caller.principal.map(|principal| (principal, visitor_session(&app, authorization))),
        identity_token: body.identity_token.as_deref(),
    };
    let opened = visitor_sessions::open(&app, id, &arrival).await?;
    let out = SessionOut {
        token: opened.token,
        expires_at: opened.expires_at.to_string(),
        contact: VisitorOut {
            id: opened.contact.id.to_string(),
            name: opened.contact.name,
            created_at: opened.contact.created_at.to_string(),
        },
        conversation: opened.conversation.map(|id| id.to_string()),
    };
    Ok((StatusCode::CREATED, Json(out)))
}

/// A secret, shown this once.
#[derive(Serialize, ToSchema)]
pub(crate) struct IdentitySecretOut {
    /// The bytes of this text are the key of the HMAC.
    secret: String,
}

/// Make a new identity secret. The one before ends at once, with the sessions it proved. Whoever has it
/// can be any visitor of the web chat, so it needs `conversations:read` and `conversations:write` besides
/// `channels:write`.
#[utoipa::path(post, path = "/api/v1/web-chats/{id}/identity-secret/", tag = "web chats",
    params(("id" = String, Path)), responses((status = 200, body = IdentitySecretOut), ApiErrors))]
pub(crate) async fn rotate_identity_secret(
    auth: Authorized<(grants::WriteChannels, grants::ReadConversations, grants::WriteConversations)>,
    State(app): State<App>,
    PathId(id): PathId<kind::WebChat>,
) -> ApiResult<Json<IdentitySecretOut>> {
    let secret = visitor_sessions::rotate_identity_secret(&app, auth.tenant(), id).await?;
    Ok(Json(IdentitySecretOut { secret }))
}
