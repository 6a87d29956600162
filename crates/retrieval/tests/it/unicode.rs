//! Analysis of arbitrary text: never panics, and questions and passages agree.

use std::collections::HashSet;

use parlance_retrieval::{Analysis, PassageTerms, QuestionTerms, fold};
use proptest::prelude::*;

fn terms(text: &str) -> HashSet<String> {
    let mut analysis = Analysis::new();
    analysis.analyse(text);
    analysis.terms().map(|(term, _)| term.to_owned()).collect()
}

/// Characters of many scripts close together, which arbitrary strings seldom have.
fn mixed_text() -> impl Strategy<Value = String> {
    proptest::string::string_regex(
        "([a-zA-Z0-9一-鿿ぁ-ヶ가-힣ก-๛ا-يא-תअ-ह\u{300}-\u{36f}Ａ-Ｚ㈠-㉃ -/:-@，。\n]){0,60}",
    )
    .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn any_text_is_analysed(text in any::<String>()) {
        let _ = terms(&text);
        let _ = fold(&text);
    }

    #[test]
    fn mixed_scripts_are_analysed(text in mixed_text()) {
        for term in terms(&text) {
            prop_assert!(!term.is_empty() && term.len() <= 80, "{term}");
        }
    }

    #[test]
    fn a_passage_covers_itself(text in mixed_text()) {
        let question = QuestionTerms::without_statistics(&text);
        let share = question.share(&PassageTerms::of(&text));
        prop_assert!(question.is_empty() || share > 0.999, "{share}");
    }

    #[test]
    fn folding_twice_gives_the_same_terms(text in mixed_text()) {
        prop_assert_eq!(terms(&fold(&text)), terms(&text));
    }

    #[test]
    fn a_part_between_spaces_keeps_its_terms(before in mixed_text(), part in "[a-z0-9一-鿿]{1,20}", after in mixed_text()) {
        let whole = terms(&format!("{before} {part} {after}"));
        prop_assert!(terms(&part).is_subset(&whole));
    }
}
