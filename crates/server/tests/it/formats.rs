//! Questions about documents of each kind, answered with the file and the page.

use crate::first_start::document;
use crate::install::Install;
use crate::make_pdf::{cjk_pdf, sentence, sixty_pages, utf16_hex};

#[tokio::test]
async fn answers_cite_the_right_file_and_page_sheet_or_slide() {
    let install = Install::new().await;
    let server = install.start().await;
    let client = install.client(&server);
    let long = client.learn("設備手冊.pdf", &cjk_pdf("UniCNS-UTF16-H", &sixty_pages(), utf16_hex)).await;
    assert_eq!((long["filename"].as_str(), long["fileType"].as_str()), (Some("設備手冊.pdf"), Some("pdf")));
    for name in ["manual.docx", "faq.xlsx", "talk.pptx"] {
        client.learn(name, &document(name)).await;
    }
    let asked = [
        (format!("編號 KX-{:04} 的設備何時檢修？", 17 * 37), "設備手冊.pdf", 17, "三月檢修"),
        (format!("編號 KX-{:04} 的設備何時檢修？", 58 * 37), "設備手冊.pdf", 58, "三月檢修"),
        ("超過七天退費要扣多少手續費？".to_owned(), "manual.docx", 2, "百分之五"),
        ("專業方案每月有多少訊息數？".to_owned(), "manual.docx", 1, "20,000"),
        ("運費多少？".to_owned(), "faq.xlsx", 1, "60 元"),
        ("型號 PPR-9087 的單價是多少？".to_owned(), "faq.xlsx", 2, "1299.5"),
        ("授權費的金額是多少？".to_owned(), "talk.pptx", 2, "120 萬元"),
        ("何時完成資料盤點？".to_owned(), "talk.pptx", 1, "四月"),
    ];
    for (question, file, page, told) in asked {
        let answer = client.ask(&question).await;
        let text = answer.text();
        assert_eq!(answer.terminal()["type"], "done", "{question}");
        assert!(text.contains(told) && text.contains("[1]"), "{question} {text}");
        assert_eq!(answer.cited().first(), Some(&(file.to_owned(), Some(page))), "{question} {text}");
    }
    let passages = client.passages(long["id"].as_str().unwrap()).await;
    for page in 1..=60_usize {
        let of_page = |passage: &&serde_json::Value| passage["text"].as_str().unwrap().contains(&sentence(page));
        let found: Vec<_> = passages.iter().filter(of_page).collect();
        assert_eq!(found.len(), 1, "page {page}");
        assert_eq!(found[0]["pageNumber"].as_u64(), Some(page as u64));
    }
}
