//! Workbooks: each sheet is a page, each row a record with the header of its sheet.

use std::io::Cursor;

use calamine::{
    CellErrorType, Data, DataRef, ExcelDateTime, Ods, OdsError, Range, Reader, SheetType, Xls, XlsError, Xlsx,
    XlsxError,
};

use super::archive::Archive;
use crate::block::{Block, BlockSink};
use crate::table::TableText;
use crate::{Format, ParseError, ParseErrorKind, ParseOptions, ProgressUnit};

/// Sends the rows of all sheets. Old and open formats are held in memory as a whole by the library, so they rely on
/// the memory limit of the process; the current Excel format is streamed cell by cell.
pub(crate) fn parse(
    format: Format,
    bytes: &[u8],
    options: &ParseOptions,
    sink: &mut dyn BlockSink,
) -> Result<(), ParseError> {
    match format {
        Format::Xls => {
            let mut book = Xls::new(Cursor::new(bytes)).map_err(|error| match error {
                XlsError::Password => encrypted(),
                other => damaged(&other),
            })?;
            parse_ranges(&mut book, options, sink)
        }
        Format::Ods => {
            Archive::open(bytes, options)?.measure()?;
            let mut book = Ods::new(Cursor::new(bytes)).map_err(|error| match error {
                OdsError::Password => encrypted(),
                other => damaged(&other),
            })?;
            parse_ranges(&mut book, options, sink)
        }
        _ => {
            let mut archive = Archive::open(bytes, options)?;
            drop(archive.required("xl/workbook.xml", "an Excel workbook")?);
            archive.measure()?;
            let book = Xlsx::new(Cursor::new(bytes)).map_err(|error| match error {
                XlsxError::Password => encrypted(),
                other => damaged(&other),
            })?;
            parse_cells(book, options, sink)
        }
    }
}

fn encrypted() -> ParseError {
    ParseError::new(
        ParseErrorKind::Encrypted,
        "The workbook is protected by a password. Remove the password and upload it again.",
    )
}

fn damaged(error: &dyn std::error::Error) -> ParseError {
    let detail: String = error.to_string().chars().take(120).collect();
    if detail.contains("limit exceeded") {
        return ParseError::too_large(format!(
            "The workbook claims far too many cells ({detail}). Remove empty rows and columns and upload it again."
        ));
    }
    ParseError::damaged(format!("The workbook is damaged ({detail}). Open it, save it again and upload that."))
}

/// One sheet on its way to records.
struct SheetRows<'sheet> {
    name: &'sheet str,
    number: u32,
    table: TableText,
    started: bool,
}

impl<'sheet> SheetRows<'sheet> {
    fn new(name: &'sheet str, number: u32) -> Self {
        Self { name, number, table: TableText::default(), started: false }
    }

    fn row(&mut self, cells: Vec<String>, all_text: bool, sink: &mut dyn BlockSink) -> Result<(), ParseError> {
        match self.table.row(cells, all_text) {
            Some(line) => self.send(line, sink),
            None => Ok(()),
        }
    }

    /// A sheet without rows leaves no trace, so its name is only sent before its first row.
    fn send(&mut self, line: String, sink: &mut dyn BlockSink) -> Result<(), ParseError> {
        if !std::mem::replace(&mut self.started, true) {
            sink.block(Block::Part)?;
            sink.block(Block::Page(Some(self.number)))?;
            sink.block(Block::Heading { level: 1, text: self.name.to_owned() })?;
        }
        sink.block(Block::Record(line))
    }

    fn finish(mut self, sink: &mut dyn BlockSink) -> Result<(), ParseError> {
        match std::mem::take(&mut self.table).finish() {
            Some(line) => self.send(line, sink),
            None => Ok(()),
        }
    }
}

/// Counts cells over all sheets.
struct CellBudget {
    left: u64,
    all: u64,
}

impl CellBudget {
    fn take(&mut self, cells: u64) -> Result<(), ParseError> {
        self.left = self.left.checked_sub(cells).ok_or_else(|| {
            ParseError::too_large(format!(
                "The workbook has more than {} cells. Split it into smaller workbooks and upload those.",
                self.all
            ))
        })?;
        Ok(())
    }
}

fn parse_cells(
    mut book: Xlsx<Cursor<&[u8]>>,
    options: &ParseOptions,
    sink: &mut dyn BlockSink,
) -> Result<(), ParseError> {
    let sheets = book.sheets_metadata().to_vec();
    let mut budget = CellBudget { left: options.max_cells, all: options.max_cells };
    for (sheet, number) in sheets.iter().zip(1_u32..) {
        if sheet.typ != SheetType::WorkSheet {
            continue;
        }
        let mut rows = SheetRows::new(&sheet.name, number);
        let mut reader = book.worksheet_cells_reader(&sheet.name).map_err(|error| damaged(&error))?;
        let (mut current, mut cells, mut all_text) = (None, Vec::new(), true);
        while let Some(cell) = reader.next_cell().map_err(|error| damaged(&error))? {
            budget.take(1)?;
            let (row, column) = cell.get_position();
            if current != Some(row) {
                rows.row(std::mem::take(&mut cells), all_text, sink)?;
                (current, all_text) = (Some(row), true);
            }
            if column >= options.max_columns {
                return Err(ParseError::too_large(format!(
                    "A row has more than {} columns. Remove the far cells and upload the workbook again.",
                    options.max_columns
                )));
            }
            let (text, is_text) = reference_text(cell.get_value());
            if text.is_empty() {
                continue;
            }
            all_text &= is_text;
            let column = column as usize;
            if cells.len() <= column {
                cells.resize(column + 1, String::new());
            }
            if let Some(slot) = cells.get_mut(column) {
                *slot = text;
            }
        }
        rows.row(cells, all_text, sink)?;
        rows.finish(sink)?;
        sink.progress(u64::from(number), sheets.len() as u64, ProgressUnit::Sheets)?;
    }
    Ok(())
}

fn parse_ranges<'bytes, B>(book: &mut B, options: &ParseOptions, sink: &mut dyn BlockSink) -> Result<(), ParseError>
where
    B: Reader<Cursor<&'bytes [u8]>>,
    B::Error: std::error::Error,
{
    let names = book.sheet_names();
    let mut budget = CellBudget { left: options.max_cells, all: options.max_cells };
    for (name, number) in names.iter().zip(1_u32..) {
        let range: Range<Data> = book.worksheet_range(name).map_err(|error| damaged(&error))?;
        let mut rows = SheetRows::new(name, number);
        for row in range.rows() {
            budget.take(row.len() as u64)?;
            let cells: Vec<(String, bool)> = row.iter().map(owned_text).collect();
            let all_text = cells.iter().all(|(text, is_text)| text.is_empty() || *is_text);
            rows.row(cells.into_iter().map(|(text, _)| text).collect(), all_text, sink)?;
        }
        rows.finish(sink)?;
        sink.progress(u64::from(number), names.len() as u64, ProgressUnit::Sheets)?;
    }
    Ok(())
}

/// The text of a cell and whether it is text by type.
fn reference_text(value: &DataRef<'_>) -> (String, bool) {
    match value {
        DataRef::String(text) => (text.clone(), true),
        DataRef::SharedString(text) => ((*text).to_owned(), true),
        DataRef::Int(number) => (number.to_string(), false),
        DataRef::Float(number) => (number_text(*number), false),
        DataRef::Bool(value) => (bool_text(*value), false),
        DataRef::DateTime(moment) => (moment_text(moment), false),
        DataRef::DateTimeIso(text) | DataRef::DurationIso(text) => (text.clone(), false),
        DataRef::Error(error) => (error_text(error), false),
        DataRef::Empty => (String::new(), true),
    }
}

fn owned_text(value: &Data) -> (String, bool) {
    match value {
        Data::String(text) => (text.clone(), true),
        Data::Int(number) => (number.to_string(), false),
        Data::Float(number) => (number_text(*number), false),
        Data::Bool(value) => (bool_text(*value), false),
        Data::DateTime(moment) => (moment_text(moment), false),
        Data::DateTimeIso(text) | Data::DurationIso(text) => (text.clone(), false),
        Data::Error(error) => (error_text(error), false),
        Data::Empty => (String::new(), true),
    }
}

fn bool_text(value: bool) -> String {
    if value { "TRUE".to_owned() } else { "FALSE".to_owned() }
}

/// Formula errors say nothing worth finding.
fn error_text(_error: &CellErrorType) -> String {
    String::new()
}

/// Fifteen significant digits, as spreadsheets show them.
fn number_text(number: f64) -> String {
    let rounded = format!("{number:.14e}").parse::<f64>().unwrap_or(number);
    rounded.to_string()
}

fn moment_text(moment: &ExcelDateTime) -> String {
    let days = moment.as_f64();
    if moment.is_duration() {
        // Hours may be more than a day's.
        let seconds = (days * 86_400.0).round();
        let hours = (seconds / 3600.0).trunc();
        let rest = (seconds - hours * 3600.0).abs();
        return format!("{hours}:{:02}:{:02}", (rest / 60.0).trunc(), rest % 60.0);
    }
    let (year, month, day, hour, minute, second, _) = moment.to_ymd_hms_milli();
    let date = format!("{year:04}-{month:02}-{day:02}");
    let time = format!("{hour:02}:{minute:02}:{second:02}");
    if (0.0..1.0).contains(&days) {
        time
    } else if time == "00:00:00" {
        date
    } else {
        format!("{date} {time}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use calamine::ExcelDateTimeType;

    #[test]
    fn numbers_and_moments_look_as_in_a_spreadsheet() {
        assert_eq!(number_text(0.1 + 0.2), "0.3");
        assert_eq!(number_text(800.0), "800");
        assert_eq!(number_text(-1299.5), "-1299.5");
        let moment = |value, kind| moment_text(&ExcelDateTime::new(value, kind, false));
        assert_eq!(moment(46096.0, ExcelDateTimeType::DateTime), "2026-03-15");
        assert_eq!(moment(46096.5, ExcelDateTimeType::DateTime), "2026-03-15 12:00:00");
        assert_eq!(moment(0.75, ExcelDateTimeType::DateTime), "18:00:00");
        assert_eq!(moment(1.5, ExcelDateTimeType::TimeDelta), "36:00:00");
    }
}
