//! SQL on SQLite and PostgreSQL: one module per noun, one SQL text for both engines.
//!
//! * [`Db`] opens the database, migrates it and hands out transactions.
//! * Functions of a noun take a [`Tx`] and, for tenant data, the [`Tenant`](parlance_domain::Tenant)
//!   that asks. There is no way to find a row by its id alone.
//! * "Not found" is `Ok(None)`.
//!
//! To add a table: the same numbered migration in `migrations/sqlite` and `migrations/postgres`, a
//! module with its row struct and functions, and a story in `tests/it` that runs each function; the
//! suite runs on both engines.

pub mod api_keys;
pub mod attachments;
pub mod audit;
pub mod blobs;
mod by_ids;
pub mod chatbots;
pub mod contact_credentials;
pub mod contacts;
pub mod conversation_lists;
pub mod conversation_terms;
pub mod conversations;
pub mod custom_domains;
mod db;
pub mod domain_checks;
pub mod domain_claims;
pub mod faqs;
pub mod files;
pub mod groups;
pub mod idempotency;
pub mod inboxes;
pub mod index_changes;
pub mod jobs;
mod key_backup;
pub mod knowledge_bases;
pub mod labels;
pub mod members;
pub mod message_lists;
pub mod messages;
mod migrate;
pub mod missed_messages;
pub mod organisations;
mod page;
pub mod passages;
pub mod providers;
mod reach;
pub mod records;
pub mod replies;
pub mod request_scope;
pub mod row_lock;
pub mod secrets;
pub mod silent_contacts;
pub mod snapshot;
mod sqlite_tx;
#[cfg(feature = "testing")]
pub mod testing;
pub mod tools;
mod tx;
pub mod uploads;
pub mod visitor_sessions;
pub mod web_chat_reservations;
pub mod web_chat_usage;
pub mod web_chats;
pub mod webhooks;
mod writer;

pub use db::{Db, DbConfig, OpenError, Scope};
pub use page::{Listing, Page, Part};
pub use tx::Tx;
