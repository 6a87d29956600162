//! Runs on SQLite, or on the PostgreSQL server that `TEST_DATABASE_URL` names; see `make test`.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first thing that is not as it should be")]

mod database;
mod world;

mod assistants;
mod channels;
mod conversation_search;
mod conversations;
mod coverage;
mod durability;
mod faqs;
mod isolation;
mod jobs;
mod knowledge;
mod members;
mod missed_messages;
mod opening;
mod organisations;
mod reach;
mod replies;
mod request_rows;
mod row_level_security;
mod row_lock;
mod schema_parity;
mod silent_contacts;
mod small_nouns;
mod statements;
mod tools;
mod waiting_statements;
mod web_chats;
mod webhooks;
mod wide_pages;
mod writer;
