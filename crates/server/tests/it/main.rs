//! The program itself: started, used over HTTP, stopped, killed and started again.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test by panicking")]
#![expect(clippy::format_collect, clippy::format_push_string, reason = "making test files need not be fast")]

mod architecture;
mod backup;
mod client;
mod configured_model;
mod directory;
mod first_start;
mod formats;
mod hostile;
mod https;
mod idempotency;
mod index;
mod install;
mod keys;
mod ledger;
mod model;
mod settings;
mod stopping;
mod traces;
mod webhooks;

// Documents that the tests of the parser make: good ones and hostile ones.
#[path = "../../../ingestion/tests/it/make_hostile.rs"]
mod make_hostile;
#[path = "../../../ingestion/tests/it/make_pdf.rs"]
mod make_pdf;
