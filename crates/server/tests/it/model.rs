//! An OpenAI-compatible endpoint on this machine: it answers every chat with the same pieces and
//! remembers what it was asked.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What the model says: each piece, and the pause before it.
#[derive(Clone)]
pub(crate) struct Speech {
    pub(crate) pieces: Vec<String>,
    pub(crate) pause: Duration,
}

/// A running endpoint; it ends when it is dropped.
pub(crate) struct Model {
    /// Address with its version path.
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<String>>>,
    serving: JoinHandle<()>,
}

impl Model {
    pub(crate) async fn start(speech: Speech) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&requests);
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (speech, seen) = (speech.clone(), Arc::clone(&seen));
                // A server that was killed or that cancelled does not listen to the end.
                tokio::spawn(async move { drop(answer(stream, speech, &seen).await) });
            }
        });
        Self { url, requests, serving }
    }

    /// Heads and bodies of the requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(mut stream: TcpStream, speech: Speech, seen: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let request = read_request(&mut stream).await?;
    seen.lock().unwrap().push(request);
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n").await?;
    for piece in &speech.pieces {
        tokio::time::sleep(speech.pause).await;
        let delta = serde_json::json!({"choices": [{"index": 0, "delta": {"content": piece}}]});
        stream.write_all(format!("data: {delta}\n\n").as_bytes()).await?;
    }
    let stop = serde_json::json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
    let usage = serde_json::json!({"choices": [], "usage": {"prompt_tokens": 321, "completion_tokens": 12}});
    stream.write_all(format!("data: {stop}\n\ndata: {usage}\n\ndata: [DONE]\n\n").as_bytes()).await?;
    stream.shutdown().await
}

/// Reads one request with its body.
pub(crate) async fn read_request(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:").map(str::to_owned));
            let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
            if bytes.len() >= head.len() + 4 + length {
                return Ok(text);
            }
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}
