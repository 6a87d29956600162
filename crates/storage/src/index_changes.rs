//! What the search index has still to learn. Rows are written in the transaction of the change they
//! tell of and removed when the index has committed them, so a crash at any point repeats at most a
//! batch that changes nothing.

use parlance_domain::kind::{FaqId, FileId, JobId, KnowledgeBaseId, ModelId, OrganisationId};
use parlance_domain::{Result, Tenant, Timestamp};

use crate::tx::{Tx, execute, fault, on_tx};

/// A change to carry into the index.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct IndexChange {
    /// Its id; ids sort by time.
    pub id: JobId,
    /// Whose it is.
    #[sqlx(rename = "org_id")]
    pub organisation: OrganisationId,
    /// [`PUT`], [`TIDY`] or [`REMOVE`].
    pub kind: String,
    /// The base of the file or FAQ.
    pub knowledge_base_id: KnowledgeBaseId,
    /// The file, if it is one.
    pub file_id: Option<FileId>,
    /// The FAQ, if it is one.
    pub faq_id: Option<FaqId>,
    /// The generation of the file's passages to add ([`PUT`]).
    pub generation: i64,
    /// The model that made the vectors of that generation; `None` without vectors.
    pub embedding_model_id: Option<ModelId>,
    /// How often it could not be carried over.
    pub attempts: i64,
    /// When it happened.
    pub created_at: Timestamp,
}

/// Add the passages of a file's generation and make it the searchable one; or add an FAQ, or replace
/// what is known of it.
pub const PUT: &str = "put";
/// Forget the passages of all other generations of the file.
pub const TIDY: &str = "tidy";
/// Forget all passages of the file, or the FAQ.
pub const REMOVE: &str = "remove";

/// Notes a change.
pub async fn insert(tx: &mut Tx, tenant: Tenant, change: &IndexChange) -> Result<()> {
    execute!(
        tx,
        sqlx::query(
            "INSERT INTO index_changes (id, org_id, kind, knowledge_base_id, file_id, faq_id, generation, \
         embedding_model_id, attempts, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
        )
        .bind(change.id)
        .bind(tenant.organisation())
        .bind(&change.kind)
        .bind(change.knowledge_base_id)
        .bind(change.file_id)
        .bind(change.faq_id)
        .bind(change.generation)
        .bind(change.embedding_model_id)
        .bind(change.attempts)
        .bind(change.created_at)
    )
    .map(drop)
}

/// The oldest changes of all organisations.
pub async fn pending(tx: &mut Tx, limit: i64) -> Result<Vec<IndexChange>> {
    on_tx!(tx, db => sqlx::query_as(
        "SELECT id, org_id, kind, knowledge_base_id, file_id, faq_id, generation, embedding_model_id, attempts, \
         created_at FROM index_changes ORDER BY id LIMIT $1")
        .bind(limit).fetch_all(db).await)
    .map_err(fault)
}

/// Removes a change that the index has committed.
pub async fn delete(tx: &mut Tx, id: JobId) -> Result<()> {
    execute!(tx, sqlx::query("DELETE FROM index_changes WHERE id = $1").bind(id)).map(drop)
}

/// Removes the additions of FAQs, and of generations that are published already: what an earlier
/// rebuild of the index has queued and not finished, and what a new one queues again.
pub async fn delete_repeated(tx: &mut Tx) -> Result<u64> {
    execute!(
        tx,
        sqlx::query(
            "DELETE FROM index_changes WHERE kind = 'put' AND (faq_id IS NOT NULL OR generation = \
             (SELECT f.generation FROM files AS f WHERE f.id = index_changes.file_id))"
        )
    )
}

/// Counts a failed attempt.
pub async fn count_attempt(tx: &mut Tx, id: JobId) -> Result<()> {
    execute!(tx, sqlx::query("UPDATE index_changes SET attempts = attempts + 1 WHERE id = $1").bind(id)).map(drop)
}

/// The number of the last batch that the named index has committed, as the database knows it.
pub async fn watermark(tx: &mut Tx, index: &str) -> Result<Option<u64>> {
    let batch: Option<i64> = on_tx!(tx, db => sqlx::query_scalar("SELECT batch FROM index_watermark WHERE name = $1")
        .bind(index).fetch_optional(db).await)
    .map_err(fault)?;
    Ok(batch.map(crate::page::count))
}

/// Notes that the named index has committed a batch.
pub async fn set_watermark(tx: &mut Tx, index: &str, batch: u64) -> Result<()> {
    execute!(
        tx,
        sqlx::query(
            "INSERT INTO index_watermark (name, batch) VALUES ($1, $2) \
         ON CONFLICT (name) DO UPDATE SET batch = excluded.batch"
        )
        .bind(index)
        .bind(i64::try_from(batch).unwrap_or(i64::MAX))
    )
    .map(drop)
}
