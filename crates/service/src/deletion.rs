//! Deleting files and knowledge bases, however much they hold.
//!
//! The request hides the row from everybody and queues a job, in one transaction. The job removes the
//! passages in slices, so that no other write waits for more than one of them, and last the row. What
//! a crash interrupts goes on with what is left.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parlance_domain::kind::{FileId, KnowledgeBaseId};
use parlance_domain::{Error, Result, Tenant};
use parlance_storage::jobs::{self, Job, NewJob};
use parlance_storage::{Tx, files, knowledge_bases, passages, uploads};
use serde::{Deserialize, Serialize};

use crate::ingest::{DELETED_AT_ONCE, write_held};
use crate::{App, faq_vectors, faqs, ingest, re_embedding};

/// Name of the job.
pub const KIND: &str = "delete";
/// Files of a base that are removed with one write at most.
const FILES_AT_ONCE: i64 = 100;

/// Arguments of the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deletion {
    /// The base.
    pub knowledge_base: KnowledgeBaseId,
    /// One file of it; `None` for the base with all it holds.
    pub file: Option<FileId>,
}

impl Deletion {
    /// The arguments of a job.
    ///
    /// # Errors
    /// When it holds others.
    pub fn of(job: &Job) -> Result<Self> {
        serde_json::from_str(&job.payload).map_err(|error| Error::internal("reading the job of a deletion", error))
    }

    fn unique_key(self) -> String {
        self.file.map_or_else(|| format!("{KIND}:{}", self.knowledge_base), |file| format!("{KIND}:{file}"))
    }
}

/// What a slice left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is more to remove.
    More,
    /// Everything is gone, and the job with it.
    Done,
    /// Another worker holds the job.
    Lost,
}

/// Hides a file and queues its removal, in the caller's transaction. False when there is no such file
/// (any more).
pub(crate) async fn begin_file(
    tx: &mut Tx,
    app: &App,
    tenant: Tenant,
    base: KnowledgeBaseId,
    file: FileId,
) -> Result<bool> {
    let hidden = hide_file(tx, app, tenant, file).await?;
    if hidden {
        enqueue(tx, app, tenant, Deletion { knowledge_base: base, file: Some(file) }).await?;
    }
    Ok(hidden)
}

/// Hides a base with all it holds and queues its removal, in the caller's transaction. False when
/// there is no such base (any more).
pub(crate) async fn begin_base(tx: &mut Tx, app: &App, tenant: Tenant, base: KnowledgeBaseId) -> Result<bool> {
    let hidden = knowledge_bases::mark_deleting(tx, tenant, base, app.now()).await?;
    if hidden {
        enqueue(tx, app, tenant, Deletion { knowledge_base: base, file: None }).await?;
    }
    Ok(hidden)
}

async fn enqueue(tx: &mut Tx, app: &App, tenant: Tenant, work: Deletion) -> Result<()> {
    let payload = serde_json::to_string(&work).map_err(|error| Error::internal("queueing a deletion", error))?;
    let now = app.now();
    let job = NewJob { id: app.new_id(), kind: KIND, unique_key: work.unique_key(), payload, run_at: now };
    jobs::enqueue(tx, tenant, &job, now).await
}

/// Hides a file, ends the work on it and tells the indexes to forget it.
async fn hide_file(tx: &mut Tx, app: &App, tenant: Tenant, file: FileId) -> Result<bool> {
    // The job first, as everywhere: a worker locks its job and then the file.
    jobs::remove(tx, tenant, &ingest::unique_key(file)).await?;
    let Some(base) = files::mark_deleting(tx, tenant, file, app.now()).await? else { return Ok(false) };
    crate::indexer::forget_file(tx, app, tenant, (base, file)).await?;
    Ok(true)
}

/// Runs the job to its end. False when the job is lost to another worker.
///
/// # Errors
/// When a slice could not be removed; those before it are.
pub async fn run(app: &App, tenant: Tenant, job: &Job, work: Deletion) -> Result<bool> {
    loop {
        match step(app, tenant, job, work).await? {
            Step::More => {}
            Step::Done => return Ok(true),
            Step::Lost => return Ok(false),
        }
    }
}

/// Removes one slice, with one write.
///
/// # Errors
/// When the database fails; then nothing is removed.
pub async fn step(app: &App, tenant: Tenant, job: &Job, work: Deletion) -> Result<Step> {
    let done = Arc::new(AtomicBool::new(false));
    let (ended, writer, held) = (Arc::clone(&done), app.clone(), job.clone());
    let is_held = write_held(app, tenant, job, move |tx| {
        Box::pin(async move {
            let mut budget = DELETED_AT_ONCE;
            let removed = match work.file {
                Some(file) => remove_file(tx, tenant, file, &mut budget).await?,
                None => remove_from_base(tx, &writer, tenant, work.knowledge_base).await?,
            };
            if removed {
                jobs::finish(tx, tenant, &held).await?;
            }
            ended.store(removed, Ordering::Relaxed);
            Ok(true)
        })
    })
    .await?;
    if work.file.is_none() {
        app.index_bell.notify_one();
    }
    Ok(match (is_held, done.load(Ordering::Relaxed)) {
        (false, _) => Step::Lost,
        (true, false) => Step::More,
        (true, true) => Step::Done,
    })
}

/// Removes at most `budget` passages of a file and lowers the budget by those. When none is left the
/// row goes too, and its bytes unless something else shows them; then true.
async fn remove_file(tx: &mut Tx, tenant: Tenant, file: FileId, budget: &mut u64) -> Result<bool> {
    let removed = passages::delete_older(tx, tenant, file, i64::MAX, *budget).await?;
    *budget = budget.saturating_sub(removed);
    if *budget == 0 {
        return Ok(false);
    }
    if let Some((_, blob_key)) = files::delete(tx, tenant, file).await? {
        uploads::release(tx, tenant, &blob_key).await?;
    }
    Ok(true)
}

/// Removes a slice of what a base holds; true when that was all and the base is gone as well.
async fn remove_from_base(tx: &mut Tx, app: &App, tenant: Tenant, base: KnowledgeBaseId) -> Result<bool> {
    let mut budget = DELETED_AT_ONCE;
    let next = files::oldest_of_base(tx, tenant, base, FILES_AT_ONCE).await?;
    let is_last = next.len() < usize::try_from(FILES_AT_ONCE).unwrap_or(usize::MAX);
    for file in next {
        // Where the file itself was deleted before, this takes its place.
        jobs::remove(tx, tenant, &Deletion { knowledge_base: base, file: Some(file) }.unique_key()).await?;
        hide_file(tx, app, tenant, file).await?;
        if !remove_file(tx, tenant, file, &mut budget).await? {
            return Ok(false);
        }
    }
    if !is_last {
        return Ok(false);
    }
    jobs::remove(tx, tenant, &faq_vectors::unique_key(base)).await?;
    jobs::remove(tx, tenant, &re_embedding::unique_key(base)).await?;
    if faqs::delete_some(tx, app, tenant, base).await? > 0 {
        return Ok(false);
    }
    knowledge_bases::delete(tx, tenant, base).await?;
    Ok(true)
}
