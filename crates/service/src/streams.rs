//! The answers that can be followed: those that are made, and for a while those that were, so that
//! a reader can come back.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use parlance_domain::kind::{ConversationId, MessageId};
use parlance_domain::{Principal, Tenant};
use tokio_util::task::TaskTracker;

use crate::conversations::may_see;
use crate::live_answer::{About, LiveAnswer};

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
    pub fn start(&self, about: About, grace: Duration) -> Arc<LiveAnswer> {
        let answer = Arc::new(LiveAnswer::new(about, grace, self.tasks.clone()));
        self.answers().live.insert(about.message, Arc::clone(&answer));
        answer
    }

    /// Stops the answers of a conversation that a person has taken over, but for those that a program
    /// asked for.
    pub(crate) fn give_way(&self, tenant: Tenant, conversation: ConversationId) {
        for answer in self.answers().live.values() {
            let about = &answer.about;
            if about.gives_way && about.tenant.is_same_organisation(tenant) && about.conversation == conversation {
                answer.cancel();
            }
        }
    }

    /// The answer with this message id, while it is known, if it is of the caller's organisation and, for
    /// a visitor, their own. Whether its chatbot is within reach is for the caller of this to ask.
    pub fn get(&self, principal: &Principal, message: MessageId) -> Option<Arc<LiveAnswer>> {
        let answers = self.answers();
        let known = answers.live.get(&message).or_else(|| answers.kept.get(&message));
        let is_theirs = |about: &About| {
            about.tenant.is_same_organisation(principal.tenant) && may_see(principal, about.contact, about.inbox)
        };
        known.filter(|answer| is_theirs(&answer.about)).cloned()
    }

    /// Notes that an answer ended and lets the oldest go when there are too many.
    pub fn finished(&self, answer: &LiveAnswer) {
        answer.shrink();
        let size = answer.memory();
        let mut answers = self.answers();
        let message = answer.about.message;
        if let Some(ended) = answers.live.remove(&message) {
            answers.kept.insert(message, ended);
            answers.finished.push_back((message, size, Instant::now()));
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

    /// The answers that are being made.
    pub fn unfinished(&self) -> Vec<Arc<LiveAnswer>> {
        self.answers().live.values().cloned().collect()
    }

    /// How many answers are being made.
    pub fn live(&self) -> usize {
        self.answers().live.len()
    }
}

#[cfg(test)]
mod tests {
    use parlance_domain::{Id, IdKind, Ids, PrincipalKind, Scopes, Timestamp, Visitor};

    use crate::display::Display;
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

    fn about(who: &Principal) -> About {
        About { tenant: who.tenant, message: id(), conversation: id(), inbox: id(), contact: id(), gives_way: true }
    }

    fn start(streams: &Streams, who: &Principal, grace: Duration) -> Arc<LiveAnswer> {
        streams.start(about(who), grace)
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

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_read_together_and_neither_its_first_piece_nor_the_end_waits() {
        let streams = streams(1 << 20);
        let answer = start(&streams, &principal(), Duration::ZERO);
        let mut reader = answer.subscribe(0);
        let began = tokio::time::Instant::now();
        answer.text("一");
        assert_eq!(reader.next().await.unwrap().1.len(), 1);
        assert_eq!(began.elapsed(), Duration::ZERO);
        let writer = Arc::clone(&answer);
        tokio::spawn(async move {
            for piece in ["二", "三", "四"] {
                writer.text(piece);
                tokio::task::yield_now().await;
            }
        });
        let (number, events) = reader.next().await.unwrap();
        assert_eq!((number, events.len()), (2, 3));
        let before_end = tokio::time::Instant::now();
        answer.end(End::Cancelled);
        assert!(matches!(reader.next().await.unwrap().1[..], [AnswerEvent::End(_)]));
        assert_eq!(before_end.elapsed(), Duration::ZERO);
        assert!(reader.next().await.is_none());
    }

    #[tokio::test]
    async fn reasoning_that_is_not_shown_has_no_numbers() {
        let streams = streams(1 << 20);
        let answer = start(&streams, &principal(), Duration::ZERO);
        let shown = Display { thinking: false, ..Display::ALL };
        let mut first = answer.subscribe_as(0, shown);
        answer.thinking("secret");
        assert!(tokio::time::timeout(Duration::from_millis(20), first.next()).await.is_err(), "nothing to tell");
        answer.citations(Arc::default());
        answer.thinking("secret");
        answer.text("七天");
        let (number, events) = first.next().await.unwrap();
        assert_eq!((number, events.len()), (1, 2));
        answer.thinking("secret");
        answer.text("內");
        answer.end(End::Cancelled);
        let (number, events) = first.next().await.unwrap();
        assert!(number == 3 && matches!(&events[0], AnswerEvent::Text(text) if text == "內"), "{events:?}");
        assert!(first.next().await.is_none());
        let (number, events) = answer.subscribe_as(2, shown).next().await.unwrap();
        assert_eq!((number, events.len()), (3, 2), "it goes on where it was");
        assert_eq!(answer.subscribe_as(99, shown).next().await.unwrap().0, 4);
        assert_eq!(answer.subscribe(0).next().await.unwrap().1.len(), 7, "others are shown everything");
    }

    #[tokio::test]
    async fn an_answer_gives_way_to_a_person_in_its_own_conversation() {
        let streams = streams(1 << 20);
        let asker = principal();
        let automatic = start(&streams, &asker, Duration::MAX);
        let same = About { message: id(), ..automatic.about };
        let asked_for = streams.start(About { gives_way: false, ..same }, Duration::MAX);
        let elsewhere = streams.start(About { message: id(), conversation: id(), ..same }, Duration::MAX);
        streams.give_way(principal().tenant, same.conversation);
        assert!(!automatic.cancelled().is_cancelled(), "another organisation");
        streams.give_way(asker.tenant, same.conversation);
        let stopped = [&automatic, &asked_for, &elsewhere].map(|answer| answer.cancelled().is_cancelled());
        assert_eq!(stopped, [true, false, false]);
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
        let kept = |answer: &LiveAnswer| streams.get(&asker, answer.about.message).is_some();
        assert_eq!(answers.iter().map(|answer| kept(answer)).collect::<Vec<_>>(), [false, true, true]);
        let own = answers[2].about;
        assert!(streams.get(&principal(), own.message).is_none(), "another organisation");
        let visitor = |inbox, contact| Principal {
            kind: PrincipalKind::Visitor(Visitor { web_chat: id(), inbox, contact }),
            ..asker
        };
        assert!(streams.get(&visitor(own.inbox, own.contact), own.message).is_some());
        assert!(streams.get(&visitor(own.inbox, id()), own.message).is_none(), "another visitor");
        assert!(streams.get(&visitor(id(), own.contact), own.message).is_none(), "on another page");
        assert_eq!(streams.live(), 0);
    }
}
