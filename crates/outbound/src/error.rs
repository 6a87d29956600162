//! What can go wrong with a request, without anything that tells about the other side's network.

use std::time::Duration;

/// Why a request failed. Texts hold no response body and no resolved address, so they may be shown
/// to the tenant who chose the URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text is not an absolute URL.
    #[error("not a valid URL")]
    InvalidUrl,
    /// The guard refused before or while connecting; nothing was sent.
    #[error("this address may not be called: {reason}")]
    Blocked {
        /// The rule that refused.
        reason: BlockReason,
    },
    /// No connection within the time allowed; nothing was sent.
    #[error("no connection in time")]
    ConnectTimeout,
    /// Connected, but no answer or no more data in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The decoded answer is longer than allowed.
    #[error("the answer is longer than {limit} bytes")]
    TooLarge {
        /// The limit in decoded bytes.
        limit: u64,
    },
    /// The name has no address.
    #[error("the host name was not found")]
    Resolve,
    /// Refused, unreachable, or the TLS handshake failed; nothing was sent.
    #[error("no connection to the host")]
    Connect,
    /// The connection broke after the request was started.
    #[error("the connection broke")]
    Broken,
    /// The other side does not speak HTTP, or its compressed body is damaged.
    #[error("the answer is not valid HTTP")]
    Protocol,
    /// The client could not be set up.
    #[error("the HTTP client could not be set up: {0}")]
    Setup(String),
}

/// The rule of the guard that refused an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockReason {
    /// Neither `http` nor `https`.
    #[error("only http and https are allowed")]
    Scheme,
    /// A user name or password in the URL.
    #[error("credentials in the URL are not allowed")]
    Credentials,
    /// No host, or a host that ends with a dot.
    #[error("the host is not valid")]
    Host,
    /// Port 0.
    #[error("the port is not valid")]
    Port,
    /// `localhost` or a name below it.
    #[error("local host names are not allowed")]
    LocalName,
    /// An address, written or resolved, that is not public.
    #[error("the address is not public")]
    Address,
}

impl Error {
    /// Finds the class of a fault in a client error. `reqwest` gives no enum, so its predicates and
    /// the chain of sources decide.
    pub(crate) fn from_client(error: &reqwest::Error) -> Self {
        if let Some(own) = find_in_chain(error) {
            return own;
        }
        match () {
            () if error.is_connect() && error.is_timeout() => Self::ConnectTimeout,
            () if error.is_connect() => Self::Connect,
            () if error.is_decode() => Self::decode_fault(error),
            () if error.is_builder() => Self::InvalidUrl,
            () => Self::Broken,
        }
    }

    /// A cut chunked body is reported as a decoding fault too; only what is left is damage.
    fn decode_fault(error: &reqwest::Error) -> Self {
        let mut next = std::error::Error::source(error);
        while let Some(source) = next {
            if source.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == std::io::ErrorKind::InvalidData) {
                return Self::Protocol;
            }
            next = source.source();
        }
        Self::Broken
    }
}

fn find_in_chain(error: &reqwest::Error) -> Option<Error> {
    let mut next = std::error::Error::source(error);
    while let Some(source) = next {
        if let Some(own) = source.downcast_ref::<Error>() {
            return Some(own.clone());
        }
        next = source.source();
    }
    None
}
