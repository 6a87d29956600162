//! The end of an answer: its message, its record and the counts, in one transaction.

use std::sync::Arc;
use std::time::Duration;

use parlance_domain::kind::{FaqId, PassageId, RecordId};
use parlance_domain::{Error, Result};
use parlance_llm::Usage;
use parlance_storage::conversation_terms::Terms;
use parlance_storage::conversations::{self, Activity};
use parlance_storage::messages::{self, Ending, Message};
use parlance_storage::records::{self, Record};
use parlance_storage::{faqs, passages};

use crate::App;
use crate::answer::{Draft, Outcome, Turn};
use crate::answer_faults::{self, Fault};
use crate::citations::{Cited, cited_in};
use crate::live_answer::{About, Done, End, LiveAnswer};
use crate::timing::since;
use crate::webhooks::{self, NewDelivery};
use crate::{events, keyword, reply, spending, webhook_body};

/// State of an answer that was stopped.
const CANCELLED: &str = "cancelled";

/// Pauses before the end of an answer is stored again after a fault.
const STORE_AGAIN_AFTER: [Duration; 4] =
    [Duration::from_millis(50), Duration::from_millis(250), Duration::from_secs(1), Duration::from_secs(3)];

/// Stores how the answer ended, with its record, in one transaction. Gives what readers are told.
pub(crate) async fn store(app: &App, turn: &Turn, answer: &LiveAnswer, mut draft: Draft, outcome: Outcome) -> End {
    let text = answer.text_so_far();
    draft.time.total = since(turn.started);
    draft.time.generation = draft.first_text.map(since).unwrap_or_default();
    let cited = cited_in(&text, &draft.sources);
    let (state, error) = match &outcome {
        Outcome::Complete => ("done", None),
        Outcome::Failed(fault) => ("error", Some(fault.code)),
        Outcome::Cancelled => (CANCELLED, None),
        Outcome::ShuttingDown => ("error", Some("shutting_down")),
    };
    // Of every call of the turn: providers charge for what goes before the answer too.
    let usage = draft.usage.unwrap_or_else(|| estimated(&draft, &text)).plus(draft.spent.usage());
    let record = record(app, turn, &draft, &text, usage, error);
    let delivery = if error.is_none() && state == "done" { delivery(app, turn, &text, &cited) } else { None };
    let record_id: RecordId = record.id;
    let words = u64::try_from(record.words_count).unwrap_or_default();
    let time = draft.time;
    let ended = Ended {
        terms: keyword::terms(turn.tenant, &text),
        citations: serde_json::to_string(&cited).unwrap_or_else(|_| "[]".to_owned()),
        hits: cited.iter().filter(|cited| cited.file.is_some()).map(|cited| cited.node.id).collect(),
        faq_hits: cited.iter().filter_map(|cited| Some(cited.faq.as_ref()?.id)).collect(),
        text,
        state,
        error,
        record,
        delivery,
        usage,
    };
    let stored = commit(app, turn, ended).await;
    let (outcome, state) = match &stored {
        // A person took over while the last words were said.
        Ok(Stored::TakenOver) => (Outcome::Cancelled, CANCELLED),
        _ => (outcome, state),
    };
    metrics::counter!("parlance_answers_total", "end" => state).increment(1);
    metrics::histogram!("parlance_answer_seconds").record(time.total);
    if let Err(error) = stored {
        tracing::error!(error = &error as &dyn std::error::Error, message = %turn.open.answer, "an answer was not stored");
        return failed(answer_faults::NOT_STORED);
    }
    match outcome {
        Outcome::Complete => {
            End::Done(Box::new(Done { record: Some(record_id), cited, usage, words, processing_time: time }))
        }
        Outcome::Failed(fault) => failed(fault),
        Outcome::Cancelled => End::Cancelled,
        Outcome::ShuttingDown => End::ShuttingDown,
    }
}

pub(crate) const fn failed(fault: Fault) -> End {
    End::Failed { code: fault.code, message: fault.message }
}

fn estimated(draft: &Draft, text: &str) -> Usage {
    Usage {
        input_tokens: draft.prompt_tokens,
        output_tokens: parlance_llm::usage::estimate_tokens(text),
        cached_tokens: 0,
        estimated: true,
    }
}

/// A passage of the prompt as a record keeps it: its text with the sentences around it. What the
/// API calls the context is these texts joined, so they are stored once.
#[derive(serde::Serialize)]
struct RecordedNode<'a> {
    id: PassageId,
    text: &'a str,
}

fn record(app: &App, turn: &Turn, draft: &Draft, text: &str, usage: Usage, error: Option<&str>) -> Record {
    let words = turn.question.content.chars().count() + text.chars().count();
    let nodes: Vec<RecordedNode<'_>> = draft
        .sources
        .iter()
        .zip(&draft.contexts)
        .map(|(source, text)| RecordedNode { id: source.node.id, text })
        .collect();
    let total = usage.input_tokens.saturating_add(usage.output_tokens);
    let tokens = serde_json::json!({
        "input": usage.input_tokens,
        "output": usage.output_tokens,
        "cached": usage.cached_tokens,
        "total": total,
        "estimated": usage.estimated,
    });
    Record {
        id: app.new_id(),
        chatbot_id: turn.plan.chatbot.id,
        conversation_id: turn.open.conversation,
        message_id: turn.open.answer,
        channel: turn.channel.clone(),
        sender_name: turn.open.contact_name.clone(),
        model_id: turn.chat.entry.id.to_string(),
        model_name: turn.chat.entry.name.clone(),
        model_provider: turn.chat.entry.provider.clone(),
        input_message: turn.question.content.clone(),
        condensed_message: draft.condensed.clone(),
        output_message: if error.is_none() { text.to_owned() } else { String::new() },
        citation_nodes: serde_json::to_string(&nodes).unwrap_or_default(),
        words_count: i64::try_from(words).unwrap_or(i64::MAX),
        tokens: tokens.to_string(),
        processing_time: serde_json::to_string(&draft.time).unwrap_or_default(),
        reply_millis: i64::try_from(turn.started.elapsed().as_millis()).unwrap_or(i64::MAX),
        error: error.map(str::to_owned),
        created_at: app.now(),
    }
}

/// What the end of an answer writes.
struct Ended {
    text: String,
    terms: Terms,
    citations: String,
    hits: Vec<PassageId>,
    faq_hits: Vec<FaqId>,
    state: &'static str,
    error: Option<&'static str>,
    record: Record,
    delivery: Option<NewDelivery>,
    usage: Usage,
}

/// How the end of an answer was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stored {
    AsItEnded,
    /// As cancelled, because a person had taken the conversation over.
    TakenOver,
}

/// What the assistant's webhook is told: replies to stored messages only.
fn delivery(app: &App, turn: &Turn, text: &str, cited: &[Cited]) -> Option<NewDelivery> {
    let (owed, url) = (turn.reply.as_ref()?, turn.plan.chatbot.webhook_url.clone()?);
    let answer = Message { content: text.to_owned(), ..owed.answer.clone() };
    let place = (owed.message, turn.open.contact);
    let body = webhook_body::body(app, turn.tenant, &turn.plan.chatbot, place, &answer, cited);
    Some(NewDelivery { chatbot: turn.plan.chatbot.id, message: answer.id, url, body })
}

/// Stores the end of an answer; after a fault of the database again, a few times, because the
/// answer itself cannot be made again.
async fn commit(app: &App, turn: &Turn, ended: Ended) -> Result<Stored> {
    let ended = Arc::new(ended);
    let mut pauses = STORE_AGAIN_AFTER.iter();
    loop {
        let error = match try_commit(app, turn, Arc::clone(&ended)).await {
            Ok(stored) => {
                app.known_passages.count_hits(&ended.hits);
                return Ok(stored);
            }
            // Another worker has taken the reply over.
            Err(error @ Error::Conflict(_)) if turn.reply.is_some() => return Err(error),
            Err(error) => error,
        };
        let Some(pause) = pauses.next() else { return Err(error) };
        tracing::warn!(%error, message = %turn.open.answer, "the end of an answer is stored again");
        tokio::time::sleep(*pause).await;
    }
}

async fn try_commit(app: &App, turn: &Turn, ended: Arc<Ended>) -> Result<Stored> {
    let (tenant, owed, writer) = (turn.tenant, turn.reply.clone(), app.clone());
    let About { conversation, message, gives_way, .. } = turn.about();
    let (now, may_be_set_aside) = (app.now(), turn.open.may_be_set_aside);
    let stored = app
        .db
        .write(tenant, move |tx| {
            Box::pin(async move {
                if let Some(owed) = &owed {
                    reply::settle(tx, &writer, tenant, owed).await?;
                }
                let at = Activity { at: now, unread: 0, title: "", title_folded: "" };
                conversations::touch(tx, tenant, conversation, &at).await?;
                // The conversation's row is held by now, so this stays true.
                let is_taken_over = gives_way
                    && ended.error.is_none()
                    && conversations::get(tx, tenant, conversation)
                        .await?
                        .is_some_and(|known| !known.auto_reply_enabled);
                let ending = Ending {
                    state: if is_taken_over { CANCELLED } else { ended.state },
                    content: &ended.text,
                    citations: &ended.citations,
                    error: ended.error,
                    terms: &ended.terms,
                };
                messages::end(tx, tenant, (conversation, message), &ending, now).await?;
                records::insert(tx, tenant, &ended.record).await?;
                if let Some(delivery) = ended.delivery.as_ref().filter(|_| !is_taken_over) {
                    webhooks::put(tx, &writer, tenant, delivery).await?;
                }
                passages::count_hits(tx, tenant, &ended.hits).await?;
                faqs::count_hits(tx, tenant, &ended.faq_hits).await?;
                if may_be_set_aside {
                    spending::settle(tx, tenant, message, &ended.usage).await?;
                }
                Ok(if is_taken_over { Stored::TakenOver } else { Stored::AsItEnded })
            })
        })
        .await?;
    events::stored_by_id(app, tenant, message, now).await;
    if turn.reply.is_some() {
        app.job_bell.notify_one();
    }
    Ok(stored)
}

/// How a stored answer ended, told again from its record. A person's reply has none: nothing was used
/// for it.
pub fn stored_end(record: Option<&Record>, cited: Vec<Cited>) -> Done {
    let tokens: serde_json::Value =
        record.and_then(|record| serde_json::from_str(&record.tokens).ok()).unwrap_or_default();
    let number = |name: &str| tokens.get(name).and_then(serde_json::Value::as_u64).unwrap_or_default();
    Done {
        record: record.map(|record| record.id),
        cited,
        usage: Usage {
            input_tokens: number("input"),
            output_tokens: number("output"),
            cached_tokens: number("cached"),
            estimated: tokens.get("estimated") == Some(&serde_json::Value::Bool(true)),
        },
        words: record.and_then(|record| u64::try_from(record.words_count).ok()).unwrap_or_default(),
        processing_time: record
            .and_then(|record| serde_json::from_str(&record.processing_time).ok())
            .unwrap_or_default(),
    }
}
