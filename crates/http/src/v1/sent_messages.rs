//! Messages of conversations: sent, listed, judged.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use parlance_domain::{Error, FieldErrors, Principal, kind};
use parlance_service::App;
use parlance_service::display::{self, Display};
use parlance_service::messages::{self, Judgement, NewAttachment, NewCanvas, NewMessage};
use parlance_storage::message_lists::{Position, Sent};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::error::{ApiErrors, ApiResult};
use crate::extract::{Authorized, Body, Caller, CursorBody, Cursors, PathId, Query, Reference, grants};
use crate::v1::message_view::{MessageView, view};

/// A message to send.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SendBody {
    #[schema(value_type = String)]
    conversation: Reference,
    /// `incoming` (the default) is from the contact and answered by the assistant; `outgoing` is a
    /// person's reply, after which the assistant is silent until the conversation is handed back.
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    content: Option<String>,
    /// Kept as it is.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    content_payload: Option<Value>,
    /// Attachments by `id`, or made of the upload that `file` names.
    #[serde(default)]
    attachments: Option<Vec<AttachmentInput>>,
    /// `{name, canvasType, title, content}`
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    canvas: Option<Value>,
    /// Kept as it is.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    query_metadata: Option<Value>,
}

/// A file of a message to send.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct AttachmentInput {
    /// An attachment that exists.
    #[serde(default)]
    id: Option<String>,
    /// Key of a finished upload.
    #[serde(default)]
    file: Option<String>,
    #[serde(default)]
    filename: Option<String>,
    /// `image`, `video`, `audio`, `sticker` or `other`; by the file's type when absent.
    #[serde(default, rename = "type")]
    kind: Option<String>,
}

impl SendBody {
    fn message(self, is_reply: bool) -> Result<NewMessage, Error> {
        let mut errors = FieldErrors::default();
        let is_reply = match self.kind.as_deref() {
            None | Some("" | "incoming") => is_reply,
            Some("outgoing") => true,
            Some(other) => {
                errors.add("type", format!("\"{other}\" is not a valid choice."));
                false
            }
        };
        let mut attachments = Vec::new();
        for (place, input) in self.attachments.unwrap_or_default().into_iter().enumerate() {
            match (input.id.filter(|id| !id.is_empty()), input.file.filter(|file| !file.is_empty())) {
                (Some(id), _) => match Reference(id).id() {
                    Some(id) => attachments.push(NewAttachment::Known(id)),
                    None => errors.add(format!("attachments.{place}.id"), "No attachment has this id."),
                },
                (None, Some(file)) => {
                    attachments.push(NewAttachment::Upload { file, filename: input.filename, kind: input.kind });
                }
                (None, None) => errors.add(format!("attachments.{place}.file"), "This field is required."),
            }
        }
        let canvas = match self.canvas {
            None | Some(Value::Null) => None,
            Some(canvas) => read_canvas(&canvas, &mut errors),
        };
        let conversation = self.conversation.require("conversation");
        errors.finish()?;
        let given = |value: Option<Value>| value.filter(|value| !value.is_null());
        Ok(NewMessage {
            conversation: conversation?,
            is_reply,
            content: self.content.unwrap_or_default(),
            content_payload: given(self.content_payload),
            query_metadata: given(self.query_metadata),
            canvas,
            attachments,
        })
    }
}

/// Reads a canvas, whose keys come as the sender wrote them.
fn read_canvas(canvas: &Value, errors: &mut FieldErrors) -> Option<NewCanvas> {
    if !canvas.is_object() {
        errors.add("canvas", "Expected an object.");
        return None;
    }
    let mut read = |field: &str, other: &str| match canvas.get(field).or_else(|| canvas.get(other)) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(_) => {
            errors.add(format!("canvas.{field}"), "Not a valid string.");
            String::new()
        }
    };
    Some(NewCanvas {
        name: read("name", "name"),
        kind: read("canvasType", "canvas_type"),
        title: read("title", "title"),
        content: read("content", "content"),
    })
}

/// Send a message. Answered when it is stored; the assistant's reply follows by itself.
#[utoipa::path(post, path = "/api/v1/messages/", tag = "messages", request_body = SendBody,
    responses((status = 201, body = MessageView), ApiErrors))]
pub(crate) async fn create(
    caller: Caller<grants::WriteConversations>,
    State(app): State<App>,
    Body(body): Body<SendBody>,
) -> ApiResult<(StatusCode, Json<MessageView>)> {
    let display = display::of(&app, &caller.principal).await?;
    let sent = messages::create(&app, &caller.principal, body.message(false)?).await?;
    Ok((StatusCode::CREATED, Json(view(&app, (caller.tenant(), display), sent))))
}

/// Send a person's reply. The assistant is silent until the conversation is handed back.
#[utoipa::path(post, path = "/api/v1/messages/outgoing/", tag = "messages", request_body = SendBody,
    responses((status = 201, body = MessageView), ApiErrors))]
pub(crate) async fn create_outgoing(
    auth: Authorized<grants::WriteConversations>,
    State(app): State<App>,
    Body(body): Body<SendBody>,
) -> ApiResult<(StatusCode, Json<MessageView>)> {
    let sent = messages::create(&app, &auth.principal, body.message(true)?).await?;
    Ok((StatusCode::CREATED, Json(view(&app, (auth.tenant(), Display::ALL), sent))))
}

/// Which messages are asked for.
#[derive(Debug, Deserialize)]
pub(crate) struct MessageParams {
    conversation: Option<String>,
}

/// List the messages of a conversation, newest first.
#[utoipa::path(get, path = "/api/v1/messages/", tag = "messages",
    params(("conversation" = String, Query), ("cursor" = Option<String>, Query), ("pageSize" = Option<u64>, Query)),
    responses((status = 200, body = CursorBody<MessageView>), ApiErrors))]
pub(crate) async fn list(
    caller: Caller<grants::ReadConversations>,
    State(app): State<App>,
    cursors: Cursors,
    Query(params): Query<MessageParams>,
) -> ApiResult<Json<CursorBody<MessageView>>> {
    let conversation = params.conversation.ok_or_else(|| Error::field("conversation", "This field is required."))?;
    let conversation = Reference(conversation).require("conversation")?;
    let from = cursors.from().map(|(at, id, is_back)| Position { at, id, is_back });
    let (part, total) = messages::list(&app, &caller.principal, conversation, from, cursors.limit()).await?;
    let display = display::of(&app, &caller.principal).await?;
    let key = |sent: &Sent| (sent.message.created_at, sent.message.id);
    let answer = cursors.answer(part, key, |sent| view(&app, (caller.tenant(), display), sent));
    Ok(Json(CursorBody { count: Some(total), ..answer }))
}

/// The message as the caller reads it.
async fn shown(app: &App, principal: &Principal, sent: Sent) -> ApiResult<Json<MessageView>> {
    let display = display::of(app, principal).await?;
    Ok(Json(view(app, (principal.tenant, display), sent)))
}

/// One message.
#[utoipa::path(get, path = "/api/v1/messages/{id}/", tag = "messages",
    params(("id" = String, Path), ("conversation" = Option<String>, Query)),
    responses((status = 200, body = MessageView), ApiErrors))]
pub(crate) async fn get(
    caller: Caller<grants::ReadConversations>,
    State(app): State<App>,
    PathId(id): PathId<kind::Message>,
    Query(params): Query<MessageParams>,
) -> ApiResult<Json<MessageView>> {
    let conversation = match params.conversation.filter(|conversation| !conversation.is_empty()) {
        Some(conversation) => Some(Reference(conversation).id().ok_or(Error::NotFound("message"))?),
        None => None,
    };
    let sent = messages::get(&app, &caller.principal, id, conversation).await?;
    shown(&app, &caller.principal, sent).await
}

/// What a reader thinks of an answer.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct FeedbackBody {
    /// `like` or `dislike`.
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    suggestion: Option<String>,
}

impl FeedbackBody {
    fn judgement(self, path: &str) -> Result<Judgement, Error> {
        let is_like = match self.kind.as_str() {
            "like" => true,
            "dislike" => false,
            other => return Err(Error::field(path, format!("\"{other}\" is not a valid choice."))),
        };
        Ok(Judgement { is_like, suggestion: self.suggestion.unwrap_or_default() })
    }
}

/// What may change of a message.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct MessageChange {
    /// `{type, suggestion?}`, `"like"` or `"dislike"`; null or `""` takes it back. Absent changes
    /// nothing.
    #[serde(default, deserialize_with = "crate::extract::patch")]
    #[schema(value_type = Option<Object>)]
    feedback: crate::extract::Patch<Value>,
}

/// Give feedback on an answer.
#[utoipa::path(patch, path = "/api/v1/messages/{id}/", tag = "messages", params(("id" = String, Path)),
    request_body = MessageChange, responses((status = 200, body = MessageView), ApiErrors))]
pub(crate) async fn update(
    caller: Caller<grants::WriteConversations>,
    State(app): State<App>,
    PathId(id): PathId<kind::Message>,
    Body(body): Body<MessageChange>,
) -> ApiResult<Json<MessageView>> {
    let sent = match body.feedback {
        None => messages::get(&app, &caller.principal, id, None).await?,
        Some(feedback) => {
            let judgement = read_feedback(feedback.unwrap_or_default())?;
            messages::judge(&app, &caller.principal, id, judgement).await?
        }
    };
    shown(&app, &caller.principal, sent).await
}

/// Reads feedback in any of its forms; `None` takes it back.
fn read_feedback(feedback: Value) -> Result<Option<Judgement>, Error> {
    match feedback {
        Value::Null => Ok(None),
        Value::String(text) if text.is_empty() => Ok(None),
        Value::String(kind) => FeedbackBody { kind, suggestion: None }.judgement("feedback").map(Some),
        Value::Object(members) => {
            let text = |name: &str| match members.get(name) {
                None | Some(Value::Null) => Ok(None),
                Some(Value::String(text)) => Ok(Some(text.clone())),
                Some(_) => Err(Error::field(format!("feedback.{name}"), "Not a valid string.")),
            };
            let kind = text("type")?.ok_or_else(|| Error::field("feedback.type", "This field is required."))?;
            FeedbackBody { kind, suggestion: text("suggestion")? }.judgement("feedback.type").map(Some)
        }
        _ => Err(Error::field("feedback", "Expected an object or a string.")),
    }
}

/// Give feedback on an answer, or change it.
#[utoipa::path(put, path = "/api/v1/messages/{id}/feedback/", tag = "messages", params(("id" = String, Path)),
    request_body = FeedbackBody, responses((status = 200, body = MessageView), ApiErrors))]
pub(crate) async fn set_feedback(
    caller: Caller<grants::WriteConversations>,
    State(app): State<App>,
    PathId(id): PathId<kind::Message>,
    Body(body): Body<FeedbackBody>,
) -> ApiResult<Json<MessageView>> {
    let sent = messages::judge(&app, &caller.principal, id, Some(body.judgement("type")?)).await?;
    shown(&app, &caller.principal, sent).await
}

/// Take feedback on an answer back.
#[utoipa::path(delete, path = "/api/v1/messages/{id}/feedback/", tag = "messages", params(("id" = String, Path)),
    responses((status = 204), ApiErrors))]
pub(crate) async fn clear_feedback(
    caller: Caller<grants::WriteConversations>,
    State(app): State<App>,
    PathId(id): PathId<kind::Message>,
) -> ApiResult<StatusCode> {
    messages::judge(&app, &caller.principal, id, None).await?;
    Ok(StatusCode::NO_CONTENT)
}
