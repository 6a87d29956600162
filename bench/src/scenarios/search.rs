//! Search through the API in a base of 3,300 passages.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::api::Api;
use crate::bench::{Bench, MODEL};
use crate::figures::{median, milliseconds, percentile};
use crate::http::Connection;
use crate::report::{Row, Wanted};
use crate::requests::Requests;

const CLIENTS: usize = 16;
/// Questions whose results are looked at, outside the measurement.
const LOOKED_AT: usize = 100;

pub(super) async fn run(bench: &Bench) -> Result<Vec<Row>> {
    let server = bench.start(MODEL).await?;
    let api = Api { address: server.address };
    let questions = &bench.corpus.questions;
    let searches = Requests {
        address: server.address,
        in_turn: questions.iter().map(|question| api.search(&bench.base, &question.text)).collect(),
        status: 200,
        starts_with: "[{",
    };

    let mut connection = Connection::open(server.address).await?;
    let mut right = 0;
    for (question, request) in questions.iter().zip(searches.in_turn.iter()).take(LOOKED_AT) {
        let results: Value =
            serde_json::from_slice(&searches.ask(&mut connection, request).await?).context("results")?;
        let names = results.as_array().into_iter().flatten().map(|result| result.pointer("/chatbotFile/filename"));
        right += usize::from(names.flatten().any(|name| *name == question.file));
    }
    ensure!(right * 10 >= LOOKED_AT * 9, "only {right} of {LOOKED_AT} questions found the file that answers them");

    let mut times = Vec::new();
    for request in searches.in_turn.iter().cycle().skip(LOOKED_AT).take(bench.effort.first_tokens * 2) {
        let start = Instant::now();
        searches.ask(&mut connection, request).await?;
        times.push(milliseconds(start.elapsed()));
    }
    let p50 = percentile(&times, 500).context("no searches")?;
    let p99 = percentile(&times, 990).context("no searches")?;

    searches.load(CLIENTS, bench.effort.warm_up).await?;
    let mut rates = Vec::new();
    for _ in 0..bench.effort.repetitions {
        rates.push(searches.load(CLIENTS, bench.effort.load).await?.rate);
    }
    server.stop().await?;
    let rate = median(&rates).context("no repetitions")?;
    let found = format!("99 % within {p99:.2} ms; {right} of {LOOKED_AT} questions found the file that answers them");
    Ok(vec![
        Row::new("search in 3,300 passages, 1 client, median", Wanted::lower(3.3, 1.0, " ms", 2), p50, found),
        Row::new("search in 3,300 passages, 16 clients", Wanted::higher(900.0, 3000.0, " per s", 0), rate, ""),
    ])
}
