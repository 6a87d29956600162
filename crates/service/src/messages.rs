//! Messages: sent to a conversation, listed, judged.

use parlance_domain::kind::{AttachmentId, Canvas, ConversationId, MessageId};
use parlance_domain::{Error, FieldErrors, Id, Principal, Result, Tenant, Timestamp};
use parlance_retrieval::fold;
use parlance_storage::attachments::{self, Attachment};
use parlance_storage::conversations::{self, Activity};
use parlance_storage::message_lists::{self, Destination, Feedback, Position, Sent};
use parlance_storage::messages::{self, Message};
use parlance_storage::{Part, Tx, uploads, web_chats};
use serde_json::{Value, json};

use crate::attachments::from_upload;
use crate::conversation_turn::{attachments_json, title};
use crate::conversations::may_see;
use crate::query_metadata::Layer;
use crate::spending::{self, Allowance};
use crate::{App, auto_reply, events, keyword, rate_limit, reply};

/// Characters of a suggestion at most.
const MAX_SUGGESTION: usize = 4000;
/// Bytes of a structured part of a message at most.
const MAX_STRUCTURED: usize = 256 << 10;

/// A message to store.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// Where it goes.
    pub conversation: ConversationId,
    /// Whether a person replies, instead of the contact writing.
    pub is_reply: bool,
    /// The text.
    pub content: String,
    /// Structured content, an object kept as it is.
    pub content_payload: Option<Value>,
    /// What retrieval is narrowed to, an object kept as it is.
    pub query_metadata: Option<Value>,
    /// A document beside the text.
    pub canvas: Option<NewCanvas>,
    /// Files.
    pub attachments: Vec<NewAttachment>,
}

/// A document beside a message.
#[derive(Clone, Debug, Default)]
pub struct NewCanvas {
    /// Name of the document.
    pub name: String,
    /// `markdown`, `html`, `code`, `svg`, `mermaid`, or anything else, which is kept.
    pub kind: String,
    /// Shown above it.
    pub title: String,
    /// The document.
    pub content: String,
}

/// A file of a message: an attachment that exists, or one to make of an upload.
#[derive(Clone, Debug)]
pub enum NewAttachment {
    /// By its id.
    Known(AttachmentId),
    /// Of a finished upload, named by its key, its id or one of our own links.
    Upload {
        /// The upload.
        file: String,
        /// Name to show; the upload's when absent.
        filename: Option<String>,
        /// `image`, `video`, `audio`, `sticker` or `other`; by the file's type when absent.
        kind: Option<String>,
    },
}

/// Stores a message. Returns when it is on disk.
///
/// # Errors
/// Fields that are wrong or name nothing of the organisation; `Forbidden` when a visitor replies;
/// `RateLimited` when the assistant would reply to a visitor who, or whose web chat, has had enough
/// answers.
pub async fn create(app: &App, principal: &Principal, new: NewMessage) -> Result<Sent> {
    let tenant = principal.tenant;
    if new.is_reply && principal.visitor().is_some() {
        return Err(Error::Forbidden("conversations:write"));
    }
    check(app, &new)?;
    let Context { destination, attachments } = resolve(app, principal, &new).await?;
    let now = app.now();
    let allowance = admit(app, principal, &destination, now).await?;
    let message = row(app, principal, &new, &destination, &attachments);
    let terms = keyword::terms(tenant, &message.content);
    // The title is what the contact said first.
    let title = if new.is_reply { String::new() } else { title(&message.content) };
    let title_folded = fold(&title);
    let stored = message.clone();
    let is_reply = new.is_reply;
    let writer = app.clone();
    let will_reply = app
        .db
        .write(tenant, move |tx| {
            Box::pin(async move {
                for attachment in attachments.iter().filter(|attachment| attachment.is_new) {
                    keep(tx, tenant, &attachment.row, attachment.place).await?;
                }
                let unread = i64::from(!is_reply);
                let activity = Activity { at: now, unread, title: &title, title_folded: &title_folded };
                conversations::touch(tx, tenant, stored.conversation_id, &activity).await?;
                messages::insert(tx, tenant, &stored, &terms).await?;
                if is_reply {
                    // A person has taken over.
                    conversations::set_auto_reply(tx, tenant, stored.conversation_id, false).await?;
                    return Ok(false);
                }
                let answer = reply::enqueue_reply(tx, &writer, tenant, stored.conversation_id, stored.id).await?;
                if let (Some(answer), Some(allowance)) = (answer, &allowance) {
                    spending::reserve(tx, tenant, answer, allowance).await?;
                }
                Ok(answer.is_some())
            })
        })
        .await?;
    if is_reply {
        app.streams.give_way(tenant, message.conversation_id);
    } else if will_reply {
        app.job_bell.notify_one();
    }
    let sent = Sent {
        owner_id: destination.contact_id,
        inbox_id: destination.inbox_id,
        contact_name: message.contact_id.map(|_| destination.contact_name),
        contact_avatar: message.contact_id.and(destination.contact_avatar),
        user_name: message.user_id.and(destination.user_name),
        chatbot_id: destination.chatbot_id,
        chatbot_name: destination.chatbot_name,
        message,
    };
    events::stored(app, &sent);
    Ok(sent)
}

/// Whether the assistant may reply to a visitor once more, if it is going to, and what of their web
/// chat's day is left for that. A message that a person will answer is not limited by it.
async fn admit(
    app: &App,
    principal: &Principal,
    destination: &Destination,
    now: Timestamp,
) -> Result<Option<Allowance>> {
    let Some(visitor) = principal.visitor() else { return Ok(None) };
    let Destination { auto_reply_enabled, auto_reply_schedules, time_zone, chatbot_id, .. } = destination;
    if chatbot_id.is_some() && auto_reply::is_on(*auto_reply_enabled, auto_reply_schedules, time_zone, now) {
        rate_limit::admit_answer(app, visitor)?;
    }
    let details = {
        let mut tx = app.db.read(principal.tenant).await?;
        web_chats::get(&mut tx, principal.tenant, visitor.web_chat).await?
    };
    match details {
        Some(details) => spending::allowance(app, principal.tenant, &details.web_chat).await,
        None => Err(Error::NotFound("web chat")),
    }
}

fn check(app: &App, new: &NewMessage) -> Result<()> {
    let mut errors = FieldErrors::default();
    let limit = app.settings.max_message_characters;
    if new.content.chars().count() > limit {
        errors.add("content", format!("Ensure this field has no more than {limit} characters."));
    }
    let is_empty = new.content.trim().is_empty() && new.attachments.is_empty();
    if is_empty && new.content_payload.is_none() && new.canvas.is_none() {
        errors.add("content", "This field may not be blank.");
    }
    if new.attachments.len() > app.settings.max_attachments {
        errors.add("attachments", format!("At most {} attachments.", app.settings.max_attachments));
    }
    let content_payload = new.content_payload.as_ref().map(Value::to_string);
    let query_metadata = new.query_metadata.as_ref().map(Value::to_string);
    check_structured("contentPayload", content_payload.as_deref(), &mut errors);
    check_structured("queryMetadata", query_metadata.as_deref(), &mut errors);
    Layer::parse(query_metadata.as_deref(), "queryMetadata")?;
    if let Some(canvas) = &new.canvas {
        let length = canvas.content.len() + canvas.name.len() + canvas.title.len() + canvas.kind.len();
        if length > MAX_STRUCTURED {
            errors.add("canvas", format!("Ensure this field has no more than {MAX_STRUCTURED} bytes."));
        }
    }
    errors.finish()
}

/// Checks a structured part of a message, JSON: an object of bounded size.
pub(crate) fn check_structured(field: &str, value: Option<&str>, errors: &mut FieldErrors) {
    let Some(value) = value else { return };
    if !value.starts_with('{') {
        errors.add(field, "Expected an object.");
    } else if value.len() > MAX_STRUCTURED {
        errors.add(field, format!("Ensure this field has no more than {MAX_STRUCTURED} bytes."));
    }
}

/// An attachment of a message to store.
struct Attached {
    row: Attachment,
    /// Whether it is made with the message.
    is_new: bool,
    /// Its place in the request, for an error.
    place: usize,
}

struct Context {
    destination: Destination,
    attachments: Vec<Attached>,
}

/// Loads everything the message refers to, so that what is wrong is said before anything is stored.
async fn resolve(app: &App, principal: &Principal, new: &NewMessage) -> Result<Context> {
    let tenant = principal.tenant;
    let mut tx = app.db.read(tenant).await?;
    let destination = message_lists::destination(&mut tx, tenant, new.conversation, principal.user).await?;
    let destination = destination
        .filter(|destination| may_see(principal, destination.contact_id, destination.inbox_id))
        .ok_or_else(|| Error::field("conversation", "No conversation has this id."))?;
    let mut errors = FieldErrors::default();
    let mut attached = Vec::with_capacity(new.attachments.len());
    for (place, attachment) in new.attachments.iter().enumerate() {
        match attachment {
            NewAttachment::Known(id) => {
                let known = attachments::get(&mut tx, tenant, *id).await?.filter(|known| {
                    // A visitor's own are those of the conversation.
                    principal.visitor().is_none() || known.conversation_id == Some(new.conversation)
                });
                match known {
                    Some(row) => attached.push(Attached { row, is_new: false, place }),
                    None => errors.add(format!("attachments.{place}.id"), "No attachment has this id."),
                }
            }
            NewAttachment::Upload { file, filename, kind } => {
                match crate::uploads::resolve_attachment(app, &mut tx, principal, file).await? {
                    Some(upload) => {
                        let row =
                            from_upload(app, &upload, filename.as_deref(), kind.as_deref(), Some(new.conversation));
                        attached.push(Attached { row, is_new: true, place });
                    }
                    None => errors.add(format!("attachments.{place}.file"), crate::uploads::UNKNOWN),
                }
            }
        }
    }
    errors.finish()?;
    Ok(Context { destination, attachments: attached })
}

/// Stores an attachment that is made with its message.
async fn keep(tx: &mut Tx, tenant: Tenant, row: &Attachment, place: usize) -> Result<()> {
    // Since it was looked up, the sweeper may have removed it.
    if !uploads::mark_used(tx, tenant, &row.blob_key, row.created_at).await? {
        return Err(crate::uploads::unknown(format!("attachments.{place}.file")));
    }
    attachments::insert(tx, tenant, row).await
}

fn row(
    app: &App,
    principal: &Principal,
    new: &NewMessage,
    destination: &Destination,
    attached: &[Attached],
) -> Message {
    let now = app.now();
    let rows: Vec<Attachment> = attached.iter().map(|attached| attached.row.clone()).collect();
    let canvas = new.canvas.as_ref().map(|canvas| {
        let id: Id<Canvas> = app.new_id();
        json!({
            "id": id,
            "name": canvas.name,
            "canvasType": canvas.kind,
            "title": canvas.title,
            "content": canvas.content,
            "createdAt": now.to_string(),
        })
        .to_string()
    });
    let contact = (!new.is_reply).then_some(destination.contact_id);
    Message {
        user_id: if new.is_reply { principal.user } else { None },
        content_payload: new.content_payload.as_ref().map(Value::to_string),
        query_metadata: new.query_metadata.as_ref().map(Value::to_string),
        attachments: attachments_json(&rows),
        canvas,
        ..Message::plain((app.new_id(), new.conversation), contact, new.content.clone(), now)
    }
}

/// A part of the messages of a conversation, nearest to `from` first, and how many there are in all.
///
/// # Errors
/// On `conversation` when there is none the caller may know of.
pub async fn list(
    app: &App,
    principal: &Principal,
    conversation: ConversationId,
    from: Option<Position>,
    limit: usize,
) -> Result<(Part<Sent>, u64)> {
    let tenant = principal.tenant;
    let mut tx = app.db.read(tenant).await?;
    conversations::get(&mut tx, tenant, conversation)
        .await?
        .filter(|conversation| may_see(principal, conversation.contact_id, conversation.inbox_id))
        .ok_or_else(|| Error::field("conversation", "No conversation has this id."))?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let sent = message_lists::page(&mut tx, tenant, conversation, from, limit).await?;
    let total = message_lists::total(&mut tx, tenant, conversation).await?;
    Ok((sent, total))
}

/// One message; of `conversation`, if given.
pub async fn get(
    app: &App,
    principal: &Principal,
    id: MessageId,
    conversation: Option<ConversationId>,
) -> Result<Sent> {
    let mut tx = app.db.read(principal.tenant).await?;
    let sent = message_lists::one(&mut tx, principal.tenant, id).await?;
    sent.filter(|sent| may_see(principal, sent.owner_id, sent.inbox_id))
        .filter(|sent| conversation.is_none_or(|conversation| sent.message.conversation_id == conversation))
        .ok_or(Error::NotFound("message"))
}

/// What a reader thinks of an answer.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// Whether they like it.
    pub is_like: bool,
    /// What they would have liked better; empty when they did not say.
    pub suggestion: String,
}

/// Notes what a reader thinks of an answer, or with `None` forgets it.
///
/// # Errors
/// `BadRequest` for a message that is not an answer.
pub async fn judge(app: &App, principal: &Principal, id: MessageId, judgement: Option<Judgement>) -> Result<Sent> {
    let tenant = principal.tenant;
    if let Some(judgement) = &judgement
        && judgement.suggestion.chars().count() > MAX_SUGGESTION
    {
        let message = format!("Ensure this field has no more than {MAX_SUGGESTION} characters.");
        return Err(Error::field("suggestion", message));
    }
    if get(app, principal, id, None).await?.message.kind != "outgoing" {
        return Err(Error::BadRequest("Only answers can be given feedback.".to_owned()));
    }
    let (now, feedback) = (app.now(), app.new_id());
    app.db
        .write(tenant, move |tx| {
            Box::pin(async move {
                match &judgement {
                    Some(Judgement { is_like, suggestion }) => {
                        let kind = if *is_like { "like" } else { "dislike" };
                        let feedback = Feedback { id: feedback, kind, suggestion };
                        message_lists::set_feedback(tx, tenant, id, &feedback, now).await
                    }
                    None => message_lists::clear_feedback(tx, tenant, id).await,
                }
            })
        })
        .await?;
    get(app, principal, id, None).await
}
