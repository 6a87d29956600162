//! The vector index against a plain comparison of everything.

use std::collections::HashSet;

use parlance_domain::kind::PassageId;
use parlance_retrieval::{BaseScope, IndexedVector, Selection, Source, VectorChange, VectorIndex};

use crate::{base, id, organisation};

const DIMENSIONS: usize = 32;

/// Small deterministic random numbers (`SplitMix64`, Steele et al. 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn signed(&mut self) -> f32 {
        let bits = u16::try_from(self.next() & 0xFFFF).unwrap();
        f32::from(bits) / 32_768.0 - 1.0
    }

    fn vector(&mut self, centre: Option<&[f32]>) -> Vec<f32> {
        (0..DIMENSIONS).map(|d| centre.map_or(0.0, |centre| centre[d]) + self.signed() * 0.5).collect()
    }
}

fn clustered(count: usize) -> Vec<Vec<f32>> {
    let mut random = Random(7);
    let centres: Vec<Vec<f32>> = (0..60).map(|_| random.vector(None)).collect();
    (0..count).map(|n| random.vector(Some(&centres[n % centres.len()]))).collect()
}

fn put(number: usize, vector: &[f32]) -> VectorChange {
    VectorChange::Put(IndexedVector {
        organisation: organisation(),
        base: base(),
        embeddings: 1,
        source: Source::File(id(10 + number as u128 % 10)),
        generation: 1,
        passage: id(number as u128),
        vector: vector.to_vec(),
    })
}

fn open(directory: &std::path::Path) -> VectorIndex {
    VectorIndex::open(directory).unwrap().index
}

fn nearest(index: &VectorIndex, scope: &BaseScope, question: &[f32], limit: usize) -> Vec<PassageId> {
    let hits = index.search(organisation(), scope, 1, question, limit).unwrap();
    hits.iter().map(|hit| hit.passage).collect()
}

fn expected(vectors: &[Vec<f32>], question: &[f32], is_allowed: impl Fn(usize) -> bool) -> Vec<PassageId> {
    let length = |vector: &[f32]| vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    let cosine = |vector: &[f32]| vector.iter().zip(question).map(|(x, y)| x * y).sum::<f32>() / length(vector);
    let mut all: Vec<usize> = (0..vectors.len()).filter(|number| is_allowed(*number)).collect();
    all.sort_by(|one, other| cosine(&vectors[*other]).total_cmp(&cosine(&vectors[*one])));
    all.into_iter().take(10).map(|number| id(number as u128)).collect()
}

fn recall(found: &[PassageId], wanted: &[PassageId]) -> f64 {
    let found: HashSet<_> = found.iter().collect();
    wanted.iter().filter(|passage| found.contains(passage)).count() as f64 / wanted.len() as f64
}

#[test]
fn small_bases_are_searched_exactly_with_and_without_filter() {
    let directory = tempfile::tempdir().unwrap();
    let index = open(directory.path());
    let vectors = clustered(600);
    let changes: Vec<_> = vectors.iter().enumerate().map(|(number, vector)| put(number, vector)).collect();
    index.apply(&changes, 1).unwrap();
    let only = BaseScope { base: base(), files: Selection::Only([id(13), id(17)].into()), faqs: Selection::Nothing };
    let mut random = Random(99);
    for _ in 0..20 {
        let question = random.vector(None);
        assert_eq!(nearest(&index, &BaseScope::whole(base()), &question, 10), expected(&vectors, &question, |_| true));
        let filtered = expected(&vectors, &question, |number| matches!(number % 10, 3 | 7));
        assert_eq!(nearest(&index, &only, &question, 10), filtered);
    }
}

#[test]
fn large_bases_keep_recall_through_the_graph_changes_and_filters() {
    let directory = tempfile::tempdir().unwrap();
    let index = open(directory.path());
    let mut vectors = clustered(6_000);
    let changes: Vec<_> = vectors.iter().enumerate().map(|(number, vector)| put(number, vector)).collect();
    index.apply(&changes, 1).unwrap();
    assert_eq!(index.optimise(|| false).unwrap(), 1);
    assert_eq!(index.optimise(|| false).unwrap(), 0);
    // Changes after the graph was built: new, replaced and removed vectors.
    let mut random = Random(5);
    for number in (0..50).chain(6_000..6_100) {
        let vector = random.vector(None);
        index.apply(&[put(number, &vector)], 2).unwrap();
        if number < vectors.len() {
            vectors[number] = vector;
        } else {
            vectors.push(vector);
        }
    }
    index.apply(&[VectorChange::RemoveSource(Source::File(id(14)))], 3).unwrap();
    let removed = |number: usize| number % 10 == 4;
    assert_eq!(index.count().unwrap(), 5_490);
    let half = BaseScope { base: base(), files: Selection::Only((10..15).map(id).collect()), faqs: Selection::Nothing };
    let (mut whole_recall, mut half_recall) = (0.0, 0.0);
    for _ in 0..50 {
        let question = random.vector(None);
        let wanted = expected(&vectors, &question, |number| !removed(number));
        whole_recall += recall(&nearest(&index, &BaseScope::whole(base()), &question, 10), &wanted) / 50.0;
        let wanted = expected(&vectors, &question, |number| !removed(number) && number % 10 < 5);
        let found = nearest(&index, &half, &question, 10);
        half_recall += recall(&found, &wanted) / 50.0;
    }
    assert!(whole_recall >= 0.95, "{whole_recall}");
    assert!(half_recall >= 0.95, "{half_recall}");
}

#[test]
fn replay_restart_and_removal() {
    let directory = tempfile::tempdir().unwrap();
    let vectors = clustered(30);
    let changes: Vec<_> = vectors.iter().enumerate().map(|(number, vector)| put(number, vector)).collect();
    let opened = VectorIndex::open(directory.path()).unwrap();
    assert_eq!(opened.watermark, None);
    opened.index.apply(&changes, 5).unwrap();
    opened.index.apply(&changes, 5).unwrap();
    assert_eq!(opened.index.count().unwrap(), 30);
    let before = nearest(&opened.index, &BaseScope::whole(base()), &vectors[3], 10);
    drop(opened);
    let opened = VectorIndex::open(directory.path()).unwrap();
    assert_eq!(opened.watermark, Some(5));
    let index = opened.index;
    assert_eq!(nearest(&index, &BaseScope::whole(base()), &vectors[3], 10), before);
    index.apply(&[VectorChange::RemovePassage(id(3))], 6).unwrap();
    assert!(!nearest(&index, &BaseScope::whole(base()), &vectors[3], 30).contains(&id(3)));
    let source = Source::File(id(15));
    index.apply(&[VectorChange::RemoveOtherGenerations { source, keep: 1 }], 7).unwrap();
    assert_eq!(index.count().unwrap(), 29);
    index.apply(&[VectorChange::RemoveOtherGenerations { source, keep: 2 }], 7).unwrap();
    assert_eq!(index.count().unwrap(), 26);
    index.apply(&[VectorChange::RemoveEmbeddings { base: base(), embeddings: 1 }], 8).unwrap();
    assert_eq!(index.count().unwrap(), 0);
    index.apply(&changes, 9).unwrap();
    index.apply(&[VectorChange::RemoveOrganisation(organisation())], 10).unwrap();
    assert!(nearest(&index, &BaseScope::whole(base()), &vectors[3], 10).is_empty());
}

#[test]
fn other_owners_other_embeddings_and_empty_selections_find_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let index = open(directory.path());
    index.apply(&[put(1, &[1.0, 0.0])], 1).unwrap();
    let whole = BaseScope::whole(base());
    assert_eq!(index.search(organisation(), &whole, 1, &[1.0, 0.1], 5).unwrap().len(), 1);
    assert!(index.search(id(9), &whole, 1, &[1.0, 0.1], 5).unwrap().is_empty());
    assert!(index.search(organisation(), &whole, 2, &[1.0, 0.1], 5).unwrap().is_empty());
    assert!(index.search(organisation(), &BaseScope::whole(id(3)), 1, &[1.0, 0.1], 5).unwrap().is_empty());
    let nothing = BaseScope { base: base(), files: Selection::Nothing, faqs: Selection::All };
    assert!(index.search(organisation(), &nothing, 1, &[1.0, 0.1], 5).unwrap().is_empty());
    assert!(index.search(organisation(), &whole, 1, &[0.0, 0.0], 5).unwrap().is_empty());
}

#[test]
fn vectors_that_do_not_fit_are_refused_whole() {
    let directory = tempfile::tempdir().unwrap();
    let index = open(directory.path());
    index.apply(&[put(1, &[1.0, 0.0])], 1).unwrap();
    assert!(index.apply(&[put(2, &[0.0, 1.0]), put(3, &[1.0])], 2).is_err());
    assert!(index.apply(&[put(2, &[f32::NAN, 1.0])], 2).is_err());
    assert!(index.search(organisation(), &BaseScope::whole(base()), 1, &[1.0], 5).is_err());
    assert_eq!(index.count().unwrap(), 1);
    index.apply(&[put(4, &[0.0, 0.0])], 2).unwrap();
    assert_eq!(index.count().unwrap(), 1);
}

#[test]
fn an_unreadable_database_is_moved_aside_and_replaced() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("vectors");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("data.mdb"), vec![0x55; 20_000]).unwrap();
    let opened = VectorIndex::open(&directory).unwrap();
    assert_eq!(opened.watermark, None);
    assert!(opened.moved_aside.unwrap().0.join("data.mdb").exists());
    opened.index.apply(&[put(1, &[1.0, 0.0])], 1).unwrap();
    assert_eq!(opened.index.count().unwrap(), 1);
}
