//! CSV and TSV: each row is a record.

use crate::block::{Block, BlockSink};
use crate::table::{TableText, all_words};
use crate::{ParseError, ParseOptions, ProgressUnit};

const PROGRESS_ROWS: u64 = 5_000;

/// Sends the rows of `text`; without a `delimiter` it is found out from the first line.
pub(crate) fn parse(
    text: &str,
    delimiter: Option<u8>,
    options: &ParseOptions,
    sink: &mut dyn BlockSink,
) -> Result<(), ParseError> {
    let delimiter = delimiter.unwrap_or_else(|| guess_delimiter(text));
    check_width(text, delimiter, options)?;
    let mut reader =
        csv::ReaderBuilder::new().has_headers(false).flexible(true).delimiter(delimiter).from_reader(text.as_bytes());
    let mut table = TableText::default();
    let (mut rows, mut cells) = (0_u64, 0_u64);
    let mut row = csv::StringRecord::new();
    while reader.read_record(&mut row).map_err(|error| damaged(&error))? {
        rows += 1;
        cells += row.len() as u64;
        if row.len() > options.max_columns as usize {
            return Err(too_wide(options));
        }
        if cells > options.max_cells {
            return Err(ParseError::too_large(format!(
                "The file has more than {} cells. Split it into smaller files and upload those.",
                options.max_cells
            )));
        }
        let values: Vec<String> = row.iter().map(str::to_owned).collect();
        let words = all_words(&values);
        if let Some(line) = table.row(values, words) {
            sink.block(Block::Record(line))?;
        }
        if rows.is_multiple_of(PROGRESS_ROWS) {
            let done = row.position().map_or(0, csv::Position::byte);
            sink.progress(done, text.len() as u64, ProgressUnit::Bytes)?;
        }
    }
    match table.finish() {
        Some(line) => sink.block(Block::Record(line)),
        None => Ok(()),
    }
}

fn damaged(error: &csv::Error) -> ParseError {
    ParseError::damaged(format!("The file is not valid delimited text: {error}. Export it again as UTF-8 CSV."))
}

fn too_wide(options: &ParseOptions) -> ParseError {
    ParseError::too_large(format!(
        "A row has more than {} columns. Check the file for a wrong separator or split it.",
        options.max_columns
    ))
}

/// Refuses rows that are far too wide before the reader makes a list of their cells.
fn check_width(text: &str, delimiter: u8, options: &ParseOptions) -> Result<(), ParseError> {
    let (mut columns, mut quoted) = (0_u32, false);
    for byte in text.bytes() {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' | b'\r' if !quoted => columns = 0,
            _ if byte == delimiter && !quoted => {
                columns += 1;
                if columns > options.max_columns {
                    return Err(too_wide(options));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn guess_delimiter(text: &str) -> u8 {
    let mut best = (b',', 0);
    for candidate in [b',', b';', b'\t', b'|'] {
        let (mut count, mut quoted) = (0, false);
        for byte in text.trim_start_matches(['\r', '\n']).bytes().take(64 << 10) {
            match byte {
                b'"' => quoted = !quoted,
                b'\n' if !quoted => break,
                _ if byte == candidate && !quoted => count += 1,
                _ => {}
            }
        }
        if count > best.1 {
            best = (candidate, count);
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ParseErrorKind;
    use crate::block::collect::{Collected, record};

    fn blocks(text: &str, delimiter: Option<u8>) -> Vec<Block> {
        let mut collected = Collected::default();
        parse(text, delimiter, &ParseOptions::default(), &mut collected).unwrap();
        collected.0
    }

    #[test]
    fn rows_carry_their_header() {
        assert_eq!(
            blocks("問題,答案\n如何退貨？,\"七天內，\n附發票\"\n運費?,60\n", None),
            [record("問題: 如何退貨？; 答案: 七天內，\n附發票"), record("問題: 運費?; 答案: 60")]
        );
        assert_eq!(blocks("name\tprice\nA\t1\n", Some(b'\t')), [record("name: A; price: 1")]);
        assert_eq!(blocks("name;price\nA;1,5\n", None), [record("name: A; price: 1,5")]);
    }

    #[test]
    fn very_wide_rows_are_refused() {
        let error = parse(&",".repeat(20_000), None, &ParseOptions::default(), &mut Collected::default()).unwrap_err();
        assert_eq!(error.kind, ParseErrorKind::TooLarge);
    }
}
