//! One log line and one measurement per request, and its id.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderName, HeaderValue};
use tracing::Instrument;
use uuid::Uuid;

use crate::error::LoggedError;

static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Gives the request an id (the caller's, if it is a plain one), runs it in a span that carries it,
/// and logs how it ended. Bodies, queries and credentials are never logged.
pub(crate) async fn log_request(request: Request, next: Next) -> Response {
    let given = request.headers().get(&REQUEST_ID).filter(|id| is_plain(id.as_bytes())).cloned();
    let request_id = given.unwrap_or_else(|| {
        HeaderValue::from_str(&Uuid::now_v7().to_string()).unwrap_or_else(|_| HeaderValue::from_static("-"))
    });
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let span = tracing::info_span!("request", id = request_id.to_str().unwrap_or("-"));
    let started = Instant::now();
    let mut response = next.run(request).instrument(span.clone()).await;
    let elapsed = started.elapsed();
    let status = response.status();
    {
        let _entered = span.enter();
        let milliseconds = elapsed.as_secs_f64() * 1000.0;
        if let Some(LoggedError(error)) = response.extensions().get::<LoggedError>() {
            let error = error.as_ref() as &dyn std::error::Error;
            tracing::error!(%method, route, status = status.as_u16(), milliseconds, error, "request failed");
        } else if status.is_server_error() {
            tracing::error!(%method, route, status = status.as_u16(), milliseconds, "request failed");
        } else {
            tracing::debug!(%method, route, status = status.as_u16(), milliseconds, "request");
        }
    }
    let labels = [("method", method.to_string()), ("route", route), ("status", status.as_u16().to_string())];
    metrics::counter!("parlance_http_requests_total", &labels).increment(1);
    metrics::histogram!("parlance_http_request_seconds", &labels[..2]).record(elapsed.as_secs_f64());
    response.headers_mut().insert(REQUEST_ID.clone(), request_id);
    response
}

fn is_plain(id: &[u8]) -> bool {
    (1..=128).contains(&id.len()) && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}
