//! Files of knowledge bases and how far their ingestion is.

use parlance_domain::kind::{FileId, KnowledgeBaseId, LabelId, ModelId, OrganisationId, ParserId};
use parlance_domain::{Result, Tenant, Timestamp};
use sqlx::QueryBuilder;

use crate::page::{Listing, Page, bytes_of, collect};
use crate::reach::base_within;
use crate::tx::{Tx, execute, fault, on_tx};

/// A file of a base.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct File {
    /// Its id.
    pub id: FileId,
    /// The organisation it belongs to.
    #[sqlx(rename = "org_id")]
    pub organisation: OrganisationId,
    /// The base it belongs to.
    pub knowledge_base_id: KnowledgeBaseId,
    /// As the uploader called it; data, never a path.
    pub filename: String,
    /// [`File::filename`] folded for search.
    pub filename_folded: String,
    /// Extension in lower case.
    pub file_type: String,
    /// Bytes.
    pub size: i64,
    /// Where its bytes are.
    pub blob_key: String,
    /// `initial`, `processing`, `done`, `failed`, `deleting`.
    pub status: String,
    /// What is being done: `waiting`, `parsing`, `embedding`, `indexing`, or empty at the end.
    pub stage: String,
    /// Units of the stage that are done.
    pub progress_done: i64,
    /// Units of the stage in all; 0 when unknown.
    pub progress_total: i64,
    /// Why it failed, for people.
    pub failure: Option<String>,
    /// The parser asked for.
    pub parser_id: ParserId,
    /// The model of the vectors of the searchable generation; `None` without vectors.
    pub embedding_model_id: Option<ModelId>,
    /// The generation of passages that is searchable; 0 before the first.
    pub generation: i64,
    /// The generation being made, or the last one made.
    pub next_generation: i64,
    /// Characters of the searchable text.
    pub characters: i64,
    /// Passages of the searchable text.
    pub passages_count: i64,
    /// Free-form metadata of the uploader, verbatim JSON.
    pub raw_metadata: Option<String>,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// What a list is narrowed to.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Part of the file name, folded.
    pub filename_folded: Option<String>,
    /// The status.
    pub status: Option<String>,
    /// The extension.
    pub file_type: Option<String>,
    /// A label that it carries.
    pub label: Option<LabelId>,
}

macro_rules! columns {
    () => {
        "id, org_id, knowledge_base_id, filename, filename_folded, file_type, size, blob_key, status, stage, \
         progress_done, progress_total, failure, parser_id, embedding_model_id, generation, next_generation, characters, passages_count, \
         raw_metadata, created_at, updated_at"
    };
}

/// Neither the file nor its base is being deleted: nobody is shown such a file.
macro_rules! alive {
    () => {
        " AND status <> 'deleting' AND EXISTS \
         (SELECT 1 FROM knowledge_bases AS b WHERE b.id = files.knowledge_base_id AND NOT b.deleting)"
    };
}

/// One file of a base within the caller's reach.
pub async fn get(tx: &mut Tx, tenant: Tenant, base: KnowledgeBaseId, id: FileId) -> Result<Option<File>> {
    on_tx!(tx, db => sqlx::query_as(concat!(
        "SELECT ", columns!(), " FROM files WHERE org_id = $1 AND knowledge_base_id = $2 AND id = $3", alive!(),
        base_within!("files.knowledge_base_id", "$4")))
        .bind(tenant.organisation()).bind(base).bind(id).bind(tenant.limited_to()).fetch_optional(db).await)
    .map_err(fault)
}

/// One file of any base within the caller's reach.
pub async fn find(tx: &mut Tx, tenant: Tenant, id: FileId) -> Result<Option<File>> {
    on_tx!(tx, db => sqlx::query_as(concat!(
        "SELECT ", columns!(), " FROM files WHERE org_id = $1 AND id = $2", alive!(),
        base_within!("files.knowledge_base_id", "$3")))
        .bind(tenant.organisation()).bind(id).bind(tenant.limited_to()).fetch_optional(db).await)
    .map_err(fault)
}

/// A page of the files of these bases, newest first.
pub async fn list(
    tx: &mut Tx,
    tenant: Tenant,
    bases: &[KnowledgeBaseId],
    filter: &Filter,
    page: Page,
) -> Result<Listing<File>> {
    /// Adds to the statement which rows are meant.
    macro_rules! matching {
        ($query:ident) => {
            $query.push(" FROM files WHERE org_id = ").push_bind(tenant.organisation());
            $query.push(" AND knowledge_base_id IN (");
            let mut list = $query.separated(", ");
            for base in bases {
                list.push_bind(*base);
            }
            $query.push(concat!(")", alive!()));
            if let Some(name) = &filter.filename_folded {
                $query.push(" AND filename_folded LIKE '%' || ").push_bind(crate::page::escape_like(name));
                $query.push(" || '%' ESCAPE '\\'");
            }
            if let Some(status) = &filter.status {
                $query.push(" AND status = ").push_bind(status);
            }
            if let Some(file_type) = &filter.file_type {
                $query.push(" AND file_type = ").push_bind(file_type);
            }
            if let Some(label) = filter.label {
                $query.push(" AND id IN (SELECT file_id FROM file_labels WHERE org_id = ");
                $query.push_bind(tenant.organisation()).push(" AND label_id = ").push_bind(label).push(")");
            }
        };
    }
    if bases.is_empty() || crate::page::is_beyond_any_name(filter.filename_folded.as_deref()) {
        return Ok(Listing { rows: Vec::new(), total: 0 });
    }
    let total: i64 = on_tx!(tx, db => {
        let mut query = QueryBuilder::new("SELECT count(*)");
        matching!(query);
        query.build_query_scalar().fetch_one(db).await
    })
    .map_err(fault)?;
    let rows = on_tx!(tx, db => {
        let mut query = QueryBuilder::new(concat!("SELECT ", columns!()));
        matching!(query);
        query.push(" ORDER BY created_at DESC, id DESC LIMIT ").push_bind(page.limit_sql());
        query.push(" OFFSET ").push_bind(page.offset_sql());
        collect(query.build_query_as().fetch(db), |file: &File| bytes_of(file.raw_metadata.as_ref())).await
    })?;
    Ok(Listing { rows, total: crate::page::count(total) })
}

/// Adds a file.
pub async fn insert(tx: &mut Tx, tenant: Tenant, file: &File) -> Result<()> {
    execute!(
        tx,
        sqlx::query(
            "INSERT INTO files (org_id, id, knowledge_base_id, filename, filename_folded, file_type, size, blob_key, \
         status, stage, progress_done, progress_total, failure, parser_id, embedding_model_id, generation, next_generation, characters, \
         passages_count, raw_metadata, created_at, updated_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22)"
        )
        .bind(tenant.organisation())
        .bind(file.id)
        .bind(file.knowledge_base_id)
        .bind(&file.filename)
        .bind(&file.filename_folded)
        .bind(&file.file_type)
        .bind(file.size)
        .bind(&file.blob_key)
        .bind(&file.status)
        .bind(&file.stage)
        .bind(file.progress_done)
        .bind(file.progress_total)
        .bind(&file.failure)
        .bind(file.parser_id)
        .bind(file.embedding_model_id)
        .bind(file.generation)
        .bind(file.next_generation)
        .bind(file.characters)
        .bind(file.passages_count)
        .bind(&file.raw_metadata)
        .bind(file.created_at)
        .bind(file.updated_at)
    )
    .map(drop)
}

/// Changes the name and the free-form metadata.
pub async fn describe(
    tx: &mut Tx,
    tenant: Tenant,
    id: FileId,
    (filename, filename_folded): (&str, &str),
    raw_metadata: Option<&str>,
    now: Timestamp,
) -> Result<()> {
    execute!(
        tx,
        sqlx::query(
            "UPDATE files SET filename = $3, filename_folded = $4, raw_metadata = $5, updated_at = $6 \
         WHERE org_id = $1 AND id = $2"
        )
        .bind(tenant.organisation())
        .bind(id)
        .bind(filename)
        .bind(filename_folded)
        .bind(raw_metadata)
        .bind(now)
    )
    .map(drop)
}

/// Starts a new generation of passages: the old one stays searchable until the new one is published.
/// Gives the number of the new generation.
pub async fn begin_generation(
    tx: &mut Tx,
    tenant: Tenant,
    id: FileId,
    parser: ParserId,
    now: Timestamp,
) -> Result<Option<i64>> {
    on_tx!(tx, db => sqlx::query_scalar(
        "UPDATE files SET next_generation = next_generation + 1, status = 'initial', stage = 'waiting', \
         progress_done = 0, progress_total = 0, failure = NULL, parser_id = $3, updated_at = $4 \
         WHERE org_id = $1 AND id = $2 AND status <> 'deleting' RETURNING next_generation")
        .bind(tenant.organisation()).bind(id).bind(parser).bind(now).fetch_optional(db).await)
    .map_err(fault)
}

/// How far a generation is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// What is being done.
    pub stage: &'static str,
    /// Units that are done.
    pub done: i64,
    /// Units in all; 0 when unknown.
    pub total: i64,
}

/// Notes the progress of a generation. False when the file is gone or a newer generation was asked
/// for, which tells the worker to stop.
pub async fn progress(
    tx: &mut Tx,
    tenant: Tenant,
    id: FileId,
    generation: i64,
    progress: Progress,
    now: Timestamp,
) -> Result<bool> {
    execute!(tx, sqlx::query(
        "UPDATE files SET status = 'processing', stage = $4, progress_done = $5, progress_total = $6, updated_at = $7 \
         WHERE org_id = $1 AND id = $2 AND next_generation = $3")
        .bind(tenant.organisation())
        .bind(id)
        .bind(generation)
        .bind(progress.stage)
        .bind(progress.done)
        .bind(progress.total)
        .bind(now))
    .map(|changed| changed > 0)
}

/// Notes that a generation waits, and why, for the next attempt. False as in [`progress`].
pub async fn wait(
    tx: &mut Tx,
    tenant: Tenant,
    id: FileId,
    generation: i64,
    reason: &str,
    now: Timestamp,
) -> Result<bool> {
    execute!(
        tx,
        sqlx::query(
            "UPDATE files SET failure = $4, updated_at = $5 WHERE org_id = $1 AND id = $2 AND next_generation = $3"
        )
        .bind(tenant.organisation())
        .bind(id)
        .bind(generation)
        .bind(reason)
        .bind(now)
    )
    .map(|changed| changed > 0)
}

/// Ends a generation as failed, with the reason. The previous generation stays searchable.
pub async fn fail(
    tx: &mut Tx,
    tenant: Tenant,
    id: FileId,
    generation: i64,
    reason: &str,
    now: Timestamp,
) -> Result<bool> {
    execute!(
        tx,
        sqlx::query(
            "UPDATE files SET status = 'failed', stage = '', failure = $4, updated_at = $5 \
         WHERE org_id = $1 AND id = $2 AND next_generation = $3"
        )
        .bind(tenant.organisation())
        .bind(id)
        .bind(generation)
        .bind(reason)
        .bind(now)
    )
    .map(|changed| changed > 0)
}

/// Makes a generation the searchable one, in one step. False when the file is gone or a newer
/// generation was asked for meanwhile. `embedding_model` is the one that made its vectors.
pub async fn publish(
    tx: &mut Tx,
    tenant: Tenant,
    id: FileId,
    (generation, embedding_model): (i64, Option<ModelId>),
    now: Timestamp,
) -> Result<bool> {
    execute!(
        tx,
        sqlx::query(
            "UPDATE files SET status = 'done', stage = '', failure = NULL, generation = $3, updated_at = $4, \
         embedding_model_id = $5, passages_count = (SELECT count(*) FROM passages \
                           WHERE org_id = $1 AND file_id = $2 AND generation = $3), \
         characters = (SELECT CAST(coalesce(sum(characters), 0) AS BIGINT) FROM passages \
                       WHERE org_id = $1 AND file_id = $2 AND generation = $3) \
         WHERE org_id = $1 AND id = $2 AND next_generation = $3"
        )
        .bind(tenant.organisation())
        .bind(id)
        .bind(generation)
        .bind(now)
        .bind(embedding_model)
    )
    .map(|changed| changed > 0)
}

/// Hides a file from everybody at once: it is in no list, its passages are neither found nor shown,
/// and what still works on it stops. Gives its base, `None` when there is no such file (any more).
pub async fn mark_deleting(tx: &mut Tx, tenant: Tenant, id: FileId, now: Timestamp) -> Result<Option<KnowledgeBaseId>> {
    // No passage belongs to generation 0, and no worker to the next one.
    on_tx!(tx, db => sqlx::query_scalar(
        "UPDATE files SET status = 'deleting', stage = '', generation = 0, next_generation = next_generation + 1, \
         updated_at = $3 WHERE org_id = $1 AND id = $2 AND status <> 'deleting' RETURNING knowledge_base_id")
        .bind(tenant.organisation()).bind(id).bind(now).fetch_optional(db).await)
    .map_err(fault)
}

/// The oldest files of a base, those being deleted as well: to delete a base file by file.
pub async fn oldest_of_base(tx: &mut Tx, tenant: Tenant, base: KnowledgeBaseId, limit: i64) -> Result<Vec<FileId>> {
    on_tx!(tx, db => sqlx::query_scalar(
        "SELECT id FROM files WHERE org_id = $1 AND knowledge_base_id = $2 ORDER BY created_at LIMIT $3")
        .bind(tenant.organisation()).bind(base).bind(limit).fetch_all(db).await)
    .map_err(fault)
}

/// Removes a file with its passages. Gives its base and blob key, `None` when there is none.
pub async fn delete(tx: &mut Tx, tenant: Tenant, id: FileId) -> Result<Option<(KnowledgeBaseId, String)>> {
    on_tx!(tx, db => sqlx::query_as(
        "DELETE FROM files WHERE org_id = $1 AND id = $2 RETURNING knowledge_base_id, blob_key")
        .bind(tenant.organisation()).bind(id).fetch_optional(db).await)
    .map_err(fault)
}

/// Where a walk over the files of a base is, oldest first: the last file that it has seen.
pub type Place = (Timestamp, FileId);

/// The first files of a base after `after` that are not searchable with vectors of `model`, or are being
/// made anew, oldest first. Those being deleted are left out.
pub async fn not_made_with(
    tx: &mut Tx,
    tenant: Tenant,
    base: KnowledgeBaseId,
    model: Option<ModelId>,
    (after, limit): (Option<Place>, i64),
) -> Result<Vec<Place>> {
    // Before the first file there is none.
    let (at, id) = after.map_or((i64::MIN, String::new()), |(at, id)| (at.millis(), id.to_string()));
    on_tx!(tx, db => sqlx::query_as(concat!(
        "SELECT created_at, id FROM files WHERE org_id = $1 AND knowledge_base_id = $2 \
         AND (created_at, id) > ($4, $5) \
         AND NOT (status = 'done' AND embedding_model_id IS NOT DISTINCT FROM $3)", alive!(),
        " ORDER BY created_at, id LIMIT $6"))
        .bind(tenant.organisation()).bind(base).bind(model).bind(at).bind(id).bind(limit)
        .fetch_all(db).await)
    .map_err(fault)
}

/// A file whose passages can be found.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Searchable {
    /// Whose it is.
    #[sqlx(rename = "org_id")]
    pub organisation: OrganisationId,
    /// The base it belongs to.
    pub knowledge_base_id: KnowledgeBaseId,
    /// The file.
    pub id: FileId,
    /// The generation that can be found.
    pub generation: i64,
    /// The model of its vectors; `None` without vectors.
    pub embedding_model_id: Option<ModelId>,
}

/// Searchable files of all organisations, to rebuild the index from.
pub async fn searchable(tx: &mut Tx) -> Result<Vec<Searchable>> {
    on_tx!(tx, db => sqlx::query_as(
        "SELECT org_id, knowledge_base_id, id, generation, embedding_model_id FROM files WHERE generation > 0 \
         ORDER BY id").fetch_all(db).await)
    .map_err(fault)
}
