//! Chat with everything that speaks the OpenAI chat completions protocol, Azure included.

use std::fmt;

use base64::Engine as _;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parlance_outbound::{Url, header::HeaderName, header::HeaderValue};
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::call::{Caller, post_json_for_stream, unexpected};
use crate::chat::{ChatMessage, ChatModel, ChatRequest, ChatStream, Role, StopReason, Usage};
use crate::error::Error;
use crate::retry::Failure;
use crate::sse::Event;
use crate::stream::{Parser, Sink};

/// A model behind `POST .../chat/completions`.
#[derive(Debug)]
pub(crate) struct OpenAiChat {
    pub(crate) caller: Caller,
    pub(crate) url: Url,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) model: String,
    pub(crate) sees_images: bool,
    /// OpenAI and Azure reject the old name of the limit for newer models; most others know only
    /// the old one.
    pub(crate) uses_max_completion_tokens: bool,
}

impl ChatModel for OpenAiChat {
    fn chat(&self, request: ChatRequest) -> BoxFuture<'_, Result<ChatStream, Error>> {
        async move {
            let body = RequestBody::new(self, &request);
            let wire_request = post_json_for_stream(self.url.clone(), &self.headers, &body)?;
            drop(body);
            self.caller.stream(&wire_request, || OpenAiParser, &request.messages).await
        }
        .boxed()
    }

    fn sees_images(&self) -> bool {
        self.sees_images
    }
}

#[derive(Serialize)]
struct RequestBody<'a> {
    model: &'a str,
    messages: Vec<RequestMessage<'a>>,
    stream: bool,
    stream_options: StreamOptions,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<serde_json::Value>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Serialize)]
struct RequestMessage<'a> {
    role: &'static str,
    content: RequestContent<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum RequestContent<'a> {
    Text(&'a str),
    Parts(Vec<RequestPart<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum RequestPart<'a> {
    Text { text: &'a str },
    ImageUrl { image_url: ImageUrl },
}

#[derive(Serialize)]
struct ImageUrl {
    url: String,
}

impl<'a> RequestBody<'a> {
    fn new(model: &'a OpenAiChat, request: &'a ChatRequest) -> Self {
        let limit = request.max_output_tokens;
        let (max_completion_tokens, max_tokens) =
            if model.uses_max_completion_tokens { (limit, None) } else { (None, limit) };
        Self {
            model: &model.model,
            messages: request.messages.iter().map(request_message).collect(),
            stream: true,
            stream_options: StreamOptions { include_usage: true },
            max_tokens,
            max_completion_tokens,
            response_format: request.json_schema.as_ref().map(response_format),
        }
    }
}

fn request_message(message: &ChatMessage) -> RequestMessage<'_> {
    let role = match message.role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
    };
    if message.images.is_empty() {
        return RequestMessage { role, content: RequestContent::Text(&message.text) };
    }
    let mut parts = vec![RequestPart::Text { text: &message.text }];
    for image in &message.images {
        let encoded = base64::engine::general_purpose::STANDARD.encode(&image.bytes);
        let url = format!("data:{};base64,{encoded}", image.media_type);
        parts.push(RequestPart::ImageUrl { image_url: ImageUrl { url } });
    }
    RequestMessage { role, content: RequestContent::Parts(parts) }
}

/// Strict mode only takes schemas that close their objects; others are a guide to the model.
fn response_format(schema: &serde_json::Value) -> serde_json::Value {
    let strict = schema.get("additionalProperties") == Some(&serde_json::Value::Bool(false));
    serde_json::json!({
        "type": "json_schema",
        "json_schema": { "name": "answer", "schema": schema, "strict": strict },
    })
}

/// Reads the chunks of a stream. Everything is optional because servers differ.
struct OpenAiParser;

#[derive(Deserialize)]
struct Chunk {
    choices: Option<Vec<Choice>>,
    usage: Option<ChunkUsage>,
    error: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: u32,
    delta: Option<Delta>,
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
struct Delta {
    #[serde(default)]
    content: LooseText,
    #[serde(default)]
    reasoning_content: LooseText,
    #[serde(default)]
    reasoning: LooseText,
    #[serde(default)]
    refusal: LooseText,
}

#[derive(Deserialize)]
struct ChunkUsage {
    #[serde(default)]
    prompt_tokens: Option<u64>,
    #[serde(default)]
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<PromptDetails>,
}

#[derive(Deserialize)]
struct PromptDetails {
    cached_tokens: Option<u64>,
}

impl Parser for OpenAiParser {
    fn event(&mut self, event: Event<'_>, sink: &mut Sink) -> Result<(), Failure> {
        if event.data.trim() == "[DONE]" {
            sink.end();
            return Ok(());
        }
        let chunk: Chunk = serde_json::from_str(event.data).map_err(|fault| unexpected(&fault))?;
        if let Some(error) = chunk.error.filter(|error| !error.is_null()) {
            return Err(sink.in_band_failure(&error));
        }
        for choice in chunk.choices.unwrap_or_default().into_iter().filter(|choice| choice.index == 0) {
            if let Some(delta) = choice.delta {
                read_delta(delta, sink)?;
            }
            if let Some(reason) = choice.finish_reason.as_deref().filter(|reason| !reason.is_empty()) {
                sink.stop(stop_reason(reason));
            }
        }
        if let Some(usage) = chunk.usage {
            sink.usage(Usage {
                input_tokens: usage.prompt_tokens.unwrap_or(0),
                output_tokens: usage.completion_tokens.unwrap_or(0),
                cached_tokens: usage.prompt_tokens_details.and_then(|details| details.cached_tokens).unwrap_or(0),
                estimated: false,
            });
        }
        Ok(())
    }
}

fn read_delta(delta: Delta, sink: &mut Sink) -> Result<(), Failure> {
    // Some gateways send the same reasoning under both names.
    let reasoning = if delta.reasoning_content.text.is_empty() { delta.reasoning } else { delta.reasoning_content };
    sink.thinking(reasoning.text)?;
    sink.thinking(delta.content.thinking)?;
    sink.text(delta.content.text)?;
    sink.text(delta.refusal.text)
}

fn stop_reason(reason: &str) -> StopReason {
    match reason {
        "length" | "max_tokens" | "model_length" => StopReason::Length,
        "content_filter" => StopReason::Filtered,
        _ => StopReason::Complete,
    }
}

/// Text that some servers send as null, as a list of parts, or as an object of another kind.
#[derive(Default)]
struct LooseText {
    text: String,
    /// Parts that are marked as reasoning.
    thinking: String,
}

impl<'de> Deserialize<'de> for LooseText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LooseTextVisitor)
    }
}

struct LooseTextVisitor;

impl<'de> Visitor<'de> for LooseTextVisitor {
    type Value = LooseText;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("text or a list of parts")
    }

    fn visit_str<E>(self, text: &str) -> Result<LooseText, E> {
        Ok(LooseText { text: text.to_owned(), thinking: String::new() })
    }

    fn visit_unit<E>(self) -> Result<LooseText, E> {
        Ok(LooseText::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<LooseText, A::Error> {
        let mut all = LooseText::default();
        while let Some(part) = parts.next_element::<Part>()? {
            all.text.push_str(part.text.as_deref().unwrap_or_default());
            for inner in part.thinking.unwrap_or_default() {
                all.thinking.push_str(inner.text.as_deref().unwrap_or_default());
            }
        }
        Ok(all)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<LooseText, A::Error> {
        while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(LooseText::default())
    }
}

#[derive(Deserialize)]
struct Part {
    text: Option<String>,
    thinking: Option<Vec<InnerPart>>,
}

#[derive(Deserialize)]
struct InnerPart {
    text: Option<String>,
}
