//! The program behind `make bench`: starts a mock model and the server, drives the server over HTTP, writes a report.
//!
//! It shares no code with the server but for filling a database, so that it measures what a client sees.

mod api;
mod bench;
mod busy_inbox;
mod completion;
mod corpus;
mod figures;
mod http;
mod load;
mod machine;
mod mock_model;
mod process;
mod random;
mod report;
mod requests;
mod scenarios;
mod sse;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use clap::{Parser, ValueEnum};
use tokio::time::timeout;

use crate::bench::{Bench, Effort};
use crate::report::Section;
use crate::scenarios::Scenario;

/// A scenario that takes longer than this hangs. The busy inbox is filled twice.
const SCENARIO_WITHIN: Duration = Duration::from_mins(20);

/// Measures the server under load and writes a report.
#[derive(Debug, Parser)]
struct Arguments {
    /// The server's binary, built for release
    #[arg(long)]
    server: PathBuf,
    /// Where the report goes; what was measured by hand is read from `measured-by-hand.txt` beside it
    #[arg(long)]
    out: PathBuf,
    /// Only these scenarios
    #[arg(long, value_delimiter = ',')]
    only: Vec<Scenario>,
    /// About a minute instead of about five: to see that everything works
    #[arg(long)]
    quick: bool,
    /// Where data directories are made, on the disk to be measured; by default beside the binary
    #[arg(long)]
    work_dir: Option<PathBuf>,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    // An interrupted run is dropped, which ends the server and removes its data.
    let outcome = tokio::select! {
        outcome = Box::pin(run(Arguments::parse())) => outcome,
        _ = tokio::signal::ctrl_c() => Err(anyhow!("interrupted")),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(fault) => {
            eprintln!("{fault:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the scenarios and writes the report; says whether all of them worked.
async fn run(arguments: Arguments) -> Result<bool> {
    let start = Instant::now();
    machine::raise_descriptor_limit()?;
    let binary = fs::canonicalize(&arguments.server)
        .with_context(|| format!("no server binary at {}", arguments.server.display()))?;
    let beside = binary.parent().unwrap_or(Path::new("."));
    let work_dir = arguments.work_dir.as_deref().unwrap_or(beside);
    let effort = if arguments.quick { Effort::QUICK } else { Effort::FULL };
    eprintln!("preparing: a data directory with 200 files");
    let preparing = timeout(SCENARIO_WITHIN, Bench::prepare(&binary, work_dir, effort)).await;
    let bench = preparing.context("preparing took too long")?.context("preparing")?;

    let mut sections = Vec::new();
    for scenario in Scenario::value_variants() {
        if !arguments.only.is_empty() && !arguments.only.contains(scenario) {
            continue;
        }
        eprintln!("{:>4} s  {}", start.elapsed().as_secs(), scenario.name());
        let run = timeout(SCENARIO_WITHIN, Box::pin(scenario.run(&bench))).await;
        let rows = run.unwrap_or_else(|_| Err(anyhow!("did not end within {SCENARIO_WITHIN:?}"))).map_err(|fault| {
            let fault = format!("{fault:#}");
            eprintln!("failed: {fault}\nthe server's last lines: {}", process::tail(&bench.path("server.log")));
            fault
        });
        sections.push(Section { scenario: scenario.name(), rows });
    }
    let by_hand = fs::read_to_string(arguments.out.with_file_name("measured-by-hand.txt")).ok();
    let floor = bench.floor.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let text = report::markdown(&bench.machine, &sections, &floor, by_hand.as_deref(), arguments.quick);
    fs::write(&arguments.out, text).with_context(|| format!("writing {}", arguments.out.display()))?;
    eprintln!("{:>4} s  wrote {}", start.elapsed().as_secs(), arguments.out.display());
    Ok(sections.iter().all(|section| section.rows.is_ok()))
}
