//! As much of HTTP/1.1 as the load generator and the mock model need: heads, bodies by length or in chunks,
//! connections that are kept.
//!
//! It is written by hand because generator and server share the same cores: what a general client spends here would
//! be missing there.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Bytes of a head, or of a chunk's size line, at most.
const MAX_HEAD: usize = 64 << 10;

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(u64),
    Chunked,
    Unstated,
}

/// The first line of a message and what its headers say about the body and the connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head<'a> {
    pub(crate) start_line: &'a str,
    pub(crate) framing: Framing,
    /// Whether the sender closes the connection after this message.
    pub(crate) closes: bool,
}

impl Head<'_> {
    /// Status of a response.
    pub(crate) fn status(&self) -> Result<u16> {
        let status = self.start_line.split(' ').nth(1).unwrap_or_default();
        status.parse().with_context(|| format!("no status in {:?}", self.start_line))
    }
}

/// Reads a head and tells its length in bytes; None while it is incomplete.
pub(crate) fn parse_head(input: &[u8]) -> Result<Option<(usize, Head<'_>)>> {
    let Some(end) = input.windows(4).position(|window| window == b"\r\n\r\n") else {
        if input.len() > MAX_HEAD {
            bail!("a head of more than {MAX_HEAD} bytes");
        }
        return Ok(None);
    };
    let text = std::str::from_utf8(input.get(..end).unwrap_or_default()).context("a head that is not text")?;
    let mut lines = text.split("\r\n");
    let mut head = Head { start_line: lines.next().unwrap_or_default(), framing: Framing::Unstated, closes: false };
    for line in lines {
        let (name, value) = line.split_once(':').with_context(|| format!("not a header: {line:?}"))?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") && head.framing != Framing::Chunked {
            head.framing = Framing::Length(value.parse().context("content-length")?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") && value.eq_ignore_ascii_case("chunked") {
            head.framing = Framing::Chunked;
        } else if name.eq_ignore_ascii_case("connection") {
            head.closes = value.eq_ignore_ascii_case("close");
        }
    }
    Ok(Some((end + 4, head)))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Length(u64),
    UntilClose,
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailer,
    Finished,
}

/// Takes a body out of the bytes of a connection, whatever pieces they come in.
#[derive(Debug)]
pub(crate) struct BodyDecoder(State);

impl BodyDecoder {
    /// `unstated` says whether a body without stated length goes on until the connection ends.
    pub(crate) const fn new(framing: Framing, unstated: bool) -> Self {
        Self(match framing {
            Framing::Length(0) => State::Finished,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::ChunkSize,
            Framing::Unstated if unstated => State::UntilClose,
            Framing::Unstated => State::Finished,
        })
    }

    /// Whether the body has come to its end.
    pub(crate) fn is_finished(&self) -> bool {
        self.0 == State::Finished
    }

    /// Moves what belongs to the body from `input` to `output`.
    pub(crate) fn decode(&mut self, input: &mut BytesMut, output: &mut Vec<u8>) -> Result<()> {
        loop {
            match self.0 {
                State::Finished => return Ok(()),
                State::UntilClose => {
                    take(input, u64::MAX, output);
                    return Ok(());
                }
                State::Length(left) | State::ChunkData(left) => {
                    let left = left - take(input, left, output);
                    let chunked = matches!(self.0, State::ChunkData(_));
                    self.0 = match (left, chunked) {
                        (0, true) => State::ChunkEnd,
                        (0, false) => State::Finished,
                        (_, true) => State::ChunkData(left),
                        (_, false) => State::Length(left),
                    };
                    if left > 0 {
                        return Ok(());
                    }
                }
                State::ChunkSize | State::ChunkEnd | State::Trailer => {
                    let Some(line) = take_line(input)? else { return Ok(()) };
                    self.0 = self.after_line(&line)?;
                }
            }
        }
    }

    fn after_line(&self, line: &[u8]) -> Result<State> {
        match self.0 {
            State::ChunkSize => {
                let line = std::str::from_utf8(line).context("chunk size")?;
                let digits = line.split(';').next().unwrap_or_default().trim();
                let size = u64::from_str_radix(digits, 16).with_context(|| format!("chunk size {digits:?}"))?;
                Ok(if size == 0 { State::Trailer } else { State::ChunkData(size) })
            }
            State::ChunkEnd if line.is_empty() => Ok(State::ChunkSize),
            State::ChunkEnd => bail!("a chunk longer than its size"),
            _ if line.is_empty() => Ok(State::Finished),
            _ => Ok(State::Trailer),
        }
    }
}

fn take(input: &mut BytesMut, limit: u64, output: &mut Vec<u8>) -> u64 {
    let count = usize::try_from(limit).unwrap_or(usize::MAX).min(input.len());
    output.extend_from_slice(input.get(..count).unwrap_or_default());
    input.advance(count);
    count as u64
}

fn take_line(input: &mut BytesMut) -> Result<Option<BytesMut>> {
    let Some(end) = input.iter().position(|byte| *byte == b'\n') else {
        if input.len() > MAX_HEAD {
            bail!("a line of more than {MAX_HEAD} bytes between chunks");
        }
        return Ok(None);
    };
    let mut line = input.split_to(end + 1);
    line.truncate(end);
    if line.last() == Some(&b'\r') {
        line.truncate(end - 1);
    }
    Ok(Some(line))
}

/// A client's connection, kept for the next request where the server allows it.
#[derive(Debug)]
pub(crate) struct Connection {
    address: SocketAddr,
    stream: TcpStream,
    input: BytesMut,
    body: BodyDecoder,
    closes: bool,
}

impl Connection {
    /// Opens a connection.
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await.context("connecting")?;
        stream.set_nodelay(true).context("connecting")?;
        let body = BodyDecoder(State::Finished);
        Ok(Self { address, stream, input: BytesMut::with_capacity(4096), body, closes: false })
    }

    /// Sends a whole request and reads the head of its response; gives the status.
    pub(crate) async fn send(&mut self, request: &[u8]) -> Result<u16> {
        if self.closes || !self.body.is_finished() {
            *self = Self::open(self.address).await?;
        }
        self.stream.write_all(request).await.context("sending a request")?;
        loop {
            if let Some((length, head)) = parse_head(&self.input)? {
                let status = head.status()?;
                let framing = if status == 204 || status == 304 { Framing::Length(0) } else { head.framing };
                self.closes = head.closes;
                self.input.advance(length);
                if status >= 200 {
                    self.body = BodyDecoder::new(framing, true);
                    return Ok(status);
                }
                continue;
            }
            if self.read().await? == 0 {
                bail!("the connection was closed before a response");
            }
        }
    }

    /// Appends the next piece of the body to `output`, waiting for it if need be; false at the body's end.
    pub(crate) async fn read_body(&mut self, output: &mut Vec<u8>) -> Result<bool> {
        let before = output.len();
        loop {
            self.body.decode(&mut self.input, output)?;
            if output.len() > before {
                return Ok(true);
            }
            if self.body.is_finished() {
                return Ok(false);
            }
            if self.read().await? == 0 {
                if self.body.0 != State::UntilClose {
                    bail!("the connection was closed within a body");
                }
                self.closes = true;
                self.body = BodyDecoder(State::Finished);
            }
        }
    }

    /// Reads the rest of the body.
    pub(crate) async fn whole_body(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        while self.read_body(&mut body).await? {}
        Ok(body)
    }

    async fn read(&mut self) -> Result<usize> {
        self.stream.read_buf(&mut self.input).await.context("reading a response")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode_in_pieces(framing: Framing, wire: &[u8], piece: usize) -> (Vec<u8>, bool, usize) {
        let mut decoder = BodyDecoder::new(framing, false);
        let (mut input, mut output) = (BytesMut::new(), Vec::new());
        for bytes in wire.chunks(piece) {
            input.extend_from_slice(bytes);
            decoder.decode(&mut input, &mut output).unwrap();
        }
        (output, decoder.is_finished(), input.len())
    }

    #[test]
    fn heads() {
        assert_eq!(parse_head(b"HTTP/1.1 200 OK\r\nContent-Length: 1").unwrap(), None);
        let wire = b"HTTP/1.1 201 Created\r\ncontent-LENGTH: 12\r\nConnection: close\r\n\r\nbody";
        let (length, head) = parse_head(wire).unwrap().unwrap();
        assert_eq!(wire.get(length..).unwrap(), b"body");
        assert_eq!((head.status().unwrap(), head.framing, head.closes), (201, Framing::Length(12), true));
        let wire = b"POST /v1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n";
        let (_, head) = parse_head(wire).unwrap().unwrap();
        assert_eq!((head.start_line, head.framing), ("POST /v1 HTTP/1.1", Framing::Chunked));
        assert!(parse_head(b"HTTP/1.1 200 OK\r\nnonsense\r\n\r\n").is_err());
        assert!(parse_head(&vec![b'a'; MAX_HEAD + 1]).is_err());
    }

    #[test]
    fn chunks_in_pieces_of_any_size() {
        let wire = "6;x=y\r\n退貨\r\nA\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\nnext".as_bytes();
        for piece in 1..wire.len() {
            let (body, finished, rest) = decode_in_pieces(Framing::Chunked, wire, piece);
            assert_eq!(body, "退貨0123456789".as_bytes(), "pieces of {piece}");
            assert!(finished);
            assert_eq!(rest, 4);
        }
        let (_, finished, _) = decode_in_pieces(Framing::Chunked, b"3\r\nabc\r\n", 4);
        assert!(!finished, "without the last chunk the body goes on");
    }

    #[test]
    fn lengths() {
        let (body, finished, rest) = decode_in_pieces(Framing::Length(5), b"hellonext", 2);
        assert_eq!((body.as_slice(), finished, rest), (b"hello".as_slice(), true, 4));
        let (body, finished, _) = decode_in_pieces(Framing::Length(5), b"hell", 3);
        assert_eq!((body.as_slice(), finished), (b"hell".as_slice(), false));
    }

    #[test]
    fn broken_chunks_are_refused() {
        for wire in ["xyz\r\n", "2\r\nabc\r\n"] {
            let mut decoder = BodyDecoder::new(Framing::Chunked, false);
            assert!(decoder.decode(&mut BytesMut::from(wire), &mut Vec::new()).is_err(), "{wire:?}");
        }
    }
}
