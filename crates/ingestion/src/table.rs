//! Rows of tables as text: `header: value; header: value`.

const HEADER_CELL_CHARACTERS: usize = 80;

/// Renders the rows of one table. The first row is kept as header when it looks like one.
#[derive(Default)]
pub(crate) struct TableText {
    header: Option<Vec<String>>,
    /// A row that may be the header; it is a plain row when no other row follows.
    first: Option<Vec<String>>,
    seen_rows: bool,
}

impl TableText {
    /// Takes a row that is known to be the header.
    pub(crate) fn set_header(&mut self, cells: Vec<String>) {
        self.seen_rows = true;
        self.header = Some(cells);
    }

    /// Takes the next row; gives its text, or nothing for an empty row and for the header.
    pub(crate) fn row(&mut self, cells: Vec<String>, all_text: bool) -> Option<String> {
        if cells.iter().all(|cell| cell.trim().is_empty()) {
            return None;
        }
        if !self.seen_rows {
            self.seen_rows = true;
            if all_text && looks_like_header(&cells) {
                self.header = Some(cells.clone());
                self.first = Some(cells);
                return None;
            }
        }
        self.first = None;
        Some(self.render(&cells))
    }

    /// Ends the table; gives the header as a row when it was the only one.
    pub(crate) fn finish(self) -> Option<String> {
        let first = self.first?;
        Some(join(first.iter().map(|cell| cell.trim().to_owned())))
    }

    fn render(&self, cells: &[String]) -> String {
        let header = self.header.as_deref().unwrap_or_default();
        join(cells.iter().enumerate().filter(|(_, cell)| !cell.trim().is_empty()).map(|(index, cell)| {
            match header.get(index).map(|name| name.trim()) {
                Some(name) if !name.is_empty() => format!("{}: {}", name.replace('\n', " "), cell.trim()),
                _ => cell.trim().to_owned(),
            }
        }))
    }
}

fn join(parts: impl Iterator<Item = String>) -> String {
    let mut text = String::new();
    for part in parts.filter(|part| !part.is_empty()) {
        if !text.is_empty() {
            text.push_str("; ");
        }
        text.push_str(&part);
    }
    text
}

/// At least two cells with short, different texts that are not numbers.
fn looks_like_header(cells: &[String]) -> bool {
    let filled: Vec<&str> = cells.iter().map(|cell| cell.trim()).filter(|cell| !cell.is_empty()).collect();
    let short = |cell: &&str| cell.chars().count() <= HEADER_CELL_CHARACTERS && !cell.contains("\n\n");
    let wordy = |cell: &&str| cell.chars().any(char::is_alphabetic) && !numeric(cell);
    let mut sorted = filled.clone();
    sorted.sort_unstable();
    sorted.dedup();
    filled.len() >= 2 && sorted.len() == filled.len() && filled.iter().all(|cell| short(cell) && wordy(cell))
}

fn numeric(cell: &str) -> bool {
    cell.parse::<f64>().is_ok()
}

/// Whether delimited text has only words in it, as a header row does.
pub(crate) fn all_words(cells: &[String]) -> bool {
    cells.iter().all(|cell| !numeric(cell.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(values: &[&str]) -> Vec<String> {
        values.iter().map(|value| (*value).to_owned()).collect()
    }

    #[test]
    fn header_is_repeated_in_each_row() {
        let mut table = TableText::default();
        assert_eq!(table.row(cells(&["方案", "價格", ""]), true), None);
        assert_eq!(table.row(cells(&["入門", "100", "備註"]), false).unwrap(), "方案: 入門; 價格: 100; 備註");
        assert_eq!(table.row(cells(&["", " ", ""]), true), None);
        assert_eq!(table.row(cells(&["進階", "", ""]), true).unwrap(), "方案: 進階");
        assert_eq!(table.finish(), None);
    }

    #[test]
    fn a_first_row_with_numbers_or_duplicates_is_no_header() {
        let mut table = TableText::default();
        assert_eq!(table.row(cells(&["a", "1"]), all_words(&cells(&["a", "1"]))).unwrap(), "a; 1");
        let mut table = TableText::default();
        assert_eq!(table.row(cells(&["a", "a"]), true).unwrap(), "a; a");
        let mut table = TableText::default();
        assert_eq!(table.row(cells(&["only column"]), true).unwrap(), "only column");
    }

    #[test]
    fn a_header_alone_is_a_row() {
        let mut table = TableText::default();
        assert_eq!(table.row(cells(&["a", "b"]), true), None);
        assert_eq!(table.finish().unwrap(), "a; b");
    }
}
