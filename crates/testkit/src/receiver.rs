//! Somebody who receives webhooks.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What a receiver does with a request.
#[derive(Clone, Debug)]
pub enum Reaction {
    /// Answers with this status.
    Status(u16),
    /// Answers with this status and one header.
    With(u16, &'static str, String),
    /// Answers nothing, for as long as the sender waits.
    Hang,
}

/// What a receiver says; to be shown to nobody.
pub const RECEIVERS_WORDS: &str = "the receiver's own words";

/// A request that was received.
#[derive(Clone, Debug)]
pub struct Received {
    /// Path and query.
    pub path: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Received {
    /// A header as text, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[expect(clippy::expect_used, reason = "a test cannot go on without the body")]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }
}

#[derive(Debug, Default)]
struct Log {
    seen: Vec<Received>,
    reactions: VecDeque<Reaction>,
}

/// A server on this machine that remembers what it gets. It answers 200 where nothing else was
/// asked of it, and ends when it is dropped.
#[derive(Debug)]
pub struct Receiver {
    /// `host:port`.
    pub address: String,
    log: Arc<Mutex<Log>>,
    serving: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Receiver {
    /// Starts one.
    ///
    /// # Panics
    /// When there is no port.
    #[expect(clippy::expect_used, reason = "a test cannot go on without its receiver")]
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("the address").to_string();
        let log: Arc<Mutex<Log>> = Arc::default();
        let router = Router::new().fallback(receive).with_state(Arc::clone(&log));
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.expect("serving") });
        Self { address, log, serving }
    }

    /// A URL of this receiver.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reacts so to the next request that no other reaction was asked for.
    pub fn react(&self, reaction: Reaction) {
        self.log().reactions.push_back(reaction);
    }

    /// Everything received so far.
    pub fn seen(&self) -> Vec<Received> {
        self.log().seen.clone()
    }
}

async fn receive(State(log): State<Arc<Mutex<Log>>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let path = head.uri.to_string();
    let Ok(body) = axum::body::to_bytes(body, 16 << 20).await else { return StatusCode::BAD_REQUEST.into_response() };
    let reaction = {
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        log.seen.push(Received { path, headers: head.headers, body });
        log.reactions.pop_front().unwrap_or(Reaction::Status(200))
    };
    let status = |status| StatusCode::from_u16(status).unwrap_or_default();
    match reaction {
        Reaction::Status(code) => (status(code), RECEIVERS_WORDS).into_response(),
        Reaction::With(code, name, value) => (status(code), [(name, value)], RECEIVERS_WORDS).into_response(),
        Reaction::Hang => std::future::pending().await,
    }
}
