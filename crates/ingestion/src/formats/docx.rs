//! Word documents: headings by style, tables by row, pages by explicit breaks.

use std::collections::HashMap;

use super::archive::Archive;
use super::xml::{Element, Xml, XmlReader};
use crate::block::{Block, BlockSink};
use crate::table::{TableText, all_words};
use crate::{ParseError, ParseOptions};

const DOCUMENT: &str = "word/document.xml";
const WHAT: &str = "a Word document";

/// Sends the blocks of a document.
pub(crate) fn parse(bytes: &[u8], options: &ParseOptions, sink: &mut dyn BlockSink) -> Result<(), ParseError> {
    let mut archive = Archive::open(bytes, options)?;
    let styles = read_styles(&mut archive)?;
    let paged = has_page_breaks(&mut archive)?;
    let page = if paged { Some(1) } else { None };
    sink.block(Block::Page(page))?;
    let reader = XmlReader::new(archive.required(DOCUMENT, WHAT)?);
    Body { styles: &styles, page, table: None, paragraphs: Vec::new(), sink }.read(reader)?;
    for notes in ["word/footnotes.xml", "word/endnotes.xml"] {
        if let Some(member) = archive.member(notes)? {
            let body = Body { styles: &styles, page: None, table: None, paragraphs: Vec::new(), sink };
            body.read(XmlReader::new(member))?;
        }
    }
    Ok(())
}

/// Whether the author placed a page break anywhere; without one nobody can say which page a text is on.
fn has_page_breaks(archive: &mut Archive<'_>) -> Result<bool, ParseError> {
    let mut reader = XmlReader::new(archive.required(DOCUMENT, WHAT)?);
    loop {
        match reader.next()? {
            Xml::Start(element) if is_page_break(&element) => return Ok(true),
            Xml::Eof => return Ok(false),
            _ => {}
        }
    }
}

fn is_page_break(element: &Element<'_>) -> bool {
    match element.name().as_str() {
        "br" => element.attribute("type").is_some_and(|kind| kind == "page"),
        "pageBreakBefore" => is_on(element),
        _ => false,
    }
}

/// Whether a switch such as `<w:b w:val="0"/>` is on.
fn is_on(element: &Element<'_>) -> bool {
    !element.attribute("val").is_some_and(|value| matches!(value.as_str(), "0" | "false" | "off"))
}

/// Heading level by style id.
type Styles = HashMap<String, u8>;

/// Finds the heading styles by outline level, by name (which is not translated) or by what they are based on.
fn read_styles(archive: &mut Archive<'_>) -> Result<Styles, ParseError> {
    #[derive(Default)]
    struct Style {
        level: Option<u8>,
        based_on: Option<String>,
    }
    let mut styles: HashMap<String, Style> = HashMap::new();
    let Some(member) = archive.member("word/styles.xml")? else { return Ok(Styles::new()) };
    let mut reader = XmlReader::new(member);
    let mut current: Option<String> = None;
    loop {
        match reader.next()? {
            Xml::Start(element) => {
                let value = element.attribute("val").unwrap_or_default();
                match element.name().as_str() {
                    "style" => {
                        current = element.attribute("styleId");
                        if let Some(id) = &current {
                            styles.insert(id.clone(), Style::default());
                        }
                    }
                    name @ ("name" | "basedOn" | "outlineLvl") => {
                        let Some(style) = current.as_ref().and_then(|id| styles.get_mut(id)) else { continue };
                        match name {
                            "name" => style.level = style.level.or_else(|| level_of_name(&value)),
                            "basedOn" => style.based_on = Some(value),
                            _ => style.level = outline_level(&value).or(style.level),
                        }
                    }
                    _ => {}
                }
            }
            Xml::End(name) if name == "style" => current = None,
            Xml::Eof => break,
            _ => {}
        }
    }
    let level = |id: &String| {
        let mut id = id;
        for _ in 0..10 {
            let style = styles.get(id)?;
            if style.level.is_some() {
                return style.level;
            }
            id = style.based_on.as_ref()?;
        }
        None
    };
    Ok(styles.keys().filter_map(|id| Some((id.clone(), level(id)?))).collect())
}

fn level_of_name(name: &str) -> Option<u8> {
    let name = name.to_ascii_lowercase();
    if name == "title" {
        return Some(1);
    }
    let number = name.strip_prefix("heading ").or_else(|| name.strip_prefix("標題 "))?;
    number.parse().ok().filter(|level| (1..=9).contains(level))
}

/// Levels 0 to 8 are headings, 9 is body text.
fn outline_level(value: &str) -> Option<u8> {
    value.parse::<u8>().ok().filter(|level| *level <= 8).map(|level| level + 1)
}

#[derive(Default)]
struct Paragraph {
    text: String,
    level: Option<u8>,
    in_list: bool,
}

#[derive(Default)]
struct Table {
    text: TableText,
    row: Vec<String>,
    cell: String,
    /// How many tables are open, this one included.
    depth: u32,
    rows: u32,
    header_row: bool,
    span: usize,
}

struct Body<'parse> {
    styles: &'parse Styles,
    page: Option<u32>,
    table: Option<Table>,
    /// Open paragraphs; a text box puts paragraphs into paragraphs.
    paragraphs: Vec<Paragraph>,
    sink: &'parse mut dyn BlockSink,
}

impl Body<'_> {
    fn read<R: std::io::Read>(mut self, mut reader: XmlReader<R>) -> Result<(), ParseError> {
        let mut in_text = false;
        loop {
            let skipped = match reader.next()? {
                Xml::Start(element) => {
                    let name = element.name();
                    in_text = name == "t";
                    // The fallback repeats what the choice before it says; separators are no notes.
                    let separator = element.attribute("type").is_some_and(|kind| kind.contains("eparator"));
                    let skipped =
                        name == "Fallback" || name == "footnote" && separator || name == "endnote" && separator;
                    if !skipped {
                        self.open(&name, &element)?;
                    }
                    skipped
                }
                Xml::End(name) => {
                    in_text = false;
                    self.close(&name)?;
                    false
                }
                Xml::Text(text) => {
                    if let (true, Some(paragraph)) = (in_text, self.paragraphs.last_mut()) {
                        paragraph.text.push_str(&text);
                    }
                    false
                }
                Xml::Eof => return Ok(()),
            };
            if skipped {
                reader.skip_element()?;
            }
        }
    }

    fn open(&mut self, name: &str, element: &Element<'_>) -> Result<(), ParseError> {
        if self.page.is_some() && is_page_break(element) {
            return self.break_page(name == "br");
        }
        match name {
            "p" => self.paragraphs.push(Paragraph::default()),
            "tbl" => {
                let table = self.table.get_or_insert_default();
                table.depth += 1;
            }
            _ => {}
        }
        if let Some(paragraph) = self.paragraphs.last_mut() {
            match name {
                "pStyle" => {
                    let style = element.attribute("val").unwrap_or_default();
                    paragraph.level = paragraph.level.or(self.styles.get(&style).copied());
                }
                "outlineLvl" => {
                    let level = element.attribute("val").unwrap_or_default();
                    paragraph.level = outline_level(&level);
                }
                "numId" => paragraph.in_list = element.attribute("val").is_some_and(|value| value != "0"),
                "tab" if element.attribute("val").is_none() => paragraph.text.push('\t'),
                "br" | "cr" => paragraph.text.push('\n'),
                "noBreakHyphen" => paragraph.text.push('-'),
                _ => {}
            }
        } else if let Some(table) = self.table.as_mut().filter(|table| table.depth == 1) {
            match name {
                "tblHeader" => table.header_row = is_on(element),
                "gridSpan" => {
                    let span = element.attribute("val").and_then(|value| value.parse().ok());
                    table.span = span.unwrap_or(1).clamp(1, 64);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn close(&mut self, name: &str) -> Result<(), ParseError> {
        match name {
            "p" => match self.paragraphs.pop() {
                Some(paragraph) => self.end_paragraph(paragraph),
                None => Ok(()),
            },
            "tc" => {
                if let Some(table) = self.table.as_mut().filter(|table| table.depth == 1) {
                    table.row.push(std::mem::take(&mut table.cell));
                    // A merged cell covers several columns of the header.
                    for _ in 1..std::mem::replace(&mut table.span, 1) {
                        table.row.push(String::new());
                    }
                }
                Ok(())
            }
            "tr" => self.end_row(),
            "tbl" => self.end_table(),
            _ => Ok(()),
        }
    }

    fn end_paragraph(&mut self, paragraph: Paragraph) -> Result<(), ParseError> {
        let text = paragraph.text;
        if text.trim().is_empty() {
            return Ok(());
        }
        let listed = paragraph.in_list && paragraph.level.is_none();
        let text = if listed { format!("- {text}") } else { text };
        if let Some(table) = &mut self.table {
            if !table.cell.is_empty() {
                table.cell.push('\n');
            }
            table.cell.push_str(&text);
            return Ok(());
        }
        match paragraph.level {
            Some(level) => self.sink.block(Block::Heading { level, text: text.replace('\n', " ") }),
            None => self.sink.block(Block::Paragraph(text)),
        }
    }

    fn end_row(&mut self) -> Result<(), ParseError> {
        let Some(table) = self.table.as_mut().filter(|table| table.depth == 1) else { return Ok(()) };
        let cells = std::mem::take(&mut table.row);
        let header = std::mem::take(&mut table.header_row) && table.rows == 0;
        table.rows += 1;
        if header && cells.len() > 1 {
            table.text.set_header(cells);
            return Ok(());
        }
        let words = all_words(&cells);
        match table.text.row(cells, words) {
            Some(line) => self.sink.block(Block::Paragraph(line)),
            None => Ok(()),
        }
    }

    fn end_table(&mut self) -> Result<(), ParseError> {
        let Some(table) = &mut self.table else { return Ok(()) };
        table.depth = table.depth.saturating_sub(1);
        if table.depth > 0 {
            return Ok(());
        }
        match self.table.take().and_then(|table| table.text.finish()) {
            Some(line) => self.sink.block(Block::Paragraph(line)),
            None => Ok(()),
        }
    }

    /// What stands before a break inside a paragraph belongs to the old page.
    fn break_page(&mut self, inside: bool) -> Result<(), ParseError> {
        if inside && let Some(paragraph) = self.paragraphs.last_mut() {
            let before = Paragraph {
                text: std::mem::take(&mut paragraph.text),
                level: paragraph.level,
                in_list: paragraph.in_list,
            };
            self.end_paragraph(before)?;
        }
        self.page = self.page.map(|page| page + 1);
        // Inside a table the row is still being read; it counts to the page on which it ends.
        self.sink.block(Block::Page(self.page))
    }
}
