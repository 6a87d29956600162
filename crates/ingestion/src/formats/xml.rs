//! XML of office documents as a stream of events. No document type definitions, no entities beyond the five, no
//! namespaces to resolve, and limits on depth and on the size of one event.

use std::cell::Cell;
use std::io::{self, BufReader, Read};
use std::rc::Rc;

use quick_xml::Error;
use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;

use super::archive::unreadable;
use crate::ParseError;

const MAX_DEPTH: u32 = 256;
const MAX_EVENT_BYTES: u64 = 8 << 20;
const MAX_ATTRIBUTES: usize = 1_000;

/// What happens next; names are without their prefix.
pub(crate) enum Xml<'buffer> {
    Start(Element<'buffer>),
    End(String),
    Text(String),
    Eof,
}

/// A start tag.
pub(crate) struct Element<'buffer> {
    start: BytesStart<'buffer>,
}

impl Element<'_> {
    pub(crate) fn name(&self) -> String {
        self.start.local_name().as_ref().to_owned()
    }

    /// The value of an attribute by its name without prefix.
    pub(crate) fn attribute(&self, name: &str) -> Option<String> {
        self.find(|key| key.rsplit(':').next() == Some(name))
    }

    /// The value of an attribute by its name as written, prefix included.
    pub(crate) fn prefixed_attribute(&self, name: &str) -> Option<String> {
        self.find(|key| key == name)
    }

    fn find(&self, wanted: impl Fn(&str) -> bool) -> Option<String> {
        let mut attributes = self.start.attributes();
        attributes.with_checks(false);
        let found = attributes.take(MAX_ATTRIBUTES).flatten().find(|attribute| wanted(attribute.key.0))?;
        quick_xml::escape::unescape(&found.value).ok().map(std::borrow::Cow::into_owned)
    }
}

/// Reads XML from a member of an archive.
pub(crate) struct XmlReader<R: Read> {
    reader: Reader<BufReader<Metered<R>>>,
    buffer: Vec<u8>,
    event_bytes: Rc<Cell<u64>>,
    depth: u32,
}

impl<R: Read> XmlReader<R> {
    pub(crate) fn new(source: R) -> Self {
        let event_bytes = Rc::new(Cell::new(0));
        let metered = Metered { source, event_bytes: Rc::clone(&event_bytes) };
        let mut reader = Reader::from_reader(BufReader::new(metered));
        reader.config_mut().expand_empty_elements = true;
        Self { reader, buffer: Vec::new(), event_bytes, depth: 0 }
    }

    /// The next start, end or text; comments and instructions are passed over.
    pub(crate) fn next(&mut self) -> Result<Xml<'_>, ParseError> {
        self.event_bytes.set(0);
        self.buffer.clear();
        match self.reader.read_event_into(&mut self.buffer).map_err(|error| broken(&error))? {
            Event::Start(start) | Event::Empty(start) => {
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    return Err(ParseError::too_large(
                        "The document is nested far too deeply. Save it again from its program.",
                    ));
                }
                Ok(Xml::Start(Element { start }))
            }
            Event::End(end) => {
                self.depth = self.depth.saturating_sub(1);
                Ok(Xml::End(end.local_name().as_ref().to_owned()))
            }
            Event::Text(text) => Ok(Xml::Text(text.xml10_content().into_owned())),
            Event::CData(text) => Ok(Xml::Text(text.xml10_content().into_owned())),
            Event::GeneralRef(reference) => {
                let text = match reference.resolve_char_ref().map_err(|error| broken(&error))? {
                    Some(character) => character.to_string(),
                    None => predefined(&reference.into_inner())?.to_owned(),
                };
                Ok(Xml::Text(text))
            }
            Event::DocType(_) => Err(ParseError::damaged(
                "The document contains a document type definition, which is not allowed in it. Save it again from its \
                 program.",
            )),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => Ok(Xml::Text(String::new())),
            Event::Eof => Ok(Xml::Eof),
        }
    }

    /// Passes over the rest of the element that was just started.
    pub(crate) fn skip_element(&mut self) -> Result<(), ParseError> {
        let outside = self.depth.saturating_sub(1);
        while self.depth > outside {
            if let Xml::Eof = self.next()? {
                return Ok(());
            }
        }
        Ok(())
    }
}

fn predefined(name: &str) -> Result<&'static str, ParseError> {
    Ok(match name {
        "amp" => "&",
        "lt" => "<",
        "gt" => ">",
        "quot" => "\"",
        "apos" => "'",
        "nbsp" => "\u{A0}",
        _ => {
            return Err(ParseError::damaged(
                "The document uses entities that office documents do not have. Save it again from its program.",
            ));
        }
    })
}

fn broken(error: &Error) -> ParseError {
    if let Error::Io(error) = error {
        return unreadable(error);
    }
    let detail: String = error.to_string().chars().take(120).collect();
    ParseError::damaged(format!("The document is damaged ({detail}). Open it, save it again and upload that."))
}

/// Counts the bytes read for one event and stops when they are too many.
struct Metered<R> {
    source: R,
    event_bytes: Rc<Cell<u64>>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.event_bytes.set(self.event_bytes.get() + count as u64);
        if self.event_bytes.get() > MAX_EVENT_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ParseErrorKind;

    fn drain(xml: &str) -> Result<String, ParseError> {
        let mut reader = XmlReader::new(xml.as_bytes());
        let mut text = String::new();
        loop {
            match reader.next()? {
                Xml::Start(element) => text.extend(["<", &element.name(), ">"]),
                Xml::End(name) => text.extend(["</", &name, ">"]),
                Xml::Text(more) => text.push_str(&more),
                Xml::Eof => return Ok(text),
            }
        }
    }

    #[test]
    fn names_lose_prefixes_and_the_five_entities_are_known() {
        assert_eq!(drain("<w:p a='1'>a&amp;b&#x4E2D;<w:t/></w:p>").unwrap(), "<p>a&b中<t></t></p>");
    }

    #[test]
    fn definitions_entities_depth_and_size_are_refused() {
        let kind = |xml: &str| drain(xml).unwrap_err().kind;
        assert_eq!(kind("<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a>&x;</a>"), ParseErrorKind::Damaged);
        assert_eq!(kind("<a>&x;</a>"), ParseErrorKind::Damaged);
        assert_eq!(kind(&"<a>".repeat(1000)), ParseErrorKind::TooLarge);
        assert_eq!(kind(&format!("<a {}>", "b='1' ".repeat(2_000_000))), ParseErrorKind::TooLarge);
        assert_eq!(kind("<a></b>"), ParseErrorKind::Damaged);
    }
}
