//! Jobs: work that outlives a request. A worker holds a job by a lease; every claim raises the
//! job's generation, and what a worker writes names the generation it holds, so that a worker whose
//! lease ran out changes nothing any more (a fencing token).

use parlance_domain::kind::{JobId, OrganisationId};
use parlance_domain::{Result, Tenant, Timestamp};

use crate::tx::{Engine, Tx, execute, fault, on_tx};

/// A job as a worker gets it.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// Whose it is.
    #[sqlx(rename = "org_id")]
    pub organisation: OrganisationId,
    /// Which job it is.
    pub kind: String,
    /// Its arguments, JSON.
    pub payload: String,
    /// How often it was claimed, this time included.
    pub attempts: i64,
    /// The fencing token.
    pub generation: i64,
}

/// A job to add.
#[derive(Clone, Debug)]
pub struct NewJob<'a> {
    /// Its id.
    pub id: JobId,
    /// Which job it is.
    pub kind: &'a str,
    /// Two jobs of an organisation with the same key are one: the later replaces the earlier and takes its lease away.
    pub unique_key: String,
    /// Its arguments, JSON.
    pub payload: String,
    /// Not before this.
    pub run_at: Timestamp,
}

/// Adds a job in the caller's transaction.
pub async fn enqueue(tx: &mut Tx, tenant: Tenant, job: &NewJob<'_>, now: Timestamp) -> Result<()> {
    execute!(
        tx,
        sqlx::query(
            "INSERT INTO jobs (id, org_id, kind, unique_key, payload, run_at, attempts, generation, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6, 0, 0, $7) \
         ON CONFLICT (org_id, unique_key) DO UPDATE SET payload = excluded.payload, run_at = excluded.run_at, attempts = 0, \
         generation = jobs.generation + 1, leased_until = NULL, last_error = NULL"
        )
        .bind(job.id)
        .bind(tenant.organisation())
        .bind(job.kind)
        .bind(&job.unique_key)
        .bind(&job.payload)
        .bind(job.run_at)
        .bind(now)
    )
    .map(drop)
}

/// Adds a job in the caller's transaction, unless it is there already: then it runs no later than
/// asked for now, and whoever holds it goes on. For jobs that look for their work themselves.
pub async fn enqueue_or_advance(tx: &mut Tx, tenant: Tenant, job: &NewJob<'_>, now: Timestamp) -> Result<()> {
    execute!(
        tx,
        sqlx::query(
            "INSERT INTO jobs (id, org_id, kind, unique_key, payload, run_at, attempts, generation, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6, 0, 0, $7) \
         ON CONFLICT (org_id, unique_key) DO UPDATE SET \
         run_at = CASE WHEN excluded.run_at < jobs.run_at THEN excluded.run_at ELSE jobs.run_at END"
        )
        .bind(job.id)
        .bind(tenant.organisation())
        .bind(job.kind)
        .bind(&job.unique_key)
        .bind(&job.payload)
        .bind(job.run_at)
        .bind(now)
    )
    .map(drop)
}

/// Claims the next due job of a kind. Organisations take turns: the one with the fewest jobs running goes
/// first, so that one tenant's thousand files do not keep the others waiting. The organisation is
/// chosen before the job, so that the time this takes does not grow with the jobs that wait.
pub async fn claim(tx: &mut Tx, kind: &str, now: Timestamp, leased_until: Timestamp) -> Result<Option<Job>> {
    macro_rules! claim {
        ($lock:literal) => {
            concat!(
                "UPDATE jobs SET generation = generation + 1, attempts = attempts + 1, leased_until = $2 \
                 WHERE id = (SELECT j.id FROM jobs AS j WHERE j.org_id = \
                 (SELECT o.org_id FROM (SELECT org_id, (SELECT w.run_at FROM jobs AS w \
                 WHERE w.org_id = organisations.org_id AND w.kind = $3 AND w.run_at <= $1 \
                 AND (w.leased_until IS NULL OR w.leased_until <= $1) ORDER BY w.run_at, w.id LIMIT 1) AS due \
                 FROM organisations) AS o WHERE o.due IS NOT NULL \
                 ORDER BY (SELECT count(*) FROM jobs AS r \
                 WHERE r.kind = $3 AND r.org_id = o.org_id AND r.leased_until > $1), \
                 o.due, o.org_id LIMIT 1) \
                 AND j.kind = $3 AND j.run_at <= $1 AND (j.leased_until IS NULL OR j.leased_until <= $1) \
                 ORDER BY j.run_at, j.id LIMIT 1",
                $lock,
                ") RETURNING id, org_id, kind, payload, attempts, generation"
            )
        };
    }
    let sql = match &tx.engine {
        Engine::Sqlite(_) => claim!(""),
        Engine::PostgresRead(_) | Engine::PostgresWrite(_) => claim!(" FOR UPDATE SKIP LOCKED"),
    };
    on_tx!(tx, db => sqlx::query_as(sql).bind(now).bind(leased_until).bind(kind).fetch_optional(db).await)
        .map_err(fault)
}

/// Keeps a lease. False when it is lost.
pub async fn heartbeat(tx: &mut Tx, tenant: Tenant, job: &Job, leased_until: Timestamp) -> Result<bool> {
    execute!(
        tx,
        sqlx::query("UPDATE jobs SET leased_until = $4 WHERE org_id = $1 AND id = $2 AND generation = $3")
            .bind(tenant.organisation())
            .bind(job.id)
            .bind(job.generation)
            .bind(leased_until)
    )
    .map(|changed| changed > 0)
}

/// Whether the worker still holds the job. Asked first inside the transaction of each effect: it
/// keeps the job from changing hands before that transaction ends.
pub async fn is_held(tx: &mut Tx, tenant: Tenant, job: &Job) -> Result<bool> {
    macro_rules! held {
        ($lock:literal) => {
            concat!("SELECT id FROM jobs WHERE org_id = $1 AND id = $2 AND generation = $3", $lock)
        };
    }
    let sql = match &tx.engine {
        // SQLite has one writer, so nothing changes while it writes.
        Engine::Sqlite(_) => held!(""),
        Engine::PostgresRead(_) | Engine::PostgresWrite(_) => held!(" FOR UPDATE"),
    };
    let held: Option<JobId> = on_tx!(tx, db => sqlx::query_scalar(sql)
        .bind(tenant.organisation()).bind(job.id).bind(job.generation).fetch_optional(db).await)
    .map_err(fault)?;
    Ok(held.is_some())
}

/// Removes a finished job. False when the lease is lost, and then the caller's transaction must fail.
pub async fn finish(tx: &mut Tx, tenant: Tenant, job: &Job) -> Result<bool> {
    execute!(
        tx,
        sqlx::query("DELETE FROM jobs WHERE org_id = $1 AND id = $2 AND generation = $3")
            .bind(tenant.organisation())
            .bind(job.id)
            .bind(job.generation)
    )
    .map(|changed| changed > 0)
}

/// Replaces the arguments of a job by how far it has come: who claims it next goes on from there. False
/// when the lease is lost, and then the caller's transaction must fail.
pub async fn note(tx: &mut Tx, tenant: Tenant, job: &Job, payload: &str) -> Result<bool> {
    execute!(
        tx,
        sqlx::query("UPDATE jobs SET payload = $4 WHERE org_id = $1 AND id = $2 AND generation = $3")
            .bind(tenant.organisation())
            .bind(job.id)
            .bind(job.generation)
            .bind(payload)
    )
    .map(|changed| changed > 0)
}

/// Puts a job back, to run again at `run_at`. False when the lease is lost.
pub async fn retry(tx: &mut Tx, tenant: Tenant, job: &Job, error: &str, run_at: Timestamp) -> Result<bool> {
    execute!(
        tx,
        sqlx::query(
            "UPDATE jobs SET leased_until = NULL, last_error = $4, run_at = $5 \
         WHERE org_id = $1 AND id = $2 AND generation = $3"
        )
        .bind(tenant.organisation())
        .bind(job.id)
        .bind(job.generation)
        .bind(error)
        .bind(run_at)
    )
    .map(|changed| changed > 0)
}

/// Puts a job back that has more to do, to go on at `run_at` with all its attempts. False when the
/// lease is lost, and then the caller's transaction must fail.
pub async fn go_on(tx: &mut Tx, tenant: Tenant, job: &Job, run_at: Timestamp) -> Result<bool> {
    execute!(
        tx,
        sqlx::query(
            "UPDATE jobs SET leased_until = NULL, last_error = NULL, attempts = 0, run_at = $4 \
         WHERE org_id = $1 AND id = $2 AND generation = $3"
        )
        .bind(tenant.organisation())
        .bind(job.id)
        .bind(job.generation)
        .bind(run_at)
    )
    .map(|changed| changed > 0)
}

/// Puts a job back whose worker was told to stop: to run again at once, without having used up an
/// attempt. False when the lease is lost.
pub async fn give_back(tx: &mut Tx, tenant: Tenant, job: &Job) -> Result<bool> {
    execute!(
        tx,
        sqlx::query(
            "UPDATE jobs SET leased_until = NULL, attempts = attempts - 1 \
         WHERE org_id = $1 AND id = $2 AND generation = $3 AND attempts > 0"
        )
        .bind(tenant.organisation())
        .bind(job.id)
        .bind(job.generation)
    )
    .map(|changed| changed > 0)
}

/// Removes a job whoever holds it, because what it works on is gone.
pub async fn remove(tx: &mut Tx, tenant: Tenant, unique_key: &str) -> Result<()> {
    execute!(
        tx,
        sqlx::query("DELETE FROM jobs WHERE org_id = $1 AND unique_key = $2")
            .bind(tenant.organisation())
            .bind(unique_key)
    )
    .map(drop)
}

/// Takes all leases away. Only for the start of the single process of a SQLite installation: nobody
/// else can hold one.
pub async fn release_all(tx: &mut Tx) -> Result<u64> {
    execute!(
        tx,
        sqlx::query("UPDATE jobs SET leased_until = NULL, generation = generation + 1 WHERE leased_until IS NOT NULL")
    )
}

/// When the next job of a kind is due or the next lease ends. `None` without jobs.
pub async fn next_due(tx: &mut Tx, kind: &str) -> Result<Option<Timestamp>> {
    on_tx!(tx, db => sqlx::query_scalar(
        "SELECT min(due) FROM (SELECT min(leased_until) AS due FROM jobs \
         WHERE kind = $1 AND leased_until IS NOT NULL UNION ALL SELECT * FROM (SELECT run_at AS due FROM jobs \
         WHERE kind = $1 AND leased_until IS NULL ORDER BY run_at, id LIMIT 1) AS w) AS d")
        .bind(kind).fetch_one(db).await)
    .map_err(fault)
}

/// Jobs that wait or run, of all organisations.
pub async fn count(tx: &mut Tx) -> Result<u64> {
    let count: i64 =
        on_tx!(tx, db => sqlx::query_scalar("SELECT count(*) FROM jobs").fetch_one(db).await).map_err(fault)?;
    Ok(crate::page::count(count))
}
