//! The OpenAI protocol: what is sent and what is understood.

use parlance_llm::{ChatEvent, ChatOptions, Endpoint, Image, Origin, ProviderKind, StopReason, Usage};
use serde_json::json;

use crate::server::{Act, Server, events, stream_header};
use crate::{KEY, endpoint, models, openai_with, policy, request, run};

const ROLE: &str = r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#;
const HELLO: &str = r#"{"choices":[{"index":0,"delta":{"content":"七天"}}]}"#;
const STOP: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
const USAGE: &str =
    r#"{"choices":[],"usage":{"prompt_tokens":12,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":8}}}"#;

#[tokio::test]
async fn a_whole_answer() {
    let thinking = r#"{"choices":[{"delta":{"reasoning_content":"hm","reasoning":"hm"}}]}"#;
    let other_name = r#"{"choices":[{"delta":{"reasoning":"m","content":null}}]}"#;
    let server =
        Server::play(vec![events(&[ROLE, thinking, other_name, HELLO, HELLO, STOP, USAGE, "[DONE]", HELLO, "junk"])])
            .await;
    let model = openai_with(&format!("{}/v1", server.base_url), policy());
    let outcome = run(&*model, request()).await;
    assert_eq!((outcome.text.as_str(), outcome.thinking.as_str()), ("七天七天", "hmm"));
    assert_eq!(outcome.stop(), Some(StopReason::Complete));
    let usage = Usage { input_tokens: 12, output_tokens: 3, cached_tokens: 8, estimated: false };
    assert_eq!(outcome.usage(), Some(usage));
    let seen = &server.seen()[0];
    assert_eq!(seen.line, "POST /v1/chat/completions");
    assert_eq!(seen.header("authorization"), Some(format!("Bearer {KEY}").as_str()));
    let expected = json!({
        "model": "m-1",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "退貨期限？"}],
        "stream": true,
        "stream_options": {"include_usage": true},
        "max_tokens": 100,
    });
    assert_eq!(seen.body, expected);
}

#[tokio::test]
async fn pictures_and_schemas_are_sent() {
    let server = Server::play(vec![events(&[HELLO, STOP, "[DONE]"])]).await;
    let model = openai_with(&server.base_url, policy());
    let mut request = request();
    request.messages[1].images.push(Image { media_type: "image/png".into(), bytes: bytes::Bytes::from_static(b"png") });
    request.json_schema = Some(json!({"type": "object", "additionalProperties": false}));
    assert_eq!(run(&*model, request).await.text, "七天");
    let body = &server.seen()[0].body;
    assert_eq!(body["messages"][1]["content"][0], json!({"type": "text", "text": "退貨期限？"}));
    let picture = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,cG5n"}});
    assert_eq!(body["messages"][1]["content"][1], picture);
    assert_eq!(body["response_format"]["json_schema"]["strict"], true);
    assert_eq!(body["response_format"]["json_schema"]["schema"]["type"], "object");
}

#[tokio::test]
async fn servers_that_leave_things_out() {
    let parts = r#"{"choices":[{"delta":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"h"}]},{"type":"text","text":"七天"}]}}],"usage":null}"#;
    for (name, data) in [
        ("no usage", vec![ROLE, HELLO, STOP, "[DONE]"]),
        ("no end mark", vec![HELLO, STOP]),
        ("no reason", vec![HELLO, "[DONE]"]),
        (
            "no choices",
            vec![r#"{"id":"x","choices":null}"#, "{}", r#"{"choices":[],"prompt_filter_results":[]}"#, HELLO, STOP],
        ),
        ("two reasons", vec![HELLO, STOP, STOP, "[DONE]"]),
        ("content in parts", vec![parts, STOP, "[DONE]"]),
        (
            "reason with the text",
            vec![r#"{"choices":[{"delta":{"content":"七天"},"finish_reason":"stop"}]}"#, "[DONE]"],
        ),
        ("other choices", vec![r#"{"choices":[{"index":1,"delta":{"content":"x"}}]}"#, HELLO, STOP, "[DONE]"]),
    ] {
        let server = Server::play(vec![events(&data)]).await;
        let outcome = run(&*openai_with(&server.base_url, policy()), request()).await;
        assert_eq!(outcome.text, "七天", "{name}");
        assert_eq!(outcome.stop(), Some(StopReason::Complete), "{name}");
        let usage = outcome.usage().unwrap();
        assert!(usage.estimated && usage.output_tokens >= 2 && usage.input_tokens >= 5, "{name}: {usage:?}");
    }
}

#[tokio::test]
async fn a_server_that_never_closes_after_its_reason_to_stop() {
    let mut acts = events(&[HELLO, STOP]);
    acts.push(Act::Hang);
    let server = Server::play(vec![acts]).await;
    let outcome = run(&*openai_with(&server.base_url, policy()), request()).await;
    assert_eq!((outcome.text.as_str(), outcome.stop()), ("七天", Some(StopReason::Complete)));
}

#[tokio::test]
async fn reasons_to_stop() {
    for (reason, expected) in
        [("length", StopReason::Length), ("content_filter", StopReason::Filtered), ("eos", StopReason::Complete)]
    {
        let stop = STOP.replace("stop\"}", &format!("{reason}\"}}"));
        let server = Server::play(vec![events(&[HELLO, &stop, "[DONE]"])]).await;
        assert_eq!(run(&*openai_with(&server.base_url, policy()), request()).await.stop(), Some(expected));
    }
}

#[tokio::test]
async fn pieces_of_one_byte_give_the_same_answer() {
    let body = format!("data: {}\r\n\r\n", [ROLE, HELLO, STOP, USAGE, "[DONE]"].join("\r\n\r\ndata: "));
    let mut acts = vec![stream_header()];
    for byte in body.bytes() {
        acts.push(Act::Send(vec![byte]));
        if byte == b'\r' || byte > 127 {
            acts.push(Act::Pause(std::time::Duration::from_millis(1)));
        }
    }
    let server = Server::play(vec![acts]).await;
    let outcome = run(&*openai_with(&server.base_url, policy()), request()).await;
    let usage = Usage { input_tokens: 12, output_tokens: 3, cached_tokens: 8, estimated: false };
    let expected = [ChatEvent::Text("七天".into()), ChatEvent::Usage(usage), ChatEvent::Stop(StopReason::Complete)];
    assert_eq!(outcome.events, expected);
}

#[tokio::test]
async fn azure_and_servers_without_a_key() {
    let server = Server::play(vec![events(&[HELLO, STOP, "[DONE]"])]).await;
    let models = models(policy());
    let azure = endpoint(ProviderKind::Azure, &server.base_url);
    run(&*models.chat(&azure, "gpt", ChatOptions::default()).unwrap(), request()).await;
    let keyless = Endpoint { api_key: None, ..endpoint(ProviderKind::OpenAiCompatible, &server.base_url) };
    run(&*models.chat(&keyless, "m", ChatOptions::default()).unwrap(), request()).await;
    let seen = server.seen();
    assert_eq!(seen[0].line, "POST /openai/deployments/gpt/chat/completions?api-version=2024-10-21");
    assert_eq!(seen[0].header("api-key"), Some(KEY));
    assert_eq!(seen[0].header("authorization"), None);
    assert_eq!(seen[0].body["max_completion_tokens"], 100);
    assert_eq!(seen[1].header("authorization"), None);
}

#[tokio::test]
async fn addresses_of_tenants_are_guarded() {
    let server = Server::play(vec![events(&[HELLO, STOP, "[DONE]"])]).await;
    let tenant = Endpoint { origin: Origin::Tenant, ..endpoint(ProviderKind::OpenAiCompatible, &server.base_url) };
    let error = models(policy()).chat(&tenant, "m", ChatOptions::default()).unwrap_err();
    assert_eq!(error.kind, parlance_llm::ErrorKind::Blocked);
    assert!(server.seen().is_empty());
}
