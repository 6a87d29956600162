//! Electronic books: the chapters in reading order, each through the web page reader.

use super::archive::Archive;
use super::html;
use super::relationships::resolve;
use super::xml::{Xml, XmlReader};
use crate::block::{Block, BlockSink};
use crate::{ParseError, ParseErrorKind, ParseOptions, ProgressUnit};

/// Sends the chapters of a book.
pub(crate) fn parse(bytes: &[u8], options: &ParseOptions, sink: &mut dyn BlockSink) -> Result<(), ParseError> {
    let mut archive = Archive::open(bytes, options)?;
    let package = package_name(&mut archive)?;
    if archive.has("META-INF/rights.xml") {
        return Err(ParseError::new(
            ParseErrorKind::Encrypted,
            "The book is copy-protected, so its text cannot be read. Upload an unprotected copy.",
        ));
    }
    let chapters = spine(&mut archive, &package)?;
    let total = chapters.len() as u64;
    for (chapter, number) in chapters.iter().zip(1_u64..) {
        let Some(text) = archive.text(chapter)? else { continue };
        let mut collected = Collected::default();
        let title = html::parse(&text, true, &mut collected)?;
        sink.block(Block::Part)?;
        let headed = matches!(collected.0.first(), Some(Block::Heading { .. }));
        if let (false, false, Some(title)) = (headed, collected.0.is_empty(), title) {
            sink.block(Block::Heading { level: 1, text: title })?;
        }
        collected.0.into_iter().try_for_each(|block| sink.block(block))?;
        sink.progress(number, total, ProgressUnit::Parts)?;
    }
    Ok(())
}

/// Name of the package document.
fn package_name(archive: &mut Archive<'_>) -> Result<String, ParseError> {
    let mut reader = XmlReader::new(archive.required("META-INF/container.xml", "an EPUB book")?);
    loop {
        match reader.next()? {
            Xml::Start(element) if element.name() == "rootfile" => {
                if let Some(path) = element.attribute("full-path") {
                    return Ok(path);
                }
            }
            Xml::Eof => return Err(ParseError::damaged("The book names no package document. Export it again.")),
            _ => {}
        }
    }
}

/// Names of the chapters in reading order.
fn spine(archive: &mut Archive<'_>, package: &str) -> Result<Vec<String>, ParseError> {
    let directory = package.rsplit_once('/').map_or("", |(directory, _)| directory);
    let mut reader = XmlReader::new(archive.required(package, "an EPUB book")?);
    let mut items: Vec<(String, String)> = Vec::new();
    let mut chapters = Vec::new();
    loop {
        match reader.next()? {
            Xml::Start(element) => match element.name().as_str() {
                "item" => {
                    // The table of contents only repeats the headings.
                    let contents = element.attribute("properties").is_some_and(|list| list.contains("nav"));
                    let page = element.attribute("media-type").is_none_or(|kind| kind.contains("html"));
                    if let (true, Some(id), Some(link)) =
                        (page && !contents, element.attribute("id"), element.attribute("href"))
                    {
                        items.push((id, resolve(directory, &unescape_link(&link))));
                    }
                }
                "itemref" => {
                    let id = element.attribute("idref");
                    let item = items.iter().find(|(known, _)| Some(known) == id.as_ref());
                    chapters.extend(item.map(|(_, name)| name.clone()));
                }
                _ => {}
            },
            Xml::Eof => return Ok(chapters),
            _ => {}
        }
    }
}

/// Percent escapes of a link to characters.
fn unescape_link(link: &str) -> String {
    let link = link.split('#').next().unwrap_or_default();
    let mut bytes = Vec::with_capacity(link.len());
    let mut rest = link.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = escaped.filter(|_| *first == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[derive(Default)]
struct Collected(Vec<Block>);

impl BlockSink for Collected {
    fn block(&mut self, block: Block) -> Result<(), ParseError> {
        self.0.push(block);
        Ok(())
    }

    fn progress(&mut self, _: u64, _: u64, _: ProgressUnit) -> Result<(), ParseError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::unescape_link;

    #[test]
    fn links_are_unescaped() {
        assert_eq!(unescape_link("%E7%AC%AC1%20a.xhtml#top"), "第1 a.xhtml");
        assert_eq!(unescape_link("100%.xhtml"), "100%.xhtml");
    }
}
