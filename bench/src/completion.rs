//! One streamed completion, timed and checked, from the server or from the mock model itself.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;

use crate::http::Connection;
use crate::sse::EventReader;

/// Whose events are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// The server's.
    Server,
    /// OpenAI's.
    Model,
}

/// A complete answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answered {
    /// From sending the request to the first text.
    pub(crate) first_text: Duration,
    /// From sending the request to the end of the response.
    pub(crate) total: Duration,
    /// Passages of the `citations` event.
    pub(crate) cited: usize,
}

/// A connection on which one answer after the other is streamed.
#[derive(Debug)]
pub(crate) struct Stream {
    connection: Connection,
    events: EventReader,
    dialect: Dialect,
}

/// A request for a completion of the mock model, sent to it directly.
pub(crate) fn model_request(address: SocketAddr, model: &str) -> Bytes {
    let body = json!({"model": model, "stream": true, "messages": [{"role": "user", "content": "您好"}]}).to_string();
    let length = body.len();
    Bytes::from(format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    ))
}

#[derive(Deserialize)]
struct ServerEvent<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    content: Cow<'a, str>,
    done: bool,
    #[serde(default)]
    citations: Vec<IgnoredAny>,
}

#[derive(Deserialize)]
struct ModelEvent<'a> {
    #[serde(borrow)]
    choices: Vec<ModelChoice<'a>>,
}

#[derive(Deserialize)]
struct ModelChoice<'a> {
    #[serde(borrow)]
    delta: ModelDelta<'a>,
}

#[derive(Deserialize)]
struct ModelDelta<'a> {
    #[serde(borrow, default)]
    content: Cow<'a, str>,
}

/// What was seen of an answer so far.
#[derive(Default)]
struct Progress {
    text_bytes: usize,
    last_id: u64,
    cited: Option<usize>,
    done: bool,
}

impl Stream {
    /// Opens the connection.
    pub(crate) async fn open(address: SocketAddr, dialect: Dialect) -> Result<Self> {
        Ok(Self { connection: Connection::open(address).await?, events: EventReader::default(), dialect })
    }

    /// Sends `request` and reads its answer to the end. Anything but a complete answer with `expected` bytes of text,
    /// events in order and the right end is an error.
    pub(crate) async fn ask(&mut self, request: &[u8], expected: usize) -> Result<Answered> {
        let start = Instant::now();
        let status = self.connection.send(request).await?;
        if status != 200 {
            let body = self.connection.whole_body().await?;
            bail!("status {status}: {}", String::from_utf8_lossy(body.get(..300).unwrap_or(&body)));
        }
        self.events.clear();
        let mut progress = Progress::default();
        let mut first_text = None;
        while self.connection.read_body(self.events.buffer()).await? {
            while let Some(event) = self.events.next()? {
                if progress.done {
                    bail!("an event after the last");
                }
                match self.dialect {
                    Dialect::Server => progress.server_event(event.id, event.data),
                    Dialect::Model => progress.model_event(event.data),
                }
                .with_context(|| format!("in {}", excerpt(event.data)))?;
            }
            if progress.text_bytes > 0 && first_text.is_none() {
                first_text = Some(start.elapsed());
            }
        }
        let total = start.elapsed();
        if !progress.done || self.events.has_rest() {
            bail!("the stream ended without its last event");
        }
        if progress.text_bytes != expected {
            bail!("{} bytes of text instead of {expected}", progress.text_bytes);
        }
        let first_text = first_text.context("an answer without text")?;
        Ok(Answered { first_text, total, cited: progress.cited.unwrap_or_default() })
    }
}

impl Progress {
    fn server_event(&mut self, id: Option<u64>, data: &[u8]) -> Result<()> {
        let event: ServerEvent<'_> = serde_json::from_slice(data).context("not an event")?;
        if id != Some(self.last_id + 1) {
            bail!("event {id:?} after {}", self.last_id);
        }
        self.last_id += 1;
        match &*event.kind {
            "citations" => self.cited = Some(event.citations.len()),
            "text" if self.cited.is_none() => bail!("text before the citations"),
            "text" => self.text_bytes += event.content.len(),
            "done" if event.done => self.done = true,
            _ => bail!("an answer that did not end well"),
        }
        Ok(())
    }

    fn model_event(&mut self, data: &[u8]) -> Result<()> {
        if data == b"[DONE]" {
            self.done = true;
            return Ok(());
        }
        let event: ModelEvent<'_> = serde_json::from_slice(data).context("not an event")?;
        self.text_bytes += event.choices.iter().map(|choice| choice.delta.content.len()).sum::<usize>();
        Ok(())
    }
}

fn excerpt(data: &[u8]) -> String {
    String::from_utf8_lossy(data).chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(events: &[(u64, &str)]) -> Result<Progress> {
        let mut progress = Progress::default();
        for (id, data) in events {
            progress.server_event(Some(*id), data.as_bytes())?;
        }
        Ok(progress)
    }

    #[test]
    fn server_events() {
        let citations = r#"{"type":"citations","content":"","done":false,"citations":[{"id":1},{"id":2}]}"#;
        let text = r#"{"type":"text","content":"\u9000貨","done":false}"#;
        let done = r#"{"type":"done","content":"","done":true,"citations":[]}"#;
        let error = r#"{"type":"error","content":"","done":true,"error":{"code":"x"}}"#;
        let progress = read(&[(1, citations), (2, text), (3, text), (4, done)]).unwrap();
        assert_eq!((progress.cited, progress.text_bytes, progress.done), (Some(2), 12, true));
        assert!(read(&[(1, text)]).is_err(), "citations come first");
        assert!(read(&[(1, citations), (3, text)]).is_err(), "a number is missing");
        assert!(read(&[(1, citations), (2, error)]).is_err());
        assert!(read(&[(1, "{}")]).is_err());
    }
}
