//! Ingestion of text files while 4 clients chat, and what it does to the chat.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::ensure_informed;
use crate::api::Api;
use crate::bench::Bench;
use crate::corpus::{Document, long_documents};
use crate::figures::{median, number, percentile};
use crate::load::{self, Until};
use crate::report::{Row, Wanted};

/// 20 tokens, one each 10 ms: people who chat do not saturate a processor.
const MODEL: &str = "mock-20-10";
const CLIENTS: usize = 4;
const CHARACTERS: usize = 20_000;
const WITHIN: Duration = Duration::from_mins(3);

pub(super) async fn run(bench: &Bench) -> Result<Vec<Row>> {
    let server = bench.start(MODEL).await?;
    let api = Api { address: server.address };
    // Assistants may keep the model that was the default when they were made.
    let chatbot = api.make_chatbot("Bench beside ingestion", &[&bench.base]).await?;
    let target = bench.completions(&server, &chatbot, MODEL)?;
    load::run(&target, CLIENTS, Until::Elapsed(bench.effort.warm_up)).await?;
    let quiet = load::run(&target, CLIENTS, Until::Elapsed(bench.effort.load)).await?;
    ensure_informed(&quiet)?;

    let documents = long_documents(7, bench.effort.ingested_files, CHARACTERS);
    let characters: usize = documents.iter().map(|document| document.text.chars().count()).sum();
    ingest(&api, "warm-up", documents.get(..5).unwrap_or_default()).await?;
    let (mut rates, mut during) = (Vec::new(), Vec::new());
    for repetition in 0..bench.effort.repetitions {
        let finished = Arc::new(AtomicBool::new(false));
        let chat = tokio::spawn({
            let (target, until) = (target.clone(), Until::Raised(Arc::clone(&finished)));
            async move { load::run(&target, CLIENTS, until).await }
        });
        let ingested = ingest(&api, &format!("archive {repetition}"), &documents).await;
        finished.store(true, Ordering::Relaxed);
        let chatted = chat.await.context("chatting")??;
        ensure_informed(&chatted)?;
        during.extend(chatted.totals);
        rates.push(number(characters) / ingested?.as_secs_f64());
    }
    server.stop().await?;
    let rate = median(&rates).context("no repetitions")?;
    let quiet = percentile(&quiet.totals, 950).context("no answers")?;
    let during = percentile(&during, 950).context("no answers")?;
    let detail = format!("95 % of the chats complete within {during:.0} ms, {quiet:.0} ms when quiet");
    let wanted = Wanted::higher(400_000.0, 2_000_000.0, " characters per s", 0);
    Ok(vec![Row::new("ingestion of text while 4 clients chat", wanted, rate, detail)])
}

/// Puts the documents into a new base; the time starts when they have been uploaded.
async fn ingest(api: &Api, name: &str, documents: &[Document]) -> Result<Duration> {
    let base = api.make_base(name).await?;
    let mut uploaded = Vec::with_capacity(documents.len());
    for document in documents {
        uploaded.push((api.upload(document).await?, document.name.clone()));
    }
    let start = Instant::now();
    api.add_files(&base, &uploaded).await?;
    api.await_files(&base, documents.len(), WITHIN).await?;
    Ok(start.elapsed())
}
