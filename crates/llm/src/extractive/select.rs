//! Chooses the sentences to quote.
//!
//! A sentence's score is the share of the question's terms that it has, each term weighted by its
//! rarity within the sources (the inverse document frequency of BM25 over sentences; Robertson and
//! Zaragoza 2009, section 3.1) and by its kind. Terms of the heading above count half.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use crate::chat::Source;
use crate::extractive::sentence::{Sentence, sentences};
use crate::extractive::term::{Term, asks_for_number, has_number, question_terms, terms};
use crate::usage::is_wide;

/// The most quotes of an answer.
const MOST_QUOTES: usize = 4;
/// The longest sentence that is quoted whole, in characters.
const LONGEST_QUOTE: usize = 400;
/// The least share of the question that a quote covers.
const LEAST_SHARE: f64 = 0.28;
/// Further quotes have at least this much of the best one's score.
const NEAR_BEST: f64 = 0.8;
/// What a number adds where the question asks for one.
const NUMBER_BONUS: f64 = 0.08;
/// What the first source has over later ones; retrieval put the better ones first.
const RANK_BONUS: f64 = 0.04;
/// A sentence with fewer characters is quoted with the one before it.
const SHORT_SENTENCE: usize = 6;

/// A piece of a source, quoted.
pub(super) struct Quote {
    pub(super) source: u32,
    pub(super) text: String,
}

struct Candidate<'a> {
    source: &'a Source,
    /// All sentences of its source, and its place among them.
    siblings: &'a [Sentence<'a>],
    place: usize,
    matched: HashSet<usize>,
    matched_in_heading: HashSet<usize>,
    score: f64,
}

/// The quotes that answer the question, best first; empty when nothing fits.
pub(super) fn quotes(question: &str, sources: &[Source], fold: fn(char) -> char) -> Vec<Quote> {
    let asked = question_terms(question, fold);
    let places: HashMap<&Term, usize> = asked.iter().enumerate().map(|(place, term)| (term, place)).collect();
    let per_source: Vec<Vec<Sentence<'_>>> = sources.iter().map(quotable).collect();
    let asked_in = |text: &str| -> HashSet<usize> {
        terms(text, fold).iter().filter_map(|term| places.get(term).copied()).collect()
    };
    let mut candidates = Vec::new();
    for (source, siblings) in sources.iter().zip(&per_source) {
        for (place, sentence) in siblings.iter().enumerate() {
            let mut matched = asked_in(sentence.text);
            // An answer fits where its question does, whatever words it has itself.
            matched.extend(source.question.iter().flat_map(|question| asked_in(question)));
            let matched_in_heading = asked_in(sentence.heading);
            candidates.push(Candidate { source, siblings, place, matched, matched_in_heading, score: 0.0 });
        }
    }
    let weights = weights(&asked, &candidates);
    let wants_number = asks_for_number(question);
    for candidate in &mut candidates {
        candidate.score = score(candidate, &asked, &weights, wants_number);
    }
    candidates.sort_by(|one, other| other.score.total_cmp(&one.score));
    choose(&candidates)
}

/// What may be quoted of a source: its sentences, or the whole answer of an FAQ.
fn quotable(source: &Source) -> Vec<Sentence<'_>> {
    if source.question.is_some() {
        return vec![Sentence { text: &source.text, heading: "", is_heading: false }];
    }
    sentences(&source.text)
}

/// Rarity of each asked term. One that occurs nowhere weighs as if it occurred once: it counts
/// against all sentences, but does not drown what they have.
fn weights(asked: &[Term], candidates: &[Candidate<'_>]) -> Vec<f64> {
    let count = |number: usize| f64::from(u32::try_from(number).unwrap_or(u32::MAX));
    let all = count(candidates.len());
    let weight = |(place, term): (usize, &Term)| {
        let having = count(candidates.iter().filter(|candidate| candidate.matched.contains(&place)).count().max(1));
        (1.0 + (all - having + 0.5) / (having + 0.5)).ln().max(0.2) * term.strength()
    };
    asked.iter().enumerate().map(weight).collect()
}

fn score(candidate: &Candidate<'_>, asked: &[Term], weights: &[f64], wants_number: bool) -> f64 {
    let sentence = &candidate.siblings[candidate.place];
    let total: f64 = weights.iter().sum();
    // Characters alone are chance.
    let is_related = candidate.matched.union(&candidate.matched_in_heading).any(|place| !asked[*place].is_character());
    if sentence.is_heading || !is_related || total <= 0.0 {
        return 0.0;
    }
    let mut covered = 0.0;
    for (place, weight) in weights.iter().enumerate() {
        if candidate.matched.contains(&place) {
            covered += weight;
        } else if candidate.matched_in_heading.contains(&place) {
            covered += weight / 2.0;
        }
    }
    let share = covered / total;
    if share < LEAST_SHARE {
        return 0.0;
    }
    let number = if wants_number && has_number(sentence.text) { NUMBER_BONUS } else { 0.0 };
    share + number + RANK_BONUS / f64::from(candidate.source.index.max(1))
}

fn choose(candidates: &[Candidate<'_>]) -> Vec<Quote> {
    let mut chosen: Vec<(&Candidate<'_>, Range<usize>)> = Vec::new();
    let best = candidates.first().map_or(0.0, |candidate| candidate.score);
    for candidate in candidates.iter().take(MOST_QUOTES * 4) {
        if candidate.score <= 0.0 || candidate.score < best * NEAR_BEST || chosen.len() == MOST_QUOTES {
            break;
        }
        let range = with_neighbours(candidate);
        let overlapping = chosen.iter_mut().find(|(other, other_range)| {
            other.source.index == candidate.source.index
                && range.start < other_range.end
                && other_range.start < range.end
        });
        match overlapping {
            Some((_, other_range)) => *other_range = range.start.min(other_range.start)..range.end.max(other_range.end),
            None => chosen.push((candidate, range)),
        }
    }
    let mut quotes: Vec<Quote> = Vec::new();
    for (candidate, range) in chosen {
        let parts: Vec<&str> = candidate.siblings[range].iter().flat_map(|sentence| sentence.text.lines()).collect();
        let text = quoted(&joined(&parts));
        // Sources overlap: the same sentence is not quoted twice.
        if !quotes.iter().any(|quote| quote.text.contains(&text) || text.contains(&quote.text)) {
            quotes.push(Quote { source: candidate.source.index, text });
        }
    }
    quotes
}

/// The sentence, with the one before it where it refers back, and the one after it where it only
/// announces an answer.
fn with_neighbours(candidate: &Candidate<'_>) -> Range<usize> {
    let siblings = candidate.siblings;
    let (mut start, mut end) = (candidate.place, candidate.place + 1);
    let text = siblings[candidate.place].text;
    let is_usable = |place: usize| siblings.get(place).is_some_and(|sentence| !sentence.is_heading);
    if announces(text) && is_usable(end) {
        end += 1;
    } else if refers_back(text) && start > 0 && is_usable(start - 1) {
        start -= 1;
    }
    start..end
}

/// Sentences in one line; scripts without spaces get none between sentences either.
fn joined(parts: &[&str]) -> String {
    let mut line = String::new();
    for part in parts {
        if line.chars().next_back().is_some_and(|last| !is_wide(last)) {
            line.push(' ');
        }
        line.push_str(part);
    }
    line
}

fn announces(text: &str) -> bool {
    text.ends_with(['?', '？', ':', '：'])
}

fn refers_back(text: &str) -> bool {
    const WORDS: [&str; 12] =
        ["it ", "this ", "that ", "these ", "they ", "he ", "she ", "however", "therefore", "a:", "a：", "答："];
    const CHARACTERS: [&str; 10] = ["其", "此", "該", "该", "這", "这", "它", "但", "因此", "否則"];
    let start: String = text.chars().take(12).flat_map(char::to_lowercase).collect();
    text.chars().count() < SHORT_SENTENCE
        || WORDS.iter().any(|word| start.starts_with(word))
        || CHARACTERS.iter().any(|word| start.starts_with(word))
}

/// The quote in one line, bounded, with numbers in square brackets made unlike citations.
fn quoted(text: &str) -> String {
    let mut quote = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('[') {
        let (before, from) = rest.split_at(start);
        quote.push_str(before);
        let digits = from[1..].bytes().take_while(u8::is_ascii_digit).count();
        if digits > 0 && from[1 + digits..].starts_with(']') {
            quote.push('［');
            quote.push_str(&from[1..=digits]);
            quote.push('］');
            rest = &from[digits + 2..];
        } else {
            quote.push('[');
            rest = &from[1..];
        }
    }
    quote.push_str(rest);
    if quote.chars().count() > LONGEST_QUOTE {
        quote = quote.chars().take(LONGEST_QUOTE).chain(['…']).collect();
    }
    quote
}
