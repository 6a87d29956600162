//! Connections that begin with a handshake.

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{Accept, TlsAcceptor};

use super::certificates::CHALLENGE_PROTOCOL;

/// Begins handshakes.
#[derive(Clone)]
pub(crate) struct Handshakes(TlsAcceptor);

impl Handshakes {
    /// With these certificates and protocols.
    pub(crate) fn new(config: ServerConfig) -> Self {
        Self(TlsAcceptor::from(Arc::new(config)))
    }

    /// A stream that shakes hands when it is first read from or written to, so that a client's handshake
    /// is within the time of its first request.
    pub(crate) fn begin(&self, stream: TcpStream) -> Stream {
        Stream { state: State::Shaking(Box::new(self.0.accept(stream))) }
    }
}

/// A TLS stream, from the first byte of its handshake on.
pub(crate) struct Stream {
    state: State,
}

enum State {
    Shaking(Box<Accept<TcpStream>>),
    Open(Box<TlsStream<TcpStream>>),
    /// Nothing to read, nothing to write to.
    Ended,
}

impl Stream {
    /// The stream after its handshake; `None` when there is nothing to follow.
    fn poll_open(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Pin<&mut TlsStream<TcpStream>>>>> {
        if let State::Shaking(accept) = &mut self.state {
            let shaken = ready!(Pin::new(accept.as_mut()).poll(context));
            self.state = State::Ended;
            let stream = shaken?;
            // A directory has seen the answer to its challenge and wants nothing more.
            if stream.get_ref().1.alpn_protocol() != Some(CHALLENGE_PROTOCOL) {
                self.state = State::Open(Box::new(stream));
            }
        }
        Poll::Ready(Ok(match &mut self.state {
            State::Open(stream) => Some(Pin::new(stream.as_mut())),
            _ => None,
        }))
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        match ready!(self.poll_open(context))? {
            Some(stream) => stream.poll_read(context, buffer),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &[u8]) -> Poll<Result<usize>> {
        match ready!(self.poll_open(context))? {
            Some(stream) => stream.poll_write(context, buffer),
            None => Poll::Ready(Err(Error::from(ErrorKind::BrokenPipe))),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        match ready!(self.poll_open(context))? {
            Some(stream) => stream.poll_write_vectored(context, buffers),
            None => Poll::Ready(Err(Error::from(ErrorKind::BrokenPipe))),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        match &mut self.state {
            State::Open(stream) => Pin::new(stream.as_mut()).poll_flush(context),
            // Nothing was written.
            State::Shaking(_) | State::Ended => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        match &mut self.state {
            State::Open(stream) => Pin::new(stream.as_mut()).poll_shutdown(context),
            State::Shaking(_) | State::Ended => {
                // Closes the connection of a client that has not finished its handshake.
                self.state = State::Ended;
                Poll::Ready(Ok(()))
            }
        }
    }
}
