//! Real files made by an office suite; `tests/fixtures/README.md` says how.

use parlance_ingestion::{ParseErrorKind, Passage};

use crate::run::{alone, fixture, fixture_bytes, parse};

fn texts(passages: &[Passage]) -> Vec<&str> {
    passages.iter().map(|passage| passage.text.as_str()).collect()
}

fn pages(passages: &[Passage]) -> Vec<Option<u32>> {
    passages.iter().map(|passage| passage.page).collect()
}

fn headings(passages: &[Passage]) -> Vec<Option<&str>> {
    passages.iter().map(|passage| passage.heading.as_deref()).collect()
}

const MANUAL_HEADINGS: [Option<&str>; 4] =
    [Some("客服手冊"), Some("客服手冊 > 訂閱方案"), Some("退費規則"), Some("服務時間")];

#[tokio::test]
async fn word_document_with_styles_table_list_and_page_breaks() {
    let _alone = alone().await;
    let passages = fixture("manual.docx").await;
    assert_eq!(headings(&passages), MANUAL_HEADINGS);
    assert_eq!(pages(&passages), [Some(1), Some(1), Some(2), Some(3)]);
    assert!(passages[1].text.contains("方案: 專業; 每月訊息數: 20,000; 價格: NT$ 3,600\n"));
    assert!(passages[1].text.ends_with("\n- 付款方式：信用卡與銀行轉帳\n- 發票：每月五日以電子郵件寄送"));
    assert!(passages[2].text.contains("PPR-9087"));
}

#[tokio::test]
async fn pdf_with_embedded_subset_fonts() {
    let _alone = alone().await;
    for name in ["manual.pdf", "owner-locked.pdf"] {
        let passages = fixture(name).await;
        assert_eq!(headings(&passages), MANUAL_HEADINGS, "{name}");
        assert_eq!(pages(&passages), [Some(1), Some(1), Some(2), Some(3)]);
        assert!(passages[1].text.starts_with("方案\t每月訊息數\t價格\n入門\t1,000\tNT$ 300\n"), "{}", passages[1].text);
        assert!(
            passages[2]
                .text
                .contains("寄信到 support@example.com。The refund policy applies to all plans sold in Taiwan.")
        );
        assert!(passages[3].text.starts_with("週一至週五上午九點到下午六點，國定假日休息。"));
    }
}

#[tokio::test]
async fn pdf_with_a_password_says_so() {
    let _alone = alone().await;
    let parsed = parse("locked.pdf", &fixture_bytes("locked.pdf")).await;
    assert_eq!(parsed.result.unwrap_err().kind, ParseErrorKind::Encrypted);
}

#[tokio::test]
async fn workbooks_of_three_formats() {
    let _alone = alone().await;
    for name in ["faq.xlsx", "faq.xls", "faq.ods"] {
        let passages = fixture(name).await;
        assert_eq!(pages(&passages), [Some(1), Some(1), Some(2), Some(2)], "{name}");
        assert_eq!(headings(&passages), [Some("常見問題"), Some("常見問題"), Some("價格表"), Some("價格表")]);
        assert_eq!(passages[0].text, "問題: 如何退貨？; 答案: 收到商品七天內填寫退貨單即可。; 更新日期: 2026-03-15");
        assert!(passages[2].text.starts_with("型號: PPR-9087; 單價: 1299.5; 庫存: "), "{}", passages[2].text);
        assert!(passages[3].text.starts_with("型號: KX-100; 單價: 800; 庫存: "));
    }
}

#[tokio::test]
async fn slides_with_title_notes_and_table() {
    let _alone = alone().await;
    let passages = fixture("talk.pptx").await;
    assert_eq!(pages(&passages), [Some(1), Some(2)]);
    assert_eq!(headings(&passages), [Some("產品導入計畫"), Some("預算")]);
    assert_eq!(
        texts(&passages),
        [
            "第一階段：四月完成資料盤點\n第二階段：六月上線試用\n講者備註：先說明為何延到四月。",
            "項目: 授權費; 金額: 120 萬元"
        ]
    );
}

#[tokio::test]
async fn book_chapters_in_order() {
    let _alone = alone().await;
    let passages = fixture("manual.epub").await;
    assert_eq!(pages(&passages), [None, None, None]);
    assert!(passages[0].text.contains("方案: 入門; 每月訊息數: 1,000; 價格: NT$ 300\n"));
    assert!(passages[1].text.starts_with("退費規則\n購買後七天內"));
    assert!(passages[2].text.starts_with("服務時間\n"));
}
