//! Finding the best passages: BM25 (Robertson and Zaragoza, 2009) with weights per kind of term,
//! summed term by term over the postings of the scope's bases.
//!
//! Terms are taken in order of the most they can add. As soon as passages that contain none of the
//! terms so far can no longer reach the best `limit`, the remaining (frequent) terms are only looked
//! up for passages that still can, which gives the same result and spares long postings.

use std::collections::HashSet;

use parlance_domain::kind::{KnowledgeBaseId, PassageId};
use tantivy::postings::{Postings as _, TermInfo};
use tantivy::schema::IndexRecordOption;
use tantivy::{DocSet, Term};

use super::TextIndex;
use super::schema::{id_term, key_of, source_bytes};
use super::snapshot::{Segment, Snapshot};
use crate::coverage::{QuestionTerm, QuestionTerms, analyse_question, inverse_frequency};
use crate::error::Result;
use crate::scope::{BaseScope, Scope, Selection, Source, bits, from_bits};

/// Saturation of term frequency.
const K1: f32 = 1.2;
/// Influence of passage length.
const B: f32 = 0.75;
/// Size of the imagined collection that steadies the document frequencies of small bases.
const BACKGROUND_FOR_RANKING: f64 = 300.0;
/// Remaining postings from which on it pays to find out which passages can still be among the best.
const MANY_POSTINGS: u64 = 20_000;
/// The score of a passage that must not be found.
const FORBIDDEN: f32 = f32::NEG_INFINITY;

/// A passage found by its text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TextHit {
    /// The passage.
    pub passage: PassageId,
    /// Where it comes from.
    pub source: Source,
    /// The knowledge base it belongs to.
    pub base: KnowledgeBaseId,
    /// BM25 score: above 0, comparable only among the hits of one search.
    pub bm25: f32,
}

/// What a search found.
#[derive(Clone, Debug)]
pub struct TextResults {
    /// Best first; equal ones by passage id.
    pub hits: Vec<TextHit>,
    /// The question's terms, weighted by the frequencies in the scope, to score any passage with.
    pub terms: QuestionTerms,
}

/// A term with its postings in one segment and base.
struct Postings {
    term: usize,
    info: TermInfo,
}

/// The part of a search that concerns one base in one segment.
struct Part<'a> {
    base: &'a BaseScope,
    segment: usize,
    postings: Vec<Postings>,
}

#[derive(Clone, Copy)]
struct Candidate {
    score: f32,
    segment: usize,
    document: u32,
}

impl TextIndex {
    /// The `limit` passages in `scope` that fit `question` best, and the question's weighted terms.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn search(&self, question: &str, scope: &Scope, limit: usize) -> Result<TextResults> {
        let snapshot = self.snapshot();
        let terms = analyse_question(question);
        let (parts, passages, frequencies) = look_up(&snapshot, scope, &terms)?;
        let weights: Vec<f32> = terms
            .iter()
            .zip(&frequencies)
            .map(|(term, frequency)| {
                let rarity = inverse_frequency(passages, *frequency, term.background, BACKGROUND_FOR_RANKING);
                term.kind.weight() * rarity
            })
            .collect();
        let mut candidates: Vec<Candidate> = Vec::new();
        if limit > 0 {
            let lengths = LengthFactors::new(snapshot.mean_length);
            for part in parts {
                score_part(&snapshot, part, &weights, &lengths, limit, &mut candidates)?;
                keep_best(&mut candidates, limit);
            }
        }
        Ok(TextResults {
            hits: hits(&snapshot, scope, &candidates, limit),
            terms: QuestionTerms::weighted(&terms, passages, &frequencies),
        })
    }
}

/// Finds the postings of every term in every base and segment, the number of passages of the scope,
/// and how many of them contain each term.
fn look_up<'a>(
    snapshot: &Snapshot,
    scope: &'a Scope,
    terms: &[QuestionTerm],
) -> Result<(Vec<Part<'a>>, u64, Vec<u64>)> {
    let mut parts = Vec::new();
    let mut passages = 0_u64;
    let mut frequencies = vec![0_u64; terms.len()];
    let mut seen = HashSet::new();
    let mut keyed = String::new();
    for base in scope.bases.iter().filter(|base| seen.insert(base.base)) {
        let key = key_of(scope.organisation, base.base);
        for (number, segment) in snapshot.segments.iter().enumerate() {
            let all = segment.bases.get_term_info(&id_term(snapshot.fields.base, bits(base.base)))?;
            let Some(all) = all else { continue };
            passages += u64::from(all.doc_freq);
            let mut postings = Vec::new();
            for (index, term) in terms.iter().enumerate() {
                keyed.clear();
                keyed.push_str(&key);
                keyed.push_str(&term.text);
                let found = segment.text.terms().get(keyed.as_bytes())?;
                if let Some(info) = found {
                    frequencies[index] += u64::from(info.doc_freq);
                    postings.push(Postings { term: index, info });
                }
            }
            parts.push(Part { base, segment: number, postings });
        }
    }
    Ok((parts, passages, frequencies))
}

/// The length part of BM25 for each of the 256 stored lengths.
struct LengthFactors([f32; 256]);

impl LengthFactors {
    fn new(mean_length: f32) -> Self {
        let mut factors = [0.0; 256];
        for (factor, code) in factors.iter_mut().zip(0_u8..=255) {
            #[expect(clippy::cast_precision_loss, reason = "lengths are far below 2^24")]
            let length = tantivy::fieldnorm::FieldNormReader::id_to_fieldnorm(code) as f32;
            *factor = K1 * (1.0 - B + B * length / mean_length);
        }
        Self(factors)
    }

    fn score(&self, weight: f32, frequency: u32, segment: &Segment, document: u32) -> f32 {
        #[expect(clippy::cast_precision_loss, reason = "frequencies are far below 2^24")]
        let frequency = frequency as f32;
        let factor = self.0[usize::from(segment.lengths.fieldnorm_id(document))];
        weight * frequency * (K1 + 1.0) / (frequency + factor)
    }
}

fn score_part(
    snapshot: &Snapshot,
    mut part: Part<'_>,
    weights: &[f32],
    lengths: &LengthFactors,
    limit: usize,
    candidates: &mut Vec<Candidate>,
) -> Result<()> {
    let segment = &snapshot.segments[part.segment];
    let permitted = Permitted::new(snapshot, segment, part.base)?;
    part.postings.sort_by(|one, other| weights[other.term].total_cmp(&weights[one.term]));
    let mut still_to_add: f32 = part.postings.iter().map(|postings| weights[postings.term] * (K1 + 1.0)).sum();
    let mut still_to_read: u64 = part.postings.iter().map(|postings| u64::from(postings.info.doc_freq)).sum();
    let mut scores = vec![0.0_f32; segment.reader.max_doc() as usize];
    let mut touched: Vec<u32> = Vec::new();
    let mut closed = false;
    let mut added = 0.0_f32;
    let mut read_since_look = 0_u64;
    for postings in &part.postings {
        let weight = weights[postings.term];
        // The best score so far is below what has been added at most, and finding it costs about as
        // much as reading a posting of every candidate.
        let is_possible = still_to_add < added && read_since_look >= touched.len() as u64;
        if !closed && is_possible && still_to_read > MANY_POSTINGS && touched.len() >= limit {
            read_since_look = 0;
            let best = candidates.iter().map(|candidate| candidate.score);
            let threshold = best_score_at(limit, best.chain(touched.iter().map(|d| scores[*d as usize])));
            if still_to_add < threshold {
                touched.retain(|document| scores[*document as usize] + still_to_add >= threshold);
                touched.sort_unstable();
                closed = true;
            }
        }
        still_to_add -= weight * (K1 + 1.0);
        added += weight * (K1 + 1.0);
        read_since_look += u64::from(postings.info.doc_freq);
        still_to_read -= u64::from(postings.info.doc_freq);
        if closed {
            let mut list = segment.text.read_postings_from_terminfo(&postings.info, IndexRecordOption::WithFreqs)?;
            for &document in &touched {
                if list.doc() < document {
                    list.seek(document);
                }
                if list.doc() == document {
                    let frequency = list.term_freq();
                    scores[document as usize] += lengths.score(weight, frequency, segment, document);
                }
            }
            continue;
        }
        let mut blocks =
            segment.text.read_block_postings_from_terminfo(&postings.info, IndexRecordOption::WithFreqs)?;
        while blocks.block_len() > 0 {
            for (&document, &frequency) in blocks.docs().iter().zip(blocks.freqs()) {
                let score = &mut scores[document as usize];
                if *score == 0.0 {
                    if !permitted.allows(segment, document) {
                        *score = FORBIDDEN;
                        continue;
                    }
                    touched.push(document);
                }
                *score += lengths.score(weight, frequency, segment, document);
            }
            blocks.advance();
        }
    }
    candidates.extend(touched.into_iter().map(|document| Candidate {
        score: scores[document as usize],
        segment: part.segment,
        document,
    }));
    Ok(())
}

/// Which documents of a segment the scope of a base permits.
enum Permitted {
    /// All that are not deleted.
    Alive,
    /// Those whose source is wholly selected by kind, and the listed ones.
    Listed { files: bool, faqs: bool, documents: HashSet<u32> },
}

impl Permitted {
    fn new(snapshot: &Snapshot, segment: &Segment, base: &BaseScope) -> Result<Self> {
        if base.is_whole() {
            return Ok(Self::Alive);
        }
        let mut documents = HashSet::new();
        let mut list = |source: Source| -> Result<()> {
            let term = Term::from_field_bytes(snapshot.fields.source, &source_bytes(source));
            if let Some(mut postings) = segment.sources.read_postings(&term, IndexRecordOption::Basic)? {
                while postings.doc() != tantivy::TERMINATED {
                    documents.insert(postings.doc());
                    postings.advance();
                }
            }
            Ok(())
        };
        if let Selection::Only(files) = &base.files {
            files.iter().try_for_each(|file| list(Source::File(*file)))?;
        }
        if let Selection::Only(entries) = &base.faqs {
            entries.iter().try_for_each(|entry| list(Source::Faq(*entry)))?;
        }
        Ok(Self::Listed { files: base.files == Selection::All, faqs: base.faqs == Selection::All, documents })
    }

    fn allows(&self, segment: &Segment, document: u32) -> bool {
        if segment.reader.is_deleted(document) {
            return false;
        }
        match self {
            Self::Alive => true,
            Self::Listed { files, faqs, documents } => {
                documents.contains(&document)
                    || match segment.kind_of_source(document) {
                        0 => *files,
                        1 => *faqs,
                        _ => false,
                    }
            }
        }
    }
}

/// The score of the one at rank `limit`, or nothing to compare with.
fn best_score_at(limit: usize, scores: impl Iterator<Item = f32>) -> f32 {
    let mut all: Vec<f32> = scores.collect();
    if limit == 0 || all.len() < limit {
        return FORBIDDEN;
    }
    *all.select_nth_unstable_by(limit - 1, |one, other| other.total_cmp(one)).1
}

/// Drops what is not among the best `limit`, but keeps those equal to the last one.
fn keep_best(candidates: &mut Vec<Candidate>, limit: usize) {
    let threshold = best_score_at(limit, candidates.iter().map(|candidate| candidate.score));
    candidates.retain(|candidate| candidate.score >= threshold);
}

/// Reads the ids of the candidates, and drops any that is not in the scope by its stored ids.
fn hits(snapshot: &Snapshot, scope: &Scope, candidates: &[Candidate], limit: usize) -> Vec<TextHit> {
    let mut hits: Vec<TextHit> = candidates
        .iter()
        .filter_map(|candidate| {
            let ids = snapshot.segments[candidate.segment].ids(candidate.document)?;
            let base = from_bits(ids.base);
            let source = Source::from_parts(ids.source_kind, ids.source);
            let seen = ids.organisation == bits(scope.organisation)
                && scope.bases.iter().find(|listed| listed.base == base).is_some_and(|listed| listed.allows(source));
            seen.then(|| TextHit { passage: from_bits(ids.passage), source, base, bm25: candidate.score })
        })
        .collect();
    hits.sort_by(|one, other| other.bm25.total_cmp(&one.bm25).then_with(|| one.passage.cmp(&other.passage)));
    hits.truncate(limit);
    hits
}
