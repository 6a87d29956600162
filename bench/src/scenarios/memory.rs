//! Memory of a server with data: after its start, and at its peak under 64 clients that ask about documents.

use anyhow::{Context, Result};
use tokio::time::sleep;

use super::ensure_informed;
use crate::bench::{Bench, MODEL};
use crate::figures::median;
use crate::load::{self, Until};
use crate::report::{Row, Wanted};

pub(super) async fn run(bench: &Bench) -> Result<Vec<Row>> {
    let (mut idle, mut peak) = (Vec::new(), Vec::new());
    for _ in 0..bench.effort.repetitions {
        // A peak belongs to a process: each repetition needs its own.
        let server = bench.start(MODEL).await?;
        sleep(bench.effort.rest).await;
        idle.push(server.resident_mib());
        let watch = server.watch_memory();
        let target = bench.completions(&server, &bench.informed, MODEL)?;
        let outcome = load::run(&target, 64, Until::Elapsed(bench.effort.load)).await?;
        ensure_informed(&outcome)?;
        peak.push(watch.peak_mib().await?);
        server.stop().await?;
    }
    let idle = median(&idle).context("no repetitions")?;
    let peak = median(&peak).context("no repetitions")?;
    Ok(vec![
        Row::new("memory at rest after a start with data", Wanted::lower(78.0, 40.0, " MiB", 1), idle, ""),
        Row::new("peak memory, 64 clients, 200 files", Wanted::lower(220.0, 120.0, " MiB", 1), peak, ""),
    ])
}
