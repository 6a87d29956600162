//! What the server adds to the time to the first token: one client, the mock model asked directly, without knowledge
//! and with knowledge in turn, so that a drift of the machine meets all three.

use anyhow::{Context, Result, ensure};

use crate::bench::{Bench, MODEL};
use crate::completion::Stream;
use crate::figures::{median, milliseconds};
use crate::report::{Row, Wanted};

/// Milliseconds that flushing may take before the excess is subtracted.
const FLUSH_ALLOWED: f64 = 0.3;

pub(super) async fn run(bench: &Bench) -> Result<Vec<Row>> {
    let server = bench.start(MODEL).await?;
    let targets = [
        bench.direct(MODEL)?,
        bench.completions(&server, &bench.plain, MODEL)?,
        bench.completions(&server, &bench.informed, MODEL)?,
    ];
    let mut streams = Vec::new();
    for target in &targets {
        streams.push(Stream::open(target.address, target.dialect).await?);
    }
    let mut times: [Vec<f64>; 3] = Default::default();
    let warm_up = bench.effort.first_tokens / 10;
    for round in 0..warm_up + bench.effort.first_tokens {
        for (index, ((target, stream), times)) in targets.iter().zip(&mut streams).zip(&mut times).enumerate() {
            let answered = stream.ask(&target.request(round), target.expected).await?;
            ensure!(index < 2 || answered.cited > 0, "an answer with knowledge was given no passage");
            if round >= warm_up {
                times.push(milliseconds(answered.first_text));
            }
        }
    }
    server.stop().await?;
    let [direct, plain, informed] = times.map(|times| median(&times));
    let direct = direct.context("no requests")?;
    bench.note_floor(format!("time to the first token, 1 client: {direct:.3} ms"));
    let excess = (bench.machine.fsync_p50 - FLUSH_ALLOWED).max(0.0);
    let row = |name, wanted, through: Option<f64>| {
        let raw = through.context("no requests")? - direct;
        anyhow::Ok(Row::new(name, wanted, raw - excess, format!("raw {raw:.2} ms, flush excess {excess:.2} ms")))
    };
    Ok(vec![
        row("added time to first token, 1 client, no knowledge", Wanted::lower(2.0, 0.5, " ms", 2), plain)?,
        row("added time to first token, 1 client, 200 files", Wanted::lower(5.0, 1.5, " ms", 2), informed)?,
    ])
}
