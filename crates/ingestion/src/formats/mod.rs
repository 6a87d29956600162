//! One file per document format, each: bytes to blocks.

pub(crate) mod delimited;
pub(crate) mod html;
pub(crate) mod json;
pub(crate) mod markdown;
pub(crate) mod text;
