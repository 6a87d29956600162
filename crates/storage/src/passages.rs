//! Passages: the pieces of a file that are searched and cited.

use std::sync::Arc;

use parlance_domain::kind::{FileId, KnowledgeBaseId, ModelId, ParserId, PassageId};
use parlance_domain::{Result, Tenant, Timestamp};
use sqlx::QueryBuilder;

use crate::by_ids;
use crate::page::{Listing, Page, bytes_of, collect};
use crate::tx::{Tx, execute, fault, on_tx, queue};

/// Rows of one INSERT. 14 values each stay below SQLite's and PostgreSQL's parameter limits.
const INSERT_ROWS: usize = 200;

/// A passage to store.
#[derive(Clone, Debug)]
pub struct NewPassage {
    /// Its id.
    pub id: PassageId,
    /// Position in the file, from 0.
    pub ordinal: i64,
    /// The text as it stands in the document.
    pub text: String,
    /// Headings above it.
    pub heading: Option<String>,
    /// Page, slide or sheet, from 1.
    pub page: Option<i64>,
    /// First character in the document's text.
    pub start: i64,
    /// One past the last character.
    pub end: i64,
}

/// A passage as it was made. None of it ever changes: a file that is parsed anew gets other passages.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct PassageContent {
    /// Its id.
    pub id: PassageId,
    /// Position in the file, from 0.
    pub ordinal: i64,
    /// The text.
    pub text: String,
    /// Headings above it.
    pub heading: Option<String>,
    /// Page, slide or sheet, from 1.
    pub page: Option<i64>,
    /// First character in the document's text.
    pub start_offset: i64,
    /// One past the last character.
    pub end_offset: i64,
    /// Characters of the text.
    pub characters: i64,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What there is to tell of a searchable passage's file.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct PassageFile {
    /// Its id.
    #[sqlx(rename = "file_id")]
    pub id: FileId,
    /// The base it belongs to.
    pub knowledge_base_id: KnowledgeBaseId,
    /// The generation of its passages that is searchable.
    pub generation: i64,
    /// Its name.
    pub filename: String,
    /// Its extension.
    pub file_type: String,
    /// Bytes.
    #[sqlx(rename = "file_size")]
    pub size: i64,
    /// Where its bytes are.
    pub blob_key: String,
    /// Its status.
    #[sqlx(rename = "file_status")]
    pub status: String,
    /// Its parser.
    pub parser_id: ParserId,
    /// Free-form metadata of its uploader, verbatim JSON.
    pub raw_metadata: Option<String>,
    /// When it was added.
    #[sqlx(rename = "file_created_at")]
    pub created_at: Timestamp,
}

/// A searchable passage.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Passage {
    /// What of it never changes.
    #[sqlx(flatten, try_from = "PassageContent")]
    pub content: Arc<PassageContent>,
    /// How often it was cited.
    pub hits_count: i64,
    /// The file it belongs to, of which it is in the searchable generation.
    #[sqlx(flatten)]
    pub file: PassageFile,
}

macro_rules! file_columns {
    () => {
        "f.id AS file_id, f.knowledge_base_id, f.generation, f.filename, f.file_type, f.size AS file_size, f.blob_key, \
         f.status AS file_status, f.parser_id, f.raw_metadata, f.created_at AS file_created_at"
    };
}

macro_rules! columns {
    () => {
        concat!(
            "p.id, p.ordinal, p.text, p.heading, p.page, p.start_offset, p.end_offset, p.characters, p.hits_count, \
             p.created_at, ",
            file_columns!()
        )
    };
}

/// Passages of the published generation of files that are there for people to see. A file that is
/// being deleted has no published generation.
macro_rules! searchable {
    () => {
        " FROM passages AS p JOIN files AS f ON f.id = p.file_id AND f.generation = p.generation \
         JOIN knowledge_bases AS b ON b.id = f.knowledge_base_id AND NOT b.deleting"
    };
}

/// Adds passages of a generation.
pub async fn insert(
    tx: &mut Tx,
    tenant: Tenant,
    (base, file, generation): (KnowledgeBaseId, FileId, i64),
    passages: &[NewPassage],
    now: Timestamp,
) -> Result<()> {
    for rows in passages.chunks(INSERT_ROWS) {
        on_tx!(tx, db => {
            let mut query = QueryBuilder::new(
                "INSERT INTO passages (id, org_id, knowledge_base_id, file_id, generation, ordinal, text, heading, \
                 page, start_offset, end_offset, characters, hits_count, created_at) ");
            query.push_values(rows, |mut row, passage| {
                row.push_bind(passage.id)
                    .push_bind(tenant.organisation())
                    .push_bind(base)
                    .push_bind(file)
                    .push_bind(generation)
                    .push_bind(passage.ordinal)
                    .push_bind(&passage.text)
                    .push_bind(&passage.heading)
                    .push_bind(passage.page)
                    .push_bind(passage.start)
                    .push_bind(passage.end)
                    .push_bind(i64::try_from(passage.text.chars().count()).unwrap_or(i64::MAX))
                    .push_bind(0_i64)
                    .push_bind(now);
            });
            query.build().execute(db).await.map(drop)
        })
        .map_err(fault)?;
    }
    Ok(())
}

/// Removes at most `limit` passages of generations before `generation`; later ones may be in the
/// making. Gives how many were removed: fewer than `limit` means that none is left.
pub async fn delete_older(tx: &mut Tx, tenant: Tenant, file: FileId, generation: i64, limit: u64) -> Result<u64> {
    execute!(
        tx,
        sqlx::query(
            "DELETE FROM passages WHERE org_id = $1 AND id IN (SELECT id FROM passages \
             WHERE org_id = $1 AND file_id = $2 AND generation < $3 LIMIT $4)"
        )
        .bind(tenant.organisation())
        .bind(file)
        .bind(generation)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    )
}

/// Removes at most `limit` passages of one generation. Gives how many, as [`delete_older`].
pub async fn delete_generation(tx: &mut Tx, tenant: Tenant, file: FileId, generation: i64, limit: u64) -> Result<u64> {
    execute!(
        tx,
        sqlx::query(
            "DELETE FROM passages WHERE org_id = $1 AND id IN (SELECT id FROM passages \
             WHERE org_id = $1 AND file_id = $2 AND generation = $3 LIMIT $4)"
        )
        .bind(tenant.organisation())
        .bind(file)
        .bind(generation)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    )
}

/// The searchable ones of these passages, in no particular order. What was deleted, replaced or
/// belongs to somebody else is missing from the answer: the index only proposes.
pub async fn searchable(tx: &mut Tx, tenant: Tenant, ids: &[PassageId]) -> Result<Vec<Passage>> {
    let select = concat!("SELECT ", columns!(), searchable!(), " WHERE f.org_id = $1 AND p.org_id = f.org_id");
    by_ids::rows(tx, tenant, (select, "p.id", ""), ids).await
}

/// Those of these files of which passages may be searchable, in no particular order: the ones of the
/// file's `generation`.
pub async fn files(tx: &mut Tx, tenant: Tenant, ids: &[FileId]) -> Result<Vec<PassageFile>> {
    let select = concat!(
        "SELECT ",
        file_columns!(),
        " FROM files AS f JOIN knowledge_bases AS b ON b.id = f.knowledge_base_id AND NOT b.deleting WHERE f.org_id = $1"
    );
    by_ids::rows(tx, tenant, (select, "f.id", ""), ids).await
}

/// The passages just before and after each of `of`, as `(file, ordinal, text)`.
pub async fn neighbours(tx: &mut Tx, tenant: Tenant, of: &[&Passage]) -> Result<Vec<(FileId, i64, String)>> {
    if of.is_empty() {
        return Ok(Vec::new());
    }
    on_tx!(tx, db => {
        let mut query = QueryBuilder::new("SELECT file_id, ordinal, text FROM passages WHERE org_id = ");
        query.push_bind(tenant.organisation());
        query.push(" AND (");
        for (position, passage) in of.iter().enumerate() {
            query.push(if position == 0 { "(file_id = " } else { " OR (file_id = " });
            query.push_bind(passage.file.id);
            query.push(" AND generation = ").push_bind(passage.file.generation);
            query.push(" AND ordinal IN (").push_bind(passage.content.ordinal - 1);
            query.push(", ").push_bind(passage.content.ordinal + 1).push("))");
        }
        query.push(")");
        query.build_query_as().fetch_all(db).await
    })
    .map_err(fault)
}

/// A page of a file's searchable passages, in order.
pub async fn list(tx: &mut Tx, tenant: Tenant, file: FileId, page: Page) -> Result<Listing<Passage>> {
    let total: i64 = on_tx!(tx, db => sqlx::query_scalar(
        concat!("SELECT count(*)", searchable!(), " WHERE f.org_id = $1 AND f.id = $2"))
        .bind(tenant.organisation()).bind(file).fetch_one(db).await)
    .map_err(fault)?;
    let bytes = |passage: &Passage| passage.content.text.len() + bytes_of(passage.content.heading.as_ref());
    let rows = on_tx!(tx, db => collect(sqlx::query_as(concat!(
        "SELECT ", columns!(), searchable!(), " WHERE f.org_id = $1 AND f.id = $2 ORDER BY p.ordinal LIMIT $3 OFFSET $4"))
        .bind(tenant.organisation()).bind(file).bind(page.limit_sql()).bind(page.offset_sql())
        .fetch(db), bytes).await)?;
    Ok(Listing { rows, total: crate::page::count(total) })
}

/// One searchable passage.
pub async fn get(tx: &mut Tx, tenant: Tenant, id: PassageId) -> Result<Option<Passage>> {
    Ok(searchable(tx, tenant, &[id]).await?.pop())
}

/// Passages of one generation of a file from `from` on, for the index.
pub async fn of_generation(
    tx: &mut Tx,
    tenant: Tenant,
    (file, generation): (FileId, i64),
    from: i64,
    limit: i64,
) -> Result<Vec<IndexedPassage>> {
    on_tx!(tx, db => sqlx::query_as(
        "SELECT id, ordinal, text, heading, vector FROM passages WHERE org_id = $1 AND file_id = $2 \
         AND generation = $3 AND ordinal >= $4 ORDER BY ordinal LIMIT $5")
        .bind(tenant.organisation()).bind(file).bind(generation).bind(from).bind(limit)
        .fetch_all(db).await)
    .map_err(fault)
}

/// What the index needs of a passage.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct IndexedPassage {
    /// Its id.
    pub id: PassageId,
    /// Position in the file.
    pub ordinal: i64,
    /// The text.
    pub text: String,
    /// Headings above it.
    pub heading: Option<String>,
    /// Its vector as little-endian `f32`s, where the base has an embedding model.
    pub vector: Option<Vec<u8>>,
}

/// How many passages of a generation there are, and how many of them have a vector.
pub async fn count_generation(tx: &mut Tx, tenant: Tenant, file: FileId, generation: i64) -> Result<(u64, u64)> {
    let (all, embedded): (i64, i64) = on_tx!(tx, db => sqlx::query_as(
        "SELECT count(*), count(vector) FROM passages WHERE org_id = $1 AND file_id = $2 AND generation = $3")
        .bind(tenant.organisation()).bind(file).bind(generation).fetch_one(db).await)
    .map_err(fault)?;
    Ok((crate::page::count(all), crate::page::count(embedded)))
}

/// The first passages of a generation that have no vector yet.
pub async fn without_vector(
    tx: &mut Tx,
    tenant: Tenant,
    (file, generation): (FileId, i64),
    limit: i64,
) -> Result<Vec<IndexedPassage>> {
    on_tx!(tx, db => sqlx::query_as(
        "SELECT id, ordinal, text, heading, vector FROM passages WHERE org_id = $1 AND file_id = $2 \
         AND generation = $3 AND vector IS NULL ORDER BY ordinal LIMIT $4")
        .bind(tenant.organisation()).bind(file).bind(generation).bind(limit)
        .fetch_all(db).await)
    .map_err(fault)
}

/// Stores the vectors of passages.
pub async fn set_vectors(tx: &mut Tx, tenant: Tenant, vectors: &[(PassageId, Vec<u8>)]) -> Result<()> {
    for (id, vector) in vectors {
        execute!(
            tx,
            sqlx::query("UPDATE passages SET vector = $3 WHERE org_id = $1 AND id = $2")
                .bind(tenant.organisation())
                .bind(*id)
                .bind(vector)
        )?;
    }
    Ok(())
}

/// The vectors of these searchable passages that `model` made, as little-endian `f32`s, in no
/// particular order.
pub async fn vectors(
    tx: &mut Tx,
    tenant: Tenant,
    model: ModelId,
    ids: &[PassageId],
) -> Result<Vec<(PassageId, Vec<u8>)>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    on_tx!(tx, db => {
        let mut query = QueryBuilder::new(concat!(
            "SELECT p.id, p.vector", searchable!(), " WHERE p.vector IS NOT NULL AND f.org_id = "));
        query.push_bind(tenant.organisation());
        query.push(" AND p.org_id = f.org_id AND f.embedding_model_id = ");
        query.push_bind(model);
        query.push(" AND p.id IN (");
        let mut list = query.separated(", ");
        for id in ids {
            list.push_bind(*id);
        }
        query.push(")");
        query.build_query_as().fetch_all(db).await
    })
    .map_err(fault)
}

/// Counts a citation of each passage.
pub async fn count_hits(tx: &mut Tx, tenant: Tenant, ids: &[PassageId]) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    // Locked in one order by every transaction, so that two of them cannot wait for each other.
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    for id in ids {
        queue!(
            tx,
            "UPDATE passages SET hits_count = hits_count + 1 WHERE org_id = $1 AND id = $2",
            tenant.organisation(),
            id
        )?;
    }
    Ok(())
}
