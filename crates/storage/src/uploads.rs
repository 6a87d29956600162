//! Bytes that were uploaded and wait to be attached to something.

use parlance_domain::kind::{OrganisationId, UploadId};
use parlance_domain::{Error, Result, Tenant, Timestamp};

use crate::tx::{Tx, execute, fault, on_tx};

/// A finished upload.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Upload {
    /// Its id.
    pub id: UploadId,
    /// The storage key that clients name it by.
    pub blob_key: String,
    /// As the uploader called it.
    pub filename: String,
    /// Bytes.
    pub size: i64,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Notes a finished upload.
///
/// # Errors
/// [`Error::Conflict`] when there is one with its key: what was uploaded once is not replaced.
pub async fn insert(tx: &mut Tx, tenant: Tenant, upload: &Upload) -> Result<()> {
    let inserted = execute!(
        tx,
        sqlx::query(
            "INSERT INTO uploads (id, org_id, blob_key, filename, size, created_at) VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (blob_key) DO NOTHING"
        )
        .bind(upload.id)
        .bind(tenant.organisation())
        .bind(&upload.blob_key)
        .bind(&upload.filename)
        .bind(upload.size)
        .bind(upload.created_at)
    )?;
    if inserted == 0 {
        return Err(Error::Conflict("this upload form was used already; ask for a new one".to_owned()));
    }
    Ok(())
}

/// The organisation's upload with this storage key.
pub async fn by_key(tx: &mut Tx, tenant: Tenant, blob_key: &str) -> Result<Option<Upload>> {
    on_tx!(tx, db => sqlx::query_as(
        "SELECT id, blob_key, filename, size, created_at FROM uploads WHERE org_id = $1 AND blob_key = $2")
        .bind(tenant.organisation()).bind(blob_key).fetch_optional(db).await)
    .map_err(fault)
}

/// The organisation's upload with this id.
pub async fn by_id(tx: &mut Tx, tenant: Tenant, id: UploadId) -> Result<Option<Upload>> {
    on_tx!(tx, db => sqlx::query_as(
        "SELECT id, blob_key, filename, size, created_at FROM uploads WHERE org_id = $1 AND id = $2")
        .bind(tenant.organisation()).bind(id).fetch_optional(db).await)
    .map_err(fault)
}

/// Notes that something refers to the upload, so that it is kept. False when there is no such upload
/// (any more).
pub async fn mark_used(tx: &mut Tx, tenant: Tenant, blob_key: &str, now: Timestamp) -> Result<bool> {
    execute!(
        tx,
        sqlx::query("UPDATE uploads SET used_at = coalesce(used_at, $3) WHERE org_id = $1 AND blob_key = $2")
            .bind(tenant.organisation())
            .bind(blob_key)
            .bind(now)
    )
    .map(|changed| changed > 0)
}

/// Lets an upload go once nothing shows its bytes any more; the sweeper removes them soon.
pub async fn release(tx: &mut Tx, tenant: Tenant, blob_key: &str) -> Result<()> {
    execute!(
        tx,
        sqlx::query(
            "UPDATE uploads SET used_at = NULL, created_at = 0 WHERE org_id = $1 AND blob_key = $2 \
         AND NOT EXISTS (SELECT 1 FROM files WHERE org_id = $1 AND blob_key = $2) \
         AND NOT EXISTS (SELECT 1 FROM attachments WHERE org_id = $1 AND blob_key = $2) \
         AND NOT EXISTS (SELECT 1 FROM web_chat_files WHERE org_id = $1 AND blob_key = $2)"
        )
        .bind(tenant.organisation())
        .bind(blob_key)
    )
    .map(drop)
}

/// Uploads of all organisations that nothing refers to and that are older than `before`.
pub async fn abandoned(tx: &mut Tx, before: Timestamp, limit: i64) -> Result<Vec<(OrganisationId, String)>> {
    on_tx!(tx, db => sqlx::query_as(
        "SELECT org_id, blob_key FROM uploads WHERE used_at IS NULL AND created_at < $1 ORDER BY created_at LIMIT $2")
        .bind(before).bind(limit).fetch_all(db).await)
    .map_err(fault)
}

/// Forgets an upload if nothing refers to it. False when something does.
pub async fn delete_abandoned(tx: &mut Tx, tenant: Tenant, blob_key: &str) -> Result<bool> {
    execute!(
        tx,
        sqlx::query(
            "DELETE FROM uploads WHERE org_id = $1 AND blob_key = $2 AND used_at IS NULL \
             AND NOT EXISTS (SELECT 1 FROM files WHERE blob_key = $2) \
             AND NOT EXISTS (SELECT 1 FROM attachments WHERE blob_key = $2) \
             AND NOT EXISTS (SELECT 1 FROM web_chat_files WHERE blob_key = $2)",
        )
        .bind(tenant.organisation())
        .bind(blob_key)
    )
    .map(|changed| changed > 0)
}

/// Those of the keys that an upload, a file or an attachment of any organisation has.
pub async fn known(tx: &mut Tx, keys: &[String]) -> Result<Vec<String>> {
    let mut known = Vec::new();
    for key in keys {
        let is_known: bool = on_tx!(tx, db => sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM uploads WHERE blob_key = $1) \
             OR EXISTS (SELECT 1 FROM files WHERE blob_key = $1) \
             OR EXISTS (SELECT 1 FROM attachments WHERE blob_key = $1)")
            .bind(key).fetch_one(db).await)
        .map_err(fault)?;
        if is_known {
            known.push(key.clone());
        }
    }
    Ok(known)
}

/// A few keys of any organisation that something refers to.
pub async fn some_used(tx: &mut Tx, limit: i64) -> Result<Vec<String>> {
    on_tx!(tx, db => sqlx::query_scalar("SELECT blob_key FROM uploads WHERE used_at IS NOT NULL LIMIT $1")
        .bind(limit).fetch_all(db).await)
    .map_err(fault)
}
