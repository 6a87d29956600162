//! Model clients against a real HTTP server that plays the providers, well and badly.

#![expect(clippy::unwrap_used, reason = "a test fails where its set-up does")]

mod faults;
mod lifetimes;
mod openai;
mod other_chat;
mod server;
mod vectors;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use parlance_domain::{ManualClock, Timestamp};
use parlance_llm::{
    BreakerPolicy, CallPolicy, ChatEvent, ChatMessage, ChatModel, ChatOptions, ChatRequest, Endpoint, Error, Models,
    Origin, ProviderKind, RetryPolicy, Role,
};
use parlance_outbound::{AllowList, Limits, Outbound};

/// Short enough for tests that wait for a timeout, long enough for a busy machine.
const SHORT: Duration = Duration::from_millis(300);
const KEY: &str = "sk-test-0123456789";

fn policy() -> CallPolicy {
    CallPolicy {
        retry: RetryPolicy {
            attempts: 3,
            deadline: Duration::from_secs(10),
            first_pause: Duration::from_millis(5),
            longest_pause: Duration::from_millis(10),
            jitter: || 0.5,
        },
        breaker: BreakerPolicy { failures_to_open: 10, open_for: Duration::from_millis(100) },
        headers_timeout: Duration::from_secs(20),
        first_event_timeout: Duration::from_secs(20),
        idle_timeout: Duration::from_secs(20),
        total_timeout: Duration::from_secs(30),
        tail_timeout: SHORT,
        max_answer_bytes: 1024 * 1024,
    }
}

fn models(policy: CallPolicy) -> Models {
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
    let limits = Limits::default();
    let operator = Outbound::operator(limits).unwrap();
    let guarded = Outbound::new(AllowList::default(), limits).unwrap();
    // 2026-11-20 12:00:00 UTC
    let clock = ManualClock::starting_at(Timestamp::from_millis(1_795_176_000_000));
    Models::new(operator, guarded, policy, Arc::new(clock))
}

fn endpoint(kind: ProviderKind, base_url: &str) -> Endpoint {
    Endpoint { kind, base_url: base_url.parse().unwrap(), api_key: Some(KEY.into()), origin: Origin::Operator }
}

fn openai_with(base_url: &str, policy: CallPolicy) -> Arc<dyn ChatModel> {
    models(policy)
        .chat(&endpoint(ProviderKind::OpenAiCompatible, base_url), "m-1", ChatOptions { sees_images: true })
        .unwrap()
}

fn request() -> ChatRequest {
    let message = |role, text: &str| ChatMessage { role, text: text.to_owned(), images: Vec::new() };
    ChatRequest {
        messages: vec![message(Role::System, "Be brief."), message(Role::User, "退貨期限？")],
        max_output_tokens: Some(100),
        ..ChatRequest::default()
    }
}

/// Everything that an answer consisted of.
#[derive(Debug, Default)]
struct Outcome {
    text: String,
    thinking: String,
    events: Vec<ChatEvent>,
    error: Option<Error>,
}

impl Outcome {
    fn stop(&self) -> Option<parlance_llm::StopReason> {
        match self.events.last() {
            Some(ChatEvent::Stop(reason)) => Some(*reason),
            _ => None,
        }
    }

    fn usage(&self) -> Option<parlance_llm::Usage> {
        self.events.iter().rev().find_map(|event| if let ChatEvent::Usage(usage) = event { Some(*usage) } else { None })
    }

    /// The rule for every stream: exactly one end, and it is the last thing.
    fn assert_one_end(&self) {
        let stops = self.events.iter().filter(|event| matches!(event, ChatEvent::Stop(_))).count();
        let expected = usize::from(self.error.is_none());
        assert_eq!(stops, expected, "{self:?}");
        assert_eq!(self.stop().is_some(), self.error.is_none(), "{self:?}");
    }
}

async fn run(model: &dyn ChatModel, request: ChatRequest) -> Outcome {
    let mut outcome = Outcome::default();
    match model.chat(request).await {
        Err(error) => outcome.error = Some(error),
        Ok(mut stream) => {
            while let Some(item) = stream.next().await {
                assert!(outcome.error.is_none(), "nothing follows an error");
                match item {
                    Err(error) => outcome.error = Some(error),
                    Ok(event) => {
                        match &event {
                            ChatEvent::Text(text) => outcome.text.push_str(text),
                            ChatEvent::Thinking(text) => outcome.thinking.push_str(text),
                            _ => {}
                        }
                        outcome.events.push(event);
                    }
                }
            }
        }
    }
    outcome.assert_one_end();
    outcome
}
