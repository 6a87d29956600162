//! Opening a turn of a conversation: who asks, where, and the two rows that make it durable.

use std::time::Duration;

use parlance_domain::kind::{AttachmentId, ChatbotId, ContactId, ConversationId, InboxId, MessageId};
use parlance_domain::{Error, FieldErrors, Result, Tenant, Timestamp};
use parlance_retrieval::fold;
use parlance_storage::Tx;
use parlance_storage::attachments::{self, Attachment};
use parlance_storage::contacts::{self, Contact};
use parlance_storage::conversation_terms;
use parlance_storage::conversations::{self, Activity, Conversation};
use parlance_storage::messages::{self, Message};

use crate::spending::{self, Allowance};
use crate::{App, events, keyword};

/// Name of a contact who did not say theirs.
pub(crate) const ANONYMOUS: &str = "訪客";
/// Characters of a conversation's title.
const TITLE_CHARACTERS: usize = 60;

/// A message to be answered.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// The conversation to go on with; `None` begins one.
    pub conversation: Option<ConversationId>,
    /// The contact who asks, for a new conversation.
    pub sender: Option<ContactId>,
    /// The field that named the sender, for an error.
    pub sender_field: &'static str,
    /// What the caller calls the contact who asks, for a new conversation without a sender. A
    /// contact of the inbox with this source id is taken, or made.
    pub source_id: Option<String>,
    /// The text.
    pub content: String,
    /// Structured content, verbatim JSON.
    pub content_payload: Option<String>,
    /// What retrieval is narrowed to, verbatim JSON.
    pub query_metadata: Option<String>,
    /// Attachments by id.
    pub attachments: Vec<AttachmentId>,
    /// Where it arrives, when that is not the inbox of the assistant's API keys.
    pub channel: Option<Channel>,
}

/// The web chat in which somebody asks.
#[derive(Clone, Copy, Debug)]
pub struct Channel {
    /// Its inbox, which a conversation has to be of.
    pub inbox: InboxId,
    /// The visitor who asks: the conversation and its attachments have to be theirs.
    pub visitor: Option<ContactId>,
}

/// A stored question and the place where its answer goes.
#[derive(Clone, Debug)]
pub struct OpenTurn {
    /// The conversation.
    pub conversation: ConversationId,
    /// The inbox it arrived in.
    pub inbox: InboxId,
    /// Who asked.
    pub contact: ContactId,
    /// What retrieval is narrowed to for them, verbatim JSON.
    pub contact_query_metadata: Option<String>,
    /// Their name.
    pub contact_name: String,
    /// The row of the answer, stored as generating.
    pub answer: MessageId,
    /// Attachments of the question.
    pub attachments: Vec<Attachment>,
    /// Earlier messages, oldest first.
    pub history: Vec<Message>,
    /// Whether something of a web chat's day may be set aside for it.
    pub may_be_set_aside: bool,
}

/// What a question refers to.
#[derive(Default)]
pub(crate) struct Place {
    known: Option<(Conversation, String)>,
    /// What narrows the contact of the known conversation.
    query_metadata: Option<String>,
    sender: Option<Contact>,
    attachments: Vec<Attachment>,
    history: Vec<Message>,
    /// What of the web chat's day the answer is set aside from.
    pub(crate) allowance: Option<Allowance>,
}

/// Stores a question, and the row of its answer. Returns when both are on disk.
///
/// # Errors
/// `RateLimited` when the web chat's day is used up; `TakenOver` for a visitor whose conversation a
/// person has taken over. Nothing was stored then.
pub(crate) async fn open(
    app: &App,
    tenant: Tenant,
    ((_, inbox), place): ((ChatbotId, InboxId), Place),
    question: &Question,
) -> Result<OpenTurn> {
    let now = app.now();
    let answer: MessageId = app.new_id();
    // A repeated request follows this answer.
    parlance_storage::request_scope::note_answer(answer);
    let title = title(&question.content);
    let is_new_conversation = place.known.is_none();
    let (allowance, is_visitor) = (place.allowance, is_visitor(question));
    let mut beginner = None;
    let (mut conversation, contact_name, query_metadata) = if let Some((conversation, name)) = place.known {
        (conversation, name, place.query_metadata)
    } else {
        let is_new = place.sender.is_none();
        let contact = place.sender.unwrap_or_else(|| anonymous(app, question.source_id.clone()));
        beginner = Some((contact.clone(), is_new));
        (begun(app, (inbox, contact.id), &title), contact.name, contact.query_metadata)
    };
    let terms = keyword::terms(tenant, &question.content);
    let name_terms = keyword::terms(tenant, &contact_name);
    let mut question_row = question_row(app, &conversation, question, &place.attachments);
    // One millisecond later, so that an order by time puts it after its question.
    let answer_at = question_row.created_at.plus(Duration::from_millis(1));
    let mut turn = OpenTurn {
        conversation: conversation.id,
        inbox: conversation.inbox_id,
        contact: conversation.contact_id,
        contact_query_metadata: query_metadata,
        contact_name,
        answer,
        attachments: place.attachments,
        history: place.history,
        may_be_set_aside: allowance.is_some(),
    };
    let question_id = question_row.id;
    let found_since = app
        .db
        .write(tenant, move |tx| {
            Box::pin(async move {
                let mut found_since = None;
                if let Some((contact, is_new)) = beginner
                    && let Some(known) = welcome(tx, tenant, (&contact, is_new), inbox, now).await?
                {
                    conversation.contact_id = known.id;
                    question_row.contact_id = Some(known.id);
                    found_since = Some((known.id, known.query_metadata));
                }
                if is_new_conversation {
                    let terms = name_terms.iter().chain(terms.iter()).collect();
                    conversations::insert(tx, tenant, &conversation, &terms).await?;
                } else {
                    let title_folded = fold(&title);
                    let activity = Activity { at: now, unread: 1, title: &title, title_folded: &title_folded };
                    conversations::touch(tx, tenant, conversation.id, &activity).await?;
                    conversation_terms::add(tx, tenant, conversation.id, &terms).await?;
                    // Now that its row is held, nobody takes it over before the answer can be seen.
                    if is_visitor {
                        let known = conversations::get(tx, tenant, conversation.id).await?;
                        answers_visitors(known.as_ref())?;
                    }
                }
                messages::insert_turn(tx, tenant, &question_row, (answer, answer_at)).await?;
                if let Some(allowance) = &allowance {
                    spending::reserve(tx, tenant, answer, allowance).await?;
                }
                Ok(found_since)
            })
        })
        .await?;
    if let Some((contact, query_metadata)) = found_since {
        turn.contact = contact;
        turn.contact_query_metadata = query_metadata;
    }
    events::stored_by_id(app, tenant, question_id, now).await;
    Ok(turn)
}

/// Makes who begins a conversation one of its inbox. A new contact is added, unless somebody has come
/// with the same source id since it was looked for: then it is they, who are given. One who is known
/// may have written to other inboxes only so far, and joins.
pub(crate) async fn welcome(
    tx: &mut Tx,
    tenant: Tenant,
    (contact, is_new): (&Contact, bool),
    inbox: InboxId,
    now: Timestamp,
) -> Result<Option<Contact>> {
    let source_id = contact.source_id.as_deref();
    if !is_new {
        contacts::join_too(tx, tenant, contact.id, (inbox, source_id), now).await?;
        return Ok(None);
    }
    if let Some(source_id) = source_id
        && let Some(known) = contacts::claim_source(tx, tenant, inbox, source_id).await?
    {
        return Ok(Some(known));
    }
    contacts::insert(tx, tenant, contact, inbox).await?;
    Ok(None)
}

/// A conversation that begins with a question.
fn begun(app: &App, (inbox, contact): (InboxId, ContactId), title: &str) -> Conversation {
    let now = app.now();
    Conversation {
        id: app.new_id(),
        inbox_id: inbox,
        contact_id: contact,
        title: title.to_owned(),
        title_folded: fold(title),
        auto_reply_enabled: true,
        is_group_chat: false,
        enable_group_mention: false,
        unread_count: 1,
        last_read_at: None,
        created_at: now,
        last_message_at: Some(now),
        last_activity_at: now,
    }
}

/// The question as it is stored.
fn question_row(app: &App, conversation: &Conversation, question: &Question, attachments: &[Attachment]) -> Message {
    let ids = (app.new_id(), conversation.id);
    Message {
        content_payload: question.content_payload.clone(),
        query_metadata: question.query_metadata.clone(),
        attachments: attachments_json(attachments),
        ..Message::plain(ids, Some(conversation.contact_id), question.content.clone(), app.now())
    }
}

/// Loads everything the question refers to, so that what is wrong is said before anything is stored.
pub(crate) async fn resolve(
    app: &App,
    tenant: Tenant,
    (chatbot, inbox): (ChatbotId, InboxId),
    question: &Question,
) -> Result<Place> {
    let mut place = Place::default();
    let needs_nothing = question.conversation.is_none() && question.sender.is_none() && question.source_id.is_none();
    if needs_nothing && question.attachments.is_empty() {
        return Ok(place);
    }
    let mut errors = FieldErrors::default();
    let mut tx = app.db.read(tenant).await?;
    if let Some(id) = question.conversation {
        let known = conversations::of_chatbot(&mut tx, tenant, chatbot, id).await?;
        place.known = known.filter(|(known, _)| question.channel.is_none_or(|channel| is_of(known, channel)));
        if let Some((conversation, _)) = &place.known {
            if is_visitor(question) {
                answers_visitors(Some(conversation))?;
            }
            place.query_metadata = contacts::query_metadata(&mut tx, tenant, conversation.contact_id).await?;
            let limit = i64::try_from(app.settings.history_messages).unwrap_or_default();
            place.history = messages::history(&mut tx, tenant, id, limit).await?;
        } else {
            errors.add("conversation", "No conversation of this chatbot has this id.");
        }
    }
    if let Some(id) = question.sender {
        place.sender = contacts::get(&mut tx, tenant, id).await?;
        if place.sender.is_none() {
            errors.add(question.sender_field, "No contact has this id.");
        }
    }
    if let (None, Some(source_id)) = (&place.sender, &question.source_id) {
        place.sender = contacts::by_source(&mut tx, tenant, inbox, source_id).await?;
    }
    for (position, id) in question.attachments.iter().enumerate() {
        match attachments::get(&mut tx, tenant, *id).await? {
            Some(attachment) if may_attach(&mut tx, tenant, question.channel, &attachment).await? => {
                place.attachments.push(attachment);
            }
            _ => errors.add(format!("message.attachments.{position}.id"), "No attachment has this id."),
        }
    }
    errors.finish()?;
    Ok(place)
}

/// Whether a visitor asks, and not a program.
fn is_visitor(question: &Question) -> bool {
    question.channel.is_some_and(|channel| channel.visitor.is_some())
}

/// Refuses a visitor's question where a person answers instead of the assistant.
fn answers_visitors(conversation: Option<&Conversation>) -> Result<()> {
    match conversation {
        Some(conversation) if !conversation.auto_reply_enabled => Err(Error::TakenOver),
        _ => Ok(()),
    }
}

/// Whether a conversation is of this channel and, there, the visitor's own.
fn is_of(conversation: &Conversation, channel: Channel) -> bool {
    let is_theirs = channel.visitor.is_none_or(|visitor| visitor == conversation.contact_id);
    conversation.inbox_id == channel.inbox && is_theirs
}

/// Whether an attachment may go with a question: a visitor has only those of their own conversations.
async fn may_attach(tx: &mut Tx, tenant: Tenant, channel: Option<Channel>, attachment: &Attachment) -> Result<bool> {
    let Some(channel) = channel.filter(|channel| channel.visitor.is_some()) else { return Ok(true) };
    let Some(conversation) = attachment.conversation_id else { return Ok(false) };
    let conversation = conversations::get(tx, tenant, conversation).await?;
    Ok(conversation.is_some_and(|conversation| is_of(&conversation, channel)))
}

/// A contact who did not say their name.
pub(crate) fn anonymous(app: &App, source_id: Option<String>) -> Contact {
    let now = app.now();
    Contact {
        id: app.new_id(),
        name: ANONYMOUS.to_owned(),
        name_folded: fold(ANONYMOUS),
        avatar: None,
        phone_number: None,
        email: None,
        source_id,
        query_metadata: None,
        created_at: now,
        updated_at: now,
    }
}

/// The title of a conversation that begins with this text.
pub(crate) fn title(content: &str) -> String {
    content.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(TITLE_CHARACTERS).collect()
}

/// Attachments as they are kept with a message.
pub fn attachments_json(attachments: &[Attachment]) -> String {
    let list: Vec<_> = attachments
        .iter()
        .map(|attachment| {
            serde_json::json!({
                "id": attachment.id,
                "type": attachment.kind,
                "filename": attachment.filename,
                "blobKey": attachment.blob_key,
            })
        })
        .collect();
    serde_json::Value::from(list).to_string()
}
