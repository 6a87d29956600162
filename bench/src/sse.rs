//! Server-sent events as both sides here send them: an optional `id` line, one `data` line, an empty line; comments.

use anyhow::{Result, bail};

/// Bytes that are given back to the front of the buffer once this many have been read.
const COMPACT_AT: usize = 64 << 10;

/// An event with data.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Event<'a> {
    pub(crate) id: Option<u64>,
    pub(crate) data: &'a [u8],
}

/// Cuts a body into events, whatever pieces it comes in.
#[derive(Debug, Default)]
pub(crate) struct EventReader {
    buffer: Vec<u8>,
    /// Where the first unread event starts.
    start: usize,
    /// Up to where no end of an event was found.
    scanned: usize,
}

impl EventReader {
    /// Forgets everything, for the next response.
    pub(crate) fn clear(&mut self) {
        self.buffer.clear();
        (self.start, self.scanned) = (0, 0);
    }

    /// Where the next piece of the body is to be appended.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        if self.start == self.buffer.len() || self.start > COMPACT_AT {
            self.buffer.drain(..self.start);
            self.scanned -= self.start;
            self.start = 0;
        }
        &mut self.buffer
    }

    /// Whether bytes are left that belong to no complete event.
    pub(crate) fn has_rest(&self) -> bool {
        self.start < self.buffer.len()
    }

    /// The next complete event that has data.
    pub(crate) fn next(&mut self) -> Result<Option<Event<'_>>> {
        loop {
            let unscanned = self.buffer.get(self.scanned..).unwrap_or_default();
            let Some(offset) = unscanned.windows(2).position(|pair| pair == b"\n\n") else {
                // The last byte may be the first half of an end.
                self.scanned = self.buffer.len().saturating_sub(1).max(self.scanned);
                return Ok(None);
            };
            let range = self.start..self.scanned + offset;
            self.start = range.end + 2;
            self.scanned = self.start;
            let has_data = parse(self.buffer.get(range.clone()).unwrap_or_default())?.is_some();
            if has_data {
                return parse(self.buffer.get(range).unwrap_or_default());
            }
        }
    }
}

fn parse(block: &[u8]) -> Result<Option<Event<'_>>> {
    let (mut id, mut data) = (None, None);
    for line in block.split(|byte| *byte == b'\n') {
        if let Some(value) = line.strip_prefix(b"data: ") {
            if data.replace(value).is_some() {
                bail!("an event with two data lines");
            }
        } else if let Some(value) = line.strip_prefix(b"id: ") {
            // Answers number their events; those of open pages are not numbers.
            id = std::str::from_utf8(value).ok().and_then(|value| value.parse().ok());
        } else if !line.starts_with(b":") && !line.is_empty() {
            bail!("not a line of an event: {:?}", String::from_utf8_lossy(line));
        }
    }
    Ok(data.map(|data| Event { id, data }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = ": keep-alive\n\nid: 1\ndata: {\"a\":\"退\"}\n\n: x\nid: 22\ndata: b\n\ndata: [DONE]\n\n";

    #[test]
    fn events_in_pieces_of_any_size() {
        for piece in 1..STREAM.len() {
            let mut reader = EventReader::default();
            let mut events = Vec::new();
            for bytes in STREAM.as_bytes().chunks(piece) {
                reader.buffer().extend_from_slice(bytes);
                while let Some(event) = reader.next().unwrap() {
                    events.push((event.id, String::from_utf8(event.data.to_vec()).unwrap()));
                }
            }
            let expected =
                [(Some(1), "{\"a\":\"退\"}".to_owned()), (Some(22), "b".to_owned()), (None, "[DONE]".to_owned())];
            assert_eq!(events, expected, "pieces of {piece}");
            assert!(!reader.has_rest());
        }
    }

    #[test]
    fn incomplete_and_broken_events() {
        let mut reader = EventReader::default();
        reader.buffer().extend_from_slice(b"data: a\n");
        assert_eq!(reader.next().unwrap(), None);
        assert!(reader.has_rest());
        for broken in ["data: a\ndata: b\n\n", "event: x\ndata: a\n\n"] {
            let mut reader = EventReader::default();
            reader.buffer().extend_from_slice(broken.as_bytes());
            assert!(reader.next().is_err(), "{broken:?}");
        }
    }
}
