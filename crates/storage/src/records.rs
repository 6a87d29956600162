//! Records: one per attempt to answer, for auditing, evaluation and usage.

use parlance_domain::kind::{ChatbotId, ConversationId, MessageId, RecordId};
use parlance_domain::{Result, Tenant, Timestamp};

use crate::tx::{Tx, fault, on_tx, queue};

/// What went into an answer and what came out.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Record {
    /// Its id.
    pub id: RecordId,
    /// The assistant that answered.
    pub chatbot_id: ChatbotId,
    /// The conversation.
    pub conversation_id: ConversationId,
    /// The answer.
    pub message_id: MessageId,
    /// `api`, `web`, ...
    pub channel: String,
    /// Who asked.
    pub sender_name: String,
    /// The model that answered, as the catalogue knows it.
    pub model_id: String,
    /// Its name then.
    pub model_name: String,
    /// Its provider then.
    pub model_provider: String,
    /// The question.
    pub input_message: String,
    /// The question as it was searched for.
    pub condensed_message: String,
    /// The answer; empty when it failed.
    pub output_message: String,
    /// Passages of the prompt with the sentences around them, JSON list of `{id, text}`.
    pub citation_nodes: String,
    /// Characters of question and answer.
    pub words_count: i64,
    /// Token counts, JSON object.
    pub tokens: String,
    /// Seconds per stage, JSON object.
    pub processing_time: String,
    /// Milliseconds until the answer was complete.
    pub reply_millis: i64,
    /// Why it failed.
    pub error: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Stores a record. A message has one at most; a second is ignored.
pub async fn insert(tx: &mut Tx, tenant: Tenant, record: &Record) -> Result<()> {
    queue!(
        tx,
        "INSERT INTO records (org_id, id, chatbot_id, conversation_id, message_id, channel, sender_name, model_id, \
         model_name, model_provider, input_message, condensed_message, output_message, citation_nodes, \
         words_count, tokens, processing_time, reply_millis, error, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20) \
         ON CONFLICT (message_id) DO NOTHING",
        tenant.organisation(),
        record.id,
        record.chatbot_id,
        record.conversation_id,
        record.message_id,
        &record.channel,
        &record.sender_name,
        &record.model_id,
        &record.model_name,
        &record.model_provider,
        &record.input_message,
        &record.condensed_message,
        &record.output_message,
        &record.citation_nodes,
        record.words_count,
        &record.tokens,
        &record.processing_time,
        record.reply_millis,
        &record.error,
        record.created_at
    )
}

/// The record of an answer.
pub async fn of_message(tx: &mut Tx, tenant: Tenant, message: MessageId) -> Result<Option<Record>> {
    on_tx!(tx, db => sqlx::query_as(
        "SELECT id, chatbot_id, conversation_id, message_id, channel, sender_name, model_id, model_name, \
         model_provider, input_message, condensed_message, output_message, citation_nodes, words_count, \
         tokens, processing_time, reply_millis, error, created_at FROM records WHERE org_id = $1 AND message_id = $2")
        .bind(tenant.organisation()).bind(message).fetch_optional(db).await)
    .map_err(fault)
}
