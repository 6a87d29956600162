//! Messages of conversations, from people and assistants.

use parlance_domain::kind::{ChatbotId, ContactId, ConversationId, FeedbackId, MessageId, OrganisationId, UserId};
use parlance_domain::{Result, Tenant, Timestamp};
use sqlx::QueryBuilder;

use crate::conversation_terms::{self, Terms};
use crate::reach::conversation_within;
use crate::tx::{Tx, execute, fault, on_tx, queue};

/// A message.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Message {
    /// Its id.
    pub id: MessageId,
    /// The conversation it is part of.
    pub conversation_id: ConversationId,
    /// The contact who wrote it; `None` for the assistant and for a person who replied.
    pub contact_id: Option<ContactId>,
    /// The person who replied; `None` for the contact and the assistant.
    pub user_id: Option<UserId>,
    /// `incoming` (from the contact) or `outgoing`.
    #[sqlx(rename = "type")]
    pub kind: String,
    /// `done`, `generating`, `error` or `cancelled`.
    pub state: String,
    /// The text.
    pub content: String,
    /// Structured content, verbatim JSON.
    pub content_payload: Option<String>,
    /// What the sender narrowed retrieval to, verbatim JSON.
    pub query_metadata: Option<String>,
    /// Attachments as a JSON list.
    pub attachments: String,
    /// Passages cited, as a JSON list.
    pub citations: String,
    /// A document beside the text, as JSON.
    pub canvas: Option<String>,
    /// Id of what the reader thought of it.
    pub feedback_id: Option<FeedbackId>,
    /// `like` or `dislike`.
    pub feedback_type: Option<String>,
    /// What the reader would have liked better.
    pub feedback_suggestion: Option<String>,
    /// When the reader said so.
    pub feedback_at: Option<Timestamp>,
    /// Why it ended in `error`.
    pub error: Option<String>,
    /// When it was stored.
    pub created_at: Timestamp,
}

impl Message {
    /// A finished message with nothing but a text: of the contact who wrote it, or going out when there is
    /// none.
    pub fn plain(
        (id, conversation_id): (MessageId, ConversationId),
        contact_id: Option<ContactId>,
        content: String,
        created_at: Timestamp,
    ) -> Self {
        Self {
            id,
            conversation_id,
            contact_id,
            user_id: None,
            kind: if contact_id.is_some() { "incoming" } else { "outgoing" }.to_owned(),
            state: "done".to_owned(),
            content,
            content_payload: None,
            query_metadata: None,
            attachments: "[]".to_owned(),
            citations: "[]".to_owned(),
            canvas: None,
            feedback_id: None,
            feedback_type: None,
            feedback_suggestion: None,
            feedback_at: None,
            error: None,
            created_at,
        }
    }
}

macro_rules! columns {
    () => {
        "id, conversation_id, contact_id, user_id, type, state, content, content_payload, query_metadata, \
         attachments, citations, canvas, feedback_id, feedback_type, feedback_suggestion, feedback_at, error, created_at"
    };
}
pub(crate) use columns;

macro_rules! insert {
    ($values:literal) => {
        concat!(
            "INSERT INTO messages (org_id, id, conversation_id, contact_id, user_id, type, state, content, \
             content_payload, query_metadata, attachments, citations, canvas, error, created_at, updated_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $15)",
            $values
        )
    };
}

/// Stores a message; `terms` are those of its text. Feedback comes later, so it is not stored here.
pub async fn insert(tx: &mut Tx, tenant: Tenant, message: &Message, terms: &Terms) -> Result<()> {
    queue!(
        tx,
        insert!(""),
        tenant.organisation(),
        message.id,
        message.conversation_id,
        message.contact_id,
        message.user_id,
        &message.kind,
        &message.state,
        &message.content,
        &message.content_payload,
        &message.query_metadata,
        &message.attachments,
        &message.citations,
        &message.canvas,
        &message.error,
        message.created_at
    )?;
    conversation_terms::add(tx, tenant, message.conversation_id, terms).await
}

/// Stores a contact's question and the place of its answer, which is being made from `answer_at` on, with
/// one statement. The question's terms are for the caller to add.
pub async fn insert_turn(
    tx: &mut Tx,
    tenant: Tenant,
    question: &Message,
    (answer, answer_at): (MessageId, Timestamp),
) -> Result<()> {
    queue!(
        tx,
        insert!(
            ", ($1, $16, $3, NULL, NULL, 'outgoing', 'generating', '', NULL, NULL, '[]', '[]', NULL, NULL, $17, $17)"
        ),
        tenant.organisation(),
        question.id,
        question.conversation_id,
        question.contact_id,
        question.user_id,
        &question.kind,
        &question.state,
        &question.content,
        &question.content_payload,
        &question.query_metadata,
        &question.attachments,
        &question.citations,
        &question.canvas,
        &question.error,
        question.created_at,
        answer,
        answer_at
    )
}

/// One message, of a conversation within the caller's reach.
pub async fn get(tx: &mut Tx, tenant: Tenant, id: MessageId) -> Result<Option<Message>> {
    on_tx!(tx, db => sqlx::query_as(concat!(
        "SELECT ", columns!(), " FROM messages WHERE org_id = $1 AND id = $2",
        conversation_within!("conversation_id", "$3")))
        .bind(tenant.organisation()).bind(id).bind(tenant.limited_to()).fetch_optional(db).await)
    .map_err(fault)
}

/// The last messages of a conversation, oldest first.
pub async fn history(tx: &mut Tx, tenant: Tenant, conversation: ConversationId, limit: i64) -> Result<Vec<Message>> {
    let mut rows: Vec<Message> = on_tx!(tx, db => sqlx::query_as(concat!(
        "SELECT ", columns!(), " FROM messages WHERE org_id = $1 AND conversation_id = $2 AND state <> 'generating' \
         ORDER BY created_at DESC, id DESC LIMIT $3"))
        .bind(tenant.organisation()).bind(conversation).bind(limit).fetch_all(db).await)
    .map_err(fault)?;
    rows.reverse();
    Ok(rows)
}

/// What an answer has so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partial {
    /// Whose it is.
    pub tenant: Tenant,
    /// The answer.
    pub id: MessageId,
    /// Its text.
    pub content: String,
}

/// Saves what answers have so far, of whichever organisations, with one statement: there may be thousands
/// at once. What has ended stays as it is.
pub async fn save_partials(tx: &mut Tx, partials: &[Partial], now: Timestamp) -> Result<()> {
    if partials.is_empty() {
        return Ok(());
    }
    on_tx!(tx, db => {
        let mut query = QueryBuilder::new("WITH parts (org_id, id, content) AS (");
        query.push_values(partials, |mut row, part| {
            row.push_bind(part.tenant.organisation()).push_bind(part.id).push_bind(&part.content);
        });
        query.push(") UPDATE messages SET content = parts.content, updated_at = ").push_bind(now);
        // Joined with something, the state keeps SQLite from going through all unfinished answers.
        query.push(
            " FROM parts WHERE messages.org_id = parts.org_id AND messages.id = parts.id \
             AND messages.state || '' = 'generating'");
        query.build().execute(db).await.map(drop)
    })
    .map_err(fault)
}

/// How an answer ended.
#[derive(Clone, Debug)]
pub struct Ending<'a> {
    /// `done`, `error` or `cancelled`.
    pub state: &'a str,
    /// The text that was made.
    pub content: &'a str,
    /// Passages cited, as a JSON list.
    pub citations: &'a str,
    /// The error code, for `error`.
    pub error: Option<&'a str>,
    /// Terms of the text.
    pub terms: &'a Terms,
}

/// Ends an answer of a conversation. One that has ended already stays as it is.
pub async fn end(
    tx: &mut Tx,
    tenant: Tenant,
    (conversation, id): (ConversationId, MessageId),
    ending: &Ending<'_>,
    now: Timestamp,
) -> Result<()> {
    queue!(
        tx,
        "UPDATE messages SET state = $3, content = $4, citations = $5, error = $6, updated_at = $7 \
         WHERE org_id = $1 AND id = $2 AND state = 'generating'",
        tenant.organisation(),
        id,
        ending.state,
        ending.content,
        ending.citations,
        ending.error,
        now
    )?;
    conversation_terms::add(tx, tenant, conversation, ending.terms).await
}

/// Answers of all organisations that a dead process left unfinished, other than replies that a job
/// makes again.
pub async fn interrupted(tx: &mut Tx) -> Result<Vec<(OrganisationId, MessageId)>> {
    on_tx!(tx, db => sqlx::query_as("SELECT org_id, id FROM messages WHERE state = 'generating' AND NOT EXISTS \
         (SELECT 1 FROM replies AS r WHERE r.answer_id = messages.id AND r.is_waiting) ORDER BY id")
        .fetch_all(db).await)
    .map_err(fault)
}

/// Ends an unfinished answer as interrupted, with the text saved so far. That is activity of its
/// conversation, as any end of an answer is.
pub async fn interrupt(tx: &mut Tx, tenant: Tenant, id: MessageId, now: Timestamp) -> Result<bool> {
    // First, as all others do: two transactions must not wait for each other.
    execute!(
        tx,
        sqlx::query(
            "UPDATE conversations SET last_message_at = $3, last_activity_at = $3 WHERE org_id = $1 \
             AND last_activity_at < $3 AND id = (SELECT m.conversation_id FROM messages AS m \
             WHERE m.org_id = $1 AND m.id = $2 AND m.state = 'generating')"
        )
        .bind(tenant.organisation())
        .bind(id)
        .bind(now)
    )?;
    execute!(
        tx,
        sqlx::query(
            "UPDATE messages SET state = 'error', error = 'interrupted', updated_at = $3 \
             WHERE org_id = $1 AND id = $2 AND state = 'generating'"
        )
        .bind(tenant.organisation())
        .bind(id)
        .bind(now)
    )
    .map(|changed| changed > 0)
}

/// What is known of an unfinished answer.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Unfinished {
    /// The conversation it is part of.
    pub conversation_id: ConversationId,
    /// The assistant of the conversation's inbox; `None` when it was removed.
    pub chatbot_id: Option<ChatbotId>,
    /// `web`, `api`, ... of the inbox's web chat; `None` without one.
    pub access_type: Option<String>,
    /// Who asked.
    pub contact_name: String,
    /// The contact's message before it; `None` when there is none.
    pub question: Option<String>,
    /// The text saved so far.
    pub content: String,
    /// When it was begun.
    pub created_at: Timestamp,
    /// When its text was last saved.
    pub updated_at: Timestamp,
}

/// What is known of an answer that is still being made. `None` when it ended or is not one.
pub async fn unfinished(tx: &mut Tx, tenant: Tenant, id: MessageId) -> Result<Option<Unfinished>> {
    on_tx!(tx, db => sqlx::query_as(
        "SELECT m.conversation_id, i.chatbot_id, w.access_type, k.name AS contact_name, m.content, m.created_at, \
         m.updated_at, \
         (SELECT q.content FROM messages AS q WHERE q.org_id = $1 AND q.conversation_id = m.conversation_id \
          AND q.type = 'incoming' AND q.created_at <= m.created_at ORDER BY q.created_at DESC, q.id DESC LIMIT 1) \
         AS question FROM messages AS m JOIN conversations AS c ON c.id = m.conversation_id \
         JOIN inboxes AS i ON i.id = c.inbox_id JOIN contacts AS k ON k.id = c.contact_id \
         LEFT JOIN web_chats AS w ON w.id = i.web_chat_id AND w.org_id = $1 \
         WHERE m.org_id = $1 AND m.id = $2 AND m.state = 'generating'")
        .bind(tenant.organisation()).bind(id).fetch_optional(db).await)
    .map_err(fault)
}
