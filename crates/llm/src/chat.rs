//! The traits of models and what goes in and out of them.

use std::fmt;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

use crate::error::Error;

/// Who said a message of the prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Instructions of the assistant.
    System,
    /// The person who asks.
    User,
    /// An earlier answer.
    Assistant,
}

/// A picture for a model that sees.
#[derive(Clone, PartialEq, Eq)]
pub struct Image {
    /// For example `image/png`.
    pub media_type: String,
    /// The encoded picture as it was uploaded.
    pub bytes: bytes::Bytes,
}

impl fmt::Debug for Image {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Image({}, {} bytes)", self.media_type, self.bytes.len())
    }
}

/// One message of the prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatMessage {
    /// Who said it.
    pub role: Role,
    /// What was said.
    pub text: String,
    /// Pictures that belong to it; empty for most.
    pub images: Vec<Image>,
}

/// One numbered source of the prompt, for models that read passages rather than prompts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// 1-based number that the answer cites as `[n]`.
    pub index: u32,
    /// The passage; of an FAQ the answer.
    pub text: String,
    /// The question that the text answers, where it is an FAQ.
    pub question: Option<String>,
}

/// What a chat model is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChatRequest {
    /// The prompt, in order: stable instructions first, the question last.
    pub messages: Vec<ChatMessage>,
    /// Upper bound of the answer in tokens; `None` leaves it to the provider.
    pub max_output_tokens: Option<u32>,
    /// A JSON Schema the answer must follow, where the provider can enforce it.
    pub json_schema: Option<serde_json::Value>,
    /// The question alone and the passages alone. The prompt holds both too; the built-in
    /// extractive model reads only these.
    pub question: String,
    /// See [`ChatRequest::question`].
    pub sources: Vec<Source>,
}

/// Tokens as the provider counted them, or as estimated when it did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt, cached ones included.
    pub input_tokens: u64,
    /// Tokens of the answer, reasoning included.
    pub output_tokens: u64,
    /// Tokens of the prompt that the provider read from its cache.
    pub cached_tokens: u64,
    /// True when the provider gave no numbers and these were derived from the text.
    pub estimated: bool,
}

impl Usage {
    /// The tokens of both; estimated when one of them is.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.saturating_add(other.input_tokens),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
            cached_tokens: self.cached_tokens.saturating_add(other.cached_tokens),
            estimated: self.estimated || other.estimated,
        }
    }
}

/// Why a model stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The answer is complete.
    Complete,
    /// The token limit was reached.
    Length,
    /// The provider's filter stopped it.
    Filtered,
}

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChatEvent {
    /// Text to append.
    Text(String),
    /// Reasoning to append, shown apart from the answer.
    Thinking(String),
    /// Token counts; the last one given counts.
    Usage(Usage),
    /// The provider's own end mark. A stream that ends without it was cut and is an error.
    Stop(StopReason),
}

/// `text` without null characters, which not every database can store. Every piece of an answer
/// passes through here.
pub(crate) fn without_nulls(mut text: String) -> String {
    if text.contains('\0') {
        text.retain(|character| character != '\0');
    }
    text
}

/// An answer as it is made. Ends after [`ChatEvent::Stop`] or an error; dropping it closes the
/// connection to the provider.
pub type ChatStream = BoxStream<'static, Result<ChatEvent, Error>>;

/// A model that answers.
pub trait ChatModel: Send + Sync + fmt::Debug {
    /// Starts an answer. Retries happen only in here, before the first byte of the answer.
    fn chat(&self, request: ChatRequest) -> BoxFuture<'_, Result<ChatStream, Error>>;

    /// Whether pictures may be part of a prompt.
    fn sees_images(&self) -> bool;

    /// Whether it follows instructions. The built-in extractive model does not: it is never asked
    /// to condense a question or to judge.
    fn follows_instructions(&self) -> bool {
        true
    }
}

/// A model that turns texts into vectors.
pub trait EmbeddingModel: Send + Sync + fmt::Debug {
    /// One vector of [`EmbeddingModel::dimensions`] numbers for each text, in order.
    fn embed(&self, texts: Vec<String>, purpose: EmbeddingPurpose) -> BoxFuture<'_, Result<Vec<Vec<f32>>, Error>>;

    /// Length of the vectors; `None` until the first answer where it was not configured.
    fn dimensions(&self) -> Option<usize>;
}

/// Some models embed questions and passages differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmbeddingPurpose {
    /// A passage to be found.
    Passage,
    /// A question to find passages with.
    Question,
}

/// A model that orders passages by how well they answer a question.
pub trait RerankModel: Send + Sync + fmt::Debug {
    /// A score in 0..1 for each document, in the order given.
    fn rerank(&self, question: String, documents: Vec<String>) -> BoxFuture<'_, Result<Vec<f32>, Error>>;
}
