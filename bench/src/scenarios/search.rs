//! Search through the API in a base of 3,300 passages.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::api::Api;
use crate::bench::{Bench, MODEL};
use crate::figures::{median, milliseconds, number, percentile};
use crate::http::Connection;
use crate::report::{Row, Wanted};

const CLIENTS: usize = 16;
/// Questions whose results are looked at, outside the measurement.
const LOOKED_AT: usize = 100;

pub(super) async fn run(bench: &Bench) -> Result<Vec<Row>> {
    let server = bench.start(MODEL).await?;
    let api = Api { address: server.address };
    let questions = &bench.corpus.questions;
    let requests: Arc<[Bytes]> = questions.iter().map(|question| api.search(&bench.base, &question.text)).collect();

    let mut connection = Connection::open(server.address).await?;
    let mut right = 0;
    for (question, request) in questions.iter().zip(requests.iter()).take(LOOKED_AT) {
        let results: Value = serde_json::from_slice(&ask(&mut connection, request).await?).context("results")?;
        let names = results.as_array().into_iter().flatten().map(|result| result.pointer("/chatbotFile/filename"));
        right += usize::from(names.flatten().any(|name| *name == question.file));
    }
    ensure!(right * 10 >= LOOKED_AT * 9, "only {right} of {LOOKED_AT} questions found the file that answers them");

    let mut times = Vec::new();
    for request in requests.iter().cycle().skip(LOOKED_AT).take(bench.effort.first_tokens * 2) {
        let start = Instant::now();
        ask(&mut connection, request).await?;
        times.push(milliseconds(start.elapsed()));
    }
    let p50 = percentile(&times, 500).context("no searches")?;
    let p99 = percentile(&times, 990).context("no searches")?;

    rate(server.address, &requests, bench.effort.warm_up).await?;
    let mut rates = Vec::new();
    for _ in 0..bench.effort.repetitions {
        rates.push(rate(server.address, &requests, bench.effort.load).await?);
    }
    server.stop().await?;
    let rate = median(&rates).context("no repetitions")?;
    let found = format!("99 % within {p99:.2} ms; {right} of {LOOKED_AT} questions found the file that answers them");
    Ok(vec![
        Row::new("search in 3,300 passages, 1 client, median", Wanted::lower(3.3, 1.0, " ms", 2), p50, found),
        Row::new("search in 3,300 passages, 16 clients", Wanted::higher(900.0, 3000.0, " per s", 0), rate, ""),
    ])
}

async fn ask(connection: &mut Connection, request: &[u8]) -> Result<Vec<u8>> {
    let status = connection.send(request).await?;
    let body = connection.whole_body().await?;
    ensure!(status == 200, "status {status}: {}", String::from_utf8_lossy(body.get(..300).unwrap_or(&body)));
    ensure!(body.starts_with(b"[{"), "a search without results");
    Ok(body)
}

/// Searches per second that end within `limit`.
async fn rate(address: SocketAddr, requests: &Arc<[Bytes]>, limit: Duration) -> Result<f64> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    let start = Instant::now();
    for _ in 0..CLIENTS {
        let (requests, next) = (Arc::clone(requests), Arc::clone(&next));
        tasks.spawn(async move {
            let mut connection = Connection::open(address).await?;
            let mut searches = 0;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed) % requests.len().max(1);
                ask(&mut connection, requests.get(number).context("no questions")?).await?;
                if start.elapsed() > limit {
                    return anyhow::Ok(searches);
                }
                searches += 1;
            }
        });
    }
    let mut searches = 0;
    while let Some(joined) = tasks.join_next().await {
        searches += joined.context("a client")??;
    }
    Ok(number(searches) / limit.as_secs_f64())
}
