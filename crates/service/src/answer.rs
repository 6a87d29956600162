//! One chat turn: store, retrieve, prompt, stream, store.
//!
//! [`start`] does everything that can fail with a status. The task it spawns then owns the answer:
//! it reads the model, appends to the [`LiveAnswer`] and ends it exactly once, whatever happens.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{FutureExt, StreamExt};
use parlance_domain::kind::{ChatbotId, MessageId, RecordId};
use parlance_domain::{Error, Principal, Result};
use parlance_llm::{ChatEvent, Image, Usage};
use parlance_storage::chatbots::Chatbot;
use parlance_storage::messages::{self, Ending};
use parlance_storage::passages;
use parlance_storage::records::{self, Record};
use tokio::sync::OwnedSemaphorePermit;

use crate::answer_faults::{self, Fault};
use crate::citations::{Cited, cited_in};
use crate::conversation_turn::{self, OpenTurn, Question};
use crate::live_answer::{Done, End, LiveAnswer, Reader};
use crate::models::Chat;
use crate::prompt::{PromptParts, condense_request, request, source_text};
use crate::search::{Found, SearchResult, search};
use crate::timing::{ProcessingTime, since};
use crate::turn_plan::{TurnPlan, turn_plan};
use crate::{App, attachments};

/// Bytes of an answer's text and reasoning at most.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// Time for rewriting a follow-up question, which only makes the search more precise.
const CONDENSE_TIME: Duration = Duration::from_secs(8);
/// Pauses before the end of an answer is stored again after a fault.
const STORE_AGAIN_AFTER: [Duration; 4] =
    [Duration::from_millis(50), Duration::from_millis(250), Duration::from_secs(1), Duration::from_secs(3)];

/// What the task needs to know about a turn.
struct Turn {
    plan: Arc<TurnPlan>,
    chat: Chat,
    open: OpenTurn,
    question: Question,
    principal: Principal,
    started: Instant,
    _slot: OwnedSemaphorePermit,
}

/// What a turn has gathered so far; survives the cancellation of the task that gathers it.
#[derive(Default)]
struct Draft {
    condensed: String,
    sources: Arc<Vec<Cited>>,
    /// The texts of the sources as they stand in the prompt.
    contexts: Vec<String>,
    usage: Option<Usage>,
    time: ProcessingTime,
    prompt_characters: usize,
    first_text: Option<Instant>,
}

/// How reading the model ended.
enum Outcome {
    Complete,
    Failed(Fault),
    Cancelled,
    ShuttingDown,
}

/// Stores the question and starts its answer.
///
/// # Errors
/// Whatever can fail with a status: nothing was stored then.
pub async fn start(app: &App, principal: &Principal, chatbot: ChatbotId, question: Question) -> Result<Reader> {
    let started = Instant::now();
    validate(app, &question)?;
    if app.stopping.is_cancelled() {
        return Err(Error::Unavailable("the server is stopping; try again in a moment".to_owned()));
    }
    let slot = Arc::clone(&app.answer_slots)
        .try_acquire_owned()
        .map_err(|_full| Error::Unavailable("too many answers are being made; try again in a moment".to_owned()))?;
    let plan = turn_plan(app, principal.tenant, chatbot).await?;
    let chat = app.catalogue.chat(app, principal.tenant, plan.chatbot.model_id).await?;
    let (task_app, principal) = (app.clone(), *principal);
    // In a task of its own: a caller who goes away now must not leave a stored question without
    // anybody who answers it. Its reader is dropped then, which stops the answer as always.
    let starting = app.tasks.spawn(async move {
        let place = (plan.chatbot.id, plan.inbox);
        let open = conversation_turn::open(&task_app, principal.tenant, place, &question).await?;
        let ids = (open.answer, open.conversation, open.contact);
        let answer = task_app.streams.start(&principal, ids, task_app.settings.api_grace);
        let reader = answer.subscribe(0);
        let turn = Turn { plan, chat, open, question, principal, started, _slot: slot };
        let run_app = task_app.clone();
        task_app.tasks.spawn(async move { run(&run_app, turn, &answer).await });
        Ok(reader)
    });
    starting.await.map_err(|error| Error::internal("starting an answer", error))?
}

fn validate(app: &App, question: &Question) -> Result<()> {
    let characters = question.content.chars().count();
    if characters > app.settings.max_message_characters {
        let limit = app.settings.max_message_characters;
        return Err(Error::field("message.content", format!("Ensure this field has no more than {limit} characters.")));
    }
    if question.content.trim().is_empty() && question.attachments.is_empty() {
        return Err(Error::field("message.content", "This field may not be blank."));
    }
    if question.attachments.len() > app.settings.max_attachments {
        let limit = app.settings.max_attachments;
        return Err(Error::field("message.attachments", format!("At most {limit} attachments.")));
    }
    Ok(())
}

async fn run(app: &App, turn: Turn, answer: &Arc<LiveAnswer>) {
    // Whatever happens in here, readers get a terminal event and the registry lets go.
    let _ending = EndGuard { app, answer };
    let mut draft = Draft::default();
    let making = AssertUnwindSafe(make(app, &turn, answer, &mut draft)).catch_unwind();
    let outcome = tokio::select! {
        biased;
        () = answer.cancelled().cancelled() => Outcome::Cancelled,
        () = stop_deadline(app) => Outcome::ShuttingDown,
        outcome = making => outcome.unwrap_or_else(|_panic| {
            tracing::error!(message = %turn.open.answer, "making an answer panicked");
            Outcome::Failed(answer_faults::INTERNAL)
        }),
    };
    let end = store(app, &turn, answer, draft, outcome).await;
    answer.end(end);
}

/// Ends an answer that its task left without an end, because it panicked.
struct EndGuard<'a> {
    app: &'a App,
    answer: &'a Arc<LiveAnswer>,
}

impl Drop for EndGuard<'_> {
    fn drop(&mut self) {
        // Only the first end counts.
        self.answer.end(failed(answer_faults::INTERNAL));
        self.app.streams.finished(self.answer);
    }
}

/// Fires when the server stops and answers had their time to finish.
async fn stop_deadline(app: &App) {
    app.stopping.cancelled().await;
    tokio::time::sleep(app.settings.stop_grace).await;
}

async fn make(app: &App, turn: &Turn, answer: &LiveAnswer, draft: &mut Draft) -> Outcome {
    match try_make(app, turn, answer, draft).await {
        Ok(()) => Outcome::Complete,
        Err(Failure::Model(error)) => {
            tracing::warn!(%error, chatbot = %turn.plan.chatbot.id, message = %turn.open.answer, "the model failed");
            metrics::counter!("parlance_model_failures_total").increment(1);
            Outcome::Failed(answer_faults::of_model(error.kind))
        }
        Err(Failure::TooLong) => Outcome::Failed(answer_faults::TOO_LONG),
        Err(Failure::Internal(error)) => {
            tracing::error!(error = &error as &dyn std::error::Error, message = %turn.open.answer, "an answer failed");
            Outcome::Failed(answer_faults::INTERNAL)
        }
    }
}

enum Failure {
    Model(parlance_llm::Error),
    Internal(Error),
    TooLong,
}

impl From<parlance_llm::Error> for Failure {
    fn from(error: parlance_llm::Error) -> Self {
        Self::Model(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Internal(error)
    }
}

async fn try_make(app: &App, turn: &Turn, answer: &LiveAnswer, draft: &mut Draft) -> Result<(), Failure> {
    draft.condensed = condense(turn, draft).await;
    let limit = turn.plan.chatbot.retrieved_chunks.and_then(|chunks| usize::try_from(chunks).ok());
    let SearchResult { found, retrieval, rerank } =
        search(app, turn.principal.tenant, &turn.plan.bases, &draft.condensed, limit).await?;
    draft.time.retrieval = retrieval;
    draft.time.rerank = rerank;
    let found = within(found, app.settings.context_characters);
    draft.contexts = found.iter().map(source_text).collect();
    draft.sources = Arc::new(numbered(&found));
    answer.citations(Arc::clone(&draft.sources));

    let (documents, images) = read_attachments(app, turn).await;
    let chat_request = request(PromptParts {
        instructions: &turn.plan.chatbot.instructions,
        history: &turn.open.history,
        has_knowledge: !turn.plan.bases.is_empty(),
        sources: &found,
        documents: &documents,
        images,
        question: &turn.question.content,
        condensed: &draft.condensed,
        json_schema: json_schema(&turn.plan.chatbot),
    });
    drop(found);
    draft.prompt_characters = chat_request.messages.iter().map(|message| message.text.chars().count()).sum();
    let asked = Instant::now();
    let mut stream = turn.chat.model.chat(chat_request).await?;
    while let Some(event) = stream.next().await {
        let size = match event? {
            ChatEvent::Text(piece) => {
                if draft.first_text.is_none() {
                    draft.first_text = Some(Instant::now());
                    draft.time.first_token = since(asked);
                }
                answer.text(&piece)
            }
            ChatEvent::Thinking(piece) => answer.thinking(&piece),
            ChatEvent::Usage(usage) => {
                draft.usage = Some(usage);
                continue;
            }
            ChatEvent::Stop(_) => break,
        };
        if size > MAX_ANSWER_BYTES {
            return Err(Failure::TooLong);
        }
    }
    Ok(())
}

/// The question as it is searched for. Only a follow-up needs a model call, and a failure of that
/// call costs nothing but precision.
async fn condense(turn: &Turn, draft: &mut Draft) -> String {
    let question = &turn.question.content;
    if turn.open.history.is_empty() || turn.plan.bases.is_empty() || !turn.chat.model.follows_instructions() {
        return question.clone();
    }
    let start = Instant::now();
    let condensed = collect(turn, condense_request(&turn.open.history, question));
    let condensed = tokio::time::timeout(CONDENSE_TIME, condensed).await;
    draft.time.condense = since(start);
    match condensed {
        Ok(Ok(text)) if !text.trim().is_empty() => text.trim().to_owned(),
        Ok(Ok(_)) => question.clone(),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the question could not be condensed; it is searched for as it is");
            question.clone()
        }
        Err(_elapsed) => {
            tracing::warn!("condensing the question took too long; it is searched for as it is");
            question.clone()
        }
    }
}

async fn collect(turn: &Turn, chat_request: parlance_llm::ChatRequest) -> Result<String, parlance_llm::Error> {
    let mut stream = turn.chat.model.chat(chat_request).await?;
    let mut text = String::new();
    while let Some(event) = stream.next().await {
        match event? {
            ChatEvent::Text(piece) if text.len() < 4096 => text.push_str(&piece),
            ChatEvent::Stop(_) => break,
            _ => {}
        }
    }
    Ok(text)
}

/// The first passages whose texts fit into `characters`; at least one.
fn within(found: Vec<Found>, characters: usize) -> Vec<Found> {
    let mut used = 0;
    let mut kept = Vec::with_capacity(found.len());
    for one in found {
        used += one.passage.text.chars().count() + one.before.chars().count() + one.after.chars().count();
        if used > characters && !kept.is_empty() {
            break;
        }
        kept.push(one);
    }
    kept
}

fn numbered(found: &[Found]) -> Vec<Cited> {
    found
        .iter()
        .enumerate()
        .map(|(position, found)| Cited {
            index: u32::try_from(position + 1).unwrap_or(u32::MAX),
            score: found.score,
            node: (&found.passage).into(),
            file: (&found.passage).into(),
        })
        .collect()
}

fn json_schema(chatbot: &Chatbot) -> Option<serde_json::Value> {
    let settings: serde_json::Value = serde_json::from_str(&chatbot.settings).ok()?;
    let wants_json = settings.get("outputMode")?.as_str()? == "json_schema";
    let schema = settings.get("rawOutputFormat")?;
    (wants_json && schema.is_object()).then(|| schema.clone())
}

/// Texts of attached documents and, for a model that sees, attached pictures. What cannot be read
/// is said to the model instead of failing the answer.
async fn read_attachments(app: &App, turn: &Turn) -> (Vec<(String, String)>, Vec<Image>) {
    let mut documents = Vec::new();
    let mut images = Vec::new();
    let mut image_bytes = app.settings.max_image_bytes;
    for attachment in &turn.open.attachments {
        if attachment.kind == "image" {
            if !turn.chat.model.sees_images() {
                documents.push((attachment.filename.clone(), "(a picture, which this model cannot see)".to_owned()));
            } else if let Some(image) = attachments::image(app, attachment, &mut image_bytes).await {
                images.push(image);
            } else {
                documents.push((attachment.filename.clone(), "(a picture that could not be shown)".to_owned()));
            }
        } else if attachment.kind == "other" {
            let text = attachments::text(app, attachment).await.unwrap_or_else(|reason| format!("({reason})"));
            documents.push((attachment.filename.clone(), text));
        }
    }
    (documents, images)
}

/// Stores how the answer ended, with its record, in one transaction. Gives what readers are told.
async fn store(app: &App, turn: &Turn, answer: &LiveAnswer, mut draft: Draft, outcome: Outcome) -> End {
    let text = answer.text_so_far();
    draft.time.total = since(turn.started);
    draft.time.generation = draft.first_text.map(since).unwrap_or_default();
    let cited = cited_in(&text, &draft.sources);
    let (state, error) = match &outcome {
        Outcome::Complete => ("done", None),
        Outcome::Failed(fault) => ("error", Some(fault.code)),
        Outcome::Cancelled => ("cancelled", None),
        Outcome::ShuttingDown => ("error", Some("shutting_down")),
    };
    let usage = draft.usage.unwrap_or_else(|| estimated(&draft, &text));
    let record = record(app, turn, &draft, &text, usage, error);
    let record_id: RecordId = record.id;
    let words = u64::try_from(record.words_count).unwrap_or_default();
    let time = draft.time;
    let ended = Ended {
        citations: serde_json::to_string(&cited).unwrap_or_else(|_| "[]".to_owned()),
        hits: cited.iter().map(|cited| cited.node.id).collect(),
        text,
        state,
        error,
        record,
    };
    let stored = commit(app, turn, ended).await;
    metrics::counter!("parlance_answers_total", "end" => state).increment(1);
    metrics::histogram!("parlance_answer_seconds").record(time.total);
    if let Err(error) = stored {
        tracing::error!(error = &error as &dyn std::error::Error, message = %turn.open.answer, "an answer was not stored");
        return failed(answer_faults::NOT_STORED);
    }
    match outcome {
        Outcome::Complete => {
            End::Done(Box::new(Done { record: record_id, cited, usage, words, processing_time: time }))
        }
        Outcome::Failed(fault) => failed(fault),
        Outcome::Cancelled => End::Cancelled,
        Outcome::ShuttingDown => End::ShuttingDown,
    }
}

const fn failed(fault: Fault) -> End {
    End::Failed { code: fault.code, message: fault.message }
}

fn estimated(draft: &Draft, text: &str) -> Usage {
    Usage {
        // The prompt itself is gone by now; four characters a token is the usual rule of thumb.
        input_tokens: (draft.prompt_characters / 4) as u64,
        output_tokens: parlance_llm::usage::estimate_tokens(text),
        cached_tokens: 0,
        estimated: true,
    }
}

/// A passage of the prompt as a record keeps it: its text with the sentences around it. What the
/// API calls the context is these texts joined, so they are stored once.
#[derive(serde::Serialize)]
struct RecordedNode<'a> {
    id: parlance_domain::kind::PassageId,
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
        channel: "api".to_owned(),
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
    citations: String,
    hits: Vec<parlance_domain::kind::PassageId>,
    state: &'static str,
    error: Option<&'static str>,
    record: Record,
}

/// Stores the end of an answer; after a fault of the database again, a few times, because the
/// answer itself cannot be made again.
async fn commit(app: &App, turn: &Turn, ended: Ended) -> Result<()> {
    let ended = Arc::new(ended);
    let mut pauses = STORE_AGAIN_AFTER.iter();
    loop {
        let error = match try_commit(app, turn, Arc::clone(&ended)).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let Some(pause) = pauses.next() else { return Err(error) };
        tracing::warn!(%error, message = %turn.open.answer, "the end of an answer is stored again");
        tokio::time::sleep(*pause).await;
    }
}

async fn try_commit(app: &App, turn: &Turn, ended: Arc<Ended>) -> Result<()> {
    let tenant = turn.principal.tenant;
    let message: MessageId = turn.open.answer;
    let now = app.now();
    app.db
        .write(tenant, move |tx| {
            Box::pin(async move {
                let ending = Ending {
                    state: ended.state,
                    content: &ended.text,
                    citations: &ended.citations,
                    error: ended.error,
                };
                messages::end(tx, tenant, message, &ending, now).await?;
                records::insert(tx, tenant, &ended.record).await?;
                passages::count_hits(tx, tenant, &ended.hits).await
            })
        })
        .await
}

/// The answer to this message while it is made and a while after; else `None`, and the stored
/// message says it all.
pub fn follow(app: &App, principal: &Principal, message: MessageId, after: usize) -> Option<Reader> {
    app.streams.get(principal.tenant, message).map(|answer| answer.subscribe(after))
}

/// How a stored answer ended, told again from its record.
pub fn stored_end(record: &Record, cited: Vec<Cited>) -> Done {
    let tokens: serde_json::Value = serde_json::from_str(&record.tokens).unwrap_or_default();
    let number = |name: &str| tokens.get(name).and_then(serde_json::Value::as_u64).unwrap_or_default();
    Done {
        record: record.id,
        cited,
        usage: Usage {
            input_tokens: number("input"),
            output_tokens: number("output"),
            cached_tokens: number("cached"),
            estimated: tokens.get("estimated") == Some(&serde_json::Value::Bool(true)),
        },
        words: u64::try_from(record.words_count).unwrap_or_default(),
        processing_time: serde_json::from_str(&record.processing_time).unwrap_or_default(),
    }
}

/// Stops an answer. Stopping one that has ended changes nothing.
pub async fn cancel(app: &App, principal: &Principal, message: MessageId) -> Result<messages::Message> {
    let tenant = principal.tenant;
    if let Some(answer) = app.streams.get(tenant, message) {
        let reader = answer.subscribe(0);
        answer.cancel();
        reader.finished().await;
    }
    let mut tx = app.db.read(tenant).await?;
    let message = messages::get(&mut tx, tenant, message).await?;
    message.filter(|message| message.kind == "outgoing").ok_or(Error::NotFound("message"))
}

/// Ends what a dead process left unfinished: each such answer becomes the error `interrupted`, with
/// the text saved so far and a record.
pub async fn end_interrupted(app: &App) -> Result<usize> {
    let left = {
        let mut tx = app.db.read(parlance_storage::Scope::System).await?;
        messages::interrupted(&mut tx).await?
    };
    let count = left.len();
    for (organisation, message) in left {
        let tenant = parlance_domain::Tenant::authenticated(organisation);
        let record = crate::interrupted::record(app, tenant, message).await?;
        let now = app.now();
        app.db
            .write(tenant, move |tx| {
                Box::pin(async move {
                    let ended = messages::interrupt(tx, tenant, message, now).await?;
                    match record.filter(|_| ended) {
                        Some(record) => records::insert(tx, tenant, &record).await,
                        None => Ok(()),
                    }
                })
            })
            .await?;
    }
    Ok(count)
}

/// Saves the text of unfinished answers, all of them in one transaction, until the server stops.
pub async fn save_partial_answers(app: &App) {
    let mut ticks = tokio::time::interval(Duration::from_millis(700));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut round: u32 = 0;
    loop {
        ticks.tick().await;
        let unsaved = app.streams.unsaved();
        round = round.wrapping_add(1);
        if round.is_multiple_of(16) {
            app.streams.expire();
        }
        if unsaved.is_empty() {
            continue;
        }
        for texts in unsaved.chunks(SAVED_AT_ONCE) {
            if let Err(error) = save_partial(app, texts.to_vec()).await {
                tracing::warn!(%error, "unfinished answers could not be saved together; they are saved one by one");
                for text in texts {
                    if let Err(error) = save_partial(app, vec![text.clone()]).await {
                        tracing::warn!(%error, message = %text.0.message, "an unfinished answer could not be saved");
                    }
                }
            }
        }
    }
}

/// Unfinished answers that are saved with one write: few enough not to keep other writes waiting.
const SAVED_AT_ONCE: usize = 64;

async fn save_partial(app: &App, texts: Vec<(Arc<LiveAnswer>, String)>) -> Result<()> {
    let now = app.now();
    app.db
        .write(parlance_storage::Scope::System, move |tx| {
            Box::pin(async move {
                for (answer, text) in &texts {
                    messages::save_partial(tx, answer.tenant, answer.message, text, now).await?;
                }
                Ok(())
            })
        })
        .await
}
