//! An inbox with many conversations, written straight into the database: through the API it would take long.
//!
//! This is the only part of the bench that shares code with the server.

use std::time::Duration;

use anyhow::{Context, Result};
use parlance_domain::kind::{ContactId, InboxId};
use parlance_domain::{Ids, Tenant, Timestamp};
use parlance_service::keyword::terms;
use parlance_storage::contacts::{self, Contact};
use parlance_storage::conversation_terms::Terms;
use parlance_storage::conversations::{self, Conversation};
use parlance_storage::messages::{self, Message};
use parlance_storage::{Db, DbConfig, Scope, Tx, organisations};

use crate::corpus::sentence;
use crate::random::Random;

/// Messages of each conversation.
pub(crate) const MESSAGES: usize = 10;
/// Conversations written with one transaction.
const BATCH: usize = 200;
/// Conversations of each contact.
const OF_CONTACT: usize = 10;
/// A word of every conversation.
pub(crate) const COMMON: &str = "您好";
/// A code that every 20,000th conversation has.
pub(crate) const RARE: &str = "PPR-9087";
const RARE_EACH: usize = 20_000;
/// When the first conversation began: 2026-01-01.
const BEGAN: i64 = 1_767_225_600_000;
const SEED: u64 = 20_260_701;

/// Adds `count` conversations of [`MESSAGES`] messages to an inbox.
pub(crate) async fn fill(url: &str, inbox: &str, count: usize) -> Result<()> {
    let config = DbConfig { url: url.to_owned(), migrate_url: None, connections: 2 };
    let db = Db::open(&config).await.context("opening the database")?;
    let organisation = {
        let mut tx = db.read(Scope::System).await?;
        organisations::first(&mut tx).await?.context("no organisation")?.id
    };
    let tenant = Tenant::authenticated(organisation);
    let inbox = InboxId::parse(inbox).context("the id of an inbox")?;
    let mut random = Random::new(SEED);
    let mut contact = Ids.next(Timestamp::from_millis(BEGAN));
    for first in (0..count).step_by(BATCH) {
        let mut batch = Vec::with_capacity(BATCH);
        for number in first..count.min(first + BATCH) {
            if number.is_multiple_of(OF_CONTACT) {
                contact = Ids.next(Timestamp::from_millis(BEGAN));
            }
            batch.push(written(tenant, (inbox, contact), number, &mut random));
        }
        db.write(tenant, move |tx| Box::pin(async move { insert(tx, tenant, inbox, &batch).await })).await?;
    }
    db.close().await;
    Ok(())
}

/// A conversation to be stored.
struct Written {
    /// The contact, with the first conversation of theirs.
    contact: Option<Contact>,
    conversation: Conversation,
    terms: Terms,
    messages: Vec<(Message, Terms)>,
}

fn written(tenant: Tenant, (inbox, contact): (InboxId, ContactId), number: usize, random: &mut Random) -> Written {
    let at = Timestamp::from_millis(BEGAN).plus(Duration::from_secs(number as u64));
    let name = format!("客戶 {:05}", number / OF_CONTACT);
    let id = Ids.next(at);
    let mut messages = Vec::with_capacity(MESSAGES);
    for position in 0..MESSAGES {
        let mut content = sentence(random);
        if position == 0 {
            content = format!("{COMMON}，{content}");
        }
        if position == MESSAGES - 1 && number.is_multiple_of(RARE_EACH) {
            content.push_str(RARE);
        }
        let is_question = position.is_multiple_of(2);
        let found_by = terms(tenant, &content);
        let written_at = at.plus(Duration::from_millis(position as u64));
        let message = Message::plain((Ids.next(at), id), is_question.then_some(contact), content, written_at);
        messages.push((message, found_by));
    }
    let title = messages.first().map(|(message, _)| message.content.chars().take(60).collect::<String>());
    let title = title.unwrap_or_default();
    let last = at.plus(Duration::from_millis(MESSAGES as u64));
    Written {
        contact: (number.is_multiple_of(OF_CONTACT)).then(|| Contact {
            id: contact,
            name: name.clone(),
            name_folded: parlance_retrieval::fold(&name),
            avatar: None,
            phone_number: None,
            email: None,
            source_id: None,
            query_metadata: None,
            created_at: at,
            updated_at: at,
        }),
        terms: terms(tenant, &format!("{title} {name}")),
        conversation: Conversation {
            id,
            inbox_id: inbox,
            contact_id: contact,
            title_folded: parlance_retrieval::fold(&title),
            title,
            auto_reply_enabled: true,
            is_group_chat: false,
            enable_group_mention: false,
            unread_count: i64::from(number.is_multiple_of(3)),
            last_read_at: None,
            created_at: at,
            last_message_at: Some(last),
            last_activity_at: last,
        },
        messages,
    }
}

async fn insert(tx: &mut Tx, tenant: Tenant, inbox: InboxId, batch: &[Written]) -> parlance_domain::Result<()> {
    for written in batch {
        if let Some(contact) = &written.contact {
            contacts::insert(tx, tenant, contact, inbox).await?;
        }
        conversations::insert(tx, tenant, &written.conversation, &written.terms).await?;
        for (message, found_by) in &written.messages {
            messages::insert(tx, tenant, message, found_by).await?;
        }
    }
    Ok(())
}
