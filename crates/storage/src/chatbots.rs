//! Assistants, which the contract calls chatbots.

use std::collections::HashSet;

use parlance_domain::kind::{ChatbotId, KnowledgeBaseId, ModelId};
use parlance_domain::{Result, Tenant, Timestamp};

use crate::by_ids::existing;
use crate::page::{Listing, Page};
use crate::reach::{chatbot_within, chatbot_within_sql};
use crate::tx::{Tx, execute, fault, on_tx};

/// An assistant.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Chatbot {
    /// Its id.
    pub id: ChatbotId,
    /// Shown to people.
    pub name: String,
    /// [`Chatbot::name`] folded for search.
    pub name_folded: String,
    /// The model that answers; `None` takes the default.
    pub model_id: Option<ModelId>,
    /// What it is told to be.
    pub instructions: String,
    /// Passages per question; `None` takes the bases' own number.
    pub retrieved_chunks: Option<i64>,
    /// Where replies to stored messages are sent.
    pub webhook_url: Option<String>,
    /// `normal`, `template`, `hybrid`, `workflow` or `agent`.
    pub reply_mode: String,
    /// Whether answers are scored.
    pub enable_evaluation: bool,
    /// Fields that are kept and returned, as a JSON object.
    pub settings: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// An assistant in a list, without its long texts.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct ListedChatbot {
    /// Its id.
    pub id: ChatbotId,
    /// Shown to people.
    pub name: String,
    /// The model that answers; `None` takes the default.
    pub model_id: Option<ModelId>,
    /// See [`Chatbot::reply_mode`].
    pub reply_mode: String,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// What a list is narrowed to.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Part of the name, folded.
    pub name_folded: Option<String>,
    /// The model that answers.
    pub model: Option<ModelId>,
    /// Whether those that follow the default model have this one too.
    pub model_is_default: bool,
    /// The reply mode.
    pub reply_mode: Option<String>,
}

macro_rules! columns {
    () => {
        "id, name, name_folded, model_id, instructions, retrieved_chunks, webhook_url, reply_mode, \
         enable_evaluation, settings, created_at, updated_at"
    };
}

/// One assistant, within the caller's reach.
pub async fn get(tx: &mut Tx, tenant: Tenant, id: ChatbotId) -> Result<Option<Chatbot>> {
    on_tx!(tx, db => sqlx::query_as(concat!(
        "SELECT ", columns!(), " FROM chatbots WHERE org_id = $1 AND id = $2", chatbot_within!("id", "$3")))
        .bind(tenant.organisation()).bind(id).bind(tenant.limited_to()).fetch_optional(db).await)
    .map_err(fault)
}

/// Those of these assistants that exist within the caller's reach.
pub async fn existing_of(tx: &mut Tx, tenant: Tenant, ids: &[ChatbotId]) -> Result<HashSet<ChatbotId>> {
    let select = format!("SELECT id FROM chatbots WHERE org_id = $1{}", chatbot_within_sql(tenant, "id"));
    existing(tx, tenant, &select, ids).await
}

/// A page of the assistants within the caller's reach, newest first.
pub async fn list(tx: &mut Tx, tenant: Tenant, filter: &Filter, page: Page) -> Result<Listing<ListedChatbot>> {
    macro_rules! matching {
        () => {
            concat!(
                " FROM chatbots WHERE org_id = $1 AND ($2 IS NULL OR name_folded LIKE '%' || $2 || '%' ESCAPE '\\') \
                 AND ($3 IS NULL OR model_id = $3 OR (model_id IS NULL AND $5)) AND ($4 IS NULL OR reply_mode = $4)",
                chatbot_within!("id", "$6")
            )
        };
    }
    if crate::page::is_beyond_any_name(filter.name_folded.as_deref()) {
        return Ok(Listing { rows: Vec::new(), total: 0 });
    }
    let name = filter.name_folded.as_deref().map(crate::page::escape_like);
    let total: i64 = on_tx!(tx, db => sqlx::query_scalar(concat!("SELECT count(*)", matching!()))
        .bind(tenant.organisation()).bind(&name).bind(filter.model).bind(&filter.reply_mode)
        .bind(filter.model_is_default).bind(tenant.limited_to())
        .fetch_one(db).await)
    .map_err(fault)?;
    let rows = on_tx!(tx, db => sqlx::query_as(
        concat!("SELECT id, name, model_id, reply_mode, updated_at", matching!(),
        " ORDER BY created_at DESC, id DESC LIMIT $7 OFFSET $8"))
        .bind(tenant.organisation()).bind(&name).bind(filter.model).bind(&filter.reply_mode)
        .bind(filter.model_is_default).bind(tenant.limited_to())
        .bind(page.limit_sql()).bind(page.offset_sql())
        .fetch_all(db).await)
    .map_err(fault)?;
    Ok(Listing { rows, total: crate::page::count(total) })
}

/// Adds an assistant.
pub async fn insert(tx: &mut Tx, tenant: Tenant, chatbot: &Chatbot) -> Result<()> {
    execute!(tx, sqlx::query(
        "INSERT INTO chatbots (org_id, id, name, name_folded, model_id, instructions, retrieved_chunks, webhook_url, \
         reply_mode, enable_evaluation, settings, created_at, updated_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)")
        .bind(tenant.organisation())
        .bind(chatbot.id)
        .bind(&chatbot.name)
        .bind(&chatbot.name_folded)
        .bind(chatbot.model_id)
        .bind(&chatbot.instructions)
        .bind(chatbot.retrieved_chunks)
        .bind(&chatbot.webhook_url)
        .bind(&chatbot.reply_mode)
        .bind(chatbot.enable_evaluation)
        .bind(&chatbot.settings)
        .bind(chatbot.created_at)
        .bind(chatbot.updated_at))
    .map(drop)
}

/// Replaces what may change of an assistant.
pub async fn update(tx: &mut Tx, tenant: Tenant, chatbot: &Chatbot) -> Result<()> {
    execute!(
        tx,
        sqlx::query(
            "UPDATE chatbots SET name = $3, name_folded = $4, model_id = $5, instructions = $6, retrieved_chunks = $7, \
         webhook_url = $8, reply_mode = $9, enable_evaluation = $10, settings = $11, updated_at = $12 \
         WHERE org_id = $1 AND id = $2"
        )
        .bind(tenant.organisation())
        .bind(chatbot.id)
        .bind(&chatbot.name)
        .bind(&chatbot.name_folded)
        .bind(chatbot.model_id)
        .bind(&chatbot.instructions)
        .bind(chatbot.retrieved_chunks)
        .bind(&chatbot.webhook_url)
        .bind(&chatbot.reply_mode)
        .bind(chatbot.enable_evaluation)
        .bind(&chatbot.settings)
        .bind(chatbot.updated_at)
    )
    .map(drop)
}

/// Removes an assistant with its web chats. Conversations stay. False when there is none within
/// the caller's reach.
pub async fn delete(tx: &mut Tx, tenant: Tenant, id: ChatbotId) -> Result<bool> {
    execute!(
        tx,
        sqlx::query(concat!("DELETE FROM chatbots WHERE org_id = $1 AND id = $2", chatbot_within!("id", "$3")))
            .bind(tenant.organisation())
            .bind(id)
            .bind(tenant.limited_to())
    )
    .map(|changed| changed > 0)
}

/// The bases an assistant answers from, with their names.
pub async fn knowledge_bases(tx: &mut Tx, tenant: Tenant, id: ChatbotId) -> Result<Vec<(KnowledgeBaseId, String)>> {
    on_tx!(tx, db => sqlx::query_as(
        "SELECT b.id, b.name FROM chatbot_knowledge_bases AS c JOIN knowledge_bases AS b ON b.id = c.knowledge_base_id \
         WHERE c.org_id = $1 AND c.chatbot_id = $2 AND b.org_id = $1 ORDER BY b.created_at, b.id",
    ).bind(tenant.organisation()).bind(id).fetch_all(db).await)
    .map_err(fault)
}

/// Makes the assistant's bases exactly these. Those of another organisation are left out.
pub async fn set_knowledge_bases(tx: &mut Tx, tenant: Tenant, id: ChatbotId, bases: &[KnowledgeBaseId]) -> Result<()> {
    execute!(
        tx,
        sqlx::query("DELETE FROM chatbot_knowledge_bases WHERE org_id = $1 AND chatbot_id = $2")
            .bind(tenant.organisation())
            .bind(id)
    )?;
    for base in bases {
        execute!(
            tx,
            sqlx::query(
                "INSERT INTO chatbot_knowledge_bases (org_id, chatbot_id, knowledge_base_id) \
             SELECT $1, c.id, b.id FROM chatbots AS c, knowledge_bases AS b \
             WHERE c.org_id = $1 AND c.id = $2 AND b.org_id = $1 AND b.id = $3 AND NOT b.deleting ON CONFLICT DO NOTHING"
            )
            .bind(tenant.organisation())
            .bind(id)
            .bind(*base)
        )?;
    }
    Ok(())
}
