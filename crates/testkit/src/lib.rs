//! The whole product in a test: a real database (SQLite, or the PostgreSQL of `TEST_DATABASE_URL`),
//! real files, indexes and parser, scripted models, and a server on a port of its own.
//!
//! [`TestApp::start`] is the plain one; [`TestApp::builder`] brings models, limits or a clock.
//! Requests are made by an [`Actor`], who has a key. Nothing runs in the background: a test calls
//! [`TestApp::run_jobs`] when it wants the effects of what it did.

mod actor;
mod answer;
mod app;
mod builder;
mod dns;
mod events;
mod files;
mod parser_program;
mod receiver;

pub use actor::Actor;
pub use answer::Answer;
pub use app::TestApp;
pub use builder::Builder;
pub use dns::NameServer;
pub use events::{Event, Events, Frames};
pub use parlance_domain::ManualClock;
pub use parlance_llm::scripted::{Script, ScriptedChat, ScriptedEmbedding, ScriptedRerank, Step};
pub use receiver::{RECEIVERS_WORDS, Reaction, Received, Receiver};
pub use reqwest::Method;
