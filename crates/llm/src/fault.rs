//! Reads what a provider says about a fault and finds its class.

use parlance_outbound::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::error::{Error, ErrorKind};
use crate::retry::Failure;

/// The longest text of a provider that is kept, in characters.
const LONGEST_QUOTE: usize = 300;

/// How much of a provider's words may be kept.
#[derive(Clone)]
pub(crate) struct Quoting {
    /// False for addresses that a tenant chose: then only an error code that looks like an
    /// identifier is kept, so that an internal service cannot be read through its error texts.
    pub(crate) messages: bool,
    /// Removed from every text.
    pub(crate) secret: Option<SecretString>,
}

impl Quoting {
    fn clean(&self, text: &str) -> String {
        let text = match self.secret.as_ref().map(ExposeSecret::expose_secret) {
            Some(secret) if !secret.is_empty() => text.replace(secret, "[key]"),
            _ => text.to_owned(),
        };
        text.chars().map(|character| if character.is_control() { ' ' } else { character }).take(LONGEST_QUOTE).collect()
    }

    fn describe(&self, status: Option<StatusCode>, said: &Said) -> String {
        let mut text =
            status.map_or_else(|| "error in the stream".to_owned(), |status| format!("HTTP {}", status.as_u16()));
        let is_identifier =
            |code: &str| code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        for code in said.codes.iter().filter(|code| is_identifier(code)) {
            text.push_str(", ");
            text.push_str(&self.clean(code));
        }
        if self.messages && !said.message.is_empty() {
            text.push_str(": ");
            text.push_str(&self.clean(&said.message));
        }
        text
    }

    /// The fault of an answer that is not a success.
    pub(crate) fn status_failure(&self, status: StatusCode, body: &[u8]) -> Failure {
        let said = serde_json::from_slice(body).map(|value| Said::read(&value)).unwrap_or_default();
        self.failure(Some(status), status.as_u16(), &said)
    }

    /// The fault of an `error` value inside a stream that began as a success.
    pub(crate) fn in_band_failure(&self, error: &Value) -> Failure {
        let said = Said::read(error);
        let status = said.status.unwrap_or_else(|| status_of_codes(&said.codes));
        self.failure(None, status, &said)
    }

    fn failure(&self, shown_status: Option<StatusCode>, status: u16, said: &Said) -> Failure {
        let kind = kind_of(status, said);
        let error = Error::new(kind, self.describe(shown_status, said));
        // No quota is reported like too many requests, but waiting does not help.
        if said.has_code(&["insufficient_quota", "billing_hard_limit_reached", "quota_exceeded"]) {
            return Failure::lasting(error);
        }
        Failure::new(error)
    }
}

/// What providers put into their error objects, whatever its shape.
#[derive(Debug, Default)]
struct Said {
    codes: Vec<String>,
    message: String,
    status: Option<u16>,
}

impl Said {
    /// Understands `{"error": {...}}`, `{"error": "text"}`, `{"message": ..}`, `{"detail": ..}`, the
    /// inner object alone, and a list with one of these.
    fn read(value: &Value) -> Self {
        let mut said = Self::default();
        said.add(value);
        said
    }

    fn add(&mut self, value: &Value) {
        match value {
            Value::String(text) => text.clone_into(&mut self.message),
            Value::Array(items) => items.iter().take(1).for_each(|item| self.add(item)),
            Value::Object(fields) => {
                for key in ["type", "code", "status", "error_type"] {
                    match fields.get(key) {
                        Some(Value::String(code)) if code != "error" => self.codes.push(code.clone()),
                        Some(Value::Number(code)) => {
                            self.status = code.as_u64().and_then(|code| u16::try_from(code).ok());
                        }
                        _ => {}
                    }
                }
                for key in ["message", "detail", "error"] {
                    if let Some(inner) = fields.get(key) {
                        self.add(inner);
                    }
                }
            }
            _ => {}
        }
    }

    fn has_code(&self, codes: &[&str]) -> bool {
        self.codes.iter().any(|own| codes.iter().any(|code| own.eq_ignore_ascii_case(code)))
    }

    fn mentions(&self, phrases: &[&str]) -> bool {
        let message = self.message.to_lowercase();
        phrases.iter().any(|phrase| message.contains(phrase))
    }
}

fn kind_of(status: u16, said: &Said) -> ErrorKind {
    let is_too_long = said.has_code(&["context_length_exceeded", "string_above_max_length"])
        || said.mentions(&[
            "context length",
            "context window",
            "maximum context",
            "prompt is too long",
            "input is too long",
            "exceeds the maximum number of tokens",
            "maximum number of input tokens",
            "too many tokens",
        ]);
    let is_filtered = said.has_code(&["content_filter", "content_policy_violation", "responsibleaipolicyviolation"]);
    match status {
        400 | 422 | 500 if is_too_long => ErrorKind::TooLong,
        400 | 422 if is_filtered => ErrorKind::Filtered,
        // Gemini reports a wrong key as a wrong request.
        400 if said.mentions(&["api key not valid", "api key expired"]) => ErrorKind::Credentials,
        401 | 403 => ErrorKind::Credentials,
        408 => ErrorKind::Timeout,
        413 => ErrorKind::TooLong,
        429 => ErrorKind::RateLimited,
        500.. => ErrorKind::Unavailable,
        _ => ErrorKind::Rejected,
    }
}

/// The status that an in-band error would have had. Unknown codes count as a fault of the provider.
fn status_of_codes(codes: &[String]) -> u16 {
    let has = |parts: &[&str]| {
        codes.iter().any(|code| {
            let code = code.to_ascii_lowercase();
            parts.iter().any(|part| code.contains(part))
        })
    };
    match () {
        () if has(&["rate_limit", "quota", "resource_exhausted", "too_many"]) => 429,
        () if has(&["auth", "permission", "api_key"]) => 401,
        () if has(&["context_length", "too_large"]) => 413,
        () if has(&["overloaded", "server", "internal", "unavailable", "api_error"]) => 503,
        () if has(&["invalid", "not_found", "content_filter", "content_policy", "bad_request", "validation"]) => 400,
        () => 502,
    }
}

#[cfg(test)]
mod tests {
    use parlance_outbound::StatusCode;
    use serde_json::json;

    use super::Quoting;
    use crate::error::ErrorKind;

    fn quoting(messages: bool) -> Quoting {
        Quoting { messages, secret: Some("sk-secret".into()) }
    }

    #[test]
    fn statuses_and_texts_have_classes() {
        for (status, body, kind, is_transient) in [
            (400, r#"{"error":{"message":"bad","type":"invalid_request_error"}}"#, ErrorKind::Rejected, false),
            (400, r#"{"error":{"message":"x","code":"context_length_exceeded"}}"#, ErrorKind::TooLong, false),
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 9 > 8"}}"#,
                ErrorKind::TooLong,
                false,
            ),
            (400, r#"{"error":{"code":"content_filter","message":"x"}}"#, ErrorKind::Filtered, false),
            (400, r#"[{"error":{"code":400,"message":"API key not valid."}}]"#, ErrorKind::Credentials, false),
            (401, "", ErrorKind::Credentials, false),
            (403, "{}", ErrorKind::Credentials, false),
            (404, r#"{"error":"model not found"}"#, ErrorKind::Rejected, false),
            (302, "", ErrorKind::Rejected, false),
            (408, "", ErrorKind::Timeout, false),
            (413, "", ErrorKind::TooLong, false),
            (422, r#"{"detail":"no"}"#, ErrorKind::Rejected, false),
            (429, "", ErrorKind::RateLimited, true),
            (429, r#"{"error":{"type":"insufficient_quota","message":"x"}}"#, ErrorKind::RateLimited, false),
            (500, "", ErrorKind::Unavailable, true),
            (503, "<html>down</html>", ErrorKind::Unavailable, true),
            (529, r#"{"type":"error","error":{"type":"overloaded_error"}}"#, ErrorKind::Unavailable, true),
        ] {
            let failure = quoting(true).status_failure(StatusCode::from_u16(status).unwrap(), body.as_bytes());
            assert_eq!((failure.error.kind, failure.is_transient), (kind, is_transient), "{status} {body}");
            assert!(!failure.error.detail.contains('<'), "{}", failure.error.detail);
        }
    }

    #[test]
    fn errors_inside_streams_have_classes() {
        for (error, kind) in [
            (json!({"type": "overloaded_error", "message": "m"}), ErrorKind::Unavailable),
            (json!({"type": "rate_limit_error"}), ErrorKind::RateLimited),
            (json!({"code": 429, "message": "m"}), ErrorKind::RateLimited),
            (json!({"code": 400, "status": "INVALID_ARGUMENT"}), ErrorKind::Rejected),
            (json!({"type": "invalid_request_error"}), ErrorKind::Rejected),
            (json!({"type": "authentication_error"}), ErrorKind::Credentials),
            (json!("something"), ErrorKind::Unavailable),
            (json!(null), ErrorKind::Unavailable),
        ] {
            assert_eq!(quoting(true).in_band_failure(&error).error.kind, kind, "{error}");
        }
    }

    #[test]
    fn secrets_and_foreign_texts_stay_out() {
        let body = br#"{"error":{"message":"wrong key sk-secret\nin use","code":"invalid_api_key"}}"#;
        let operator = quoting(true).status_failure(StatusCode::UNAUTHORIZED, body).error;
        assert_eq!(operator.detail, "HTTP 401, invalid_api_key: wrong key [key] in use");
        let tenant = quoting(false).status_failure(StatusCode::UNAUTHORIZED, body).error;
        assert_eq!(tenant.detail, "HTTP 401, invalid_api_key");
        let inner = quoting(false).status_failure(StatusCode::BAD_REQUEST, br#"{"code":"root:x:0:0 /root"}"#).error;
        assert_eq!(inner.detail, "HTTP 400");
    }
}
