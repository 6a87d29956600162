//! Clients that send whole requests without pause and look at whole answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use tokio::task::JoinSet;

use crate::figures::{milliseconds, number};
use crate::http::Connection;

/// Whom to ask what, and what a good answer is.
#[derive(Clone, Debug)]
pub(crate) struct Requests {
    pub(crate) address: SocketAddr,
    /// Whole HTTP requests, sent in turn.
    pub(crate) in_turn: Arc<[Bytes]>,
    pub(crate) status: u16,
    /// How the body of a good answer starts.
    pub(crate) starts_with: &'static str,
}

/// What a load brought.
#[derive(Debug)]
pub(crate) struct Answers {
    /// Answers within the time of the load, per second.
    pub(crate) rate: f64,
    /// Milliseconds of each answer.
    pub(crate) times: Vec<f64>,
}

impl Requests {
    /// Sends one request and gives the body of its answer.
    pub(crate) async fn ask(&self, connection: &mut Connection, request: &[u8]) -> Result<Vec<u8>> {
        let status = connection.send(request).await?;
        let body = connection.whole_body().await?;
        let shown = String::from_utf8_lossy(body.get(..300).unwrap_or(&body));
        ensure!(status == self.status, "status {status} instead of {}: {shown}", self.status);
        ensure!(body.starts_with(self.starts_with.as_bytes()), "not a good answer: {shown}");
        Ok(body)
    }

    /// Runs `clients` clients for `limit`. The first answer that is not good is the error of the whole load.
    pub(crate) async fn load(&self, clients: usize, limit: Duration) -> Result<Answers> {
        let next = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        let start = Instant::now();
        for _ in 0..clients {
            let (asked, next) = (self.clone(), Arc::clone(&next));
            tasks.spawn(async move {
                let mut connection = Connection::open(asked.address).await?;
                let mut times = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed) % asked.in_turn.len().max(1);
                    let sent = Instant::now();
                    asked.ask(&mut connection, asked.in_turn.get(number).context("no requests")?).await?;
                    if start.elapsed() > limit {
                        return anyhow::Ok(times);
                    }
                    times.push(milliseconds(sent.elapsed()));
                }
            });
        }
        let mut times = Vec::new();
        while let Some(joined) = tasks.join_next().await {
            times.extend(joined.context("a client")??);
        }
        Ok(Answers { rate: number(times.len()) / limit.as_secs_f64(), times })
    }
}
