//! Test doubles: models whose answers are data. Used by the tests of every crate; never configured
//! in a running product.
//!
//! [`ScriptedChat`] plays one [`Script`] for each call, in order, and remembers the requests. A
//! call without a script fails loudly with an error that says so.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};

use crate::chat::{
    ChatEvent, ChatModel, ChatRequest, ChatStream, EmbeddingModel, EmbeddingPurpose, RerankModel, StopReason, Usage,
    without_nulls,
};
use crate::error::{Error, ErrorKind};
use crate::usage::{TokenEstimate, estimated_usage};

/// One thing that happens in a scripted answer.
#[derive(Clone, Debug)]
pub enum Step {
    /// A piece of the answer.
    Text(String),
    /// A piece of reasoning.
    Thinking(String),
    /// Token counts, instead of the estimate that precedes the end.
    Usage(Usage),
    /// A pause.
    Delay(Duration),
    /// The stream fails here.
    Fail(ErrorKind),
    /// Nothing happens any more, for ever.
    Hang,
    /// The end, with this reason.
    Stop(StopReason),
    /// The stream ends here without an end mark, which a real client never lets through.
    Cut,
}

/// What one call does.
#[derive(Clone, Debug)]
pub enum Script {
    /// The call itself fails, before any byte of an answer.
    Refuse(Error),
    /// The call itself never returns.
    HangBeforeStart,
    /// The call answers with these steps. Where the last one is no end of its own, the answer ends
    /// as [`StopReason::Complete`].
    Answer(Vec<Step>),
}

impl Script {
    /// A complete answer in the given pieces.
    pub fn text<T: Into<String>>(pieces: impl IntoIterator<Item = T>) -> Self {
        Self::Answer(pieces.into_iter().map(|piece| Step::Text(piece.into())).collect())
    }

    /// A call that fails before the first byte.
    pub fn refuse(kind: ErrorKind) -> Self {
        Self::Refuse(Error::new(kind, "scripted fault"))
    }
}

/// A chat model that plays scripts.
#[derive(Debug, Default)]
pub struct ScriptedChat {
    scripts: Mutex<VecDeque<Script>>,
    /// Played when `scripts` is empty.
    fallback: Option<Script>,
    requests: Mutex<Vec<ChatRequest>>,
    blind: bool,
}

impl ScriptedChat {
    /// Plays each script once, in order.
    pub fn new(scripts: impl IntoIterator<Item = Script>) -> Self {
        Self { scripts: Mutex::new(scripts.into_iter().collect()), ..Self::default() }
    }

    /// Plays the same script for every call.
    pub fn always(script: Script) -> Self {
        Self { fallback: Some(script), ..Self::default() }
    }

    /// The same model without sight.
    #[must_use]
    pub fn without_sight(self) -> Self {
        Self { blind: true, ..self }
    }

    /// Adds a script to play after those that are left.
    pub fn push(&self, script: Script) {
        lock(&self.scripts).push_back(script);
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<ChatRequest> {
        lock(&self.requests).clone()
    }

    /// Every request since they were last taken.
    pub fn take_requests(&self) -> Vec<ChatRequest> {
        std::mem::take(&mut lock(&self.requests))
    }

    /// Scripts that were not played yet.
    pub fn scripts_left(&self) -> usize {
        lock(&self.scripts).len()
    }
}

impl ChatModel for ScriptedChat {
    fn chat(&self, request: ChatRequest) -> BoxFuture<'_, Result<ChatStream, Error>> {
        lock(&self.requests).push(request.clone());
        let script = lock(&self.scripts).pop_front().or_else(|| self.fallback.clone());
        async move {
            match script {
                Some(Script::Refuse(error)) => Err(error),
                Some(Script::HangBeforeStart) => std::future::pending().await,
                Some(Script::Answer(steps)) => Ok(play(steps, request)),
                None => {
                    let call = lock(&self.requests).len();
                    let detail = format!("call {call} of the scripted model has no script: {:?}", request.question);
                    Err(Error::new(ErrorKind::Protocol, detail))
                }
            }
        }
        .boxed()
    }

    fn sees_images(&self) -> bool {
        !self.blind
    }
}

struct Performance {
    steps: VecDeque<Step>,
    ready: VecDeque<ChatEvent>,
    request: ChatRequest,
    output: TokenEstimate,
    has_usage: bool,
    is_over: bool,
}

fn play(steps: Vec<Step>, request: ChatRequest) -> ChatStream {
    let performance = Performance {
        steps: steps.into(),
        ready: VecDeque::new(),
        request,
        output: TokenEstimate::default(),
        has_usage: false,
        is_over: false,
    };
    futures_util::stream::unfold(performance, |mut performance| async move {
        let item = performance.next().await?;
        Some((item, performance))
    })
    .boxed()
}

impl Performance {
    async fn next(&mut self) -> Option<Result<ChatEvent, Error>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(Ok(event));
            }
            if self.is_over {
                return None;
            }
            match self.steps.pop_front().unwrap_or(Step::Stop(StopReason::Complete)) {
                Step::Text(text) => {
                    let text = without_nulls(text);
                    self.output.add(&text);
                    self.ready.push_back(ChatEvent::Text(text));
                }
                Step::Thinking(text) => {
                    let text = without_nulls(text);
                    self.output.add(&text);
                    self.ready.push_back(ChatEvent::Thinking(text));
                }
                Step::Usage(usage) => {
                    self.has_usage = true;
                    self.ready.push_back(ChatEvent::Usage(usage));
                }
                Step::Delay(duration) => tokio::time::sleep(duration).await,
                Step::Fail(kind) => {
                    self.is_over = true;
                    return Some(Err(Error::new(kind, "scripted fault")));
                }
                Step::Hang => std::future::pending().await,
                Step::Cut => self.is_over = true,
                Step::Stop(reason) => {
                    self.is_over = true;
                    if !self.has_usage {
                        let usage = estimated_usage(&self.request.messages, self.output);
                        self.ready.push_back(ChatEvent::Usage(usage));
                    }
                    self.ready.push_back(ChatEvent::Stop(reason));
                }
            }
        }
    }
}

/// An embedding model without a model: every character and character pair adds to a direction that
/// its hash chooses, so texts that share characters are near each other. Vectors have length 1.
#[derive(Debug)]
pub struct ScriptedEmbedding {
    dimensions: usize,
    failures: Mutex<VecDeque<ErrorKind>>,
    calls: Mutex<Vec<(Vec<String>, EmbeddingPurpose)>>,
}

impl ScriptedEmbedding {
    /// Vectors of `dimensions` numbers, at least 1.
    pub fn new(dimensions: usize) -> Self {
        Self { dimensions: dimensions.max(1), failures: Mutex::default(), calls: Mutex::default() }
    }

    /// Lets the next calls fail, one for each kind.
    pub fn fail_next(&self, kinds: impl IntoIterator<Item = ErrorKind>) {
        lock(&self.failures).extend(kinds);
    }

    /// Every call so far.
    pub fn calls(&self) -> Vec<(Vec<String>, EmbeddingPurpose)> {
        lock(&self.calls).clone()
    }

    /// The vector of a text.
    pub fn vector(&self, text: &str) -> Vec<f32> {
        let mut vector = vec![0.0_f32; self.dimensions];
        let characters: Vec<char> =
            text.to_lowercase().chars().filter(|character| character.is_alphanumeric()).collect();
        for length in 1..=2 {
            for piece in characters.windows(length) {
                let mut hasher = DefaultHasher::new();
                piece.hash(&mut hasher);
                let hash = hasher.finish();
                let place = usize::try_from(hash >> 1).unwrap_or(usize::MAX) % self.dimensions;
                vector[place] += if hash & 1 == 0 { 1.0 } else { -1.0 };
            }
        }
        let length = vector.iter().map(|number| number * number).sum::<f32>().sqrt();
        if length == 0.0 {
            vector[0] = 1.0;
        } else {
            for number in &mut vector {
                *number /= length;
            }
        }
        vector
    }
}

impl EmbeddingModel for ScriptedEmbedding {
    fn embed(&self, texts: Vec<String>, purpose: EmbeddingPurpose) -> BoxFuture<'_, Result<Vec<Vec<f32>>, Error>> {
        let failure = lock(&self.failures).pop_front();
        let vectors = texts.iter().map(|text| self.vector(text)).collect();
        lock(&self.calls).push((texts, purpose));
        let outcome = failure.map_or(Ok(vectors), |kind| Err(Error::new(kind, "scripted fault")));
        std::future::ready(outcome).boxed()
    }

    fn dimensions(&self) -> Option<usize> {
        Some(self.dimensions)
    }
}

/// A rerank model without a model: the share of the question's characters that a document has.
#[derive(Debug, Default)]
pub struct ScriptedRerank {
    failures: Mutex<VecDeque<ErrorKind>>,
    calls: Mutex<Vec<(String, Vec<String>)>>,
}

impl ScriptedRerank {
    /// Lets the next calls fail, one for each kind.
    pub fn fail_next(&self, kinds: impl IntoIterator<Item = ErrorKind>) {
        lock(&self.failures).extend(kinds);
    }

    /// Every call so far.
    pub fn calls(&self) -> Vec<(String, Vec<String>)> {
        lock(&self.calls).clone()
    }

    /// Every call since they were last taken.
    pub fn take_calls(&self) -> Vec<(String, Vec<String>)> {
        std::mem::take(&mut lock(&self.calls))
    }
}

impl RerankModel for ScriptedRerank {
    fn rerank(&self, question: String, documents: Vec<String>) -> BoxFuture<'_, Result<Vec<f32>, Error>> {
        let failure = lock(&self.failures).pop_front();
        let scores = documents.iter().map(|document| shared_share(&question, document)).collect();
        lock(&self.calls).push((question, documents));
        let outcome = failure.map_or(Ok(scores), |kind| Err(Error::new(kind, "scripted fault")));
        std::future::ready(outcome).boxed()
    }
}

fn shared_share(question: &str, document: &str) -> f32 {
    let (mut shared, mut all) = (0.0_f32, 0.0_f32);
    for character in question.chars().filter(|character| character.is_alphanumeric()) {
        all += 1.0;
        if document.contains(character) {
            shared += 1.0;
        }
    }
    if all == 0.0 { 0.0 } else { shared / all }
}

/// A panic in a test must not hide behind a poisoned lock.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;

    use super::{Script, ScriptedChat, ScriptedEmbedding, Step};
    use crate::chat::{ChatEvent, ChatModel, ChatRequest, StopReason};
    use crate::error::ErrorKind;

    #[tokio::test]
    async fn scripts_play_in_order_and_then_fail_loudly() {
        let model = ScriptedChat::new([
            Script::text(["a", "b\0"]),
            Script::refuse(ErrorKind::RateLimited),
            Script::Answer(vec![Step::Text("c".into()), Step::Fail(ErrorKind::Network)]),
        ]);
        let ask = |question: &str| model.chat(ChatRequest { question: question.into(), ..ChatRequest::default() });
        let events: Vec<_> = ask("1").await.unwrap().map(Result::unwrap).collect().await;
        assert_eq!(events[..2], [ChatEvent::Text("a".into()), ChatEvent::Text("b".into())]);
        assert_eq!(events.last(), Some(&ChatEvent::Stop(StopReason::Complete)));
        assert_eq!(ask("2").await.err().unwrap().kind, ErrorKind::RateLimited);
        let mut cut = ask("3").await.unwrap();
        assert_eq!(cut.next().await.unwrap().unwrap(), ChatEvent::Text("c".into()));
        assert_eq!(cut.next().await.unwrap().unwrap_err().kind, ErrorKind::Network);
        assert!(cut.next().await.is_none());
        assert!(ask("4").await.err().unwrap().detail.contains("call 4"));
        assert_eq!(model.requests().len(), 4);
    }

    #[test]
    fn texts_that_share_characters_are_near() {
        let model = ScriptedEmbedding::new(64);
        let near = |one: &str, other: &str| -> f32 {
            model.vector(one).iter().zip(model.vector(other)).map(|(left, right)| left * right).sum()
        };
        assert!((near("退貨期限", "退貨期限") - 1.0).abs() < 1e-5);
        assert!(near("退貨期限是幾天", "退貨期限") > near("退貨期限是幾天", "營業時間") + 0.2);
        assert_eq!(model.vector("").len(), 64);
    }
}
