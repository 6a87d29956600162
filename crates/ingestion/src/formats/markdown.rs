//! Markdown to blocks.

use std::mem;

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use crate::ParseError;
use crate::block::{Block, BlockSink};
use crate::formats::html;
use crate::table::TableText;

/// Sends the blocks of a Markdown text.
pub(crate) fn parse(text: &str, sink: &mut dyn BlockSink) -> Result<(), ParseError> {
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_YAML_STYLE_METADATA_BLOCKS;
    let mut state = State {
        line: String::new(),
        marker: None,
        lists: Vec::new(),
        links: Vec::new(),
        html: None,
        table: None,
        row: Vec::new(),
    };
    for event in Parser::new_ext(text, options) {
        state.event(event, sink)?;
    }
    state.flush(sink)
}

struct State {
    line: String,
    marker: Option<String>,
    lists: Vec<Option<u64>>,
    links: Vec<(String, usize)>,
    html: Option<String>,
    table: Option<TableText>,
    row: Vec<String>,
}

impl State {
    fn event(&mut self, event: Event<'_>, sink: &mut dyn BlockSink) -> Result<(), ParseError> {
        match event {
            Event::Start(tag) => self.start(tag, sink)?,
            Event::End(end) => self.end(end, sink)?,
            Event::Text(text) | Event::Code(text) | Event::InlineMath(text) | Event::DisplayMath(text) => {
                self.line.push_str(&text);
            }
            Event::Html(text) => match &mut self.html {
                Some(html) => html.push_str(&text),
                None => self.line.push_str(&text),
            },
            Event::InlineHtml(tag) => {
                if tag.starts_with("<br") {
                    self.line.push('\n');
                }
            }
            Event::SoftBreak | Event::HardBreak => self.line.push('\n'),
            Event::Rule => self.flush(sink)?,
            Event::TaskListMarker(done) => self.line.push_str(if done { "[x] " } else { "[ ] " }),
            Event::FootnoteReference(label) => {
                self.line.push_str("[^");
                self.line.push_str(&label);
                self.line.push(']');
            }
        }
        Ok(())
    }

    fn start(&mut self, tag: Tag<'_>, sink: &mut dyn BlockSink) -> Result<(), ParseError> {
        match tag {
            Tag::HtmlBlock => {
                self.flush(sink)?;
                self.html = Some(String::new());
            }
            Tag::List(number) => {
                self.flush(sink)?;
                self.lists.push(number);
            }
            Tag::Item => {
                self.flush(sink)?;
                self.marker = Some(match self.lists.last_mut() {
                    Some(Some(number)) => {
                        *number += 1;
                        format!("{}. ", *number - 1)
                    }
                    _ => "- ".to_owned(),
                });
            }
            Tag::FootnoteDefinition(label) => {
                self.flush(sink)?;
                self.marker = Some(format!("[^{label}]: "));
            }
            Tag::Table(_) => {
                self.flush(sink)?;
                self.table = Some(TableText::default());
            }
            Tag::Link { dest_url, .. } => self.links.push((dest_url.into_string(), self.line.len())),
            Tag::Paragraph | Tag::Heading { .. } | Tag::CodeBlock(_) | Tag::BlockQuote(_) | Tag::MetadataBlock(_) => {
                self.flush(sink)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, end: TagEnd, sink: &mut dyn BlockSink) -> Result<(), ParseError> {
        match end {
            TagEnd::Heading(level) => {
                let text = mem::take(&mut self.line).replace('\n', " ");
                self.marker = None;
                sink.block(Block::Heading { level: level as u8, text })?;
            }
            TagEnd::HtmlBlock => {
                let html = self.html.take().unwrap_or_default();
                html::parse(&html, false, sink)?;
            }
            TagEnd::List(_) => {
                self.flush(sink)?;
                self.lists.pop();
            }
            TagEnd::TableCell => {
                let cell = mem::take(&mut self.line);
                self.row.push(cell);
            }
            TagEnd::TableHead => {
                let cells = mem::take(&mut self.row);
                if let Some(table) = &mut self.table
                    && cells.iter().any(|cell| !cell.trim().is_empty())
                {
                    table.set_header(cells);
                }
            }
            TagEnd::TableRow => {
                let cells = mem::take(&mut self.row);
                if let Some(line) = self.table.as_mut().and_then(|table| table.row(cells, false)) {
                    sink.block(Block::Paragraph(line))?;
                }
            }
            TagEnd::Table => self.table = None,
            TagEnd::Link => {
                // The address is content too: people ask where something is.
                if let Some((address, start)) = self.links.pop()
                    && address.contains(':')
                    && self.line.get(start..).is_some_and(|label| label.trim() != address)
                {
                    self.line.push_str(" (");
                    self.line.push_str(&address);
                    self.line.push(')');
                }
            }
            TagEnd::Paragraph | TagEnd::Item | TagEnd::CodeBlock | TagEnd::BlockQuote(_) | TagEnd::MetadataBlock(_) => {
                self.flush(sink)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn flush(&mut self, sink: &mut dyn BlockSink) -> Result<(), ParseError> {
        let text = mem::take(&mut self.line);
        if text.trim().is_empty() {
            return Ok(());
        }
        let marker = self.marker.take().unwrap_or_default();
        sink.block(Block::Paragraph(marker + &text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::collect::{Collected, heading, paragraph};

    fn blocks(text: &str) -> Vec<Block> {
        let mut collected = Collected::default();
        parse(text, &mut collected).unwrap();
        collected.0
    }

    #[test]
    fn structure_is_kept() {
        assert_eq!(
            blocks(
                "# 標題 `a`\n\n第一行\n第二行 **粗** [官網](https://example.com)\n\n- 一\n  - 二\n\n1. 甲\n2. 乙\n\n\
                 | 方案 | 價格 |\n|---|---|\n| 入門 | 100 |\n\n```\nlet a = 1;\n```\n\n<div>塊 <b>內</b></div>\n"
            ),
            [
                heading(1, "標題 a"),
                paragraph("第一行\n第二行 粗 官網 (https://example.com)"),
                paragraph("- 一"),
                paragraph("- 二"),
                paragraph("1. 甲"),
                paragraph("2. 乙"),
                paragraph("方案: 入門; 價格: 100"),
                paragraph("let a = 1;\n"),
                paragraph("塊 內"),
            ]
        );
    }
}
