//! Remarks on a request that was accepted all the same.

use serde::Serialize;

/// Sentences for the caller, returned as `warnings`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Warnings(Vec<String>);

impl Warnings {
    /// Adds a sentence.
    pub fn add(&mut self, sentence: impl Into<String>) {
        self.0.push(sentence.into());
    }

    /// Whether there is nothing to remark.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The sentences.
    pub fn into_sentences(self) -> Vec<String> {
        self.0
    }
}
