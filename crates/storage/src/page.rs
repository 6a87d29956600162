//! Pages of a list.

use futures_util::{Stream, TryStreamExt};
use parlance_domain::{Error, Result};
use serde::Serialize;

use crate::tx::fault;

/// Bytes of texts in one page at most. Rows have texts that people write as long as they like, and a
/// page is held in memory as a whole.
const MAX_BYTES: usize = 16 << 20;

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

/// Some rows of a list that is read from a position on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// Whether more follow that were asked for, but are too long to come along.
    pub is_cut: bool,
}

/// What is left of the bytes of a page.
struct Room {
    bytes: usize,
    is_empty: bool,
}

impl Room {
    const fn new() -> Self {
        Self { bytes: MAX_BYTES, is_empty: true }
    }

    /// Whether a row with texts of so many bytes still goes on the page. The first one always does.
    fn takes(&mut self, bytes: usize) -> bool {
        let fits = self.is_empty || bytes <= self.bytes;
        self.bytes = self.bytes.saturating_sub(bytes);
        self.is_empty = false;
        fits
    }
}

/// How many rows, of which the first ones have texts of so many bytes, one page holds; at least one.
pub(crate) fn fitting(bytes: impl IntoIterator<Item = usize>) -> usize {
    let mut room = Room::new();
    bytes.into_iter().take_while(|bytes| room.takes(*bytes)).count()
}

/// Reads rows until their texts are more than one page holds, at least one row. `bytes` tells the
/// length of those of a row that have no small bound.
pub(crate) async fn collect_part<T>(
    mut rows: impl Stream<Item = sqlx::Result<T>> + Unpin,
    bytes: impl Fn(&T) -> usize,
) -> Result<Part<T>> {
    let mut part = Part { rows: Vec::new(), is_cut: false };
    let mut room = Room::new();
    while let Some(row) = rows.try_next().await.map_err(fault)? {
        if !room.takes(bytes(&row)) {
            part.is_cut = true;
            break;
        }
        part.rows.push(row);
    }
    Ok(part)
}

/// Reads the rows of a page by number, which cannot end early: the next page would begin behind rows
/// that nobody has seen.
///
/// # Errors
/// On `pageSize` when the texts of the rows are more than one page holds.
pub(crate) async fn collect<T>(
    rows: impl Stream<Item = sqlx::Result<T>> + Unpin,
    bytes: impl Fn(&T) -> usize,
) -> Result<Vec<T>> {
    let part = collect_part(rows, bytes).await?;
    if part.is_cut {
        let message = format!(
            "The texts of these rows are more than {} MiB, too much for one page; ask for smaller pages.",
            MAX_BYTES >> 20
        );
        return Err(Error::field("pageSize", message));
    }
    Ok(part.rows)
}

/// Bytes of a text that may be absent.
pub(crate) fn bytes_of(text: Option<&String>) -> usize {
    text.map_or(0, String::len)
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
