//! Idempotency keys: a repeated request gets the first one's answer.

use parlance_domain::{Result, Tenant, Timestamp};

use crate::tx::{Tx, execute, fault, on_tx};

/// What is known of a key.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Known {
    /// Hash of method, path and body of the first request.
    pub request_hash: String,
    /// Status of its answer; `None` while it runs.
    pub status: Option<i64>,
    /// Body of its answer.
    pub body: Option<String>,
}

/// Takes a key for a request. `None` when it is free and now taken, else what is known of it.
pub async fn begin(
    tx: &mut Tx,
    tenant: Tenant,
    key: &str,
    request_hash: &str,
    now: Timestamp,
) -> Result<Option<Known>> {
    let taken =
        execute!(tx, sqlx::query(
        "INSERT INTO idempotency_keys (org_id, idempotency_key, request_hash, created_at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT DO NOTHING")
        .bind(tenant.organisation())
        .bind(key)
        .bind(request_hash)
        .bind(now))?;
    if taken > 0 {
        return Ok(None);
    }
    on_tx!(tx, db => sqlx::query_as(
        "SELECT request_hash, status, body FROM idempotency_keys WHERE org_id = $1 AND idempotency_key = $2")
        .bind(tenant.organisation()).bind(key).fetch_optional(db).await)
    .map_err(fault)
}

/// Stores the answer.
pub async fn finish(tx: &mut Tx, tenant: Tenant, key: &str, status: u16, body: &str) -> Result<()> {
    execute!(
        tx,
        sqlx::query("UPDATE idempotency_keys SET status = $3, body = $4 WHERE org_id = $1 AND idempotency_key = $2")
            .bind(tenant.organisation())
            .bind(key)
            .bind(i64::from(status))
            .bind(body)
    )
    .map(drop)
}

/// Frees a key whose request failed without an effect.
pub async fn release(tx: &mut Tx, tenant: Tenant, key: &str) -> Result<()> {
    execute!(
        tx,
        sqlx::query("DELETE FROM idempotency_keys WHERE org_id = $1 AND idempotency_key = $2")
            .bind(tenant.organisation())
            .bind(key)
    )
    .map(drop)
}

/// Forgets keys of all organisations that are older than `before`, and those whose request a dead
/// process left unfinished.
pub async fn forget(tx: &mut Tx, before: Timestamp) -> Result<u64> {
    execute!(tx, sqlx::query("DELETE FROM idempotency_keys WHERE created_at < $1").bind(before))
}
