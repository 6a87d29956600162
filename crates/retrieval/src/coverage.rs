//! How much of a question a passage covers: the score of D29 for passages without a better one.
//!
//! Every distinct term of the question weighs its kind's weight times its inverse document
//! frequency, ln((N + V + 1) / (df + V p + 0.5)), where V imagined background passages, a share p
//! of which contain the term, stand in for documents while there are few. The score is the weight
//! of the terms found in the passage over the weight of all: 0 nothing, 1 everything, and the same
//! meaning for every question.

use std::cell::RefCell;
use std::collections::HashSet;

use crate::analysis::{Analysis, TermKind};
use crate::function_words::background_share;

/// Size of the imagined collection for scores: large, so that scores mean the same in small and in
/// large knowledge bases.
const BACKGROUND_FOR_SCORES: f64 = 1000.0;
/// Terms of a question that are looked at. Longer questions are cut there.
const MOST_TERMS: usize = 512;

/// One distinct term of a question.
#[derive(Clone, Debug)]
pub(crate) struct QuestionTerm {
    pub(crate) text: Box<str>,
    pub(crate) kind: TermKind,
    /// How often imagined background passages contain it, 0..1.
    pub(crate) background: f64,
    /// Relative weight in the score, before its document frequency.
    score_weight: f32,
}

/// The distinct terms of `question`, at most [`MOST_TERMS`].
pub(crate) fn analyse_question(question: &str) -> Vec<QuestionTerm> {
    let mut analysis = Analysis::new();
    analysis.analyse(question);
    let mut seen = HashSet::new();
    let mut terms: Vec<QuestionTerm> = Vec::new();
    for (text, kind) in analysis.terms() {
        if terms.len() == MOST_TERMS || !seen.insert(text) {
            continue;
        }
        let score_weight = match kind {
            TermKind::Character => 0.25,
            TermKind::Code | TermKind::Word | TermKind::Pair | TermKind::Stem => 1.0,
            TermKind::Part => 0.6,
            TermKind::Gram => 0.5,
        };
        if kind == TermKind::Stem
            && let Some(word) = terms.last_mut()
        {
            // A passage with another form of the word covers it nearly as well.
            word.score_weight = 0.3;
        }
        let background = background_share(text, kind);
        terms.push(QuestionTerm { text: text.into(), kind, background, score_weight });
    }
    terms
}

/// The smoothed inverse document frequency; see the module documentation.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "an estimate")]
pub(crate) fn inverse_frequency(passages: u64, frequency: u64, background: f64, imagined: f64) -> f32 {
    let all = passages as f64 + imagined + 1.0;
    let containing = frequency as f64 + imagined * background + 0.5;
    (all / containing).ln().max(0.01) as f32
}

/// The terms of a question with their weights, made once per question.
#[derive(Clone, Debug)]
pub struct QuestionTerms {
    /// Each distinct term's hash and weight.
    terms: Vec<(u64, f32)>,
    total: f32,
}

impl QuestionTerms {
    /// The terms of `question`, weighted without any document frequencies: for texts that are not
    /// in an index.
    pub fn without_statistics(question: &str) -> Self {
        Self::weighted(&analyse_question(question), 0, &[])
    }

    /// Weighted with document frequencies, in the order of `terms`; absent ones count as 0.
    pub(crate) fn weighted(terms: &[QuestionTerm], passages: u64, frequencies: &[u64]) -> Self {
        let terms: Vec<(u64, f32)> = terms
            .iter()
            .enumerate()
            .map(|(index, term)| {
                let frequency = frequencies.get(index).copied().unwrap_or(0);
                let rarity = inverse_frequency(passages, frequency, term.background, BACKGROUND_FOR_SCORES);
                (hash_of(&term.text), term.score_weight * rarity)
            })
            .collect();
        Self { total: terms.iter().map(|(_, weight)| weight).sum(), terms }
    }

    /// How much of the question the passage with these terms covers, 0..1. A question without terms is
    /// covered by nothing.
    pub fn share(&self, passage: &PassageTerms) -> f32 {
        if self.total <= 0.0 {
            return 0.0;
        }
        let found = self.terms.iter().filter(|(term, _)| passage.hashes.binary_search(term).is_ok());
        let covered: f32 = found.map(|(_, weight)| weight).sum();
        (covered / self.total).clamp(0.0, 1.0)
    }

    /// Whether nothing in the question can be searched for.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }
}

/// The distinct terms of a passage, by which questions are compared with it. Made once per passage:
/// analysing a text takes many times as long as a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassageTerms {
    /// In ascending order, each once.
    hashes: Box<[u64]>,
}

impl PassageTerms {
    /// The terms of a passage's text.
    pub fn of(passage: &str) -> Self {
        let mut hashes: Vec<u64> = ANALYSIS.with_borrow_mut(|analysis| {
            analysis.analyse(passage);
            analysis.terms().map(|(term, _)| hash_of(term)).collect()
        });
        hashes.sort_unstable();
        hashes.dedup();
        Self { hashes: hashes.into() }
    }

    /// Bytes that they take in memory.
    pub fn memory(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.hashes)
    }
}

thread_local! {
    static ANALYSIS: RefCell<Analysis> = RefCell::new(Analysis::new());
}

/// FNV-1a (Fowler, Noll and Vo), which is quick for the few bytes of a term. That two of the thousand terms
/// or so of a passage and a question are taken for one another has odds below one in 10^13.
fn hash_of(term: &str) -> u64 {
    term.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passage_that_answers_covers_more_than_one_that_does_not() {
        let question = QuestionTerms::without_statistics("請問退貨要怎麼辦理？");
        let right = question.share(&PassageTerms::of("退貨請於七日內透過客服辦理。"));
        let wrong = question.share(&PassageTerms::of("本店營業時間為上午十點到晚上九點。"));
        assert!(right > 0.5, "{right}");
        assert!(wrong < 0.1, "{wrong}");
        assert!((question.share(&PassageTerms::of("請問退貨要怎麼辦理？")) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn a_term_counts_once_however_often_it_stands() {
        let once = PassageTerms::of("退貨 battery");
        assert_eq!(PassageTerms::of("退貨 battery 退貨 battery"), once);
        assert_eq!(once.hashes.len(), 5, "two characters, their pair, the word and its stem");
        assert_eq!(once.memory(), size_of::<PassageTerms>() + 40);
    }

    #[test]
    fn question_words_alone_cover_little() {
        let question = QuestionTerms::without_statistics("how do I replace the battery");
        assert!(question.share(&PassageTerms::of("how do I get to the station")) < 0.2);
        assert!(question.share(&PassageTerms::of("Replacing batteries: open the lid.")) > 0.6);
    }

    #[test]
    fn nothing_asked_is_covered_by_nothing() {
        assert!(QuestionTerms::without_statistics("？！").share(&PassageTerms::of("任何內容")).abs() < f32::EPSILON);
    }

    #[test]
    fn the_score_does_not_depend_on_the_size_of_the_collection_much() {
        let terms = analyse_question("保單 理賠 多久");
        let small = QuestionTerms::weighted(&terms, 1, &vec![1; terms.len()]);
        let large = QuestionTerms::weighted(&terms, 3000, &vec![10; terms.len()]);
        let text = PassageTerms::of("理賠申請約需十個工作天。");
        assert!((small.share(&text) - large.share(&text)).abs() < 0.15);
    }
}
