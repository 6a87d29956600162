//! Lists of ids in a body, such as the knowledge bases of an assistant.

use std::collections::HashSet;

use parlance_domain::{Error, FieldErrors, Id, IdKind, Result};

/// Ids of one list at most.
const MAX_IDS: usize = 1_000;

/// Refuses a list that is too long, before anything is asked about it.
///
/// # Errors
/// `Invalid` on `field`.
pub fn check_length(field: &str, length: usize) -> Result<()> {
    if length > MAX_IDS {
        return Err(Error::field(field, format!("Ensure this field has no more than {MAX_IDS} elements.")));
    }
    Ok(())
}

/// An error with this sentence on each id of a list that is not among the known ones.
pub(crate) fn check_known<K: IdKind>(field: &str, ids: &[Id<K>], known: &HashSet<Id<K>>, sentence: &str) -> Result<()> {
    let mut errors = FieldErrors::default();
    for (position, id) in ids.iter().enumerate() {
        if !known.contains(id) {
            errors.add(format!("{field}.{position}.id"), sentence);
        }
    }
    errors.finish()
}
