//! Documents to passages.
//!
//! A document becomes blocks (headings, paragraphs, records, pages), blocks become [`Passage`]s with their heading,
//! page and position. Untrusted documents are read by [`BoxedParser`]: each in a child process of its own, which has
//! no files, no network, little memory and little time. [`parse`] does the same in the calling process, for tests and
//! fuzzing.
//!
//! To add a format: a variant and its extensions in `format.rs`, a file in `formats/` that sends blocks, one line in
//! `parse.rs`.

mod block;
mod boxed;
mod decode;
mod error;
mod format;
mod formats;
mod options;
mod packer;
mod parse;
mod passage;
mod pdf;
mod split;
mod table;

pub use boxed::{BoxedParser, BoxedParserConfig, ParseLimits, confine, limit_resources, parse_child};
pub use error::{ParseError, ParseErrorKind};
pub use format::{Format, HEAD_BYTES};
pub use options::ParseOptions;
pub use parse::parse;
pub use passage::{ParseEvent, ParseSummary, Passage, PassageSink, ProgressUnit};
