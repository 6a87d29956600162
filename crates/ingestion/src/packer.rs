//! Blocks to passages: packs short neighbours, cuts long ones, never crosses a heading, a page or a record.

use std::mem;

use crate::block::{Block, BlockSink, tidy};
use crate::split::split;
use crate::{ParseError, ParseEvent, ParseOptions, ParseSummary, Passage, PassageSink, ProgressUnit};

const BATCH_PASSAGES: usize = 64;
const BATCH_BYTES: usize = 128 << 10;
const HEADING_CHARACTERS: usize = 300;

/// A heading that is in force.
struct Heading {
    level: u8,
    text: String,
    /// Where its text stands in the extracted text.
    start: u64,
    /// Page it stands on.
    page: Option<u32>,
    /// Whether a passage below it carries it.
    used: bool,
}

/// Text that waits to become a passage.
#[derive(Default)]
struct Pending {
    text: String,
    characters: usize,
    start: u64,
}

/// Turns blocks into passages and hands them on in batches.
pub(crate) struct Packer<'sink> {
    sink: &'sink mut dyn PassageSink,
    limit: usize,
    max_text_characters: u64,
    max_pages: u32,
    headings: Vec<Heading>,
    page: Option<u32>,
    pages: Option<u32>,
    pending: Pending,
    /// Blocks held back while the whole document may still fit into one passage.
    held: Option<Vec<Block>>,
    held_characters: usize,
    batch: Vec<Passage>,
    batch_bytes: usize,
    ordinal: u32,
    /// Length of the extracted text so far.
    position: u64,
    unreadable_pages: u32,
}

impl<'sink> Packer<'sink> {
    pub(crate) fn new(options: &ParseOptions, sink: &'sink mut dyn PassageSink) -> Self {
        Self {
            sink,
            limit: options.passage_limit(),
            max_text_characters: options.max_text_characters,
            max_pages: options.max_pages,
            headings: Vec::new(),
            page: None,
            pages: None,
            pending: Pending::default(),
            held: Some(Vec::new()),
            held_characters: 0,
            batch: Vec::new(),
            batch_bytes: 0,
            ordinal: 0,
            position: 0,
            unreadable_pages: 0,
        }
    }

    pub(crate) fn note_unreadable_page(&mut self) {
        self.unreadable_pages += 1;
    }

    /// Sends what is left and tells the figures.
    pub(crate) fn finish(mut self) -> Result<ParseSummary, ParseError> {
        if let Some(held) = self.held.take() {
            self.place_short_document(held)?;
        }
        self.flush_pending()?;
        self.close_headings(0)?;
        self.flush_batch()?;
        Ok(ParseSummary {
            passages: self.ordinal,
            characters: self.position,
            pages: self.pages,
            unreadable_pages: self.unreadable_pages,
        })
    }

    /// A document below the limit is one passage, headings included. A title above everything else stays a heading.
    fn place_short_document(&mut self, mut blocks: Vec<Block>) -> Result<(), ParseError> {
        let headings = blocks.iter().filter(|block| matches!(block, Block::Heading { .. })).count();
        let title = match blocks.first() {
            Some(Block::Heading { level, .. }) if blocks.len() > 1 => {
                let outermost = |block: &Block| matches!(block, Block::Heading { level: other, .. } if other <= level);
                !blocks.iter().skip(1).any(outermost)
            }
            _ => false,
        };
        if headings == 0 || headings == 1 && title {
            return blocks.into_iter().try_for_each(|block| self.place(block));
        }
        if title {
            let first = blocks.remove(0);
            self.place(first)?;
        }
        for block in blocks {
            match block {
                Block::Heading { text, .. } => self.place(Block::Paragraph(text))?,
                other => self.place(other)?,
            }
        }
        Ok(())
    }

    fn place(&mut self, block: Block) -> Result<(), ParseError> {
        match block {
            Block::Heading { level, text } => self.open_heading(level, text),
            Block::Paragraph(text) => self.add_paragraph(&text),
            Block::Record(text) => {
                self.flush_pending()?;
                self.add_paragraph(&text)?;
                self.flush_pending()
            }
            Block::Page(page) => {
                self.flush_pending()?;
                self.page = page;
                Ok(())
            }
            Block::Part => {
                self.flush_pending()?;
                self.close_headings(0)
            }
        }
    }

    fn open_heading(&mut self, level: u8, text: String) -> Result<(), ParseError> {
        self.flush_pending()?;
        self.close_headings(level)?;
        let characters = text.chars().count();
        let start = self.append(characters)?;
        self.headings.push(Heading { level, text, start, page: self.page, used: false });
        Ok(())
    }

    /// Ends the headings of this level and below it. One that heads nothing becomes a passage, so that no text is
    /// lost.
    fn close_headings(&mut self, level: u8) -> Result<(), ParseError> {
        while let Some(heading) = self.headings.pop_if(|heading| heading.level >= level) {
            if heading.used {
                continue;
            }
            for upper in &mut self.headings {
                upper.used = true;
            }
            let path = self.heading_path();
            let characters: Vec<char> = heading.text.chars().collect();
            let page = mem::replace(&mut self.page, heading.page);
            for range in split(&characters, self.limit) {
                let text: String = characters.get(range.clone()).unwrap_or_default().iter().collect();
                self.emit(text, range.len(), heading.start + range.start as u64, path.clone())?;
            }
            self.page = page;
        }
        Ok(())
    }

    fn heading_path(&self) -> Option<String> {
        let mut path = String::new();
        for heading in &self.headings {
            if !path.is_empty() {
                path.push_str(" > ");
            }
            path.extend(heading.text.chars().map(|character| if character == '\n' { ' ' } else { character }));
        }
        if path.is_empty() { None } else { Some(path.chars().take(HEADING_CHARACTERS).collect()) }
    }

    /// Counts text into the extracted text and tells where it starts.
    fn append(&mut self, characters: usize) -> Result<u64, ParseError> {
        if self.position > 0 {
            self.position += 1;
        }
        let start = self.position;
        self.position += characters as u64;
        if self.position > self.max_text_characters {
            return Err(ParseError::too_large(format!(
                "The document has more than {} characters of text. Split it into smaller documents and upload those.",
                self.max_text_characters
            )));
        }
        Ok(start)
    }

    fn add_paragraph(&mut self, text: &str) -> Result<(), ParseError> {
        let characters = text.chars().count();
        let start = self.append(characters)?;
        if self.pending.characters > 0 && self.pending.characters + 1 + characters > self.limit {
            self.flush_pending()?;
        }
        if characters <= self.limit {
            return self.hold(text, characters, start);
        }
        let all: Vec<char> = text.chars().collect();
        for range in split(&all, self.limit) {
            self.flush_pending()?;
            let piece: String = all.get(range.clone()).unwrap_or_default().iter().collect();
            self.hold(&piece, range.len(), start + range.start as u64)?;
        }
        Ok(())
    }

    #[expect(clippy::unnecessary_wraps, reason = "the callers chain it with `?`")]
    fn hold(&mut self, text: &str, characters: usize, start: u64) -> Result<(), ParseError> {
        let pending = &mut self.pending;
        if pending.characters > 0 {
            pending.text.push('\n');
            pending.characters += 1;
        } else {
            pending.start = start;
        }
        pending.text.push_str(text);
        pending.characters += characters;
        Ok(())
    }

    fn flush_pending(&mut self) -> Result<(), ParseError> {
        let pending = mem::take(&mut self.pending);
        if pending.characters == 0 {
            return Ok(());
        }
        for heading in &mut self.headings {
            heading.used = true;
        }
        let path = self.heading_path();
        self.emit(pending.text, pending.characters, pending.start, path)
    }

    fn emit(&mut self, text: String, characters: usize, start: u64, path: Option<String>) -> Result<(), ParseError> {
        self.batch_bytes += text.len();
        let end = start + characters as u64;
        self.batch.push(Passage { ordinal: self.ordinal, text, heading: path, page: self.page, start, end });
        self.ordinal += 1;
        if self.batch.len() >= BATCH_PASSAGES || self.batch_bytes >= BATCH_BYTES {
            self.flush_batch()?;
        }
        Ok(())
    }

    fn flush_batch(&mut self) -> Result<(), ParseError> {
        self.batch_bytes = 0;
        if self.batch.is_empty() {
            return Ok(());
        }
        self.sink.event(ParseEvent::Passages(mem::take(&mut self.batch)))
    }

    /// Puts a block aside while the document may be a short one; hands it back when it is not.
    fn hold_back(&mut self, block: Block) -> Result<Option<Block>, ParseError> {
        let Some(held) = &mut self.held else { return Ok(Some(block)) };
        if let Block::Heading { text, .. } | Block::Paragraph(text) = &block {
            self.held_characters += text.chars().count() + 1;
            if self.held_characters <= self.limit {
                held.push(block);
                return Ok(None);
            }
        }
        let held = self.held.take().unwrap_or_default();
        for earlier in held {
            self.place(earlier)?;
        }
        Ok(Some(block))
    }
}

impl BlockSink for Packer<'_> {
    fn block(&mut self, block: Block) -> Result<(), ParseError> {
        let block = match block {
            Block::Heading { level, text } => Block::Heading { level, text: tidy(&text) },
            Block::Paragraph(text) => Block::Paragraph(tidy(&text)),
            Block::Record(text) => Block::Record(tidy(&text)),
            other => other,
        };
        match &block {
            Block::Heading { text, .. } | Block::Paragraph(text) | Block::Record(text) if text.is_empty() => {
                return Ok(());
            }
            Block::Page(Some(page)) => {
                self.pages = Some(self.pages.unwrap_or(0).max(*page));
                if *page > self.max_pages {
                    return Err(ParseError::too_large(format!(
                        "The document has more than {} pages. Split it and upload the parts.",
                        self.max_pages
                    )));
                }
            }
            _ => {}
        }
        match self.hold_back(block)? {
            Some(block) => self.place(block),
            None => Ok(()),
        }
    }

    fn progress(&mut self, done: u64, total: u64, unit: ProgressUnit) -> Result<(), ParseError> {
        self.sink.event(ParseEvent::Progress { done, total, unit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::collect::{heading, paragraph, record};

    fn pack(limit: u32, blocks: &[Block]) -> Vec<Passage> {
        let mut passages = Vec::new();
        let mut sink = |event| {
            if let ParseEvent::Passages(batch) = event {
                passages.extend(batch);
            }
            Ok(())
        };
        let options = ParseOptions { max_passage_characters: limit, ..ParseOptions::default() };
        let mut packer = Packer::new(&options, &mut sink);
        for block in blocks {
            packer.block(block.clone()).unwrap();
        }
        packer.finish().unwrap();
        let texts: Vec<String> = blocks
            .iter()
            .filter_map(|block| match block {
                Block::Heading { text, .. } | Block::Paragraph(text) | Block::Record(text) => Some(text.clone()),
                _ => None,
            })
            .collect();
        let all: Vec<char> = texts.join("\n").chars().collect();
        for (index, passage) in passages.iter().enumerate() {
            let range = usize::try_from(passage.start).unwrap()..usize::try_from(passage.end).unwrap();
            assert_eq!(all[range].iter().collect::<String>(), passage.text);
            assert_eq!(passage.ordinal as usize, index);
            assert!(passage.text.chars().count() <= limit as usize);
        }
        passages
    }

    fn texts(passages: &[Passage]) -> Vec<&str> {
        passages.iter().map(|passage| passage.text.as_str()).collect()
    }

    #[test]
    fn a_short_document_is_one_passage() {
        let passages = pack(500, &[heading(1, "規則"), paragraph("甲"), heading(2, "細則"), paragraph("乙")]);
        assert_eq!(texts(&passages), ["甲\n細則\n乙"]);
        assert_eq!(passages[0].heading.as_deref(), Some("規則"));
        let passages = pack(500, &[paragraph("前言"), heading(1, "規則"), paragraph("甲")]);
        assert_eq!(texts(&passages), ["前言\n規則\n甲"]);
        assert_eq!(passages[0].heading, None);
        assert_eq!(texts(&pack(500, &[heading(1, "只有標題")])), ["只有標題"]);
    }

    #[test]
    fn headings_pages_and_records_are_borders() {
        let long = "這是一段說明文字。".repeat(5);
        let passages = pack(
            50,
            &[
                heading(1, "甲章"),
                paragraph(&long),
                heading(2, "一節"),
                paragraph("短一"),
                paragraph("短二"),
                Block::Page(Some(2)),
                paragraph("短三"),
                heading(1, "乙章"),
                record("列一"),
                record("列二"),
            ],
        );
        assert_eq!(texts(&passages), [long.as_str(), "短一\n短二", "短三", "列一", "列二"]);
        let paths: Vec<_> = passages.iter().map(|passage| passage.heading.as_deref().unwrap()).collect();
        assert_eq!(paths, ["甲章", "甲章 > 一節", "甲章 > 一節", "乙章", "乙章"]);
        let pages: Vec<_> = passages.iter().map(|passage| passage.page).collect();
        assert_eq!(pages, [None, None, Some(2), Some(2), Some(2)]);
    }

    #[test]
    fn long_paragraphs_are_cut_and_the_rest_is_packed_on() {
        let long = "這一句正好有十個字。".repeat(9);
        let passages = pack(40, &[paragraph(&long), paragraph("尾巴。")]);
        let lengths: Vec<_> = passages.iter().map(|passage| passage.text.chars().count()).collect();
        assert_eq!(lengths, [40, 40, 14]);
    }

    #[test]
    fn a_heading_without_text_is_not_lost() {
        let long = "字".repeat(45);
        let passages = pack(50, &[heading(1, "空章"), heading(1, "實章"), paragraph(&long), heading(2, "尾節")]);
        assert_eq!(texts(&passages), ["空章", long.as_str(), "尾節"]);
        assert_eq!(passages[2].heading.as_deref(), Some("實章"));
    }

    #[test]
    fn too_much_text_is_an_error() {
        let mut sink = |_| Ok(());
        let options = ParseOptions { max_text_characters: 100, ..ParseOptions::default() };
        let mut packer = Packer::new(&options, &mut sink);
        let error = packer.block(paragraph(&"x".repeat(600))).unwrap_err();
        assert_eq!(error.kind, crate::ParseErrorKind::TooLarge);
    }
}
