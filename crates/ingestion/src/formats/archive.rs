//! Zip archives of packed formats, read with limits on what comes out of them.

use std::cell::Cell;
use std::io::{self, Cursor, Read};
use std::rc::Rc;

use zip::ZipArchive;
use zip::read::ZipFile;
use zip::result::ZipError;

use crate::{ParseError, ParseErrorKind, ParseOptions};

/// A member may unpack to this many times its packed size once it is larger than `RATIO_FROM_BYTES`.
const MAX_RATIO: u64 = 250;
const RATIO_FROM_BYTES: u64 = 16 << 20;
/// Members packed smaller than this are not measured in advance: deflate cannot make much of them.
const MEASURE_FROM_BYTES: u64 = 32 << 10;

/// An opened archive and how many bytes may still come out of it.
pub(crate) struct Archive<'bytes> {
    zip: ZipArchive<Cursor<&'bytes [u8]>>,
    budget: Rc<Cell<u64>>,
}

impl<'bytes> Archive<'bytes> {
    pub(crate) fn open(bytes: &'bytes [u8], options: &ParseOptions) -> Result<Self, ParseError> {
        let zip = ZipArchive::new(Cursor::new(bytes)).map_err(|error| damaged(&error))?;
        if zip.len() > options.max_archive_entries as usize {
            return Err(ParseError::too_large(format!(
                "The file is an archive of more than {} parts. Save the document again from its program.",
                options.max_archive_entries
            )));
        }
        Ok(Self { zip, budget: Rc::new(Cell::new(options.max_unpacked_bytes)) })
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.zip.index_for_name(name).is_some()
    }

    /// A reader for a member, or nothing when there is no such member.
    pub(crate) fn member(&mut self, name: &str) -> Result<Option<Member<'_, 'bytes>>, ParseError> {
        let file = match self.zip.by_name(name) {
            Ok(file) => file,
            Err(ZipError::FileNotFound) => return Ok(None),
            Err(error) => return Err(damaged(&error)),
        };
        if file.encrypted() {
            return Err(encrypted());
        }
        let packed = file.compressed_size().max(1);
        Ok(Some(Member { file, packed, unpacked: 0, budget: Rc::clone(&self.budget) }))
    }

    /// A member that must exist for the file to be what its name says.
    pub(crate) fn required(&mut self, name: &str, format: &str) -> Result<Member<'_, 'bytes>, ParseError> {
        self.member(name)?.ok_or_else(|| {
            ParseError::new(
                ParseErrorKind::Mismatch,
                format!("The file is an archive but not {format}. Give it the right extension or save it again."),
            )
        })
    }

    /// A whole member as text.
    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>, ParseError> {
        let Some(mut member) = self.member(name)? else { return Ok(None) };
        let mut bytes = Vec::new();
        member.read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
        Ok(Some(crate::decode::decode_text(&bytes, None)))
    }

    /// Unpacks every larger member once to see that it stays within the limits, for libraries that do not check.
    pub(crate) fn measure(&mut self) -> Result<(), ParseError> {
        for index in 0..self.zip.len() {
            let file = self.zip.by_index(index).map_err(|error| damaged(&error))?;
            if file.encrypted() {
                return Err(encrypted());
            }
            let packed = file.compressed_size().max(1);
            if packed >= MEASURE_FROM_BYTES {
                let mut member = Member { file, packed, unpacked: 0, budget: Rc::clone(&self.budget) };
                io::copy(&mut member, &mut io::sink()).map_err(|error| unreadable(&error))?;
            }
        }
        Ok(())
    }
}

/// Reads a member and stops when it unpacks to too much.
pub(crate) struct Member<'archive, 'bytes> {
    file: ZipFile<'archive, Cursor<&'bytes [u8]>>,
    packed: u64,
    unpacked: u64,
    budget: Rc<Cell<u64>>,
}

impl Read for Member<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.unpacked += count as u64;
        let left = self.budget.get().checked_sub(count as u64);
        self.budget.set(left.unwrap_or(0));
        let exploding = self.unpacked > RATIO_FROM_BYTES && self.unpacked / self.packed > MAX_RATIO;
        if left.is_none() || exploding {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        Ok(count)
    }
}

/// The error for a member that could not be read.
pub(crate) fn unreadable(error: &io::Error) -> ParseError {
    match error.kind() {
        io::ErrorKind::QuotaExceeded => ParseError::too_large(
            "The file unpacks to far more than a document should. Save it again from its program or split it.",
        ),
        io::ErrorKind::FileTooLarge => ParseError::too_large(
            "The file has a single element of many megabytes. Save it again from its program or split it.",
        ),
        _ => damaged(error),
    }
}

fn encrypted() -> ParseError {
    ParseError::new(
        ParseErrorKind::Encrypted,
        "The file is protected by a password. Remove the password and upload it again.",
    )
}

fn damaged(error: &dyn std::error::Error) -> ParseError {
    let detail: String = error.to_string().chars().take(120).collect();
    ParseError::damaged(format!("The file is damaged ({detail}). Open it, save it again and upload that."))
}
