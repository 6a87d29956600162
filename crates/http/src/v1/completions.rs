//! `POST chatbots/{id}/completions/`: ask, and get the answer streamed or whole.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use parlance_domain::kind::{self, ConversationId, MessageId};
use parlance_domain::{Error, Principal, Tenant};
use parlance_service::App;
use parlance_service::answer;
use parlance_service::conversation_turn::Question;
use parlance_service::display::{self, Display};
use parlance_service::live_answer::{AnswerEvent, End, Reader};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::error::{ApiErrors, ApiResult};
use crate::extract::{Authorized, Body, Caller, PathId, Reference, grants};
use crate::sse;
use crate::v1::citations::{Citation, CitationNode, citation_nodes, citations};
use crate::v1::messages;

/// Characters of what callers call a contact.
const MAX_SOURCE_ID: usize = 255;

/// A question to a chatbot.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CompletionBody {
    /// The conversation to go on with; null, empty or absent begins one.
    #[serde(default)]
    conversation: Option<String>,
    message: MessageBody,
    /// The contact who asks, for a new conversation; as `message.sender`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    contact: Option<Reference>,
    /// Another name of `contact`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    contact_id: Option<Reference>,
    /// What the caller calls the contact who asks; one is made when there is none. At most 255
    /// characters.
    #[serde(default)]
    source_id: Option<String>,
    /// Whether the answer is streamed as server-sent events.
    #[serde(default)]
    is_streaming: Option<bool>,
}

/// What is asked.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MessageBody {
    /// `incoming`; a visitor may say nothing else.
    #[serde(default, rename = "type")]
    kind: Option<String>,
    /// The text; may be empty when there are attachments.
    #[serde(default)]
    content: Option<String>,
    /// Kept with the message as it is.
    #[serde(default)]
    content_payload: Option<Value>,
    /// Kept with the message as it is.
    #[serde(default)]
    query_metadata: Option<Value>,
    /// Attachments by their ids. An API key needs `conversations:write` for them.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    attachments: Option<Vec<Reference>>,
    /// The contact who asks, for a new conversation.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    sender: Option<Reference>,
}

impl CompletionBody {
    fn question(self) -> Result<Question, Error> {
        let conversation = self.conversation.filter(|id| !id.trim().is_empty());
        let conversation = match conversation {
            Some(id) => Some(Reference(id).require("conversation")?),
            None => None,
        };
        let named =
            [("message.sender", &self.message.sender), ("contact", &self.contact), ("contactId", &self.contact_id)];
        let named = named.into_iter().find_map(|(field, reference)| Some((field, reference.as_ref()?)));
        let (sender_field, sender) = match named {
            Some((field, reference)) => (field, Some(reference.require(field)?)),
            None => ("", None),
        };
        let source_id = self.source_id.map(|id| id.trim().to_owned()).filter(|id| !id.is_empty());
        if source_id.as_ref().is_some_and(|id| id.chars().count() > MAX_SOURCE_ID) {
            let message = format!("Ensure this field has no more than {MAX_SOURCE_ID} characters.");
            return Err(Error::field("sourceId", message));
        }
        let attachments = self.message.attachments.unwrap_or_default();
        let verbatim = |value: Option<Value>| value.filter(|value| !value.is_null()).map(|value| value.to_string());
        Ok(Question {
            conversation,
            sender,
            sender_field,
            source_id,
            content: self.message.content.unwrap_or_default(),
            content_payload: verbatim(self.message.content_payload),
            query_metadata: verbatim(self.message.query_metadata),
            attachments: Reference::require_all(&attachments, "message.attachments")?,
            channel: None,
        })
    }
}

/// A whole answer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CompletionOut {
    conversation_id: String,
    message_id: String,
    content: String,
    done: bool,
    citations: Vec<Citation>,
    citation_nodes: Vec<CitationNode>,
    #[schema(value_type = Option<Object>)]
    canvas: Option<Value>,
    #[schema(value_type = Object)]
    usage: Value,
}

/// Ask a chatbot. Streamed answers are server-sent events, one JSON object per `data:` line; the
/// last one has `done: true`.
#[utoipa::path(post, path = "/api/v1/chatbots/{id}/completions/", tag = "completions", params(("id" = String, Path)),
    request_body = CompletionBody,
    responses((status = 200, content((CompletionOut = "application/json"), (String = "text/event-stream"))), ApiErrors))]
pub(crate) async fn create(
    auth: Authorized<grants::Complete>,
    State(app): State<App>,
    PathId(chatbot): PathId<kind::Chatbot>,
    Body(body): Body<CompletionBody>,
) -> ApiResult<Response> {
    let is_streaming = body.is_streaming.unwrap_or_default();
    let reader = answer::start(&app, &auth.principal, chatbot, body.question()?).await?;
    if is_streaming { Ok(sse::follow(&app, reader)) } else { whole(&app, reader).await }
}

/// Ask in a web chat: as its visitor, or with an API key, into its inbox. Body and events are those of
/// the chatbot's completions.
#[utoipa::path(post, path = "/api/v1/web-chats/{id}/completions/", tag = "completions", params(("id" = String, Path)),
    request_body = CompletionBody,
    responses((status = 200, content((CompletionOut = "application/json"), (String = "text/event-stream"))), ApiErrors))]
pub(crate) async fn create_in_web_chat(
    caller: Caller<grants::Complete>,
    State(app): State<App>,
    PathId(web_chat): PathId<kind::WebChat>,
    Body(body): Body<CompletionBody>,
) -> ApiResult<Response> {
    let is_streaming = body.is_streaming.unwrap_or_default();
    let is_reply = body.message.kind.as_deref().is_some_and(|kind| kind != "incoming");
    if caller.visitor().is_some() && is_reply {
        return Err(Error::Refused("A visitor asks in their own name.").into());
    }
    let reader = answer::start_in_web_chat(&app, &caller.principal, web_chat, body.question()?).await?;
    if is_streaming { Ok(sse::follow(&app, reader)) } else { whole(&app, reader).await }
}

/// The answer to a question that was asked before, as it stands: followed, or told from storage.
pub(crate) async fn again(
    app: &App,
    principal: &Principal,
    message: MessageId,
    is_streaming: bool,
) -> ApiResult<Response> {
    if is_streaming {
        return messages::follow(app, principal, message, 0).await;
    }
    if let Some(reader) = answer::follow(app, principal, message, 0).await? {
        return whole(app, reader).await;
    }
    let display = display::of(app, principal).await?;
    let (stored, events) = messages::stored(app, principal, message).await?;
    let ids = (stored.conversation_id, message);
    match events.last() {
        Some(AnswerEvent::End(end)) => told(app, (principal.tenant, display), ids, stored.content, end),
        _ => Err(Error::bug("a stored answer without an end").into()),
    }
}

async fn whole(app: &App, reader: Reader) -> ApiResult<Response> {
    let (content, end) = reader.finished().await;
    let about = &reader.answer().about;
    told(app, (about.tenant, reader.display()), (about.conversation, about.message), content, &end)
}

/// A whole answer, by how it ended.
fn told(
    app: &App,
    (tenant, display): (Tenant, Display),
    (conversation, message): (ConversationId, MessageId),
    content: String,
    end: &End,
) -> ApiResult<Response> {
    match end {
        End::Done(done) => Ok(Json(CompletionOut {
            conversation_id: conversation.to_string(),
            message_id: message.to_string(),
            content,
            done: true,
            citations: citations(app, tenant, display, &done.cited),
            citation_nodes: citation_nodes(display, &done.cited),
            canvas: None,
            usage: sse::usage(done),
        })
        .into_response()),
        End::Failed { code, message: detail } => {
            let body = json!({
                "detail": detail,
                "code": code,
                "conversationId": conversation,
                "messageId": message,
            });
            Ok((http::StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response())
        }
        End::Cancelled => Err(Error::Conflict("The answer was cancelled.".to_owned()).into()),
        End::ShuttingDown => {
            Err(Error::Unavailable("The server is stopping; try again in a moment.".to_owned()).into())
        }
    }
}
