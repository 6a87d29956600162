//! The parser as the product uses it: real files through the real boxed child.

mod boxed;
mod fixtures;
mod hostile;
mod make_hostile;
mod make_pdf;
mod probe;
mod run;
