//! Clients of language, embedding and rerank models behind three small traits.
//!
//! To add a provider: one file that turns [`ChatRequest`] into its request and its stream into
//! [`ChatEvent`]s, and one line in the factory ([`Models`]).
//!
//! The clients are thin and our own, on the guarded HTTP client, rather than a client library:
//! the product needs faults in classes, caps on bytes and time, and retries that end at the first
//! byte of an answer, and these have to sit between the socket and the parser.
//!
//! Two models need no network: [`Extractive`], which answers when nothing is configured, and the
//! test doubles in [`scripted`].

mod anthropic;
mod breaker;
mod call;
mod chat;
mod embeddings;
mod error;
mod extractive;
mod factory;
mod fault;
mod gemini;
mod openai;
mod provider_url;
mod rerank;
mod retry;
pub mod scripted;
pub mod sse;
mod stream;
pub mod usage;

pub use breaker::BreakerPolicy;
pub use call::CallPolicy;
pub use chat::{
    ChatEvent, ChatMessage, ChatModel, ChatRequest, ChatStream, EmbeddingModel, EmbeddingPurpose, Image, RerankModel,
    Role, Source, StopReason, Usage,
};
pub use error::{Error, ErrorKind};
pub use extractive::Extractive;
pub use factory::{ChatOptions, Endpoint, Models, Origin, ProviderKind};
pub use retry::RetryPolicy;
