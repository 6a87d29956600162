//! One call of a provider: limits, faults, retries, breaker.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parlance_domain::Clock;
use parlance_outbound::{Limits, Method, Outbound, Request, Response, Url, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::breaker::{Breaker, BreakerPolicy, Permit};
use crate::chat::{ChatMessage, ChatStream};
use crate::error::{Error, ErrorKind};
use crate::fault::Quoting;
use crate::retry::{Failure, RetryPolicy, retry_after};
use crate::stream::{EventStream, Parser};

/// How much of an error answer is read to find out what it says.
const ERROR_BODY_BYTES: usize = 64 * 1024;
/// An error answer that does not arrive in this time is judged by its status alone.
const ERROR_BODY_PATIENCE: Duration = Duration::from_secs(2);
/// A streamed answer is wrapped in JSON, piece by piece; the raw stream may be this many times
/// longer than the longest answer.
const STREAM_OVERHEAD: u64 = 8;

/// Limits and patience for calls of providers.
#[derive(Clone, Copy, Debug)]
pub struct CallPolicy {
    /// When to call again.
    pub retry: RetryPolicy,
    /// When to stop calling.
    pub breaker: BreakerPolicy,
    /// Until the header of an answer is complete.
    pub headers_timeout: Duration,
    /// From the header until the first piece of an answer. Models that reason are silent for long.
    pub first_event_timeout: Duration,
    /// Between two pieces of a stream.
    pub idle_timeout: Duration,
    /// From sending until the end of an answer.
    pub total_timeout: Duration,
    /// Patience with what may follow the reason to stop: token counts and the end mark.
    pub tail_timeout: Duration,
    /// The longest answer in bytes of text, or the longest body of an answer that is not streamed.
    pub max_answer_bytes: u64,
}

impl Default for CallPolicy {
    fn default() -> Self {
        Self {
            retry: RetryPolicy::default(),
            breaker: BreakerPolicy::default(),
            headers_timeout: Duration::from_mins(2),
            first_event_timeout: Duration::from_mins(3),
            idle_timeout: Duration::from_mins(1),
            total_timeout: Duration::from_mins(10),
            tail_timeout: Duration::from_secs(2),
            max_answer_bytes: 10 * 1024 * 1024,
        }
    }
}

/// Calls one endpoint.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) outbound: Outbound,
    pub(crate) policy: CallPolicy,
    pub(crate) breaker: Arc<Breaker>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) quoting: Quoting,
}

impl fmt::Debug for Caller {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Caller").field("outbound", &self.outbound).finish_non_exhaustive()
    }
}

impl Caller {
    /// Calls and reads a JSON answer.
    pub(crate) async fn json<T: DeserializeOwned + Send>(&self, request: &Request) -> Result<T, Error> {
        let body = self.retried(|| self.whole_answer(request)).await?;
        serde_json::from_slice(&body).map_err(|fault| unexpected(&fault))
    }

    /// Calls and returns the stream once its first piece is there.
    pub(crate) async fn stream<P: Parser>(
        &self,
        request: &Request,
        new_parser: impl Fn() -> P + Send + Sync,
        messages: &[ChatMessage],
    ) -> Result<ChatStream, Error> {
        let stream = self.retried(|| self.started_stream(request, new_parser(), messages)).await?;
        Ok(stream.boxed())
    }

    async fn whole_answer(&self, request: &Request) -> Result<Bytes, Failure> {
        Ok(self.send(request, self.policy.max_answer_bytes).await?.bytes().await?)
    }

    async fn started_stream<P: Parser>(
        &self,
        request: &Request,
        parser: P,
        messages: &[ChatMessage],
    ) -> Result<EventStream<P>, Failure> {
        let raw_limit = self.policy.max_answer_bytes.saturating_mul(STREAM_OVERHEAD);
        let response = self.send(request, raw_limit).await?;
        let media_type =
            response.header("content-type").unwrap_or_default().split(';').next().unwrap_or_default().trim();
        if media_type.eq_ignore_ascii_case("application/json") {
            // Either an error that forgot its status, or a server that ignored the wish to stream.
            let body = response.bytes().await?;
            let value: serde_json::Value = serde_json::from_slice(&body).map_err(|fault| unexpected(&fault))?;
            if let Some(error) = value.get("error") {
                return Err(self.quoting.in_band_failure(error));
            }
            return Err(not_a_stream());
        }
        if !(media_type.is_empty() || ["text/event-stream", "text/plain"].contains(&media_type)) {
            return Err(not_a_stream());
        }
        let mut stream = EventStream::new(response, parser, self.quoting.clone(), &self.policy, messages);
        let patience = self.policy.first_event_timeout;
        tokio::time::timeout(patience, stream.read_until_content())
            .await
            .map_err(|_elapsed| Error::new(ErrorKind::Timeout, format!("no first piece within {patience:?}")))??;
        Ok(stream)
    }

    /// One attempt, as far as the header of a successful answer.
    async fn send(&self, request: &Request, max_body_bytes: u64) -> Result<Response, Failure> {
        // Bodies are bytes in memory, so that a request can always be cloned.
        let request =
            request.try_clone().ok_or_else(|| Error::new(ErrorKind::Rejected, "the request has no body in memory"))?;
        let limits = Limits {
            connect_timeout: self.outbound.limits().connect_timeout,
            headers_timeout: self.policy.headers_timeout,
            idle_timeout: self.policy.first_event_timeout,
            total_timeout: self.policy.total_timeout,
            max_body_bytes,
        };
        let mut response = self.outbound.send_within(request, limits).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let wait = response
            .header("retry-after")
            .and_then(|value| retry_after(value, response.header("date"), self.clock.now()));
        response.set_idle_timeout(ERROR_BODY_PATIENCE);
        let body = response.prefix(ERROR_BODY_BYTES).await;
        let mut failure = self.quoting.status_failure(status, &body);
        failure.error.retry_after = wait;
        Err(failure)
    }

    /// Makes attempts until one succeeds or another makes no sense.
    async fn retried<T, F>(&self, attempt: impl Fn() -> F + Send + Sync) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Failure>> + Send,
    {
        let started = Instant::now();
        let mut failures = 0;
        loop {
            let permit = self.breaker.permit().map_err(|wait| Error {
                kind: ErrorKind::Unavailable,
                detail: "the endpoint failed repeatedly and is left alone for a while".to_owned(),
                retry_after: Some(wait),
            })?;
            let outcome = attempt().await;
            report(permit, outcome.as_ref().err());
            let failure = match outcome {
                Ok(value) => return Ok(value),
                Err(failure) => failure,
            };
            failures += 1;
            let Some(pause) = self.policy.retry.pause(failures, &failure, started.elapsed()) else {
                return Err(failure.error);
            };
            tracing::debug!(kind = ?failure.error.kind, failures, ?pause, "provider call failed, trying again");
            tokio::time::sleep(pause).await;
        }
    }
}

fn report(permit: Permit<'_>, failure: Option<&Failure>) {
    match failure {
        Some(failure) if failure.is_of_endpoint() => permit.failed(),
        // Too many requests says nothing about the endpoint's health, nor does a guard's refusal.
        Some(failure) if matches!(failure.error.kind, ErrorKind::RateLimited | ErrorKind::Blocked) => {}
        // A refusal shows that the endpoint works.
        None | Some(_) => permit.succeeded(),
    }
}

fn not_a_stream() -> Failure {
    Failure::lasting(Error::new(ErrorKind::Protocol, "the answer is not an event stream"))
}

/// The answer is JSON of another form. The parser's text names positions and types, not contents,
/// except for unknown variants, which the wire types do not have.
pub(crate) fn unexpected(fault: &serde_json::Error) -> Error {
    Error::new(
        ErrorKind::Protocol,
        format!("the answer has an unexpected form at line {} column {}", fault.line(), fault.column()),
    )
}

/// A POST request with a JSON body.
pub(crate) fn post_json(
    url: Url,
    headers: &[(header::HeaderName, header::HeaderValue)],
    body: &impl Serialize,
) -> Result<Request, Error> {
    let body = serde_json::to_vec(body).map_err(|fault| Error::new(ErrorKind::Rejected, fault.to_string()))?;
    let mut request = Request::new(Method::POST, url);
    let fields = request.headers_mut();
    fields.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    for (name, value) in headers {
        fields.insert(name.clone(), value.clone());
    }
    *request.body_mut() = Some(body.into());
    Ok(request)
}

/// Like [`post_json`], for an answer as server-sent events. Compression is declined because
/// intermediaries hold compressed pieces back.
pub(crate) fn post_json_for_stream(
    url: Url,
    headers: &[(header::HeaderName, header::HeaderValue)],
    body: &impl Serialize,
) -> Result<Request, Error> {
    let mut request = post_json(url, headers, body)?;
    let fields = request.headers_mut();
    fields.insert(header::ACCEPT, header::HeaderValue::from_static("text/event-stream"));
    fields.insert(header::ACCEPT_ENCODING, header::HeaderValue::from_static("identity"));
    Ok(request)
}
