//! One chat turn: store, retrieve, prompt, stream, store.
//!
//! [`start`] does everything that can fail with a status. The task it spawns then owns the answer:
//! it reads the model, appends to the [`LiveAnswer`] and ends it exactly once, whatever happens.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{FutureExt, StreamExt};
use parlance_domain::kind::{ChatbotId, FileId, KnowledgeBaseId, MessageId, WebChatId};
use parlance_domain::{Error, FieldErrors, Principal, Result, Tenant};
use parlance_llm::usage::estimate_prompt_tokens;
use parlance_llm::{ChatEvent, ChatRequest, Image, Usage};
use parlance_retrieval::BaseScope;
use parlance_storage::chatbots::Chatbot;
use parlance_storage::conversations;
use parlance_storage::messages::Message;
use parlance_storage::request_scope::carried;
use parlance_storage::web_chats::WebChat;
use tokio::sync::OwnedSemaphorePermit;
use tracing::Instrument;

use crate::answer_end::{failed, store};
use crate::answer_faults::{self, Fault};
use crate::citations::Cited;
use crate::conversation_turn::{self, Channel, OpenTurn, Question};
use crate::conversations::may_see;
use crate::display::{self, Display};
use crate::live_answer::{About, End, LiveAnswer, Reader};
use crate::models::Chat;
use crate::open_streams::watch;
use crate::prompt::{PromptParts, condense_request, request, source_text};
use crate::query_metadata::{self, Layer};
use crate::reply::Owed;
use crate::search::{Found, SearchResult, search};
use crate::side_calls::{Aide, Spent};
use crate::timing::{ProcessingTime, since};
use crate::turn_plan::{TurnPlan, turn_plan};
use crate::{App, attachments, events, further_scopes, labels, messages, rate_limit, spending};

/// Bytes of an answer's text and reasoning at most.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// Time for rewriting a follow-up question, which only makes the search more precise.
const CONDENSE_TIME: Duration = Duration::from_secs(8);

/// What the task needs to know about a turn.
pub(crate) struct Turn {
    pub(crate) plan: Arc<TurnPlan>,
    pub(crate) chat: Chat,
    pub(crate) open: OpenTurn,
    pub(crate) question: Question,
    pub(crate) tenant: Tenant,
    /// `api`, `web`, ...
    pub(crate) channel: String,
    /// The reply that the turn is, when it answers a stored message.
    pub(crate) reply: Option<Owed>,
    pub(crate) started: Instant,
    /// The place among the answers that are made at the same time.
    #[expect(dead_code, reason = "held, not read")]
    pub(crate) slot: OwnedSemaphorePermit,
}

impl Turn {
    /// Which answer it makes, and whose.
    pub(crate) fn about(&self) -> About {
        About {
            tenant: self.tenant,
            message: self.open.answer,
            conversation: self.open.conversation,
            inbox: self.open.inbox,
            contact: self.open.contact,
            gives_way: self.reply.is_some() || self.question.channel.is_some_and(|channel| channel.visitor.is_some()),
        }
    }
}

/// What a turn has gathered so far; survives the cancellation of the task that gathers it.
#[derive(Default)]
pub(crate) struct Draft {
    pub(crate) condensed: String,
    pub(crate) sources: Arc<Vec<Cited>>,
    /// The texts of the sources as they stand in the prompt.
    pub(crate) contexts: Vec<String>,
    /// What the provider counted for the answer itself.
    pub(crate) usage: Option<Usage>,
    /// What was used on the way to it.
    pub(crate) spent: Spent,
    pub(crate) time: ProcessingTime,
    /// Estimated tokens of the prompt; 0 before the model was asked.
    pub(crate) prompt_tokens: u64,
    pub(crate) first_text: Option<Instant>,
}

/// How reading the model ended.
pub(crate) enum Outcome {
    Complete,
    Failed(Fault),
    Cancelled,
    ShuttingDown,
}

/// Stores a question that is asked in a web chat and starts its answer. A visitor asks as themselves, in
/// their own conversations.
///
/// # Errors
/// As of [`start`]; `Refused` when a visitor asks in somebody else's name; `RateLimited`.
pub async fn start_in_web_chat(
    app: &App,
    principal: &Principal,
    web_chat: WebChatId,
    mut question: Question,
) -> Result<Reader> {
    let view = Box::pin(crate::web_chats::get(app, principal.tenant, web_chat)).await?;
    let inbox = view.inbox.map(|(id, _)| id).ok_or(Error::NotFound("web chat"))?;
    let visitor = principal.visitor();
    let mut asked = Asked { chatbot: view.web_chat.chatbot_id, limits: None, display: Display::ALL };
    if let Some(visitor) = visitor {
        if visitor.web_chat != web_chat {
            return Err(Error::NotFound("web chat"));
        }
        if question.sender.is_some() || question.source_id.is_some() {
            return Err(Error::Refused("A visitor asks in their own name."));
        }
        rate_limit::admit_answer(app, visitor)?;
        question.sender = Some(visitor.contact);
        asked.display = Display::of_visitors(&view.settings.flags);
        asked.limits = Some(view.web_chat);
    }
    question.channel = Some(Channel { inbox, visitor: visitor.map(|visitor| visitor.contact) });
    begin(app, principal, asked, question).await
}

/// Stores the question and starts its answer.
///
/// # Errors
/// Whatever can fail with a status: nothing was stored then.
pub async fn start(app: &App, principal: &Principal, chatbot: ChatbotId, question: Question) -> Result<Reader> {
    begin(app, principal, Asked { chatbot, limits: None, display: Display::ALL }, question).await
}

/// Who is asked, and on which terms.
struct Asked {
    chatbot: ChatbotId,
    /// The web chat whose daily limits count.
    limits: Option<WebChat>,
    /// What the reader of the answer is shown.
    display: Display,
}

/// Starts an answer of an assistant, within the daily limits of a web chat.
async fn begin(
    app: &App,
    principal: &Principal,
    Asked { chatbot, limits, display }: Asked,
    question: Question,
) -> Result<Reader> {
    let started = Instant::now();
    further_scopes::check_question(principal, &question)?;
    validate(app, &question)?;
    if app.stopping.is_cancelled() {
        return Err(Error::Unavailable("the server is stopping; try again in a moment".to_owned()));
    }
    let slot = Arc::clone(&app.answer_slots)
        .try_acquire_owned()
        .map_err(|_full| Error::Unavailable("too many answers are being made; try again in a moment".to_owned()))?;
    let plan = turn_plan(app, principal.tenant, chatbot).await?;
    let chat = Box::pin(app.catalogue.chat(app, principal.tenant, plan.chatbot.model_id)).await?;
    let (task_app, principal, tenant) = (app.clone(), *principal, principal.tenant);
    // A page that lost its connection comes back; a program that went away does not.
    let grace = if principal.visitor().is_some() { app.settings.visitor_grace } else { app.settings.api_grace };
    let span = tracing::info_span!("answer", chatbot = %plan.chatbot.id);
    // In a task of its own: a caller who goes away now must not leave a stored question without
    // anybody who answers it. Its reader is dropped then, which stops the answer as always.
    let starting = app.tasks.spawn(carried(async move {
        let place = (plan.chatbot.id, question.channel.map_or(plan.inbox, |channel| channel.inbox));
        // On the heap, here and below, so that a request that waits keeps no room for what is over.
        let mut ready = Box::pin(conversation_turn::resolve(&task_app, tenant, place, &question)).await?;
        if let Some(web_chat) = &limits {
            ready.allowance = Box::pin(spending::allowance(&task_app, tenant, web_chat)).await?;
        }
        let open = Box::pin(conversation_turn::open(&task_app, tenant, (place, ready), &question)).await?;
        let channel = (if question.channel.is_some() { "web" } else { "api" }).to_owned();
        let turn = Turn { plan, chat, open, question, tenant, channel, reply: None, started, slot };
        let answer = task_app.streams.start(turn.about(), grace);
        let reader = answer.subscribe_as(0, display);
        let run_app = task_app.clone();
        let credential = watch(&task_app, &principal);
        let running = async move {
            let mut making = std::pin::pin!(run(&run_app, turn, &answer));
            tokio::select! {
                () = making.as_mut() => return,
                () = credential.gone().cancelled() => answer.cancel(),
            }
            making.await;
        };
        task_app.tasks.spawn(running.instrument(span));
        Ok(reader)
    }));
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
    let mut errors = FieldErrors::default();
    messages::check_structured("message.contentPayload", question.content_payload.as_deref(), &mut errors);
    messages::check_structured("message.queryMetadata", question.query_metadata.as_deref(), &mut errors);
    errors.finish()?;
    Layer::parse(question.query_metadata.as_deref(), "message.queryMetadata")?;
    if question.attachments.len() > app.settings.max_attachments {
        let limit = app.settings.max_attachments;
        return Err(Error::field("message.attachments", format!("At most {limit} attachments.")));
    }
    Ok(())
}

/// Makes an answer and stores it. Whatever happens, the answer has ended afterwards.
pub(crate) async fn run(app: &App, turn: Turn, answer: &Arc<LiveAnswer>) {
    // Whatever happens in here, readers get a terminal event and the registry lets go.
    let _ending = EndGuard { app, answer };
    let mut draft = Draft::default();
    let (tenant, place) = (turn.tenant, (turn.open.conversation, turn.open.answer));
    Box::pin(events::assistant(app, tenant, place, true)).await;
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
    let end = Box::pin(store(app, &turn, answer, draft, outcome)).await;
    answer.end(end);
    Box::pin(events::assistant(app, tenant, place, false)).await;
}

/// Ends an answer that its task left without an end, because it panicked or was dropped.
struct EndGuard<'a> {
    app: &'a App,
    answer: &'a Arc<LiveAnswer>,
}

impl Drop for EndGuard<'_> {
    fn drop(&mut self) {
        // Only the first end counts.
        let is_stopping = self.app.stopping.is_cancelled();
        self.answer.end(if is_stopping { End::ShuttingDown } else { failed(answer_faults::INTERNAL) });
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

/// Everything before the model's first token: finds the passages, tells readers of them, and writes the
/// prompt.
async fn prepare(app: &App, turn: &Turn, answer: &LiveAnswer, draft: &mut Draft) -> Result<ChatRequest, Failure> {
    let aide = Aide::new(Arc::clone(&turn.chat.model), draft.spent.clone());
    draft.condensed = condense(turn, draft, &aide).await;
    let permitted = permitted(app, turn).await?;
    let limit = turn.plan.chatbot.retrieved_chunks.and_then(|chunks| usize::try_from(chunks).ok());
    let SearchResult { found, retrieval, hyde, rerank } =
        search(app, turn.tenant, &turn.plan.bases, permitted, &draft.condensed, limit, Some(aide)).await?;
    draft.time.retrieval = retrieval;
    draft.time.hyde = hyde;
    draft.time.rerank = rerank;
    let found = within(found, app.settings.context_characters);
    draft.contexts = found.iter().map(source_text).collect();
    draft.sources = Arc::new(cited(app, turn, &found).await?);
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
    draft.prompt_tokens = estimate_prompt_tokens(&chat_request.messages);
    Ok(chat_request)
}

async fn try_make(app: &App, turn: &Turn, answer: &LiveAnswer, draft: &mut Draft) -> Result<(), Failure> {
    // On the heap, as everything that ends before a long answer is read: thousands are read at once.
    let chat_request = Box::pin(prepare(app, turn, answer, draft)).await?;
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
async fn condense(turn: &Turn, draft: &mut Draft, aide: &Aide) -> String {
    let question = &turn.question.content;
    if turn.open.history.is_empty() || turn.plan.bases.is_empty() || !aide.follows_instructions() {
        return question.clone();
    }
    let start = Instant::now();
    let condensed = aide.ask(condense_request(&turn.open.history, question), CONDENSE_TIME).await;
    draft.time.condense = since(start);
    match condensed {
        Ok(text) if !text.trim().is_empty() => text.trim().to_owned(),
        Ok(_) => question.clone(),
        Err(error) => {
            tracing::warn!(%error, "the question could not be condensed; it is searched for as it is");
            question.clone()
        }
    }
}

/// The first passages whose texts fit into `characters`; at least one.
fn within(found: Vec<Found>, characters: usize) -> Vec<Found> {
    let mut used = 0;
    let mut kept = Vec::with_capacity(found.len());
    for one in found {
        let texts = [one.material.text(), &one.around.before, &one.around.after];
        used += texts.into_iter().map(|text| text.chars().count()).sum::<usize>();
        if used > characters && !kept.is_empty() {
            break;
        }
        kept.push(one);
    }
    kept
}

/// What may be seen in this turn: what assistant, inbox, contact and message all permit.
async fn permitted(app: &App, turn: &Turn) -> Result<Option<Vec<BaseScope>>> {
    let message = Layer::stored(turn.question.query_metadata.as_deref());
    let contact = Layer::stored(turn.open.contact_query_metadata.as_deref());
    let bases: Vec<KnowledgeBaseId> = turn.plan.bases.iter().map(|base| base.id).collect();
    let layers = [&turn.plan.layer, turn.plan.layer_of(turn.open.inbox), &contact, &message];
    query_metadata::permitted(app, turn.tenant, &layers, &bases).await
}

/// The passages with their numbers, and the labels of their files.
async fn cited(app: &App, turn: &Turn, found: &[Found]) -> Result<Vec<Cited>> {
    let numbers = (1_u32..).zip(found);
    let mut cited: Vec<Cited> =
        numbers.map(|(number, found)| Cited::new(number, found.score, &found.material)).collect();
    if turn.plan.has_labels {
        let ids: Vec<FileId> = cited.iter().filter_map(|one| one.file.as_ref()).map(|file| file.id).collect();
        let mut tx = app.db.read(turn.tenant).await?;
        let by_file = labels::by_file(&mut tx, turn.tenant, &ids).await?;
        for file in cited.iter_mut().filter_map(|one| one.file.as_mut()) {
            file.labels = by_file.get(&file.id).cloned().unwrap_or_default();
        }
    }
    Ok(cited)
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

/// The answer to this message while it is made and a while after; else `None`, and the stored
/// message says it all.
pub async fn follow(app: &App, principal: &Principal, message: MessageId, after: usize) -> Result<Option<Reader>> {
    let Some(answer) = live(app, principal, message).await? else { return Ok(None) };
    let display = display::of(app, principal).await?;
    Ok(Some(answer.subscribe_as(after, display)))
}

/// The answer in memory, if the caller may reach it. That knows nothing of groups, so the stored
/// message decides for those whom they limit.
async fn live(app: &App, principal: &Principal, message: MessageId) -> Result<Option<Arc<LiveAnswer>>> {
    if principal.tenant.reach().is_some() {
        stored(app, principal, message).await?;
    }
    Ok(app.streams.get(principal, message))
}

/// Stops an answer. Stopping one that has ended changes nothing.
pub async fn cancel(app: &App, principal: &Principal, message: MessageId) -> Result<Message> {
    if let Some(answer) = live(app, principal, message).await? {
        let reader = answer.subscribe(0);
        answer.cancel();
        reader.finished().await;
    }
    stored(app, principal, message).await
}

/// An answer as it is stored, if the caller may reach it.
pub async fn stored(app: &App, principal: &Principal, message: MessageId) -> Result<Message> {
    let tenant = principal.tenant;
    let mut tx = app.db.read(tenant).await?;
    let message = parlance_storage::messages::get(&mut tx, tenant, message).await?;
    let message = message.filter(|message| message.kind == "outgoing").ok_or(Error::NotFound("message"))?;
    if principal.visitor().is_some() {
        let conversation = conversations::get(&mut tx, tenant, message.conversation_id).await?;
        conversation
            .filter(|own| may_see(principal, own.contact_id, own.inbox_id))
            .ok_or(Error::NotFound("message"))?;
    }
    Ok(message)
}
