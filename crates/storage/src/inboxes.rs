//! Inboxes: where the conversations of a channel arrive.

use parlance_domain::kind::{ChatbotId, InboxId, WebChatId};
use parlance_domain::{Result, Tenant, Timestamp};

use crate::tx::{Tx, execute, fault, on_tx};

/// An inbox.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Inbox {
    /// Its id.
    pub id: InboxId,
    /// Shown to people.
    pub name: String,
    /// `web`, `line`, `telegram` or `messenger`.
    pub channel_type: String,
    /// Its channel, when that is a web chat.
    pub web_chat_id: Option<WebChatId>,
    /// The assistant that answers.
    pub chatbot_id: Option<ChatbotId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// Adds an inbox.
pub async fn insert(tx: &mut Tx, tenant: Tenant, inbox: &Inbox) -> Result<()> {
    execute!(
        tx,
        sqlx::query(
            "INSERT INTO inboxes (id, org_id, name, channel_type, web_chat_id, chatbot_id, created_at, updated_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
        )
        .bind(inbox.id)
        .bind(tenant.organisation())
        .bind(&inbox.name)
        .bind(&inbox.channel_type)
        .bind(inbox.web_chat_id)
        .bind(inbox.chatbot_id)
        .bind(inbox.created_at)
        .bind(inbox.updated_at)
    )
    .map(drop)
}

/// The inbox in which the conversations of an assistant's API keys arrive.
pub async fn of_api(tx: &mut Tx, tenant: Tenant, chatbot: ChatbotId) -> Result<Option<Inbox>> {
    on_tx!(tx, db => sqlx::query_as(
        "SELECT i.id, i.name, i.channel_type, i.web_chat_id, i.chatbot_id, i.created_at, i.updated_at \
         FROM inboxes AS i JOIN web_chats AS w ON w.id = i.web_chat_id \
         WHERE i.org_id = $1 AND w.org_id = $1 AND w.chatbot_id = $2 AND w.access_type = 'api' \
         ORDER BY w.created_at, w.id LIMIT 1")
        .bind(tenant.organisation()).bind(chatbot).fetch_optional(db).await)
    .map_err(fault)
}
