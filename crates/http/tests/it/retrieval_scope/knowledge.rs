//! The knowledge that the property is tested with: bases of two organisations. Every passage holds the
//! same words, by which any question finds it, and a mark that no other passage, question or answer has.

use std::collections::BTreeSet;

use parlance_testkit::{Actor, TestApp};
use serde_json::{Value, json};

/// Bases of all organisations, in the order of their places; see [`bases`].
pub(super) const BASES: usize = 6;
/// Labels of all bases.
pub(super) const LABELS: usize = BASES * 2;
/// Files of all bases.
pub(super) const FILES: usize = BASES * FILES_OF_BASE;
/// FAQs of all bases.
pub(super) const FAQS: usize = BASES * FAQS_OF_BASE;
/// Passages that a question finds at most.
pub(super) const LIMIT: usize = 12;

const FILES_OF_BASE: usize = 4;
const FAQS_OF_BASE: usize = 3;
/// Passages of the last file of each base.
const LONG: usize = 3;
/// What marks begin with.
const MARK: &str = "QUAGGA";

/// Bases of the first organisation by which its assistant answers; then one that it does not know, then
/// those of the other organisation.
pub(super) const OWN: [&[usize]; 2] = [&[0, 1, 2], &[4, 5]];
/// Bases of each organisation.
pub(super) const OF_ORGANISATION: [&[usize]; 2] = [&[0, 1, 2, 3], &[4, 5]];

/// A file or FAQ.
#[derive(Debug)]
pub(super) struct Source {
    /// Its place among the files or FAQs of all bases.
    pub(super) place: usize,
    /// Its base.
    pub(super) base: usize,
    pub(super) is_faq: bool,
    /// Labels that it carries.
    pub(super) labels: Vec<usize>,
    /// The marks of its passages.
    pub(super) marks: Vec<String>,
}

/// The ids of everything.
#[derive(Debug, Default)]
pub(super) struct Ids {
    pub(super) bases: Vec<String>,
    pub(super) labels: Vec<String>,
    pub(super) files: Vec<String>,
    pub(super) faqs: Vec<String>,
}

/// Words that every passage holds.
pub(super) const WORDS: [&str; 6] = ["warranty", "repairs", "保固", "維修", "配送費用", "保証書"];

/// A name that a question may ask for: it stands in one file or FAQ alone.
pub(super) fn name(is_faq: bool, place: usize) -> String {
    format!("{}-{:03}", if is_faq { "HOTLINE" } else { "MODEL" }, place + 100)
}

/// Every mark in a text.
pub(super) fn marks(text: &str) -> BTreeSet<String> {
    let length = MARK.len() + 7;
    text.match_indices(MARK).map(|(at, _)| text[at..].chars().take(length).collect()).collect()
}

/// A mark: unlike any other, and of the same length.
fn mark(is_faq: bool, place: usize, passage: usize) -> String {
    format!("{MARK}{}{place:03}P{passage}Z", if is_faq { 'Q' } else { 'F' })
}

fn text(name: &str, mark: &str) -> String {
    format!("{name}: the warranty covers repairs, word {mark}. 保固期間維修免收配送費用，請出示保証書。")
}

/// Makes the bases of one organisation with all that is in them.
pub(super) async fn fill(app: &TestApp, actor: &Actor, bases: &[Value], ids: &mut Ids, sources: &mut Vec<Source>) {
    for body in bases {
        let base = ids.bases.len();
        let id = actor.make("knowledge-bases/", body).await;
        for name in ["Public", "Internal"] {
            ids.labels.push(actor.make(&format!("knowledge-bases/{id}/labels/"), &json!({"name": name})).await);
        }
        for number in 0..FILES_OF_BASE {
            let place = ids.files.len();
            let count = if number + 1 == FILES_OF_BASE { LONG } else { 1 };
            let marks: Vec<String> = (0..count).map(|passage| mark(false, place, passage)).collect();
            let texts: Vec<String> = marks.iter().map(|mark| text(&name(false, place), mark)).collect();
            let file = actor.add_file(&id, &format!("{}.txt", marks[0]), &texts.join("\n\n")).await;
            // None, the first, the second, both.
            let labels: Vec<usize> =
                (0..2).filter(|label| number & (1 << label) != 0).map(|label| base * 2 + label).collect();
            let carried: Vec<Value> = labels.iter().map(|label| json!({"id": ids.labels[*label]})).collect();
            let path = format!("knowledge-bases/{id}/files/{file}/");
            actor.patch(&path, &json!({"labels": carried})).await.expect(200);
            ids.files.push(file);
            sources.push(Source { place, base, is_faq: false, labels, marks });
        }
        for _ in 0..FAQS_OF_BASE {
            let place = ids.faqs.len();
            let mark = mark(true, place, 0);
            let body = json!({"question": format!("{mark}?"), "answer": text(&name(true, place), &mark)});
            ids.faqs.push(actor.make(&format!("knowledge-bases/{id}/faqs/"), &body).await);
            sources.push(Source { place, base, is_faq: true, labels: Vec::new(), marks: vec![mark] });
        }
        ids.bases.push(id);
    }
    app.run_jobs().await;
}
