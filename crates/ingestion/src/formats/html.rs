//! Web pages and EPUB chapters. Works on the token stream without a tree, so nesting depth costs nothing.

use std::cell::RefCell;
use std::mem;

use encoding_rs::Encoding;
use html5ever::tendril::StrTendril;
use html5ever::tokenizer::states::RawKind;
use html5ever::tokenizer::{BufferQueue, Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts};

use crate::ParseError;
use crate::block::{Block, BlockSink};
use crate::table::TableText;

/// The encoding that the page names in its first kilobytes, if any.
pub(crate) fn declared_encoding(bytes: &[u8]) -> Option<&'static Encoding> {
    let head = bytes.get(..bytes.len().min(2048)).unwrap_or(bytes).to_ascii_lowercase();
    let at = head.windows(8).position(|window| window == b"charset=")? + 8;
    let label: Vec<u8> = head
        .iter()
        .skip(at)
        .skip_while(|byte| matches!(byte, b'"' | b'\'' | b' '))
        .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b':'))
        .copied()
        .collect();
    Encoding::for_label(&label)
}

/// Sends the text of a page. `xhtml` makes `<script/>` an empty element.
///
/// Returns the content of `<title>`.
pub(crate) fn parse(text: &str, xhtml: bool, sink: &mut dyn BlockSink) -> Result<Option<String>, ParseError> {
    let page = Page { state: RefCell::new(State::default()), xhtml };
    let tokenizer = Tokenizer::new(page, TokenizerOpts::default());
    let queue = BufferQueue::default();
    // In slices, so that blocks leave while the page is read.
    let mut rest = text;
    while !rest.is_empty() {
        let mut cut = rest.len().min(64 << 10);
        while !rest.is_char_boundary(cut) {
            cut += 1;
        }
        let (slice, remaining) = rest.split_at(cut);
        rest = remaining;
        queue.push_back(StrTendril::from_slice(slice));
        while !queue.is_empty() {
            // A stop at a script is no reason to stop here: scripts are not run.
            drop(tokenizer.feed(&queue));
        }
        tokenizer.sink.drain(sink)?;
    }
    tokenizer.end();
    tokenizer.sink.state.borrow_mut().finish();
    tokenizer.sink.drain(sink)?;
    let title = mem::take(&mut tokenizer.sink.state.borrow_mut().title);
    let title = title.split_whitespace().collect::<Vec<_>>().join(" ");
    Ok(if title.is_empty() { None } else { Some(title) })
}

struct Page {
    state: RefCell<State>,
    xhtml: bool,
}

impl Page {
    fn drain(&self, sink: &mut dyn BlockSink) -> Result<(), ParseError> {
        let blocks = mem::take(&mut self.state.borrow_mut().blocks);
        blocks.into_iter().try_for_each(|block| sink.block(block))
    }
}

impl TokenSink for Page {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        let mut state = self.state.borrow_mut();
        match token {
            Token::CharacterTokens(text) => state.text(&text),
            Token::TagToken(tag) => {
                let empty = self.xhtml && tag.self_closing;
                match tag.kind {
                    TagKind::StartTag => {
                        state.open(&tag);
                        if empty {
                            state.close(&tag.name);
                            return TokenSinkResult::Continue;
                        }
                        return match &*tag.name {
                            "script" => TokenSinkResult::RawData(RawKind::ScriptData),
                            "style" | "xmp" | "iframe" | "noembed" | "noframes" => {
                                TokenSinkResult::RawData(RawKind::Rawtext)
                            }
                            "title" | "textarea" => TokenSinkResult::RawData(RawKind::Rcdata),
                            _ => TokenSinkResult::Continue,
                        };
                    }
                    TagKind::EndTag => state.close(&tag.name),
                }
            }
            _ => {}
        }
        TokenSinkResult::Continue
    }
}

/// What the text that is being read belongs to.
#[derive(Default, PartialEq, Eq, Clone, Copy)]
enum Inside {
    #[default]
    Body,
    Heading(u8),
    Title,
}

#[derive(Default)]
struct State {
    blocks: Vec<Block>,
    line: String,
    /// White space was read after the last character of `line`.
    space: bool,
    inside: Inside,
    /// Name of the element whose content is not text, and how often it is open.
    hidden: Option<(String, u32)>,
    preformatted: u32,
    /// Numbers of the open lists; `None` for lists with bullets.
    lists: Vec<Option<u64>>,
    marker: Option<String>,
    table: Option<Table>,
    title: String,
}

#[derive(Default)]
struct Table {
    text: TableText,
    cells: Vec<String>,
    in_cell: bool,
    /// All cells of the row so far are `th`.
    header_row: bool,
    rows: u32,
}

const MAX_LISTS: usize = 64;

impl State {
    fn text(&mut self, text: &str) {
        if self.hidden.is_some() {
            return;
        }
        if self.inside == Inside::Title {
            if self.title.len() < 1000 {
                self.title.push_str(text);
            }
            return;
        }
        if self.preformatted > 0 {
            self.line.push_str(text);
            return;
        }
        for character in text.chars() {
            if matches!(character, ' ' | '\t' | '\n' | '\r' | '\u{0C}') {
                self.space = true;
            } else {
                self.push_space();
                self.line.push(character);
            }
        }
    }

    fn push_space(&mut self) {
        if mem::take(&mut self.space) && !self.line.is_empty() && !self.line.ends_with('\n') {
            self.line.push(' ');
        }
    }

    fn open(&mut self, tag: &Tag) {
        let name: &str = &tag.name;
        if let Some((hidden, depth)) = &mut self.hidden {
            *depth += u32::from(hidden == name);
            return;
        }
        match name {
            "script" | "style" | "template" | "svg" | "noscript" | "iframe" | "object" | "noembed" | "noframes" => {
                self.hidden = Some((name.to_owned(), 1));
            }
            "title" => self.inside = Inside::Title,
            "br" => {
                self.line.push('\n');
                self.space = false;
            }
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" if !self.in_cell() => {
                self.flush();
                self.inside = Inside::Heading(name.as_bytes().get(1).map_or(1, |digit| digit.saturating_sub(b'0')));
            }
            "pre" => {
                self.block_border();
                self.preformatted += 1;
            }
            "ul" | "ol" | "menu" => {
                self.block_border();
                if self.lists.len() < MAX_LISTS {
                    self.lists.push(if name == "ol" { Some(1) } else { None });
                }
            }
            "li" => {
                self.block_border();
                self.marker = Some(match self.lists.last_mut() {
                    Some(Some(number)) => {
                        *number += 1;
                        format!("{}. ", *number - 1)
                    }
                    _ => "- ".to_owned(),
                });
            }
            "table" => self.open_table(),
            "tr" => self.end_row(),
            "td" | "th" => self.open_cell(name == "th"),
            "img" => {
                let alternative = tag.attrs.iter().find(|attribute| &*attribute.name.local == "alt");
                if let Some(alternative) = alternative {
                    self.text(&alternative.value);
                }
            }
            _ if is_block(name) => self.block_border(),
            _ => {}
        }
    }

    fn close(&mut self, name: &str) {
        if let Some((hidden, depth)) = &mut self.hidden {
            if hidden == name {
                *depth -= 1;
                if *depth == 0 {
                    self.hidden = None;
                }
            }
            return;
        }
        match name {
            "title" if self.inside == Inside::Title => self.inside = Inside::Body,
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => self.flush(),
            "pre" => {
                self.block_border();
                self.preformatted = self.preformatted.saturating_sub(1);
            }
            "ul" | "ol" | "menu" => {
                self.block_border();
                self.lists.pop();
            }
            "td" | "th" => self.close_cell(),
            "tr" => self.end_row(),
            "table" => self.close_table(),
            _ if is_block(name) => self.block_border(),
            _ => {}
        }
    }

    fn in_cell(&self) -> bool {
        self.table.as_ref().is_some_and(|table| table.in_cell)
    }

    /// Between two blocks; inside a cell that is only a line break.
    fn block_border(&mut self) {
        if self.in_cell() {
            if !self.line.is_empty() && !self.line.ends_with('\n') {
                self.line.push('\n');
            }
            self.space = false;
        } else {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let text = mem::take(&mut self.line);
        self.space = false;
        let inside = if self.inside == Inside::Title { Inside::Title } else { mem::take(&mut self.inside) };
        if text.trim().is_empty() {
            return;
        }
        let marker = self.marker.take().unwrap_or_default();
        self.blocks.push(match inside {
            Inside::Heading(level) => Block::Heading { level, text: text.replace('\n', " ") },
            _ => Block::Paragraph(marker + &text),
        });
    }

    fn open_table(&mut self) {
        // A table in a cell means the outer one is only layout: its cells so far are paragraphs.
        if let Some(outer) = self.table.take() {
            self.blocks.extend(outer.cells.into_iter().map(Block::Paragraph));
        }
        self.flush();
        self.table = Some(Table::default());
    }

    fn close_table(&mut self) {
        self.end_row();
        if let Some(table) = self.table.take()
            && let Some(line) = table.text.finish()
        {
            self.blocks.push(Block::Paragraph(line));
        }
        self.flush();
    }

    fn open_cell(&mut self, header: bool) {
        self.close_cell();
        self.flush();
        if let Some(table) = &mut self.table {
            table.header_row = header && (table.cells.is_empty() || table.header_row);
            table.in_cell = true;
        }
    }

    fn close_cell(&mut self) {
        if !self.in_cell() {
            return self.flush();
        }
        let text = mem::take(&mut self.line);
        (self.space, self.marker) = (false, None);
        if let Some(table) = &mut self.table {
            table.in_cell = false;
            table.cells.push(text);
        }
    }

    fn end_row(&mut self) {
        self.close_cell();
        let Some(table) = &mut self.table else { return };
        let cells = mem::take(&mut table.cells);
        if cells.is_empty() {
            return;
        }
        let first = table.rows == 0;
        table.rows += 1;
        if first && table.header_row && cells.len() > 1 {
            table.text.set_header(cells);
            return;
        }
        let words = crate::table::all_words(&cells);
        if let Some(line) = table.text.row(cells, words) {
            self.blocks.push(Block::Paragraph(line));
        }
    }

    fn finish(&mut self) {
        self.close_table();
        self.flush();
    }
}

fn is_block(name: &str) -> bool {
    matches!(
        name,
        "p" | "div"
            | "section"
            | "article"
            | "header"
            | "footer"
            | "main"
            | "nav"
            | "aside"
            | "blockquote"
            | "hr"
            | "dl"
            | "dt"
            | "dd"
            | "figure"
            | "figcaption"
            | "address"
            | "form"
            | "fieldset"
            | "legend"
            | "body"
            | "head"
            | "html"
            | "details"
            | "summary"
            | "caption"
            | "option"
            | "select"
            | "center"
            | "thead"
            | "tbody"
            | "tfoot"
            | "textarea"
            | "button"
            | "label"
            | "title"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::collect::{Collected, heading, paragraph};

    fn blocks(text: &str) -> Vec<Block> {
        let mut collected = Collected::default();
        parse(text, false, &mut collected).unwrap();
        collected.0
    }

    #[test]
    fn structure_is_kept() {
        assert_eq!(
            blocks(
                "<html><head><title>T</title><style>p{}</style></head><body><h1>退貨\n政策</h1><p>七天 <b>內</b>可退。<br>附發票</p>\
                 <script>if (a<b) alert('<p>x</p>')</script><ul><li>一<li>二</ul><ol><li>甲</li></ol>\
                 <table><tr><th>方案</th><th>價格</th></tr><tr><td>入門</td><td>1 &lt; 2</td></tr></table>尾&amp;巴"
            ),
            [
                heading(1, "退貨 政策"),
                paragraph("七天 內可退。\n附發票"),
                paragraph("- 一"),
                paragraph("- 二"),
                paragraph("1. 甲"),
                paragraph("方案: 入門; 價格: 1 < 2"),
                paragraph("尾&巴"),
            ]
        );
    }

    #[test]
    fn layout_tables_are_paragraphs() {
        assert_eq!(
            blocks("<table><tr><td>左</td><td>前<table><tr><td>a</td><td>1</td></tr></table>後</td></tr></table>"),
            [paragraph("左"), paragraph("前"), paragraph("a; 1"), paragraph("後")]
        );
    }

    #[test]
    fn three_hundred_thousand_levels_are_only_text() {
        let deep = ["<div>".repeat(300_000), "底".to_owned()].concat();
        assert_eq!(blocks(&deep), [paragraph("底")]);
    }

    #[test]
    fn the_declared_encoding_is_found() {
        let page = b"<meta http-equiv=content-type content=\"text/html; charset=Big5\">";
        assert_eq!(declared_encoding(page), Some(encoding_rs::BIG5));
        assert_eq!(declared_encoding(b"<p>"), None);
    }
}
