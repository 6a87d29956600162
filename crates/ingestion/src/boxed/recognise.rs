//! Text recognition for scanned PDFs with the operator's own tools: `pdftoppm` draws one page, `tesseract` reads it.
//! Both are separate processes with limits and an empty environment; no file is written.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use crate::block::{Block, BlockSink};
use crate::formats::text;
use crate::packer::Packer;
use crate::{ParseError, ParseErrorKind, ParseEvent, ParseOptions, ParseSummary, ProgressUnit};

const DOTS_PER_INCH: &str = "200";
const MAX_PICTURE_BYTES: u64 = 64 << 20;
const MAX_TEXT_BYTES: u64 = 4 << 20;
const PAGE_TIME: Duration = Duration::from_mins(2);
const TOOL_MEMORY_BYTES: u64 = 2 << 30;
const TOOL_CPU_SECONDS: u64 = 120;

/// Recognises the pages of a PDF one after the other.
pub(super) async fn recognise(
    file: &File,
    tesseract: &Path,
    options: &ParseOptions,
    events: &mpsc::Sender<ParseEvent>,
) -> Result<ParseSummary, ParseError> {
    let beside = tesseract.with_file_name("pdftoppm");
    let rasteriser = if beside.is_file() { beside } else { PathBuf::from("pdftoppm") };
    let mut pages = Vec::new();
    let mut characters = 0_u64;
    for number in 1..=options.max_ocr_pages {
        let page = tokio::time::timeout(PAGE_TIME, page_text(file, &rasteriser, tesseract, number, options)).await;
        let page = page.map_err(|_elapsed| {
            ParseError::new(
                ParseErrorKind::TimedOut,
                format!("Text recognition of page {number} took too long. Upload a searchable PDF instead."),
            )
        })??;
        let Some(page) = page else { break };
        characters += page.len() as u64;
        if characters > options.max_text_characters {
            return Err(ParseError::too_large("The scanned PDF holds too much text. Split it and upload the parts."));
        }
        pages.push(page);
        send(events, ParseEvent::Progress { done: u64::from(number), total: 0, unit: ProgressUnit::Pages }).await?;
    }
    let (summary, passages) = pack(&pages, options)?;
    for batch in passages {
        send(events, batch).await?;
    }
    if summary.passages == 0 {
        return Err(ParseError::new(
            ParseErrorKind::NoText,
            "No text was recognised on the scanned pages. Upload a sharper scan or a searchable PDF.",
        ));
    }
    Ok(summary)
}

async fn send(events: &mpsc::Sender<ParseEvent>, event: ParseEvent) -> Result<(), ParseError> {
    events
        .send(event)
        .await
        .map_err(|_closed| ParseError::new(ParseErrorKind::Cancelled, "Nobody waits for the document any more."))
}

/// Recognised text is plain text; packing it needs no box.
fn pack(pages: &[String], options: &ParseOptions) -> Result<(ParseSummary, Vec<ParseEvent>), ParseError> {
    let mut batches = Vec::new();
    let mut sink = |event| {
        batches.push(event);
        Ok(())
    };
    let mut packer = Packer::new(options, &mut sink);
    for (page, number) in pages.iter().zip(1_u32..) {
        packer.block(Block::Page(Some(number)))?;
        text::parse(&without_gaps(page), &mut packer)?;
    }
    let summary = packer.finish()?;
    Ok((summary, batches))
}

/// The text of one page, or nothing after the last page.
async fn page_text(
    file: &File,
    rasteriser: &Path,
    tesseract: &Path,
    number: u32,
    options: &ParseOptions,
) -> Result<Option<String>, ParseError> {
    let page = number.to_string();
    let input = rewound(file).map_err(|error| ParseError::internal(format!("The stored file was lost: {error}.")))?;
    let arguments = ["-r", DOTS_PER_INCH, "-gray", "-png", "-f", &page, "-l", &page, "-"];
    let mut drawing = start(rasteriser, &arguments, Stdio::from(input))?;
    let picture = read_all(&mut drawing, MAX_PICTURE_BYTES).await?;
    if picture.is_empty() {
        return Ok(None);
    }
    let arguments = ["stdin", "stdout", "-l", &options.ocr_languages];
    let mut reading = start(tesseract, &arguments, Stdio::piped())?;
    let Some(mut pipe) = reading.stdin.take() else {
        return Err(ParseError::internal("The text recognition was started without pipes."));
    };
    let feeding = async move {
        // A tool that ends early closes the pipe; its output then says why.
        drop(pipe.write_all(&picture).await);
        drop(pipe);
    };
    let (text, ()) = tokio::join!(read_all(&mut reading, MAX_TEXT_BYTES), feeding);
    Ok(Some(String::from_utf8_lossy(&text?).into_owned()))
}

fn rewound(file: &File) -> io::Result<File> {
    let mut copy = file.try_clone()?;
    copy.seek(SeekFrom::Start(0))?;
    Ok(copy)
}

fn start(program: &Path, arguments: &[&str], input: Stdio) -> Result<Child, ParseError> {
    let unusable =
        |error: &dyn std::fmt::Display| ParseError::internal(format!("{} cannot be used: {error}.", program.display()));
    let child = Command::new(program)
        .args(arguments)
        .env_clear()
        // One page at a time on one core; more threads would only compete with the rest of the server.
        .env("OMP_THREAD_LIMIT", "1")
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .current_dir("/")
        .stdin(input)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| unusable(&error))?;
    let process = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(process) = process {
        for (resource, value) in [(Resource::As, TOOL_MEMORY_BYTES), (Resource::Cpu, TOOL_CPU_SECONDS)] {
            let limit = Rlimit { current: Some(value), maximum: Some(value) };
            match prlimit(Some(process), resource, limit) {
                // The tool may have ended already.
                Ok(_) | Err(rustix::io::Errno::SRCH) => {}
                Err(error) => return Err(unusable(&error)),
            }
        }
    }
    Ok(child)
}

async fn read_all(child: &mut Child, limit: u64) -> Result<Vec<u8>, ParseError> {
    let failed = |error: io::Error| ParseError::internal(format!("The text recognition was lost: {error}."));
    let mut bytes = Vec::new();
    if let Some(pipe) = child.stdout.take() {
        pipe.take(limit + 1).read_to_end(&mut bytes).await.map_err(failed)?;
    }
    if bytes.len() as u64 > limit {
        child.kill().await.map_err(failed)?;
        return Err(ParseError::too_large("A scanned page is far too large. Scan it with a lower resolution."));
    }
    child.wait().await.map_err(failed)?;
    Ok(bytes)
}

/// The program puts spaces between ideographs; text has none there.
fn without_gaps(text: &str) -> String {
    let ideograph = |character: Option<char>| {
        character.is_some_and(|character| matches!(character, '\u{3000}'..='\u{9FFF}' | '\u{FF00}'..='\u{FFEF}'))
    };
    let mut joined = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let between = ideograph(joined.chars().next_back()) && ideograph(characters.peek().copied());
        if !(character == ' ' && between) {
            joined.push(character);
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::without_gaps;

    #[test]
    fn gaps_between_ideographs_go_and_others_stay() {
        assert_eq!(without_gaps("退 貨 政 策 ： 7 天 內 return it\n下 一 行"), "退貨政策： 7 天內 return it\n下一行");
    }
}
