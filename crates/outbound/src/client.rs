//! The clients and their answers.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::{Request, StatusCode, header::HeaderMap};
use tokio::time::Instant;
use url::Url;

use crate::allow::AllowList;
use crate::error::Error;
use crate::guard;
use crate::resolve::{GuardedResolver, Lookup, SystemLookup};

/// How long a request may take and how much it may bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Until connected, name lookup and TLS included. Fixed when the client is made.
    pub connect_timeout: Duration,
    /// From sending until the answer's header is complete.
    pub headers_timeout: Duration,
    /// Between two pieces of the body.
    pub idle_timeout: Duration,
    /// From sending until the end of the body.
    pub total_timeout: Duration,
    /// Length of the body after decompression.
    pub max_body_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            headers_timeout: Duration::from_secs(20),
            idle_timeout: Duration::from_secs(20),
            total_timeout: Duration::from_secs(30),
            max_body_bytes: 10 * 1024 * 1024,
        }
    }
}

/// A pooled HTTP client; cheap to clone.
#[derive(Clone)]
pub struct Outbound {
    inner: Arc<Inner>,
}

struct Inner {
    limits: Limits,
    /// For every port that no entry of the allow-list names.
    client: reqwest::Client,
    guard: Option<Guard>,
}

struct Guard {
    allow: Arc<AllowList>,
    clients_by_port: HashMap<u16, reqwest::Client>,
}

impl Outbound {
    /// A client for addresses that tenants choose. A rustls provider must have been installed.
    pub fn new(allow: AllowList, limits: Limits) -> Result<Self, Error> {
        Self::with_lookup(allow, limits, SystemLookup)
    }

    /// Like [`Outbound::new`] with another way to find the addresses of names.
    pub fn with_lookup(allow: AllowList, limits: Limits, lookup: impl Lookup) -> Result<Self, Error> {
        let allow = Arc::new(allow);
        let lookup: Arc<dyn Lookup> = Arc::new(lookup);
        let guarded_client = |port: Option<u16>| {
            let resolver = GuardedResolver { lookup: Arc::clone(&lookup), allow: Arc::clone(&allow), port };
            build(client_builder(&limits).dns_resolver(resolver))
        };
        let client = guarded_client(None)?;
        let by_port = allow.ports().into_iter().map(|port| Ok((port, guarded_client(Some(port))?)));
        let clients_by_port = by_port.collect::<Result<_, Error>>()?;
        Ok(Self { inner: Arc::new(Inner { limits, client, guard: Some(Guard { allow, clients_by_port }) }) })
    }

    /// A client for addresses from the operator's configuration: same limits, no guard.
    pub fn operator(limits: Limits) -> Result<Self, Error> {
        let client = build(client_builder(&limits))?;
        Ok(Self { inner: Arc::new(Inner { limits, client, guard: None }) })
    }

    /// Like [`Outbound::operator`], for a server that shows a certificate of these authorities (PEM) and
    /// of no other.
    ///
    /// # Errors
    /// When the text holds no certificate, or one that cannot be read.
    pub fn operator_trusting(limits: Limits, authorities: &[u8]) -> Result<Self, Error> {
        let authorities = reqwest::Certificate::from_pem_bundle(authorities)
            .map_err(|error| Error::Setup(format!("the certificates cannot be read: {error}")))?;
        if authorities.is_empty() {
            return Err(Error::Setup("there is no certificate".to_owned()));
        }
        let client = build(client_builder(&limits).tls_certs_only(authorities))?;
        Ok(Self { inner: Arc::new(Inner { limits, client, guard: None }) })
    }

    /// The limits that [`Outbound::send`] applies.
    pub fn limits(&self) -> Limits {
        self.inner.limits
    }

    /// Checks what can be checked without the network. Meant for the moment a URL is stored; the
    /// same check runs again with every request.
    pub fn check(&self, url: &Url) -> Result<(), Error> {
        match &self.inner.guard {
            Some(guard) => guard::check(url, &guard.allow),
            None => guard::check_form(url),
        }
    }

    /// Sends a request within the client's own limits.
    pub async fn send(&self, request: Request) -> Result<Response, Error> {
        self.send_within(request, self.inner.limits).await
    }

    /// Sends a request within other limits (all but the time to connect, which is the client's).
    /// An answer with any status is `Ok`.
    pub async fn send_within(&self, request: Request, limits: Limits) -> Result<Response, Error> {
        self.check(request.url())?;
        let deadline = Instant::now() + limits.total_timeout;
        let patience = limits.headers_timeout.min(limits.total_timeout);
        let answer = self.client_for(request.url()).execute(request);
        let response = tokio::time::timeout(patience, answer)
            .await
            .map_err(|_elapsed| Error::Timeout(patience))?
            .map_err(|error| Error::from_client(&error))?;
        Ok(Response { inner: response, deadline, limits, received: 0 })
    }

    fn client_for(&self, url: &Url) -> &reqwest::Client {
        let by_port =
            self.inner.guard.as_ref().and_then(|guard| guard.clients_by_port.get(&url.port_or_known_default()?));
        by_port.unwrap_or(&self.inner.client)
    }
}

impl fmt::Debug for Outbound {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let guarded = self.inner.guard.is_some();
        formatter.debug_struct("Outbound").field("guarded", &guarded).field("limits", &self.inner.limits).finish()
    }
}

#[expect(clippy::disallowed_methods, reason = "this crate is where clients are made")]
fn client_builder(limits: &Limits) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(concat!("parlance/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .referer(false)
        .connect_timeout(limits.connect_timeout)
        .pool_max_idle_per_host(64)
        .pool_idle_timeout(Duration::from_mins(1))
        .tcp_nodelay(true)
        .tcp_keepalive(Duration::from_secs(30))
}

fn build(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, Error> {
    builder.build().map_err(|error| Error::Setup(error.to_string()))
}

/// An answer whose body can only be read within the limits. Dropping it closes the connection
/// unless the body was read to its end.
pub struct Response {
    inner: reqwest::Response,
    deadline: Instant,
    limits: Limits,
    received: u64,
}

impl Response {
    /// The status, redirects included.
    pub fn status(&self) -> StatusCode {
        self.inner.status()
    }

    /// All header fields.
    pub fn headers(&self) -> &HeaderMap {
        self.inner.headers()
    }

    /// One header field as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.inner.headers().get(name)?.to_str().ok()
    }

    /// Replaces the longest pause between two pieces, for protocols whose first piece takes longer.
    pub fn set_idle_timeout(&mut self, idle_timeout: Duration) {
        self.limits.idle_timeout = idle_timeout;
    }

    /// The next piece of the decoded body; `None` at its regular end. A cut connection is an error.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let patience = self.limits.idle_timeout.min(left);
        let piece = tokio::time::timeout(patience, self.inner.chunk())
            .await
            .map_err(|_elapsed| Error::Timeout(patience))?
            .map_err(|error| Error::from_client(&error))?;
        let Some(piece) = piece else { return Ok(None) };
        self.received = self.received.saturating_add(piece.len() as u64);
        if self.received > self.limits.max_body_bytes {
            return Err(Error::TooLarge { limit: self.limits.max_body_bytes });
        }
        Ok(Some(piece))
    }

    /// The whole decoded body.
    pub async fn bytes(mut self) -> Result<Bytes, Error> {
        let Some(first) = self.chunk().await? else { return Ok(Bytes::new()) };
        let Some(second) = self.chunk().await? else { return Ok(first) };
        let mut body = BytesMut::from(first);
        body.extend_from_slice(&second);
        while let Some(piece) = self.chunk().await? {
            body.extend_from_slice(&piece);
        }
        Ok(body.freeze())
    }

    /// At most `length` bytes from the start of the decoded body, for looking at error answers. A
    /// fault while reading ends it early.
    pub async fn prefix(mut self, length: usize) -> Bytes {
        let mut body = BytesMut::new();
        while body.len() < length
            && let Ok(Some(piece)) = self.chunk().await
        {
            body.extend_from_slice(&piece[..piece.len().min(length - body.len())]);
        }
        body.freeze()
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Response").field("status", &self.status()).finish_non_exhaustive()
    }
}
