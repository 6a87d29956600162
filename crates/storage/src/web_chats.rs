//! Web chats: the pages and programs through which people reach an assistant.

use parlance_domain::kind::{ChatbotId, WebChatId};
use parlance_domain::{Result, Tenant, Timestamp};

use crate::tx::{Tx, execute, fault, on_tx};

/// A web chat.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct WebChat {
    /// Its id.
    pub id: WebChatId,
    /// The assistant that answers.
    pub chatbot_id: ChatbotId,
    /// Shown to people.
    pub name: String,
    /// `web`, `admin`, or `api` for the hidden one of each assistant.
    pub access_type: String,
    /// Looks and switches, as a JSON object.
    pub settings: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// Adds a web chat.
pub async fn insert(tx: &mut Tx, tenant: Tenant, web_chat: &WebChat) -> Result<()> {
    execute!(
        tx,
        sqlx::query(
            "INSERT INTO web_chats (id, org_id, chatbot_id, name, access_type, settings, created_at, updated_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
        )
        .bind(web_chat.id)
        .bind(tenant.organisation())
        .bind(web_chat.chatbot_id)
        .bind(&web_chat.name)
        .bind(&web_chat.access_type)
        .bind(&web_chat.settings)
        .bind(web_chat.created_at)
        .bind(web_chat.updated_at)
    )
    .map(drop)
}

/// The hidden web chat through which API keys talk to the assistant.
pub async fn of_api(tx: &mut Tx, tenant: Tenant, chatbot: ChatbotId) -> Result<Option<WebChat>> {
    on_tx!(tx, db => sqlx::query_as(
        "SELECT id, chatbot_id, name, access_type, settings, created_at, updated_at FROM web_chats \
         WHERE org_id = $1 AND chatbot_id = $2 AND access_type = 'api' ORDER BY created_at, id LIMIT 1")
        .bind(tenant.organisation()).bind(chatbot).fetch_optional(db).await)
    .map_err(fault)
}

/// The hidden web chats of all assistants of the organisation.
pub async fn of_api_by_chatbot(tx: &mut Tx, tenant: Tenant) -> Result<Vec<(ChatbotId, WebChatId)>> {
    on_tx!(tx, db => sqlx::query_as(
        "SELECT chatbot_id, id FROM web_chats WHERE org_id = $1 AND access_type = 'api'")
        .bind(tenant.organisation()).fetch_all(db).await)
    .map_err(fault)
}
