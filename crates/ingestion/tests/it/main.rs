//! The parser as the product uses it: real files through the real boxed child.

mod boxed;
mod make_pdf;
mod run;
