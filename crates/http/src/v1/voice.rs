//! Talking to an assistant: tokens for the operator's LiveKit server.

use axum::Json;
use axum::extract::State;
use parlance_domain::kind;
use parlance_service::{App, voice};
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::{ApiErrors, ApiResult};
use crate::extract::{Caller, PathId, grants};

/// The right to join one room, for ten minutes.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct VoiceTokenOut {
    /// Access token of LiveKit: a JWT.
    token: String,
    /// Where the LiveKit server is.
    url: String,
    /// The same as `url`.
    server_url: String,
    /// The same as `url`.
    livekit_url: String,
    room_name: String,
    participant_identity: String,
    /// Milliseconds since 1970.
    expires_at: String,
}

/// Get a token to talk to the voice agent of a web chat. A body is not needed and not read.
#[utoipa::path(post, path = "/api/v1/web-chats/{id}/voice-agent/token/", tag = "web chats",
    params(("id" = String, Path)), responses((status = 200, body = VoiceTokenOut), ApiErrors))]
pub(crate) async fn token(
    caller: Caller<grants::Complete>,
    State(app): State<App>,
    PathId(id): PathId<kind::WebChat>,
) -> ApiResult<Json<VoiceTokenOut>> {
    let made = voice::token(&app, &caller.principal, id).await?;
    Ok(Json(VoiceTokenOut {
        token: made.token,
        server_url: made.url.clone(),
        livekit_url: made.url.clone(),
        url: made.url,
        room_name: made.room,
        participant_identity: made.identity,
        expires_at: made.expires_at.to_string(),
    }))
}
