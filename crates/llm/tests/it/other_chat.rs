//! Anthropic and Gemini.

use parlance_llm::{ChatOptions, ErrorKind, ProviderKind, StopReason, Usage};
use serde_json::json;

use crate::server::{Server, events};
use crate::{KEY, endpoint, models, policy, request, run};

#[tokio::test]
async fn anthropic_streams() {
    let server = Server::play(vec![events(&[
        r#"{"type":"message_start","message":{"id":"x","usage":{"input_tokens":4,"cache_read_input_tokens":10,"cache_creation_input_tokens":1,"output_tokens":1}}}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":""}}"#,
        r#"{"type":"ping"}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"abc"}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"七"}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"天"}}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"max_tokens"},"usage":{"output_tokens":9}}"#,
        r#"{"type":"message_stop"}"#,
    ])])
    .await;
    let model = models(policy())
        .chat(&endpoint(ProviderKind::Anthropic, &server.base_url), "c-1", ChatOptions::default())
        .unwrap();
    let outcome = run(&*model, request()).await;
    assert_eq!((outcome.text.as_str(), outcome.thinking.as_str()), ("七天", "hm"));
    assert_eq!(outcome.stop(), Some(StopReason::Length));
    let usage = Usage { input_tokens: 15, output_tokens: 9, cached_tokens: 10, estimated: false };
    assert_eq!(outcome.usage(), Some(usage));
    let seen = &server.seen()[0];
    assert_eq!(seen.line, "POST /v1/messages");
    assert_eq!(seen.header("x-api-key"), Some(KEY));
    assert_eq!(seen.header("anthropic-version"), Some("2023-06-01"));
    assert_eq!(seen.body["system"][0]["text"], "Be brief.");
    assert_eq!(seen.body["messages"], json!([{"role": "user", "content": "退貨期限？"}]));
    assert_eq!(seen.body["max_tokens"], 100);
}

#[tokio::test]
async fn anthropic_faults_and_schemas() {
    let overloaded = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    let piece = r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{}"}}"#;
    let server = Server::play(vec![
        events(&[r#"{"type":"message_start","message":{}}"#, overloaded]),
        events(&[
            piece,
            r#"{"type":"message_delta","delta":{"stop_reason":"tool_use"}}"#,
            r#"{"type":"message_stop"}"#,
        ]),
        events(&[piece, overloaded]),
        events(&[piece]),
    ])
    .await;
    let base_url = format!("{}/v1/", server.base_url);
    let model =
        models(policy()).chat(&endpoint(ProviderKind::Anthropic, &base_url), "c-1", ChatOptions::default()).unwrap();
    let mut with_schema = request();
    with_schema.json_schema = Some(json!({"type": "object"}));
    let outcome = run(&*model, with_schema).await;
    assert_eq!((outcome.text.as_str(), outcome.stop()), ("{}", Some(StopReason::Complete)));
    assert_eq!(server.seen().len(), 2, "overloaded before the first piece is tried again");
    assert_eq!(server.seen()[1].body["tool_choice"]["name"], "answer");
    assert_eq!(run(&*model, request()).await.error.unwrap().kind, ErrorKind::Unavailable);
    assert_eq!(run(&*model, request()).await.error.unwrap().kind, ErrorKind::Network);
    assert_eq!(server.seen().len(), 4, "never after the first piece");
}

#[tokio::test]
async fn gemini_streams() {
    let server = Server::play(vec![
        events(&[
            r#"{"candidates":[{"content":{"parts":[{"text":"hm","thought":true},{"text":"七"}],"role":"model"}}],"usageMetadata":{"promptTokenCount":5}}"#,
            r#"{"candidates":[{"content":{"parts":[{"text":"天"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":5,"candidatesTokenCount":2,"thoughtsTokenCount":3,"cachedContentTokenCount":1}}"#,
        ]),
        events(&[r#"{"promptFeedback":{"blockReason":"SAFETY"}}"#]),
        events(&[r#"{"candidates":[{"content":{"parts":[{"text":"x"}]}}]}"#]),
    ])
    .await;
    let model = models(policy())
        .chat(&endpoint(ProviderKind::Gemini, &server.base_url), "g-1", ChatOptions::default())
        .unwrap();
    let outcome = run(&*model, request()).await;
    assert_eq!((outcome.text.as_str(), outcome.thinking.as_str()), ("七天", "hm"));
    assert_eq!(outcome.stop(), Some(StopReason::Complete));
    let usage = Usage { input_tokens: 5, output_tokens: 5, cached_tokens: 1, estimated: false };
    assert_eq!(outcome.usage(), Some(usage));
    let seen = &server.seen()[0];
    assert_eq!(seen.line, "POST /v1beta/models/g-1:streamGenerateContent?alt=sse");
    assert_eq!(seen.header("x-goog-api-key"), Some(KEY));
    assert_eq!(seen.body["systemInstruction"]["parts"][0]["text"], "Be brief.");
    assert_eq!(seen.body["contents"], json!([{"role": "user", "parts": [{"text": "退貨期限？"}]}]));
    assert_eq!(seen.body["generationConfig"]["maxOutputTokens"], 100);
    assert_eq!(run(&*model, request()).await.error.unwrap().kind, ErrorKind::Filtered);
    assert_eq!(run(&*model, request()).await.error.unwrap().kind, ErrorKind::Network);
}
