//! The structure that every format is reduced to before it is cut into passages.

use crate::{ParseError, ProgressUnit};

/// One piece of a document, in reading order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Block {
    /// A heading; level 1 is the outermost.
    Heading { level: u8, text: String },
    /// A paragraph, a list item or a row of a table inside running text.
    Paragraph(String),
    /// A record that is a passage of its own, such as a row of a sheet.
    Record(String),
    /// What follows is on this page. Headings go on, passages do not.
    Page(Option<u32>),
    /// Forget the headings: what follows is another part, such as the next sheet or slide.
    Part,
}

/// Takes the blocks of a document, in order.
pub(crate) trait BlockSink {
    /// Takes the next block.
    fn block(&mut self, block: Block) -> Result<(), ParseError>;

    /// Tells how far the parse is.
    fn progress(&mut self, done: u64, total: u64, unit: ProgressUnit) -> Result<(), ParseError>;
}

/// Tidies white space: line ends become line feeds, lines lose their outer blanks, runs of blanks become one (a tab
/// stays, it separates cells), at most one empty line in a row, and characters that show nothing are dropped.
pub(crate) fn tidy(text: &str) -> String {
    let mut tidied = String::with_capacity(text.len());
    let mut blank = None;
    let mut feeds = 0_u32;
    for character in text.chars() {
        match character {
            '\n' | '\u{2028}' | '\u{2029}' | '\u{0B}' | '\u{0C}' => {
                feeds += 1;
                blank = None;
            }
            '\t' => blank = Some('\t'),
            ' ' | '\u{A0}' | '\r' | '\u{2007}' | '\u{202F}' => blank = blank.or(Some(' ')),
            '\u{FEFF}' | '\u{200B}' | '\u{AD}' => {}
            _ if character.is_control() => {}
            _ => {
                if feeds > 0 {
                    if !tidied.is_empty() {
                        tidied.push_str(if feeds > 1 { "\n\n" } else { "\n" });
                    }
                } else if let Some(blank) = blank
                    && !tidied.is_empty()
                {
                    tidied.push(blank);
                }
                tidied.push(character);
                (blank, feeds) = (None, 0);
            }
        }
    }
    tidied
}

#[cfg(test)]
pub(crate) mod collect {
    use super::*;

    /// Keeps the blocks for comparison in tests.
    #[derive(Default)]
    pub(crate) struct Collected(pub(crate) Vec<Block>);

    impl BlockSink for Collected {
        fn block(&mut self, block: Block) -> Result<(), ParseError> {
            self.0.push(block);
            Ok(())
        }

        fn progress(&mut self, _: u64, _: u64, _: ProgressUnit) -> Result<(), ParseError> {
            Ok(())
        }
    }

    pub(crate) fn heading(level: u8, text: &str) -> Block {
        Block::Heading { level, text: text.to_owned() }
    }

    pub(crate) fn paragraph(text: &str) -> Block {
        Block::Paragraph(text.to_owned())
    }

    pub(crate) fn record(text: &str) -> Block {
        Block::Record(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::tidy;

    #[test]
    fn white_space_is_tidied_and_nothing_else() {
        assert_eq!(tidy("  a \u{A0} b\r\n\r\n\r\n c\t d\u{0}\u{FEFF} "), "a b\n\nc\td");
        assert_eq!(tidy("\n\n"), "");
        assert_eq!(tidy("（全形　空格）"), "（全形　空格）");
    }
}
