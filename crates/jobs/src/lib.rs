//! Work that outlives a request: the runner, and one file per job.
//!
//! A job's arguments are a row, added in the transaction of the change it belongs to. It may run
//! twice, so it is written to change nothing the second time. To add one: a file with a function
//! that takes the app, the tenant and the job, and one line in [`runner`]'s table.

mod deletion;
mod domain_check;
mod faq_vectors;
mod ingest;
mod re_embedding;
mod reply;
mod runner;
mod sweep;
mod webhook_delivery;

pub use runner::{Outcome, drain, run};
pub use sweep::sweep_uploads;
