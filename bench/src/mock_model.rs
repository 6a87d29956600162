//! A model that speaks OpenAI's streaming chat API and whose name says what it does: `mock-20-0` sends 20 tokens
//! without waiting, `mock-30-100` sends 30 tokens and waits 100 ms before each, `mock-30-100-500` waits 500 ms before
//! the first and 100 ms before each other one.
//!
//! Each token is a write of its own, as with a real model, also when nothing is waited for.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::{Buf, BytesMut};
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::http::{BodyDecoder, parse_head};

/// Bytes of a request at most.
const MAX_REQUEST: usize = 16 << 20;
const TOKENS: [&str; 8] = ["您好", "，", "這項", "產品", "的", "保固", "期為", "兩年。"];

/// What a model name asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Behaviour {
    /// Tokens of an answer.
    pub(crate) tokens: usize,
    /// Wait before the first token.
    pub(crate) before_first: Duration,
    /// Wait before each other token.
    pub(crate) between: Duration,
}

impl Behaviour {
    /// Reads `mock-TOKENS-BETWEEN[-FIRST]`, times in milliseconds.
    pub(crate) fn of_model(name: &str) -> Option<Self> {
        let mut numbers = name.strip_prefix("mock-")?.split('-').map(|number| number.parse::<u64>().ok());
        let tokens = usize::try_from(numbers.next()??).ok()?;
        let between = Duration::from_millis(numbers.next()??);
        let before_first = numbers.next().map_or(Some(between), |first| first.map(Duration::from_millis))?;
        numbers.next().is_none().then_some(Self { tokens, before_first, between })
    }

    /// The whole answer.
    pub(crate) fn answer(&self) -> String {
        TOKENS.iter().cycle().take(self.tokens).copied().collect()
    }
}

/// The bytes of an answer, made once per model name.
struct Script {
    behaviour: Behaviour,
    head: Vec<u8>,
    tokens: Vec<Vec<u8>>,
    tail: Vec<u8>,
    whole: Vec<u8>,
}

impl Script {
    fn new(model: &str, behaviour: Behaviour) -> Self {
        let event = |choices: serde_json::Value, usage: Option<serde_json::Value>| {
            let mut event = json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 0, "model": model,
                "choices": choices});
            if let Some(usage) = usage
                && let Some(fields) = event.as_object_mut()
            {
                fields.insert("usage".to_owned(), usage);
            }
            chunk(&format!("data: {event}\n\n"))
        };
        let choice = |delta: serde_json::Value, reason: Option<&str>| {
            event(json!([{"index": 0, "delta": delta, "finish_reason": reason}]), None)
        };
        let usage = json!({"prompt_tokens": 50, "completion_tokens": behaviour.tokens,
            "total_tokens": behaviour.tokens + 50});
        let mut head =
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        head.extend(choice(json!({"role": "assistant", "content": ""}), None));
        let mut tail = choice(json!({}), Some("stop"));
        tail.extend(event(json!([]), Some(usage.clone())));
        tail.extend(chunk("data: [DONE]\n\n"));
        tail.extend(b"0\r\n\r\n");
        let tokens = TOKENS.iter().cycle().take(behaviour.tokens);
        let whole = json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 0, "model": model, "usage": usage,
            "choices": [{"index": 0, "finish_reason": "stop",
                "message": {"role": "assistant", "content": behaviour.answer()}}]});
        Self {
            behaviour,
            head,
            tokens: tokens.map(|token| choice(json!({"content": token}), None)).collect(),
            tail,
            whole: response("200 OK", &whole.to_string()),
        }
    }
}

fn chunk(text: &str) -> Vec<u8> {
    format!("{:x}\r\n{text}\r\n", text.len()).into_bytes()
}

fn response(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
        .into_bytes()
}

type Scripts = Mutex<HashMap<String, Arc<Script>>>;

/// A mock model that listens on a free port of the loopback address until it is dropped.
#[derive(Debug)]
pub(crate) struct MockModel {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl MockModel {
    /// Starts it.
    pub(crate) async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("listening for the mock model")?;
        let address = listener.local_addr().context("listening for the mock model")?;
        let scripts = Arc::new(Scripts::default());
        let accepting = tokio::spawn(async move {
            // Ends by being aborted; a failed accept (no descriptor left) shows as a failed request.
            loop {
                if let Ok((stream, _)) = listener.accept().await {
                    let scripts = Arc::clone(&scripts);
                    // A client may leave at any time: not an error of the mock.
                    tokio::spawn(async move { drop(serve(stream, &scripts).await) });
                }
            }
        });
        Ok(Self { address, accepting })
    }
}

impl Drop for MockModel {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

#[derive(Deserialize)]
struct Request {
    model: String,
    #[serde(default)]
    stream: bool,
}

async fn serve(mut stream: TcpStream, scripts: &Scripts) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut input = BytesMut::with_capacity(8192);
    let mut body = Vec::new();
    loop {
        let (is_chat, mut decoder) = loop {
            if let Some((length, head)) = parse_head(&input)? {
                let is_chat = head.start_line.starts_with("POST /v1/chat/completions ");
                let decoder = BodyDecoder::new(head.framing, false);
                input.advance(length);
                break (is_chat, decoder);
            }
            if stream.read_buf(&mut input).await? == 0 {
                return Ok(());
            }
        };
        body.clear();
        decoder.decode(&mut input, &mut body)?;
        while !decoder.is_finished() {
            if body.len() > MAX_REQUEST || stream.read_buf(&mut input).await? == 0 {
                return Ok(());
            }
            decoder.decode(&mut input, &mut body)?;
        }
        let request = serde_json::from_slice::<Request>(&body).ok().filter(|_| is_chat);
        let script = request.as_ref().and_then(|request| script_of(scripts, &request.model));
        match (request, script) {
            (Some(request), Some(script)) if request.stream => answer(&mut stream, &script).await?,
            (Some(_), Some(script)) => stream.write_all(&script.whole).await?,
            _ => stream.write_all(&response("404 Not Found", r#"{"error":{"message":"no such model"}}"#)).await?,
        }
    }
}

fn script_of(scripts: &Scripts, model: &str) -> Option<Arc<Script>> {
    let mut scripts = scripts.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(script) = scripts.get(model) {
        return Some(Arc::clone(script));
    }
    let script = Arc::new(Script::new(model, Behaviour::of_model(model)?));
    scripts.insert(model.to_owned(), Arc::clone(&script));
    Some(script)
}

async fn answer(stream: &mut TcpStream, script: &Script) -> Result<()> {
    let Behaviour { before_first, between, .. } = script.behaviour;
    let mut due = Instant::now() + before_first;
    stream.write_all(&script.head).await?;
    for (number, token) in script.tokens.iter().enumerate() {
        if !if number == 0 { before_first } else { between }.is_zero() {
            sleep_until(due).await;
        }
        stream.write_all(token).await?;
        due += between;
    }
    stream.write_all(&script.tail).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::completion::{Answered, Dialect, Stream, model_request};
    use crate::http::Connection;

    #[test]
    fn names_say_what_a_model_does() {
        let milliseconds = Duration::from_millis;
        let behaviour = |tokens, first, between| {
            Some(Behaviour { tokens, before_first: milliseconds(first), between: milliseconds(between) })
        };
        assert_eq!(Behaviour::of_model("mock-20-0"), behaviour(20, 0, 0));
        assert_eq!(Behaviour::of_model("mock-30-100"), behaviour(30, 100, 100));
        assert_eq!(Behaviour::of_model("mock-30-100-500"), behaviour(30, 500, 100));
        for name in ["mock-20", "mock-x-0", "mock-1-2-3-4", "other-20-0", "mock-20-0-"] {
            assert_eq!(Behaviour::of_model(name), None, "{name}");
        }
    }

    #[tokio::test]
    async fn answers_its_own_client_on_one_connection() {
        let mock = MockModel::start().await.unwrap();
        let mut stream = Stream::open(mock.address, Dialect::Model).await.unwrap();
        for model in ["mock-20-0", "mock-3-1", "mock-1-0-2"] {
            let expected = Behaviour::of_model(model).unwrap().answer().len();
            let Answered { first_text, total, cited } =
                stream.ask(&model_request(mock.address, model), expected).await.unwrap();
            assert!(first_text <= total);
            assert_eq!(cited, 0);
        }
        let fault = stream.ask(&model_request(mock.address, "mock-2-0"), 1).await.unwrap_err();
        assert!(fault.to_string().contains("bytes of text"), "{fault}");
    }

    #[tokio::test]
    async fn answers_whole_and_refuses_unknown_models() {
        let mock = MockModel::start().await.unwrap();
        let mut connection = Connection::open(mock.address).await.unwrap();
        let request = |body: &str| {
            let length = body.len();
            format!("POST /v1/chat/completions HTTP/1.1\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
        };
        assert_eq!(connection.send(&request(r#"{"model":"mock-2-0","messages":[]}"#)).await.unwrap(), 200);
        let whole: serde_json::Value = serde_json::from_slice(&connection.whole_body().await.unwrap()).unwrap();
        assert_eq!(whole.pointer("/choices/0/message/content").unwrap(), "您好，");
        assert_eq!(connection.send(&request(r#"{"model":"gpt","stream":true}"#)).await.unwrap(), 404);
        connection.whole_body().await.unwrap();
        assert_eq!(connection.send(b"GET /other HTTP/1.1\r\n\r\n").await.unwrap(), 404);
    }
}
