//! Which document formats exist and how a file is recognised.

use serde::{Deserialize, Serialize};

use crate::{ParseError, ParseErrorKind};

/// A document format that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Plain text.
    Text,
    /// Markdown.
    Markdown,
    /// A web page.
    Html,
    /// Comma-separated values.
    Csv,
    /// Tab-separated values.
    Tsv,
    /// JSON.
    Json,
    /// One JSON value in each line.
    JsonLines,
    /// PDF.
    Pdf,
    /// Word document.
    Docx,
    /// `PowerPoint` presentation.
    Pptx,
    /// Excel workbook.
    Xlsx,
    /// Excel 97-2003 workbook.
    Xls,
    /// `OpenDocument` spreadsheet.
    Ods,
    /// Electronic book.
    Epub,
}

/// Extension and format, one per line; the first line of a format is its usual extension.
const EXTENSIONS: &[(&str, Format)] = &[
    ("txt", Format::Text),
    ("text", Format::Text),
    ("log", Format::Text),
    ("md", Format::Markdown),
    ("markdown", Format::Markdown),
    ("html", Format::Html),
    ("htm", Format::Html),
    ("xhtml", Format::Html),
    ("csv", Format::Csv),
    ("tsv", Format::Tsv),
    ("json", Format::Json),
    ("jsonl", Format::JsonLines),
    ("ndjson", Format::JsonLines),
    ("pdf", Format::Pdf),
    ("docx", Format::Docx),
    ("docm", Format::Docx),
    ("pptx", Format::Pptx),
    ("pptm", Format::Pptx),
    ("xlsx", Format::Xlsx),
    ("xlsm", Format::Xlsx),
    ("xls", Format::Xls),
    ("ods", Format::Ods),
    ("epub", Format::Epub),
];

/// How many bytes from the start of a file [`Format::of`] wants to see.
pub const HEAD_BYTES: usize = 4096;

const ZIP_MAGIC: &[u8] = b"PK\x03\x04";
const EMPTY_ZIP_MAGIC: &[u8] = b"PK\x05\x06";
const COMPOUND_MAGIC: &[u8] = b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1";

/// What the first bytes say about a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    Pdf,
    Zip,
    Compound,
    Other(&'static str),
    Textual,
    Binary,
}

impl Format {
    /// Recognises a file by the extension of its name and checks that its first bytes agree.
    ///
    /// # Errors
    /// [`ParseErrorKind::Unsupported`] for an unknown extension, [`ParseErrorKind::Mismatch`] when the content is
    /// something else, [`ParseErrorKind::NoText`] for an empty file.
    pub fn of(filename: &str, head: &[u8]) -> Result<Self, ParseError> {
        let extension = match filename.rsplit_once('.') {
            Some((_, extension)) if extension.len() <= 10 => extension.to_ascii_lowercase(),
            _ => String::new(),
        };
        let format = EXTENSIONS.iter().find(|(known, _)| *known == extension).map(|(_, format)| *format);
        let Some(format) = format else { return Err(unsupported(&extension)) };
        if head.is_empty() {
            return Err(ParseError::new(ParseErrorKind::NoText, "The file is empty. Upload a file with content."));
        }
        format.check_head(&extension, look(head))?;
        Ok(format)
    }

    /// The usual file name extension, without the dot.
    pub fn extension(self) -> &'static str {
        EXTENSIONS.iter().find(|(_, format)| *format == self).map_or("txt", |(extension, _)| extension)
    }

    /// Every extension that is recognised, without dots.
    pub fn supported_extensions() -> impl Iterator<Item = &'static str> {
        EXTENSIONS.iter().map(|(extension, _)| *extension)
    }

    /// Whether the file is a zip archive inside.
    pub fn is_packed(self) -> bool {
        matches!(self, Self::Docx | Self::Pptx | Self::Xlsx | Self::Ods | Self::Epub)
    }

    fn check_head(self, extension: &str, look: Look) -> Result<(), ParseError> {
        let agrees = match self {
            Self::Pdf => look == Look::Pdf,
            Self::Docx | Self::Pptx | Self::Xlsx | Self::Ods | Self::Epub => look == Look::Zip,
            Self::Xls => look == Look::Compound,
            _ => look == Look::Textual,
        };
        if agrees {
            return Ok(());
        }
        if matches!(self, Self::Docx | Self::Pptx | Self::Xlsx) && look == Look::Compound {
            return Err(ParseError::new(
                ParseErrorKind::Encrypted,
                format!(
                    "The file is named .{extension} but is an encrypted or old Office file. Remove its password or \
                     save it again as .{extension}, then upload it."
                ),
            ));
        }
        let found = match look {
            Look::Pdf => "a PDF",
            Look::Zip => "a zip archive or Office document",
            Look::Compound => "an old Office document",
            Look::Other(name) => name,
            Look::Textual => "plain text",
            Look::Binary => "binary data of an unknown type",
        };
        Err(ParseError::new(
            ParseErrorKind::Mismatch,
            format!(
                "The file is named .{extension} but its content is {found}. Give it the right extension or upload the \
                 intended file."
            ),
        ))
    }
}

fn unsupported(extension: &str) -> ParseError {
    let reason = match extension {
        "doc" => "Word 97-2003 files (.doc) cannot be read. Save the document as .docx and upload that.".to_owned(),
        "ppt" => {
            "PowerPoint 97-2003 files (.ppt) cannot be read. Save the presentation as .pptx and upload that.".to_owned()
        }
        "odt" | "rtf" | "pages" | "wps" => {
            format!("Files of type .{extension} cannot be read. Save the document as .docx or .pdf and upload that.")
        }
        "odp" | "key" => {
            format!("Files of type .{extension} cannot be read. Save the presentation as .pptx and upload that.")
        }
        "xlsb" | "numbers" => {
            format!("Files of type .{extension} cannot be read. Save the workbook as .xlsx and upload that.")
        }
        "" => "The file name has no extension, so its type is unknown. Add one, for example .pdf.".to_owned(),
        _ => {
            let known: Vec<_> = Format::supported_extensions().collect();
            format!("Files of type .{} cannot be read. Use one of: {}.", extension.escape_default(), known.join(", "))
        }
    };
    ParseError::new(ParseErrorKind::Unsupported, reason)
}

fn look(head: &[u8]) -> Look {
    // Readers accept a PDF header within the first kilobyte.
    let early = head.get(..head.len().min(1024)).unwrap_or(head);
    if early.windows(5).any(|window| window == b"%PDF-") && !early.starts_with(b"<") {
        return Look::Pdf;
    }
    if head.starts_with(ZIP_MAGIC) || head.starts_with(EMPTY_ZIP_MAGIC) {
        return Look::Zip;
    }
    if head.starts_with(COMPOUND_MAGIC) {
        return Look::Compound;
    }
    let others: [(&[u8], &str); 7] = [
        (b"\x89PNG\r\n\x1a\n", "a PNG image"),
        (b"\xFF\xD8\xFF", "a JPEG image"),
        (b"GIF8", "a GIF image"),
        (b"\x1F\x8B", "a gzip archive"),
        (b"Rar!\x1A\x07", "a RAR archive"),
        (b"7z\xBC\xAF\x27\x1C", "a 7z archive"),
        (b"\x7FELF", "a program"),
    ];
    if let Some((_, name)) = others.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Look::Other(name);
    }
    if head.starts_with(b"\xFF\xFE") || head.starts_with(b"\xFE\xFF") {
        return Look::Textual;
    }
    // UTF-16 without a mark has zero bytes too, but only in every second place.
    let has_zeros = head.contains(&0);
    let controls = head.iter().filter(|byte| matches!(byte, 1..=6 | 14..=26 | 28..=31)).count();
    if has_zeros && crate::decode::sniff_utf16(head).is_none() || controls * 20 > head.len() {
        Look::Binary
    } else {
        Look::Textual
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extension_decides_and_content_must_agree() {
        assert_eq!(Format::of("a.TXT", b"hello").unwrap(), Format::Text);
        assert_eq!(Format::of("報告.pdf", b"%PDF-1.7\n").unwrap(), Format::Pdf);
        assert_eq!(Format::of("a.docx", b"PK\x03\x04rest").unwrap(), Format::Docx);
        let error = Format::of("a.pdf", b"\x89PNG\r\n\x1a\n....").unwrap_err();
        assert_eq!(error.kind, ParseErrorKind::Mismatch);
        assert!(error.reason.contains("PNG image"), "{}", error.reason);
        assert_eq!(Format::of("a.txt", b"\x00\x01\x02\x03\x00").unwrap_err().kind, ParseErrorKind::Mismatch);
        assert_eq!(Format::of("a.docx", COMPOUND_MAGIC).unwrap_err().kind, ParseErrorKind::Encrypted);
    }

    #[test]
    fn old_office_files_say_what_to_do() {
        assert!(Format::of("a.doc", COMPOUND_MAGIC).unwrap_err().reason.contains(".docx"));
        assert!(Format::of("a.ppt", COMPOUND_MAGIC).unwrap_err().reason.contains(".pptx"));
        assert_eq!(Format::of("noextension", b"x").unwrap_err().kind, ParseErrorKind::Unsupported);
        assert_eq!(Format::of("a.txt", b"").unwrap_err().kind, ParseErrorKind::NoText);
    }

    #[test]
    fn every_format_has_an_extension_that_leads_back_to_it() {
        for (extension, format) in EXTENSIONS {
            assert!(Format::supported_extensions().any(|known| known == *extension));
            assert_eq!(EXTENSIONS.iter().find(|(e, _)| *e == format.extension()).unwrap().1, *format);
        }
    }
}
