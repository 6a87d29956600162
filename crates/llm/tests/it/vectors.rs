//! Embeddings and rerank.

use parlance_llm::{EmbeddingPurpose, ErrorKind, ProviderKind};
use serde_json::json;

use crate::server::{Server, answer, json as json_answer};
use crate::{KEY, endpoint, models, policy};

fn texts(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("text {number}")).collect()
}

#[tokio::test]
async fn openai_embeddings_keep_their_order() {
    let shuffled = json!({"data": [{"index": 1, "embedding": [0.0, 1.0]}, {"index": 0, "embedding": [1.0, 0.0]}]});
    let server = Server::play(vec![json_answer(&shuffled)]).await;
    let endpoint = endpoint(ProviderKind::OpenAiCompatible, &format!("{}/v1", server.base_url));
    let model = models(policy()).embedding(&endpoint, "e-1", Some(2)).unwrap();
    let vectors = model.embed(texts(2), EmbeddingPurpose::Passage).await.unwrap();
    assert_eq!(vectors, [[1.0, 0.0], [0.0, 1.0]]);
    let seen = &server.seen()[0];
    assert_eq!(seen.line, "POST /v1/embeddings");
    let expected = json!({"model": "e-1", "input": ["text 0", "text 1"], "encoding_format": "float", "dimensions": 2});
    assert_eq!(seen.body, expected);
    assert!(model.embed(Vec::new(), EmbeddingPurpose::Passage).await.unwrap().is_empty());
    // The server gives two vectors whatever it is asked.
    assert_eq!(model.embed(texts(3), EmbeddingPurpose::Passage).await.unwrap_err().kind, ErrorKind::Protocol);
}

#[tokio::test]
async fn wrong_lengths_are_refused_and_lengths_are_learned() {
    let one = json!({"data": [{"index": 0, "embedding": [1.0, 0.0, 0.5]}]});
    let server = Server::play(vec![json_answer(&one)]).await;
    let endpoint = endpoint(ProviderKind::OpenAiCompatible, &server.base_url);
    let models = models(policy());
    let strict = models.embedding(&endpoint, "e-1", Some(2)).unwrap();
    assert_eq!(strict.embed(texts(1), EmbeddingPurpose::Question).await.unwrap_err().kind, ErrorKind::Protocol);
    let learning = models.embedding(&endpoint, "e-1", None).unwrap();
    assert_eq!(learning.dimensions(), None);
    learning.embed(texts(1), EmbeddingPurpose::Question).await.unwrap();
    assert_eq!(learning.dimensions(), Some(3));
}

#[tokio::test]
async fn many_texts_take_several_calls() {
    let page: Vec<_> = (0..64).map(|index| json!({"index": index, "embedding": [f64::from(index)]})).collect();
    let server = Server::play(vec![json_answer(&json!({"data": page}))]).await;
    let model =
        models(policy()).embedding(&endpoint(ProviderKind::OpenAiCompatible, &server.base_url), "e", None).unwrap();
    let vectors = model.embed(texts(192), EmbeddingPurpose::Passage).await.unwrap();
    assert_eq!((vectors.len(), server.seen().len()), (192, 3));
    assert_eq!(vectors[65], [1.0]);
}

#[tokio::test]
async fn gemini_embeddings() {
    let server = Server::play(vec![json_answer(&json!({"embeddings": [{"values": [0.5, 0.5]}]}))]).await;
    let model = models(policy()).embedding(&endpoint(ProviderKind::Gemini, &server.base_url), "e-1", Some(2)).unwrap();
    assert_eq!(model.embed(vec![String::new()], EmbeddingPurpose::Question).await.unwrap(), [[0.5, 0.5]]);
    let seen = &server.seen()[0];
    assert_eq!(seen.line, "POST /v1beta/models/e-1:batchEmbedContents");
    let expected = json!({"requests": [{
        "model": "models/e-1", "content": {"parts": [{"text": " "}]}, "taskType": "RETRIEVAL_QUERY", "outputDimensionality": 2,
    }]});
    assert_eq!(seen.body, expected);
}

#[tokio::test]
async fn rerank_protocols() {
    let results = json!({"results": [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.1}]});
    let list = json!([{"index": 0, "score": -3.0}, {"index": 1, "score": 3.0}]);
    for (kind, body, line) in [
        (ProviderKind::Cohere, &results, "POST /v2/rerank"),
        (ProviderKind::Jina, &results, "POST /v1/rerank"),
        (ProviderKind::Tei, &list, "POST /rerank"),
    ] {
        let server = Server::play(vec![json_answer(body)]).await;
        let model = models(policy()).rerank(&endpoint(kind, &server.base_url), "r-1").unwrap();
        let scores = model.rerank("q".into(), texts(2)).await.unwrap();
        assert!(scores[0] < 0.2 && scores[1] > 0.8, "{kind:?} {scores:?}");
        let seen = &server.seen()[0];
        assert_eq!(seen.line, line);
        assert_eq!(seen.header("authorization"), Some(format!("Bearer {KEY}").as_str()));
        assert_eq!(seen.body["query"], "q");
        let documents = if kind == ProviderKind::Tei { "texts" } else { "documents" };
        assert_eq!(seen.body[documents], json!(["text 0", "text 1"]));
        assert_eq!(model.rerank("q".into(), texts(3)).await.unwrap_err().kind, ErrorKind::Protocol);
        assert!(model.rerank("q".into(), Vec::new()).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn calls_without_streams_are_retried_too() {
    let good = json_answer(&json!({"data": [{"index": 0, "embedding": [1.0]}]}));
    let server = Server::play(vec![answer("503 Down", "", ""), good]).await;
    let model =
        models(policy()).embedding(&endpoint(ProviderKind::OpenAiCompatible, &server.base_url), "e", None).unwrap();
    assert_eq!(model.embed(texts(1), EmbeddingPurpose::Passage).await.unwrap(), [[1.0]]);
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn roles_that_a_provider_lacks() {
    let models = models(policy());
    let cohere = endpoint(ProviderKind::Cohere, "http://h.example");
    assert_eq!(models.chat(&cohere, "m", parlance_llm::ChatOptions::default()).unwrap_err().kind, ErrorKind::Rejected);
    assert_eq!(models.embedding(&cohere, "m", None).unwrap_err().kind, ErrorKind::Rejected);
    let openai = endpoint(ProviderKind::OpenAiCompatible, "http://h.example");
    assert_eq!(models.rerank(&openai, "m").unwrap_err().kind, ErrorKind::Rejected);
}
