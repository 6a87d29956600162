//! Answers that a dead process left unfinished: they end at the next start.

use parlance_domain::kind::{ConversationId, MessageId};
use parlance_domain::{Result, Tenant};
use parlance_storage::conversation_terms::{self, Terms};
use parlance_storage::messages::{self, Unfinished};
use parlance_storage::records::{self, Record};
use parlance_storage::{Scope, chatbots};

use crate::models::ModelRole;
use crate::timing::ProcessingTime;
use crate::{App, keyword, spending};

/// Ends what a dead process left unfinished: each such answer becomes the error `interrupted`, with
/// the text saved so far and a record.
pub async fn end_interrupted(app: &App) -> Result<usize> {
    let left = {
        let mut tx = app.db.read(Scope::System).await?;
        messages::interrupted(&mut tx).await?
    };
    let count = left.len();
    for (organisation, message) in left {
        let tenant = Tenant::authenticated(organisation);
        let (record, terms) = (record(app, tenant, message).await?, terms(app, tenant, message).await?);
        let now = app.now();
        app.db
            .write(tenant, move |tx| {
                Box::pin(async move {
                    let ended = messages::interrupt(tx, tenant, message, now).await?;
                    if let Some((conversation, terms)) = terms.filter(|_| ended) {
                        conversation_terms::add(tx, tenant, conversation, &terms).await?;
                    }
                    if let Some(record) = record.filter(|_| ended) {
                        records::insert(tx, tenant, &record).await?;
                    }
                    // What a crash cut off is not held against the web chat.
                    spending::release(tx, tenant, message).await
                })
            })
            .await?;
    }
    Ok(count)
}

/// The conversation, and the terms of the text saved so far.
async fn terms(app: &App, tenant: Tenant, message: MessageId) -> Result<Option<(ConversationId, Terms)>> {
    let mut tx = app.db.read(tenant).await?;
    let message = messages::get(&mut tx, tenant, message).await?;
    Ok(message.map(|message| (message.conversation_id, keyword::terms(tenant, &message.content))))
}

/// What is known of the attempt, as its record. `None` when the answer has ended, or its assistant
/// is gone.
pub(crate) async fn record(app: &App, tenant: Tenant, message: MessageId) -> Result<Option<Record>> {
    let (unfinished, chatbot) = {
        let mut tx = app.db.read(tenant).await?;
        let Some(unfinished) = messages::unfinished(&mut tx, tenant, message).await? else { return Ok(None) };
        let chatbot = match unfinished.chatbot_id {
            Some(id) => chatbots::get(&mut tx, tenant, id).await?,
            None => None,
        };
        (unfinished, chatbot)
    };
    let Some(chatbot) = chatbot else { return Ok(None) };
    let model = app.catalogue.entry(app, tenant, ModelRole::Chat, chatbot.model_id).await?;
    let (model_id, model_name, model_provider) =
        model.map(|(entry, _)| (entry.id.to_string(), entry.name, entry.provider)).unwrap_or_default();
    let Unfinished { question, content, created_at, updated_at, .. } = unfinished;
    let question = question.unwrap_or_default();
    let words = question.chars().count() + content.chars().count();
    let tokens = serde_json::json!({
        "input": 0,
        "output": parlance_llm::usage::estimate_tokens(&content),
        "cached": 0,
        "total": parlance_llm::usage::estimate_tokens(&content),
        "estimated": true,
    });
    Ok(Some(Record {
        id: app.new_id(),
        chatbot_id: chatbot.id,
        conversation_id: unfinished.conversation_id,
        message_id: message,
        channel: unfinished.access_type.unwrap_or_else(|| "web".to_owned()),
        sender_name: unfinished.contact_name,
        model_id,
        model_name,
        model_provider,
        condensed_message: question.clone(),
        input_message: question,
        output_message: String::new(),
        citation_nodes: "[]".to_owned(),
        words_count: i64::try_from(words).unwrap_or(i64::MAX),
        tokens: tokens.to_string(),
        processing_time: serde_json::to_string(&ProcessingTime::default()).unwrap_or_default(),
        // Until the last sign of life.
        reply_millis: (updated_at.millis() - created_at.millis()).max(0),
        error: Some("interrupted".to_owned()),
        created_at: app.now(),
    }))
}
