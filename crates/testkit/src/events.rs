//! A stream of server-sent events, read strictly: anything that is not framed as contract decision
//! D16 says ends the test.

use serde_json::Value;

/// One event.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its number.
    pub id: u64,
    /// Its data.
    pub data: Value,
}

impl Event {
    /// The type in its data.
    pub fn kind(&self) -> &str {
        self.data["type"].as_str().unwrap_or_default()
    }

    /// The text in its data.
    pub fn content(&self) -> &str {
        self.data["content"].as_str().unwrap_or_default()
    }
}

/// The frames of a stream of events: what stands between its blank lines.
#[derive(Debug)]
pub struct Frames {
    response: reqwest::Response,
    /// Bytes, since what the network brings may end within a character.
    waiting: Vec<u8>,
    is_over: bool,
}

impl Frames {
    /// Reads a response.
    ///
    /// # Panics
    /// When it is no stream of events.
    pub fn of(response: reqwest::Response) -> Self {
        assert_eq!(response.status().as_u16(), 200, "no stream");
        let content_type = response.headers().get("content-type").and_then(|value| value.to_str().ok());
        assert_eq!(content_type, Some("text/event-stream"));
        Self { response, waiting: Vec::new(), is_over: false }
    }

    /// The next frame, without its blank line; `None` at the end of the stream.
    ///
    /// # Panics
    /// When the stream breaks, or ends within a frame.
    #[expect(clippy::expect_used, reason = "a test cannot go on without its stream")]
    pub async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.waiting.windows(2).position(|pair| pair == b"\n\n") {
                let mut frame: Vec<u8> = self.waiting.drain(..end + 2).collect();
                frame.truncate(end);
                return Some(String::from_utf8(frame).expect("text"));
            }
            if self.is_over {
                assert!(self.waiting.is_empty(), "a cut event: {:?}", String::from_utf8_lossy(&self.waiting));
                return None;
            }
            match self.response.chunk().await.expect("the stream") {
                Some(bytes) => self.waiting.extend_from_slice(&bytes),
                None => self.is_over = true,
            }
        }
    }
}

/// A stream of events. Dropping it closes the connection.
#[derive(Debug)]
pub struct Events {
    frames: Frames,
    next_id: Option<u64>,
    ended: bool,
}

impl Events {
    pub(crate) fn of(response: reqwest::Response) -> Self {
        Self { frames: Frames::of(response), next_id: None, ended: false }
    }

    /// The next event; `None` at the end of the stream.
    ///
    /// # Panics
    /// When the framing is not the contract's, or anything follows a terminal event.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            let frame = self.frames.next().await?;
            if frame != ": keep-alive" {
                return Some(self.event(&frame));
            }
        }
    }

    #[expect(clippy::expect_used, reason = "a test cannot go on without its stream")]
    fn event(&mut self, frame: &str) -> Event {
        let lines: Vec<&str> = frame.split('\n').collect();
        assert_eq!(lines.len(), 2, "one id line and one data line: {frame:?}");
        let id: u64 = lines[0].strip_prefix("id: ").and_then(|id| id.parse().ok()).expect("an id line");
        let data: Value =
            serde_json::from_str(lines[1].strip_prefix("data: ").expect("a data line")).expect("JSON in one line");
        assert!(self.next_id.is_none_or(|next| next == id), "event {id} instead of {:?}", self.next_id);
        self.next_id = Some(id + 1);
        assert!(!self.ended, "an event after the terminal one: {frame}");
        for key in ["conversationId", "conversation_id", "messageId", "content", "type"] {
            assert!(data[key].is_string(), "{key} in {frame}");
        }
        assert_eq!(data["conversationId"], data["conversation_id"]);
        self.ended = data["done"].as_bool().expect("done");
        Event { id, data }
    }

    /// Whether the terminal event was read.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Every event up to the end, of which the last must be the terminal one.
    ///
    /// # Panics
    /// When there is no terminal event.
    pub async fn rest(mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        assert!(self.ended, "no terminal event: {events:?}");
        events
    }

    /// Reads up to the first text.
    ///
    /// # Panics
    /// When there is none.
    #[expect(clippy::expect_used, reason = "a test cannot go on without its stream")]
    pub async fn until_text(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            let event = self.next().await.expect("a text");
            let is_text = event.kind() == "text";
            events.push(event);
            if is_text {
                return events;
            }
        }
    }
}
