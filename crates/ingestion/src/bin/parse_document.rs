//! The parser child as a program of its own: what the tests start, and what the server offers as a subcommand.

use std::process::ExitCode;

fn main() -> ExitCode {
    parlance_ingestion::parse_child()
}
