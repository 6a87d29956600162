//! One document in this process: bytes in, passages out. The boxed child, the unit tests and fuzzers call this.

use crate::block::BlockSink;
use crate::decode::decode_text;
use crate::formats::{delimited, docx, epub, html, json, markdown, pptx, spreadsheet, text};
use crate::packer::Packer;
use crate::{Format, ParseError, ParseErrorKind, ParseOptions, ParseSummary, PassageSink, pdf};

/// Reads `bytes` as `format` and hands the passages to `sink`.
///
/// It runs in the calling process and without limits on time and memory other than those in `options`: give
/// untrusted documents to [`BoxedParser`](crate::BoxedParser) instead.
///
/// # Errors
/// A [`ParseError`] with a reason; passages handed out before it are to be thrown away.
pub fn parse(
    format: Format,
    bytes: &[u8],
    options: &ParseOptions,
    sink: &mut dyn PassageSink,
) -> Result<ParseSummary, ParseError> {
    if bytes.len() as u64 > options.max_file_bytes {
        return Err(ParseError::too_large(format!(
            "The file is larger than {} MB. Split it into smaller files and upload those.",
            options.max_file_bytes >> 20
        )));
    }
    let mut packer = Packer::new(options, sink);
    parse_blocks(format, bytes, options, &mut packer)?;
    let summary = packer.finish()?;
    if summary.passages == 0 {
        return Err(ParseError::new(
            ParseErrorKind::NoText,
            "The document holds no text. Upload a document with content.",
        ));
    }
    Ok(summary)
}

fn parse_blocks(
    format: Format,
    bytes: &[u8],
    options: &ParseOptions,
    packer: &mut Packer<'_>,
) -> Result<(), ParseError> {
    let sink: &mut dyn BlockSink = packer;
    match format {
        Format::Text => text::parse(&decode_text(bytes, None), sink),
        Format::Markdown => markdown::parse(&decode_text(bytes, None), sink),
        Format::Html => html::parse(&decode_text(bytes, html::declared_encoding(bytes)), false, sink).map(|_| ()),
        Format::Csv => delimited::parse(&decode_text(bytes, None), None, options, sink),
        Format::Tsv => delimited::parse(&decode_text(bytes, None), Some(b'\t'), options, sink),
        Format::Json => json::parse(&decode_text(bytes, None), sink),
        Format::JsonLines => json::parse_lines(&decode_text(bytes, None), sink),
        Format::Pdf => pdf::parse(bytes, options, packer),
        Format::Docx => docx::parse(bytes, options, sink),
        Format::Pptx => pptx::parse(bytes, options, sink),
        Format::Xlsx | Format::Xls | Format::Ods => spreadsheet::parse(format, bytes, options, sink),
        Format::Epub => epub::parse(bytes, options, sink),
    }
}
