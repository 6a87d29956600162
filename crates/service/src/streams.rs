//! Answers while they are made, and for a while after, so that a reader can come back.
//!
//! The task that reads the model appends to a [`LiveAnswer`]; any number of readers follow it at
//! their own pace by position. A slow reader holds nothing up: the log is bounded by the largest
//! answer, not by the slowest reader. Exactly one terminal event ends it.

use std::collections::{HashMap, VecDeque};
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
    readers: Mutex<Readers>,
    cancel: CancellationToken,
    over: CancellationToken,
    grace: Duration,
    tasks: TaskTracker,
}

/// Who reads an answer. The number of readers that ever came tells a timer whether somebody came
/// back while it ran.
#[derive(Debug, Default)]
struct Readers {
    reading: usize,
    came: u64,
}

impl LiveAnswer {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds to the log, unless the answer has ended. Gives the bytes of text and reasoning so far.
    fn append(&self, event: impl FnOnce(&mut Log) -> LoggedEvent) -> usize {
        let mut log = self.log();
        if log.ended.is_none() {
            let event = event(&mut log);
            log.events.push(event);
        }
        let size = log.text.len() + log.thinking.len();
        drop(log);
        self.changed.notify_waiters();
        size
    }

    /// Adds the passages of the prompt.
    pub fn citations(&self, cited: Arc<Vec<Cited>>) {
        self.append(|_| LoggedEvent::Citations(cited));
    }

    /// Adds text. Gives the bytes of text and reasoning so far.
    pub fn text(&self, piece: &str) -> usize {
        self.append(|log| {
            log.text.push_str(piece);
            LoggedEvent::Text { end: log.text.len() }
        })
    }

    /// Adds reasoning. Gives the bytes of text and reasoning so far.
    pub fn thinking(&self, piece: &str) -> usize {
        self.append(|log| {
            log.thinking.push_str(piece);
            LoggedEvent::Thinking { end: log.thinking.len() }
        })
    }

    /// Ends the answer. Only the first call counts.
    pub fn end(&self, end: End) {
        self.append(|log| {
            log.ended = Some(Instant::now());
            LoggedEvent::End(Arc::new(end))
        });
        self.over.cancel();
    }

    /// The text so far.
    pub fn text_so_far(&self) -> String {
        self.log().text.clone()
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

    /// Memory that the answer takes while it is kept.
    fn memory(&self) -> usize {
        let log = self.log();
        let cited: usize = log
            .events
            .iter()
            .map(|event| match event {
                LoggedEvent::Citations(cited) => cited.iter().map(Cited::memory).sum(),
                LoggedEvent::End(end) => match end.as_ref() {
                    End::Done(done) => done.cited.iter().map(Cited::memory).sum(),
                    _ => 0,
                },
                LoggedEvent::Text { .. } | LoggedEvent::Thinking { .. } => 0,
            })
            .sum();
        let events = log.events.capacity() * size_of::<LoggedEvent>();
        size_of::<Self>() + log.text.capacity() + log.thinking.capacity() + events + cited
    }

    /// Gives back memory that growing buffers reserved.
    fn shrink(&self) {
        let mut log = self.log();
        log.text.shrink_to_fit();
        log.thinking.shrink_to_fit();
        log.events.shrink_to_fit();
    }

    fn readers(&self) -> MutexGuard<'_, Readers> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads from after event number `after` (0 for all); a number beyond the end gives the terminal
    /// event again. The first reader arms the rule that an answer nobody reads is stopped.
    pub fn subscribe(self: &Arc<Self>, after: usize) -> Reader {
        {
            let mut readers = self.readers();
            readers.reading += 1;
            readers.came += 1;
        }
        let log = self.log();
        let last = if log.ended.is_some() { log.events.len().saturating_sub(1) } else { log.events.len() };
        let next = after.min(last);
        let (mut text_from, mut thinking_from) = (0, 0);
        for event in &log.events[..next] {
            match event {
                LoggedEvent::Text { end } => text_from = *end,
                LoggedEvent::Thinking { end } => thinking_from = *end,
                LoggedEvent::Citations(_) | LoggedEvent::End(_) => {}
            }
        }
        Reader { answer: Arc::clone(self), next, text_from, thinking_from }
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
    text_from: usize,
    thinking_from: usize,
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
        let log = self.answer.log.lock().unwrap_or_else(PoisonError::into_inner);
        if self.next >= log.events.len() {
            return if log.ended.is_some() { Taken::End } else { Taken::Nothing };
        }
        let first = self.next;
        let (text_from, thinking_from) = (&mut self.text_from, &mut self.thinking_from);
        let events = log.events[first..]
            .iter()
            .map(|event| match event {
                LoggedEvent::Citations(cited) => AnswerEvent::Citations(Arc::clone(cited)),
                LoggedEvent::Text { end } => {
                    AnswerEvent::Text(log.text[std::mem::replace(text_from, *end)..*end].to_owned())
                }
                LoggedEvent::Thinking { end } => {
                    AnswerEvent::Thinking(log.thinking[std::mem::replace(thinking_from, *end)..*end].to_owned())
                }
                LoggedEvent::End(end) => AnswerEvent::End(Arc::clone(end)),
            })
            .collect();
        self.next = log.events.len();
        Taken::Events(first + 1, events)
    }

    /// Waits for the end and gives it with the whole text.
    pub async fn finished(&self) -> (String, Arc<End>) {
        self.answer.over.cancelled().await;
        let log = self.answer.log();
        let end = match log.events.last() {
            Some(LoggedEvent::End(end)) => Arc::clone(end),
            _ => Arc::new(End::Cancelled),
        };
        (log.text.clone(), end)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let came = {
            let mut readers = self.answer.readers();
            readers.reading -= 1;
            if readers.reading > 0 {
                return;
            }
            readers.came
        };
        if self.answer.over.is_cancelled() {
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
                () = answer.over.cancelled() => return,
            }
            let came_back = {
                let readers = answer.readers();
                readers.reading > 0 || readers.came != came
            };
            if !came_back {
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
    live: HashMap<MessageId, Arc<LiveAnswer>>,
    kept: HashMap<MessageId, Arc<LiveAnswer>>,
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
            readers: Mutex::default(),
            cancel: CancellationToken::new(),
            over: CancellationToken::new(),
            grace,
            tasks: self.tasks.clone(),
        });
        self.answers().live.insert(message, Arc::clone(&answer));
        answer
    }

    /// The organisation's answer to this message id, while it is known.
    pub fn get(&self, tenant: Tenant, message: MessageId) -> Option<Arc<LiveAnswer>> {
        let answers = self.answers();
        let known = answers.live.get(&message).or_else(|| answers.kept.get(&message));
        known.filter(|answer| answer.tenant == tenant).cloned()
    }

    /// Notes that an answer ended and lets the oldest go when there are too many.
    pub fn finished(&self, answer: &LiveAnswer) {
        answer.shrink();
        let size = answer.memory();
        let mut answers = self.answers();
        if let Some(ended) = answers.live.remove(&answer.message) {
            answers.kept.insert(answer.message, ended);
            answers.finished.push_back((answer.message, size, Instant::now()));
            answers.finished_bytes += size;
        }
        self.evict(&mut answers);
    }

    fn evict(&self, answers: &mut Answers) {
        while let Some((message, size, since)) = answers.finished.front().copied() {
            if since.elapsed() < self.retention.time && answers.finished_bytes <= self.retention.bytes {
                break;
            }
            answers.finished.pop_front();
            answers.finished_bytes -= size;
            answers.kept.remove(&message);
        }
    }

    /// Lets go of what is older than the retention time.
    pub fn expire(&self) {
        self.evict(&mut self.answers());
    }

    /// Unfinished answers with text that was not saved yet.
    pub fn unsaved(&self) -> Vec<(Arc<LiveAnswer>, String)> {
        let live: Vec<Arc<LiveAnswer>> = self.answers().live.values().cloned().collect();
        live.into_iter().filter_map(|answer| answer.unsaved().map(|text| (answer, text))).collect()
    }

    /// Answers that are being made.
    pub fn live(&self) -> usize {
        self.answers().live.len()
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
        let mut beyond = answer.subscribe(99);
        assert_eq!(beyond.next().await.unwrap().0, 5, "the terminal event again");
        assert!(beyond.next().await.is_none());
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
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert!(!answer.cancelled().is_cancelled(), "the first timer is not this visit's");
        tokio::time::sleep(Duration::from_secs(11)).await;
        assert!(answer.cancelled().is_cancelled());
    }

    #[tokio::test]
    async fn the_oldest_finished_answers_make_room() {
        let fill = |streams: &Streams| {
            let answer = start(streams, &principal(), Duration::ZERO);
            answer.text(&"x".repeat(200));
            answer.end(End::Cancelled);
            streams.finished(&answer);
            answer
        };
        let one = fill(&streams(1 << 20)).memory();
        let streams = streams(2 * one);
        let answers: Vec<_> = (0..3).map(|_| fill(&streams)).collect();
        let kept = |answer: &LiveAnswer| streams.get(answer.tenant, answer.message).is_some();
        assert_eq!(answers.iter().map(|answer| kept(answer)).collect::<Vec<_>>(), [false, true, true]);
        assert!(streams.get(principal().tenant, answers[2].message).is_none(), "another organisation");
        assert_eq!(streams.live(), 0);
    }
}
