//! Documents through the boxed child: results, limits, and what is left behind.

use std::time::Duration;

use parlance_ingestion::{BoxedParser, BoxedParserConfig, ParseErrorKind, ParseLimits, ParseOptions};
use tokio::sync::mpsc;

use crate::make_pdf::{cjk_pdf, sentence, sixty_pages, utf16_hex};
use crate::run::{alone, children, limits, open, parse, parse_with, parser};

#[tokio::test]
async fn a_text_file_comes_back_as_passages() {
    let _alone = alone().await;
    let text = "第一段。\n\n".repeat(300);
    let parsed = parse("說明.txt", text.as_bytes()).await;
    let summary = parsed.result.unwrap();
    assert_eq!(summary.passages as usize, parsed.passages.len());
    assert_eq!(parsed.passages.len(), 3);
    assert_eq!(parsed.passages[0].text.chars().count(), 499);
    let count: usize = parsed.passages.iter().map(|passage| passage.text.matches("第一段").count()).sum();
    assert_eq!(count, 300);
    assert_eq!(children(), Vec::<String>::new());
}

#[tokio::test]
async fn sixty_pages_with_a_font_that_is_not_embedded() {
    let _alone = alone().await;
    for cmap in ["UniCNS-UCS2-H", "UniCNS-UTF16-H"] {
        let parsed = parse("manual.pdf", &cjk_pdf(cmap, &sixty_pages(), utf16_hex)).await;
        assert_eq!(parsed.result.unwrap().pages, Some(60));
        assert_eq!(parsed.progress.last(), Some(&(60, 60)));
        for page in 1..=60 {
            let found: Vec<_> =
                parsed.passages.iter().filter(|passage| passage.text.contains(&sentence(page))).collect();
            assert_eq!(found.len(), 1, "page {page}");
            assert_eq!(found[0].page, u32::try_from(page).ok());
        }
    }
}

#[tokio::test]
async fn code_pages_of_fonts_that_are_not_embedded() {
    let _alone = alone().await;
    let lines = vec![vec!["保固期限為兩年，請保留發票。".to_owned()]];
    let big5 = |text: &str| encoding_rs::BIG5.encode(text).0.iter().map(|byte| format!("{byte:02X}")).collect();
    let parsed = parse("a.pdf", &cjk_pdf("ETen-B5-H", &lines, big5)).await;
    assert_eq!(parsed.passages[0].text, lines[0][0]);
    let utf8 = |text: &str| text.bytes().map(|byte| format!("{byte:02X}")).collect();
    let parsed = parse("a.pdf", &cjk_pdf("UniCNS-UTF8-H", &lines, utf8)).await;
    assert_eq!(parsed.passages[0].text, lines[0][0]);
    // Glyph numbers without a map to characters are refused, not guessed.
    let parsed = parse("a.pdf", &cjk_pdf("Identity-H", &lines, utf16_hex)).await;
    let error = parsed.result.unwrap_err();
    assert_eq!(error.kind, ParseErrorKind::NoText);
    assert!(error.reason.contains("fonts"), "{}", error.reason);
}

#[tokio::test]
async fn a_name_that_lies_is_told() {
    let _alone = alone().await;
    let parsed = parse("a.pdf", b"plain text").await;
    assert_eq!(parsed.result.unwrap_err().kind, ParseErrorKind::Mismatch);
}

#[tokio::test]
async fn time_memory_and_output_have_limits() {
    let _alone = alone().await;
    let text = "字".repeat(200_000);
    let slow = ParseLimits { wall: Duration::from_millis(1), ..limits() };
    let parsed = parse_with(&parser(slow), "a.txt", text.as_bytes(), &ParseOptions::default()).await;
    assert_eq!(parsed.result.unwrap_err().kind, ParseErrorKind::TimedOut);

    let small = ParseLimits { address_space_bytes: 48 << 20, ..limits() };
    let big = "a,b\n".repeat(8 << 20);
    let parsed = parse_with(&parser(small), "a.txt", big.as_bytes(), &ParseOptions::default()).await;
    assert_eq!(parsed.result.unwrap_err().kind, ParseErrorKind::OutOfMemory);

    let quiet = ParseLimits { output_bytes: 10_000, ..limits() };
    let parsed = parse_with(&parser(quiet), "a.txt", text.as_bytes(), &ParseOptions::default()).await;
    assert_eq!(parsed.result.unwrap_err().kind, ParseErrorKind::TooLarge);
    assert_eq!(children(), Vec::<String>::new());
}

#[tokio::test]
async fn a_dropped_parse_ends_its_child() {
    let _alone = alone().await;
    let (events, received) = mpsc::channel(1);
    let parser = parser(limits());
    let text = "句子。".repeat(500_000);
    let options = ParseOptions::default();
    {
        // Nobody reads the channel, so the child is stuck in the middle when the future is dropped.
        let parsing = parser.parse(open(text.as_bytes()), "a.txt", &options, events);
        tokio::select! {
            _ = parsing => unreachable!("the channel is full"),
            () = tokio::time::sleep(Duration::from_millis(300)) => {}
        }
        drop(received);
    }
    for _ in 0..100 {
        if children().is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("a child is left: {:?}", children());
}

#[tokio::test]
async fn a_missing_program_is_our_fault_not_the_document_s() {
    let _alone = alone().await;
    let parser = BoxedParser::new(BoxedParserConfig {
        executable: "/nonexistent/program".into(),
        arguments: Vec::new(),
        limits: limits(),
        concurrency: 1,
    });
    let parsed = parse_with(&parser, "a.txt", b"text", &ParseOptions::default()).await;
    let error = parsed.result.unwrap_err();
    assert_eq!(error.kind, ParseErrorKind::Internal);
    assert!(error.is_transient());
}

/// Two scripts in place of the real tools: they check that the file and the picture arrive, page by page.
#[tokio::test]
async fn scanned_pages_go_through_the_recognition_tools() {
    let _alone = alone().await;
    let directory = tempfile::tempdir().unwrap();
    let script = |name: &str, body: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        path
    };
    // Draws pages 1 and 2 of a file that starts as a PDF does.
    script("pdftoppm", r#"[ "$(head -c 4)" = "%PDF" ] && [ "$6" -le 2 ] && printf 'picture %s' "$6""#);
    let tesseract = script("tesseract", r#"printf '第 一 行 from %s with %s' "$(cat)" "$4""#);
    let mut file = crate::make_pdf::PdfFile::default();
    file.add("<< /Type /Catalog /Pages 2 0 R >>");
    file.add("<< /Type /Pages /Kids [3 0 R] /Count 1 >>");
    file.add("<< /Type /Page /Parent 2 0 R >>");
    let bytes = file.finish();

    let parsed = parse("scan.pdf", &bytes).await;
    let error = parsed.result.unwrap_err();
    assert_eq!(error.kind, ParseErrorKind::NoText);
    assert!(error.reason.contains("no text layer"), "{}", error.reason);

    let options = ParseOptions { tesseract: Some(tesseract), ..ParseOptions::default() };
    let parsed = parse_with(&parser(limits()), "scan.pdf", &bytes, &options).await;
    assert_eq!(parsed.result.unwrap().pages, Some(2));
    let found: Vec<_> = parsed.passages.iter().map(|passage| (passage.page, passage.text.as_str())).collect();
    let expected = ["第一行 from picture 1 with chi_tra+eng", "第一行 from picture 2 with chi_tra+eng"];
    assert_eq!(found, [(Some(1), expected[0]), (Some(2), expected[1])]);
    assert_eq!(children(), Vec::<String>::new());
}
