//! Makes models from what is configured.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use parlance_domain::Clock;
use parlance_outbound::{Outbound, Url, header};
use secrecy::{ExposeSecret, SecretString};

use crate::anthropic::{self, AnthropicChat};
use crate::breaker::Breaker;
use crate::call::{CallPolicy, Caller};
use crate::chat::{ChatModel, EmbeddingModel, RerankModel};
use crate::embeddings::{Dimensions, OpenAiEmbeddings};
use crate::error::{Error, ErrorKind};
use crate::fault::Quoting;
use crate::gemini::{GeminiChat, GeminiEmbeddings};
use crate::openai::OpenAiChat;
use crate::provider_url::{below, below_or_default};
use crate::rerank::{HttpRerank, RerankProtocol};

/// Endpoints whose health is remembered. Beyond that, healthy ones are forgotten first.
const MAX_BREAKERS: usize = 1024;
/// The version of Azure's data plane that is asked for where the base URL names none.
const AZURE_API_VERSION: &str = "2024-10-21";

/// The protocol of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProviderKind {
    /// OpenAI and everything that copies its protocol; the key may be missing (Ollama, vLLM).
    OpenAiCompatible,
    /// Azure OpenAI.
    Azure,
    /// Anthropic's messages.
    Anthropic,
    /// Google's Gemini.
    Gemini,
    /// Cohere, for rerank.
    Cohere,
    /// Jina, for rerank.
    Jina,
    /// Text Embeddings Inference, for rerank.
    Tei,
}

impl ProviderKind {
    /// Every kind.
    pub const ALL: [Self; 7] =
        [Self::OpenAiCompatible, Self::Azure, Self::Anthropic, Self::Gemini, Self::Cohere, Self::Jina, Self::Tei];

    /// The stable name, as stored and configured.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OpenAiCompatible => "openai",
            Self::Azure => "azure",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::Cohere => "cohere",
            Self::Jina => "jina",
            Self::Tei => "tei",
        }
    }

    /// The kind with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// Who chose an address; decides whether it is guarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The configuration file or the environment.
    Operator,
    /// A member of a tenant, through the API.
    Tenant,
}

/// Where a provider is and how it is spoken to.
#[derive(Clone)]
pub struct Endpoint {
    /// The protocol.
    pub kind: ProviderKind,
    /// Up to and including the version, such as `https://api.openai.com/v1`.
    pub base_url: Url,
    /// `None` for servers without authentication.
    pub api_key: Option<SecretString>,
    /// Who chose `base_url`.
    pub origin: Origin,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Endpoint")
            .field("kind", &self.kind)
            .field("host", &self.base_url.host_str())
            .field("has_key", &self.api_key.is_some())
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

/// What is known about a chat model besides its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChatOptions {
    /// Whether pictures may be sent to it.
    pub sees_images: bool,
}

/// Makes models. Keeps one of these per process: it holds the connection pools and knows which
/// endpoints are down.
pub struct Models {
    operator: Outbound,
    guarded: Outbound,
    policy: CallPolicy,
    clock: Arc<dyn Clock>,
    breakers: Mutex<HashMap<u64, Arc<Breaker>>>,
    breaker_keys: RandomState,
}

impl fmt::Debug for Models {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Models").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl Models {
    /// `operator` calls the endpoints of the operator, `guarded` those that tenants chose.
    pub fn new(operator: Outbound, guarded: Outbound, policy: CallPolicy, clock: Arc<dyn Clock>) -> Self {
        Self { operator, guarded, policy, clock, breakers: Mutex::default(), breaker_keys: RandomState::new() }
    }

    /// A model that answers.
    pub fn chat(&self, endpoint: &Endpoint, model: &str, options: ChatOptions) -> Result<Arc<dyn ChatModel>, Error> {
        let caller = self.caller(endpoint)?;
        let key = endpoint.api_key.as_ref();
        match endpoint.kind {
            ProviderKind::OpenAiCompatible => Ok(Arc::new(OpenAiChat {
                caller,
                url: below(&endpoint.base_url, &["chat", "completions"]),
                headers: bearer(key)?,
                model: model.to_owned(),
                sees_images: options.sees_images,
                uses_max_completion_tokens: endpoint.base_url.host_str() == Some("api.openai.com"),
            })),
            ProviderKind::Azure => Ok(Arc::new(OpenAiChat {
                caller,
                url: azure_url(&endpoint.base_url, model, &["chat", "completions"]),
                headers: key_header("api-key", key)?,
                model: model.to_owned(),
                sees_images: options.sees_images,
                uses_max_completion_tokens: true,
            })),
            ProviderKind::Anthropic => {
                let mut headers = key_header("x-api-key", key)?;
                let version = header::HeaderValue::from_static(anthropic::VERSION);
                headers.push((header::HeaderName::from_static("anthropic-version"), version));
                Ok(Arc::new(AnthropicChat {
                    caller,
                    url: below_or_default(&endpoint.base_url, "/v1", &["messages"]),
                    headers,
                    model: model.to_owned(),
                    sees_images: options.sees_images,
                }))
            }
            ProviderKind::Gemini => {
                let mut url = gemini_url(&endpoint.base_url, model, "streamGenerateContent");
                url.query_pairs_mut().append_pair("alt", "sse");
                let headers = key_header("x-goog-api-key", key)?;
                Ok(Arc::new(GeminiChat { caller, url, headers, sees_images: options.sees_images }))
            }
            kind => Err(cannot(kind, "chat")),
        }
    }

    /// A model that turns texts into vectors. `dimensions` is asked of the provider and enforced.
    pub fn embedding(
        &self,
        endpoint: &Endpoint,
        model: &str,
        dimensions: Option<usize>,
    ) -> Result<Arc<dyn EmbeddingModel>, Error> {
        let caller = self.caller(endpoint)?;
        let key = endpoint.api_key.as_ref();
        let dimensions = Dimensions::new(dimensions);
        let model = model.to_owned();
        match endpoint.kind {
            ProviderKind::OpenAiCompatible => Ok(Arc::new(OpenAiEmbeddings {
                caller,
                url: below(&endpoint.base_url, &["embeddings"]),
                headers: bearer(key)?,
                model,
                dimensions,
            })),
            ProviderKind::Azure => Ok(Arc::new(OpenAiEmbeddings {
                caller,
                url: azure_url(&endpoint.base_url, &model, &["embeddings"]),
                headers: key_header("api-key", key)?,
                model,
                dimensions,
            })),
            ProviderKind::Gemini => Ok(Arc::new(GeminiEmbeddings {
                caller,
                url: gemini_url(&endpoint.base_url, &model, "batchEmbedContents"),
                headers: key_header("x-goog-api-key", key)?,
                model: format!("models/{}", model.trim_start_matches("models/")),
                dimensions,
            })),
            kind => Err(cannot(kind, "embed")),
        }
    }

    /// A model that orders passages.
    pub fn rerank(&self, endpoint: &Endpoint, model: &str) -> Result<Arc<dyn RerankModel>, Error> {
        let (protocol, default_path) = match endpoint.kind {
            ProviderKind::Cohere => (RerankProtocol::Cohere, "/v2"),
            ProviderKind::Jina => (RerankProtocol::Jina, "/v1"),
            ProviderKind::Tei => (RerankProtocol::Tei, "/"),
            kind => return Err(cannot(kind, "rerank")),
        };
        Ok(Arc::new(HttpRerank {
            caller: self.caller(endpoint)?,
            url: below_or_default(&endpoint.base_url, default_path, &["rerank"]),
            headers: bearer(endpoint.api_key.as_ref())?,
            model: model.to_owned(),
            protocol,
        }))
    }

    fn caller(&self, endpoint: &Endpoint) -> Result<Caller, Error> {
        let outbound = match endpoint.origin {
            Origin::Operator => self.operator.clone(),
            Origin::Tenant => self.guarded.clone(),
        };
        outbound.check(&endpoint.base_url)?;
        Ok(Caller {
            outbound,
            policy: self.policy,
            breaker: self.breaker(endpoint),
            clock: Arc::clone(&self.clock),
            quoting: Quoting { messages: endpoint.origin == Origin::Operator, secret: endpoint.api_key.clone() },
        })
    }

    /// One breaker for each address and key: a key that fails for one tenant is no one else's.
    fn breaker(&self, endpoint: &Endpoint) -> Arc<Breaker> {
        let key = endpoint.api_key.as_ref().map(ExposeSecret::expose_secret);
        let id = self.breaker_keys.hash_one((endpoint.base_url.as_str(), key, endpoint.origin));
        let mut breakers = self.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        if breakers.len() >= MAX_BREAKERS && !breakers.contains_key(&id) {
            breakers.retain(|_, breaker| Arc::strong_count(breaker) > 1 || !breaker.is_idle());
            if breakers.len() >= MAX_BREAKERS {
                breakers.clear();
            }
        }
        Arc::clone(breakers.entry(id).or_insert_with(|| Arc::new(Breaker::new(self.policy.breaker))))
    }
}

fn cannot(kind: ProviderKind, role: &str) -> Error {
    Error::new(ErrorKind::Rejected, format!("a provider of kind `{}` cannot {role}", kind.as_str()))
}

type Headers = Vec<(header::HeaderName, header::HeaderValue)>;

fn bearer(key: Option<&SecretString>) -> Result<Headers, Error> {
    let Some(key) = key else { return Ok(Vec::new()) };
    let value = format!("Bearer {}", key.expose_secret());
    Ok(vec![(header::AUTHORIZATION, secret_value(&value)?)])
}

fn key_header(name: &'static str, key: Option<&SecretString>) -> Result<Headers, Error> {
    let Some(key) = key else { return Ok(Vec::new()) };
    Ok(vec![(header::HeaderName::from_static(name), secret_value(key.expose_secret())?)])
}

fn secret_value(text: &str) -> Result<header::HeaderValue, Error> {
    let mut value = header::HeaderValue::from_str(text)
        .map_err(|_not_printable| Error::new(ErrorKind::Credentials, "the key holds characters that no key has"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Azure has three forms of base URL: the resource alone (the model is the deployment's name), one
/// that already holds the deployment, and the newer `/openai/v1` that works like OpenAI's own.
fn azure_url(base: &Url, model: &str, segments: &[&str]) -> Url {
    let path = base.path().trim_end_matches('/');
    if path.ends_with("/openai/v1") || path.contains("/openai/v1/") {
        return below(base, segments);
    }
    let mut url = if path.contains("/deployments/") {
        below(base, segments)
    } else {
        let prefix: &[&str] = if path.ends_with("/openai") { &[] } else { &["openai"] };
        below(base, &[prefix, &["deployments", model], segments].concat())
    };
    if !url.query_pairs().any(|(name, _)| name == "api-version") {
        url.query_pairs_mut().append_pair("api-version", AZURE_API_VERSION);
    }
    url
}

fn gemini_url(base: &Url, model: &str, method: &str) -> Url {
    let last = format!("{}:{method}", model.trim_start_matches("models/"));
    below_or_default(base, "/v1beta", &["models", &last])
}

#[cfg(test)]
mod tests {
    use super::{Endpoint, Origin, ProviderKind, azure_url};

    #[test]
    fn azure_addresses() {
        let call = ["chat", "completions"];
        for (base, expected) in [
            ("https://r.example", "https://r.example/openai/deployments/m/chat/completions?api-version=2024-10-21"),
            (
                "https://r.example/openai/",
                "https://r.example/openai/deployments/m/chat/completions?api-version=2024-10-21",
            ),
            (
                "https://r.example/openai/deployments/d?api-version=2025-01-01",
                "https://r.example/openai/deployments/d/chat/completions?api-version=2025-01-01",
            ),
            (
                "https://r.example/openai/deployments/d/chat/completions?api-version=2025-01-01",
                "https://r.example/openai/deployments/d/chat/completions?api-version=2025-01-01",
            ),
            ("https://r.example/openai/v1/", "https://r.example/openai/v1/chat/completions"),
        ] {
            assert_eq!(azure_url(&base.parse().unwrap(), "m", &call).as_str(), expected);
        }
    }

    #[test]
    fn names_are_stable() {
        for kind in ProviderKind::ALL {
            assert_eq!(ProviderKind::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(ProviderKind::parse("OpenAI"), None);
    }

    #[test]
    fn debug_shows_no_secret() {
        let endpoint = Endpoint {
            kind: ProviderKind::OpenAiCompatible,
            base_url: "https://user:hidden@h.example/v1?key=hidden".parse().unwrap(),
            api_key: Some("hidden".into()),
            origin: Origin::Operator,
        };
        assert!(!format!("{endpoint:?}").contains("hidden"));
    }
}
