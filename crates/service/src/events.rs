//! What happens in conversations, told to the pages that are open.
//!
//! Events are published after what they tell of is stored. Those who listen each have a place in a
//! short queue of their conversation or inbox; who is too slow for it is let go, comes back, and is
//! told from the database what was missed. Typing is only told to those who are there. Every process
//! tells what happens in it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use parlance_domain::kind::{ConversationId, InboxId, MessageId};
use parlance_domain::{Result, Tenant, Timestamp};
use parlance_storage::conversations;
use parlance_storage::message_lists::{self, Sent};
use tokio::sync::broadcast;

use crate::App;

/// Events that a listener may be behind.
const QUEUE: usize = 16;

/// What can be listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// One conversation.
    Conversation(ConversationId),
    /// All conversations of an inbox.
    Inbox(InboxId),
}

/// Something that happened in a conversation.
#[derive(Clone, Debug)]
pub struct Event {
    /// The conversation.
    pub conversation: ConversationId,
    /// What happened.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum What {
    /// A message was stored, or an answer is complete.
    Message {
        /// When that was.
        at: Timestamp,
        /// The message.
        sent: Arc<Sent>,
    },
    /// Somebody types, or stopped.
    Typing {
        /// Whether it is the contact, or else a person who replies.
        is_contact: bool,
        /// Their name.
        name: Arc<str>,
        /// Whether they type.
        is_typing: bool,
    },
    /// A person has read everything so far.
    Read {
        /// When that was.
        at: Timestamp,
    },
    /// An answer is being made and can be followed by its id, or has ended.
    Assistant {
        /// The answer.
        message: MessageId,
        /// Whether it began, or else ended.
        is_start: bool,
    },
}

/// Who listens to what.
#[derive(Debug, Default)]
pub struct Events {
    topics: Mutex<HashMap<Topic, broadcast::Sender<Event>>>,
    listening: AtomicUsize,
}

/// Somebody who listens. Dropping it ends that.
#[derive(Debug)]
pub struct Listener {
    app: App,
    topic: Topic,
    receiver: Option<broadcast::Receiver<Event>>,
}

impl Events {
    fn topics(&self) -> MutexGuard<'_, HashMap<Topic, broadcast::Sender<Event>>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those who listen, to anything.
    pub fn listening(&self) -> usize {
        self.listening.load(Ordering::Relaxed)
    }

    fn publish(&self, inbox: InboxId, event: &Event) {
        let topics = self.topics();
        for topic in [Topic::Conversation(event.conversation), Topic::Inbox(inbox)] {
            if let Some(sender) = topics.get(&topic) {
                // Nobody listening is no fault.
                drop(sender.send(event.clone()));
            }
        }
    }
}

/// Begins to listen. Whether the caller may is for them to find out first.
pub fn listen(app: &App, topic: Topic) -> Listener {
    let receiver = {
        let mut topics = app.events.topics();
        app.events.listening.fetch_add(1, Ordering::Relaxed);
        topics.entry(topic).or_insert_with(|| broadcast::channel(QUEUE).0).subscribe()
    };
    Listener { app: app.clone(), topic, receiver: Some(receiver) }
}

impl Listener {
    /// The next event; `None` when the listener was too slow and has to come back.
    pub async fn next(&mut self) -> Option<Event> {
        self.receiver.as_mut()?.recv().await.ok()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut topics = self.app.events.topics();
        self.receiver = None;
        self.app.events.listening.fetch_sub(1, Ordering::Relaxed);
        if topics.get(&self.topic).is_some_and(|sender| sender.receiver_count() == 0) {
            topics.remove(&self.topic);
        }
    }
}

/// Tells that a message was stored.
pub(crate) fn stored(app: &App, sent: &Sent) {
    if app.events.listening() > 0 {
        let what = What::Message { at: sent.message.created_at, sent: Arc::new(sent.clone()) };
        app.events.publish(sent.inbox_id, &Event { conversation: sent.message.conversation_id, what });
    }
}

/// Tells that a person has read a conversation.
pub(crate) fn read(app: &App, conversation: ConversationId, inbox: InboxId, at: Timestamp) {
    app.events.publish(inbox, &Event { conversation, what: What::Read { at } });
}

/// Tells that somebody types.
pub(crate) fn typing(app: &App, conversation: ConversationId, inbox: InboxId, what: What) {
    app.events.publish(inbox, &Event { conversation, what });
}

/// Tells that a message was stored, or an answer ended, of which only the id is known. What cannot
/// be told is told when a listener comes back.
pub(crate) async fn stored_by_id(app: &App, tenant: Tenant, message: MessageId, at: Timestamp) {
    if app.events.listening() == 0 {
        return;
    }
    let sent = async {
        let mut tx = app.db.read(tenant).await?;
        message_lists::one(&mut tx, tenant, message).await
    };
    let told: Result<Option<Sent>> = sent.await;
    match told {
        Ok(Some(sent)) => {
            let (conversation, inbox) = (sent.message.conversation_id, sent.inbox_id);
            let what = What::Message { at, sent: Arc::new(sent) };
            app.events.publish(inbox, &Event { conversation, what });
        }
        Ok(None) => {}
        Err(error) => tracing::warn!(%error, %message, "a stored message could not be told of"),
    }
}

/// Tells that an answer is being made, or has ended.
pub(crate) async fn assistant(
    app: &App,
    tenant: Tenant,
    (conversation, message): (ConversationId, MessageId),
    is_start: bool,
) {
    if app.events.listening() == 0 {
        return;
    }
    let place = async {
        let mut tx = app.db.read(tenant).await?;
        conversations::get(&mut tx, tenant, conversation).await
    };
    let place: Result<_> = place.await;
    match place {
        Ok(Some(place)) => {
            let event = Event { conversation, what: What::Assistant { message, is_start } };
            app.events.publish(place.inbox_id, &event);
        }
        Ok(None) => {}
        Err(error) => tracing::warn!(%error, %message, "an answer could not be told of"),
    }
}
