//! Answers after they were asked for: follow one again, or stop it.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use parlance_domain::kind::{self, MessageId};
use parlance_domain::{Permission, Principal};
use parlance_service::citations::Cited;
use parlance_service::live_answer::{AnswerEvent, End};
use parlance_service::{App, answer_faults, display};
use parlance_service::{answer, answer_end};
use parlance_storage::messages::Message;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

use crate::error::{ApiErrors, ApiResult};
use crate::extract::{Caller, PathId, grants};
use crate::sse::{self, Events};

/// Follow an answer: what is missing after `Last-Event-ID`, then what comes. Ten minutes after its
/// end, or earlier when the server needs the memory, the stored text comes as one event.
#[utoipa::path(get, path = "/api/v1/messages/{id}/stream/", tag = "completions",
    params(("id" = String, Path), ("Last-Event-ID" = Option<u64>, Header)),
    responses((status = 200, content_type = "text/event-stream", body = String), ApiErrors))]
pub(crate) async fn stream(
    caller: Caller<grants::ReadConversations>,
    State(app): State<App>,
    PathId(id): PathId<kind::Message>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let after = last.and_then(|value| value.trim().parse().ok()).unwrap_or_default();
    follow(&app, &caller.principal, id, after).await
}

/// The stream of an answer after event number `after`, live or from storage.
pub(crate) async fn follow(app: &App, principal: &Principal, id: MessageId, after: usize) -> ApiResult<Response> {
    if let Some(reader) = answer::follow(app, principal, id, after).await? {
        return Ok(sse::follow_for(app, principal, reader));
    }
    let display = display::of(app, principal).await?;
    let (message, told) = stored(app, principal, id).await?;
    let events = Events::new(app, (principal.tenant, display), message.conversation_id, id);
    let mut text = Vec::new();
    for (position, event) in told.iter().enumerate() {
        events.write(&mut text, position + 1, event);
    }
    Ok(sse::replay(text))
}

/// A stored answer and the events that tell it.
pub(crate) async fn stored(app: &App, principal: &Principal, id: MessageId) -> ApiResult<(Message, Vec<AnswerEvent>)> {
    let message = answer::stored(app, principal, id).await?;
    let record = {
        let mut tx = app.db.read(principal.tenant).await?;
        parlance_storage::records::of_message(&mut tx, principal.tenant, id).await?
    };
    let events = stored_events(&message, record.as_ref());
    Ok((message, events))
}

fn stored_events(message: &Message, record: Option<&parlance_storage::records::Record>) -> Vec<AnswerEvent> {
    let cited: Vec<Cited> = serde_json::from_str(&message.citations).unwrap_or_default();
    let mut events = vec![AnswerEvent::Citations(Arc::new(cited.clone()))];
    if !message.content.is_empty() {
        events.push(AnswerEvent::Text(message.content.clone()));
    }
    let end = match (message.state.as_str(), record) {
        ("done", record) => End::Done(Box::new(answer_end::stored_end(record, cited))),
        ("cancelled", _) => End::Cancelled,
        _ => {
            let fault = answer_faults::by_code(message.error.as_deref().unwrap_or_default());
            End::Failed { code: fault.code, message: fault.message }
        }
    };
    events.push(AnswerEvent::End(Arc::new(end)));
    events
}

/// How an answer stands after it was stopped.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CancelOut {
    id: String,
    conversation: String,
    /// `cancelled`, or how it had ended before: `done` or `error`.
    state: String,
    /// The text that was made; left out for an API key without `conversations:read`.
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
}

/// Stop an answer. What was made of it is kept; stopping one that has ended changes nothing.
#[utoipa::path(post, path = "/api/v1/messages/{id}/cancel/", tag = "completions", params(("id" = String, Path)),
    responses((status = 200, body = CancelOut), ApiErrors))]
pub(crate) async fn cancel(
    caller: Caller<grants::Complete>,
    State(app): State<App>,
    PathId(id): PathId<kind::Message>,
) -> ApiResult<Json<CancelOut>> {
    let may_read = caller.visitor().is_some() || caller.principal.scopes.contains(Permission::ReadConversations);
    let message = answer::cancel(&app, &caller.principal, id).await?;
    Ok(Json(CancelOut {
        id: message.id.to_string(),
        conversation: message.conversation_id.to_string(),
        state: message.state,
        content: may_read.then_some(message.content),
    }))
}
