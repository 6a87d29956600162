//! Conversations: begun, shown, read, taken over and handed back.
//!
//! A visitor reaches those of their own contact in their own inbox and is told of all others that
//! they do not exist.

use std::collections::{HashMap, HashSet};

use parlance_domain::kind::{ContactId, ConversationId, InboxId, WebChatId};
use parlance_domain::{Error, Principal, Result};
use parlance_storage::conversation_lists::{self, Candidate, Listed};
use parlance_storage::conversations::{self, Conversation};
use parlance_storage::{Part, Tx, contacts, inboxes, message_lists};

use crate::conversation_turn::{anonymous, welcome};
use crate::events::What;
use crate::{App, events, keyword};

/// Characters of what callers call a contact.
pub const MAX_SOURCE_ID: usize = 255;

/// A conversation to begin.
#[derive(Clone, Debug)]
pub struct NewConversation {
    /// Where it arrives.
    pub web_chat: WebChatId,
    /// Who writes; for API keys only.
    pub contact: Option<ContactId>,
    /// The field that named the contact, for an error.
    pub contact_field: &'static str,
    /// What the caller calls who writes; for API keys only. A contact is made when there is none.
    pub source_id: Option<String>,
}

/// A conversation and how many of its inbox are unread.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The conversation.
    pub listed: Listed,
    /// Conversations of its inbox with unread messages, counted up to
    /// [`MOST_UNREAD`](inboxes::MOST_UNREAD).
    pub inbox_unread: i64,
}

/// Whether the caller may know of what belongs to this contact in this inbox.
pub(crate) fn may_see(principal: &Principal, contact: ContactId, inbox: InboxId) -> bool {
    principal.visitor().is_none_or(|visitor| visitor.contact == contact && visitor.inbox == inbox)
}

/// Begins a conversation.
///
/// # Errors
/// Fields that name nothing of the organisation; `Forbidden` when a visitor names a contact.
pub async fn create(app: &App, principal: &Principal, new: NewConversation) -> Result<Shown> {
    let tenant = principal.tenant;
    let (inbox, contact) = resolve(app, principal, &new).await?;
    let now = app.now();
    let (contact, is_new) = match contact {
        Some(contact) => (contact, false),
        None => (anonymous(app, new.source_id), true),
    };
    let mut conversation = Conversation {
        id: app.new_id(),
        inbox_id: inbox,
        contact_id: contact.id,
        title: String::new(),
        title_folded: String::new(),
        auto_reply_enabled: true,
        is_group_chat: false,
        enable_group_mention: false,
        unread_count: 0,
        last_read_at: None,
        created_at: now,
        last_message_at: None,
        last_activity_at: now,
    };
    let terms = keyword::terms(tenant, &contact.name);
    let id = conversation.id;
    app.db
        .write(tenant, move |tx| {
            Box::pin(async move {
                if let Some(known) = welcome(tx, tenant, (&contact, is_new), inbox, now).await? {
                    conversation.contact_id = known.id;
                }
                conversations::insert(tx, tenant, &conversation, &terms).await
            })
        })
        .await?;
    get(app, principal, id).await
}

/// The inbox of a conversation to begin and who writes, unless they are new.
async fn resolve(
    app: &App,
    principal: &Principal,
    new: &NewConversation,
) -> Result<(InboxId, Option<contacts::Contact>)> {
    let unknown_web_chat = || Error::field("webChat", "No web chat has this id.");
    let tenant = principal.tenant;
    if let Some(visitor) = principal.visitor() {
        if new.contact.is_some_and(|contact| contact != visitor.contact) || new.source_id.is_some() {
            return Err(Error::Forbidden("contacts:write"));
        }
        if new.web_chat != visitor.web_chat {
            return Err(unknown_web_chat());
        }
        let mut tx = app.db.read(tenant).await?;
        let contact = contacts::get(&mut tx, tenant, visitor.contact).await?;
        return Ok((visitor.inbox, Some(contact.ok_or(Error::NotFound("contact"))?)));
    }
    let mut tx = app.db.read(tenant).await?;
    let inbox = inboxes::of_web_chat(&mut tx, tenant, new.web_chat).await?.ok_or_else(unknown_web_chat)?;
    let contact = match (new.contact, &new.source_id) {
        (Some(id), _) => {
            let contact = contacts::get(&mut tx, tenant, id).await?;
            Some(contact.ok_or_else(|| Error::field(new.contact_field, "No contact has this id."))?)
        }
        (None, Some(source_id)) => contacts::by_source(&mut tx, tenant, inbox.id, source_id).await?,
        (None, None) => None,
    };
    Ok((inbox.id, contact))
}

/// One conversation.
pub async fn get(app: &App, principal: &Principal, id: ConversationId) -> Result<Shown> {
    let mut tx = app.db.read(principal.tenant).await?;
    let listed = conversation_lists::one(&mut tx, principal.tenant, id).await?;
    let listed =
        listed.filter(|listed| may_see(principal, listed.conversation.contact_id, listed.conversation.inbox_id));
    let listed = listed.ok_or(Error::NotFound("conversation"))?;
    let mut shown = with_unread(&mut tx, principal, vec![listed]).await?;
    shown.pop().ok_or_else(|| Error::bug("a conversation that was just read"))
}

/// What is shown of conversations that were found, in the same order, as far as their last messages fit
/// on one page.
pub(crate) async fn shown(tx: &mut Tx, principal: &Principal, found: &[Candidate]) -> Result<Part<Shown>> {
    let ids: Vec<ConversationId> = found.iter().map(|candidate| candidate.id).collect();
    let Part { rows, is_cut } = conversation_lists::some(tx, principal.tenant, &ids).await?;
    Ok(Part { rows: with_unread(tx, principal, rows).await?, is_cut })
}

/// What is shown of conversations, in the same order, with one query for the unread ones of all their
/// inboxes. Those are no concern of visitors.
async fn with_unread(tx: &mut Tx, principal: &Principal, listed: Vec<Listed>) -> Result<Vec<Shown>> {
    let mut unread: HashMap<InboxId, i64> = HashMap::new();
    if principal.visitor().is_none() {
        let inboxes: HashSet<InboxId> = listed.iter().map(|listed| listed.conversation.inbox_id).collect();
        let inboxes: Vec<InboxId> = inboxes.into_iter().collect();
        unread.extend(conversation_lists::unread(tx, principal.tenant, &inboxes).await?);
    }
    let shown = |listed: Listed| {
        let inbox_unread = unread.get(&listed.conversation.inbox_id).copied().unwrap_or_default();
        Shown { listed, inbox_unread }
    };
    Ok(listed.into_iter().map(shown).collect())
}

/// Where a conversation is, if the caller may know of it.
pub async fn find(app: &App, principal: &Principal, id: ConversationId) -> Result<Conversation> {
    let mut tx = app.db.read(principal.tenant).await?;
    let conversation = conversations::get(&mut tx, principal.tenant, id).await?;
    conversation
        .filter(|conversation| may_see(principal, conversation.contact_id, conversation.inbox_id))
        .ok_or(Error::NotFound("conversation"))
}

/// Notes that a person has read everything so far.
pub async fn read(app: &App, principal: &Principal, id: ConversationId) -> Result<Shown> {
    let (tenant, now) = (principal.tenant, app.now());
    let is_known =
        app.db.write(tenant, move |tx| Box::pin(async move { conversations::read(tx, tenant, id, now).await })).await?;
    found(is_known)?;
    let shown = get(app, principal, id).await?;
    events::read(app, id, shown.listed.conversation.inbox_id, now);
    Ok(shown)
}

/// Tells the others in a conversation that the caller types, or has stopped.
pub async fn typing(app: &App, principal: &Principal, id: ConversationId, is_typing: bool) -> Result<()> {
    let place = {
        let mut tx = app.db.read(principal.tenant).await?;
        message_lists::destination(&mut tx, principal.tenant, id, principal.user).await?
    };
    let place = place.filter(|place| may_see(principal, place.contact_id, place.inbox_id));
    let place = place.ok_or(Error::NotFound("conversation"))?;
    let is_contact = principal.visitor().is_some();
    let name = if is_contact { place.contact_name } else { place.user_name.unwrap_or_default() };
    let what = What::Typing { is_contact, name: name.into(), is_typing };
    events::typing(app, id, place.inbox_id, what);
    Ok(())
}

/// Whether the organisation has this inbox.
pub async fn find_inbox(app: &App, principal: &Principal, id: InboxId) -> Result<()> {
    let mut tx = app.db.read(principal.tenant).await?;
    inboxes::get(&mut tx, principal.tenant, id).await?.map(drop).ok_or(Error::NotFound("inbox"))
}

/// Switches automatic replies off (a person takes over) or on again (the assistant takes over).
pub async fn set_auto_reply(app: &App, principal: &Principal, id: ConversationId, is_enabled: bool) -> Result<Shown> {
    let tenant = principal.tenant;
    let is_known = app
        .db
        .write(tenant, move |tx| {
            Box::pin(async move { conversations::set_auto_reply(tx, tenant, id, is_enabled).await })
        })
        .await?;
    found(is_known)?;
    if !is_enabled {
        app.streams.give_way(tenant, id);
    }
    get(app, principal, id).await
}

/// Decides whether the assistant answers in a group only when it is mentioned.
pub async fn set_group_mention(
    app: &App,
    principal: &Principal,
    id: ConversationId,
    is_enabled: bool,
) -> Result<Shown> {
    let tenant = principal.tenant;
    let is_known = app
        .db
        .write(tenant, move |tx| {
            Box::pin(async move { conversations::set_group_mention(tx, tenant, id, is_enabled).await })
        })
        .await?;
    found(is_known)?;
    get(app, principal, id).await
}

fn found(is_known: bool) -> Result<()> {
    if is_known { Ok(()) } else { Err(Error::NotFound("conversation")) }
}
