//! Why a document could not be read, in words for the person who uploaded it.

use serde::{Deserialize, Serialize};

/// What went wrong, for callers that branch on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParseErrorKind {
    /// The file type is not one that can be read.
    Unsupported,
    /// The content is of another type than the file name says.
    Mismatch,
    /// The document is protected by a password.
    Encrypted,
    /// The document holds no readable text, for example scanned pages.
    NoText,
    /// The content breaks the rules of its format.
    Damaged,
    /// A size, count or depth limit was passed.
    TooLarge,
    /// The wall clock or processor time limit was passed.
    TimedOut,
    /// The memory limit was passed.
    OutOfMemory,
    /// The parser process ended without an answer.
    Crashed,
    /// The parser process could not be started or boxed; the document is not to blame.
    Internal,
    /// The receiver of the passages went away.
    Cancelled,
}

/// A failed parse. `reason` is a sentence that says what is wrong and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{reason}")]
pub struct ParseError {
    /// The class of the failure.
    pub kind: ParseErrorKind,
    /// English sentence for the person who uploaded the document.
    pub reason: String,
}

impl ParseError {
    /// Makes an error from its class and its sentence.
    pub fn new(kind: ParseErrorKind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into() }
    }

    pub(crate) fn damaged(reason: impl Into<String>) -> Self {
        Self::new(ParseErrorKind::Damaged, reason)
    }

    pub(crate) fn too_large(reason: impl Into<String>) -> Self {
        Self::new(ParseErrorKind::TooLarge, reason)
    }

    pub(crate) fn internal(reason: impl Into<String>) -> Self {
        Self::new(ParseErrorKind::Internal, reason)
    }

    /// Whether trying the same file again later can succeed.
    pub fn is_transient(&self) -> bool {
        matches!(self.kind, ParseErrorKind::Internal | ParseErrorKind::Cancelled)
    }
}
