//! Replies that the assistant owes: one row for each stored message it answers by itself, with the
//! id of the message that will be the answer. The messages of a conversation are answered in the
//! order they came, one at a time: only the first that waits has a job.

use parlance_domain::kind::{ChatbotId, ContactId, ConversationId, InboxId, MessageId};
use parlance_domain::{Result, Tenant, Timestamp};

use crate::conversation_terms::Terms;
use crate::messages::Message;
use crate::tx::{Tx, execute, fault, on_tx};

/// A reply that is owed, or was.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Reply {
    /// The message from the contact.
    pub message_id: MessageId,
    /// Its conversation.
    pub conversation_id: ConversationId,
    /// The message that answers it. Decided when the message came, so that it is made once.
    pub answer_id: MessageId,
    /// Whether the answer is still to be made.
    pub is_waiting: bool,
    /// When the message came.
    pub created_at: Timestamp,
}

/// Keeps other changes of the conversation's replies out until the transaction ends. Asked first,
/// so that what is read afterwards stays true. False when there is no such conversation.
pub async fn lock(tx: &mut Tx, tenant: Tenant, conversation: ConversationId) -> Result<bool> {
    execute!(
        tx,
        // Not the id: SQLite would look through the tables that refer to it.
        sqlx::query("UPDATE conversations SET unread_count = unread_count WHERE org_id = $1 AND id = $2")
            .bind(tenant.organisation())
            .bind(conversation)
    )
    .map(|changed| changed > 0)
}

/// Notes that a reply is owed. False when it was noted before.
pub async fn insert(tx: &mut Tx, tenant: Tenant, reply: &Reply) -> Result<bool> {
    execute!(
        tx,
        sqlx::query(
            "INSERT INTO replies (org_id, message_id, conversation_id, answer_id, is_waiting, created_at) \
             SELECT $1, id, $3, $4, $5, $6 FROM messages WHERE org_id = $1 AND id = $2 AND conversation_id = $3 \
             ON CONFLICT (message_id) DO NOTHING"
        )
        .bind(tenant.organisation())
        .bind(reply.message_id)
        .bind(reply.conversation_id)
        .bind(reply.answer_id)
        .bind(reply.is_waiting)
        .bind(reply.created_at)
    )
    .map(|changed| changed > 0)
}

/// The reply to a message.
pub async fn get(tx: &mut Tx, tenant: Tenant, message: MessageId) -> Result<Option<Reply>> {
    on_tx!(tx, db => sqlx::query_as(
        "SELECT message_id, conversation_id, answer_id, is_waiting, created_at FROM replies \
         WHERE org_id = $1 AND message_id = $2")
        .bind(tenant.organisation()).bind(message).fetch_optional(db).await)
    .map_err(fault)
}

/// The message of a conversation that is to be answered next.
pub async fn next(tx: &mut Tx, tenant: Tenant, conversation: ConversationId) -> Result<Option<MessageId>> {
    on_tx!(tx, db => sqlx::query_scalar(
        "SELECT message_id FROM replies WHERE org_id = $1 AND conversation_id = $2 AND is_waiting \
         ORDER BY created_at, message_id LIMIT 1")
        .bind(tenant.organisation()).bind(conversation).fetch_optional(db).await)
    .map_err(fault)
}

/// Notes that a reply was made, or that none will be. False when that was noted before.
pub async fn finish(tx: &mut Tx, tenant: Tenant, message: MessageId) -> Result<bool> {
    execute!(
        tx,
        sqlx::query("UPDATE replies SET is_waiting = FALSE WHERE org_id = $1 AND message_id = $2 AND is_waiting")
            .bind(tenant.organisation())
            .bind(message)
    )
    .map(|changed| changed > 0)
}

/// Stores the row of an answer as generating. An earlier attempt's row, which a dead process left
/// unfinished, begins anew.
pub async fn begin_answer(tx: &mut Tx, tenant: Tenant, answer: &Message) -> Result<()> {
    let begun_before = execute!(
        tx,
        sqlx::query(
            "UPDATE messages SET state = 'generating', content = '', citations = '[]', error = NULL, \
             updated_at = $3 WHERE org_id = $1 AND id = $2"
        )
        .bind(tenant.organisation())
        .bind(answer.id)
        .bind(answer.created_at)
    )?;
    if begun_before == 0 { crate::messages::insert(tx, tenant, answer, &Terms::NONE).await } else { Ok(()) }
}

/// The last messages of a conversation before the one that is answered, oldest first. Messages that
/// wait for an answer of their own are left out: they came later.
pub async fn history(tx: &mut Tx, tenant: Tenant, conversation: ConversationId, limit: i64) -> Result<Vec<Message>> {
    let mut rows: Vec<Message> = on_tx!(tx, db => sqlx::query_as(concat!(
        "SELECT ", crate::messages::columns!(), " FROM messages WHERE org_id = $1 AND conversation_id = $2 \
         AND state <> 'generating' AND NOT EXISTS (SELECT 1 FROM replies AS r WHERE r.org_id = $1 AND r.is_waiting \
         AND (r.message_id = messages.id OR r.answer_id = messages.id)) \
         ORDER BY created_at DESC, id DESC LIMIT $3"))
        .bind(tenant.organisation()).bind(conversation).bind(limit).fetch_all(db).await)
    .map_err(fault)?;
    rows.reverse();
    Ok(rows)
}

/// Where a conversation takes place.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Place {
    /// The assistant of the inbox; `None` when it was removed.
    pub chatbot_id: Option<ChatbotId>,
    /// The inbox.
    pub inbox_id: InboxId,
    /// Whether the assistant answers; a person who takes over switches it off.
    pub auto_reply_enabled: bool,
    /// Who writes.
    pub contact_id: ContactId,
    /// Their name.
    pub contact_name: String,
    /// The hours in which the inbox's assistant answers, JSON.
    pub auto_reply_schedules: String,
    /// `web`, `api`, ... of the inbox's web chat; `None` without one.
    pub access_type: Option<String>,
}

/// Where a conversation takes place.
pub async fn place(tx: &mut Tx, tenant: Tenant, conversation: ConversationId) -> Result<Option<Place>> {
    on_tx!(tx, db => sqlx::query_as(
        "SELECT i.chatbot_id, c.inbox_id, c.auto_reply_enabled, i.auto_reply_schedules, c.contact_id, \
         k.name AS contact_name, w.access_type \
         FROM conversations AS c JOIN inboxes AS i ON i.id = c.inbox_id JOIN contacts AS k ON k.id = c.contact_id \
         LEFT JOIN web_chats AS w ON w.id = i.web_chat_id \
         WHERE c.org_id = $1 AND i.org_id = $1 AND k.org_id = $1 AND c.id = $2")
        .bind(tenant.organisation()).bind(conversation).fetch_optional(db).await)
    .map_err(fault)
}
