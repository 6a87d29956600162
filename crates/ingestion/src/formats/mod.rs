//! One file per document format, each: bytes to blocks.

pub(crate) mod delimited;
pub(crate) mod docx;
pub(crate) mod epub;
pub(crate) mod html;
pub(crate) mod json;
pub(crate) mod markdown;
pub(crate) mod pptx;
pub(crate) mod spreadsheet;
pub(crate) mod text;

mod archive;
mod relationships;
mod xml;
