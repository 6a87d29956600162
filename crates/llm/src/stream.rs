//! Turns the body of an answer into [`ChatEvent`]s with exactly one end.

use std::collections::VecDeque;

use futures_util::StreamExt;
use parlance_outbound::Response;

use crate::call::CallPolicy;
use crate::chat::{ChatEvent, ChatMessage, ChatStream, StopReason, Usage, without_nulls};
use crate::error::{Error, ErrorKind};
use crate::fault::Quoting;
use crate::retry::Failure;
use crate::sse::{Decoder, Event, EventTooLong};
use crate::usage::{TokenEstimate, estimated_usage};

/// A provider's form of a stream.
pub(crate) trait Parser: Send + 'static {
    /// Reads one event and tells `sink` what it means.
    fn event(&mut self, event: Event<'_>, sink: &mut Sink) -> Result<(), Failure>;
}

/// Collects what the events of a stream mean.
pub(crate) struct Sink {
    quoting: Quoting,
    ready: VecDeque<ChatEvent>,
    output: TokenEstimate,
    answer_bytes: u64,
    max_answer_bytes: u64,
    has_usage: bool,
    has_content: bool,
    stop: Option<StopReason>,
    has_ended: bool,
}

impl Sink {
    /// Text of the answer.
    pub(crate) fn text(&mut self, text: String) -> Result<(), Failure> {
        self.add(text, ChatEvent::Text)
    }

    /// Reasoning.
    pub(crate) fn thinking(&mut self, text: String) -> Result<(), Failure> {
        self.add(text, ChatEvent::Thinking)
    }

    fn add(&mut self, text: String, event: impl Fn(String) -> ChatEvent) -> Result<(), Failure> {
        let text = without_nulls(text);
        if text.is_empty() || self.has_ended {
            return Ok(());
        }
        self.answer_bytes += text.len() as u64;
        if self.answer_bytes > self.max_answer_bytes {
            let detail = format!("the answer is longer than {} bytes", self.max_answer_bytes);
            return Err(Failure::lasting(Error::new(ErrorKind::Protocol, detail)));
        }
        self.output.add(&text);
        self.has_content = true;
        self.ready.push_back(event(text));
        Ok(())
    }

    /// Token counts of the provider.
    pub(crate) fn usage(&mut self, usage: Usage) {
        if !self.has_ended {
            self.has_usage = true;
            self.ready.push_back(ChatEvent::Usage(usage));
        }
    }

    /// The provider said why it stopped; token counts may follow.
    pub(crate) fn stop(&mut self, reason: StopReason) {
        self.stop.get_or_insert(reason);
    }

    /// The provider's end mark; nothing after it counts.
    pub(crate) fn end(&mut self) {
        self.has_ended = true;
    }

    /// An error object inside the stream.
    pub(crate) fn in_band_failure(&self, error: &serde_json::Value) -> Failure {
        self.quoting.in_band_failure(error)
    }
}

impl From<EventTooLong> for Failure {
    fn from(fault: EventTooLong) -> Self {
        Self::lasting(Error::new(ErrorKind::Protocol, fault.to_string()))
    }
}

/// An answer that is being read.
pub(crate) struct EventStream<P> {
    response: Option<Response>,
    decoder: Decoder,
    parser: P,
    sink: Sink,
    fault: Option<Error>,
    policy: CallPolicy,
    /// Kept to estimate the usage where the provider gives none; without their pictures.
    messages: Vec<ChatMessage>,
}

impl<P: Parser> EventStream<P> {
    pub(crate) fn new(
        response: Response,
        parser: P,
        quoting: Quoting,
        policy: &CallPolicy,
        messages: &[ChatMessage],
    ) -> Self {
        let without_images =
            |message: &ChatMessage| ChatMessage { role: message.role, text: message.text.clone(), images: Vec::new() };
        Self {
            response: Some(response),
            decoder: Decoder::default(),
            parser,
            sink: Sink {
                quoting,
                ready: VecDeque::new(),
                output: TokenEstimate::default(),
                answer_bytes: 0,
                max_answer_bytes: policy.max_answer_bytes,
                has_usage: false,
                has_content: false,
                stop: None,
                has_ended: false,
            },
            fault: None,
            policy: *policy,
            messages: messages.iter().map(without_images).collect(),
        }
    }

    /// Reads as far as the first piece of the answer, or its end.
    pub(crate) async fn read_until_content(&mut self) -> Result<(), Failure> {
        while !self.sink.has_content && self.response.is_some() {
            if let Err(failure) = self.read().await {
                if !self.sink.has_content {
                    return Err(failure);
                }
                // The first piece came with the fault: it is too late to call again.
                self.response = None;
                self.fault = Some(failure.error);
            }
        }
        if let Some(response) = &mut self.response
            && self.sink.stop.is_none()
        {
            response.set_idle_timeout(self.policy.idle_timeout);
        }
        Ok(())
    }

    pub(crate) fn boxed(self) -> ChatStream {
        futures_util::stream::unfold(Box::new(self), |mut stream| async move {
            let item = stream.next().await?;
            Some((item, stream))
        })
        .boxed()
    }

    async fn next(&mut self) -> Option<Result<ChatEvent, Error>> {
        loop {
            // All events of one network read are given before the network is asked again.
            if let Some(event) = self.sink.ready.pop_front() {
                return Some(Ok(event));
            }
            if let Some(error) = self.fault.take() {
                return Some(Err(error));
            }
            self.response.as_ref()?;
            if let Err(failure) = self.read().await {
                // What was understood before the fault is still given, the fault last.
                self.response = None;
                self.fault = Some(failure.error);
            }
        }
    }

    /// Reads one piece of the network.
    async fn read(&mut self) -> Result<(), Failure> {
        let Some(response) = &mut self.response else { return Ok(()) };
        let piece = match response.chunk().await {
            Ok(Some(piece)) => piece,
            Ok(None) => return self.finish_at_close(),
            // Everything is there but the token counts or the end mark.
            Err(_) if self.sink.stop.is_some() => {
                self.finish();
                return Ok(());
            }
            Err(fault) => return Err(fault.into()),
        };
        let (parser, sink) = (&mut self.parser, &mut self.sink);
        self.decoder.push(&piece, |event| if sink.has_ended { Ok(()) } else { parser.event(event, sink) })?;
        if self.sink.has_ended {
            self.finish();
        } else if self.sink.stop.is_some() {
            response.set_idle_timeout(self.policy.tail_timeout);
        }
        Ok(())
    }

    /// The connection was closed in the regular way.
    fn finish_at_close(&mut self) -> Result<(), Failure> {
        let decoder = std::mem::take(&mut self.decoder);
        let (parser, sink) = (&mut self.parser, &mut self.sink);
        // A cut event does not parse; that is the missing end mark below, not a fault of form.
        let rest = decoder.finish(|event| if sink.has_ended { Ok(()) } else { parser.event(event, sink) });
        if self.sink.has_ended || self.sink.stop.is_some() {
            self.finish();
            return Ok(());
        }
        match rest {
            Err(failure) if failure.error.kind != ErrorKind::Protocol => Err(failure),
            _ => Err(Error::new(ErrorKind::Network, "the stream ended without an end mark").into()),
        }
    }

    fn finish(&mut self) {
        self.response = None;
        if !self.sink.has_usage {
            let usage = estimated_usage(&self.messages, self.sink.output);
            self.sink.ready.push_back(ChatEvent::Usage(usage));
        }
        self.sink.ready.push_back(ChatEvent::Stop(self.sink.stop.unwrap_or(StopReason::Complete)));
    }
}
