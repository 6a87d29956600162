//! Web chats: the pages on which people talk to an assistant.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use parlance_domain::{Error, PrincipalKind, kind};
use parlance_service::authenticate::public_web_chat;
use parlance_service::{App, web_chats};
use parlance_storage::web_chats::Filter;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::error::{ApiErrors, ApiResult};
use crate::extract::{Anyone, Authorized, Body, PathId, Query, grants};
use crate::v1::web_chat_fields::{WebChatBody, WebChatOut, out, public};

/// What a list is narrowed to.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(crate) struct WebChatFilter {
    /// `web`, `admin`, or `api` for the hidden ones of chatbots, which are not listed otherwise.
    access_type: Option<String>,
    /// Id of a chatbot.
    chatbot: Option<String>,
}

/// List the web chats, newest first; a bare array.
#[utoipa::path(get, path = "/api/v1/web-chats/", tag = "web chats", params(WebChatFilter),
    responses((status = 200, body = Vec<WebChatOut>), ApiErrors))]
pub(crate) async fn list(
    auth: Authorized<grants::ReadChannels>,
    State(app): State<App>,
    Query(filter): Query<WebChatFilter>,
) -> ApiResult<Json<Vec<WebChatOut>>> {
    let non_empty = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
    let filter = Filter {
        access_type: non_empty(filter.access_type),
        chatbot: non_empty(filter.chatbot)
            .map(|id| kind::ChatbotId::parse(&id).unwrap_or_else(|| kind::ChatbotId::from_uuid(uuid::Uuid::nil()))),
    };
    let listed = web_chats::list(&app, auth.tenant(), &filter).await?;
    Ok(Json(listed.into_iter().map(|view| out(&app, view)).collect()))
}

/// Add a web chat with its inbox. Needs `chatbots:read` besides `channels:write`, since it shows an assistant
/// to its visitors; so does another `chatbot` for one that exists.
#[utoipa::path(post, path = "/api/v1/web-chats/", tag = "web chats", request_body = WebChatBody,
    responses((status = 201, body = WebChatOut), ApiErrors))]
pub(crate) async fn create(
    auth: Authorized<grants::WriteChannels>,
    State(app): State<App>,
    Body(body): Body<WebChatBody>,
) -> ApiResult<(StatusCode, Json<WebChatOut>)> {
    let view = web_chats::create(&app, auth.tenant(), body.draft(true, auth.principal.scopes)?).await?;
    Ok((StatusCode::CREATED, Json(out(&app, view))))
}

/// One web chat. Without a credential, and to a visitor, only what its page needs to be drawn.
#[utoipa::path(get, path = "/api/v1/web-chats/{id}/", tag = "web chats", params(("id" = String, Path)),
    security((), ("apiKey" = [])),
    responses((status = 200, body = WebChatOut), ApiErrors))]
pub(crate) async fn get(
    caller: Anyone<grants::ReadChannels>,
    State(app): State<App>,
    PathId(id): PathId<kind::WebChat>,
) -> ApiResult<Response> {
    match caller.principal.map(|principal| (principal.tenant, principal.kind)) {
        Some((tenant, PrincipalKind::ApiKey(_))) => {
            Ok(Json(out(&app, web_chats::get(&app, tenant, id).await?)).into_response())
        }
        Some((_, PrincipalKind::Visitor(visitor))) if visitor.web_chat != id => Err(Error::NotFound("web chat").into()),
        Some((_, PrincipalKind::Visitor(_))) | None => {
            Ok(Json(public(&app, &public_web_chat(&app, id).await?)).into_response())
        }
    }
}

/// Change a web chat. `theme` and `darkTheme` are required; other absent fields stay.
#[utoipa::path(put, path = "/api/v1/web-chats/{id}/", tag = "web chats", params(("id" = String, Path)),
    request_body = WebChatBody, responses((status = 200, body = WebChatOut), ApiErrors))]
pub(crate) async fn replace(
    auth: Authorized<grants::WriteChannels>,
    State(app): State<App>,
    PathId(id): PathId<kind::WebChat>,
    Body(body): Body<WebChatBody>,
) -> ApiResult<Json<WebChatOut>> {
    let view = web_chats::update(&app, auth.tenant(), id, body.draft(true, auth.principal.scopes)?).await?;
    Ok(Json(out(&app, view)))
}

/// Change a web chat.
#[utoipa::path(patch, path = "/api/v1/web-chats/{id}/", tag = "web chats", params(("id" = String, Path)),
    request_body = WebChatBody, responses((status = 200, body = WebChatOut), ApiErrors))]
pub(crate) async fn update(
    auth: Authorized<grants::WriteChannels>,
    State(app): State<App>,
    PathId(id): PathId<kind::WebChat>,
    Body(body): Body<WebChatBody>,
) -> ApiResult<Json<WebChatOut>> {
    let view = web_chats::update(&app, auth.tenant(), id, body.draft(false, auth.principal.scopes)?).await?;
    Ok(Json(out(&app, view)))
}

/// Remove a web chat; its conversations stay.
#[utoipa::path(delete, path = "/api/v1/web-chats/{id}/", tag = "web chats", params(("id" = String, Path)),
    responses((status = 204), ApiErrors))]
pub(crate) async fn delete(
    auth: Authorized<grants::WriteChannels>,
    State(app): State<App>,
    PathId(id): PathId<kind::WebChat>,
) -> ApiResult<StatusCode> {
    web_chats::delete(&app, auth.tenant(), id).await?;
    Ok(StatusCode::NO_CONTENT)
}
