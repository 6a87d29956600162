//! PDF: text from the content streams of the pages, with positions, on top of the library's object model.

mod cmap;
mod content;
mod font;
mod interpreter;
mod layout;

use std::collections::HashSet;

use lopdf::{DecompressError, Dictionary, Document, Error, LoadOptions, Object, ObjectId, Stream};

use crate::block::{Block, BlockSink};
use crate::packer::Packer;
use crate::{ParseError, ParseErrorKind, ParseOptions, ProgressUnit};

/// Most bytes that one stream may unpack to.
const MAX_STREAM_BYTES: usize = 64 << 20;
const MAX_PAGE_TREE_DEPTH: usize = 64;
const MAX_PAGE_NODES: usize = 200_000;

/// Sends the text of each page.
pub(crate) fn parse(bytes: &[u8], options: &ParseOptions, packer: &mut Packer<'_>) -> Result<(), ParseError> {
    let document = load(bytes)?;
    let pages = pages(&document)?;
    if pages.len() > options.max_pages as usize {
        return Err(ParseError::too_large(format!(
            "The PDF has more than {} pages. Split it and upload the parts.",
            options.max_pages
        )));
    }
    let total = pages.len() as u64;
    let mut interpreter = interpreter::Interpreter::new(&document);
    let (mut readable, mut unreadable) = (0_u32, 0_u32);
    for (page, number) in pages.into_iter().zip(1_u32..) {
        packer.block(Block::Page(Some(number)))?;
        let content = page_content(&document, page)?;
        let resources = inherited_resources(&document, page);
        let shown = interpreter.page(&content, resources)?;
        // A page of which most cannot be read would be rubble: better nothing and a word about it.
        if shown.unreadable > 0 && shown.unreadable >= shown.codes / 2 {
            unreadable += 1;
            packer.note_unreadable_page();
        } else if !shown.spans.is_empty() {
            readable += 1;
            for block in layout::blocks(shown.spans) {
                packer.block(block)?;
            }
        }
        if number.is_multiple_of(10) || u64::from(number) == total {
            packer.progress(u64::from(number), total, ProgressUnit::Pages)?;
        }
    }
    if readable > 0 {
        return Ok(());
    }
    Err(ParseError::new(
        ParseErrorKind::NoText,
        if unreadable > 0 {
            "The fonts of the PDF do not say which characters they show, so its text cannot be read. Export it again \
             with embedded Unicode fonts, or run text recognition (OCR) on it."
        } else {
            "The PDF has no text layer: its pages are probably scanned. Configure text recognition (OCR) or upload a \
             searchable PDF."
        },
    ))
}

fn load(bytes: &[u8]) -> Result<Document, ParseError> {
    let options = LoadOptions::with_max_decompressed_size(MAX_STREAM_BYTES);
    let document = Document::load_mem_with_options(bytes, options).map_err(|error| match error {
        Error::InvalidPassword | Error::Decryption(_) | Error::UnsupportedSecurityHandler(_) => encrypted(),
        Error::Decompress(DecompressError::MemoryLimitExceeded { .. }) => unpacked_too_large(),
        other => damaged(&other.to_string()),
    })?;
    if document.is_encrypted() && document.encryption_state.is_none() {
        return Err(encrypted());
    }
    Ok(document)
}

fn encrypted() -> ParseError {
    ParseError::new(
        ParseErrorKind::Encrypted,
        "The PDF is protected by a password. Remove the password and upload it again.",
    )
}

fn unpacked_too_large() -> ParseError {
    ParseError::too_large(format!(
        "A part of the PDF unpacks to more than {} MB. Export the document again or split it.",
        MAX_STREAM_BYTES >> 20
    ))
}

fn damaged(detail: &str) -> ParseError {
    let detail: String = detail.chars().take(120).collect();
    ParseError::damaged(format!(
        "The PDF is damaged ({detail}). Open it, print or save it as PDF again and upload that."
    ))
}

/// The unpacked bytes of a stream; nothing when it is broken or not text at all, an error when it is a bomb.
fn stream_bytes(stream: &Stream) -> Result<Option<Vec<u8>>, ParseError> {
    match stream.get_plain_content_with_limit(MAX_STREAM_BYTES) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(Error::Decompress(DecompressError::MemoryLimitExceeded { .. })) => Err(unpacked_too_large()),
        Err(_) => Ok(None),
    }
}

/// The pages in order. Every node is visited once, so a tree that bites its tail ends.
fn pages(document: &Document) -> Result<Vec<ObjectId>, ParseError> {
    let root = document
        .catalog()
        .and_then(|catalog| catalog.get(b"Pages"))
        .and_then(Object::as_reference)
        .map_err(|error| damaged(&error.to_string()))?;
    let mut seen = HashSet::new();
    let mut pages = Vec::new();
    let mut stack = vec![(root, 0_usize)];
    while let Some((id, depth)) = stack.pop() {
        if depth > MAX_PAGE_TREE_DEPTH || seen.len() > MAX_PAGE_NODES || !seen.insert(id) {
            continue;
        }
        let Ok(node) = document.get_dictionary(id) else { continue };
        match node.get_deref(b"Kids", document).and_then(Object::as_array) {
            Ok(kids) => stack.extend(kids.iter().rev().filter_map(|kid| Some((kid.as_reference().ok()?, depth + 1)))),
            Err(_) => pages.push(id),
        }
    }
    if pages.is_empty() {
        return Err(damaged("no pages"));
    }
    Ok(pages)
}

fn page_content(document: &Document, page: ObjectId) -> Result<Vec<u8>, ParseError> {
    let mut content = Vec::new();
    let Ok(dictionary) = document.get_dictionary(page) else { return Ok(content) };
    let streams: Vec<&Object> = match dictionary.get_deref(b"Contents", document) {
        Ok(Object::Array(list)) => list.iter().collect(),
        Ok(single) => vec![single],
        Err(_) => return Ok(content),
    };
    for object in streams {
        let Ok((_, Object::Stream(stream))) = document.dereference(object) else { continue };
        if let Some(bytes) = stream_bytes(stream)? {
            content.extend_from_slice(&bytes);
            content.push(b'\n');
        }
        if content.len() > 2 * MAX_STREAM_BYTES {
            return Err(unpacked_too_large());
        }
    }
    Ok(content)
}

/// The resources of a page or of the nearest node above it.
fn inherited_resources(document: &Document, page: ObjectId) -> Option<&Dictionary> {
    let mut node = document.get_dictionary(page).ok()?;
    for _ in 0..MAX_PAGE_TREE_DEPTH {
        if let Ok(resources) = node.get_deref(b"Resources", document).and_then(Object::as_dict) {
            return Some(resources);
        }
        node = node.get_deref(b"Parent", document).and_then(Object::as_dict).ok()?;
    }
    None
}
