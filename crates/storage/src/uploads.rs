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

/// Notes a finished upload, and counts its bytes as stored by the organisation. `quota` is how many
/// bytes that may be in all; `None` for any number.
///
/// # Errors
/// [`Error::Conflict`] when there is one with its key: what was uploaded once is not replaced.
/// [`Error::QuotaExceeded`] when it would be more than the quota, after which the transaction must
/// not stand.
pub async fn insert(tx: &mut Tx, tenant: Tenant, upload: &Upload, quota: Option<i64>) -> Result<()> {
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
    // After the row, so that the same form again is told so even where the quota is used up.
    reserve(tx, tenant, upload.size, quota).await
}

/// Counts bytes as stored. The row of the count is locked until the end of the transaction, so that
/// of several uploads at the same time none relies on what another one takes.
async fn reserve(tx: &mut Tx, tenant: Tenant, bytes: i64, quota: Option<i64>) -> Result<()> {
    let limit = quota.unwrap_or(i64::MAX);
    let counted = if bytes > limit {
        0
    } else {
        execute!(
            tx,
            sqlx::query(
                "INSERT INTO organisation_storage (org_id, stored_bytes) VALUES ($1, $2) \
                 ON CONFLICT (org_id) DO UPDATE \
                 SET stored_bytes = organisation_storage.stored_bytes + excluded.stored_bytes \
                 WHERE organisation_storage.stored_bytes + excluded.stored_bytes <= $3"
            )
            .bind(tenant.organisation())
            .bind(bytes)
            .bind(limit)
        )?
    };
    if counted == 0 {
        return Err(Error::QuotaExceeded { limit: u64::try_from(limit).unwrap_or_default() });
    }
    Ok(())
}

/// Counts bytes as stored no more.
async fn free(tx: &mut Tx, tenant: Tenant, bytes: i64) -> Result<()> {
    execute!(
        tx,
        sqlx::query("UPDATE organisation_storage SET stored_bytes = stored_bytes - $2 WHERE org_id = $1")
            .bind(tenant.organisation())
            .bind(bytes)
    )
    .map(drop)
}

/// Bytes that the organisation stores: of all uploads that were not released, whatever shows them.
pub async fn stored_bytes(tx: &mut Tx, tenant: Tenant) -> Result<i64> {
    let stored: Option<i64> = on_tx!(tx, db => sqlx::query_scalar(
        "SELECT stored_bytes FROM organisation_storage WHERE org_id = $1")
        .bind(tenant.organisation()).fetch_optional(db).await)
    .map_err(fault)?;
    Ok(stored.unwrap_or_default())
}

/// The organisation's upload with this storage key, unless it was released.
pub async fn by_key(tx: &mut Tx, tenant: Tenant, blob_key: &str) -> Result<Option<Upload>> {
    on_tx!(tx, db => sqlx::query_as(
        "SELECT id, blob_key, filename, size, created_at FROM uploads \
         WHERE org_id = $1 AND blob_key = $2 AND created_at > 0")
        .bind(tenant.organisation()).bind(blob_key).fetch_optional(db).await)
    .map_err(fault)
}

/// The organisation's upload with this id, unless it was released.
pub async fn by_id(tx: &mut Tx, tenant: Tenant, id: UploadId) -> Result<Option<Upload>> {
    on_tx!(tx, db => sqlx::query_as(
        "SELECT id, blob_key, filename, size, created_at FROM uploads \
         WHERE org_id = $1 AND id = $2 AND created_at > 0")
        .bind(tenant.organisation()).bind(id).fetch_optional(db).await)
    .map_err(fault)
}

/// Notes that something refers to the upload, so that it is kept. False when there is no such upload
/// (any more).
pub async fn mark_used(tx: &mut Tx, tenant: Tenant, blob_key: &str, now: Timestamp) -> Result<bool> {
    execute!(
        tx,
        sqlx::query(
            "UPDATE uploads SET used_at = coalesce(used_at, $3) \
             WHERE org_id = $1 AND blob_key = $2 AND created_at > 0"
        )
        .bind(tenant.organisation())
        .bind(blob_key)
        .bind(now)
    )
    .map(|changed| changed > 0)
}

/// Lets an upload go once nothing shows its bytes any more: it cannot be named again and counts as
/// stored no more, and the sweeper removes the bytes soon.
pub async fn release(tx: &mut Tx, tenant: Tenant, blob_key: &str) -> Result<()> {
    // A time of 0 is what marks it as released.
    let released: Option<i64> = on_tx!(tx, db => sqlx::query_scalar(
        "UPDATE uploads SET used_at = NULL, created_at = 0 WHERE org_id = $1 AND blob_key = $2 AND created_at > 0 \
         AND NOT EXISTS (SELECT 1 FROM files WHERE org_id = $1 AND blob_key = $2) \
         AND NOT EXISTS (SELECT 1 FROM attachments WHERE org_id = $1 AND blob_key = $2) \
         AND NOT EXISTS (SELECT 1 FROM web_chat_files WHERE org_id = $1 AND blob_key = $2) RETURNING size")
        .bind(tenant.organisation()).bind(blob_key).fetch_optional(db).await)
    .map_err(fault)?;
    match released {
        Some(bytes) => free(tx, tenant, bytes).await,
        None => Ok(()),
    }
}

/// What shows the bytes of an upload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct ShownBy {
    /// A file of a knowledge base.
    pub file: bool,
    /// An attachment.
    pub attachment: bool,
}

/// What shows the bytes with this key, besides pictures of web chats.
pub async fn shown_by(tx: &mut Tx, tenant: Tenant, blob_key: &str) -> Result<ShownBy> {
    on_tx!(tx, db => sqlx::query_as(
        "SELECT EXISTS (SELECT 1 FROM files WHERE org_id = $1 AND blob_key = $2) AS file, \
         EXISTS (SELECT 1 FROM attachments WHERE org_id = $1 AND blob_key = $2) AS attachment")
        .bind(tenant.organisation()).bind(blob_key).fetch_one(db).await)
    .map_err(fault)
}

/// Uploads of all organisations that nothing refers to and that are older than `before`.
pub async fn abandoned(tx: &mut Tx, before: Timestamp, limit: i64) -> Result<Vec<(OrganisationId, String)>> {
    on_tx!(tx, db => sqlx::query_as(
        "SELECT org_id, blob_key FROM uploads WHERE used_at IS NULL AND created_at < $1 ORDER BY created_at LIMIT $2")
        .bind(before).bind(limit).fetch_all(db).await)
    .map_err(fault)
}

/// Forgets an upload if nothing refers to it, and counts its bytes as stored no more. False when
/// something does.
pub async fn delete_abandoned(tx: &mut Tx, tenant: Tenant, blob_key: &str) -> Result<bool> {
    // The bytes of a released one were taken off the count when it was released.
    let counted: Option<i64> = on_tx!(tx, db => sqlx::query_scalar(
        "DELETE FROM uploads WHERE org_id = $1 AND blob_key = $2 AND used_at IS NULL \
         AND NOT EXISTS (SELECT 1 FROM files WHERE blob_key = $2) \
         AND NOT EXISTS (SELECT 1 FROM attachments WHERE blob_key = $2) \
         AND NOT EXISTS (SELECT 1 FROM web_chat_files WHERE blob_key = $2) \
         RETURNING CASE WHEN created_at > 0 THEN size ELSE 0 END")
        .bind(tenant.organisation()).bind(blob_key).fetch_optional(db).await)
    .map_err(fault)?;
    let Some(bytes) = counted else { return Ok(false) };
    free(tx, tenant, bytes).await?;
    Ok(true)
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
