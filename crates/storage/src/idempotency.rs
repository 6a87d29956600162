//! Idempotency keys: a repeated request gets the first one's answer, and its effect happens once.
//!
//! The row of a key appears in the transaction of the request's first effect, not before it: a
//! process that dies in between leaves neither. The primary key lets one request have the row; the
//! transaction of any other fails on it, effect and all. The answer is added when it is known.

use parlance_domain::kind::MessageId;
use parlance_domain::{Error, Result, Tenant, Timestamp};

use crate::tx::{Tx, execute, fault, on_tx};

/// A request that wants to be carried out once.
#[derive(Clone, Debug)]
pub struct Claim {
    /// What its sender calls it.
    pub key: String,
    /// Tells this attempt from others with the same key.
    pub attempt: String,
    /// Hash of all that makes it the same request.
    pub request_hash: String,
    /// When it came.
    pub created_at: Timestamp,
    /// Rows made before this count no more.
    pub forgotten_before: Timestamp,
}

/// What is known of a key.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Known {
    /// The attempt that took it.
    pub attempt: String,
    /// Hash of its request.
    pub request_hash: String,
    /// Ids that the request made, joined by spaces.
    pub made: String,
    /// The answer that it asked a chatbot for.
    pub answer_message_id: Option<MessageId>,
    /// Status of its answer; `None` while it is not known.
    pub status: Option<i64>,
    /// Media type of its answer.
    pub content_type: Option<String>,
    /// Body of its answer, sealed.
    pub body_sealed: Option<Vec<u8>>,
}

/// An answer to keep.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its media type.
    pub content_type: String,
    /// Its body, sealed.
    pub body_sealed: Vec<u8>,
}

/// What is known of a key that was taken since `since`.
pub async fn find(tx: &mut Tx, tenant: Tenant, key: &str, since: Timestamp) -> Result<Option<Known>> {
    on_tx!(tx, db => sqlx::query_as(
        "SELECT attempt, request_hash, made, answer_message_id, status, content_type, body_sealed \
         FROM idempotency_keys WHERE org_id = $1 AND idempotency_key = $2 AND created_at >= $3")
        .bind(tenant.organisation()).bind(key).bind(since).fetch_optional(db).await)
    .map_err(fault)
}

/// Takes the key for an attempt in the transaction of its effect, or notes more of what it made.
///
/// # Errors
/// [`Error::Conflict`] when another attempt has the key: the transaction must not stand.
pub async fn mark(
    tx: &mut Tx,
    tenant: Tenant,
    claim: &Claim,
    made: &str,
    answer_message: Option<MessageId>,
) -> Result<()> {
    let taken = execute!(
        tx,
        sqlx::query(
            "INSERT INTO idempotency_keys \
             (org_id, idempotency_key, attempt, request_hash, made, answer_message_id, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (org_id, idempotency_key) DO UPDATE SET \
             attempt = excluded.attempt, request_hash = excluded.request_hash, made = excluded.made, \
             answer_message_id = excluded.answer_message_id, created_at = excluded.created_at, \
             status = NULL, content_type = NULL, body_sealed = NULL \
             WHERE idempotency_keys.attempt = excluded.attempt OR idempotency_keys.created_at < $8"
        )
        .bind(tenant.organisation())
        .bind(&claim.key)
        .bind(&claim.attempt)
        .bind(&claim.request_hash)
        .bind(made)
        .bind(answer_message)
        .bind(claim.created_at)
        .bind(claim.forgotten_before)
    )?;
    if taken == 0 {
        return Err(Error::Conflict("A request with this idempotency key is in progress; try again.".to_owned()));
    }
    Ok(())
}

/// Keeps the answer of an attempt. One of a request without an effect takes the key now.
///
/// # Errors
/// [`Error::Conflict`] when another attempt has the key.
pub async fn finish(tx: &mut Tx, tenant: Tenant, claim: &Claim, answer: &Answer) -> Result<()> {
    let known = find(tx, tenant, &claim.key, claim.forgotten_before).await?;
    if known.is_none_or(|known| known.attempt != claim.attempt) {
        mark(tx, tenant, claim, "", None).await?;
    }
    execute!(
        tx,
        sqlx::query(
            "UPDATE idempotency_keys SET status = $4, content_type = $5, body_sealed = $6 \
             WHERE org_id = $1 AND idempotency_key = $2 AND attempt = $3"
        )
        .bind(tenant.organisation())
        .bind(&claim.key)
        .bind(&claim.attempt)
        .bind(i64::from(answer.status))
        .bind(&answer.content_type)
        .bind(&answer.body_sealed)
    )
    .map(drop)
}

/// Forgets keys of all organisations that were taken before `before`.
pub async fn forget(tx: &mut Tx, before: Timestamp) -> Result<u64> {
    execute!(tx, sqlx::query("DELETE FROM idempotency_keys WHERE created_at < $1").bind(before))
}
