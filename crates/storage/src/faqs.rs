//! FAQs: questions with their answers. Each is one passage of its own, searched and cited like those
//! of files.

use parlance_domain::kind::{FaqId, KnowledgeBaseId, LabelId, ModelId, OrganisationId};
use parlance_domain::{Result, Tenant, Timestamp};
use sqlx::QueryBuilder;

use crate::by_ids;
use crate::page::{Listing, Page, bytes_of, collect};
use crate::tx::{Tx, execute, fault, on_tx, queue};

/// A question with its answer.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Faq {
    /// Its id, and that of its passage.
    pub id: FaqId,
    /// The base it belongs to.
    pub knowledge_base_id: KnowledgeBaseId,
    /// What people ask.
    pub question: String,
    /// What is answered.
    pub answer: String,
    /// Question and answer folded for search in lists.
    pub folded: String,
    /// Free-form metadata of its writer, verbatim JSON.
    pub raw_metadata: Option<String>,
    /// How often it was cited.
    pub hits_count: i64,
    /// Counts the changes of question and answer, from 1.
    pub generation: i64,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl Faq {
    /// The text of its passage: the question, and below it the answer.
    pub fn text(&self) -> String {
        format!("{}\n{}", self.question, self.answer)
    }

    fn bytes(&self) -> usize {
        self.question.len() + self.answer.len() + self.folded.len() + bytes_of(self.raw_metadata.as_ref())
    }
}

/// What a list is narrowed to.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Part of the question or the answer, folded.
    pub text_folded: Option<String>,
    /// A label that it carries.
    pub label: Option<LabelId>,
}

macro_rules! columns {
    () => {
        "id, knowledge_base_id, question, answer, folded, raw_metadata, hits_count, generation, created_at, updated_at"
    };
}

/// One FAQ of any base of the organisation.
pub async fn get(tx: &mut Tx, tenant: Tenant, id: FaqId) -> Result<Option<Faq>> {
    Ok(by_ids(tx, tenant, &[id]).await?.pop())
}

/// Those of these FAQs that exist, in no particular order.
pub async fn by_ids(tx: &mut Tx, tenant: Tenant, ids: &[FaqId]) -> Result<Vec<Faq>> {
    // What a base that is being deleted holds is hidden with it.
    let select = concat!(
        "SELECT ",
        columns!(),
        " FROM faqs WHERE org_id = $1 AND knowledge_base_id NOT IN \
         (SELECT id FROM knowledge_bases WHERE deleting AND org_id = $1)"
    );
    by_ids::rows(tx, tenant, (select, "id", ""), ids).await
}

/// A page of the FAQs of these bases, newest first.
pub async fn list(
    tx: &mut Tx,
    tenant: Tenant,
    bases: &[KnowledgeBaseId],
    filter: &Filter,
    page: Page,
) -> Result<Listing<Faq>> {
    /// Adds to the statement which rows are meant.
    macro_rules! matching {
        ($query:ident) => {
            $query.push(" FROM faqs WHERE org_id = ").push_bind(tenant.organisation());
            $query.push(" AND knowledge_base_id IN (");
            let mut list = $query.separated(", ");
            for base in bases {
                list.push_bind(*base);
            }
            $query.push(")");
            if let Some(text) = &filter.text_folded {
                $query.push(" AND folded LIKE '%' || ").push_bind(crate::page::escape_like(text));
                $query.push(" || '%' ESCAPE '\\'");
            }
            if let Some(label) = filter.label {
                $query.push(" AND id IN (SELECT faq_id FROM faq_labels WHERE org_id = ");
                $query.push_bind(tenant.organisation()).push(" AND label_id = ").push_bind(label).push(")");
            }
        };
    }
    if bases.is_empty() || crate::page::is_beyond_any_name(filter.text_folded.as_deref()) {
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
        query.push(" ORDER BY id DESC LIMIT ").push_bind(page.limit_sql());
        query.push(" OFFSET ").push_bind(page.offset_sql());
        collect(query.build_query_as().fetch(db), Faq::bytes).await
    })?;
    Ok(Listing { rows, total: crate::page::count(total) })
}

/// Adds an FAQ, as yet without a vector.
pub async fn insert(tx: &mut Tx, tenant: Tenant, faq: &Faq) -> Result<()> {
    execute!(
        tx,
        sqlx::query(
            "INSERT INTO faqs (org_id, id, knowledge_base_id, question, answer, folded, raw_metadata, hits_count, \
             generation, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
        )
        .bind(tenant.organisation())
        .bind(faq.id)
        .bind(faq.knowledge_base_id)
        .bind(&faq.question)
        .bind(&faq.answer)
        .bind(&faq.folded)
        .bind(&faq.raw_metadata)
        .bind(faq.hits_count)
        .bind(faq.generation)
        .bind(faq.created_at)
        .bind(faq.updated_at)
    )
    .map(drop)
}

/// Replaces question and answer. The vector of the text before is forgotten.
pub async fn update(tx: &mut Tx, tenant: Tenant, faq: &Faq) -> Result<bool> {
    execute!(
        tx,
        sqlx::query(
            "UPDATE faqs SET question = $3, answer = $4, folded = $5, generation = generation + 1, vector = NULL, \
             embedding_model_id = NULL, updated_at = $6 WHERE org_id = $1 AND id = $2"
        )
        .bind(tenant.organisation())
        .bind(faq.id)
        .bind(&faq.question)
        .bind(&faq.answer)
        .bind(&faq.folded)
        .bind(faq.updated_at)
    )
    .map(|changed| changed > 0)
}

/// Replaces the free-form metadata.
pub async fn describe(
    tx: &mut Tx,
    tenant: Tenant,
    id: FaqId,
    raw_metadata: Option<&str>,
    now: Timestamp,
) -> Result<bool> {
    execute!(
        tx,
        sqlx::query("UPDATE faqs SET raw_metadata = $3, updated_at = $4 WHERE org_id = $1 AND id = $2")
            .bind(tenant.organisation())
            .bind(id)
            .bind(raw_metadata)
            .bind(now)
    )
    .map(|changed| changed > 0)
}

/// Removes an FAQ. Gives its base, `None` when there is none.
pub async fn delete(tx: &mut Tx, tenant: Tenant, id: FaqId) -> Result<Option<KnowledgeBaseId>> {
    on_tx!(tx, db => sqlx::query_scalar(
        "DELETE FROM faqs WHERE org_id = $1 AND id = $2 RETURNING knowledge_base_id")
        .bind(tenant.organisation()).bind(id).fetch_optional(db).await)
    .map_err(fault)
}

/// The first FAQs of a base, oldest first.
pub async fn first_of_base(tx: &mut Tx, tenant: Tenant, base: KnowledgeBaseId, limit: u64) -> Result<Vec<FaqId>> {
    on_tx!(tx, db => sqlx::query_scalar(
        "SELECT id FROM faqs WHERE org_id = $1 AND knowledge_base_id = $2 ORDER BY id LIMIT $3")
        .bind(tenant.organisation()).bind(base).bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(db).await)
    .map_err(fault)
}

/// Counts a citation of each FAQ.
pub async fn count_hits(tx: &mut Tx, tenant: Tenant, ids: &[FaqId]) -> Result<()> {
    // Locked in one order by every transaction, so that two of them cannot wait for each other.
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    for id in ids {
        queue!(
            tx,
            "UPDATE faqs SET hits_count = hits_count + 1 WHERE org_id = $1 AND id = $2",
            tenant.organisation(),
            id
        )?;
    }
    Ok(())
}

/// What the index needs of an FAQ.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct IndexedFaq {
    /// Its id.
    pub id: FaqId,
    /// The base it belongs to.
    pub knowledge_base_id: KnowledgeBaseId,
    /// What people ask.
    pub question: String,
    /// What is answered.
    pub answer: String,
    /// See [`Faq::generation`].
    pub generation: i64,
    /// Its vector as little-endian `f32`s.
    pub vector: Option<Vec<u8>>,
    /// The model that made the vector, or that was asked for one in vain.
    pub embedding_model_id: Option<ModelId>,
}

impl IndexedFaq {
    /// As [`Faq::text`].
    pub fn text(&self) -> String {
        format!("{}\n{}", self.question, self.answer)
    }
}

macro_rules! indexed_columns {
    () => {
        "id, knowledge_base_id, question, answer, generation, vector, embedding_model_id"
    };
}

/// One FAQ, for the index.
pub async fn indexed(tx: &mut Tx, tenant: Tenant, id: FaqId) -> Result<Option<IndexedFaq>> {
    on_tx!(tx, db => sqlx::query_as(concat!(
        "SELECT ", indexed_columns!(), " FROM faqs WHERE org_id = $1 AND id = $2"))
        .bind(tenant.organisation()).bind(id).fetch_optional(db).await)
    .map_err(fault)
}

/// The first FAQs of a base after `after` for which `model` was not asked for a vector yet, oldest first.
pub async fn without_vector_of(
    tx: &mut Tx,
    tenant: Tenant,
    base: KnowledgeBaseId,
    model: ModelId,
    (after, limit): (Option<FaqId>, i64),
) -> Result<Vec<IndexedFaq>> {
    on_tx!(tx, db => sqlx::query_as(concat!(
        "SELECT ", indexed_columns!(), " FROM faqs WHERE org_id = $1 AND knowledge_base_id = $2 AND id > $4 \
         AND (embedding_model_id IS NULL OR embedding_model_id <> $3) ORDER BY id LIMIT $5"))
        .bind(tenant.organisation()).bind(base).bind(model)
        .bind(after.map(|id| id.to_string()).unwrap_or_default()).bind(limit)
        .fetch_all(db).await)
    .map_err(fault)
}

/// Stores the vector that `model` made of a generation. False when the FAQ is gone or changed since.
pub async fn set_vector(
    tx: &mut Tx,
    tenant: Tenant,
    (id, generation): (FaqId, i64),
    model: ModelId,
    vector: &[u8],
) -> Result<bool> {
    execute!(
        tx,
        sqlx::query(
            "UPDATE faqs SET vector = $5, embedding_model_id = $4 WHERE org_id = $1 AND id = $2 AND generation = $3"
        )
        .bind(tenant.organisation())
        .bind(id)
        .bind(generation)
        .bind(model)
        .bind(vector)
    )
    .map(|changed| changed > 0)
}

/// Forgets a vector that no index takes; its model is not asked again until the text changes. False
/// when there is no vector.
pub async fn drop_vector(tx: &mut Tx, tenant: Tenant, id: FaqId) -> Result<bool> {
    execute!(
        tx,
        sqlx::query("UPDATE faqs SET vector = NULL WHERE org_id = $1 AND id = $2 AND vector IS NOT NULL")
            .bind(tenant.organisation())
            .bind(id)
    )
    .map(|changed| changed > 0)
}

/// FAQs of all organisations with their bases, after `after`, to rebuild the index from.
pub async fn searchable(
    tx: &mut Tx,
    after: Option<FaqId>,
    limit: i64,
) -> Result<Vec<(OrganisationId, KnowledgeBaseId, FaqId)>> {
    on_tx!(tx, db => sqlx::query_as(
        "SELECT org_id, knowledge_base_id, id FROM faqs WHERE id > $1 ORDER BY id LIMIT $2")
        .bind(after.map(|id| id.to_string()).unwrap_or_default()).bind(limit).fetch_all(db).await)
    .map_err(fault)
}
