//! The answers that can be followed: those that are made, and for a while those that were, so that
//! a reader can come back.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use parlance_domain::kind::{ContactId, ConversationId, MessageId};
use parlance_domain::{Principal, Tenant};
use tokio_util::task::TaskTracker;

use crate::live_answer::LiveAnswer;

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
        tenant: Tenant,
        (message, conversation, contact): (MessageId, ConversationId, ContactId),
        grace: Duration,
    ) -> Arc<LiveAnswer> {
        let answer = Arc::new(LiveAnswer::new(tenant, (message, conversation, contact), grace, self.tasks.clone()));
        self.answers().live.insert(message, Arc::clone(&answer));
        answer
    }

    /// The answer with this message id, while it is known, if it is of the caller's organisation and, for
    /// a visitor, their own. Whether its chatbot is within reach is for the caller of this to ask.
    pub fn get(&self, principal: &Principal, message: MessageId) -> Option<Arc<LiveAnswer>> {
        let answers = self.answers();
        let known = answers.live.get(&message).or_else(|| answers.kept.get(&message));
        let is_theirs = |answer: &LiveAnswer| principal.visitor().is_none_or(|own| own.contact == answer.contact);
        known.filter(|answer| answer.tenant.is_same_organisation(principal.tenant) && is_theirs(answer)).cloned()
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
    use parlance_domain::{Id, IdKind, Ids, PrincipalKind, Scopes, Timestamp, Visitor};

    use crate::live_answer::{AnswerEvent, End};

    use super::*;

    fn id<K: IdKind>() -> Id<K> {
        Ids.next(Timestamp::from_millis(1_700_000_000_000))
    }

    fn principal() -> Principal {
        Principal {
            tenant: Tenant::authenticated(id()),
            user: Some(id()),
            kind: PrincipalKind::ApiKey(id()),
            scopes: Scopes::all(),
        }
    }

    fn streams(bytes: usize) -> Streams {
        Streams::new(Retention { time: Duration::from_mins(10), bytes }, TaskTracker::new())
    }

    fn start(streams: &Streams, who: &Principal, grace: Duration) -> Arc<LiveAnswer> {
        let now = Timestamp::from_millis(1_700_000_000_000);
        streams.start(who.tenant, (Ids.next(now), Ids.next(now), Ids.next(now)), grace)
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
        let asker = principal();
        let fill = |streams: &Streams| {
            let answer = start(streams, &asker, Duration::ZERO);
            answer.text(&"x".repeat(200));
            answer.end(End::Cancelled);
            streams.finished(&answer);
            answer
        };
        let one = fill(&streams(1 << 20)).memory();
        let streams = streams(2 * one);
        let answers: Vec<_> = (0..3).map(|_| fill(&streams)).collect();
        let kept = |answer: &LiveAnswer| streams.get(&asker, answer.message).is_some();
        assert_eq!(answers.iter().map(|answer| kept(answer)).collect::<Vec<_>>(), [false, true, true]);
        assert!(streams.get(&principal(), answers[2].message).is_none(), "another organisation");
        let visitor = |contact| Principal {
            kind: PrincipalKind::Visitor(Visitor { web_chat: id(), inbox: id(), contact }),
            ..asker
        };
        assert!(streams.get(&visitor(answers[2].contact), answers[2].message).is_some());
        assert!(streams.get(&visitor(id()), answers[2].message).is_none(), "another visitor");
        assert_eq!(streams.live(), 0);
    }
}
