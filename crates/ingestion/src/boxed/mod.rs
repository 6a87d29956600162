//! Parsing in a disposable child process that can do nothing but read its input and write its output.

mod child;
mod confine;
mod frame;
mod parser;
mod recognise;

pub use child::parse_child;
pub use confine::{confine, limit_resources};
pub use parser::{BoxedParser, BoxedParserConfig, ParseLimits};
