//! Chat with Anthropic's messages protocol.

use base64::Engine as _;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parlance_outbound::{Url, header::HeaderName, header::HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::call::{Caller, post_json_for_stream, unexpected};
use crate::chat::{ChatMessage, ChatModel, ChatRequest, ChatStream, Role, StopReason, Usage};
use crate::error::Error;
use crate::retry::Failure;
use crate::sse::Event;
use crate::stream::{Parser, Sink};

/// The protocol's version, sent with every request.
pub(crate) const VERSION: &str = "2023-06-01";
/// The protocol demands a limit; this one is used where the caller gives none.
const DEFAULT_MAX_TOKENS: u32 = 4096;
/// The tool whose input is the answer where a JSON Schema is demanded.
const ANSWER_TOOL: &str = "answer";

/// A model behind `POST .../messages`.
#[derive(Debug)]
pub(crate) struct AnthropicChat {
    pub(crate) caller: Caller,
    pub(crate) url: Url,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) model: String,
    pub(crate) sees_images: bool,
}

impl ChatModel for AnthropicChat {
    fn chat(&self, request: ChatRequest) -> BoxFuture<'_, Result<ChatStream, Error>> {
        async move {
            let body = request_body(&self.model, &request);
            let wire_request = post_json_for_stream(self.url.clone(), &self.headers, &body)?;
            drop(body);
            self.caller.stream(&wire_request, AnthropicParser::default, &request.messages).await
        }
        .boxed()
    }

    fn sees_images(&self) -> bool {
        self.sees_images
    }
}

fn request_body(model: &str, request: &ChatRequest) -> Value {
    let system: Vec<&str> = of_role(request, true).map(|message| message.text.as_str()).collect();
    let messages: Vec<Value> = of_role(request, false).map(request_message).collect();
    let mut body = json!({
        "model": model,
        "max_tokens": request.max_output_tokens.unwrap_or(DEFAULT_MAX_TOKENS),
        "stream": true,
        "messages": messages,
    });
    if !system.is_empty() {
        // The instructions are the stable part of a prompt: the provider may cache up to here.
        body["system"] =
            json!([{ "type": "text", "text": system.join("\n\n"), "cache_control": { "type": "ephemeral" } }]);
    }
    if let Some(schema) = &request.json_schema {
        body["tools"] = json!([{ "name": ANSWER_TOOL, "input_schema": schema }]);
        body["tool_choice"] = json!({ "type": "tool", "name": ANSWER_TOOL });
    }
    body
}

fn of_role(request: &ChatRequest, system: bool) -> impl Iterator<Item = &ChatMessage> {
    request.messages.iter().filter(move |message| (message.role == Role::System) == system)
}

fn request_message(message: &ChatMessage) -> Value {
    let role = if message.role == Role::Assistant { "assistant" } else { "user" };
    if message.images.is_empty() {
        return json!({ "role": role, "content": message.text });
    }
    let images = message.images.iter().map(|image| {
        let data = base64::engine::general_purpose::STANDARD.encode(&image.bytes);
        json!({ "type": "image", "source": { "type": "base64", "media_type": image.media_type, "data": data } })
    });
    let text = std::iter::once(json!({ "type": "text", "text": message.text }));
    json!({ "role": role, "content": images.chain(text).collect::<Vec<Value>>() })
}

/// Reads the events of a stream. Counts come in two parts: the prompt's at the start, the answer's
/// with the reason to stop.
#[derive(Default)]
struct AnthropicParser {
    usage: Usage,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum WireEvent {
    MessageStart {
        message: StartedMessage,
    },
    ContentBlockDelta {
        delta: WireDelta,
    },
    MessageDelta {
        delta: StopDelta,
        usage: Option<WireUsage>,
    },
    MessageStop,
    Error {
        error: Value,
    },
    /// Pings, block borders, and what the protocol may add.
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct StartedMessage {
    usage: Option<WireUsage>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum WireDelta {
    TextDelta {
        text: String,
    },
    ThinkingDelta {
        thinking: String,
    },
    /// The answer of a request with a JSON Schema.
    InputJsonDelta {
        partial_json: String,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct StopDelta {
    stop_reason: Option<String>,
}

#[derive(Deserialize)]
#[expect(clippy::struct_field_names, reason = "the names of the protocol")]
struct WireUsage {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
}

impl Parser for AnthropicParser {
    fn event(&mut self, event: Event<'_>, sink: &mut Sink) -> Result<(), Failure> {
        match serde_json::from_str(event.data).map_err(|fault| unexpected(&fault))? {
            WireEvent::MessageStart { message } => self.count(message.usage.as_ref()),
            WireEvent::ContentBlockDelta { delta } => match delta {
                WireDelta::TextDelta { text } | WireDelta::InputJsonDelta { partial_json: text } => sink.text(text)?,
                WireDelta::ThinkingDelta { thinking } => sink.thinking(thinking)?,
                WireDelta::Other => {}
            },
            WireEvent::MessageDelta { delta, usage } => {
                self.count(usage.as_ref());
                sink.usage(self.usage);
                if let Some(reason) = delta.stop_reason.as_deref() {
                    sink.stop(stop_reason(reason));
                }
            }
            WireEvent::MessageStop => sink.end(),
            WireEvent::Error { error } => return Err(sink.in_band_failure(&error)),
            WireEvent::Other => {}
        }
        Ok(())
    }
}

impl AnthropicParser {
    fn count(&mut self, usage: Option<&WireUsage>) {
        let Some(usage) = usage else { return };
        if let Some(uncached) = usage.input_tokens {
            let cached = usage.cache_read_input_tokens.unwrap_or(0);
            self.usage.cached_tokens = cached;
            self.usage.input_tokens = uncached + cached + usage.cache_creation_input_tokens.unwrap_or(0);
        }
        self.usage.output_tokens = usage.output_tokens.unwrap_or(self.usage.output_tokens);
    }
}

fn stop_reason(reason: &str) -> StopReason {
    match reason {
        "max_tokens" | "model_context_window_exceeded" => StopReason::Length,
        "refusal" => StopReason::Filtered,
        _ => StopReason::Complete,
    }
}
