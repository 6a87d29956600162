//! Chat and embeddings with Google's Gemini protocol.

use base64::Engine as _;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parlance_outbound::{Url, header::HeaderName, header::HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::call::{Caller, post_json, post_json_for_stream, unexpected};
use crate::chat::{
    ChatMessage, ChatModel, ChatRequest, ChatStream, EmbeddingModel, EmbeddingPurpose, Role, StopReason, Usage,
};
use crate::embeddings::{Dimensions, embed_in_batches, not_empty};
use crate::error::{Error, ErrorKind};
use crate::retry::Failure;
use crate::sse::Event;
use crate::stream::{Parser, Sink};

/// The most texts that `batchEmbedContents` takes.
const TEXTS_PER_CALL: usize = 100;

/// A model behind `:streamGenerateContent`.
#[derive(Debug)]
pub(crate) struct GeminiChat {
    pub(crate) caller: Caller,
    pub(crate) url: Url,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) sees_images: bool,
}

impl ChatModel for GeminiChat {
    fn chat(&self, request: ChatRequest) -> BoxFuture<'_, Result<ChatStream, Error>> {
        async move {
            let wire_request = post_json_for_stream(self.url.clone(), &self.headers, &request_body(&request))?;
            self.caller.stream(&wire_request, || GeminiParser, &request.messages).await
        }
        .boxed()
    }

    fn sees_images(&self) -> bool {
        self.sees_images
    }
}

fn request_body(request: &ChatRequest) -> Value {
    let (system, spoken): (Vec<_>, Vec<_>) = request.messages.iter().partition(|message| message.role == Role::System);
    let mut config = json!({});
    if let Some(limit) = request.max_output_tokens {
        config["maxOutputTokens"] = limit.into();
    }
    if let Some(schema) = &request.json_schema {
        config["responseMimeType"] = "application/json".into();
        config["responseJsonSchema"] = schema.clone();
    }
    let contents: Vec<Value> = spoken
        .into_iter()
        .map(|message| {
            let role = if message.role == Role::Assistant { "model" } else { "user" };
            json!({ "role": role, "parts": parts(message) })
        })
        .collect();
    let mut body = json!({ "contents": contents, "generationConfig": config });
    if !system.is_empty() {
        let parts: Vec<Value> = system.into_iter().flat_map(parts).collect();
        body["systemInstruction"] = json!({ "parts": parts });
    }
    body
}

fn parts(message: &ChatMessage) -> Vec<Value> {
    let images = message.images.iter().map(|image| {
        let data = base64::engine::general_purpose::STANDARD.encode(&image.bytes);
        json!({ "inlineData": { "mimeType": image.media_type, "data": data } })
    });
    images.chain([json!({ "text": message.text })]).collect()
}

/// Reads the events of a stream. Its end mark is the reason to stop.
struct GeminiParser;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Chunk {
    candidates: Option<Vec<Candidate>>,
    usage_metadata: Option<WireUsage>,
    prompt_feedback: Option<PromptFeedback>,
    error: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate {
    content: Option<Content>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Content {
    parts: Option<Vec<Part>>,
}

#[derive(Deserialize)]
struct Part {
    text: Option<String>,
    #[serde(default)]
    thought: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PromptFeedback {
    block_reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the names of the protocol")]
struct WireUsage {
    prompt_token_count: Option<u64>,
    candidates_token_count: Option<u64>,
    thoughts_token_count: Option<u64>,
    cached_content_token_count: Option<u64>,
}

impl Parser for GeminiParser {
    fn event(&mut self, event: Event<'_>, sink: &mut Sink) -> Result<(), Failure> {
        let chunk: Chunk = serde_json::from_str(event.data).map_err(|fault| unexpected(&fault))?;
        if let Some(error) = chunk.error {
            return Err(sink.in_band_failure(&error));
        }
        if let Some(usage) = chunk.usage_metadata {
            sink.usage(Usage {
                input_tokens: usage.prompt_token_count.unwrap_or(0),
                output_tokens: usage.candidates_token_count.unwrap_or(0) + usage.thoughts_token_count.unwrap_or(0),
                cached_tokens: usage.cached_content_token_count.unwrap_or(0),
                estimated: false,
            });
        }
        if chunk.prompt_feedback.is_some_and(|feedback| feedback.block_reason.is_some()) {
            return Err(Failure::lasting(Error::new(ErrorKind::Filtered, "the provider's filter refused the prompt")));
        }
        let Some(candidate) = chunk.candidates.and_then(|candidates| candidates.into_iter().next()) else {
            return Ok(());
        };
        for part in candidate.content.and_then(|content| content.parts).unwrap_or_default() {
            match part.text {
                Some(text) if part.thought => sink.thinking(text)?,
                Some(text) => sink.text(text)?,
                None => {}
            }
        }
        match candidate.finish_reason.as_deref() {
            None | Some("FINISH_REASON_UNSPECIFIED") => {}
            Some("MAX_TOKENS") => sink.stop(StopReason::Length),
            Some("SAFETY" | "RECITATION" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII" | "LANGUAGE") => {
                sink.stop(StopReason::Filtered);
            }
            Some("MALFORMED_FUNCTION_CALL" | "UNEXPECTED_TOOL_CALL") => {
                return Err(Failure::lasting(Error::new(
                    ErrorKind::Protocol,
                    "the model called a tool that it was not given",
                )));
            }
            Some(_) => sink.stop(StopReason::Complete),
        }
        Ok(())
    }
}

/// A model behind `:batchEmbedContents`.
#[derive(Debug)]
pub(crate) struct GeminiEmbeddings {
    pub(crate) caller: Caller,
    pub(crate) url: Url,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// With the prefix `models/`.
    pub(crate) model: String,
    pub(crate) dimensions: Dimensions,
}

#[derive(Deserialize)]
struct EmbeddingAnswer {
    embeddings: Vec<EmbeddingValues>,
}

#[derive(Deserialize)]
struct EmbeddingValues {
    values: Vec<f32>,
}

impl EmbeddingModel for GeminiEmbeddings {
    fn embed(&self, texts: Vec<String>, purpose: EmbeddingPurpose) -> BoxFuture<'_, Result<Vec<Vec<f32>>, Error>> {
        async move {
            embed_in_batches(&texts, TEXTS_PER_CALL, &self.dimensions, |batch| self.embed_batch(batch, purpose)).await
        }
        .boxed()
    }

    fn dimensions(&self) -> Option<usize> {
        self.dimensions.get()
    }
}

impl GeminiEmbeddings {
    async fn embed_batch(&self, texts: &[String], purpose: EmbeddingPurpose) -> Result<Vec<Vec<f32>>, Error> {
        let task = match purpose {
            EmbeddingPurpose::Passage => "RETRIEVAL_DOCUMENT",
            EmbeddingPurpose::Question => "RETRIEVAL_QUERY",
        };
        let request_for = |text: &String| {
            let mut request = json!({
                "model": self.model,
                "content": { "parts": [{ "text": not_empty(text) }] },
                "taskType": task,
            });
            if let Some(length) = self.dimensions.configured {
                request["outputDimensionality"] = length.into();
            }
            request
        };
        let body = json!({ "requests": texts.iter().map(request_for).collect::<Vec<Value>>() });
        let request = post_json(self.url.clone(), &self.headers, &body)?;
        let answer: EmbeddingAnswer = self.caller.json(&request).await?;
        if answer.embeddings.len() != texts.len() {
            let detail = format!("{} vectors for {} texts", answer.embeddings.len(), texts.len());
            return Err(Error::new(ErrorKind::Protocol, detail));
        }
        Ok(answer.embeddings.into_iter().map(|embedding| embedding.values).collect())
    }
}
