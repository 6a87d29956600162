//! An incremental decoder of server-sent events (WHATWG HTML, section 9.2.6), with a limit.
//!
//! Bytes go in as the network cuts them; whole events come out. Only the line and the event that
//! are not complete yet are kept, so memory is bounded by the limit whatever the other side sends.

/// The longest event that is accepted.
pub const MAX_EVENT_BYTES: usize = 1024 * 1024;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One event as it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// The `event` field; empty where there was none.
    pub name: &'a str,
    /// The `data` lines joined with line feeds. Bytes that are not UTF-8 became U+FFFD.
    pub data: &'a str,
}

/// A line or event is longer than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a server-sent event is longer than {0} bytes")]
pub struct EventTooLong(pub usize);

/// The decoder's state between two pieces of the stream.
#[derive(Debug)]
pub struct Decoder {
    limit: usize,
    /// The part of a line whose end has not arrived.
    line: Vec<u8>,
    data: Vec<u8>,
    name: String,
    has_data: bool,
    /// The last byte was a carriage return: a line feed that follows belongs to it.
    after_carriage_return: bool,
    first_line: bool,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::with_limit(MAX_EVENT_BYTES)
    }
}

impl Decoder {
    /// A decoder for a new stream with its own limit in bytes.
    pub fn with_limit(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            data: Vec::new(),
            name: String::new(),
            has_data: false,
            after_carriage_return: false,
            first_line: true,
        }
    }

    /// Takes the next piece and gives every event that it completes to `sink`. An error of `sink`
    /// ends it; the decoder must not be used after an error.
    pub fn push<E: From<EventTooLong>>(
        &mut self,
        piece: &[u8],
        mut sink: impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut rest = piece;
        if self.after_carriage_return
            && let Some(first) = rest.first()
        {
            self.after_carriage_return = false;
            if *first == b'\n' {
                rest = &rest[1..];
            }
        }
        while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let (line, after) = (&rest[..end], &rest[end + 1..]);
            let is_carriage_return = rest[end] == b'\r';
            rest = after;
            if is_carriage_return {
                match rest.first() {
                    Some(b'\n') => rest = &rest[1..],
                    Some(_) => {}
                    None => self.after_carriage_return = true,
                }
            }
            self.end_line(line, &mut sink)?;
        }
        self.check_length(rest.len())?;
        self.line.extend_from_slice(rest);
        Ok(())
    }

    /// The stream ended. Gives the last event where the blank line after it is missing, which some
    /// servers forget after their end mark.
    pub fn finish<E: From<EventTooLong>>(mut self, mut sink: impl FnMut(Event<'_>) -> Result<(), E>) -> Result<(), E> {
        if !self.line.is_empty() {
            self.end_line(&[], &mut sink)?;
        }
        self.dispatch(&mut sink)
    }

    fn check_length(&self, more: usize) -> Result<(), EventTooLong> {
        if self.line.len() + self.data.len() + more > self.limit {
            return Err(EventTooLong(self.limit));
        }
        Ok(())
    }

    fn end_line<E: From<EventTooLong>>(
        &mut self,
        tail: &[u8],
        sink: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.check_length(tail.len())?;
        if self.line.is_empty() {
            return self.read_line(tail, sink);
        }
        let mut line = std::mem::take(&mut self.line);
        line.extend_from_slice(tail);
        self.read_line(&line, sink)?;
        // Keeps the allocation for the next cut line.
        line.clear();
        self.line = line;
        Ok(())
    }

    fn read_line<E>(&mut self, line: &[u8], sink: &mut impl FnMut(Event<'_>) -> Result<(), E>) -> Result<(), E> {
        let line = if std::mem::take(&mut self.first_line) {
            line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line)
        } else {
            line
        };
        if line.is_empty() {
            return self.dispatch(sink);
        }
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match &line[..colon] {
            b"data" => {
                if self.has_data {
                    self.data.push(b'\n');
                }
                self.has_data = true;
                self.data.extend_from_slice(value);
            }
            b"event" => String::from_utf8_lossy(value).as_ref().clone_into(&mut self.name),
            // Comments (empty field name), `id`, `retry` and unknown fields mean nothing here.
            _ => {}
        }
        Ok(())
    }

    fn dispatch<E>(&mut self, sink: &mut impl FnMut(Event<'_>) -> Result<(), E>) -> Result<(), E> {
        let outcome = if self.has_data {
            sink(Event { name: &self.name, data: &String::from_utf8_lossy(&self.data) })
        } else {
            Ok(())
        };
        self.data.clear();
        self.name.clear();
        self.has_data = false;
        outcome
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Decoder, Event, EventTooLong};

    fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<(String, String)> {
        let mut events = Vec::new();
        let mut decoder = Decoder::default();
        let mut sink = |event: Event<'_>| -> Result<(), EventTooLong> {
            events.push((event.name.to_owned(), event.data.to_owned()));
            Ok(())
        };
        for piece in pieces {
            decoder.push(piece, &mut sink).unwrap();
        }
        decoder.finish(&mut sink).unwrap();
        events
    }

    fn event(name: &str, data: &str) -> (String, String) {
        (name.to_owned(), data.to_owned())
    }

    const MIXED: &str = "\u{feff}: hello\r\ndata: 退貨\r\rdata:a\ndata: b\n\nevent: x\rdata:  two\r\n\r\nid: 1\nretry: 5\nfoo\n\ndata\n\ndata: [DONE]";

    #[test]
    fn fields_comments_and_line_ends() {
        let expected = [event("", "退貨"), event("", "a\nb"), event("x", " two"), event("", ""), event("", "[DONE]")];
        assert_eq!(decode([MIXED.as_bytes()]), expected);
    }

    #[test]
    fn every_cut_gives_the_same_events() {
        let whole = decode([MIXED.as_bytes()]);
        for cut in 0..=MIXED.len() {
            let (head, tail) = MIXED.as_bytes().split_at(cut);
            assert_eq!(decode([head, tail]), whole, "cut at {cut}");
        }
        assert_eq!(decode(MIXED.as_bytes().chunks(1)), whole);
    }

    #[test]
    fn long_lines_and_events_are_refused() {
        let mut sink = |_: Event<'_>| -> Result<(), EventTooLong> { Ok(()) };
        let mut decoder = Decoder::with_limit(64);
        let long = [b'x'; 40];
        assert_eq!(decoder.push(&long, &mut sink), Ok(()));
        assert_eq!(decoder.push(&long, &mut sink), Err(EventTooLong(64)));
        let mut decoder = Decoder::with_limit(64);
        let lines = "data: 0123456789\n".repeat(7);
        assert_eq!(decoder.push(lines.as_bytes(), &mut sink), Err(EventTooLong(64)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// Any bytes, cut anywhere, give what they give in one piece.
        #[test]
        fn cutting_never_matters(
            pieces in prop::collection::vec(
                prop_oneof![
                    Just(b"data: ".to_vec()), Just(b"\r\n".to_vec()), Just(b"\n".to_vec()), Just(b"\r".to_vec()),
                    Just(b"event:e\n".to_vec()), Just(b":c\n".to_vec()), Just("\u{feff}".as_bytes().to_vec()),
                    Just("退{\"a\":1}".as_bytes().to_vec()), prop::collection::vec(any::<u8>(), 0..6),
                ],
                0..40,
            ),
            cuts in prop::collection::vec(1_usize..7, 1..40),
        ) {
            let bytes = pieces.concat();
            let whole = decode([bytes.as_slice()]);
            let mut rest = bytes.as_slice();
            let mut parts = Vec::new();
            let mut sizes = cuts.iter().cycle();
            while !rest.is_empty() {
                let (head, tail) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
                parts.push(head);
                rest = tail;
            }
            prop_assert_eq!(decode(parts), whole);
        }
    }
}
