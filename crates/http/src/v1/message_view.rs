//! Messages as clients read them.

use parlance_domain::kind::FeedbackId;
use parlance_domain::{Tenant, Timestamp};
use parlance_service::citations::Cited;
use parlance_service::display::Display;
use parlance_service::{App, sender};
use parlance_storage::message_lists::Sent;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::v1::citations::{Citation, CitationNode, citation_nodes, citations};

/// Name of an assistant that was removed.
const REMOVED_ASSISTANT: &str = "AI 助理";

/// Who sent a message.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Sender {
    /// A stable number of the contact, the person or the assistant.
    id: u64,
    name: String,
    avatar: Option<String>,
}

/// What a reader thought of an answer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Feedback {
    id: String,
    /// `like` or `dislike`.
    #[serde(rename = "type")]
    kind: String,
    suggestion: String,
    updated_at: String,
}

/// A file of a message.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MessageAttachment {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    filename: String,
    /// Signed, expiring URL.
    file: String,
    conversation: String,
}

/// A message.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MessageView {
    pub(crate) id: String,
    conversation: String,
    sender: Sender,
    /// `incoming` (from the contact) or `outgoing`.
    #[serde(rename = "type")]
    kind: String,
    content: String,
    #[schema(value_type = Option<Object>)]
    content_payload: Option<Value>,
    feedback: Option<Feedback>,
    created_at: String,
    attachments: Vec<MessageAttachment>,
    citations: Vec<Citation>,
    citation_nodes: Vec<CitationNode>,
    #[schema(value_type = Option<Object>)]
    canvas: Option<Value>,
    #[schema(value_type = Option<Object>)]
    query_metadata: Option<Value>,
    /// `done`, `generating`, `error` or `cancelled`.
    state: String,
    /// The code of why it ended in `error`.
    error: Option<String>,
}

/// An attachment as it is kept with a message.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredAttachment {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    filename: String,
    blob_key: String,
}

/// Stored JSON.
pub(crate) fn json(text: Option<&str>) -> Option<Value> {
    text.and_then(|text| serde_json::from_str(text).ok())
}

/// A time that may be missing.
pub(crate) fn time(time: Option<Timestamp>) -> Option<String> {
    time.map(|time| time.to_string())
}

/// What a reader thought, if they said so.
pub(crate) fn feedback(
    id: Option<FeedbackId>,
    kind: Option<String>,
    suggestion: Option<String>,
    at: Option<Timestamp>,
) -> Option<Feedback> {
    let (id, kind, at) = (id?, kind?, at?);
    Some(Feedback { id: id.to_string(), kind, suggestion: suggestion.unwrap_or_default(), updated_at: at.to_string() })
}

fn sender_of(sent: &mut Sent) -> Sender {
    let message = &sent.message;
    if let Some(contact) = message.contact_id {
        let name = sent.contact_name.take().unwrap_or_default();
        return Sender { id: sender::number(contact), name, avatar: sent.contact_avatar.take() };
    }
    if let Some(user) = message.user_id {
        return Sender { id: sender::number(user), name: sent.user_name.take().unwrap_or_default(), avatar: None };
    }
    let id = sent.chatbot_id.map_or_else(|| sender::number(sent.inbox_id), sender::number);
    Sender { id, name: sent.chatbot_name.take().unwrap_or_else(|| REMOVED_ASSISTANT.to_owned()), avatar: None }
}

/// A message as a client who is shown this much reads it.
pub(crate) fn view(app: &App, (tenant, display): (Tenant, Display), mut sent: Sent) -> MessageView {
    let sender = sender_of(&mut sent);
    let message = sent.message;
    let cited: Vec<Cited> = serde_json::from_str(&message.citations).unwrap_or_default();
    let stored: Vec<StoredAttachment> = serde_json::from_str(&message.attachments).unwrap_or_default();
    let now = app.now();
    let attachments = stored
        .into_iter()
        .map(|attachment| MessageAttachment {
            // A link that cannot be made leaves the message readable.
            file: app.links.file_url(tenant, &attachment.blob_key, &attachment.filename, now).unwrap_or_default(),
            id: attachment.id,
            kind: attachment.kind,
            filename: attachment.filename,
            conversation: message.conversation_id.to_string(),
        })
        .collect();
    MessageView {
        id: message.id.to_string(),
        conversation: message.conversation_id.to_string(),
        sender,
        kind: message.kind,
        content: message.content,
        content_payload: json(message.content_payload.as_deref()),
        feedback: feedback(
            message.feedback_id,
            message.feedback_type,
            message.feedback_suggestion,
            message.feedback_at,
        ),
        created_at: message.created_at.to_string(),
        attachments,
        citations: citations(app, tenant, display, &cited),
        citation_nodes: citation_nodes(display, &cited),
        canvas: json(message.canvas.as_deref()),
        query_metadata: json(message.query_metadata.as_deref()),
        state: message.state,
        error: message.error,
    }
}
