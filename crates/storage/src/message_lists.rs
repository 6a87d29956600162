//! Messages with who sent them: lists of a conversation, feedback, and texts to search in.

use futures_util::TryStreamExt;
use parlance_domain::kind::{ChatbotId, ContactId, ConversationId, FeedbackId, InboxId, MessageId, UserId};
use parlance_domain::{Result, Tenant, Timestamp};

use crate::messages::Message;
use crate::page::{Part, bytes_of, collect_part, count};
use crate::reach::chatbot_within;
use crate::tx::{Tx, execute, fault, on_tx};

/// A message with what is shown of its sender.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Sent {
    /// The message.
    #[sqlx(flatten)]
    pub message: Message,
    /// Who the conversation is with.
    pub owner_id: ContactId,
    /// The inbox it takes place in.
    pub inbox_id: InboxId,
    /// Name of the contact who wrote it, also when they were deleted.
    pub contact_name: Option<String>,
    /// Where their picture is.
    pub contact_avatar: Option<String>,
    /// Name of the person who replied.
    pub user_name: Option<String>,
    /// The assistant of the conversation's inbox.
    pub chatbot_id: Option<ChatbotId>,
    /// Its name.
    pub chatbot_name: Option<String>,
}

impl Sent {
    fn bytes(&self) -> usize {
        let Message { content, attachments, citations, content_payload, query_metadata, canvas, .. } = &self.message;
        let optional = [content_payload, query_metadata, canvas].into_iter().map(|text| bytes_of(text.as_ref()));
        content.len() + attachments.len() + citations.len() + optional.sum::<usize>()
    }
}

macro_rules! sent {
    () => {
        "SELECT m.id, m.conversation_id, m.contact_id, m.user_id, m.type, m.state, m.content, m.content_payload, \
         m.query_metadata, m.attachments, m.citations, m.canvas, m.feedback_id, m.feedback_type, \
         m.feedback_suggestion, m.feedback_at, m.error, m.created_at, m.updated_at AS settled_at, c.contact_id AS owner_id, c.inbox_id, \
         k.name AS contact_name, k.avatar AS contact_avatar, u.name AS user_name, i.chatbot_id, \
         b.name AS chatbot_name FROM messages AS m JOIN conversations AS c ON c.id = m.conversation_id \
         JOIN inboxes AS i ON i.id = c.inbox_id LEFT JOIN contacts AS k ON k.id = m.contact_id AND k.org_id = $1 \
         LEFT JOIN users AS u ON u.id = m.user_id LEFT JOIN chatbots AS b ON b.id = i.chatbot_id AND b.org_id = $1 \
         WHERE m.org_id = $1 AND c.org_id = $1 AND i.org_id = $1"
    };
}
pub(crate) use sent;

/// Where a part of a list begins, and in which direction it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// When the message beside it was stored.
    pub at: Timestamp,
    /// The message beside it.
    pub id: MessageId,
    /// Whether the part holds what stands before that message, which is newer, instead of what comes
    /// after it.
    pub is_back: bool,
}

/// A part of the messages of a conversation, newest first unless it goes back. Long messages make it
/// shorter than `limit`.
pub async fn page(
    tx: &mut Tx,
    tenant: Tenant,
    conversation: ConversationId,
    from: Option<Position>,
    limit: i64,
) -> Result<Part<Sent>> {
    let sql = match from {
        None => concat!(
            sent!(),
            " AND m.conversation_id = $2 AND CAST($3 AS BIGINT) IS NULL AND CAST($4 AS TEXT) IS NULL \
             ORDER BY m.created_at DESC, m.id DESC LIMIT $5"
        ),
        Some(Position { is_back: false, .. }) => concat!(
            sent!(),
            " AND m.conversation_id = $2 AND (m.created_at, m.id) < ($3, $4) \
             ORDER BY m.created_at DESC, m.id DESC LIMIT $5"
        ),
        Some(Position { is_back: true, .. }) => concat!(
            sent!(),
            " AND m.conversation_id = $2 AND (m.created_at, m.id) > ($3, $4) \
             ORDER BY m.created_at, m.id LIMIT $5"
        ),
    };
    on_tx!(tx, db => collect_part(sqlx::query_as(sql).bind(tenant.organisation()).bind(conversation)
        .bind(from.map(|from| from.at)).bind(from.map(|from| from.id)).bind(limit).fetch(db), Sent::bytes).await)
}

/// Messages of a conversation.
pub async fn total(tx: &mut Tx, tenant: Tenant, conversation: ConversationId) -> Result<u64> {
    on_tx!(tx, db => sqlx::query_scalar("SELECT count(*) FROM messages WHERE org_id = $1 AND conversation_id = $2")
        .bind(tenant.organisation()).bind(conversation).fetch_one(db).await)
    .map(count)
    .map_err(fault)
}

/// One message with its sender, of a conversation within the caller's reach.
pub async fn one(tx: &mut Tx, tenant: Tenant, id: MessageId) -> Result<Option<Sent>> {
    on_tx!(tx, db => sqlx::query_as(concat!(sent!(), " AND m.id = $2", chatbot_within!("i.chatbot_id", "$3")))
        .bind(tenant.organisation()).bind(id).bind(tenant.limited_to()).fetch_optional(db).await)
    .map_err(fault)
}

/// What a reader thought of a message.
#[derive(Clone, Debug)]
pub struct Feedback<'a> {
    /// Its id, of the first time; a later change keeps it.
    pub id: FeedbackId,
    /// `like` or `dislike`.
    pub kind: &'a str,
    /// What they would have liked better; empty when they did not say.
    pub suggestion: &'a str,
}

/// Notes what a reader thought of an outgoing message. False when there is no such message.
pub async fn set_feedback(
    tx: &mut Tx,
    tenant: Tenant,
    id: MessageId,
    feedback: &Feedback<'_>,
    now: Timestamp,
) -> Result<bool> {
    execute!(
        tx,
        sqlx::query(
            "UPDATE messages SET feedback_id = coalesce(feedback_id, $3), feedback_type = $4, \
             feedback_suggestion = $5, feedback_at = $6 WHERE org_id = $1 AND id = $2 AND type = 'outgoing'"
        )
        .bind(tenant.organisation())
        .bind(id)
        .bind(feedback.id)
        .bind(feedback.kind)
        .bind(feedback.suggestion)
        .bind(now)
    )
    .map(|changed| changed > 0)
}

/// Forgets what a reader thought of an outgoing message. False when there is no such message.
pub async fn clear_feedback(tx: &mut Tx, tenant: Tenant, id: MessageId) -> Result<bool> {
    execute!(
        tx,
        sqlx::query(
            "UPDATE messages SET feedback_id = NULL, feedback_type = NULL, feedback_suggestion = NULL, \
             feedback_at = NULL WHERE org_id = $1 AND id = $2 AND type = 'outgoing'"
        )
        .bind(tenant.organisation())
        .bind(id)
    )
    .map(|changed| changed > 0)
}

/// Hands the texts of conversations to `look`, one at a time and in no order, until it says false.
/// One text is in memory at a time.
pub async fn look_at_texts(
    tx: &mut Tx,
    tenant: Tenant,
    conversations: &[ConversationId],
    mut look: impl FnMut(ConversationId, &str) -> bool + Send,
) -> Result<()> {
    if conversations.is_empty() {
        return Ok(());
    }
    let places: Vec<String> = (0..conversations.len()).map(|place| format!("${}", place + 2)).collect();
    let sql = format!(
        "SELECT conversation_id, content FROM messages WHERE org_id = $1 AND conversation_id IN ({})",
        places.join(", ")
    );
    on_tx!(tx, db => {
        let mut query = sqlx::query_as::<_, (ConversationId, String)>(sqlx::AssertSqlSafe(sql)).bind(tenant.organisation());
        for id in conversations {
            query = query.bind(*id);
        }
        let mut rows = query.fetch(db);
        loop {
            match rows.try_next().await {
                Ok(Some((conversation, text))) if look(conversation, &text) => {}
                Ok(_) => break Ok(()),
                Err(error) => break Err(error),
            }
        }
    })
    .map_err(fault)
}

/// Where a message is put, with what is shown of those who may send one.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Destination {
    /// The inbox.
    pub inbox_id: InboxId,
    /// Who the conversation is with.
    pub contact_id: ContactId,
    /// Their name, also when they were deleted.
    pub contact_name: String,
    /// Where their picture is.
    pub contact_avatar: Option<String>,
    /// The assistant.
    pub chatbot_id: Option<ChatbotId>,
    /// Its name.
    pub chatbot_name: Option<String>,
    /// Whether the assistant answers; a person who takes over switches it off.
    pub auto_reply_enabled: bool,
    /// Hours in which the assistant answers by itself, as a JSON list.
    pub auto_reply_schedules: String,
    /// The organisation's time zone.
    pub time_zone: String,
    /// Name of the user who asks, if one does.
    pub user_name: Option<String>,
}

/// Where a message of the conversation goes, if that is within the caller's reach. `user` is who asks.
pub async fn destination(
    tx: &mut Tx,
    tenant: Tenant,
    conversation: ConversationId,
    user: Option<UserId>,
) -> Result<Option<Destination>> {
    on_tx!(tx, db => sqlx::query_as(concat!(
        "SELECT c.inbox_id, c.contact_id, k.name AS contact_name, k.avatar AS contact_avatar, i.chatbot_id, \
         b.name AS chatbot_name, c.auto_reply_enabled, i.auto_reply_schedules, o.time_zone, \
         (SELECT u.name FROM users AS u WHERE u.id = $3) AS user_name \
         FROM conversations AS c JOIN contacts AS k ON k.id = c.contact_id JOIN inboxes AS i ON i.id = c.inbox_id \
         JOIN organisations AS o ON o.org_id = c.org_id LEFT JOIN chatbots AS b ON b.id = i.chatbot_id AND b.org_id = $1 \
         WHERE c.org_id = $1 AND k.org_id = $1 AND i.org_id = $1 AND c.id = $2",
        chatbot_within!("i.chatbot_id", "$4")))
        .bind(tenant.organisation()).bind(conversation).bind(user).bind(tenant.limited_to()).fetch_optional(db).await)
    .map_err(fault)
}
