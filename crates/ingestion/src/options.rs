//! What a caller may choose for one parse.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Settings of one parse. All limits count what comes out of the file, not its size on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParseOptions {
    /// Longest passage, in characters. Values below 40 are raised to 40.
    pub max_passage_characters: u32,
    /// The `tesseract` program, when scanned PDF pages are to be recognised; `pdftoppm` must stand beside it
    /// or on the search path. `None` means scanned documents fail with a reason.
    pub tesseract: Option<PathBuf>,
    /// Languages handed to `tesseract`, in its own notation.
    pub ocr_languages: String,
    /// Most pages that are recognised in one document.
    pub max_ocr_pages: u32,
    /// Largest file, in bytes.
    pub max_file_bytes: u64,
    /// Most characters of text taken from one document.
    pub max_text_characters: u64,
    /// Most cells read from one workbook or delimited file.
    pub max_cells: u64,
    /// Most columns in one row.
    pub max_columns: u32,
    /// Most pages, slides or sheets.
    pub max_pages: u32,
    /// Most bytes that may come out of all compressed parts of one file.
    pub max_unpacked_bytes: u64,
    /// Most members of a packed format.
    pub max_archive_entries: u32,
}

impl Default for ParseOptions {
    fn default() -> Self {
        Self {
            max_passage_characters: 500,
            tesseract: None,
            ocr_languages: "chi_tra+eng".to_owned(),
            max_ocr_pages: 200,
            max_file_bytes: 100 << 20,
            max_text_characters: 20_000_000,
            max_cells: 5_000_000,
            max_columns: 16_384,
            max_pages: 10_000,
            max_unpacked_bytes: 512 << 20,
            max_archive_entries: 20_000,
        }
    }
}

impl ParseOptions {
    /// The passage limit that is really used.
    pub(crate) fn passage_limit(&self) -> usize {
        usize::try_from(self.max_passage_characters.max(40)).unwrap_or(500)
    }
}
