//! The child's side: limits itself, starts itself afresh under them, shuts itself in, reads, answers.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitCode};

use super::confine::{confine, limit_resources};
use super::frame::{self, Answer, Order};
use crate::{ParseError, ParseErrorKind, ParseEvent, ParseOptions, ParseSummary, parse};

/// Marks the second start, when the resource limits are already in force.
const LIMITED: &str = "--limited";

/// The whole life of the parser process. A program offers it under a hidden subcommand and calls it first thing in
/// `main`, before a runtime or any thread exists; the arguments after the subcommand are its own.
///
/// It starts its own program a second time, so that the memory limit holds from the first allocation on: an
/// allocator that reserved its arenas before the limit would not feel it.
pub fn parse_child() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let Some((order_text, before)) = arguments.split_last() else { return ExitCode::from(2) };
    let Ok(order) = serde_json::from_str::<Order>(order_text) else { return ExitCode::from(2) };
    let mut output = Output { pipe: io::stdout() };
    if before.last().map(String::as_str) != Some(LIMITED) {
        let error = start_limited(before, order_text, &order);
        output.answer(&Answer::Failed(error));
        return ExitCode::FAILURE;
    }
    let result = catch_unwind(AssertUnwindSafe(|| read_document(&order, &mut output))).unwrap_or_else(|_| {
        Err(ParseError::new(
            ParseErrorKind::Crashed,
            "The document made the parser fail, so it is probably damaged. Open it, save it again and upload it.",
        ))
    });
    let answer = match result {
        Ok(summary) => Answer::Done(summary),
        Err(error) => Answer::Failed(error),
    };
    if output.answer(&answer) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Only returns when something is wrong.
fn start_limited(before: &[String], order_text: &str, order: &Order) -> ParseError {
    if let Err(error) = limit_resources(&order.limits) {
        return error;
    }
    let arguments = before.iter().skip(1);
    let error = Command::new("/proc/self/exe").args(arguments).arg(LIMITED).arg(order_text).env_clear().exec();
    ParseError::internal(format!("The parser could not start itself under its limits: {error}."))
}

fn read_document(order: &Order, output: &mut Output) -> Result<ParseSummary, ParseError> {
    let input = io::stdin().as_fd().try_clone_to_owned().map_err(|error| unreadable(&error))?;
    confine()?;
    let bytes = read_input(File::from(input), &order.options)?;
    let mut sink = |event: ParseEvent| {
        if output.answer(&Answer::Event(event)) {
            Ok(())
        } else {
            Err(ParseError::new(ParseErrorKind::Cancelled, "Nobody waits for the document any more."))
        }
    };
    parse(order.format, &bytes, &order.options, &mut sink)
}

fn unreadable(error: &io::Error) -> ParseError {
    ParseError::internal(format!("The stored file could not be read: {error}."))
}

fn read_input(mut file: File, options: &ParseOptions) -> Result<Vec<u8>, ParseError> {
    file.seek(SeekFrom::Start(0)).map_err(|error| unreadable(&error))?;
    let mut bytes = Vec::new();
    // One byte more than allowed, so that the parser sees and reports a file that is too large.
    file.take(options.max_file_bytes.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| {
        if error.kind() == io::ErrorKind::OutOfMemory {
            ParseError::new(ParseErrorKind::OutOfMemory, super::parser::OUT_OF_MEMORY)
        } else {
            unreadable(&error)
        }
    })?;
    Ok(bytes)
}

struct Output {
    pipe: io::Stdout,
}

impl Output {
    /// Sends an answer; false when the pipe is closed.
    fn answer(&mut self, answer: &Answer) -> bool {
        let mut pipe = io::BufWriter::with_capacity(256 << 10, self.pipe.lock());
        frame::write(&mut pipe, answer).and_then(|()| pipe.flush()).is_ok()
    }
}
