//! One log line and one measurement per request, and its id.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use metrics::{Counter, Histogram};
use tracing::Instrument;
use uuid::Uuid;

use crate::error::LoggedError;

static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The route of a request that fits none.
const UNMATCHED: &str = "unmatched";

/// The id of a request, for its handlers.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(pub(crate) HeaderValue);

/// The measurements of one kind of request, so that measuring one needs no labels made anew.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meters {
    /// By route, which are few; then by method and status.
    by_route: Arc<RwLock<HashMap<String, Vec<Meter>>>>,
}

#[derive(Clone, Debug)]
struct Meter {
    method: &'static str,
    status: StatusCode,
    requests: Counter,
    seconds: Histogram,
}

impl Meters {
    fn record(&self, method: &Method, route: &str, status: StatusCode, seconds: f64) {
        let method = method_name(method);
        {
            let by_route = self.by_route.read().unwrap_or_else(PoisonError::into_inner);
            let meters = by_route.get(route).map(Vec::as_slice).unwrap_or_default();
            if let Some(meter) = meters.iter().find(|meter| meter.method == method && meter.status == status) {
                meter.requests.increment(1);
                meter.seconds.record(seconds);
                return;
            }
        }
        let labels =
            [("method", method.to_owned()), ("route", route.to_owned()), ("status", status.as_str().to_owned())];
        let meter = Meter {
            method,
            status,
            requests: metrics::counter!("parlance_http_requests_total", &labels),
            seconds: metrics::histogram!("parlance_http_request_seconds", &labels[..2]),
        };
        meter.requests.increment(1);
        meter.seconds.record(seconds);
        let mut by_route = self.by_route.write().unwrap_or_else(PoisonError::into_inner);
        by_route.entry(route.to_owned()).or_default().push(meter);
    }
}

/// The name of a method in measurements. A client may invent methods; they count as one.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// Gives the request an id (the caller's, if it is a plain one), runs it in a span that carries it,
/// and logs how it ended. Bodies, queries and credentials are never logged.
pub(crate) async fn log_request(State(meters): State<Meters>, mut request: Request, next: Next) -> Response {
    let given = request.headers().get(&REQUEST_ID).filter(|id| is_plain(id.as_bytes())).cloned();
    let request_id = given.unwrap_or_else(|| {
        let mut text = Uuid::encode_buffer();
        let text = Uuid::now_v7().hyphenated().encode_lower(&mut text);
        HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("-"))
    });
    let method = request.method().clone();
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let route = matched.as_ref().map_or(UNMATCHED, MatchedPath::as_str);
    request.extensions_mut().insert(RequestId(request_id.clone()));
    let id = request_id.to_str().unwrap_or("-");
    let span = tracing::info_span!("request", id, method = method_name(&method), route);
    let started = Instant::now();
    let mut response = next.run(request).instrument(span.clone()).await;
    let elapsed = started.elapsed();
    let status = response.status();
    {
        let _entered = span.enter();
        let milliseconds = elapsed.as_secs_f64() * 1000.0;
        if let Some(LoggedError(error)) = response.extensions().get::<LoggedError>() {
            let error = error.as_ref() as &dyn std::error::Error;
            tracing::error!(status = status.as_u16(), milliseconds, error, "request failed");
        } else if status.is_server_error() && status != StatusCode::INSUFFICIENT_STORAGE {
            // 507 without an error is an organisation whose quota is used up, and no fault.
            tracing::error!(status = status.as_u16(), milliseconds, "request failed");
        } else {
            tracing::debug!(status = status.as_u16(), milliseconds, "request");
        }
    }
    meters.record(&method, route, status, elapsed.as_secs_f64());
    response.headers_mut().insert(REQUEST_ID.clone(), request_id);
    response
}

fn is_plain(id: &[u8]) -> bool {
    (1..=128).contains(&id.len()) && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_request_has_one_meter_and_invented_methods_share_theirs() {
        let meters = Meters::default();
        for number in 0..50 {
            let invented = Method::from_bytes(format!("INVENTED{number}").as_bytes()).unwrap();
            meters.record(&invented, UNMATCHED, StatusCode::NOT_FOUND, 0.1);
            meters.record(&Method::GET, UNMATCHED, StatusCode::NOT_FOUND, 0.1);
            meters.record(&Method::GET, "/healthz", StatusCode::OK, 0.1);
        }
        let by_route = meters.by_route.read().unwrap();
        assert_eq!((by_route[UNMATCHED].len(), by_route["/healthz"].len()), (2, 1));
    }
}
