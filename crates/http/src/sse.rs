//! Answers as server-sent events, framed as contract decision D16 says: one `id:` line, one
//! `data:` line, one blank line; a comment every 15 seconds; exactly one terminal event.

use std::convert::Infallible;
use std::io::Write as _;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderValue, header};
use parlance_domain::kind::{ConversationId, MessageId};
use parlance_domain::{Principal, Tenant};
use parlance_service::App;
use parlance_service::display::Display;
use parlance_service::live_answer::{AnswerEvent, Done, End, Reader};
use parlance_service::open_streams::watch;
use serde_json::{Value, json};

use crate::v1::citations::{citation_nodes, citations};

const KEEP_ALIVE: Duration = Duration::from_secs(15);
const KEEP_ALIVE_COMMENT: &[u8] = b": keep-alive\n\n";

/// Writes the events of one answer.
pub(crate) struct Events {
    app: App,
    tenant: Tenant,
    /// What the reader is shown beside the text.
    display: Display,
    /// The members that every event has, as JSON without its closing brace.
    prefix: String,
}

impl Events {
    /// For the answer that `reader` reads.
    pub(crate) fn of(app: &App, reader: &Reader) -> Self {
        let about = &reader.answer().about;
        Self::new(app, (about.tenant, reader.display()), about.conversation, about.message)
    }

    /// For a message of a conversation, and a reader who is shown this much.
    pub(crate) fn new(
        app: &App,
        (tenant, display): (Tenant, Display),
        conversation: ConversationId,
        message: MessageId,
    ) -> Self {
        let prefix = format!(
            r#"{{"conversationId":"{conversation}","conversation_id":"{conversation}","messageId":"{message}""#
        );
        Self { app: app.clone(), tenant, display, prefix }
    }

    /// Appends event number `number`.
    pub(crate) fn write(&self, frame: &mut Vec<u8>, number: usize, event: &AnswerEvent) {
        // Writing to memory cannot fail.
        let _ = write!(frame, "id: {number}\ndata: {}", self.prefix);
        match event {
            AnswerEvent::Text(text) => {
                frame.extend_from_slice(br#","type":"text","content":"#);
                push_json(frame, text);
                frame.extend_from_slice(br#","done":false}"#);
            }
            AnswerEvent::Thinking(text) => {
                frame.extend_from_slice(br#","type":"thinking","content":"","thinking":"#);
                push_json(frame, text);
                frame.extend_from_slice(br#","done":false}"#);
            }
            AnswerEvent::Citations(cited) => {
                frame.extend_from_slice(br#","type":"citations","content":"","done":false,"citations":"#);
                push_json(frame, &citations(&self.app, self.tenant, self.display, cited));
                frame.extend_from_slice(br#","citationNodes":"#);
                push_json(frame, &citation_nodes(self.display, cited));
                frame.push(b'}');
            }
            AnswerEvent::End(end) => {
                for (key, value) in self.ending(end) {
                    let _ = write!(frame, ",\"{key}\":");
                    push_json(frame, &value);
                }
                frame.push(b'}');
            }
        }
        frame.extend_from_slice(b"\n\n");
    }

    fn ending(&self, end: &End) -> Vec<(&'static str, Value)> {
        let mut members = vec![("content", json!("")), ("done", json!(true))];
        match end {
            End::Done(done) => {
                members.push(("type", json!("done")));
                members.push(("recordId", json!(done.record)));
                members.push(("citations", json!(citations(&self.app, self.tenant, self.display, &done.cited))));
                members.push(("citationNodes", json!(citation_nodes(self.display, &done.cited))));
                members.push(("canvas", Value::Null));
                members.push(("usage", usage(done)));
                members.push(("processingTime", json!(done.processing_time)));
            }
            End::Failed { code, message } => {
                members.push(("type", json!("error")));
                members.push(("error", json!({"code": code, "message": message})));
            }
            End::Cancelled => members.push(("type", json!("cancelled"))),
            End::ShuttingDown => members.push(("type", json!("shutting_down"))),
        }
        members
    }
}

/// Token and character counts as they are shown.
pub(crate) fn usage(done: &Done) -> Value {
    let usage = &done.usage;
    json!({
        "inputTokens": usage.input_tokens,
        "outputTokens": usage.output_tokens,
        "cachedTokens": usage.cached_tokens,
        "wordsCount": done.words,
    })
}

fn push_json(frame: &mut Vec<u8>, value: &impl serde::Serialize) {
    let start = frame.len();
    // A value of ours always has a JSON form, and writing to memory cannot fail.
    if serde_json::to_writer(&mut *frame, value).is_err() {
        frame.truncate(start);
        frame.extend_from_slice(b"null");
    }
}

/// The response that follows an answer to its end. Events that are there together go out together.
pub(crate) fn follow(app: &App, reader: Reader) -> Response {
    let events = Events::of(app, &reader);
    let frames = stream::unfold(Some((reader, events)), |state| async move {
        let (mut reader, events) = state?;
        match tokio::time::timeout(KEEP_ALIVE, reader.next()).await {
            Err(_quiet) => Some((frame(Bytes::from_static(KEEP_ALIVE_COMMENT)), Some((reader, events)))),
            Ok(None) => None,
            Ok(Some((first, new))) => {
                let mut text = Vec::with_capacity(256 * new.len());
                for (offset, event) in new.iter().enumerate() {
                    events.write(&mut text, first + offset, event);
                }
                let ended = matches!(new.last(), Some(AnswerEvent::End(_)));
                Some((frame(Bytes::from(text)), (!ended).then_some((reader, events))))
            }
        }
    });
    response(Body::from_stream(frames))
}

/// As [`follow`], for somebody who did not ask: ends when their credential is not good any more.
pub(crate) fn follow_for(app: &App, principal: &Principal, reader: Reader) -> Response {
    let watched = watch(app, principal);
    let gone = watched.gone().clone();
    let (parts, body) = follow(app, reader).into_parts();
    let frames = body.into_data_stream().take_until(async move {
        let _watched = watched;
        gone.cancelled().await;
    });
    Response::from_parts(parts, Body::from_stream(frames))
}

/// The response that tells an answer from storage: all its text at once, then how it ended.
pub(crate) fn replay(text: Vec<u8>) -> Response {
    response(Body::from(text))
}

#[expect(clippy::unnecessary_wraps, reason = "a body stream yields results")]
fn frame(bytes: Bytes) -> Result<Bytes, Infallible> {
    Ok(bytes)
}

pub(crate) fn response(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Asks reverse proxies not to hold events back.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}
