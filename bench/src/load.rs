//! Clients that ask without pause, all at once, and what came of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::completion::{Answered, Dialect, Stream};
use crate::figures::{milliseconds, number};

/// An answer that takes longer than this is a failure.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whom to ask what.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) dialect: Dialect,
    /// Whole HTTP requests, sent in turn.
    pub(crate) requests: Arc<[Bytes]>,
    /// Bytes of text of each answer.
    pub(crate) expected: usize,
}

impl Target {
    /// The request with this number, counted round.
    pub(crate) fn request(&self, number: usize) -> Bytes {
        self.requests.get(number % self.requests.len().max(1)).cloned().unwrap_or_default()
    }
}

/// When a load ends.
#[derive(Clone, Debug)]
pub(crate) enum Until {
    /// After this time.
    Elapsed(Duration),
    /// After this many answers.
    Answers(usize),
    /// Once the flag is raised.
    Raised(Arc<AtomicBool>),
}

/// What a load brought.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Answers that ended within the time of the load.
    pub(crate) answers: usize,
    /// Seconds of the load.
    pub(crate) seconds: f64,
    /// Milliseconds of each answer, from request to end.
    pub(crate) totals: Vec<f64>,
    /// The smallest number of passages that an answer was given.
    pub(crate) fewest_cited: usize,
}

impl Outcome {
    /// Answers per second.
    pub(crate) fn rate(&self) -> f64 {
        number(self.answers) / self.seconds
    }
}

/// Runs `clients` clients against `target`. The first answer that is not complete is the error of the whole load.
pub(crate) async fn run(target: &Target, clients: usize, until: Until) -> Result<Outcome> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut streams = Vec::with_capacity(clients);
    for _ in 0..clients {
        streams.push(Stream::open(target.address, target.dialect).await?);
    }
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for stream in streams {
        tasks.spawn(client(target.clone(), stream, Arc::clone(&next), start, until.clone()));
    }
    let mut outcome = Outcome { fewest_cited: usize::MAX, ..Outcome::default() };
    let mut last_end = Duration::ZERO;
    while let Some(joined) = tasks.join_next().await {
        // Returning drops the set, which ends the other clients.
        let answered = joined.context("a client")??;
        for (end, answer) in answered {
            last_end = last_end.max(end);
            if !matches!(&until, Until::Elapsed(limit) if end > *limit) {
                outcome.answers += 1;
            }
            outcome.totals.push(milliseconds(answer.total));
            outcome.fewest_cited = outcome.fewest_cited.min(answer.cited);
        }
    }
    ensure!(!outcome.totals.is_empty(), "a load without answers");
    outcome.seconds = match until {
        Until::Elapsed(limit) => limit,
        Until::Answers(_) | Until::Raised(_) => last_end,
    }
    .as_secs_f64();
    Ok(outcome)
}

async fn client(
    target: Target,
    mut stream: Stream,
    next: Arc<AtomicUsize>,
    start: Instant,
    until: Until,
) -> Result<Vec<(Duration, Answered)>> {
    let mut answered = Vec::new();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let ends = match &until {
            Until::Elapsed(limit) => start.elapsed() >= *limit,
            Until::Answers(limit) => number >= *limit,
            Until::Raised(flag) => flag.load(Ordering::Relaxed),
        };
        if ends {
            return Ok(answered);
        }
        let answer = timeout(PATIENCE, stream.ask(&target.request(number), target.expected))
            .await
            .with_context(|| format!("no complete answer within {PATIENCE:?}"))??;
        answered.push((start.elapsed(), answer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::completion::model_request;
    use crate::mock_model::{Behaviour, MockModel};

    #[tokio::test]
    async fn counts_every_answer() {
        let mock = MockModel::start().await.unwrap();
        let target = Target {
            address: mock.address,
            dialect: Dialect::Model,
            requests: Arc::from([model_request(mock.address, "mock-5-0")]),
            expected: Behaviour::of_model("mock-5-0").unwrap().answer().len(),
        };
        let outcome = run(&target, 4, Until::Answers(50)).await.unwrap();
        assert_eq!((outcome.answers, outcome.totals.len(), outcome.fewest_cited), (50, 50, 0));
        assert!(outcome.rate() > 0.0);
        let wrong = Target { expected: 1, ..target };
        assert!(run(&wrong, 4, Until::Answers(50)).await.is_err());
    }
}
