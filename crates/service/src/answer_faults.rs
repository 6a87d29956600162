//! What readers are told when an answer fails. Codes are stable; sentences name no provider and
//! repeat nothing a provider said.

use parlance_llm::ErrorKind;

/// The server was stopped or killed while the answer was made.
pub const INTERRUPTED: &str = "interrupted";

/// A code and a sentence for a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Stable code.
    pub code: &'static str,
    /// For people.
    pub message: &'static str,
}

/// What to say of a model's fault.
pub const fn of_model(kind: ErrorKind) -> Fault {
    let (code, message) = match kind {
        ErrorKind::Credentials => ("model_credentials", "The model refused the configured key. Ask the operator."),
        ErrorKind::Rejected => ("model_rejected", "The model refused the request. Ask the operator."),
        ErrorKind::TooLong => ("prompt_too_long", "The question with its context is too long for the model."),
        ErrorKind::RateLimited => ("model_rate_limited", "The model is busy. Try again in a moment."),
        ErrorKind::Unavailable => ("model_unavailable", "The model is not available. Try again later."),
        ErrorKind::Network => ("model_network", "The connection to the model failed. Try again later."),
        ErrorKind::Timeout => ("model_timeout", "The model did not answer in time. Try again later."),
        ErrorKind::Filtered => ("model_filtered", "The model's content filter stopped the answer."),
        ErrorKind::Protocol => ("model_protocol", "The model's answer could not be understood. Ask the operator."),
        ErrorKind::Blocked => ("model_blocked", "The model's address may not be called. Ask the operator."),
    };
    Fault { code, message }
}

/// What to say of a fault of our own.
pub const INTERNAL: Fault = Fault { code: "internal", message: "Something went wrong on our side. Try again later." };

/// What to say when the answer could not be stored.
pub const NOT_STORED: Fault = Fault { code: "not_stored", message: "The answer could not be stored. Try again later." };

/// The answer is longer than an answer may be.
pub const TOO_LONG: Fault = Fault { code: "answer_too_long", message: "The answer became too long and was cut." };

/// What to say of an answer that was stored with this code.
pub fn by_code(code: &str) -> Fault {
    const KINDS: [ErrorKind; 10] = [
        ErrorKind::Credentials,
        ErrorKind::Rejected,
        ErrorKind::TooLong,
        ErrorKind::RateLimited,
        ErrorKind::Unavailable,
        ErrorKind::Network,
        ErrorKind::Timeout,
        ErrorKind::Filtered,
        ErrorKind::Protocol,
        ErrorKind::Blocked,
    ];
    let interrupted = Fault { code: INTERRUPTED, message: "The server stopped while it answered. Ask again." };
    let stopped = Fault { code: "shutting_down", ..interrupted };
    KINDS
        .into_iter()
        .map(of_model)
        .chain([TOO_LONG, NOT_STORED, interrupted, stopped])
        .find(|fault| fault.code == code)
        .unwrap_or(INTERNAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_codes_keep_their_sentences() {
        assert_eq!(by_code("model_timeout"), of_model(ErrorKind::Timeout));
        assert_eq!(by_code(INTERRUPTED).code, INTERRUPTED);
        assert_eq!(by_code("gone in a later release"), INTERNAL);
    }
}
