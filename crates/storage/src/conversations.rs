//! Conversations of a contact in an inbox.

use parlance_domain::kind::{ChatbotId, ContactId, ConversationId, InboxId};
use parlance_domain::{Result, Tenant, Timestamp};

use crate::conversation_terms::{self, Terms};
use crate::reach::{chatbot_within, inbox_within};
use crate::tx::{Engine, Tx, execute, fault, on_tx, queue};

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
    /// The title as it is searched for.
    pub title_folded: String,
    /// Whether the assistant answers; a person who takes over switches it off.
    pub auto_reply_enabled: bool,
    /// Whether several people write.
    pub is_group_chat: bool,
    /// Whether the assistant answers in a group only when it is mentioned.
    pub enable_group_mention: bool,
    /// Incoming messages since it was last read.
    pub unread_count: i64,
    /// When a person last read it.
    pub last_read_at: Option<Timestamp>,
    /// When it began.
    pub created_at: Timestamp,
    /// When the last message was stored.
    pub last_message_at: Option<Timestamp>,
    /// When the last message was stored, or when it began: what lists are ordered by.
    pub last_activity_at: Timestamp,
}

macro_rules! columns {
    () => {
        "c.id, c.inbox_id, c.contact_id, c.title, c.title_folded, c.auto_reply_enabled, c.is_group_chat, \
         c.enable_group_mention, c.unread_count, c.last_read_at, c.created_at, c.last_message_at, c.last_activity_at"
    };
}

/// Adds a conversation. `terms` are those of its title and of the contact's name.
pub async fn insert(tx: &mut Tx, tenant: Tenant, conversation: &Conversation, terms: &Terms) -> Result<()> {
    macro_rules! insert {
        ($number:literal) => {
            concat!(
                "INSERT INTO conversations (org_id, id, inbox_id, contact_id, title, title_folded, auto_reply_enabled, \
                 is_group_chat, enable_group_mention, unread_count, last_read_at, created_at, last_message_at, \
                 last_activity_at, number) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, ",
                $number,
                ")"
            )
        };
    }
    // SQLite has one writer, so nobody else takes the number.
    let sql = match tx.engine {
        Engine::Sqlite(_) => insert!("(SELECT coalesce(max(number), 0) + 1 FROM conversations)"),
        Engine::PostgresRead(_) | Engine::PostgresWrite(_) => insert!("DEFAULT"),
    };
    queue!(
        tx,
        sql,
        tenant.organisation(),
        conversation.id,
        conversation.inbox_id,
        conversation.contact_id,
        &conversation.title,
        &conversation.title_folded,
        conversation.auto_reply_enabled,
        conversation.is_group_chat,
        conversation.enable_group_mention,
        conversation.unread_count,
        conversation.last_read_at,
        conversation.created_at,
        conversation.last_message_at,
        conversation.last_activity_at
    )?;
    conversation_terms::add(tx, tenant, conversation.id, terms).await
}

/// One conversation, with a chatbot within the caller's reach.
pub async fn get(tx: &mut Tx, tenant: Tenant, id: ConversationId) -> Result<Option<Conversation>> {
    on_tx!(tx, db => sqlx::query_as(concat!(
        "SELECT ", columns!(), " FROM conversations AS c WHERE c.org_id = $1 AND c.id = $2",
        inbox_within!("c.inbox_id", "$3")))
        .bind(tenant.organisation()).bind(id).bind(tenant.limited_to()).fetch_optional(db).await)
    .map_err(fault)
}

/// A conversation that the assistant takes part in.
pub async fn of_chatbot(
    tx: &mut Tx,
    tenant: Tenant,
    chatbot: ChatbotId,
    id: ConversationId,
) -> Result<Option<(Conversation, String)>> {
    let row: Option<ConversationWithName> = on_tx!(tx, db => sqlx::query_as(concat!(
        "SELECT ", columns!(), ", k.name AS contact_name \
         FROM conversations AS c JOIN inboxes AS i ON i.id = c.inbox_id JOIN contacts AS k ON k.id = c.contact_id \
         WHERE c.org_id = $1 AND c.id = $2 AND i.org_id = $1 AND i.chatbot_id = $3"))
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

/// The conversation of a contact in which something happened last, within the caller's reach; only of
/// `inbox`, if given, and never of one that was deleted.
pub async fn latest_of_contact(
    tx: &mut Tx,
    tenant: Tenant,
    contact: ContactId,
    inbox: Option<InboxId>,
) -> Result<Option<Conversation>> {
    on_tx!(tx, db => sqlx::query_as(concat!(
        "SELECT ", columns!(), " FROM conversations AS c JOIN inboxes AS i ON i.id = c.inbox_id \
         WHERE c.org_id = $1 AND i.org_id = $1 AND c.contact_id = $2 AND ($3 IS NULL OR c.inbox_id = $3) \
         AND i.deleted_at IS NULL", chatbot_within!("i.chatbot_id", "$4"),
        " ORDER BY c.last_activity_at DESC, c.id DESC LIMIT 1"))
        .bind(tenant.organisation()).bind(contact).bind(inbox).bind(tenant.limited_to()).fetch_optional(db).await)
    .map_err(fault)
}

/// Whether the organisation has this conversation, within the caller's reach.
pub async fn exists(tx: &mut Tx, tenant: Tenant, id: ConversationId) -> Result<bool> {
    on_tx!(tx, db => sqlx::query_scalar(concat!(
        "SELECT EXISTS (SELECT 1 FROM conversations WHERE org_id = $1 AND id = $2", inbox_within!("inbox_id", "$3"), ")"))
        .bind(tenant.organisation()).bind(id).bind(tenant.limited_to()).fetch_one(db).await)
    .map_err(fault)
}

/// What a stored message changes about its conversation.
#[derive(Clone, Copy, Debug)]
pub struct Activity<'a> {
    /// When it was stored.
    pub at: Timestamp,
    /// Messages that nobody has read yet: those from the contact.
    pub unread: i64,
    /// The title, if there is none yet.
    pub title: &'a str,
    /// The title as it is searched for.
    pub title_folded: &'a str,
}

/// Notes that a message was stored. The last activity never goes back, whichever of two messages of the
/// same moment is noted first: what a page missed is looked for where something happened since.
pub async fn touch(tx: &mut Tx, tenant: Tenant, id: ConversationId, activity: &Activity<'_>) -> Result<()> {
    queue!(
        tx,
        "UPDATE conversations SET last_message_at = $3, \
         last_activity_at = CASE WHEN last_activity_at < $3 THEN $3 ELSE last_activity_at END, \
         unread_count = unread_count + $4, \
         title_folded = CASE WHEN title = '' THEN $6 ELSE title_folded END, \
         title = CASE WHEN title = '' THEN $5 ELSE title END WHERE org_id = $1 AND id = $2",
        tenant.organisation(),
        id,
        activity.at,
        activity.unread,
        activity.title,
        activity.title_folded
    )
}

/// Notes that a person has read everything so far. False when there is no such conversation.
pub async fn read(tx: &mut Tx, tenant: Tenant, id: ConversationId, now: Timestamp) -> Result<bool> {
    execute!(
        tx,
        sqlx::query(concat!(
            "UPDATE conversations SET unread_count = 0, last_read_at = $3 WHERE org_id = $1 AND id = $2",
            inbox_within!("inbox_id", "$4")
        ))
        .bind(tenant.organisation())
        .bind(id)
        .bind(now)
        .bind(tenant.limited_to())
    )
    .map(|changed| changed > 0)
}

/// Switches automatic replies on or off. False when there is no such conversation.
pub async fn set_auto_reply(tx: &mut Tx, tenant: Tenant, id: ConversationId, is_enabled: bool) -> Result<bool> {
    execute!(
        tx,
        sqlx::query(concat!(
            "UPDATE conversations SET auto_reply_enabled = $3 WHERE org_id = $1 AND id = $2",
            inbox_within!("inbox_id", "$4")
        ))
        .bind(tenant.organisation())
        .bind(id)
        .bind(is_enabled)
        .bind(tenant.limited_to())
    )
    .map(|changed| changed > 0)
}

/// Decides whether the assistant answers in a group only when it is mentioned. False when there is
/// no such conversation.
pub async fn set_group_mention(tx: &mut Tx, tenant: Tenant, id: ConversationId, is_enabled: bool) -> Result<bool> {
    execute!(
        tx,
        sqlx::query(concat!(
            "UPDATE conversations SET enable_group_mention = $3 WHERE org_id = $1 AND id = $2",
            inbox_within!("inbox_id", "$4")
        ))
        .bind(tenant.organisation())
        .bind(id)
        .bind(is_enabled)
        .bind(tenant.limited_to())
    )
    .map(|changed| changed > 0)
}
