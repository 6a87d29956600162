//! What the product does. HTTP handlers and jobs call these functions; they call storage, models,
//! parser and index.
//!
//! A function here takes the [`App`], the [`Tenant`](parlance_domain::Tenant) or
//! [`Principal`](parlance_domain::Principal) that asks, and plain values; it decides ids and times,
//! and writes in one transaction what belongs together.

pub mod answer;
pub mod answer_end;
pub mod answer_faults;
pub mod api_keys;
mod app;
mod around;
pub mod attachments;
pub mod authenticate;
pub mod auto_reply;
#[cfg(test)]
mod background_tests;
pub mod broadcast;
pub mod chatbots;
pub mod citations;
pub mod client_address;
pub mod contact_conversations;
pub mod contact_credentials;
pub mod contacts;
pub mod conversation_search;
pub mod conversation_turn;
pub mod conversations;
pub mod css_colour;
mod database_url;
pub mod deletion;
pub mod display;
pub mod domains;
pub mod events;
pub mod faq_vectors;
pub mod faqs;
pub mod files;
pub mod first_start;
pub mod forgetting;
mod further_scopes;
mod hyde;
mod identity_token;
pub mod inboxes;
pub mod indexer;
pub mod ingest;
pub mod interrupted;
pub mod keyword;
pub mod knowledge_bases;
mod known_passages;
pub mod labels;
pub mod links;
pub mod listed_ids;
pub mod live_answer;
pub mod material;
pub mod members;
pub mod messages;
pub mod missed;
pub mod models;
pub mod open_streams;
pub mod partial_answers;
pub mod place;
pub mod prompt;
mod proposals;
pub mod providers;
pub mod query_metadata;
pub mod rate_limit;
pub mod re_embedding;
pub mod reply;
pub mod search;
pub mod secret_headers;
pub mod sender;
pub mod settings;
pub mod side_calls;
pub mod sign_auth;
mod spending;
pub mod storage_quota;
pub mod streams;
pub mod timing;
pub mod tools;
pub mod turn_plan;
pub mod uploads;
pub mod visitor_sessions;
pub mod visitor_tokens;
pub mod voice;
mod warnings;
pub mod web_chat_settings;
pub mod web_chat_theme;
pub mod web_chats;
mod webhook_body;
pub mod webhook_delivery;
mod webhook_signature;
pub mod webhooks;

pub use app::{App, Parts};
pub use parlance_retrieval::fold;
pub use warnings::Warnings;
