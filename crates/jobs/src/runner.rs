//! Claims jobs, keeps their leases, and decides between done, again and never again.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use parlance_domain::{Error, Result, Tenant};
use parlance_service::{App, reply, webhook_delivery};
use parlance_storage::Scope;
use parlance_storage::jobs::{self, Job};
use tokio::sync::Semaphore;

/// Time a job may run without a sign of life.
const LEASE: Duration = Duration::from_mins(1);
/// Time between signs of life.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Longest sleep without looking for work that nobody rang for.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// First pause before another attempt; doubles with each.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// Longest pause before another attempt.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// The table of jobs. Those of a kind that is not in it, from a newer version, stay for that one.
const KINDS: &[Kind] = &[
    crate::ingest::KIND,
    crate::deletion::KIND,
    crate::domain_check::KIND,
    crate::faq_vectors::KIND,
    crate::re_embedding::KIND,
    crate::reply::KIND,
    crate::webhook_delivery::KIND,
];

/// What the runner does with the jobs of one kind.
pub(crate) struct Kind {
    /// Name in the row of a job.
    pub(crate) name: &'static str,
    /// Attempts at most.
    pub(crate) attempts: fn(&App) -> u32,
    /// What a person can do about a job that was given up, as a sentence.
    pub(crate) advice: &'static str,
    /// Makes one attempt.
    pub(crate) run: for<'a> fn(&'a App, Tenant, &'a Job) -> BoxFuture<'a, Outcome>,
    /// Tells people that the job waits, for this reason and this long. Changes nothing when the job
    /// is not held any more.
    pub(crate) wait: for<'a> fn(&'a App, Tenant, &'a Job, &'a str, Duration) -> BoxFuture<'a, Result<()>>,
    /// Ends the job as failed for this reason, in a form that a person understands. Changes nothing
    /// when the job is not held any more.
    pub(crate) fail: for<'a> fn(&'a App, Tenant, &'a Job, String) -> BoxFuture<'a, Result<()>>,
}

/// How an attempt ended.
#[derive(Debug)]
pub enum Outcome {
    /// Its effects are stored and the job itself is gone.
    Done,
    /// It is to be tried again, for this reason.
    Retry(String),
    /// It is to be tried again after this time, for this reason.
    RetryAfter(Duration, String),
    /// It can never succeed, for this reason.
    Fail(String),
    /// Nobody wants it any more.
    Obsolete,
}

/// Jobs of one kind that run at the same time. Each kind has room of its own: documents that take
/// minutes and receivers that do not answer hold up nobody's reply.
struct Room {
    kind: &'static Kind,
    size: usize,
    slots: Arc<Semaphore>,
}

impl Room {
    fn new(app: &App, kind: &'static Kind, workers: usize) -> Self {
        let size = match kind.name {
            reply::KIND => app.settings.reply_workers,
            webhook_delivery::KIND => app.settings.webhook_workers,
            _ => workers,
        };
        let size = size.max(1);
        Self { kind, size, slots: Arc::new(Semaphore::new(size)) }
    }
}

/// The outcome of a job that works in slices and is tried until it works: what its arguments ask for, and
/// how its slices went, false when the job was not held any more. `waits` is what people are told then.
pub(crate) async fn in_slices<W>(
    job: &Job,
    work: Result<W>,
    run: impl AsyncFnOnce(W) -> Result<bool>,
    waits: &str,
) -> Outcome {
    let work = match work {
        Ok(work) => work,
        Err(error) => return Outcome::Fail(error.to_string()),
    };
    match run(work).await {
        Ok(true) => Outcome::Done,
        Ok(false) => Outcome::Obsolete,
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, job = %job.id, kind = job.kind, "a job in slices was interrupted");
            Outcome::Retry(waits.to_owned())
        }
    }
}

/// Gives a job up, and says in the log what stays as it is.
pub(crate) async fn give_up(app: &App, tenant: Tenant, job: &Job, (reason, stays): (String, &str)) -> Result<()> {
    tracing::error!(job = %job.id, kind = job.kind, reason, stays, "a job was given up");
    finish(app, tenant, job).await
}

/// Removes a job, unless it is not held any more.
async fn finish(app: &App, tenant: Tenant, job: &Job) -> Result<()> {
    let job = job.clone();
    app.db.write(tenant, move |tx| Box::pin(async move { jobs::finish(tx, tenant, &job).await.map(drop) })).await
}

/// Runs jobs until the server stops, `workers` of a kind at a time where its settings say nothing
/// else. A claim under way is never abandoned: its job would belong to nobody until the lease ends.
pub async fn run(app: &App, workers: usize) {
    let rooms: Vec<Room> = KINDS.iter().map(|kind| Room::new(app, kind, workers)).collect();
    while !app.stopping.is_cancelled() {
        let mut pause = LOOK_AGAIN;
        for room in &rooms {
            let next = fill(app, room).await.unwrap_or_else(|error| {
                tracing::error!(error = &error as &dyn std::error::Error, "jobs could not be claimed");
                FIRST_PAUSE
            });
            pause = pause.min(next);
        }
        tokio::select! {
            () = app.stopping.cancelled() => {}
            () = app.job_bell.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Starts jobs of a kind while there is room. Gives the time until another may be due.
async fn fill(app: &App, room: &Room) -> Result<Duration> {
    // No more than fit at once, so that quick jobs of one kind do not keep the others waiting.
    for _ in 0..room.size {
        let Ok(slot) = Arc::clone(&room.slots).try_acquire_owned() else {
            // The first that ends rings.
            return Ok(LOOK_AGAIN);
        };
        let Some(job) = claim(app, room.kind).await? else { return pause_until_due(app, room.kind).await };
        let (worker, kind) = (app.clone(), room.kind);
        app.tasks.spawn(async move {
            work(&worker, kind, &job).await;
            drop(slot);
            worker.job_bell.notify_one();
        });
    }
    Ok(Duration::ZERO)
}

async fn claim(app: &App, kind: &Kind) -> Result<Option<Job>> {
    // A read first: an idle server writes nothing.
    let (now, name) = (app.now(), kind.name);
    {
        let mut tx = app.db.read(Scope::System).await?;
        if jobs::next_due(&mut tx, name).await?.is_none_or(|due| due > now) {
            return Ok(None);
        }
    }
    let until = now.plus(LEASE);
    app.db.write(Scope::System, move |tx| Box::pin(async move { jobs::claim(tx, name, now, until).await })).await
}

async fn pause_until_due(app: &App, kind: &Kind) -> Result<Duration> {
    let mut tx = app.db.read(Scope::System).await?;
    let Some(due) = jobs::next_due(&mut tx, kind.name).await? else { return Ok(LOOK_AGAIN) };
    let wait = u64::try_from(due.millis() - app.now().millis()).unwrap_or_default();
    Ok(Duration::from_millis(wait.max(10)).min(LOOK_AGAIN))
}

async fn work(app: &App, kind: &Kind, job: &Job) {
    let tenant = Tenant::authenticated(job.organisation);
    if job.attempts > i64::from((kind.attempts)(app)) {
        // Its last attempts ended without a word: they took the process down with them, or it was killed.
        let reason = format!("The server ended each time while it worked on this. {}", kind.advice);
        settle(app, tenant, (kind, job), Outcome::Fail(reason)).await;
        return;
    }
    let outcome = tokio::select! {
        outcome = (kind.run)(app, tenant, job) => outcome,
        () = keep_lease(app, tenant, job) => Outcome::Obsolete,
        () = app.stopping.cancelled() => {
            // Another start goes on with it at once, and with as many attempts.
            let held = job.clone();
            let returned =
                app.db.write(tenant, move |tx| Box::pin(async move { jobs::give_back(tx, tenant, &held).await })).await;
            log_failure(returned.map(drop), job);
            return;
        }
    };
    settle(app, tenant, (kind, job), outcome).await;
}

/// Returns when the lease is lost.
async fn keep_lease(app: &App, tenant: Tenant, job: &Job) {
    loop {
        tokio::time::sleep(HEARTBEAT).await;
        let (held, until) = (job.clone(), app.now().plus(LEASE));
        let kept = app
            .db
            .write(tenant, move |tx| Box::pin(async move { jobs::heartbeat(tx, tenant, &held, until).await }))
            .await;
        match kept {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => tracing::warn!(%error, job = %job.id, "a job's lease could not be kept"),
        }
    }
}

async fn settle(app: &App, tenant: Tenant, (kind, job): (&Kind, &Job), outcome: Outcome) {
    let label = match &outcome {
        Outcome::Done => "done",
        Outcome::Retry(_) | Outcome::RetryAfter(..) => "retry",
        Outcome::Fail(_) => "failed",
        Outcome::Obsolete => "obsolete",
    };
    metrics::counter!("parlance_jobs_total", "kind" => job.kind.clone(), "end" => label).increment(1);
    let attempts = u32::try_from(job.attempts).unwrap_or(u32::MAX);
    let (pause, outcome) = match outcome {
        Outcome::RetryAfter(pause, reason) => (pause, Outcome::Retry(reason)),
        other => (FIRST_PAUSE.saturating_mul(1_u32 << attempts.saturating_sub(1).min(10)).min(LONGEST_PAUSE), other),
    };
    match outcome {
        Outcome::Done | Outcome::RetryAfter(..) => {}
        Outcome::Obsolete => log_failure(finish(app, tenant, job).await, job),
        Outcome::Retry(reason) if attempts < (kind.attempts)(app) => {
            tracing::warn!(job = %job.id, kind = job.kind, attempts, reason, pause_s = pause.as_secs(), "a job waits");
            log_failure((kind.wait)(app, tenant, job, &reason, pause).await, job);
            put_back(app, tenant, job, &reason, pause).await;
        }
        Outcome::Retry(reason) => {
            let reason = format!("{reason} Gave up after {attempts} attempts. {}", kind.advice);
            log_failure((kind.fail)(app, tenant, job, reason).await, job);
        }
        Outcome::Fail(reason) => {
            tracing::info!(job = %job.id, kind = job.kind, reason, "a job failed");
            log_failure((kind.fail)(app, tenant, job, reason).await, job);
        }
    }
}

async fn put_back(app: &App, tenant: Tenant, job: &Job, reason: &str, pause: Duration) {
    let (held, reason, run_at) = (job.clone(), reason.to_owned(), app.now().plus(pause));
    let stored = app
        .db
        .write(tenant, move |tx| Box::pin(async move { jobs::retry(tx, tenant, &held, &reason, run_at).await }))
        .await;
    log_failure(stored.map(drop), job);
}

fn log_failure(stored: Result<(), Error>, job: &Job) {
    if let Err(error) = stored {
        // The lease ends by itself and the job runs again.
        tracing::error!(error = &error as &dyn std::error::Error, job = %job.id, "a job's end was not stored");
    }
}

/// Runs every job that is due, and the indexer, until nothing is left to do. For programs that want
/// the effects before they go on, such as tests.
pub async fn drain(app: &App) -> Result<usize> {
    let mut count = 0;
    loop {
        let mut busy = false;
        for kind in KINDS {
            while let Some(job) = claim(app, kind).await? {
                work(app, kind, &job).await;
                count += 1;
                busy = true;
            }
        }
        while parlance_service::indexer::carry_over(app).await? > 0 {
            busy = true;
        }
        if !busy {
            return Ok(count);
        }
    }
}
