//! The built-in model: quotes the sentences of the sources that answer the question.
//!
//! It makes the product usable on a machine without any model. It reads only
//! [`ChatRequest::question`] and [`ChatRequest::sources`], follows no instructions, and the same
//! request always gives the same answer.

mod language;
mod select;
mod sentence;
mod term;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};

use crate::chat::{ChatEvent, ChatModel, ChatRequest, ChatStream, StopReason, without_nulls};
use crate::error::Error;
use crate::usage::{TokenEstimate, estimated_usage, is_wide};

/// The longest run of characters without a space in one piece of the stream.
const PIECE_CHARACTERS: usize = 4;

/// The extractive model; see the module's documentation.
#[derive(Clone, Copy, Debug)]
pub struct Extractive {
    fold: fn(char) -> char,
}

impl Extractive {
    /// `fold` maps characters that mean the same to one of them, such as Traditional to Simplified
    /// Chinese; questions then find answers in either. Only comparisons use it, quotes are verbatim.
    pub fn new(fold: fn(char) -> char) -> Self {
        Self { fold }
    }

    /// The whole answer: quotes, each followed by the number of its source, or a sentence that says
    /// that nothing fits.
    pub fn answer(&self, request: &ChatRequest) -> String {
        let quotes = select::quotes(&request.question, &request.sources, self.fold);
        if quotes.is_empty() {
            return language::of_question(&request.question, self.fold).nothing_fits().to_owned();
        }
        let lines: Vec<String> = quotes.iter().map(|quote| format!("{} [{}]", quote.text, quote.source)).collect();
        lines.join("\n\n")
    }
}

impl ChatModel for Extractive {
    fn chat(&self, request: ChatRequest) -> BoxFuture<'_, Result<ChatStream, Error>> {
        let answer = without_nulls(self.answer(&request));
        let mut output = TokenEstimate::default();
        output.add(&answer);
        let usage = estimated_usage(&request.messages, output);
        let mut events: Vec<ChatEvent> = pieces(&answer).map(|piece| ChatEvent::Text(piece.to_owned())).collect();
        events.push(ChatEvent::Usage(usage));
        events.push(ChatEvent::Stop(StopReason::Complete));
        let stream = futures_util::stream::iter(events.into_iter().map(Ok)).boxed();
        std::future::ready(Ok(stream)).boxed()
    }

    fn sees_images(&self) -> bool {
        false
    }

    fn follows_instructions(&self) -> bool {
        false
    }
}

/// Cuts an answer as a model would send it: a word with its space, or a few characters of a script
/// without spaces.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let mut wide = 0;
        for (position, character) in rest.char_indices() {
            wide += usize::from(is_wide(character));
            if character.is_whitespace() || wide == PIECE_CHARACTERS {
                let (piece, after) = rest.split_at(position + character.len_utf8());
                rest = after;
                return Some(piece);
            }
        }
        let piece = std::mem::take(&mut rest);
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::{Extractive, pieces};
    use crate::chat::{ChatRequest, Source};

    /// A stand-in for the full table: enough for these questions.
    fn fold(character: char) -> char {
        match character {
            '貨' => '货',
            '幾' => '几',
            '時' => '时',
            '間' => '间',
            '營' => '营',
            '業' => '业',
            '費' => '费',
            '運' => '运',
            other => other,
        }
    }

    fn ask(question: &str, sources: &[&str]) -> String {
        let sources = (1..)
            .zip(sources)
            .map(|(index, text)| Source { index, text: (*text).to_owned(), question: None })
            .collect();
        Extractive::new(fold).answer(&ChatRequest { question: question.to_owned(), sources, ..ChatRequest::default() })
    }

    const SHOP: [&str; 3] = [
        "# 退貨說明\n商品退貨須於收到後七天內提出申請。退款將於五個工作天內完成。\n運費由買方負擔。",
        "營業時間\n週一至週五上午九點到下午六點。週末公休。",
        "客服電話 02-1234-5678，型號 PPR-9087 的保固為兩年。\n| 型號 | 價格 |\n| PPR-9087 | 1200 元 |\n| PPR-9088 | 1500 元 |",
    ];

    #[test]
    fn chinese_questions_find_their_sentence() {
        assert_eq!(ask("退貨期限是幾天？", &SHOP), "商品退貨須於收到後七天內提出申請。 [1]");
        assert!(
            ask("營業時間是什麼時候", &SHOP).starts_with("週一至週五上午九點到下午六點。週末公休。 [2]"),
            "{}",
            ask("營業時間是什麼時候", &SHOP)
        );
        assert!(ask("運費誰負擔", &SHOP).starts_with("運費由買方負擔。 [1]"));
    }

    #[test]
    fn simplified_questions_find_traditional_text() {
        assert_eq!(ask("退货要在几天内提出？", &SHOP), "商品退貨須於收到後七天內提出申請。 [1]");
    }

    #[test]
    fn codes_find_their_row() {
        assert!(
            ask("PPR-9088 多少錢", &SHOP).starts_with("| PPR-9088 | 1500 元 | [3]"),
            "{}",
            ask("PPR-9088 多少錢", &SHOP)
        );
    }

    #[test]
    fn english_words_match_by_stem() {
        let sources = [
            "Returns are accepted within 30 days of delivery. Refunds take five business days. Shipping is free in the U.S. for orders over $50.",
            "Our office opens at 9:00. It closes at 18:00.",
        ];
        assert_eq!(
            ask("How many days do I have to return an item?", &sources),
            "Returns are accepted within 30 days of delivery. [1]"
        );
        assert!(
            ask("When does the office close?", &sources).contains("Our office opens at 9:00. It closes at 18:00. [2]")
        );
        assert_eq!(ask("Is shipping free?", &sources), "Shipping is free in the U.S. for orders over $50. [1]");
    }

    #[test]
    fn questions_in_the_source_bring_their_answer() {
        let sources =
            ["Q：可以開三聯式發票嗎？\nA：可以，請於結帳時填寫統一編號。\nQ：可以貨到付款嗎？\nA：目前不支援。"];
        assert_eq!(ask("可以開三聯式發票嗎", &sources), "Q：可以開三聯式發票嗎？A：可以，請於結帳時填寫統一編號。 [1]");
    }

    #[test]
    fn the_answer_to_a_question_like_it_is_quoted() {
        let faq = Source {
            index: 1,
            text: "可以，請於結帳時填寫統一編號。\n發票隨貨寄出。".to_owned(),
            question: Some("可以開三聯式發票嗎".to_owned()),
        };
        let ask = |question: &str| {
            let request =
                ChatRequest { question: question.to_owned(), sources: vec![faq.clone()], ..ChatRequest::default() };
            Extractive::new(fold).answer(&request)
        };
        assert_eq!(ask("能開三聯式發票嗎？"), "可以，請於結帳時填寫統一編號。發票隨貨寄出。 [1]");
        assert!(!ask("你們有賣腳踏車嗎？").contains('['));
    }

    #[test]
    fn nothing_that_fits_is_said_in_the_questions_language() {
        for (question, expected) in [
            ("你們有賣腳踏車嗎？", "在提供的資料中找不到這個問題的答案。"),
            ("你们卖自行车吗？", "在提供的资料中找不到这个问题的答案。"),
            ("Do you sell bicycles?", "I found nothing in the documents that answers this question."),
            ("自転車を売っていますか？", "提供された資料の中に、この質問への答えは見つかりませんでした。"),
            ("자전거를 파나요?", "제공된 자료에서 이 질문에 대한 답을 찾지 못했습니다."),
            ("Verkaufen Sie Fahrräder?", "I found nothing in the documents that answers this question."),
        ] {
            assert_eq!(ask(question, &SHOP), expected, "{question}");
            assert_eq!(ask(question, &[]), expected, "{question}");
        }
        assert!(!ask("", &SHOP).contains('['));
    }

    #[test]
    fn numbers_in_brackets_of_a_source_are_not_citations() {
        let answer = ask("What does the battery weigh?", &["The battery weighs 3 kg [7]."]);
        assert_eq!(answer, "The battery weighs 3 kg ［7］. [1]");
    }

    #[test]
    fn an_answer_has_few_quotes() {
        let sentences: Vec<String> = (0..50).map(|day| format!("Delivery of part {day} takes {day} days.")).collect();
        let answer = ask("How long does delivery take?", &[&sentences.join(" ")]);
        assert!((1..=5).contains(&answer.matches("[1]").count()), "{answer}");
    }

    #[test]
    fn pieces_join_to_the_text() {
        let text = "退貨期限為七天。 See PPR-9087 [1]\n\n末";
        let all: Vec<&str> = pieces(text).collect();
        assert_eq!(all.concat(), text);
        assert_eq!(all[..3], ["退貨期限", "為七天。", " "]);
    }
}
