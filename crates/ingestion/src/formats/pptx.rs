//! Presentations: each slide is a page; its title is a heading; speaker notes follow its text.

use std::io::Read;
use std::mem;

use super::archive::Archive;
use super::relationships;
use super::xml::{Xml, XmlReader};
use crate::block::{Block, BlockSink};
use crate::table::{TableText, all_words};
use crate::{ParseError, ParseOptions, ProgressUnit};

const PRESENTATION: &str = "ppt/presentation.xml";

/// Sends the slides in their order.
pub(crate) fn parse(bytes: &[u8], options: &ParseOptions, sink: &mut dyn BlockSink) -> Result<(), ParseError> {
    let mut archive = Archive::open(bytes, options)?;
    let order = slide_order(&mut archive)?;
    let links = relationships::of_part(&mut archive, PRESENTATION)?;
    let slides: Vec<&str> = order
        .iter()
        .filter_map(|id| links.iter().find(|link| link.id == *id && link.kind == "slide"))
        .map(|link| link.target.as_str())
        .collect();
    for (part, number) in slides.iter().zip(1_u32..) {
        sink.block(Block::Part)?;
        sink.block(Block::Page(Some(number)))?;
        let Some(member) = archive.member(part)? else { continue };
        let slide = read_shapes(XmlReader::new(member))?;
        if !slide.title.is_empty() {
            sink.block(Block::Heading { level: 1, text: slide.title })?;
        }
        slide.blocks.into_iter().try_for_each(|block| sink.block(block))?;
        let notes = relationships::of_part(&mut archive, part)?.into_iter().find(|link| link.kind == "notesSlide");
        if let Some(notes) = notes
            && let Some(member) = archive.member(&notes.target)?
        {
            let notes = read_shapes(XmlReader::new(member))?;
            notes.blocks.into_iter().try_for_each(|block| sink.block(block))?;
        }
        sink.progress(u64::from(number), slides.len() as u64, ProgressUnit::Pages)?;
    }
    Ok(())
}

/// The link ids of the slides as they are shown.
fn slide_order(archive: &mut Archive<'_>) -> Result<Vec<String>, ParseError> {
    let mut reader = XmlReader::new(archive.required(PRESENTATION, "a PowerPoint presentation")?);
    let mut order = Vec::new();
    loop {
        match reader.next()? {
            Xml::Start(element) if element.name() == "sldId" => order.extend(element.prefixed_attribute("r:id")),
            Xml::Eof => return Ok(order),
            _ => {}
        }
    }
}

/// What the shapes of a slide say.
#[derive(Default)]
struct Shapes {
    title: String,
    blocks: Vec<Block>,
}

/// Reads the shapes of a slide or of its notes, without the date, the number, the header and the footer.
fn read_shapes<R: Read>(mut reader: XmlReader<R>) -> Result<Shapes, ParseError> {
    let mut shapes = Shapes::default();
    let mut placeholder: Option<String> = None;
    let mut table: Option<TableText> = None;
    let (mut paragraph, mut cell, mut row) = (String::new(), String::new(), Vec::new());
    let mut in_text = false;
    loop {
        let mut skip = false;
        match reader.next()? {
            Xml::Start(element) => match element.name().as_str() {
                "sp" | "graphicFrame" => placeholder = None,
                "ph" => placeholder = Some(element.attribute("type").unwrap_or_else(|| "body".to_owned())),
                "tbl" => table = Some(TableText::default()),
                "t" => in_text = true,
                "br" => paragraph.push('\n'),
                "Fallback" => skip = true,
                _ => {}
            },
            Xml::Text(text) if in_text => paragraph.push_str(&text),
            Xml::End(name) => match name.as_str() {
                "t" => in_text = false,
                "p" => {
                    let text = mem::take(&mut paragraph);
                    let kind = placeholder.as_deref();
                    if text.trim().is_empty() || matches!(kind, Some("sldNum" | "dt" | "ftr" | "hdr" | "sldImg")) {
                    } else if table.is_some() {
                        push_line(&mut cell, &text);
                    } else if matches!(kind, Some("title" | "ctrTitle")) {
                        push_line(&mut shapes.title, &text.replace('\n', " "));
                    } else {
                        shapes.blocks.push(Block::Paragraph(text));
                    }
                }
                "tc" => row.push(mem::take(&mut cell)),
                "tr" => {
                    let cells = mem::take(&mut row);
                    let words = all_words(&cells);
                    let line = table.as_mut().and_then(|table| table.row(cells, words));
                    shapes.blocks.extend(line.map(Block::Paragraph));
                }
                "tbl" => {
                    let line = table.take().and_then(TableText::finish);
                    shapes.blocks.extend(line.map(Block::Paragraph));
                }
                _ => {}
            },
            Xml::Text(_) => {}
            Xml::Eof => return Ok(shapes),
        }
        if skip {
            reader.skip_element()?;
        }
    }
}

fn push_line(text: &mut String, line: &str) {
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(line);
}
