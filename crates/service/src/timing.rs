//! Seconds per stage of an answer.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Seconds per stage; a stage that did not run took none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessingTime {
    /// Rewriting the question with the history.
    pub condense: f64,
    /// Searching.
    pub retrieval: f64,
    /// Of the search: inventing a passage to search with.
    #[serde(default)]
    pub hyde: f64,
    /// Reordering.
    pub rerank: f64,
    /// Tools.
    pub tools: f64,
    /// From the request to the model until its first text.
    pub first_token: f64,
    /// From the first text to the last.
    pub generation: f64,
    /// From the request to the end.
    pub total: f64,
}

/// Seconds with microseconds, which is as exact as is useful.
pub fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e6
}

/// Seconds since `start`.
pub fn since(start: Instant) -> f64 {
    seconds(start.elapsed())
}
