//! JSON and JSON lines. An own reader, because numbers must keep their digits and nesting must stay shallow.

use std::borrow::Cow;

use crate::block::{Block, BlockSink};
use crate::{ParseError, ProgressUnit};

const MAX_DEPTH: u32 = 128;

/// A JSON value; numbers keep their spelling.
enum Json<'text> {
    /// A string, number, boolean or null as text.
    Scalar(Cow<'text, str>),
    List(Vec<Json<'text>>),
    Object(Vec<(Cow<'text, str>, Json<'text>)>),
}

/// Reads one document: the elements of a list of objects are records, everything else becomes `path: value` lines.
pub(crate) fn parse(text: &str, sink: &mut dyn BlockSink) -> Result<(), ParseError> {
    let mut reader = Reader { text, position: 0, line: None };
    reader.skip_space();
    match reader.peek() {
        Some(b'[') => parse_list(&mut reader, "", sink)?,
        Some(b'{') => parse_object(&mut reader, sink)?,
        _ => emit(&reader.value(0)?, "", sink)?,
    }
    reader.skip_space();
    if reader.position < text.len() { Err(reader.error("there is more after the end of the value")) } else { Ok(()) }
}

/// Reads one value per line; each is a record.
pub(crate) fn parse_lines(text: &str, sink: &mut dyn BlockSink) -> Result<(), ParseError> {
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let mut reader = Reader { text: line, position: 0, line: Some(index + 1) };
        reader.skip_space();
        let value = reader.value(0)?;
        reader.skip_space();
        if reader.position < line.len() {
            return Err(reader.error("there is more after the end of the value"));
        }
        sink.block(Block::Record(join(&value)))?;
        if index % 5_000 == 4_999 {
            let done = line.as_ptr().addr() - text.as_ptr().addr();
            sink.progress(done as u64, text.len() as u64, ProgressUnit::Bytes)?;
        }
    }
    Ok(())
}

/// The elements of a list one by one, so that a long list is never in memory as a whole.
fn parse_list(reader: &mut Reader<'_>, name: &str, sink: &mut dyn BlockSink) -> Result<(), ParseError> {
    reader.position += 1;
    let mut index = 0_usize;
    loop {
        reader.skip_space();
        if reader.take(b']') {
            return Ok(());
        }
        let value = reader.value(1)?;
        match &value {
            Json::Object(_) => sink.block(Block::Record(join(&value)))?,
            other => emit(other, name, sink)?,
        }
        index += 1;
        if index.is_multiple_of(5_000) {
            sink.progress(reader.position as u64, reader.text.len() as u64, ProgressUnit::Bytes)?;
        }
        reader.separator(b']')?;
    }
}

/// The members of the outermost object; a member that is a list of objects gives records under its name.
fn parse_object(reader: &mut Reader<'_>, sink: &mut dyn BlockSink) -> Result<(), ParseError> {
    reader.position += 1;
    loop {
        reader.skip_space();
        if reader.take(b'}') {
            return Ok(());
        }
        let name = reader.member_name()?;
        if reader.peek() == Some(b'[') && reader.next_after_bracket() == Some(b'{') {
            sink.block(Block::Heading { level: 1, text: name.clone().into_owned() })?;
            parse_list(reader, &name, sink)?;
            sink.block(Block::Part)?;
        } else {
            emit(&reader.value(1)?, &name, sink)?;
        }
        reader.separator(b'}')?;
    }
}

fn emit(value: &Json<'_>, path: &str, sink: &mut dyn BlockSink) -> Result<(), ParseError> {
    let mut lines = Vec::new();
    flatten(value, path, &mut lines);
    lines.into_iter().try_for_each(|line| sink.block(Block::Paragraph(line)))
}

fn join(value: &Json<'_>) -> String {
    let mut lines = Vec::new();
    flatten(value, "", &mut lines);
    lines.join("; ")
}

/// `path: value` for every scalar. A list of scalars is one line. Depth is bounded by the reader.
fn flatten(value: &Json<'_>, path: &str, lines: &mut Vec<String>) {
    match value {
        Json::Scalar(text) if text.is_empty() => {}
        Json::Scalar(text) if path.is_empty() => lines.push(text.clone().into_owned()),
        Json::Scalar(text) => lines.push(format!("{path}: {text}")),
        Json::List(items) => {
            let scalars: Option<Vec<&str>> =
                items.iter().map(|item| if let Json::Scalar(text) = item { Some(&**text) } else { None }).collect();
            match scalars {
                Some(scalars) if scalars.is_empty() => {}
                Some(scalars) => flatten(&Json::Scalar(scalars.join(", ").into()), path, lines),
                None => items.iter().for_each(|item| flatten(item, path, lines)),
            }
        }
        Json::Object(members) => {
            for (name, member) in members {
                let inner = if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
                flatten(member, &inner, lines);
            }
        }
    }
}

struct Reader<'text> {
    text: &'text str,
    position: usize,
    /// Line number for messages when only one line is read.
    line: Option<usize>,
}

impl<'text> Reader<'text> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.position).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.position += usize::from(found);
        found
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.position += 1;
        }
    }

    fn next_after_bracket(&self) -> Option<u8> {
        self.text.bytes().skip(self.position + 1).find(|byte| !byte.is_ascii_whitespace())
    }

    fn error(&self, what: &str) -> ParseError {
        let line = self.line.unwrap_or_else(|| {
            let before = self.text.as_bytes().get(..self.position).unwrap_or_default();
            before.split(|byte| *byte == b'\n').count()
        });
        ParseError::damaged(format!("The file is not valid JSON: line {line}: {what}. Correct it and upload it again."))
    }

    /// After an element: a comma and another element, or the closing bracket, which is left in place.
    fn separator(&mut self, close: u8) -> Result<(), ParseError> {
        self.skip_space();
        if self.peek() == Some(close) || self.take(b',') {
            return Ok(());
        }
        Err(self.error("a comma or the end of the list is missing"))
    }

    fn member_name(&mut self) -> Result<Cow<'text, str>, ParseError> {
        if self.peek() != Some(b'"') {
            return Err(self.error("a member name in double quotes is missing"));
        }
        let name = self.string()?;
        self.skip_space();
        if !self.take(b':') {
            return Err(self.error("a colon after a member name is missing"));
        }
        self.skip_space();
        Ok(name)
    }

    fn value(&mut self, depth: u32) -> Result<Json<'text>, ParseError> {
        if depth > MAX_DEPTH {
            return Err(ParseError::too_large(format!(
                "The JSON is nested more than {MAX_DEPTH} levels deep. Flatten it and upload it again."
            )));
        }
        match self.peek() {
            Some(b'"') => Ok(Json::Scalar(self.string()?)),
            Some(b'[') => {
                self.position += 1;
                let mut items = Vec::new();
                loop {
                    self.skip_space();
                    if self.take(b']') {
                        return Ok(Json::List(items));
                    }
                    items.push(self.value(depth + 1)?);
                    self.separator(b']')?;
                }
            }
            Some(b'{') => {
                self.position += 1;
                let mut members = Vec::new();
                loop {
                    self.skip_space();
                    if self.take(b'}') {
                        return Ok(Json::Object(members));
                    }
                    let name = self.member_name()?;
                    members.push((name, self.value(depth + 1)?));
                    self.separator(b'}')?;
                }
            }
            Some(b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => self.word(),
            Some(_) => Err(self.error("this is not the start of a value")),
            None => Err(self.error("the file ends too early")),
        }
    }

    fn word(&mut self) -> Result<Json<'text>, ParseError> {
        let rest = self.text.get(self.position..).unwrap_or_default();
        let stop = |character: char| !character.is_ascii_alphanumeric() && !matches!(character, '+' | '-' | '.');
        let word = rest.split(stop).next().unwrap_or_default();
        let number =
            word.starts_with(|first: char| first == '-' || first.is_ascii_digit()) && word.parse::<f64>().is_ok();
        if !number && !matches!(word, "true" | "false" | "null") {
            return Err(self.error("this is neither a number nor true, false or null"));
        }
        self.position += word.len();
        Ok(Json::Scalar(if word == "null" { "".into() } else { word.into() }))
    }

    fn string(&mut self) -> Result<Cow<'text, str>, ParseError> {
        self.position += 1;
        let start = self.position;
        let bytes = self.text.as_bytes();
        let mut escaped = false;
        loop {
            match bytes.get(self.position) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.position += 2;
                }
                Some(_) => self.position += 1,
                None => return Err(self.error("a string is not closed")),
            }
        }
        let raw = self.text.get(start..self.position).ok_or_else(|| self.error("a string is cut"))?;
        self.position += 1;
        if !escaped {
            return Ok(Cow::Borrowed(raw));
        }
        // The library knows the escapes; it only needs the quotes back and no raw control characters.
        let quoted = ["\"", &raw.replace('\n', "\\n").replace('\r', "\\r").replace('\t', "\\t"), "\""].concat();
        serde_json::from_str::<String>(&quoted)
            .map(Cow::Owned)
            .map_err(|error| self.error(&format!("a string has a wrong escape ({error})")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ParseErrorKind;
    use crate::block::collect::{Collected, heading, paragraph, record};

    fn blocks(text: &str) -> Vec<Block> {
        let mut collected = Collected::default();
        parse(text, &mut collected).unwrap();
        collected.0
    }

    #[test]
    fn a_list_of_objects_is_records() {
        assert_eq!(
            blocks(
                r#"[{"問題":"營業時間？","答案":"9:00\n18:00"},{"id":12345678901234567890123,"tags":["a","b"],"x":null}]"#
            ),
            [record("問題: 營業時間？; 答案: 9:00\n18:00"), record("id: 12345678901234567890123; tags: a, b")]
        );
        assert_eq!(
            blocks(r#"{"version": 1.50, "items": [ {"a": {"b": true}} ] }"#),
            [paragraph("version: 1.50"), heading(1, "items"), record("a.b: true"), Block::Part]
        );
        assert_eq!(blocks(r#"["x", 2]"#), [paragraph("x"), paragraph("2")]);
    }

    #[test]
    fn each_line_is_a_record() {
        let mut collected = Collected::default();
        parse_lines("{\"a\":1}\n\n\"text\"\n", &mut collected).unwrap();
        assert_eq!(collected.0, [record("a: 1"), record("text")]);
        let error = parse_lines("{\"a\":1}\n{\"a\":}\n", &mut Collected::default()).unwrap_err();
        assert!(error.reason.contains("line 2"), "{}", error.reason);
    }

    #[test]
    fn broken_and_deep_values_are_errors() {
        for text in ["{", "[1,", "[1 2]", "{\"a\" 1}", "nul", "\"\\", "\"\\u12\"", "[] []", "", "é", "\"\\é"] {
            let error = parse(text, &mut Collected::default()).unwrap_err();
            assert_eq!(error.kind, ParseErrorKind::Damaged, "{text}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(parse(&deep, &mut Collected::default()).unwrap_err().kind, ParseErrorKind::TooLarge);
    }
}
