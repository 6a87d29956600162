//! The outcomes an operation can have besides success. `http` turns each into a status and a body.

use std::collections::BTreeMap;

/// Result with the product's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation did not happen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such thing in this organisation. Also said of things that belong to another one.
    #[error("{0} not found")]
    NotFound(&'static str),
    /// No credential, or one that is unknown, expired or revoked.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// The credential is good but may not do this.
    #[error("permission {0} is missing")]
    Forbidden(&'static str),
    /// Not allowed, whatever the credential, for the reason that is given.
    #[error("{0}")]
    Refused(&'static str),
    /// Some fields of the request are wrong.
    #[error("invalid fields: {0:?}")]
    Invalid(FieldErrors),
    /// The request as a whole is wrong; the text says what to do.
    #[error("{0}")]
    BadRequest(String),
    /// The body is of a kind that is not understood.
    #[error("{0}")]
    UnsupportedMediaType(String),
    /// The thing is in a state that does not allow this.
    #[error("{0}")]
    Conflict(String),
    /// A person has taken the conversation over, so the assistant does not answer in it.
    #[error("A person answers in this conversation now. Send the message with POST messages/ instead.")]
    TakenOver,
    /// The same idempotency key was used with another body.
    #[error("{0}")]
    Unprocessable(String),
    /// More bytes than the limit, which is given.
    #[error("the request is larger than the limit of {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// Too many requests; try again after this many seconds.
    #[error("too many requests, try again in {retry_after_seconds} s")]
    RateLimited {
        /// Whole seconds, at least 1.
        retry_after_seconds: u64,
    },
    /// Not possible now, for a reason the caller may know.
    #[error("{0}")]
    Unavailable(String),
    /// The disk is full.
    #[error("{0}")]
    OutOfSpace(String),
    /// The organisation stores as much as it may.
    #[error("the organisation would store more than its quota of {limit} bytes")]
    QuotaExceeded {
        /// The quota in bytes.
        limit: u64,
    },
    /// A bug or a fault of the machine. The text is for the log, never for the caller.
    #[error("{context}")]
    Internal {
        /// What was being done.
        context: String,
        /// What went wrong underneath.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

impl Error {
    /// An internal fault with the error that caused it.
    pub fn internal(context: impl Into<String>, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal { context: context.into(), source: Some(source.into()) }
    }

    /// An internal fault without a deeper cause.
    pub fn bug(context: impl Into<String>) -> Self {
        Self::Internal { context: context.into(), source: None }
    }

    /// One wrong field.
    pub fn field(path: impl Into<String>, message: impl Into<String>) -> Self {
        let mut errors = FieldErrors::default();
        errors.add(path, message);
        Self::Invalid(errors)
    }
}

/// Messages per field. Field names are camelCase; nested fields are joined by dots (`message.content`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldErrors(BTreeMap<String, Vec<String>>);

impl FieldErrors {
    /// Adds a message to a field.
    pub fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.0.entry(path.into()).or_default().push(message.into());
    }

    /// `Ok` when nothing was added.
    pub fn finish(self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::Invalid(self)) }
    }

    /// Paths with their messages, by path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.0.iter().map(|(path, messages)| (path.as_str(), messages.as_slice()))
    }
}
