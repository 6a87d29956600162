//! What happens in conversations, as server-sent events for pages that are open.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, StatusCode};
use parlance_domain::kind::{self, ConversationId, MessageId};
use parlance_domain::{Principal, Result, Timestamp};
use parlance_service::display::{self, Display};
use parlance_service::events::{self, Event, Listener, Topic, What};
use parlance_service::missed::{self, Missed};
use parlance_service::open_streams::{Watched, watch};
use parlance_service::{App, conversations};
use parlance_storage::message_lists::Sent;
use parlance_storage::missed_messages::Settled;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::error::{ApiErrors, ApiResult};
use crate::extract::{Authorized, Body as JsonBody, Caller, PathId, grants};
use crate::sse;
use crate::v1::message_view::view;

/// Of silence.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Reads the id of an event: up to which message a page has been told everything.
fn told_of(id: &str) -> Option<Settled> {
    let (millis, message) = id.trim().split_once('-')?;
    Some(Settled { at: Timestamp::from_millis(millis.parse().ok()?), id: MessageId::parse(message)? })
}

/// An open page. There may be very many of them, so it holds little, nothing of the request among it,
/// and what it needs for a moment only is allocated then.
struct Page {
    app: App,
    principal: Principal,
    /// What it is shown of answers beside their text.
    display: Display,
    topic: Topic,
    listener: Listener,
    /// The credential it came with.
    credential: Watched,
    /// Up to which message it has been told everything.
    told: Settled,
    /// Whether messages that it missed are still to be told.
    is_behind: bool,
    /// Those, and for a moment after that: what came meanwhile was also told to the listener.
    missed: Option<Box<Missed>>,
    /// When a comment shows that the connection is still there.
    comment_at: Instant,
}

enum Next {
    Event(Event),
    Lost,
    Silence,
    Gone,
    Stop,
}

impl Page {
    /// What goes out next; `None` at the end.
    async fn next(mut self) -> Option<(String, Option<Self>)> {
        loop {
            // However much was missed, and however slowly it is read.
            let has_to_end = self.app.stopping.is_cancelled() || self.credential.gone().is_cancelled();
            if self.is_behind && !has_to_end {
                let Ok(text) = Box::pin(self.read_missed()).await else { return None };
                if !text.is_empty() {
                    return Some((text, Some(self.with_silence())));
                }
            }
            let next = tokio::select! {
                biased;
                () = self.app.stopping.cancelled() => Next::Stop,
                () = self.credential.gone().cancelled() => Next::Gone,
                () = tokio::time::sleep_until(self.comment_at) => Next::Silence,
                event = self.listener.next() => event.map_or(Next::Lost, Next::Event),
            };
            match next {
                Next::Event(event) => {
                    if let What::Message { at, sent } = &event.what {
                        if self.was_missed(Settled { at: *at, id: sent.message.id }) {
                            continue;
                        }
                        Box::pin(self.look_at_display()).await;
                    }
                    let text = self.frame(&event);
                    return Some((text, Some(self.with_silence())));
                }
                // The page comes back and is told what it missed.
                Next::Lost => return None,
                Next::Stop => return Some((self.terminal("shutting_down"), None)),
                Next::Gone => return Some((self.terminal("closed"), None)),
                Next::Silence => {
                    self.forget_missed();
                    return Some((": keep-alive\n\n".to_owned(), Some(self.with_silence())));
                }
            }
        }
    }

    /// From now on it has been silent.
    fn with_silence(mut self) -> Self {
        self.comment_at = Instant::now() + KEEP_ALIVE;
        self
    }

    /// Notes what the page is shown of messages from now on. When that cannot be told it stays as it was.
    async fn look_at_display(&mut self) {
        if let Ok(display) = display::of(&self.app, &self.principal).await {
            self.display = display;
        }
    }

    /// The next messages that were missed; nothing when there are no more.
    async fn read_missed(&mut self) -> Result<String> {
        let mut missed = match self.missed.take() {
            Some(missed) => missed,
            None => match missed::since(&self.app, self.principal.tenant, self.topic, self.told).await? {
                Some(missed) => Box::new(missed),
                None => return Ok(self.reload()),
            },
        };
        self.look_at_display().await;
        let mut text = String::new();
        for (at, sent) in missed.next(&self.app, self.principal.tenant).await? {
            self.message(&mut text, at, &sent);
        }
        self.is_behind = !text.is_empty();
        self.missed = Some(missed);
        Ok(text)
    }

    /// Whether the page was told of it among what it missed.
    fn was_missed(&mut self, message: Settled) -> bool {
        self.forget_missed();
        self.missed.as_ref().is_some_and(|missed| missed.has(message))
    }

    fn forget_missed(&mut self) {
        self.missed.take_if(|missed| missed.is_over(&self.app));
    }

    /// Tells the page to fetch what it shows again; what comes from now on it is told.
    fn reload(&mut self) -> String {
        self.is_behind = false;
        self.told = Settled { at: self.app.now(), id: self.app.new_id() };
        let mut text = String::new();
        self.write(&mut text, (self.conversation(), None), ("reload", ""), &json!({}));
        text
    }

    /// The conversation it shows, if it is one alone.
    fn conversation(&self) -> Option<ConversationId> {
        match self.topic {
            Topic::Conversation(id) => Some(id),
            Topic::Inbox(_) => None,
        }
    }

    fn frame(&mut self, event: &Event) -> String {
        let mut text = String::new();
        let conversation = event.conversation;
        match &event.what {
            What::Message { at, sent } => self.message(&mut text, *at, sent),
            What::Typing { is_contact, name, is_typing } => {
                let kind = if *is_contact { "contact" } else { "user" };
                let members = json!({"isTyping": is_typing, "sender": {"type": kind, "name": &**name}});
                self.write(&mut text, (Some(conversation), None), ("typing", ""), &members);
            }
            What::Read { at } => {
                let members = json!({"lastReadAt": at.to_string()});
                self.write(&mut text, (Some(conversation), None), ("read", ""), &members);
            }
            What::Assistant { message, is_start } => {
                let members = json!({"state": if *is_start { "started" } else { "ended" }});
                self.write(&mut text, (Some(conversation), Some(*message)), ("assistant", ""), &members);
            }
        }
        text
    }

    fn message(&mut self, text: &mut String, at: Timestamp, sent: &Sent) {
        let (conversation, message) = (sent.message.conversation_id, sent.message.id);
        // What comes after something later was told does not set it back.
        self.told = self.told.max(Settled { at, id: message });
        let members = json!({"message": view(&self.app, (self.principal.tenant, self.display), sent.clone())});
        self.write(text, (Some(conversation), Some(message)), ("message", &sent.message.content), &members);
    }

    fn terminal(&self, kind: &str) -> String {
        let mut text = String::new();
        self.write(&mut text, (self.conversation(), None), (kind, ""), &json!({"done": true}));
        text
    }

    /// Appends an event with its further members.
    fn write(
        &self,
        text: &mut String,
        (conversation, message): (Option<ConversationId>, Option<MessageId>),
        (kind, content): (&str, &str),
        members: &Value,
    ) {
        let conversation = conversation.map(|id| id.to_string()).unwrap_or_default();
        let mut data = json!({
            "conversationId": conversation,
            "conversation_id": conversation,
            "messageId": message.map(|id| id.to_string()).unwrap_or_default(),
            "type": kind,
            "content": content,
            "done": false,
        });
        for (key, value) in members.as_object().into_iter().flatten() {
            data[key] = value.clone();
        }
        // Writing to a string cannot fail.
        let _ = write!(text, "id: {}-{}\ndata: {data}\n\n", self.told.at.millis(), self.told.id);
    }
}

/// The response that tells what happens from now on, and before that what was missed since the
/// event `Last-Event-ID`.
fn open(app: App, (principal, display): (Principal, Display), topic: Topic, headers: &HeaderMap) -> Response {
    // Listening begins first, so that nothing falls between it and what is read.
    let listener = events::listen(&app, topic);
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()).and_then(told_of);
    let now = Settled { at: app.now(), id: app.new_id() };
    let page = Page {
        is_behind: last.is_some(),
        // A time to come would never be reached.
        told: last.map_or(now, |last| last.min(now)),
        principal,
        display,
        topic,
        listener,
        credential: watch(&app, &principal),
        missed: None,
        comment_at: Instant::now() + KEEP_ALIVE,
        app,
    };
    // Sent at once, so that a page knows that it is listening.
    let frames = stream::unfold((Some(page), true), |(page, is_first)| async move {
        let page = page?;
        if is_first {
            return Some((frame(": open\n\n".to_owned()), (Some(page), false)));
        }
        let (text, page) = Box::pin(page.next()).await?;
        Some((frame(text), (page, false)))
    });
    sse::response(Body::from_stream(frames))
}

#[expect(clippy::unnecessary_wraps, reason = "a body stream yields results")]
fn frame(text: String) -> Result<Bytes, Infallible> {
    Ok(Bytes::from(text))
}

/// Follow what happens in a conversation: messages, typing, reading, and answers being made, which
/// `messages/{id}/stream/` tells word by word. With `Last-Event-ID`, the messages missed since come
/// first, and with them those of the ten seconds before it: a message may come more than once, and its
/// `messageId` tells. Where that is more than 24 hours ago or more than 2,000 messages, one event of the
/// type `reload` comes instead: fetch the messages again. What happens from then on follows it.
#[utoipa::path(get, path = "/api/v1/conversations/{id}/events/", tag = "conversations",
    params(("id" = String, Path), ("Last-Event-ID" = Option<String>, Header)),
    responses((status = 200, content_type = "text/event-stream", body = String), ApiErrors))]
pub(crate) async fn of_conversation(
    caller: Caller<grants::ReadConversations>,
    State(app): State<App>,
    PathId(id): PathId<kind::Conversation>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    conversations::find(&app, &caller.principal, id).await?;
    let display = display::of(&app, &caller.principal).await?;
    Ok(open(app, (caller.principal, display), Topic::Conversation(id), &headers))
}

/// Follow what happens in all conversations of an inbox, as `conversations/{id}/events/` does for one.
/// With `Last-Event-ID`, `reload` also comes when more than 2,000 conversations had a message since:
/// fetch the list of conversations again.
#[utoipa::path(get, path = "/api/v1/inboxes/{id}/events/", tag = "conversations",
    params(("id" = String, Path), ("Last-Event-ID" = Option<String>, Header)),
    responses((status = 200, content_type = "text/event-stream", body = String), ApiErrors))]
pub(crate) async fn of_inbox(
    auth: Authorized<grants::ReadConversations>,
    State(app): State<App>,
    PathId(id): PathId<kind::Inbox>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    conversations::find_inbox(&app, &auth.principal, id).await?;
    Ok(open(app, (auth.principal, Display::ALL), Topic::Inbox(id), &headers))
}

/// Whether somebody types.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TypingBody {
    /// True when absent.
    #[serde(default)]
    is_typing: Option<bool>,
}

/// Tell the others in a conversation that one types, or has stopped.
#[utoipa::path(post, path = "/api/v1/conversations/{id}/typing/", tag = "conversations",
    params(("id" = String, Path)), request_body = TypingBody, responses((status = 204), ApiErrors))]
pub(crate) async fn typing(
    caller: Caller<grants::WriteConversations>,
    State(app): State<App>,
    PathId(id): PathId<kind::Conversation>,
    JsonBody(body): JsonBody<TypingBody>,
) -> ApiResult<StatusCode> {
    conversations::typing(&app, &caller.principal, id, body.is_typing.unwrap_or(true)).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_an_event_comes_back_as_it_was() {
        let id = "1700000000123-019a0000-0000-7000-8000-00000000002a";
        let told = told_of(id).unwrap();
        assert_eq!(format!("{}-{}", told.at.millis(), told.id), id);
        for nonsense in ["", "7", "x-019a0000-0000-7000-8000-00000000002a", "1700000000123-x"] {
            assert_eq!(told_of(nonsense), None, "{nonsense}");
        }
    }
}
