//! The audit log: who changed what. Rows are written in the transaction of the change.

use parlance_domain::kind::{AuditEntryId, UserId};
use parlance_domain::{Result, Tenant, Timestamp};

use crate::page::{Listing, Page, count};
use crate::tx::{Tx, execute, fault, on_tx};

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct AuditEntry {
    /// Its id.
    pub id: AuditEntryId,
    /// Who made it.
    pub user_id: Option<UserId>,
    /// With which credential: its id.
    pub credential_id: String,
    /// Method of the request.
    pub method: String,
    /// Path of the operation, with names in place of ids.
    pub operation: String,
    /// What was changed or made, where that is one thing.
    pub object_id: Option<String>,
    /// Status that the request was answered with.
    pub status: i64,
    /// Id of the request, as in its answer and in the log.
    pub request_id: String,
    /// Address that it came from.
    pub address: String,
    /// When.
    pub created_at: Timestamp,
}

/// What a list is narrowed to.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Changes by this user.
    pub user: Option<UserId>,
    /// Changes by operations with this method.
    pub method: Option<String>,
    /// Changes by this operation: its path with names in place of ids.
    pub operation: Option<String>,
    /// Changes of this thing.
    pub object: Option<String>,
    /// Changes at this time or later.
    pub since: Option<Timestamp>,
    /// Changes before this time.
    pub until: Option<Timestamp>,
}

/// Adds a change. The same one again changes nothing.
pub async fn insert(tx: &mut Tx, tenant: Tenant, entry: &AuditEntry) -> Result<()> {
    execute!(
        tx,
        sqlx::query(
            "INSERT INTO audit_entries (id, org_id, user_id, credential_id, method, operation, object_id, status, \
             request_id, address, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
             ON CONFLICT (id) DO NOTHING"
        )
        .bind(entry.id)
        .bind(tenant.organisation())
        .bind(entry.user_id)
        .bind(&entry.credential_id)
        .bind(&entry.method)
        .bind(&entry.operation)
        .bind(&entry.object_id)
        .bind(entry.status)
        .bind(&entry.request_id)
        .bind(&entry.address)
        .bind(entry.created_at)
    )
    .map(drop)
}

/// Corrects the status of a change whose request was answered otherwise than expected.
pub async fn set_status(tx: &mut Tx, tenant: Tenant, id: AuditEntryId, status: u16) -> Result<()> {
    execute!(
        tx,
        sqlx::query("UPDATE audit_entries SET status = $3 WHERE org_id = $1 AND id = $2")
            .bind(tenant.organisation())
            .bind(id)
            .bind(i64::from(status))
    )
    .map(drop)
}

/// A statement on the rows that the filter allows.
macro_rules! matching {
    ($select:literal, $rest:literal) => {
        concat!(
            $select,
            " FROM audit_entries WHERE org_id = $1 AND ($2 IS NULL OR user_id = $2) AND ($3 IS NULL OR method = $3) \
             AND ($4 IS NULL OR operation = $4) AND ($5 IS NULL OR object_id = $5) \
             AND created_at >= $6 AND created_at < $7",
            $rest
        )
    };
}

/// The organisation's changes, newest first.
pub async fn list(tx: &mut Tx, tenant: Tenant, filter: &Filter, page: Page) -> Result<Listing<AuditEntry>> {
    let since = filter.since.map_or(i64::MIN, Timestamp::millis);
    let until = filter.until.map_or(i64::MAX, Timestamp::millis);
    let total: i64 = on_tx!(tx, db => sqlx::query_scalar(
        matching!("SELECT count(*)", ""))
        .bind(tenant.organisation()).bind(filter.user).bind(&filter.method).bind(&filter.operation)
        .bind(&filter.object).bind(since).bind(until).fetch_one(db).await)
    .map_err(fault)?;
    let rows = on_tx!(tx, db => sqlx::query_as(
        matching!("SELECT id, user_id, credential_id, method, operation, object_id, status, request_id, address, created_at",
            " ORDER BY created_at DESC, id DESC LIMIT $8 OFFSET $9"))
        .bind(tenant.organisation()).bind(filter.user).bind(&filter.method).bind(&filter.operation)
        .bind(&filter.object).bind(since).bind(until)
        .bind(page.limit_sql()).bind(page.offset_sql()).fetch_all(db).await)
    .map_err(fault)?;
    Ok(Listing { rows, total: count(total) })
}

/// Forgets changes of all organisations that were made before `before`, at most `limit` of them.
pub async fn forget(tx: &mut Tx, before: Timestamp, limit: i64) -> Result<u64> {
    execute!(
        tx,
        sqlx::query(
            "DELETE FROM audit_entries WHERE id IN \
             (SELECT id FROM audit_entries WHERE created_at < $1 ORDER BY created_at LIMIT $2)"
        )
        .bind(before)
        .bind(limit)
    )
}
