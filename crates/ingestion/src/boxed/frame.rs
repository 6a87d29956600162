//! What goes through the pipes: the order in the argument, answers as length-prefixed JSON.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use crate::{Format, ParseError, ParseEvent, ParseOptions, ParseSummary};

use super::parser::ParseLimits;

/// The largest single answer; a batch of passages is far below it.
pub(super) const MAX_FRAME_BYTES: u32 = 4 << 20;

/// What the child shall do.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) format: Format,
    pub(super) options: ParseOptions,
    pub(super) limits: ParseLimits,
}

/// One answer of the child.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    Event(ParseEvent),
    Done(ParseSummary),
    Failed(ParseError),
}

/// Writes one answer: four bytes of length, most significant first, then JSON.
pub(super) fn write(output: &mut impl Write, answer: &Answer) -> io::Result<()> {
    let json = serde_json::to_vec(answer)?;
    let length = u32::try_from(json.len()).ok().filter(|length| *length <= MAX_FRAME_BYTES);
    let length = length.ok_or_else(|| io::Error::other("answer too long"))?;
    output.write_all(&length.to_be_bytes())?;
    output.write_all(&json)
}
