//! What a parse yields.

use serde::{Deserialize, Serialize};

use crate::ParseError;

/// A stretch of a document that is indexed, found and quoted as one.
///
/// The extracted text of a document is its blocks joined by line feeds; `start..end` are positions in it, counted
/// in characters, so that the text of a passage is exactly that slice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passage {
    /// Position among the passages of the document, from 0.
    pub ordinal: u32,
    /// The text itself; only white space was tidied.
    pub text: String,
    /// The headings above it, outermost first, joined by ` > `.
    pub heading: Option<String>,
    /// PDF page, slide or sheet number, from 1; for DOCX only when it has explicit page breaks.
    pub page: Option<u32>,
    /// First character.
    pub start: u64,
    /// One past the last character.
    pub end: u64,
}

/// What a progress figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProgressUnit {
    /// Pages or slides.
    Pages,
    /// Sheets of a workbook.
    Sheets,
    /// Bytes of the file.
    Bytes,
    /// Parts of a packed document, such as chapters.
    Parts,
}

/// Something that happened during a parse.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParseEvent {
    /// `done` of `total` units were read.
    Progress {
        /// Units finished.
        done: u64,
        /// Units in all.
        total: u64,
        /// What is counted.
        unit: ProgressUnit,
    },
    /// The next passages, in order.
    Passages(Vec<Passage>),
}

/// Figures of a finished parse.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParseSummary {
    /// Passages sent.
    pub passages: u32,
    /// Characters of extracted text.
    pub characters: u64,
    /// Pages, slides or sheets, when the format has them.
    pub pages: Option<u32>,
    /// Pages whose text could not be read because their fonts do not say which characters they show.
    pub unreadable_pages: u32,
}

/// Takes what a parse yields, in order.
pub trait PassageSink {
    /// Takes the next event. An error ends the parse.
    ///
    /// # Errors
    /// Whatever makes going on pointless, for example a closed pipe.
    fn event(&mut self, event: ParseEvent) -> Result<(), ParseError>;
}

impl<F: FnMut(ParseEvent) -> Result<(), ParseError>> PassageSink for F {
    fn event(&mut self, event: ParseEvent) -> Result<(), ParseError> {
        self(event)
    }
}
