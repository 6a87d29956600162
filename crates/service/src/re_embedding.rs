//! Giving the files of a base the vectors of another model, however many there are.
//!
//! The request that changes the model queues a job, in its own transaction. The job begins a new
//! generation of each file in slices, so that no other write waits for more than one of them, and notes
//! with each slice how far it is: what a crash interrupts goes on from there. What is searchable stays so
//! until the new passages of its file are ready. A model chosen meanwhile queues the job anew, which takes
//! it away from whoever runs it and begins again with the first file.
//!
//! A file that is added while the job waits needs nothing of it: its ingestion asks the base for the model.

use parlance_domain::kind::KnowledgeBaseId;
use parlance_domain::{Error, Result, Tenant};
use parlance_storage::jobs::{self, Job, NewJob};
use parlance_storage::{Tx, files, knowledge_bases};
use serde::{Deserialize, Serialize};

use crate::App;

/// Name of the job.
pub const KIND: &str = "re-embed";
/// Files that are begun with one write at most.
const FILES_AT_ONCE: i64 = 100;

/// Arguments of the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReEmbedding {
    /// The base.
    pub knowledge_base: KnowledgeBaseId,
    /// The last file that was begun.
    pub after: Option<files::Place>,
}

impl ReEmbedding {
    /// The arguments of a job.
    ///
    /// # Errors
    /// When it holds others.
    pub fn of(job: &Job) -> Result<Self> {
        serde_json::from_str(&job.payload).map_err(|error| Error::internal("reading the job of a base", error))
    }

    fn payload(self) -> Result<String> {
        serde_json::to_string(&self).map_err(|error| Error::internal("queueing the files of a base", error))
    }
}

/// What a slice left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There are more files; the job goes on with these arguments.
    More(ReEmbedding),
    /// Every file is begun, and the job is gone.
    Done,
    /// Another worker holds the job.
    Lost,
}

/// Key under which the job of a base is queued once.
pub(crate) fn unique_key(base: KnowledgeBaseId) -> String {
    format!("{KIND}:{base}")
}

/// Queues the job of a base, in the caller's transaction. One that runs begins again.
pub(crate) async fn enqueue(tx: &mut Tx, app: &App, tenant: Tenant, base: KnowledgeBaseId) -> Result<()> {
    let payload = ReEmbedding { knowledge_base: base, after: None }.payload()?;
    let now = app.now();
    let job = NewJob { id: app.new_id(), kind: KIND, unique_key: unique_key(base), payload, run_at: now };
    jobs::enqueue(tx, tenant, &job, now).await
}

/// Runs the job to its end. False when the job is lost to another worker.
///
/// # Errors
/// When a slice could not be begun; those before it are.
pub async fn run(app: &App, tenant: Tenant, job: &Job, mut work: ReEmbedding) -> Result<bool> {
    loop {
        match step(app, tenant, job, work).await? {
            Step::More(rest) => work = rest,
            Step::Done => return Ok(true),
            Step::Lost => return Ok(false),
        }
    }
}

/// Begins one slice of files, with one write.
///
/// # Errors
/// When the database fails; then nothing is begun.
pub async fn step(app: &App, tenant: Tenant, job: &Job, work: ReEmbedding) -> Result<Step> {
    let (writer, job) = (app.clone(), job.clone());
    let step = app
        .db
        .write(tenant, move |tx| {
            Box::pin(async move {
                if jobs::is_held(tx, tenant, &job).await? {
                    begin_some(tx, &writer, tenant, &job, work).await
                } else {
                    Ok(Step::Lost)
                }
            })
        })
        .await?;
    app.job_bell.notify_one();
    Ok(step)
}

async fn begin_some(tx: &mut Tx, app: &App, tenant: Tenant, job: &Job, work: ReEmbedding) -> Result<Step> {
    let id = work.knowledge_base;
    // Whoever changes the model queues the job in the same transaction, so while it is held this is the
    // model that was chosen last. A base that is being deleted has no files any more.
    let next = match knowledge_bases::get(tx, tenant, id).await? {
        Some(base) => {
            files::not_made_with(tx, tenant, id, base.embedding_model_id, (work.after, FILES_AT_ONCE)).await?
        }
        None => Vec::new(),
    };
    for (_, file) in &next {
        crate::files::begin(tx, app, tenant, id, *file).await?;
    }
    let is_last = next.len() < usize::try_from(FILES_AT_ONCE).unwrap_or(usize::MAX);
    if is_last {
        jobs::finish(tx, tenant, job).await?;
        return Ok(Step::Done);
    }
    let rest = ReEmbedding { after: next.last().copied(), ..work };
    jobs::note(tx, tenant, job, &rest.payload()?).await?;
    Ok(Step::More(rest))
}
