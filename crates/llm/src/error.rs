//! Faults of models, in the classes a caller acts on.

/// What went wrong, as far as a caller acts on it. Texts are for the log and the operator; a
/// visitor sees only a sentence that belongs to the kind.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{kind:?}: {detail}")]
pub struct Error {
    /// The class of the fault.
    pub kind: ErrorKind,
    /// What the provider or the network said, shortened, without secrets.
    pub detail: String,
    /// What the provider asked to wait, where it did.
    pub retry_after: Option<std::time::Duration>,
}

/// Classes of provider faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The key is missing or wrong (401, 403).
    Credentials,
    /// The request is wrong, for example an unknown model (400, 404, 422).
    Rejected,
    /// The prompt is longer than the model reads (400 with that reason, 413).
    TooLong,
    /// Too many requests or no quota (429).
    RateLimited,
    /// The provider is down or overloaded (5xx, 529).
    Unavailable,
    /// No connection, or it broke, or ended without an end mark.
    Network,
    /// No answer in time.
    Timeout,
    /// The provider's filter refused.
    Filtered,
    /// The answer is not in the form that was agreed, or over a limit.
    Protocol,
    /// The address may not be called (the outbound guard).
    Blocked,
}

impl Error {
    /// A fault without a wish to wait.
    pub fn new(kind: ErrorKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), retry_after: None }
    }
}

impl From<parlance_outbound::Error> for Error {
    fn from(error: parlance_outbound::Error) -> Self {
        use parlance_outbound::Error as Fault;
        let kind = match &error {
            Fault::InvalidUrl | Fault::Setup(_) => ErrorKind::Rejected,
            Fault::Blocked { .. } => ErrorKind::Blocked,
            Fault::ConnectTimeout | Fault::Timeout(_) => ErrorKind::Timeout,
            Fault::TooLarge { .. } | Fault::Protocol => ErrorKind::Protocol,
            Fault::Resolve | Fault::Connect | Fault::Broken => ErrorKind::Network,
        };
        Self::new(kind, error.to_string())
    }
}
