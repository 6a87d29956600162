//! Time to start, and the size of the binary.

use std::fs;

use anyhow::{Context, Result};

use crate::bench::{Bench, MODEL};
use crate::figures::{median, number};
use crate::report::{Row, Wanted};

pub(super) async fn run(bench: &Bench) -> Result<Vec<Row>> {
    let repetitions = bench.effort.repetitions * 2 + 1;
    let (mut with_data, mut first) = (Vec::new(), Vec::new());
    for repetition in 0..=repetitions {
        let empty = bench.path(&format!("empty-{repetition}"));
        for (server, times) in
            [(bench.start(MODEL).await?, &mut with_data), (bench.start_in(&empty, MODEL).await?, &mut first)]
        {
            // The first round warms the page cache.
            if repetition > 0 {
                times.push(server.ready_after.as_secs_f64());
            }
            server.stop().await?;
        }
        fs::remove_dir_all(&empty).context("removing a data directory")?;
    }
    let bytes = fs::metadata(&bench.binary).context("the size of the binary")?.len();
    let megabytes = number(usize::try_from(bytes / 1000).context("the size of the binary")?) / 1000.0;
    let with_data = median(&with_data).context("no repetitions")?;
    let first = median(&first).context("no repetitions")?;
    Ok(vec![
        Row::new("start with data", Wanted::lower(1.0, 0.2, " s", 3), with_data, ""),
        Row::new("first start in an empty directory", Wanted::lower(3.0, 1.0, " s", 3), first, ""),
        Row::new("size of the binary", Wanted::lower(96.0, 60.0, " MB", 1), megabytes, ""),
    ])
}
