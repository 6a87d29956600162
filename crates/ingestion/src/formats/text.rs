//! Plain text: paragraphs are separated by empty lines.

use crate::ParseError;
use crate::block::{Block, BlockSink};

/// Sends the paragraphs of `text`.
pub(crate) fn parse(text: &str, sink: &mut dyn BlockSink) -> Result<(), ParseError> {
    let mut paragraph = String::new();
    for line in text.lines().flat_map(|line| line.split(['\u{0C}', '\r'])) {
        if line.trim().is_empty() {
            flush(&mut paragraph, sink)?;
        } else {
            if !paragraph.is_empty() {
                paragraph.push('\n');
            }
            paragraph.push_str(line);
            // One paragraph may be the whole file; do not hold all of it twice.
            if paragraph.len() > (1 << 20) {
                flush(&mut paragraph, sink)?;
            }
        }
    }
    flush(&mut paragraph, sink)
}

fn flush(paragraph: &mut String, sink: &mut dyn BlockSink) -> Result<(), ParseError> {
    if paragraph.is_empty() {
        return Ok(());
    }
    sink.block(Block::Paragraph(std::mem::take(paragraph)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::collect::{Collected, paragraph};

    #[test]
    fn empty_lines_separate_paragraphs() {
        let mut collected = Collected::default();
        parse("第一行\n第二行\r\n\r\n  \n第二段\n", &mut collected).unwrap();
        assert_eq!(collected.0, [paragraph("第一行\n第二行"), paragraph("第二段")]);
    }
}
