//! Knowledge bases: named sets of files with their retrieval settings.

use std::collections::HashSet;

use parlance_domain::kind::{ChatbotId, KnowledgeBaseId, ModelId};
use parlance_domain::{Result, Tenant, Timestamp};

use crate::by_ids::{self, existing};
use crate::page::{Listing, Page, collect};
use crate::reach::{base_within, base_within_sql, chatbot_within, chatbot_within_sql};
use crate::tx::{Tx, execute, fault, on_tx};

/// A knowledge base.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct KnowledgeBase {
    /// Its id.
    pub id: KnowledgeBaseId,
    /// Shown to people.
    pub name: String,
    /// [`KnowledgeBase::name`] folded for search.
    pub name_folded: String,
    /// What it holds.
    pub description: String,
    /// The model of its vectors; `None` searches by words alone.
    pub embedding_model_id: Option<ModelId>,
    /// The model that reorders; `None` takes the default where there is one.
    pub reranker_model_id: Option<ModelId>,
    /// Passages per question, at least 1.
    pub retrieved_chunks: i64,
    /// Neighbours on each side that go with a passage into the prompt.
    pub sentence_window_size: i64,
    /// Whether to search with an invented answer too.
    pub enable_hyde: bool,
    /// Scores below this are left out, 0..1.
    pub similarity_cutoff: f64,
    /// Whether to reorder with a rerank model where there is one.
    pub enable_rerank: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// What a list is narrowed to.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Part of the name, folded.
    pub name_folded: Option<String>,
    /// The embedding model.
    pub embedding_model: Option<ModelId>,
    /// The rerank model.
    pub reranker_model: Option<ModelId>,
}

macro_rules! columns {
    () => {
        "id, name, name_folded, description, embedding_model_id, reranker_model_id, retrieved_chunks, \
         sentence_window_size, enable_hyde, similarity_cutoff, enable_rerank, created_at, updated_at"
    };
}

/// One base within the caller's reach.
pub async fn get(tx: &mut Tx, tenant: Tenant, id: KnowledgeBaseId) -> Result<Option<KnowledgeBase>> {
    on_tx!(tx, db => sqlx::query_as(
        concat!("SELECT ", columns!(), " FROM knowledge_bases WHERE org_id = $1 AND id = $2 AND NOT deleting",
        base_within!("knowledge_bases.id", "$3")))
        .bind(tenant.organisation()).bind(id).bind(tenant.limited_to()).fetch_optional(db).await)
    .map_err(fault)
}

/// Those of these bases that exist within the caller's reach.
pub async fn existing_of(tx: &mut Tx, tenant: Tenant, ids: &[KnowledgeBaseId]) -> Result<HashSet<KnowledgeBaseId>> {
    let within = base_within_sql(tenant, "knowledge_bases.id");
    let select = format!("SELECT id FROM knowledge_bases WHERE org_id = $1 AND NOT deleting{within}");
    existing(tx, tenant, &select, ids).await
}

/// A page of the bases within the caller's reach, newest first.
pub async fn list(tx: &mut Tx, tenant: Tenant, filter: &Filter, page: Page) -> Result<Listing<KnowledgeBase>> {
    macro_rules! matching {
        () => {
            concat!(
                " FROM knowledge_bases WHERE org_id = $1 AND NOT deleting \
                 AND ($2 IS NULL OR name_folded LIKE '%' || $2 || '%' ESCAPE '\\') \
                 AND ($3 IS NULL OR embedding_model_id = $3) AND ($4 IS NULL OR reranker_model_id = $4)",
                base_within!("knowledge_bases.id", "$5")
            )
        };
    }
    if crate::page::is_beyond_any_name(filter.name_folded.as_deref()) {
        return Ok(Listing { rows: Vec::new(), total: 0 });
    }
    let name = filter.name_folded.as_deref().map(crate::page::escape_like);
    let total: i64 = on_tx!(tx, db => sqlx::query_scalar(concat!("SELECT count(*)", matching!()))
        .bind(tenant.organisation()).bind(&name).bind(filter.embedding_model).bind(filter.reranker_model)
        .bind(tenant.limited_to()).fetch_one(db).await)
    .map_err(fault)?;
    let rows = on_tx!(tx, db => collect(sqlx::query_as(
        concat!("SELECT ", columns!(), matching!(), " ORDER BY created_at DESC, id DESC LIMIT $6 OFFSET $7"))
        .bind(tenant.organisation()).bind(&name).bind(filter.embedding_model).bind(filter.reranker_model)
        .bind(tenant.limited_to()).bind(page.limit_sql()).bind(page.offset_sql())
        .fetch(db), |base: &KnowledgeBase| base.description.len()).await)?;
    Ok(Listing { rows, total: crate::page::count(total) })
}

/// Every base of the organisation, oldest first.
pub async fn all(tx: &mut Tx, tenant: Tenant) -> Result<Vec<KnowledgeBase>> {
    on_tx!(tx, db => sqlx::query_as(
        concat!("SELECT ", columns!(), " FROM knowledge_bases WHERE org_id = $1 AND NOT deleting ORDER BY created_at, id"))
        .bind(tenant.organisation()).fetch_all(db).await)
    .map_err(fault)
}

/// The bases an assistant answers from.
pub async fn of_chatbot(tx: &mut Tx, tenant: Tenant, chatbot: ChatbotId) -> Result<Vec<KnowledgeBase>> {
    on_tx!(tx, db => sqlx::query_as(concat!(
        "SELECT ", columns!(), " FROM knowledge_bases WHERE org_id = $1 AND NOT deleting AND id IN \
         (SELECT knowledge_base_id FROM chatbot_knowledge_bases WHERE org_id = $1 AND chatbot_id = $2) \
         ORDER BY created_at, id"))
        .bind(tenant.organisation()).bind(chatbot).fetch_all(db).await)
    .map_err(fault)
}

/// Adds a base.
pub async fn insert(tx: &mut Tx, tenant: Tenant, base: &KnowledgeBase) -> Result<()> {
    execute!(
        tx,
        sqlx::query(
            "INSERT INTO knowledge_bases (org_id, id, name, name_folded, description, embedding_model_id, \
         reranker_model_id, retrieved_chunks, sentence_window_size, enable_hyde, similarity_cutoff, enable_rerank, \
         created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)"
        )
        .bind(tenant.organisation())
        .bind(base.id)
        .bind(&base.name)
        .bind(&base.name_folded)
        .bind(&base.description)
        .bind(base.embedding_model_id)
        .bind(base.reranker_model_id)
        .bind(base.retrieved_chunks)
        .bind(base.sentence_window_size)
        .bind(base.enable_hyde)
        .bind(base.similarity_cutoff)
        .bind(base.enable_rerank)
        .bind(base.created_at)
        .bind(base.updated_at)
    )
    .map(drop)
}

/// Replaces what may change of a base.
pub async fn update(tx: &mut Tx, tenant: Tenant, base: &KnowledgeBase) -> Result<()> {
    execute!(
        tx,
        sqlx::query(
            "UPDATE knowledge_bases SET name = $3, name_folded = $4, description = $5, embedding_model_id = $6, \
         reranker_model_id = $7, retrieved_chunks = $8, sentence_window_size = $9, enable_hyde = $10, \
         similarity_cutoff = $11, enable_rerank = $12, updated_at = $13 WHERE org_id = $1 AND id = $2"
        )
        .bind(tenant.organisation())
        .bind(base.id)
        .bind(&base.name)
        .bind(&base.name_folded)
        .bind(&base.description)
        .bind(base.embedding_model_id)
        .bind(base.reranker_model_id)
        .bind(base.retrieved_chunks)
        .bind(base.sentence_window_size)
        .bind(base.enable_hyde)
        .bind(base.similarity_cutoff)
        .bind(base.enable_rerank)
        .bind(base.updated_at)
    )
    .map(drop)
}

/// Hides a base with all it holds from everybody at once, and parts it from its assistants. False when
/// there is no such base (any more).
pub async fn mark_deleting(tx: &mut Tx, tenant: Tenant, id: KnowledgeBaseId, now: Timestamp) -> Result<bool> {
    let marked = execute!(
        tx,
        sqlx::query(concat!(
            "UPDATE knowledge_bases SET deleting = TRUE, updated_at = $3 \
             WHERE org_id = $1 AND id = $2 AND NOT deleting",
            base_within!("knowledge_bases.id", "$4")
        ))
        .bind(tenant.organisation())
        .bind(id)
        .bind(now)
        .bind(tenant.limited_to())
    )?;
    if marked > 0 {
        // Also from those beyond the caller's reach.
        execute!(
            tx,
            sqlx::query("DELETE FROM chatbot_knowledge_bases WHERE org_id = $1 AND knowledge_base_id = $2")
                .bind(tenant.organisation())
                .bind(id)
        )?;
    }
    Ok(marked > 0)
}

/// Removes a base with its files and passages. False when there is none.
pub async fn delete(tx: &mut Tx, tenant: Tenant, id: KnowledgeBaseId) -> Result<bool> {
    execute!(
        tx,
        sqlx::query("DELETE FROM knowledge_bases WHERE org_id = $1 AND id = $2").bind(tenant.organisation()).bind(id)
    )
    .map(|changed| changed > 0)
}

/// The assistants within the caller's reach that answer from each of these bases, with their names, oldest
/// first.
pub async fn chatbots(
    tx: &mut Tx,
    tenant: Tenant,
    bases: &[KnowledgeBaseId],
) -> Result<Vec<(KnowledgeBaseId, ChatbotId, String)>> {
    let select = format!(
        "SELECT c.knowledge_base_id, a.id, a.name FROM chatbot_knowledge_bases AS c \
         JOIN chatbots AS a ON a.id = c.chatbot_id AND a.org_id = c.org_id WHERE c.org_id = $1{}",
        chatbot_within_sql(tenant, "a.id")
    );
    by_ids::rows(tx, tenant, (&select, "c.knowledge_base_id", "ORDER BY a.created_at, a.id"), bases).await
}

/// Makes the base's assistants within the caller's reach exactly these. Those of another organisation
/// are left out.
pub async fn set_chatbots(tx: &mut Tx, tenant: Tenant, id: KnowledgeBaseId, chatbots: &[ChatbotId]) -> Result<()> {
    execute!(
        tx,
        sqlx::query(concat!(
            "DELETE FROM chatbot_knowledge_bases WHERE org_id = $1 AND knowledge_base_id = $2",
            chatbot_within!("chatbot_id", "$3")
        ))
        .bind(tenant.organisation())
        .bind(id)
        .bind(tenant.limited_to())
    )?;
    for chatbot in chatbots {
        execute!(
            tx,
            sqlx::query(
                "INSERT INTO chatbot_knowledge_bases (org_id, chatbot_id, knowledge_base_id) \
             SELECT $1, c.id, b.id FROM chatbots AS c, knowledge_bases AS b \
             WHERE c.org_id = $1 AND c.id = $2 AND b.org_id = $1 AND b.id = $3 AND NOT b.deleting ON CONFLICT DO NOTHING"
            )
            .bind(tenant.organisation())
            .bind(*chatbot)
            .bind(id)
        )?;
    }
    Ok(())
}

/// How many files each of these bases holds; those without any are left out.
pub async fn files_counts(
    tx: &mut Tx,
    tenant: Tenant,
    bases: &[KnowledgeBaseId],
) -> Result<Vec<(KnowledgeBaseId, u64)>> {
    let select = "SELECT knowledge_base_id, count(*) FROM files WHERE org_id = $1 AND status <> 'deleting'";
    let counts: Vec<(KnowledgeBaseId, i64)> =
        by_ids::rows(tx, tenant, (select, "knowledge_base_id", "GROUP BY knowledge_base_id"), bases).await?;
    Ok(counts.into_iter().map(|(base, count)| (base, crate::page::count(count))).collect())
}
