//! Replies to stored messages: made by a job, stored, and put into the outbox of the assistant's
//! webhook in one transaction.
//!
//! [`enqueue_reply`] is called in the transaction that stores a message. The messages of a
//! conversation are answered in the order they came, one at a time. The id of an answer is decided
//! when its message is stored, so that a reply that was begun before a crash is made once more in
//! the same place and never twice.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parlance_domain::kind::{AttachmentId, ConversationId, MessageId};
use parlance_domain::{Error, Result, Tenant, Timestamp};
use parlance_storage::attachments::{self, Attachment};
use parlance_storage::conversations::{self, Activity};
use parlance_storage::jobs::{self, Job, NewJob};
use parlance_storage::messages::{self, Message};
use parlance_storage::replies::{self, Place, Reply};
use parlance_storage::{Tx, contacts, organisations, records};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::answer::{self, Turn};
use crate::conversation_turn::{OpenTurn, Question};
use crate::live_answer::End;
use crate::turn_plan::turn_plan;
use crate::{App, answer_faults, auto_reply, interrupted, spending};

/// Name of the job.
pub const KIND: &str = "reply";

#[derive(Serialize, Deserialize)]
struct Payload {
    message: MessageId,
}

/// Why an attempt to reply ended without a reply.
#[derive(Debug)]
pub enum Stop {
    /// To be tried again, for this reason.
    Retry(String),
    /// Nobody waits for it.
    Obsolete,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Retry(error.to_string())
    }
}

/// A reply under way: what its end has to put in order.
#[derive(Clone, Debug)]
pub(crate) struct Owed {
    pub(crate) job: Job,
    /// The message that is answered.
    pub(crate) message: MessageId,
    /// The row of the answer.
    pub(crate) answer: Message,
}

/// Has an incoming message answered, if automatic replies are on for its conversation at this
/// moment. Called in the transaction that stores the message, after the message itself; the caller
/// rings `app.job_bell` after the commit. Gives the id that the answer will have; `None` when nobody
/// will reply.
pub async fn enqueue_reply(
    tx: &mut Tx,
    app: &App,
    tenant: Tenant,
    conversation: ConversationId,
    message: MessageId,
) -> Result<Option<MessageId>> {
    let now = app.now();
    if !replies::lock(tx, tenant, conversation).await? {
        return Ok(None);
    }
    let Some(place) = replies::place(tx, tenant, conversation).await? else { return Ok(None) };
    if place.chatbot_id.is_none() || !answers_at(tx, tenant, &place, now).await? {
        return Ok(None);
    }
    let is_idle = replies::next(tx, tenant, conversation).await?.is_none();
    let reply = Reply {
        message_id: message,
        conversation_id: conversation,
        answer_id: app.new_id(),
        is_waiting: true,
        created_at: now,
    };
    let is_new = replies::insert(tx, tenant, &reply).await?;
    if is_new && is_idle {
        enqueue(tx, app, tenant, message).await?;
    }
    Ok(is_new.then_some(reply.answer_id))
}

/// Whether the assistant of this place answers by itself at this time.
async fn answers_at(tx: &mut Tx, tenant: Tenant, place: &Place, now: Timestamp) -> Result<bool> {
    if !place.auto_reply_enabled {
        return Ok(false);
    }
    let organisation = organisations::get(tx, tenant).await?;
    let time_zone = organisation.map(|organisation| organisation.time_zone).unwrap_or_default();
    Ok(auto_reply::is_on(place.auto_reply_enabled, &place.auto_reply_schedules, &time_zone, now))
}

async fn enqueue(tx: &mut Tx, app: &App, tenant: Tenant, message: MessageId) -> Result<()> {
    let now = app.now();
    let payload = serde_json::to_string(&Payload { message }).map_err(|error| Error::internal("a job", error))?;
    let unique_key = format!("{KIND}:{message}");
    jobs::enqueue(tx, tenant, &NewJob { id: app.new_id(), kind: KIND, unique_key, payload, run_at: now }, now).await
}

/// Ends a reply with its job and has the next message of the conversation answered, in the
/// transaction of the reply's other effects. An error, which undoes all of them, when the job is
/// somebody else's by now.
pub(crate) async fn settle(tx: &mut Tx, app: &App, tenant: Tenant, owed: &Owed) -> Result<()> {
    let conversation = owed.answer.conversation_id;
    replies::lock(tx, tenant, conversation).await?;
    if !jobs::finish(tx, tenant, &owed.job).await? {
        return Err(Error::Conflict("another worker makes this reply".to_owned()));
    }
    replies::finish(tx, tenant, owed.message).await?;
    match replies::next(tx, tenant, conversation).await? {
        Some(next) => enqueue(tx, app, tenant, next).await,
        None => Ok(()),
    }
}

/// What a reply needs to know.
struct Task {
    reply: Reply,
    question: Message,
    place: Place,
    /// What retrieval is narrowed to for the contact.
    query_metadata: Option<String>,
    history: Vec<Message>,
    attachments: Vec<Attachment>,
}

/// Makes the reply of a job.
pub async fn run(app: &App, tenant: Tenant, job: &Job) -> Result<(), Stop> {
    let started = Instant::now();
    let task = read(app, tenant, job).await?.ok_or(Stop::Obsolete)?;
    let answer = answer_row(app, &task);
    let owed = Owed { job: job.clone(), message: task.question.id, answer };
    // A person may have taken over since the message came, or the assistant may be gone.
    let plan = match task.place.chatbot_id.filter(|_| task.place.auto_reply_enabled) {
        Some(chatbot) => match turn_plan(app, tenant, chatbot).await {
            Ok(plan) => plan,
            Err(Error::NotFound(_)) => return Ok(abandon(app, tenant, owed).await?),
            Err(error) => return Err(error.into()),
        },
        None => return Ok(abandon(app, tenant, owed).await?),
    };
    let chat = app.catalogue.chat(app, tenant, plan.chatbot.model_id).await?;
    let slot = Arc::clone(&app.answer_slots).acquire_owned().await;
    let slot = slot.map_err(|_closed| Stop::Retry("no answers are made any more".to_owned()))?;
    match begin(app, tenant, &owed).await? {
        Beginning::Begun => {}
        Beginning::Lost => return Err(Stop::Obsolete),
        Beginning::TakenOver => return Ok(abandon(app, tenant, owed).await?),
    }
    let Task { question, place, query_metadata, history, attachments, .. } = task;
    let open = OpenTurn {
        conversation: question.conversation_id,
        inbox: place.inbox_id,
        contact: place.contact_id,
        contact_query_metadata: query_metadata,
        contact_name: place.contact_name,
        answer: owed.answer.id,
        attachments,
        history,
        may_be_set_aside: true,
    };
    let question = Question {
        conversation: Some(question.conversation_id),
        content: question.content,
        content_payload: question.content_payload,
        query_metadata: question.query_metadata,
        ..Question::default()
    };
    let channel = place.access_type.unwrap_or_else(|| "web".to_owned());
    let turn = Turn { plan, chat, open, question, tenant, channel, reply: Some(owed), started, slot };
    // Readers come and go; the reply is made for the conversation, not for them.
    let live = app.streams.start(turn.about(), Duration::MAX);
    let reader = live.subscribe(0);
    answer::run(app, turn, &live).await;
    let (_, end) = reader.finished().await;
    match end.as_ref() {
        End::Failed { code, message } if *code == answer_faults::NOT_STORED.code => {
            Err(Stop::Retry((*message).to_owned()))
        }
        _ => Ok(()),
    }
}

/// Reads what a reply needs; `None` when it was made, or its message is gone.
async fn read(app: &App, tenant: Tenant, job: &Job) -> Result<Option<Task>> {
    let payload: Payload = serde_json::from_str(&job.payload).map_err(|error| Error::internal("a job", error))?;
    let limit = i64::try_from(app.settings.history_messages).unwrap_or_default();
    let mut tx = app.db.read(tenant).await?;
    let reply = replies::get(&mut tx, tenant, payload.message).await?.filter(|reply| reply.is_waiting);
    let Some(reply) = reply else { return Ok(None) };
    let Some(question) = messages::get(&mut tx, tenant, reply.message_id).await? else { return Ok(None) };
    let Some(place) = replies::place(&mut tx, tenant, reply.conversation_id).await? else { return Ok(None) };
    let query_metadata = contacts::query_metadata(&mut tx, tenant, place.contact_id).await?;
    let history = replies::history(&mut tx, tenant, reply.conversation_id, limit).await?;
    let mut attached = Vec::new();
    for id in attachment_ids(&question.attachments) {
        // One that was removed since is no part of the question any more.
        attached.extend(attachments::get(&mut tx, tenant, id).await?);
    }
    Ok(Some(Task { reply, question, place, query_metadata, history, attachments: attached }))
}

/// The ids in the attachments of a stored message.
fn attachment_ids(stored: &str) -> Vec<AttachmentId> {
    let list: Vec<Value> = serde_json::from_str(stored).unwrap_or_default();
    list.iter().filter_map(|attachment| AttachmentId::parse(attachment.get("id")?.as_str()?)).collect()
}

fn answer_row(app: &App, task: &Task) -> Message {
    Message {
        id: task.reply.answer_id,
        contact_id: None,
        kind: "outgoing".to_owned(),
        state: "generating".to_owned(),
        content: String::new(),
        content_payload: None,
        query_metadata: None,
        attachments: "[]".to_owned(),
        // After its question, whatever the clock did meanwhile.
        created_at: app.now().max(task.question.created_at.plus(Duration::from_millis(1))),
        ..task.question.clone()
    }
}

/// How the making of a reply begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beginning {
    /// The row of the answer is stored.
    Begun,
    /// The job is somebody else's by now.
    Lost,
    /// A person has taken the conversation over.
    TakenOver,
}

/// Stores the row of the answer, unless somebody else makes it or a person has taken over while it
/// waited for its turn.
async fn begin(app: &App, tenant: Tenant, owed: &Owed) -> Result<Beginning> {
    let owed = owed.clone();
    app.db
        .write(tenant, move |tx| {
            Box::pin(async move {
                let answer = &owed.answer;
                replies::lock(tx, tenant, answer.conversation_id).await?;
                if !jobs::is_held(tx, tenant, &owed.job).await? {
                    return Ok(Beginning::Lost);
                }
                let place = replies::place(tx, tenant, answer.conversation_id).await?;
                if !place.is_some_and(|place| place.auto_reply_enabled) {
                    return Ok(Beginning::TakenOver);
                }
                replies::begin_answer(tx, tenant, answer).await?;
                let activity = Activity { at: answer.created_at, unread: 0, title: "", title_folded: "" };
                conversations::touch(tx, tenant, answer.conversation_id, &activity).await?;
                Ok(Beginning::Begun)
            })
        })
        .await
}

/// Ends a reply that nobody wants any more. A row that an earlier attempt left unfinished ends with it.
async fn abandon(app: &App, tenant: Tenant, owed: Owed) -> Result<()> {
    let (writer, now) = (app.clone(), app.now());
    app.db
        .write(tenant, move |tx| {
            Box::pin(async move {
                settle(tx, &writer, tenant, &owed).await?;
                messages::interrupt(tx, tenant, owed.answer.id, now).await?;
                spending::release(tx, tenant, owed.answer.id).await
            })
        })
        .await?;
    app.job_bell.notify_one();
    Ok(())
}

/// Ends a reply that could not be made in all its attempts: its message becomes an error, and the
/// conversation goes on with the next one.
pub async fn fail(app: &App, tenant: Tenant, job: &Job, reason: String) -> Result<()> {
    let Some(task) = read(app, tenant, job).await? else { return Ok(()) };
    let owed = Owed { job: job.clone(), message: task.question.id, answer: answer_row(app, &task) };
    match begin(app, tenant, &owed).await? {
        Beginning::Begun => {}
        Beginning::Lost => return Ok(()),
        Beginning::TakenOver => return abandon(app, tenant, owed).await,
    }
    tracing::error!(message = %owed.message, reason, "a reply was given up");
    let answer = owed.answer.id;
    let record = interrupted::record(app, tenant, answer).await?;
    let (writer, now) = (app.clone(), app.now());
    app.db
        .write(tenant, move |tx| {
            Box::pin(async move {
                settle(tx, &writer, tenant, &owed).await?;
                messages::interrupt(tx, tenant, answer, now).await?;
                if let Some(record) = record {
                    records::insert(tx, tenant, &record).await?;
                }
                spending::release(tx, tenant, answer).await
            })
        })
        .await?;
    app.job_bell.notify_one();
    Ok(())
}
