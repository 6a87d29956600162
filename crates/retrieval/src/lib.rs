//! Text analysis, full-text and vector search, fusion, scores.
//!
//! Owns the indexes of the data directory. They are derived from the database, propose passages by
//! id and can always be rebuilt: whoever searches loads each passage from the database and checks
//! again that it may be shown. Knows nothing of SQL, HTTP or models. Every search takes a [`Scope`];
//! an empty one finds nothing.

mod analysis;
mod coverage;
mod error;
mod fold;
mod function_words;
mod fusion;
mod scope;
mod text;
mod vectors;

pub use analysis::{Analysis, TermKind};
pub use coverage::{PassageTerms, QuestionTerms};
pub use error::{Error, Result};
pub use fold::{fold, fold_char};
pub use fusion::fuse;
pub use scope::{BaseScope, Scope, Selection, Source};
pub use text::{Change, IndexedPassage, OpenedText, TextHealth, TextHit, TextIndex, TextResults};
pub use vectors::{IndexedVector, OpenedVectors, VectorChange, VectorHit, VectorIndex};
