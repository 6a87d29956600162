//! One answer while it is made, and who reads it.
//!
//! The task that reads the model appends to a [`LiveAnswer`]; any number of readers follow it at
//! their own pace by position. A slow reader holds nothing up: the log is bounded by the largest
//! answer, not by the slowest reader. Exactly one terminal event ends it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use parlance_domain::Tenant;
use parlance_domain::kind::{ContactId, ConversationId, InboxId, MessageId};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::citations::Cited;
use crate::display::Display;

/// How long a reader looks away after text or reasoning. Pieces that follow each other faster are read
/// together, so that a model in a burst does not cost a write to the network for each; slower ones are never
/// held up.
const PAUSE_AFTER_TEXT: Duration = Duration::from_millis(2);

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
    /// Id of the record; `None` when a person wrote it.
    pub record: Option<parlance_domain::kind::RecordId>,
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

/// Which answer it is, and whose.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// Whose it is.
    pub tenant: Tenant,
    /// The stored message.
    pub message: MessageId,
    /// Its conversation.
    pub conversation: ConversationId,
    /// The inbox of that.
    pub inbox: InboxId,
    /// Who asked.
    pub contact: ContactId,
    /// Whether it ends when a person takes the conversation over. One that a program asked for does not.
    pub gives_way: bool,
}

/// An answer that is being made or was made a short while ago.
#[derive(Debug)]
pub struct LiveAnswer {
    /// Which answer it is, and whose.
    pub about: About,
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
    /// An answer that has nothing yet. It is stopped `grace` after its last reader went, by a timer
    /// in `tasks`.
    pub(crate) fn new(about: About, grace: Duration, tasks: TaskTracker) -> Self {
        Self {
            about,
            log: Mutex::default(),
            changed: Notify::new(),
            readers: Mutex::default(),
            cancel: CancellationToken::new(),
            over: CancellationToken::new(),
            grace,
            tasks,
        }
    }

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
    pub(crate) fn unsaved(&self) -> Option<String> {
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
    pub(crate) fn memory(&self) -> usize {
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
    pub(crate) fn shrink(&self) {
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
        self.subscribe_as(after, Display::ALL)
    }

    /// As [`LiveAnswer::subscribe`], for somebody who is shown this much. Events that they are not
    /// shown have no numbers for them.
    pub fn subscribe_as(self: &Arc<Self>, after: usize, display: Display) -> Reader {
        {
            let mut readers = self.readers();
            readers.reading += 1;
            readers.came += 1;
        }
        let log = self.log();
        let mut reader = Reader {
            answer: Arc::clone(self),
            display,
            next: 0,
            told: 0,
            text_from: 0,
            thinking_from: 0,
            pauses: false,
        };
        // The terminal event is told again, whatever was seen.
        let last = if log.ended.is_some() { log.events.len().saturating_sub(1) } else { log.events.len() };
        for event in &log.events[..last] {
            if reader.told >= after {
                break;
            }
            reader.skip(event);
        }
        drop(log);
        reader
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
    display: Display,
    /// Place in the log.
    next: usize,
    /// Events that were told, or seen before.
    told: usize,
    text_from: usize,
    thinking_from: usize,
    /// Whether text or reasoning was given out last.
    pauses: bool,
}

impl Reader {
    /// The answer that is read.
    pub fn answer(&self) -> &Arc<LiveAnswer> {
        &self.answer
    }

    /// What its reader is shown beside the text.
    pub fn display(&self) -> Display {
        self.display
    }

    fn shows(&self, event: &LoggedEvent) -> bool {
        self.display.thinking || !matches!(event, LoggedEvent::Thinking { .. })
    }

    /// Goes on behind an event.
    fn skip(&mut self, event: &LoggedEvent) {
        match event {
            LoggedEvent::Text { end } => self.text_from = *end,
            LoggedEvent::Thinking { end } => self.thinking_from = *end,
            LoggedEvent::Citations(_) | LoggedEvent::End(_) => {}
        }
        self.next += 1;
        self.told += usize::from(self.shows(event));
    }

    /// All events that are there and not read yet, with the number of the first; waits for one when
    /// there is none. `None` after the terminal event.
    pub async fn next(&mut self) -> Option<(usize, Vec<AnswerEvent>)> {
        let answer = Arc::clone(&self.answer);
        if std::mem::take(&mut self.pauses) {
            // The end is told at once.
            drop(tokio::time::timeout(PAUSE_AFTER_TEXT, answer.over.cancelled()).await);
        }
        loop {
            let changed = answer.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match self.take() {
                Taken::Events(first, events) => {
                    let is_piece = |event| matches!(event, &AnswerEvent::Text(_) | &AnswerEvent::Thinking(_));
                    self.pauses = events.iter().any(is_piece);
                    return Some((first, events));
                }
                Taken::End => return None,
                Taken::Nothing => changed.await,
            }
        }
    }

    fn take(&mut self) -> Taken {
        let answer = Arc::clone(&self.answer);
        let log = answer.log();
        let (first, mut events) = (self.told + 1, Vec::new());
        for event in log.events.get(self.next..).unwrap_or_default() {
            if self.shows(event) {
                events.push(match event {
                    LoggedEvent::Citations(cited) => AnswerEvent::Citations(Arc::clone(cited)),
                    LoggedEvent::Text { end } => AnswerEvent::Text(log.text[self.text_from..*end].to_owned()),
                    LoggedEvent::Thinking { end } => {
                        AnswerEvent::Thinking(log.thinking[self.thinking_from..*end].to_owned())
                    }
                    LoggedEvent::End(end) => AnswerEvent::End(Arc::clone(end)),
                });
            }
            self.skip(event);
        }
        if !events.is_empty() {
            Taken::Events(first, events)
        } else if log.ended.is_some() {
            Taken::End
        } else {
            Taken::Nothing
        }
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
