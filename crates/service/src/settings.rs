//! Settings of the service, as plain values; `config.default.toml` says where they come from.

use std::time::Duration;

use url::Url;

use crate::client_address::TrustedProxies;
use crate::domains::DomainSettings;
use crate::rate_limit::Rate;
use crate::voice::LiveKit;

/// Everything an operator can decide that the service acts on.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Start of every absolute URL the product makes.
    pub public_url: Url,
    /// How custom domains are proved.
    pub domains: DomainSettings,
    /// The server of the voice agent, where there is one.
    pub livekit: Option<LiveKit>,
    /// Proxies whose word about the client's address counts.
    pub trusted_proxies: TrustedProxies,
    /// Requests with one API key.
    pub key_rate: Rate,
    /// Requests of one organisation, with all of its API keys.
    pub organisation_rate: Rate,
    /// Requests from one address whose credential was not good.
    pub refused_rate: Rate,
    /// Sessions of visitors begun or renewed from one address.
    pub session_rate: Rate,
    /// Requests of one visitor.
    pub visitor_rate: Rate,
    /// Answers for one visitor.
    pub visitor_answer_rate: Rate,
    /// Answers for all visitors of one web chat.
    pub web_chat_answer_rate: Rate,
    /// Replies to visitors per day of a web chat without a limit of its own; 0 is no limit.
    pub web_chat_daily_replies: i64,
    /// Tokens for visitors per day of a web chat without a limit of its own; 0 is no limit.
    pub web_chat_daily_tokens: i64,
    /// Time that a visitor's session lasts unless it is renewed.
    pub visitor_session: Duration,
    /// Time that lines of the audit log are kept; zero keeps them for ever.
    pub audit_retention: Duration,
    /// Time an API key's answer goes on after its reader went.
    pub api_grace: Duration,
    /// Time a visitor's answer goes on after its reader went.
    pub visitor_grace: Duration,
    /// Time that running answers get when the server stops.
    pub stop_grace: Duration,
    /// Largest upload in bytes.
    pub max_upload_bytes: u64,
    /// Bytes of uploads that one organisation may store; 0 is no limit.
    pub organisation_upload_bytes: u64,
    /// Time a presigned form can be used.
    pub upload_valid_for: Duration,
    /// Longest passage in characters.
    pub passage_characters: u32,
    /// Longest question in characters.
    pub max_message_characters: usize,
    /// Attachments of one message.
    pub max_attachments: usize,
    /// Bytes of all pictures of one message that are handed to a model.
    pub max_image_bytes: u64,
    /// Time that reading one attached document may take, including waiting for its turn.
    pub attachment_time: Duration,
    /// Characters of a document attachment that go into the prompt.
    pub attachment_characters: usize,
    /// Characters of passages that go into one prompt.
    pub context_characters: usize,
    /// Earlier messages that go into one prompt.
    pub history_messages: usize,
    /// Answers made at the same time in the whole process; more are turned away with 503.
    pub max_concurrent_answers: usize,
    /// Contacts who get one message by a broadcast.
    pub max_broadcast_contacts: usize,
    /// The `tesseract` program for scanned PDFs, if there is one.
    pub tesseract: Option<std::path::PathBuf>,
    /// Attempts to ingest a file that a fault of the machine or a provider stopped.
    pub ingest_attempts: u32,
    /// Replies to stored messages that are made at the same time.
    pub reply_workers: usize,
    /// Webhook endpoints that are delivered to at the same time.
    pub webhook_workers: usize,
    /// Time for one attempt to deliver a webhook.
    pub webhook_timeout: Duration,
    /// Time that ended webhook deliveries are kept, to be looked at and sent again.
    pub webhooks_kept_for: Duration,
}

impl Settings {
    /// The defaults, with URLs that start with `public_url`.
    pub fn new(public_url: Url) -> Self {
        Self {
            public_url,
            domains: DomainSettings::default(),
            livekit: None,
            trusted_proxies: TrustedProxies::default(),
            key_rate: Rate::per_second(10_000),
            organisation_rate: Rate::per_second(20_000),
            refused_rate: Rate::per_minute(6000),
            session_rate: Rate::per_minute(60),
            visitor_rate: Rate::per_minute(600),
            visitor_answer_rate: Rate::per_minute(20),
            web_chat_answer_rate: Rate::per_minute(600),
            web_chat_daily_replies: 0,
            web_chat_daily_tokens: 0,
            visitor_session: Duration::from_hours(24),
            audit_retention: Duration::from_hours(24 * 365),
            api_grace: Duration::ZERO,
            visitor_grace: Duration::from_secs(30),
            stop_grace: Duration::from_secs(20),
            max_upload_bytes: 100 << 20,
            organisation_upload_bytes: 10 << 30,
            upload_valid_for: Duration::from_hours(1),
            passage_characters: 500,
            max_message_characters: 32_000,
            max_attachments: 20,
            max_image_bytes: 20 << 20,
            attachment_time: Duration::from_secs(20),
            attachment_characters: 20_000,
            context_characters: 24_000,
            history_messages: 12,
            max_concurrent_answers: 4096,
            max_broadcast_contacts: 10_000,
            tesseract: None,
            ingest_attempts: 5,
            reply_workers: 16,
            webhook_workers: 32,
            webhook_timeout: Duration::from_secs(10),
            webhooks_kept_for: Duration::from_hours(30 * 24),
        }
    }
}
