//! The API from outside: requests to a running server on the engine that the environment names.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the functions that tests share are tests too, which the settings of the lint do not see"
)]

mod attachment_time;
mod authorization;
mod bootstrap_key;
mod bounds;
mod chatbot_knowledge;
mod chatbots;
mod completions;
mod concurrent_changes;
mod contact_credentials;
mod contacts;
mod contract;
mod conversations;
mod custom_domains;
mod database_url;
mod events;
mod faqs;
mod further_scopes;
mod hyde;
mod idempotency;
mod inboxes;
mod injection;
mod knowledge;
mod labels;
mod malformed;
mod messages;
mod openapi;
mod organization;
mod paging;
mod providers;
mod query_metadata;
mod rate_limits;
mod reach;
mod references;
mod resuming;
mod retrieval;
mod retrieval_scope;
mod silent_visitors;
mod stored;
mod take_over;
mod tenants;
mod tools;
mod upload_quota;
mod uploads;
mod visitor_display;
mod visitor_identity;
mod visitor_limits;
mod visitor_uploads;
mod visitors;
mod voice;
mod web_chats;
mod webhooks;
mod world;
