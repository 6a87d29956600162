//! A small HTTP server whose every move is data.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the server does on a connection, in order; then it closes.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Send(Vec<u8>),
    Pause(Duration),
    /// Neither sends nor closes until the client goes away.
    Hang,
    /// Closes with a reset.
    Reset,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// `POST /path?query`
    pub(crate) line: String,
    /// Lower-case names.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: serde_json::Value,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

pub(crate) struct Server {
    pub(crate) base_url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// How many connections the client closed while the server was hanging.
    pub(crate) left: watch::Receiver<usize>,
}

impl Server {
    /// Plays one list of acts for each request, the last one again and again.
    pub(crate) async fn play(lists: Vec<Vec<Act>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (left_sender, left) = watch::channel(0);
        let recorder = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, lists.clone(), Arc::clone(&recorder), left_sender.clone()));
            }
        });
        Self { base_url, seen, left }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(mut socket: TcpStream, lists: Vec<Vec<Act>>, seen: Arc<Mutex<Vec<Seen>>>, left: watch::Sender<usize>) {
    let Some(request) = read_request(&mut socket).await else { return };
    let call = {
        let mut all = seen.lock().unwrap();
        all.push(request);
        all.len() - 1
    };
    for act in &lists[call.min(lists.len() - 1)] {
        match act {
            Act::Send(bytes) => {
                if socket.write_all(bytes).await.is_err() {
                    return;
                }
            }
            Act::Pause(duration) => tokio::time::sleep(*duration).await,
            Act::Hang => {
                let mut byte = [0];
                let _closed_or_reset = socket.read(&mut byte).await;
                left.send_modify(|count| *count += 1);
                return;
            }
            Act::Reset => {
                // Lets what was sent arrive: a reset discards what the client has not read yet.
                tokio::time::sleep(Duration::from_millis(50)).await;
                socket.set_zero_linger().unwrap();
                return;
            }
        }
    }
}

async fn read_request(socket: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
            let mut lines = head.split("\r\n");
            let line = lines.next()?.trim_end_matches(" HTTP/1.1").to_owned();
            let headers: Vec<(String, String)> = lines
                .filter_map(|field| field.split_once(": "))
                .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
                .collect();
            let length = headers
                .iter()
                .find(|(name, _)| name == "content-length")
                .map_or(0, |(_, value)| value.parse().unwrap());
            while bytes.len() < end + 4 + length {
                socket.read_buf(&mut bytes).await.ok()?;
            }
            let body = serde_json::from_slice(&bytes[end + 4..]).unwrap_or_default();
            return Some(Seen { line, headers, body });
        }
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// An answer with a whole body.
pub(crate) fn answer(status: &str, headers: &str, body: &str) -> Vec<Act> {
    let length = body.len();
    vec![Act::Send(
        format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}").into(),
    )]
}

pub(crate) fn json(body: &serde_json::Value) -> Vec<Act> {
    answer("200 OK", "Content-Type: application/json\r\n", &body.to_string())
}

/// The header of a stream that ends when the connection is closed.
pub(crate) fn stream_header() -> Act {
    Act::Send(
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n".to_vec(),
    )
}

/// A stream of events with these `data` fields.
pub(crate) fn events(data: &[&str]) -> Vec<Act> {
    let mut acts = vec![stream_header()];
    acts.extend(data.iter().map(|data| Act::Send(format!("data: {data}\n\n").into())));
    acts
}
