//! Two thousand answers at once, 30 tokens each, one each 100 ms.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::api::Api;
use crate::bench::Bench;
use crate::completion::{Answered, Stream};
use crate::figures::{median, milliseconds, number, percentile};
use crate::load::Target;
use crate::report::{Row, Wanted};

const MODEL: &str = "mock-30-100";
/// Milliseconds that the mock model itself waits before its first token.
const MODEL_WAITS: f64 = 100.0;
const STREAMS: usize = 2000;
/// Time in which they are opened, short of the 3 s that one takes.
const RAMP: Duration = Duration::from_secs(2);
const WITHIN: Duration = Duration::from_mins(1);

pub(super) async fn run(bench: &Bench) -> Result<Vec<Row>> {
    let server = bench.start(MODEL).await?;
    let api = Api { address: server.address };
    // Assistants may keep the model that was the default when they were made.
    let chatbot = api.make_chatbot("Bench of many streams", &[]).await?;
    let target = bench.completions(&server, &chatbot, MODEL)?;
    let direct = bench.direct(MODEL)?;
    let (alone, _) = first_tokens(&direct, STREAMS).await.context("the mock model alone")?;
    let alone = percentile(&alone, 990).context("no streams")?;
    bench.note_floor(format!(
        "{STREAMS} streams at once: 99 % of first tokens within {alone:.0} ms, of which 100 ms are waited"
    ));

    first_tokens(&target, STREAMS / 20).await.context("warming up")?;
    let watch = server.watch_memory();
    let (mut figures, mut most) = (Vec::new(), 0);
    for _ in 0..bench.effort.repetitions {
        let (times, open) = first_tokens(&target, STREAMS).await?;
        figures.push(percentile(&times, 990).context("no streams")?);
        most = most.max(open);
    }
    let peak = watch.peak_mib().await?;
    server.stop().await?;
    let raw = median(&figures).context("no repetitions")?;
    let detail = format!("raw {raw:.0} ms; all complete, {most} open at once");
    Ok(vec![
        Row::new(
            "2,000 streams: time to first token, 99 %, added",
            Wanted::lower(500.0, 100.0, " ms", 0),
            raw - MODEL_WAITS,
            detail,
        ),
        Row::new("2,000 streams: peak memory", Wanted::lower(256.0, 160.0, " MiB", 1), peak, ""),
    ])
}

/// Opens `streams` streams one after the other; gives the milliseconds to each one's first text, and the most that were
/// open at once.
async fn first_tokens(target: &Target, streams: usize) -> Result<(Vec<f64>, usize)> {
    let open = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for index in 0..streams {
        let (target, open, most) = (target.clone(), Arc::clone(&open), Arc::clone(&most));
        tasks.spawn(async move {
            sleep(RAMP.mul_f64(number(index) / number(streams))).await;
            let mut stream = Stream::open(target.address, target.dialect).await?;
            most.fetch_max(open.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            let answered = timeout(WITHIN, stream.ask(&target.request(index), target.expected)).await;
            open.fetch_sub(1, Ordering::Relaxed);
            answered.with_context(|| format!("no complete answer within {WITHIN:?}"))?
        });
    }
    let mut times = Vec::with_capacity(streams);
    while let Some(joined) = tasks.join_next().await {
        let answered: Answered = joined.context("a stream")??;
        times.push(milliseconds(answered.first_text));
    }
    ensure!(times.len() == streams, "{} of {streams} streams", times.len());
    Ok((times, most.load(Ordering::Relaxed)))
}
