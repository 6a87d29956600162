//! Conversations of a contact in an inbox.

use parlance_domain::kind::{ChatbotId, ContactId, ConversationId, InboxId};
use parlance_domain::{Result, Tenant, Timestamp};

use crate::tx::{Tx, execute, fault, on_tx};

/// A conversation.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Conversation {
    /// Its id.
    pub id: ConversationId,
    /// The inbox it arrived in.
    pub inbox_id: InboxId,
    /// Who writes.
    pub contact_id: ContactId,
    /// The first question, shortened.
    pub title: String,
    /// When it began.
    pub created_at: Timestamp,
    /// When the last message was stored.
    pub last_message_at: Option<Timestamp>,
}

/// Adds a conversation.
pub async fn insert(tx: &mut Tx, tenant: Tenant, conversation: &Conversation) -> Result<()> {
    execute!(
        tx,
        sqlx::query(
            "INSERT INTO conversations (id, org_id, inbox_id, contact_id, title, created_at, last_message_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)"
        )
        .bind(conversation.id)
        .bind(tenant.organisation())
        .bind(conversation.inbox_id)
        .bind(conversation.contact_id)
        .bind(&conversation.title)
        .bind(conversation.created_at)
        .bind(conversation.last_message_at)
    )
    .map(drop)
}

/// A conversation that the assistant takes part in.
pub async fn of_chatbot(
    tx: &mut Tx,
    tenant: Tenant,
    chatbot: ChatbotId,
    id: ConversationId,
) -> Result<Option<(Conversation, String)>> {
    let row: Option<ConversationWithName> = on_tx!(tx, db => sqlx::query_as(
        "SELECT c.id, c.inbox_id, c.contact_id, c.title, c.created_at, c.last_message_at, k.name AS contact_name \
         FROM conversations AS c JOIN inboxes AS i ON i.id = c.inbox_id JOIN contacts AS k ON k.id = c.contact_id \
         WHERE c.org_id = $1 AND c.id = $2 AND i.org_id = $1 AND i.chatbot_id = $3")
        .bind(tenant.organisation()).bind(id).bind(chatbot).fetch_optional(db).await)
    .map_err(fault)?;
    Ok(row.map(|row| (row.conversation, row.contact_name)))
}

#[derive(sqlx::FromRow)]
struct ConversationWithName {
    #[sqlx(flatten)]
    conversation: Conversation,
    contact_name: String,
}

/// Whether the organisation has this conversation.
pub async fn exists(tx: &mut Tx, tenant: Tenant, id: ConversationId) -> Result<bool> {
    on_tx!(tx, db => sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM conversations WHERE org_id = $1 AND id = $2)")
        .bind(tenant.organisation()).bind(id).fetch_one(db).await)
    .map_err(fault)
}

/// Notes that a message was stored, and sets the title if there is none yet.
pub async fn touch(tx: &mut Tx, tenant: Tenant, id: ConversationId, title: &str, now: Timestamp) -> Result<()> {
    execute!(
        tx,
        sqlx::query(
            "UPDATE conversations SET last_message_at = $3, title = CASE WHEN title = '' THEN $4 ELSE title END \
         WHERE org_id = $1 AND id = $2"
        )
        .bind(tenant.organisation())
        .bind(id)
        .bind(now)
        .bind(title)
    )
    .map(drop)
}
