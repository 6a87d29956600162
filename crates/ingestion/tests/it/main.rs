//! The parser as the product uses it: real files through the real boxed child.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test by panicking")]
#![expect(clippy::format_collect, clippy::format_push_string, reason = "making test files need not be fast")]

mod boxed;
mod fixtures;
mod hostile;
mod make_hostile;
mod make_pdf;
mod probe;
mod run;
