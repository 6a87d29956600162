//! One file per scenario; each starts a server of its own on the prepared data.

mod busy_inbox;
mod first_token;
mod ingestion;
mod many_streams;
mod memory;
mod messages;
mod open_pages;
mod processor;
mod search;
mod start;
mod throughput;

use anyhow::{Result, ensure};
use clap::ValueEnum;

use crate::bench::Bench;
use crate::load::Outcome;
use crate::report::Row;

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// Time that the server adds to the first token
    FirstToken,
    /// Processor time of completions
    Processor,
    /// Completions per second
    Throughput,
    /// Memory at rest and under load
    Memory,
    /// Time to start, size of the binary
    Start,
    /// Ingestion of text while people chat
    Ingestion,
    /// Search through the API
    Search,
    /// Two thousand streams at once
    Streams,
    /// Messages stored per second
    Messages,
    /// Ten thousand open pages
    OpenPages,
    /// Lists of an inbox with a million messages
    BusyInbox,
}

impl Scenario {
    /// The name on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::FirstToken => "first-token",
            Self::Processor => "processor",
            Self::Throughput => "throughput",
            Self::Memory => "memory",
            Self::Start => "start",
            Self::Ingestion => "ingestion",
            Self::Search => "search",
            Self::Streams => "streams",
            Self::Messages => "messages",
            Self::OpenPages => "open-pages",
            Self::BusyInbox => "busy-inbox",
        }
    }

    /// Measures it.
    pub(crate) async fn run(self, bench: &Bench) -> Result<Vec<Row>> {
        match self {
            Self::FirstToken => first_token::run(bench).await,
            Self::Processor => processor::run(bench).await,
            Self::Throughput => throughput::run(bench).await,
            Self::Memory => memory::run(bench).await,
            Self::Start => start::run(bench).await,
            Self::Ingestion => ingestion::run(bench).await,
            Self::Search => search::run(bench).await,
            Self::Streams => many_streams::run(bench).await,
            Self::Messages => messages::run(bench).await,
            Self::OpenPages => open_pages::run(bench).await,
            Self::BusyInbox => busy_inbox::run(bench).await,
        }
    }
}

/// Fails when an answer of an assistant with knowledge was given no passage: then something else was measured.
fn ensure_informed(outcome: &Outcome) -> Result<()> {
    ensure!(outcome.fewest_cited > 0, "an answer with knowledge was given no passage");
    Ok(())
}
