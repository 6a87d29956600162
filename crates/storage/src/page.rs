//! Pages of a list.

use serde::Serialize;

/// Which part of a list is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Rows to skip.
    pub offset: u64,
    /// Rows at most.
    pub limit: u64,
}

impl Page {
    /// Everything, up to the largest page of the API.
    pub const ALL: Self = Self { offset: 0, limit: 10_000 };

    pub(crate) fn limit_sql(self) -> i64 {
        i64::try_from(self.limit).unwrap_or(i64::MAX)
    }

    pub(crate) fn offset_sql(self) -> i64 {
        i64::try_from(self.offset).unwrap_or(i64::MAX)
    }
}

/// A part of a list and the length of the whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listing<T> {
    /// The rows of the page.
    pub rows: Vec<T>,
    /// Rows in all.
    pub total: u64,
}

/// A count as the engines give it.
pub(crate) fn count(rows: i64) -> u64 {
    u64::try_from(rows).unwrap_or_default()
}

/// Makes `%`, `_` and `\` mean themselves in `LIKE ... ESCAPE '\'`.
pub(crate) fn escape_like(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}

/// Characters of the longest folded name: 255, each of which folds to 18 at most.
const LONGEST_FOLDED_NAME: usize = 255 * 18;

/// Whether a folded filter is longer than any name, so that nothing contains it. SQLite refuses
/// patterns of more than 50,000 bytes instead of finding nothing.
pub(crate) fn is_beyond_any_name(filter: Option<&str>) -> bool {
    filter.is_some_and(|filter| filter.chars().count() > LONGEST_FOLDED_NAME)
}
