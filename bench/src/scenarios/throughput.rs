//! Streamed completions per second.

use anyhow::{Context, Result};

use super::ensure_informed;
use crate::bench::{Bench, MODEL};
use crate::figures::{median, percentile};
use crate::load::{self, Target, Until};
use crate::report::{Row, Wanted};

pub(super) async fn run(bench: &Bench) -> Result<Vec<Row>> {
    let direct = bench.direct(MODEL)?;
    for clients in [64, 16] {
        let (rate, p95) = rate(bench, &direct, clients, false).await?;
        bench.note_floor(format!("{clients} clients: {rate:.0} answers per second, 95 % within {p95:.1} ms"));
    }
    let server = bench.start(MODEL).await?;
    let (plain, plain_p95) = rate(bench, &bench.completions(&server, &bench.plain, MODEL)?, 64, false).await?;
    let informed = bench.completions(&server, &bench.informed, MODEL)?;
    let (informed, informed_p95) = rate(bench, &informed, 16, true).await?;
    server.stop().await?;
    let detail = |p95: f64| format!("95 % complete within {p95:.1} ms");
    Ok(vec![
        Row::new(
            "completions, 64 clients, no knowledge",
            Wanted::higher(730.0, 2500.0, " per s", 0),
            plain,
            detail(plain_p95),
        ),
        Row::new(
            "completions, 16 clients, 200 files",
            Wanted::higher(430.0, 1200.0, " per s", 0),
            informed,
            detail(informed_p95),
        ),
    ])
}

/// Median rate of the repetitions, and the 95th percentile of all their answers' times.
async fn rate(bench: &Bench, target: &Target, clients: usize, informed: bool) -> Result<(f64, f64)> {
    load::run(target, clients, Until::Elapsed(bench.effort.warm_up)).await?;
    let (mut rates, mut totals) = (Vec::new(), Vec::new());
    for _ in 0..bench.effort.repetitions {
        let outcome = load::run(target, clients, Until::Elapsed(bench.effort.load)).await?;
        if informed {
            ensure_informed(&outcome)?;
        }
        rates.push(outcome.rate());
        totals.extend(outcome.totals);
    }
    let rate = median(&rates).context("no repetitions")?;
    Ok((rate, percentile(&totals, 950).context("no answers")?))
}
