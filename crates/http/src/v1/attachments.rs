//! Attachments of messages, by the key of an upload or with their bytes in the request.

use axum::Json;
use axum::extract::{FromRequest, Request, State};
use http::{StatusCode, header};
use parlance_domain::kind::{self, ConversationId};
use parlance_domain::{Error, Principal, Tenant};
use parlance_service::{App, attachments, conversations, uploads};
use parlance_storage::attachments::Attachment;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::{ApiErrors, ApiResult};
use crate::extract::{Authorized, Body, Caller, Form, PageBody, Paging, PathId, grants};
use crate::v1::uploads::store;

/// An attachment to make of a finished upload. A multipart body with a `file` field does both.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct AttachmentBody {
    /// Key of a finished upload.
    file: String,
    #[serde(default)]
    filename: Option<String>,
    /// `image`, `video`, `audio`, `sticker` or `other`; by the file's type when absent.
    #[serde(default, rename = "type")]
    kind: Option<String>,
}

/// An attachment.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AttachmentView {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    filename: String,
    /// Signed, expiring URL.
    file: String,
    conversation: Option<String>,
}

fn view(app: &App, tenant: Tenant, attachment: Attachment) -> AttachmentView {
    AttachmentView {
        id: attachment.id.to_string(),
        file: app.links.file_url(tenant, &attachment.blob_key, &attachment.filename, app.now()).unwrap_or_default(),
        kind: attachment.kind,
        filename: attachment.filename,
        conversation: attachment.conversation_id.map(|id| id.to_string()),
    }
}

async fn make(
    app: &App,
    principal: &Principal,
    conversation: Option<ConversationId>,
    request: Request,
) -> ApiResult<(StatusCode, Json<AttachmentView>)> {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_form = content_type.is_some_and(|value| value.trim_start().to_ascii_lowercase().starts_with("multipart/"));
    let attachment = if is_form {
        from_form(app, principal, conversation, request).await?
    } else {
        let Body(body) = Body::<AttachmentBody>::from_request(request, app).await?;
        let (filename, kind) = (body.filename.as_deref(), body.kind.as_deref());
        attachments::create(app, principal, &body.file, filename, kind, conversation).await?
    };
    Ok((StatusCode::CREATED, Json(view(app, principal.tenant, attachment))))
}

async fn from_form(
    app: &App,
    principal: &Principal,
    conversation: Option<ConversationId>,
    request: Request,
) -> ApiResult<Attachment> {
    let mut form = Form::from_request(request, app).await?;
    while let Some(field) = form.next_field().await? {
        if field.name() != "file" {
            field.skip().await?;
            continue;
        }
        let filename = field.file_name().unwrap_or("file").to_owned();
        let receiving = uploads::receive_directly(app, principal, "attachment", &filename).await?;
        let upload = store(app, receiving, field).await?;
        return Ok(attachments::attach(app, principal.tenant, &upload, None, None, conversation).await?);
    }
    Err(Error::field("file", "No file was submitted.").into())
}

/// Make an attachment.
#[utoipa::path(post, path = "/api/v1/attachments/", tag = "uploads", request_body = AttachmentBody,
    responses((status = 201, body = AttachmentView), ApiErrors))]
pub(crate) async fn create(
    auth: Authorized<grants::WriteConversations>,
    State(app): State<App>,
    request: Request,
) -> ApiResult<(StatusCode, Json<AttachmentView>)> {
    make(&app, &auth.principal, None, request).await
}

/// Upload a file and make an attachment of it in one step.
#[utoipa::path(post, path = "/api/v1/attachments-upload/", tag = "uploads", request_body = AttachmentBody,
    responses((status = 201, body = AttachmentView), ApiErrors))]
pub(crate) async fn upload(
    auth: Authorized<grants::WriteConversations>,
    State(app): State<App>,
    request: Request,
) -> ApiResult<(StatusCode, Json<AttachmentView>)> {
    make(&app, &auth.principal, None, request).await
}

/// Make an attachment for a conversation.
#[utoipa::path(post, path = "/api/v1/conversations/{id}/attachments/", tag = "uploads",
    params(("id" = String, Path)), request_body = AttachmentBody,
    responses((status = 201, body = AttachmentView), ApiErrors))]
pub(crate) async fn create_in_conversation(
    caller: Caller<grants::WriteConversations>,
    State(app): State<App>,
    PathId(conversation): PathId<kind::Conversation>,
    request: Request,
) -> ApiResult<(StatusCode, Json<AttachmentView>)> {
    conversations::find(&app, &caller.principal, conversation).await?;
    make(&app, &caller.principal, Some(conversation), request).await
}

/// List the attachments, newest first.
#[utoipa::path(get, path = "/api/v1/attachments/", tag = "uploads",
    params(("page" = Option<u64>, Query), ("pageSize" = Option<u64>, Query)),
    responses((status = 200, body = PageBody<AttachmentView>), ApiErrors))]
pub(crate) async fn list(
    auth: Authorized<grants::ReadConversations>,
    State(app): State<App>,
    paging: Paging,
) -> ApiResult<Json<PageBody<AttachmentView>>> {
    let listing = attachments::list(&app, auth.tenant(), paging.page()).await?;
    Ok(Json(paging.answer(listing, |attachment| view(&app, auth.tenant(), attachment))?))
}

/// One attachment.
#[utoipa::path(get, path = "/api/v1/attachments/{id}/", tag = "uploads", params(("id" = String, Path)),
    responses((status = 200, body = AttachmentView), ApiErrors))]
pub(crate) async fn get(
    auth: Authorized<grants::ReadConversations>,
    State(app): State<App>,
    PathId(id): PathId<kind::Attachment>,
) -> ApiResult<Json<AttachmentView>> {
    let attachment = attachments::get(&app, auth.tenant(), id).await?;
    Ok(Json(view(&app, auth.tenant(), attachment)))
}

/// Remove an attachment.
#[utoipa::path(delete, path = "/api/v1/attachments/{id}/", tag = "uploads", params(("id" = String, Path)),
    responses((status = 204), ApiErrors))]
pub(crate) async fn delete(
    auth: Authorized<grants::WriteConversations>,
    State(app): State<App>,
    PathId(id): PathId<kind::Attachment>,
) -> ApiResult<StatusCode> {
    attachments::delete(&app, auth.tenant(), id).await?;
    Ok(StatusCode::NO_CONTENT)
}
