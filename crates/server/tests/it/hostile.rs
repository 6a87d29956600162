//! Hostile files sent to a server that is busy answering: each gets its reason, nobody else notices.

use std::time::Duration;

use crate::first_start::document;
use crate::install::Install;
use crate::make_hostile as make;
use crate::model::{Model, Speech};

/// Growth of the server's memory that is still normal, in bytes: caches and allocator slack of a
/// debug build, far below any single bomb.
const MEMORY_GROWTH: u64 = 96 << 20;

/// Every generated file, and whether it must fail.
fn corpus() -> Vec<(String, Vec<u8>, bool)> {
    let deep_html = ["<div>".repeat(300_000), "底部".to_owned()].concat().into_bytes();
    let hostile = [
        ("bomb.docx", make::bomb_docx(300)),
        ("attributes.docx", make::attributes_docx()),
        ("namespaces.docx", make::namespaces_docx()),
        ("deep.docx", make::deep_docx()),
        ("laughing.docx", make::laughing_docx()),
        ("external-entity.docx", make::external_entity_docx()),
        ("slip.docx", make::slip_zip()),
        ("slip.pptx", make::slip_zip()),
        ("slip.xlsx", make::slip_zip()),
        ("slip.epub", make::slip_zip()),
        ("many.docx", make::many_zip()),
        ("many.xlsx", make::many_zip()),
        ("nested.docx", make::nested_zip()),
        ("strings.xlsx", make::strings_xlsx()),
        ("repeating.ods", make::repeating_ods()),
        ("false-counts.xls", make::false_counts_xls(&document("faq.xls"))),
        ("nested.pdf", make::nested_pdf()),
        ("twice-deflated.pdf", make::twice_deflated_pdf()),
        ("cyclic.pdf", make::cyclic_pdf()),
        ("form-cycle.pdf", make::form_cycle_pdf()),
        ("wide-big5.csv", make::wide_csv_big5()),
        ("wide-utf16.csv", make::wide_csv_utf16()),
        ("picture.pdf", make::huge_png()),
        ("picture.docx", make::huge_png()),
        ("locked.pdf", document("locked.pdf")),
        ("deep.json", "[".repeat(1_000_000).into_bytes()),
        ("plain.pdf", b"plain text".to_vec()),
        ("empty.txt", b" \n".to_vec()),
    ];
    let harmless =
        [("external-link.docx", make::external_link_docx()), ("far.xlsx", make::far_xlsx()), ("deep.html", deep_html)];
    let hostile = hostile.into_iter().map(|(name, bytes)| (name.to_owned(), bytes, true));
    let harmless = harmless.into_iter().map(|(name, bytes)| (name.to_owned(), bytes, false));
    hostile.chain(harmless).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_files_fail_with_a_reason_while_answers_stream() {
    let pieces = vec!["字".to_owned(); 50];
    let model = Model::start(Speech { pieces, pause: Duration::from_millis(20) }).await;
    let install = Install::new().await.set("LLM__BASE_URL", &model.url).set("LLM__MODEL", "model");
    let mut server = install.start().await;
    let client = install.client(&server);
    client.learn("manual.pdf", &document("manual.pdf")).await;
    assert_eq!(client.ask("退費").await.terminal()["type"], "done");
    let corpus = corpus();
    let before = server.memory();

    let (stop, stopped) = tokio::sync::watch::channel(false);
    let chats: Vec<_> = (0..10)
        .map(|_| {
            let (client, stopped) = (client.clone(), stopped.clone());
            tokio::spawn(async move {
                let mut answered = 0;
                while !*stopped.borrow() || answered == 0 {
                    let answer = client.ask("退費的手續費是多少？").await;
                    assert_eq!(answer.terminal()["type"], "done");
                    assert_eq!(answer.text().chars().count(), 50);
                    answered += 1;
                }
                answered
            })
        })
        .collect();
    let mut sent = Vec::new();
    for (name, bytes, must_fail) in &corpus {
        sent.push((client.upload(name, bytes).await, name, *must_fail));
    }
    for (id, name, must_fail) in sent {
        let file = client.settled(&id).await;
        let reason = file["failedReason"].as_str().unwrap_or_default();
        if must_fail {
            assert_eq!(file["status"], "failed", "{file}");
            assert!(reason.len() > 20 && reason.ends_with('.') && reason.contains(' '), "{name}: {reason}");
            assert_eq!(file["textNodesCount"], 0);
        } else {
            assert_eq!(file["status"], "done", "{file}");
            assert!(file["charactersCount"].as_i64().unwrap() < 1000, "{file}");
        }
    }
    stop.send(true).unwrap();
    let mut answered = 0;
    for chat in chats {
        answered += chat.await.unwrap();
    }
    assert!(server.is_running(), "the same process serves");
    assert_eq!(client.probe("readyz").await.unwrap(), 200);
    assert_eq!(server.children(), 0);
    assert!(!std::path::Path::new("/tmp/parlance-slip").exists());
    let grown = server.memory().saturating_sub(before);
    eprintln!("{} files, {answered} answers meanwhile, memory grew by {} MiB", corpus.len(), grown >> 20);
    assert!(grown <= MEMORY_GROWTH, "memory grew by {} MiB", grown >> 20);
    server.stop().await;
}
