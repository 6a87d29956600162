//! Processor time of streamed completions, 16 clients.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::sleep;

use super::ensure_informed;
use crate::bench::{Bench, MODEL};
use crate::figures::{median, number};
use crate::load::{self, Target, Until};
use crate::process::Server;
use crate::report::{Row, Wanted};

const CLIENTS: usize = 16;
/// Work that an answer leaves behind is counted too.
const AFTERWARDS: Duration = Duration::from_secs(1);

pub(super) async fn run(bench: &Bench) -> Result<Vec<Row>> {
    let server = bench.start(MODEL).await?;
    let plain = seconds_per_thousand(bench, &server, &bench.completions(&server, &bench.plain, MODEL)?, false).await?;
    let informed = bench.completions(&server, &bench.informed, MODEL)?;
    let informed = seconds_per_thousand(bench, &server, &informed, true).await?;
    server.stop().await?;
    Ok(vec![
        Row::new("CPU per 1,000 completions, no knowledge", Wanted::lower(1.0, 0.3, " s", 2), plain, ""),
        Row::new("CPU per 1,000 completions, 200 files", Wanted::lower(2.0, 0.6, " s", 2), informed, ""),
    ])
}

async fn seconds_per_thousand(bench: &Bench, server: &Server, target: &Target, informed: bool) -> Result<f64> {
    let answers = bench.effort.counted_answers;
    load::run(target, CLIENTS, Until::Elapsed(bench.effort.warm_up)).await?;
    sleep(AFTERWARDS).await;
    let mut figures = Vec::new();
    for _ in 0..bench.effort.repetitions {
        let before = server.processor_seconds();
        let outcome = load::run(target, CLIENTS, Until::Answers(answers)).await?;
        sleep(AFTERWARDS).await;
        if informed {
            ensure_informed(&outcome)?;
        }
        figures.push((server.processor_seconds() - before) * 1000.0 / number(outcome.answers));
    }
    median(&figures).context("no repetitions")
}
