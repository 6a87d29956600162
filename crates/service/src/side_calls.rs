//! Small questions to a model on the way to an answer: rewriting a follow-up question, inventing a
//! passage to search with. Each may fail without failing the answer, and each counts in its usage.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use parlance_llm::usage::{TokenEstimate, estimate_prompt_tokens};
use parlance_llm::{ChatEvent, ChatModel, ChatRequest, Error, ErrorKind, Usage};

/// Bytes of a small answer; what comes after them is left out.
const MAX_BYTES: usize = 4096;

/// What the small questions of one turn have used so far. Its clones count together, so it survives
/// the task that asks.
#[derive(Clone, Debug, Default)]
pub struct Spent(Arc<Mutex<Usage>>);

impl Spent {
    /// The tokens so far.
    pub fn usage(&self) -> Usage {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, usage: Usage) {
        let mut spent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *spent = spent.plus(usage);
    }
}

/// A model to ask small questions, and where their tokens are counted.
#[derive(Clone)]
pub struct Aide {
    model: Arc<dyn ChatModel>,
    spent: Spent,
}

impl std::fmt::Debug for Aide {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Aide").field("spent", &self.spent).finish_non_exhaustive()
    }
}

impl Aide {
    /// Asks `model` and counts in `spent`.
    pub fn new(model: Arc<dyn ChatModel>, spent: Spent) -> Self {
        Self { model, spent }
    }

    /// Whether it does what it is told; the built-in model only quotes.
    pub(crate) fn follows_instructions(&self) -> bool {
        self.model.follows_instructions()
    }

    /// The text of a short answer; what is longer than a few kilobytes is left out.
    ///
    /// # Errors
    /// The model's; a timeout when it is not done within `time`.
    pub(crate) async fn ask(&self, request: ChatRequest, time: Duration) -> Result<String, Error> {
        let slow = || Error::new(ErrorKind::Timeout, format!("no answer within {time:?}"));
        tokio::time::timeout(time, self.text(request)).await.map_err(|_elapsed| slow())?
    }

    async fn text(&self, request: ChatRequest) -> Result<String, Error> {
        let mut call = Call {
            spent: &self.spent,
            prompt: estimate_prompt_tokens(&request.messages),
            output: TokenEstimate::default(),
            told: None,
            was_refused: false,
        };
        let mut stream = match self.model.chat(request).await {
            Ok(stream) => stream,
            Err(error) => {
                call.was_refused = true;
                return Err(error);
            }
        };
        let mut text = String::new();
        while let Some(event) = stream.next().await {
            match event? {
                ChatEvent::Text(piece) => {
                    call.output.add(&piece);
                    if text.len() < MAX_BYTES {
                        text.push_str(&piece);
                    }
                }
                ChatEvent::Thinking(piece) => call.output.add(&piece),
                ChatEvent::Usage(usage) => call.told = Some(usage),
                ChatEvent::Stop(_) => break,
            }
        }
        Ok(text)
    }
}

/// One call, which is counted when it ends, also by being given up: a provider charges for what it
/// was asked and has written, not for what was read.
struct Call<'a> {
    spent: &'a Spent,
    /// Estimated tokens of the question.
    prompt: u64,
    /// Estimated tokens of the answer so far.
    output: TokenEstimate,
    /// What the provider counted.
    told: Option<Usage>,
    /// Nothing was begun.
    was_refused: bool,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if self.was_refused {
            return;
        }
        let estimated =
            Usage { input_tokens: self.prompt, output_tokens: self.output.tokens(), cached_tokens: 0, estimated: true };
        self.spent.add(self.told.unwrap_or(estimated));
    }
}

#[cfg(test)]
mod tests {
    use parlance_llm::scripted::{Script, ScriptedChat, Step};
    use parlance_llm::{ChatMessage, Role};

    use super::*;

    const TIME: Duration = Duration::from_secs(5);

    fn request() -> ChatRequest {
        // Two tokens, and four for the message.
        let message = ChatMessage { role: Role::User, text: "question".into(), images: Vec::new() };
        ChatRequest { messages: vec![message], ..ChatRequest::default() }
    }

    async fn asked(script: Script) -> (Result<String, ErrorKind>, Usage) {
        let spent = Spent::default();
        let aide = Aide::new(Arc::new(ScriptedChat::new([script])), spent.clone());
        let text = aide.ask(request(), TIME).await;
        (text.map_err(|error| error.kind), spent.usage())
    }

    fn usage(input_tokens: u64, output_tokens: u64, estimated: bool) -> Usage {
        Usage { input_tokens, output_tokens, cached_tokens: 0, estimated }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_begun_counts_however_it_ends() {
        let counted = Usage { cached_tokens: 7, ..usage(70, 30, false) };
        let text = || Step::Text("12345678".into());
        for (script, expected, spent) in [
            (Script::Answer(vec![text(), Step::Usage(counted)]), Ok("12345678".to_owned()), counted),
            (Script::Answer(vec![text()]), Ok("12345678".to_owned()), usage(6, 2, true)),
            (Script::Answer(vec![text(), Step::Fail(ErrorKind::Network)]), Err(ErrorKind::Network), usage(6, 2, true)),
            (Script::Answer(vec![text(), text(), Step::Hang]), Err(ErrorKind::Timeout), usage(6, 4, true)),
            (Script::HangBeforeStart, Err(ErrorKind::Timeout), usage(6, 0, true)),
            (Script::refuse(ErrorKind::RateLimited), Err(ErrorKind::RateLimited), Usage::default()),
        ] {
            assert_eq!(asked(script).await, (expected, spent));
        }
        let (long, _) = asked(Script::text(vec!["x".repeat(3000); 9])).await;
        assert_eq!(long.unwrap().len(), 6000, "whole pieces, up to a few kilobytes");
    }

    #[tokio::test]
    async fn calls_count_together() {
        let spent = Spent::default();
        let counted = Usage { cached_tokens: 1, ..usage(10, 5, false) };
        let scripts = [Script::Answer(vec![Step::Usage(counted)]), Script::text(["1234"])];
        let aide = Aide::new(Arc::new(ScriptedChat::new(scripts)), spent.clone());
        for _ in 0..2 {
            aide.ask(request(), TIME).await.unwrap();
        }
        assert_eq!(spent.usage(), Usage { cached_tokens: 1, ..usage(16, 6, true) });
    }
}
