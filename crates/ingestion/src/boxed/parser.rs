//! The parent's side: starts one child per document, reads its answers, ends it.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{Semaphore, mpsc};

use super::frame::{Answer, MAX_FRAME_BYTES, Order};
use super::recognise::recognise;
use crate::format::HEAD_BYTES;
use crate::{Format, ParseError, ParseErrorKind, ParseEvent, ParseOptions, ParseSummary};

pub(super) const OUT_OF_MEMORY: &str =
    "The document needs more memory than one document may use. Split it into smaller documents and upload those.";
const STDERR_BYTES: usize = 8 << 10;

/// What one child process may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParseLimits {
    /// Time from start to end, including waiting.
    pub wall: Duration,
    /// Processor time, in seconds.
    pub cpu_seconds: u64,
    /// Address space, in bytes; what is resident is below it.
    pub address_space_bytes: u64,
    /// Bytes of all answers together.
    pub output_bytes: u64,
}

impl Default for ParseLimits {
    fn default() -> Self {
        Self { wall: Duration::from_secs(30), cpu_seconds: 30, address_space_bytes: 512 << 20, output_bytes: 256 << 20 }
    }
}

/// How children are started.
#[derive(Debug, Clone)]
pub struct BoxedParserConfig {
    /// The program that calls [`parse_child`](super::parse_child); `/proc/self/exe` is the running program itself,
    /// also after its file was replaced.
    pub executable: PathBuf,
    /// Arguments before the child's own, for example the hidden subcommand.
    pub arguments: Vec<OsString>,
    /// Limits of each child.
    pub limits: ParseLimits,
    /// Children at the same time; further documents wait. At least 1.
    pub concurrency: usize,
}

/// Parses documents in boxed child processes. Cheap to clone; clones share the limit on children.
#[derive(Debug, Clone)]
pub struct BoxedParser {
    config: Arc<BoxedParserConfig>,
    slots: Arc<Semaphore>,
}

impl BoxedParser {
    /// Prepares a parser; nothing is started before the first document.
    pub fn new(config: BoxedParserConfig) -> Self {
        let slots = Arc::new(Semaphore::new(config.concurrency.max(1)));
        Self { config: Arc::new(config), slots }
    }

    /// Parses one document. `file` should be open for reading only; it is read from its start. Passages and progress
    /// go to `events` while the parse runs; a full channel slows the child down. Dropping the future ends the child.
    ///
    /// # Errors
    /// A [`ParseError`] whose reason can be shown to the person who uploaded the file. Passages sent before it belong
    /// to a failed parse and are to be thrown away.
    pub async fn parse(
        &self,
        file: File,
        filename: &str,
        options: &ParseOptions,
        events: mpsc::Sender<ParseEvent>,
    ) -> Result<ParseSummary, ParseError> {
        let slot = self.slots.acquire().await;
        let _slot = slot.map_err(|error| ParseError::internal(format!("The parser is closed: {error}.")))?;
        let (file, head) = read_head(file).await?;
        let format = Format::of(filename, &head)?;
        let scan = match (&options.tesseract, format) {
            (Some(tesseract), Format::Pdf) => {
                let copy = file.try_clone().map_err(|error| {
                    ParseError::internal(format!("The stored file could not be kept open: {error}."))
                })?;
                Some((tesseract, copy))
            }
            _ => None,
        };
        let order = Order { format, options: options.clone(), limits: self.config.limits };
        let result = self.run_child(file, &order, &events).await;
        match (result, scan) {
            (Err(error), Some((tesseract, copy))) if error.kind == ParseErrorKind::NoText => {
                recognise(&copy, tesseract, options, &events).await
            }
            (result, _) => result,
        }
    }

    async fn run_child(
        &self,
        file: File,
        order: &Order,
        events: &mpsc::Sender<ParseEvent>,
    ) -> Result<ParseSummary, ParseError> {
        let mut child = self.start(file, order)?;
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(ParseError::internal("The parser was started without pipes."));
        };
        let wall = self.config.limits.wall;
        let reading = async {
            let (answers, complaint) =
                tokio::join!(read_answers(stdout, self.config.limits.output_bytes, events), read_complaint(stderr));
            let answers = answers?;
            let status = child.wait().await.map_err(|error| lost(&error))?;
            Ok::<_, ParseError>((answers, complaint, status))
        };
        let outcome = tokio::time::timeout(wall, reading).await;
        // Whatever happened, the child is gone and reaped before this returns.
        if child.try_wait().ok().flatten().is_none() {
            child.kill().await.map_err(|error| lost(&error))?;
        }
        match outcome {
            Err(_elapsed) => Err(ParseError::new(
                ParseErrorKind::TimedOut,
                format!(
                    "Reading the document took longer than {} seconds. Split it into smaller documents and upload those.",
                    wall.as_secs_f32()
                ),
            )),
            Ok(Err(error)) => Err(error),
            Ok(Ok((Some(result), _, _))) => result,
            Ok(Ok((None, complaint, status))) => Err(explain(status, &complaint)),
        }
    }

    fn start(&self, file: File, order: &Order) -> Result<Child, ParseError> {
        let text = serde_json::to_string(order)
            .map_err(|error| ParseError::internal(format!("The parser's order could not be written: {error}.")))?;
        Command::new(&self.config.executable)
            .args(&self.config.arguments)
            .arg(text)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(file))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| ParseError::internal(format!("The parser process could not be started: {error}.")))
    }
}

fn lost(error: &std::io::Error) -> ParseError {
    ParseError::internal(format!("The parser process was lost: {error}."))
}

async fn read_head(file: File) -> Result<(File, Vec<u8>), ParseError> {
    let reading = tokio::task::spawn_blocking(move || {
        let mut head = vec![0; HEAD_BYTES];
        let mut filled = 0;
        while let Some(rest) = head.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, filled as u64)? {
                0 => break,
                count => filled += count,
            }
        }
        head.truncate(filled);
        Ok::<_, std::io::Error>((file, head))
    });
    match reading.await {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(error)) => Err(ParseError::internal(format!("The stored file could not be read: {error}."))),
        Err(error) => Err(ParseError::internal(format!("The stored file could not be read: {error}."))),
    }
}

/// Reads answers until the last one or the end of the pipe; `None` when the child ended without a last one.
async fn read_answers(
    pipe: impl AsyncRead + Unpin,
    output_bytes: u64,
    events: &mpsc::Sender<ParseEvent>,
) -> Result<Option<Result<ParseSummary, ParseError>>, ParseError> {
    let mut pipe = BufReader::with_capacity(64 << 10, pipe);
    let mut total = 0_u64;
    let mut body = Vec::new();
    loop {
        let Ok(length) = pipe.read_u32().await else { return Ok(None) };
        total += u64::from(length);
        if length > MAX_FRAME_BYTES || total > output_bytes {
            return Err(ParseError::too_large(
                "The document holds more text than one document may have. Split it and upload the parts.",
            ));
        }
        body.resize(length as usize, 0);
        if pipe.read_exact(&mut body).await.is_err() {
            return Ok(None);
        }
        let answer = serde_json::from_slice(&body).map_err(|error| {
            ParseError::new(ParseErrorKind::Crashed, format!("The parser gave an answer that makes no sense: {error}."))
        })?;
        match answer {
            Answer::Done(summary) => return Ok(Some(Ok(summary))),
            Answer::Failed(error) => return Ok(Some(Err(error))),
            Answer::Event(event) => {
                if events.send(event).await.is_err() {
                    return Err(ParseError::new(ParseErrorKind::Cancelled, "Nobody waits for the document any more."));
                }
            }
        }
    }
}

/// Keeps the first few kilobytes of what the child says about itself and drops the rest.
async fn read_complaint(mut pipe: impl AsyncRead + Unpin) -> String {
    let mut kept = Vec::new();
    let mut buffer = vec![0; 4096];
    while let Ok(count) = pipe.read(&mut buffer).await {
        if count == 0 {
            break;
        }
        let room = STDERR_BYTES.saturating_sub(kept.len());
        kept.extend_from_slice(buffer.get(..count.min(room)).unwrap_or_default());
    }
    String::from_utf8_lossy(&kept).into_owned()
}

/// Why a child ended without an answer.
fn explain(status: ExitStatus, complaint: &str) -> ParseError {
    let signal = status.signal();
    tracing::warn!(%status, complaint, "the document parser ended without an answer");
    if signal == Some(libc::SIGXCPU) || signal == Some(libc::SIGKILL) {
        return ParseError::new(
            ParseErrorKind::TimedOut,
            "Reading the document took too much computing time. Split it into smaller documents and upload those.",
        );
    }
    if complaint.contains("memory allocation of") || complaint.contains("out of memory") {
        return ParseError::new(ParseErrorKind::OutOfMemory, OUT_OF_MEMORY);
    }
    if status.code() == Some(127) || status.code() == Some(2) {
        return ParseError::internal("The parser process does not work on this machine.");
    }
    ParseError::new(
        ParseErrorKind::Crashed,
        "The document made the parser fail, so it is probably damaged. Open it, save it again and upload it.",
    )
}
