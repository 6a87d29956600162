//! Hostile files through the boxed child: each ends in a typed error or in bounded output, and nothing is left.

use parlance_ingestion::ParseErrorKind::{Damaged, Encrypted, Mismatch, NoText, OutOfMemory, TimedOut, TooLarge};
use parlance_ingestion::{ParseErrorKind, ParseOptions};

use crate::make_hostile as make;
use crate::run::{alone, children, fixture_bytes, limits, parse, parse_with, parser};

async fn assert_fails(name: &str, bytes: &[u8], allowed: &[ParseErrorKind]) {
    let parsed = parse(name, bytes).await;
    let error = parsed.result.unwrap_err();
    assert!(allowed.contains(&error.kind), "{name}: {error:?}");
    assert!(error.reason.ends_with('.') && error.reason.len() > 30, "{name}: {}", error.reason);
    assert_eq!(children(), Vec::<String>::new(), "{name}");
}

#[tokio::test]
async fn word_bombs() {
    let _alone = alone().await;
    assert_fails("bomb.docx", &make::bomb_docx(300), &[TooLarge]).await;
    assert_fails("attrs.docx", &make::attributes_docx(), &[TooLarge]).await;
    assert_fails("ns.docx", &make::namespaces_docx(), &[TooLarge]).await;
    assert_fails("deep.docx", &make::deep_docx(), &[TooLarge]).await;
}

#[tokio::test]
async fn entities_are_never_expanded_and_links_never_followed() {
    let _alone = alone().await;
    assert_fails("lol.docx", &make::laughing_docx(), &[Damaged]).await;
    assert_fails("xxe.docx", &make::external_entity_docx(), &[Damaged]).await;
    let parsed = parse("extrel.docx", &make::external_link_docx()).await;
    assert_eq!(parsed.result.unwrap().passages, 1);
    assert_eq!(parsed.passages[0].text, "可見文字");
}

#[tokio::test]
async fn archive_tricks() {
    let _alone = alone().await;
    for name in ["slip.docx", "slip.pptx", "slip.xlsx", "slip.epub"] {
        assert_fails(name, &make::slip_zip(), &[Mismatch]).await;
    }
    assert!(!std::path::Path::new("/tmp/parlance-slip").exists());
    let many = make::many_zip();
    for name in ["many.docx", "many.xlsx", "many.ods", "many.epub"] {
        assert_fails(name, &many, &[TooLarge]).await;
    }
    assert_fails("nested.docx", &make::nested_zip(), &[Damaged, NoText]).await;
}

#[tokio::test]
async fn workbooks_that_claim_too_much() {
    let _alone = alone().await;
    let parsed = parse("far.xlsx", &make::far_xlsx()).await;
    assert_eq!(parsed.result.unwrap().passages, 2);
    assert_eq!(parsed.passages[1].text, "2");
    assert_fails("strings.xlsx", &make::strings_xlsx(), &[TooLarge]).await;
    assert_fails("repeat.ods", &make::repeating_ods(), &[TooLarge]).await;
    let parsed = parse("counts.xls", &make::false_counts_xls(&fixture_bytes("faq.xls"))).await;
    if let Err(error) = parsed.result {
        assert!([Damaged, OutOfMemory, ParseErrorKind::Crashed, NoText].contains(&error.kind), "{error:?}");
    }
    assert_eq!(children(), Vec::<String>::new());
}

#[tokio::test]
async fn pdf_bombs() {
    let _alone = alone().await;
    assert_fails("nest.pdf", &make::nested_pdf(), &[Damaged, TooLarge]).await;
    assert_fails("flate.pdf", &make::twice_deflated_pdf(), &[TooLarge]).await;
    assert_fails("cycle.pdf", &make::cyclic_pdf(), &[Damaged, NoText]).await;
    assert_fails("form.pdf", &make::form_cycle_pdf(), &[NoText, TimedOut]).await;
}

#[tokio::test]
async fn wide_rows_deep_pages_and_pictures() {
    let _alone = alone().await;
    assert_fails("big5.csv", &make::wide_csv_big5(), &[TooLarge, OutOfMemory]).await;
    assert_fails("utf16.csv", &make::wide_csv_utf16(), &[TooLarge, OutOfMemory]).await;
    for name in ["picture.pdf", "picture.docx", "picture.txt"] {
        assert_fails(name, &make::huge_png(), &[Mismatch]).await;
    }
    let deep = ["<div>".repeat(300_000), "底部".to_owned()].concat();
    let parsed = parse("deep.html", deep.as_bytes()).await;
    assert_eq!(parsed.result.unwrap().passages, 1);
    assert_fails("deep.json", "[".repeat(1_000_000).as_bytes(), &[TooLarge]).await;
    let quotes = ">".repeat(200_000);
    let parsed = parse("quotes.md", quotes.as_bytes()).await;
    assert!(parsed.result.is_err_and(|error| [NoText, TimedOut].contains(&error.kind)));
}

/// A small generator of numbers, the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

#[tokio::test]
async fn damaged_copies_of_real_files_never_take_the_parser_down() {
    let _alone = alone().await;
    let parser = parser(limits());
    let mut numbers = Numbers(7);
    let names = ["manual.docx", "manual.pdf", "manual.epub", "faq.xlsx", "faq.xls", "faq.ods", "talk.pptx"];
    for name in names {
        let original = fixture_bytes(name);
        for round in 0..12 {
            let mut bytes = original.clone();
            for _ in 0..=round * 3 {
                let at = 8 + numbers.below(bytes.len() - 8);
                bytes[at] = u8::try_from(numbers.below(256)).unwrap();
            }
            if round % 4 == 3 {
                bytes.truncate(8 + numbers.below(bytes.len() - 8));
            }
            let parsed = parse_with(&parser, name, &bytes, &ParseOptions::default()).await;
            if let Err(error) = parsed.result {
                let told = [Damaged, Encrypted, Mismatch, NoText, OutOfMemory, TooLarge, ParseErrorKind::Crashed];
                assert!(told.contains(&error.kind), "{name} round {round}: {error:?}");
            }
        }
    }
    assert_eq!(children(), Vec::<String>::new());
}
