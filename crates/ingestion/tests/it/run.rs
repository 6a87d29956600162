//! Runs one document through the boxed child.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use parlance_ingestion::{
    BoxedParser, BoxedParserConfig, ParseError, ParseEvent, ParseLimits, ParseOptions, ParseSummary, Passage,
};
use tokio::sync::mpsc;

pub(crate) fn limits() -> ParseLimits {
    ParseLimits { wall: Duration::from_secs(30), ..ParseLimits::default() }
}

pub(crate) fn parser(limits: ParseLimits) -> BoxedParser {
    BoxedParser::new(BoxedParserConfig {
        executable: env!("CARGO_BIN_EXE_parse-document").into(),
        arguments: Vec::new(),
        limits,
        concurrency: 2,
    })
}

pub(crate) fn open(bytes: &[u8]) -> File {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    file.flush().unwrap();
    // Opened anew, for reading only; the name is gone when this returns.
    File::open(file.path()).unwrap()
}

/// What came out of a document.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) result: Result<ParseSummary, ParseError>,
    pub(crate) passages: Vec<Passage>,
    pub(crate) progress: Vec<(u64, u64)>,
}

pub(crate) async fn parse_with(parser: &BoxedParser, name: &str, bytes: &[u8], options: &ParseOptions) -> Parsed {
    let (events, mut received) = mpsc::channel(4);
    let collecting = async {
        let (mut passages, mut progress) = (Vec::new(), Vec::new());
        while let Some(event) = received.recv().await {
            match event {
                ParseEvent::Passages(batch) => passages.extend(batch),
                ParseEvent::Progress { done, total, .. } => progress.push((done, total)),
            }
        }
        (passages, progress)
    };
    let (result, (passages, progress)) = tokio::join!(parser.parse(open(bytes), name, options, events), collecting);
    Parsed { result, passages, progress }
}

pub(crate) async fn parse(name: &str, bytes: &[u8]) -> Parsed {
    parse_with(&parser(limits()), name, bytes, &ParseOptions::default()).await
}

pub(crate) fn fixture_bytes(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)).unwrap()
}

/// A committed fixture, parsed without error.
pub(crate) async fn fixture(name: &str) -> Vec<Passage> {
    let parsed = parse(name, &fixture_bytes(name)).await;
    let summary = parsed.result.unwrap();
    assert_eq!(summary.passages as usize, parsed.passages.len());
    for (index, passage) in parsed.passages.iter().enumerate() {
        assert_eq!(passage.ordinal as usize, index);
        assert!(passage.text.chars().count() <= 500);
        assert_eq!(passage.end - passage.start, passage.text.chars().count() as u64);
    }
    parsed.passages
}

/// Keeps tests apart that start children, so that each can tell whether its own are gone.
pub(crate) async fn alone() -> tokio::sync::MutexGuard<'static, ()> {
    static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    ALONE.lock().await
}

/// Child processes of this process that have not been reaped.
pub(crate) fn children() -> Vec<String> {
    let own = std::process::id().to_string();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let status = |entry: std::fs::DirEntry| std::fs::read_to_string(entry.path().join("stat")).ok();
    processes
        .filter_map(status)
        .filter(|line| {
            let after_name = line.rsplit(") ").next().unwrap_or_default();
            after_name.split(' ').nth(1) == Some(&own)
        })
        .collect()
}
