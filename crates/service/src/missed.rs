//! What an open page has missed when it comes back.
//!
//! A message gets its time before the transaction that stores it ends, and is told of a moment after
//! that. So a page may have been told of a message while an earlier one was still on its way. That is
//! why a look begins some time before what the page was told last: it is told some messages again
//! rather than one never.

use std::time::Duration;

use parlance_domain::{Result, Tenant, Timestamp};
use parlance_storage::message_lists::Sent;
use parlance_storage::missed_messages::{self, AT_ONCE, Settled};

use crate::App;
use crate::events::Topic;

/// How long a message may be on its way.
const OVERLAP: Duration = Duration::from_secs(10);
/// Who was away for longer is better off with the list.
const MAX_AGE: Duration = Duration::from_hours(24);
/// Messages that are told; who missed more is better off with the list. As many conversations of an
/// inbox are looked into.
const MAX_MISSED: usize = 2_000;

/// What a page has missed and is told in parts.
#[derive(Debug)]
pub struct Missed {
    /// In their order.
    settled: Vec<Settled>,
    /// Those of them that were told.
    told: usize,
    /// When it was looked, and later when all were told.
    at: Timestamp,
}

/// What happened since a page was told `last`, of which it was told itself. `None` when that is too
/// much or too long ago to be told.
pub async fn since(app: &App, tenant: Tenant, topic: Topic, last: Settled) -> Result<Option<Missed>> {
    let now = app.now();
    if last.at < now.minus(MAX_AGE) {
        return Ok(None);
    }
    let from = last.at.minus(OVERLAP);
    let found = {
        let mut tx = app.db.read(tenant).await?;
        match topic {
            Topic::Conversation(id) => missed_messages::in_conversation(&mut tx, tenant, id, from, MAX_MISSED).await?,
            Topic::Inbox(id) => missed_messages::in_inbox(&mut tx, tenant, id, from, MAX_MISSED).await?,
        }
    };
    Ok(found.map(|mut settled| {
        settled.retain(|one| *one != last);
        settled.shrink_to_fit();
        Missed { settled, told: 0, at: now }
    }))
}

impl Missed {
    /// The next messages, oldest first; none when all were told.
    pub async fn next(&mut self, app: &App, tenant: Tenant) -> Result<Vec<(Timestamp, Sent)>> {
        while self.told < self.settled.len() {
            let end = self.settled.len().min(self.told + AT_ONCE);
            let part = self.settled.get(self.told..end).unwrap_or_default();
            let messages = {
                let mut tx = app.db.read(tenant).await?;
                missed_messages::read(&mut tx, tenant, part).await?
            };
            self.told = end;
            if !messages.is_empty() {
                return Ok(messages);
            }
        }
        // Only what was on its way then can come from the listener too.
        let recent = self.at.minus(OVERLAP);
        self.settled.retain(|one| one.at >= recent);
        self.settled.shrink_to_fit();
        (self.told, self.at) = (self.settled.len(), app.now());
        Ok(Vec::new())
    }

    /// Whether a message that settled at that time is among those that were found.
    pub fn has(&self, one: Settled) -> bool {
        self.settled.binary_search(&one).is_ok()
    }

    /// Whether nothing of what was told can come from the listener any more.
    pub fn is_over(&self, app: &App) -> bool {
        self.settled.is_empty() || self.at < app.now().minus(OVERLAP)
    }
}
