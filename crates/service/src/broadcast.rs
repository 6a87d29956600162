//! One message to many contacts, each in their latest conversation.
//!
//! It is stored like a person's reply and told to open pages like one, but nobody has taken any of
//! the conversations over: the assistant goes on answering in them.

use std::collections::{HashMap, HashSet};

use parlance_domain::kind::{ContactId, ConversationId, InboxId, MessageId};
use parlance_domain::{Error, Principal, Result};
use parlance_storage::conversation_terms::Terms;
use parlance_storage::conversations::Activity;
use parlance_storage::message_lists::{self, Destination, Sent};
use parlance_storage::messages::{self, Message};
use parlance_storage::{Tx, contacts, conversations, inboxes};

use crate::{App, events, keyword};

/// Contacts of one write, so that other writes get their turn in between.
const CONTACTS_AT_ONCE: usize = 200;
/// Messages that open pages are told of before they get their turn to read: half of what waits for
/// one at most, so that a page of the whole inbox keeps up.
const TOLD_AT_ONCE: usize = 8;

/// Who gets the message.
#[derive(Clone, Debug)]
pub enum Audience {
    /// These; `None` stands for an id that is none.
    Contacts(Vec<(String, Option<ContactId>)>),
    /// Everybody who writes to an inbox, but for these.
    Inbox(InboxId, Vec<ContactId>),
}

/// What became of the message for one contact.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The contact as they were named.
    pub contact: String,
    /// The conversation and the message, or why there is none.
    pub outcome: Result<(ConversationId, MessageId), &'static str>,
}

/// Stores a message from the organisation in the latest conversation of each contact. What is
/// answered is on disk. The assistant does not stop answering because of it.
///
/// # Errors
/// Wrong fields; what concerns one contact stands in their delivery.
pub async fn send(app: &App, principal: &Principal, message: &str, audience: Audience) -> Result<Vec<Delivery>> {
    let message = message.trim();
    let most = app.settings.max_message_characters;
    if message.is_empty() {
        return Err(Error::field("message", "This field may not be blank."));
    }
    if message.chars().count() > most {
        return Err(Error::field("message", format!("Ensure this field has no more than {most} characters.")));
    }
    let (inbox, named) = resolve(app, principal, audience).await?;
    let terms = keyword::terms(principal.tenant, message);
    let mut deliveries = Vec::with_capacity(named.len());
    for some in named.chunks(CONTACTS_AT_ONCE) {
        let (writer, principal, some) = (app.clone(), *principal, some.to_vec());
        let (message, terms) = (message.to_owned(), terms.clone());
        let stored = app
            .db
            .write(principal.tenant, move |tx| {
                Box::pin(async move {
                    let mut stored = Vec::with_capacity(some.len());
                    for (contact, id) in some {
                        let outcome = deliver(tx, &writer, &principal, (id, inbox), (&message, &terms)).await?;
                        stored.push((contact, outcome));
                    }
                    Ok(stored)
                })
            })
            .await?;
        let mut to_tell = Vec::new();
        for (contact, outcome) in stored {
            let outcome = outcome.map(|stored| {
                let ids = (stored.message.conversation_id, stored.message.id);
                to_tell.push(stored);
                ids
            });
            deliveries.push(Delivery { contact, outcome });
        }
        tell(app, &principal, to_tell).await;
    }
    Ok(deliveries)
}

/// A message that was stored for a contact.
struct Stored {
    inbox: InboxId,
    owner: ContactId,
    message: Message,
}

/// Tells open pages of messages that were stored together. What is shown besides the message itself
/// is the same in all conversations of an inbox, so it is read once for each.
async fn tell(app: &App, principal: &Principal, stored: Vec<Stored>) {
    if app.events.listening() == 0 {
        return;
    }
    let around = match around(app, principal, &stored).await {
        Ok(around) => around,
        // Pages are told when they come back.
        Err(error) => return tracing::warn!(%error, "open pages could not be told of a broadcast"),
    };
    for (number, Stored { inbox, owner, message }) in stored.into_iter().enumerate() {
        if number % TOLD_AT_ONCE == 0 {
            tokio::task::yield_now().await;
        }
        let Some(around) = around.get(&inbox) else { continue };
        let sent = Sent {
            owner_id: owner,
            inbox_id: inbox,
            contact_name: None,
            contact_avatar: None,
            user_name: message.user_id.and(around.user_name.clone()),
            chatbot_id: around.chatbot_id,
            chatbot_name: around.chatbot_name.clone(),
            message,
        };
        events::stored(app, &sent);
    }
}

async fn around(app: &App, principal: &Principal, stored: &[Stored]) -> Result<HashMap<InboxId, Destination>> {
    let tenant = principal.tenant;
    let mut around = HashMap::new();
    let mut tx = app.db.read(tenant).await?;
    for Stored { inbox, message, .. } in stored {
        if !around.contains_key(inbox) {
            let conversation = message.conversation_id;
            let found = message_lists::destination(&mut tx, tenant, conversation, principal.user).await?;
            around.extend(found.map(|found| (*inbox, found)));
        }
    }
    Ok(around)
}

type Named = Vec<(String, Option<ContactId>)>;

/// The contacts who are meant, each once, and the inbox whose conversations count.
async fn resolve(app: &App, principal: &Principal, audience: Audience) -> Result<(Option<InboxId>, Named)> {
    let most = app.settings.max_broadcast_contacts;
    let too_many = |field: &str| Error::field(field, format!("At most {most} contacts get one message."));
    match audience {
        Audience::Contacts(named) => {
            if named.is_empty() {
                return Err(Error::field("contactIds", "This list may not be empty."));
            }
            if named.len() > most {
                return Err(too_many("contactIds"));
            }
            let mut seen = HashSet::new();
            let once = named
                .into_iter()
                .filter(|(text, id)| seen.insert(id.map_or_else(|| text.clone(), |id| id.to_string())));
            Ok((None, once.collect()))
        }
        Audience::Inbox(inbox, excluded) => {
            let tenant = principal.tenant;
            let mut tx = app.db.read(tenant).await?;
            if inboxes::get(&mut tx, tenant, inbox).await?.is_none() {
                return Err(Error::field("inboxId", "No inbox has this id."));
            }
            let excluded: HashSet<ContactId> = excluded.into_iter().collect();
            // One more than may be, so that more is noticed.
            let limit = u64::try_from(most.saturating_add(excluded.len()).saturating_add(1)).unwrap_or(u64::MAX);
            let mut members = contacts::of_inbox(&mut tx, tenant, inbox, limit).await?;
            members.retain(|contact| !excluded.contains(contact));
            if members.len() > most {
                return Err(too_many("inboxId"));
            }
            Ok((Some(inbox), members.into_iter().map(|contact| (contact.to_string(), Some(contact))).collect()))
        }
    }
}

async fn deliver(
    tx: &mut Tx,
    app: &App,
    principal: &Principal,
    (contact, inbox): (Option<ContactId>, Option<InboxId>),
    (content, terms): (&str, &Terms),
) -> Result<Result<Stored, &'static str>> {
    let tenant = principal.tenant;
    let known = match contact {
        Some(contact) => contacts::get(tx, tenant, contact).await?,
        None => None,
    };
    let Some(contact) = known else { return Ok(Err("No contact has this id.")) };
    let Some(conversation) = conversations::latest_of_contact(tx, tenant, contact.id, inbox).await? else {
        return Ok(Err("No conversation was found for this contact."));
    };
    let now = app.now();
    let message = Message {
        user_id: principal.user,
        ..Message::plain((app.new_id(), conversation.id), None, content.to_owned(), now)
    };
    // A message from the organisation is no title and is not unread, and nobody takes over with it.
    let activity = Activity { at: now, unread: 0, title: "", title_folded: "" };
    conversations::touch(tx, tenant, conversation.id, &activity).await?;
    messages::insert(tx, tenant, &message, terms).await?;
    Ok(Ok(Stored { inbox: conversation.inbox_id, owner: conversation.contact_id, message }))
}
