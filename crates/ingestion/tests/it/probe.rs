//! The box holds: a program in it tries to get out.

use std::process::Command;

use parlance_ingestion::{BoxedParser, BoxedParserConfig, ParseErrorKind, ParseOptions};

use crate::run::{alone, children, limits, parse_with};

#[tokio::test]
async fn nothing_gets_out_of_the_box() {
    let _alone = alone().await;
    let output = Command::new(env!("CARGO_BIN_EXE_probe-box")).env_clear().output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert_eq!(text.lines().count(), 10, "{text}");
    for line in text.lines() {
        assert!(line.ends_with(": denied"), "{line}");
    }
    assert!(!std::path::Path::new("/tmp/parlance-probe").exists());
}

#[tokio::test]
async fn endless_memory_and_endless_loops_end_in_typed_errors() {
    let _alone = alone().await;
    for (mode, kind) in [("allocate", ParseErrorKind::OutOfMemory), ("loop", ParseErrorKind::TimedOut)] {
        let parser = BoxedParser::new(BoxedParserConfig {
            executable: env!("CARGO_BIN_EXE_probe-box").into(),
            arguments: vec![mode.into()],
            limits: limits(),
            concurrency: 1,
        });
        let parsed = parse_with(&parser, "a.txt", b"text", &ParseOptions::default()).await;
        assert_eq!(parsed.result.unwrap_err().kind, kind, "{mode}");
        assert_eq!(children(), Vec::<String>::new());
    }
}
