//! Answers while they are made, and for a while after, so that a reader can come back.
//!
//! The task that reads the model appends to a [`LiveAnswer`]; any number of readers follow it at
//! their own pace by position. A slow reader holds nothing up: the log is bounded by the largest
//! answer, not by the slowest reader. Exactly one terminal event ends it.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use parlance_domain::kind::{ContactId, ConversationId, MessageId};
use parlance_domain::{Principal, Tenant};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::citations::Cited;

/// What an answer consists of, as readers see it. The n-th event has the number n, from 1.
#[derive(Clone, Debug)]
pub enum AnswerEvent {
    /// The passages of the prompt; comes once, before the first text.
    Citations(Arc<Vec<Cited>>),
    /// Text to append.
    Text(String),
    /// Reasoning to append.
    Thinking(String),
    /// The end.
    End(Arc<End>),
}

/// How an answer ended.
#[derive(Clone, Debug)]
pub enum End {
    /// It is complete and stored.
    Done(Box<Done>),
    /// It failed; what was made is stored.
    Failed {
        /// One of the codes of [`crate::answer_faults`].
        code: &'static str,
        /// A sentence for the reader.
        message: &'static str,
    },
    /// Somebody stopped it.
    Cancelled,
    /// The server stops.
    ShuttingDown,
}

/// What is known at the end of a complete answer.
#[derive(Clone, Debug)]
pub struct Done {
    /// Id of the record.
    pub record: parlance_domain::kind::RecordId,
    /// The passages that the answer cites.
    pub cited: Vec<Cited>,
    /// Tokens.
    pub usage: parlance_llm::Usage,
    /// Characters of question and answer.
    pub words: u64,
    /// Seconds per stage, in the order they ran.
    pub processing_time: crate::timing::ProcessingTime,
}

#[derive(Debug)]
enum LoggedEvent {
    Citations(Arc<Vec<Cited>>),
    Text { end: usize },
    Thinking { end: usize },
    End(Arc<End>),
}

#[derive(Debug, Default)]
struct Log {
    events: Vec<LoggedEvent>,
    text: String,
    thinking: String,
    saved: usize,
    ended: Option<Instant>,
}

/// An answer that is being made or was made a short while ago.
#[derive(Debug)]
pub struct LiveAnswer {
    /// The stored message.
    pub message: MessageId,
    /// Its conversation.
    pub conversation: ConversationId,
    /// Whose it is.
    pub tenant: Tenant,
    /// Who asked.
    pub contact: ContactId,
    log: Mutex<Log>,
    changed: Notify,
    readers: AtomicUsize,
    cancel: CancellationToken,
    grace: Duration,
    tasks: TaskTracker,
}

impl LiveAnswer {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds to the log, unless the answer has ended.
    fn append(&self, event: impl FnOnce(&mut Log) -> LoggedEvent) {
        let mut log = self.log();
        if log.ended.is_some() {
            return;
        }
        let event = event(&mut log);
        log.events.push(event);
        drop(log);
        self.changed.notify_waiters();
    }

    /// Adds the passages of the prompt.
    pub fn citations(&self, cited: Arc<Vec<Cited>>) {
        self.append(|_| LoggedEvent::Citations(cited));
    }

    /// Adds text.
    pub fn text(&self, piece: &str) {
        self.append(|log| {
            log.text.push_str(piece);
            LoggedEvent::Text { end: log.text.len() }
        });
    }

    /// Adds reasoning.
    pub fn thinking(&self, piece: &str) {
        self.append(|log| {
            log.thinking.push_str(piece);
            LoggedEvent::Thinking { end: log.thinking.len() }
        });
    }

    /// Ends the answer. Only the first call counts.
    pub fn end(&self, end: End) {
        self.append(|log| {
            log.ended = Some(Instant::now());
            LoggedEvent::End(Arc::new(end))
        });
    }

    /// The text so far.
    pub fn text_so_far(&self) -> String {
        self.log().text.clone()
    }

    /// Bytes of text and reasoning so far.
    pub fn size(&self) -> usize {
        let log = self.log();
        log.text.len() + log.thinking.len()
    }

    /// The text, if some of it was not given out by this function yet.
    fn unsaved(&self) -> Option<String> {
        let mut log = self.log();
        (log.ended.is_none() && log.text.len() > log.saved).then(|| {
            log.saved = log.text.len();
            log.text.clone()
        })
    }

    /// Stops the answer at once, whoever reads it.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// Fires when the answer is to stop.
    pub fn cancelled(&self) -> &CancellationToken {
        &self.cancel
    }

    fn ended_at(&self) -> Option<Instant> {
        self.log().ended
    }

    /// Reads from after event number `after` (0 for all). The first reader arms the rule that an
    /// answer nobody reads is stopped.
    pub fn subscribe(self: &Arc<Self>, after: usize) -> Reader {
        self.readers.fetch_add(1, Ordering::SeqCst);
        Reader { answer: Arc::clone(self), next: after }
    }
}

/// What a look at the log gave.
enum Taken {
    /// Events not read yet, with the number of the first.
    Events(usize, Vec<AnswerEvent>),
    /// Nothing new so far.
    Nothing,
    /// Everything was read.
    End,
}

/// Follows an answer. Dropping the last reader of an unfinished answer stops it after its grace.
#[derive(Debug)]
pub struct Reader {
    answer: Arc<LiveAnswer>,
    next: usize,
}

impl Reader {
    /// The answer that is read.
    pub fn answer(&self) -> &Arc<LiveAnswer> {
        &self.answer
    }

    /// All events that are there and not read yet, with the number of the first; waits for one when
    /// there is none. `None` after the terminal event.
    pub async fn next(&mut self) -> Option<(usize, Vec<AnswerEvent>)> {
        let answer = Arc::clone(&self.answer);
        loop {
            let changed = answer.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match self.take() {
                Taken::Events(first, events) => return Some((first, events)),
                Taken::End => return None,
                Taken::Nothing => changed.await,
            }
        }
    }

    fn take(&mut self) -> Taken {
        let log = self.answer.log();
        if self.next >= log.events.len() {
            return if log.ended.is_some() { Taken::End } else { Taken::Nothing };
        }
        let first = self.next;
        let position = |wanted: fn(&LoggedEvent) -> Option<usize>| {
            log.events[..first].iter().rev().find_map(wanted).unwrap_or_default()
        };
        let mut text_from = position(|event| match event {
            LoggedEvent::Text { end } => Some(*end),
            _ => None,
        });
        let mut thinking_from = position(|event| match event {
            LoggedEvent::Thinking { end } => Some(*end),
            _ => None,
        });
        let events = log.events[first..]
            .iter()
            .map(|event| match event {
                LoggedEvent::Citations(cited) => AnswerEvent::Citations(Arc::clone(cited)),
                LoggedEvent::Text { end } => {
                    AnswerEvent::Text(log.text[std::mem::replace(&mut text_from, *end)..*end].to_owned())
                }
                LoggedEvent::Thinking { end } => {
                    AnswerEvent::Thinking(log.thinking[std::mem::replace(&mut thinking_from, *end)..*end].to_owned())
                }
                LoggedEvent::End(end) => AnswerEvent::End(Arc::clone(end)),
            })
            .collect();
        self.next = log.events.len();
        Taken::Events(first + 1, events)
    }

    /// Waits for the end and gives it with the whole text.
    pub async fn finished(&mut self) -> (String, Arc<End>) {
        loop {
            match self.next().await {
                Some((_, events)) => {
                    if let Some(AnswerEvent::End(end)) = events.into_iter().next_back() {
                        return (self.answer.text_so_far(), end);
                    }
                }
                None => return (self.answer.text_so_far(), Arc::new(End::Cancelled)),
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if self.answer.readers.fetch_sub(1, Ordering::SeqCst) > 1 || self.answer.ended_at().is_some() {
            return;
        }
        let answer = Arc::clone(&self.answer);
        if answer.grace.is_zero() {
            answer.cancel();
            return;
        }
        let tasks = answer.tasks.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(answer.grace) => {}
                () = answer.cancel.cancelled() => {}
            }
            if answer.readers.load(Ordering::SeqCst) == 0 {
                answer.cancel();
            }
        });
    }
}

/// How long finished answers can be read again, and how much memory they may take.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Time after the end.
    pub time: Duration,
    /// Bytes of all finished answers; beyond it the oldest go first and are then read from storage.
    pub bytes: usize,
}

/// The answers that can be followed.
#[derive(Debug)]
pub struct Streams {
    answers: Mutex<Answers>,
    retention: Retention,
    tasks: TaskTracker,
}

#[derive(Debug, Default)]
struct Answers {
    by_message: HashMap<MessageId, Arc<LiveAnswer>>,
    finished: VecDeque<(MessageId, usize, Instant)>,
    finished_bytes: usize,
}

impl Streams {
    /// An empty registry. `tasks` runs the timers of abandoned answers.
    pub fn new(retention: Retention, tasks: TaskTracker) -> Self {
        Self { answers: Mutex::default(), retention, tasks }
    }

    fn answers(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts an answer. It is stopped `grace` after its last reader went.
    pub fn start(
        &self,
        principal: &Principal,
        (message, conversation, contact): (MessageId, ConversationId, ContactId),
        grace: Duration,
    ) -> Arc<LiveAnswer> {
        let answer = Arc::new(LiveAnswer {
            message,
            conversation,
            tenant: principal.tenant,
            contact,
            log: Mutex::default(),
            changed: Notify::new(),
            readers: AtomicUsize::new(0),
            cancel: CancellationToken::new(),
            grace,
            tasks: self.tasks.clone(),
        });
        self.answers().by_message.insert(message, Arc::clone(&answer));
        answer
    }

    /// The organisation's answer to this message id, while it is known.
    pub fn get(&self, tenant: Tenant, message: MessageId) -> Option<Arc<LiveAnswer>> {
        self.answers().by_message.get(&message).filter(|answer| answer.tenant == tenant).cloned()
    }

    /// Notes that an answer ended and lets the oldest go when there are too many.
    pub fn finished(&self, answer: &LiveAnswer) {
        // What an entry costs besides its text: the events and the bookkeeping.
        let size = answer.size() + answer.log().events.len() * size_of::<LoggedEvent>() + 1024;
        let mut answers = self.answers();
        answers.finished.push_back((answer.message, size, Instant::now()));
        answers.finished_bytes += size;
        self.evict(&mut answers);
    }

    fn evict(&self, answers: &mut Answers) {
        while let Some((message, size, since)) = answers.finished.front().copied() {
            if since.elapsed() < self.retention.time && answers.finished_bytes <= self.retention.bytes {
                break;
            }
            answers.finished.pop_front();
            answers.finished_bytes -= size;
            answers.by_message.remove(&message);
        }
    }

    /// Lets go of what is older than the retention time.
    pub fn expire(&self) {
        self.evict(&mut self.answers());
    }

    /// Unfinished answers with text that was not saved yet.
    pub fn unsaved(&self) -> Vec<(Arc<LiveAnswer>, String)> {
        let live: Vec<Arc<LiveAnswer>> = {
            let answers = self.answers();
            // Finished ones are the bulk of the map and have nothing to save.
            answers.by_message.values().filter(|answer| answer.ended_at().is_none()).cloned().collect()
        };
        live.into_iter().filter_map(|answer| answer.unsaved().map(|text| (answer, text))).collect()
    }

    /// Answers that are being made.
    pub fn live(&self) -> usize {
        let answers = self.answers();
        answers.by_message.len() - answers.finished.len()
    }
}

#[cfg(test)]
mod tests {
    use parlance_domain::kind::{ApiKeyId, OrganisationId, UserId};
    use parlance_domain::{Ids, PrincipalKind, Scopes, Timestamp};

    use super::*;

    fn principal() -> Principal {
        let now = Timestamp::from_millis(1_700_000_000_000);
        Principal {
            tenant: Tenant::authenticated(Ids.next::<parlance_domain::kind::Organisation>(now) as OrganisationId),
            user: Ids.next::<parlance_domain::kind::User>(now) as UserId,
            kind: PrincipalKind::ApiKey(Ids.next::<parlance_domain::kind::ApiKey>(now) as ApiKeyId),
            scopes: Scopes::all(),
        }
    }

    fn streams(bytes: usize) -> Streams {
        Streams::new(Retention { time: Duration::from_mins(10), bytes }, TaskTracker::new())
    }

    fn start(streams: &Streams, who: &Principal, grace: Duration) -> Arc<LiveAnswer> {
        let now = Timestamp::from_millis(1_700_000_000_000);
        streams.start(who, (Ids.next(now), Ids.next(now), Ids.next(now)), grace)
    }

    #[tokio::test]
    async fn a_late_reader_gets_what_is_missing_only() {
        let streams = streams(1 << 20);
        let answer = start(&streams, &principal(), Duration::ZERO);
        let mut first = answer.subscribe(0);
        answer.citations(Arc::default());
        answer.text("退貨");
        answer.thinking("hm");
        answer.text("須知");
        answer.end(End::Cancelled);
        answer.text("after the end");
        let (number, events) = first.next().await.unwrap();
        assert_eq!((number, events.len()), (1, 5));
        assert!(first.next().await.is_none());
        let mut late = answer.subscribe(2);
        let (number, events) = late.next().await.unwrap();
        assert_eq!(number, 3);
        assert!(matches!(&events[0], AnswerEvent::Thinking(text) if text == "hm"));
        assert!(matches!(&events[1], AnswerEvent::Text(text) if text == "須知"));
        assert!(matches!(&events[2], AnswerEvent::End(_)));
        assert_eq!(answer.text_so_far(), "退貨須知");
        assert!(answer.subscribe(99).next().await.is_none());
    }

    #[tokio::test]
    async fn an_answer_that_nobody_reads_is_stopped() {
        let streams = streams(1 << 20);
        let answer = start(&streams, &principal(), Duration::ZERO);
        let reader = answer.subscribe(0);
        let second = answer.subscribe(0);
        drop(reader);
        assert!(!answer.cancelled().is_cancelled());
        drop(second);
        assert!(answer.cancelled().is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn a_visitor_may_come_back_within_the_grace() {
        let streams = streams(1 << 20);
        let answer = start(&streams, &principal(), Duration::from_secs(30));
        drop(answer.subscribe(0));
        tokio::time::sleep(Duration::from_secs(20)).await;
        let back = answer.subscribe(0);
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert!(!answer.cancelled().is_cancelled());
        drop(back);
        tokio::time::sleep(Duration::from_secs(31)).await;
        assert!(answer.cancelled().is_cancelled());
    }

    #[tokio::test]
    async fn the_oldest_finished_answers_make_room() {
        let streams = streams(3000);
        let who = principal();
        let answers: Vec<_> = (0..3).map(|_| start(&streams, &who, Duration::ZERO)).collect();
        for answer in &answers {
            answer.text(&"x".repeat(200));
            answer.end(End::Cancelled);
            streams.finished(answer);
        }
        assert!(streams.get(who.tenant, answers[0].message).is_none());
        assert!(streams.get(who.tenant, answers[2].message).is_some());
        assert!(streams.get(principal().tenant, answers[2].message).is_none(), "another organisation");
        assert_eq!(streams.live(), 0);
    }
}
