//! Rerank with Cohere, Jina and Text Embeddings Inference: one POST each.

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use parlance_outbound::{Url, header::HeaderName, header::HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::call::{Caller, post_json};
use crate::chat::RerankModel;
use crate::embeddings::in_order;
use crate::error::{Error, ErrorKind};

/// Calls at a time for one list of documents.
const CALLS_AT_A_TIME: usize = 4;

/// The form of the request and the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RerankProtocol {
    /// Version 2 of Cohere's.
    Cohere,
    /// Jina's, which many other servers copy.
    Jina,
    /// Text Embeddings Inference; the server knows its one model.
    Tei,
}

impl RerankProtocol {
    /// Documents in one call; TEI refuses more than its default of 32.
    const fn documents_per_call(self) -> usize {
        match self {
            Self::Cohere | Self::Jina => 500,
            Self::Tei => 32,
        }
    }
}

/// A model behind `POST .../rerank`.
#[derive(Debug)]
pub(crate) struct HttpRerank {
    pub(crate) caller: Caller,
    pub(crate) url: Url,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) model: String,
    pub(crate) protocol: RerankProtocol,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    /// TEI.
    List(Vec<Item>),
    /// The others.
    Results { results: Vec<Item> },
}

#[derive(Deserialize)]
struct Item {
    index: usize,
    #[serde(alias = "relevance_score")]
    score: f32,
}

impl RerankModel for HttpRerank {
    fn rerank(&self, question: String, documents: Vec<String>) -> BoxFuture<'_, Result<Vec<f32>, Error>> {
        async move {
            let calls: Vec<_> = documents
                .chunks(self.protocol.documents_per_call())
                .map(|batch| self.rerank_batch(&question, batch))
                .collect();
            let scores: Vec<Vec<f32>> =
                futures_util::stream::iter(calls).buffered(CALLS_AT_A_TIME).try_collect().await?;
            into_unit_range(scores.concat())
        }
        .boxed()
    }
}

impl HttpRerank {
    async fn rerank_batch(&self, question: &str, documents: &[String]) -> Result<Vec<f32>, Error> {
        let request = post_json(self.url.clone(), &self.headers, &self.body(question, documents))?;
        let items = match self.caller.json(&request).await? {
            Answer::List(items) | Answer::Results { results: items } => items,
        };
        in_order(items.into_iter().map(|item| (Some(item.index), item.score)), documents.len())
    }

    fn body(&self, question: &str, documents: &[String]) -> Value {
        let mut body = match self.protocol {
            RerankProtocol::Tei => {
                return json!({ "query": question, "texts": documents, "raw_scores": false, "truncate": true });
            }
            RerankProtocol::Cohere | RerankProtocol::Jina => {
                json!({ "model": self.model, "query": question, "documents": documents, "top_n": documents.len() })
            }
        };
        if self.protocol == RerankProtocol::Jina {
            body["return_documents"] = false.into();
        }
        body
    }
}

/// Some servers give logits. One score outside 0..1 shows that all of them are, and the logistic
/// function maps them without changing their order.
fn into_unit_range(scores: Vec<f32>) -> Result<Vec<f32>, Error> {
    if scores.iter().any(|score| !score.is_finite()) {
        return Err(Error::new(ErrorKind::Protocol, "a score is not a number"));
    }
    if scores.iter().all(|score| (0.0..=1.0).contains(score)) {
        return Ok(scores);
    }
    Ok(scores.into_iter().map(|score| 1.0 / (1.0 + (-score).exp())).collect())
}

#[cfg(test)]
mod tests {
    use super::into_unit_range;

    #[test]
    fn only_logits_are_mapped() {
        assert_eq!(into_unit_range(vec![0.0, 0.25, 1.0]).unwrap(), [0.0, 0.25, 1.0]);
        let mapped = into_unit_range(vec![-8.0, 0.5, 6.0]).unwrap();
        assert!(mapped.is_sorted() && mapped.iter().all(|score| (0.0..=1.0).contains(score)));
        assert!(into_unit_range(vec![f32::NAN]).is_err());
    }
}
