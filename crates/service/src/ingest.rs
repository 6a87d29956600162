//! Ingesting a file: parse in a boxed child, store passages, make vectors, hand over to the index.
//!
//! A file's passages belong to a generation. The previous generation stays searchable until the new
//! one is published by the indexer in one step. Every effect checks that the generation is still the
//! newest one asked for, so a worker that lost its lease, or whose file was deleted or reparsed
//! meanwhile, changes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parlance_domain::kind::{FileId, KnowledgeBaseId};
use parlance_domain::{Error, Result, Tenant};
use parlance_ingestion::{ParseError, ParseEvent, ParseOptions, Passage};
use parlance_llm::EmbeddingPurpose;
use parlance_storage::files::{self, File, Progress};
use parlance_storage::index_changes::{self, IndexChange, PUT};
use parlance_storage::jobs::{self, Job, NewJob};
use parlance_storage::passages::{self, NewPassage};
use parlance_storage::{Tx, knowledge_bases};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::App;
use crate::models::Embedding;

/// Name of the job.
pub const KIND: &str = "ingest";
/// Batches of passages that may wait for the database; the parser waits beyond that.
const EVENT_QUEUE: usize = 4;
/// Passages that are embedded with one request.
const EMBEDDING_BATCH: i64 = 64;
/// Passages that are removed with one write: others wait for no more than that.
pub(crate) const DELETED_AT_ONCE: u64 = 2_000;

/// Arguments of the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ingest {
    /// The base.
    pub knowledge_base: KnowledgeBaseId,
    /// The file.
    pub file: FileId,
    /// The generation to make.
    pub generation: i64,
}

/// How an attempt ended, apart from success.
#[derive(Debug)]
pub enum Stop {
    /// Not this file's fault; try again later.
    Retry(String),
    /// This file cannot be ingested, for this reason.
    Fail(String),
    /// Nobody wants the result any more.
    Obsolete,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        tracing::warn!(error = &error as &dyn std::error::Error, "ingestion was interrupted");
        Self::Retry("The server could not store the passages.".to_owned())
    }
}

/// Key under which the ingestion of a file is queued once.
pub fn unique_key(file: FileId) -> String {
    format!("{KIND}:{file}")
}

/// Queues the ingestion of a generation, in the caller's transaction.
pub async fn enqueue(tx: &mut Tx, app: &App, tenant: Tenant, work: Ingest) -> Result<()> {
    let payload = serde_json::to_string(&work).map_err(|error| Error::internal("queueing a file", error))?;
    let now = app.now();
    let job = NewJob { id: app.new_id(), kind: KIND, unique_key: unique_key(work.file), payload, run_at: now };
    jobs::enqueue(tx, tenant, &job, now).await
}

/// Runs the job. Success means that the indexer has what it needs to publish the generation.
pub async fn run(app: &App, tenant: Tenant, job: &Job) -> Result<(), Stop> {
    let work: Ingest = serde_json::from_str(&job.payload)
        .map_err(|error| Stop::Fail(format!("The job of this file cannot be read ({error}); reparse the file.")))?;
    let (file, base) = {
        let mut tx = app.db.read(tenant).await?;
        let file = files::get(&mut tx, tenant, work.knowledge_base, work.file).await?;
        let base = knowledge_bases::get(&mut tx, tenant, work.knowledge_base).await?;
        (file, base)
    };
    let (Some(file), Some(base)) = (file, base) else { return Err(Stop::Obsolete) };
    if file.next_generation != work.generation {
        return Err(Stop::Obsolete);
    }
    // Once every passage is stored a repeated attempt goes on with the vectors.
    if file.stage != "embedding" {
        parse(app, tenant, job, work, &file).await?;
    }
    let model = match base.embedding_model_id {
        Some(id) => app.catalogue.embedding(app, tenant, id).await?,
        None => None,
    };
    if let Some(model) = &model {
        embed(app, tenant, job, work, model).await?;
    }
    hand_over(app, tenant, job, work, model.map(|model| model.entry.id)).await
}

/// Marks the file of a job as failed, if this worker still holds the job.
pub async fn fail(app: &App, tenant: Tenant, job: &Job, reason: String) -> Result<()> {
    let work: Option<Ingest> = serde_json::from_str(&job.payload).ok();
    let (job, now) = (job.clone(), app.now());
    if let Some(work) = work
        && !forget_passages(app, tenant, &job, work).await?
    {
        return Ok(());
    }
    app.db
        .write(tenant, move |tx| {
            Box::pin(async move {
                if !jobs::is_held(tx, tenant, &job).await? {
                    return Ok(());
                }
                if let Some(work) = work {
                    files::fail(tx, tenant, work.file, work.generation, &reason, now).await?;
                }
                jobs::finish(tx, tenant, &job).await.map(drop)
            })
        })
        .await
}

/// Removes the passages of the job's generation, in slices. `false` when the job is lost.
async fn forget_passages(app: &App, tenant: Tenant, job: &Job, work: Ingest) -> Result<bool> {
    loop {
        let removed = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&removed);
        let held = write_held(app, tenant, job, move |tx| {
            Box::pin(async move {
                let count =
                    passages::delete_generation(tx, tenant, work.file, work.generation, DELETED_AT_ONCE).await?;
                counted.store(count, Ordering::Relaxed);
                Ok(true)
            })
        })
        .await?;
        if !held || removed.load(Ordering::Relaxed) < DELETED_AT_ONCE {
            return Ok(held);
        }
    }
}

/// Notes on the file why it waits and until when, if this worker still holds the job.
pub async fn wait(app: &App, tenant: Tenant, job: &Job, reason: &str, delay: Duration) -> Result<()> {
    let Ok(work) = serde_json::from_str::<Ingest>(&job.payload) else { return Ok(()) };
    let seconds = delay.as_secs();
    let text = format!("{reason} The next attempt is in about {seconds} s.");
    let now = app.now();
    write_held(app, tenant, job, move |tx| {
        Box::pin(async move { files::wait(tx, tenant, work.file, work.generation, &text, now).await })
    })
    .await
    .map(drop)
}

async fn parse(app: &App, tenant: Tenant, job: &Job, work: Ingest, file: &File) -> Result<(), Stop> {
    let now = app.now();
    let (file_id, generation) = (work.file, work.generation);
    // What an attempt that died has left of this generation.
    let held = forget_passages(app, tenant, job, work).await?;
    let wanted = held
        && write_held(app, tenant, job, move |tx| {
            Box::pin(async move {
                let progress = Progress { stage: "parsing", done: 0, total: 0 };
                files::progress(tx, tenant, file_id, generation, progress, now).await
            })
        })
        .await?;
    if !wanted {
        return Err(Stop::Obsolete);
    }
    let bytes = app.blobs.open_file(&file.blob_key).await?;
    let bytes = bytes.ok_or_else(|| Stop::Fail("The uploaded bytes are gone; upload the file again.".to_owned()))?;
    let options = ParseOptions {
        max_passage_characters: app.settings.passage_characters,
        tesseract: app.settings.tesseract.clone(),
        max_file_bytes: app.settings.max_upload_bytes,
        ..ParseOptions::default()
    };
    let (events, received) = mpsc::channel(EVENT_QUEUE);
    let parsing = app.parser.parse(bytes.into_std().await, &file.filename, &options, events);
    let storing = store_events(app, tenant, job, work, received);
    let (parsed, stored) = tokio::join!(parsing, storing);
    stored?;
    let summary = parsed.map_err(stop_of)?;
    if summary.passages == 0 {
        return Err(Stop::Fail("The file holds no text.".to_owned()));
    }
    Ok(())
}

fn stop_of(error: ParseError) -> Stop {
    if error.is_transient() { Stop::Retry(error.reason) } else { Stop::Fail(error.reason) }
}

async fn store_events(
    app: &App,
    tenant: Tenant,
    job: &Job,
    work: Ingest,
    mut events: mpsc::Receiver<ParseEvent>,
) -> Result<(), Stop> {
    let mut progress = Progress { stage: "parsing", done: 0, total: 0 };
    while let Some(event) = events.recv().await {
        let mut batch: Vec<Passage> = Vec::new();
        match event {
            ParseEvent::Progress { done, total, .. } => {
                progress.done = i64::try_from(done).unwrap_or(i64::MAX);
                progress.total = i64::try_from(total).unwrap_or(i64::MAX);
                // Progress is written with the next passages: on its own it is not worth a commit.
                continue;
            }
            ParseEvent::Passages(passages) => batch.extend(passages),
        }
        let now = app.now();
        let rows: Vec<NewPassage> = batch.into_iter().map(|passage| new_passage(app, passage)).collect();
        let place = (work.knowledge_base, work.file, work.generation);
        let wanted = write_held(app, tenant, job, move |tx| {
            Box::pin(async move {
                if !files::progress(tx, tenant, work.file, work.generation, progress, now).await? {
                    return Ok(false);
                }
                passages::insert(tx, tenant, place, &rows, now).await?;
                Ok(true)
            })
        })
        .await?;
        if !wanted {
            return Err(Stop::Obsolete);
        }
    }
    Ok(())
}

fn new_passage(app: &App, passage: Passage) -> NewPassage {
    NewPassage {
        id: app.new_id(),
        ordinal: i64::from(passage.ordinal),
        text: passage.text,
        heading: passage.heading,
        page: passage.page.map(i64::from),
        start: i64::try_from(passage.start).unwrap_or(i64::MAX),
        end: i64::try_from(passage.end).unwrap_or(i64::MAX),
    }
}

async fn embed(app: &App, tenant: Tenant, job: &Job, work: Ingest, embedding: &Embedding) -> Result<(), Stop> {
    loop {
        let (texts, total, done) = {
            let mut tx = app.db.read(tenant).await?;
            let (total, done) = passages::count_generation(&mut tx, tenant, work.file, work.generation).await?;
            let place = (work.file, work.generation);
            (passages::without_vector(&mut tx, tenant, place, EMBEDDING_BATCH).await?, total, done)
        };
        let progress = Progress {
            stage: "embedding",
            done: i64::try_from(done).unwrap_or(i64::MAX),
            total: i64::try_from(total).unwrap_or(i64::MAX),
        };
        let now = app.now();
        let wanted = write_held(app, tenant, job, move |tx| {
            Box::pin(async move { files::progress(tx, tenant, work.file, work.generation, progress, now).await })
        })
        .await?;
        if !wanted {
            return Err(Stop::Obsolete);
        }
        if texts.is_empty() {
            return Ok(());
        }
        let inputs = texts.iter().map(|passage| passage.text.clone()).collect();
        let vectors = embedding.model.embed(inputs, EmbeddingPurpose::Passage).await.map_err(|error| {
            tracing::warn!(%error, file = %work.file, "the embedding model failed");
            Stop::Retry("The embedding model did not answer as expected.".to_owned())
        })?;
        check_lengths(texts.len(), &vectors, embedding.model.dimensions())?;
        let rows: Vec<_> = texts
            .iter()
            .zip(vectors)
            .map(|(passage, vector)| (passage.id, vector.iter().flat_map(|number| number.to_le_bytes()).collect()))
            .collect();
        write_held(app, tenant, job, move |tx| {
            Box::pin(async move { passages::set_vectors(tx, tenant, &rows).await.map(|()| true) })
        })
        .await?;
    }
}

/// The vectors of a base are compared with each other, so they have one length.
pub(crate) fn check_lengths(texts: usize, vectors: &[Vec<f32>], dimensions: Option<usize>) -> Result<(), Stop> {
    if vectors.len() != texts {
        return Err(Stop::Retry("The embedding model did not answer as expected.".to_owned()));
    }
    let Some(expected) = dimensions.or_else(|| vectors.first().map(Vec::len)) else { return Ok(()) };
    match vectors.iter().map(Vec::len).find(|length| *length != expected || expected == 0) {
        None => Ok(()),
        Some(length) => Err(Stop::Fail(format!(
            "The embedding model gave a vector of {length} numbers where {expected} belong; check the model's \
             dimensions, then reparse the file."
        ))),
    }
}

/// Tells the indexer of the generation and ends the job, in one transaction.
async fn hand_over(
    app: &App,
    tenant: Tenant,
    job: &Job,
    work: Ingest,
    model: Option<parlance_domain::kind::ModelId>,
) -> Result<(), Stop> {
    let now = app.now();
    let change = IndexChange {
        id: app.new_id(),
        organisation: tenant.organisation(),
        kind: PUT.to_owned(),
        knowledge_base_id: work.knowledge_base,
        file_id: Some(work.file),
        faq_id: None,
        generation: work.generation,
        embedding_model_id: model,
        attempts: 0,
        created_at: now,
    };
    let finished = job.clone();
    let wanted = write_held(app, tenant, job, move |tx| {
        Box::pin(async move {
            let progress = Progress { stage: "indexing", done: 0, total: 0 };
            if !files::progress(tx, tenant, work.file, work.generation, progress, now).await? {
                return Ok(false);
            }
            index_changes::insert(tx, tenant, &change).await?;
            jobs::finish(tx, tenant, &finished).await
        })
    })
    .await?;
    app.index_bell.notify_one();
    if wanted { Ok(()) } else { Err(Stop::Obsolete) }
}

/// Runs a write only while this worker holds the job. `false` when it does not.
pub(crate) async fn write_held<F>(app: &App, tenant: Tenant, job: &Job, operation: F) -> Result<bool>
where
    F: for<'t> FnOnce(&'t mut Tx) -> futures_util::future::BoxFuture<'t, Result<bool>> + Send + 'static,
{
    let job = Arc::new(job.clone());
    app.db
        .write(tenant, move |tx| {
            Box::pin(async move {
                if !jobs::is_held(tx, tenant, &job).await? {
                    return Ok(false);
                }
                operation(tx).await
            })
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_of_different_lengths_fail_their_file_only() {
        let vector = |length| vec![0.5; length];
        assert!(check_lengths(2, &[vector(3), vector(3)], None).is_ok());
        assert!(check_lengths(2, &[vector(3), vector(3)], Some(3)).is_ok());
        assert!(check_lengths(0, &[], None).is_ok());
        for (vectors, dimensions) in
            [(vec![vector(3), vector(4)], None), (vec![vector(3)], Some(4)), (vec![vector(0)], None)]
        {
            let checked = check_lengths(vectors.len(), &vectors, dimensions);
            assert!(matches!(checked, Err(Stop::Fail(reason)) if reason.contains("numbers")));
        }
        assert!(matches!(check_lengths(2, &[vector(3)], None), Err(Stop::Retry(_))));
    }
}
