//! No search finds what belongs to another organisation or knowledge base.

use parlance_domain::kind::{KnowledgeBaseId, OrganisationId, PassageId};
use parlance_retrieval::{Change, IndexedPassage, PassageTerms, Scope, Source, TextIndex};

use crate::id;

const ORGANISATIONS: u128 = 50;
const PASSAGES: u128 = 20;

fn organisation(number: u128) -> OrganisationId {
    id(1_000 + number)
}

fn base(number: u128) -> KnowledgeBaseId {
    id(2_000 + number)
}

fn passage(owner: u128, number: u128) -> PassageId {
    id(100_000 + owner * 1_000 + number)
}

fn filled(directory: &std::path::Path) -> TextIndex {
    let index = TextIndex::open(directory).unwrap().index;
    let mut changes = Vec::new();
    for owner in 0..ORGANISATIONS {
        for number in 0..PASSAGES {
            changes.push(Change::Put(IndexedPassage {
                organisation: organisation(owner),
                base: base(owner),
                source: Source::File(id(3_000 + owner)),
                generation: 1,
                passage: passage(owner, number),
                text: format!("退貨政策與客服電話 canary-{owner}-{number} 保固條款 secret{owner}x{number}"),
                heading: None,
            }));
        }
    }
    index.apply(&changes, 1).unwrap();
    index
}

#[test]
fn ten_thousand_searches_find_nothing_foreign() {
    let directory = tempfile::tempdir().unwrap();
    let index = filled(directory.path());
    let mut retrieved = 0;
    for round in 0..10_000_u128 {
        let asker = round % ORGANISATIONS;
        let victim = (round / ORGANISATIONS) % ORGANISATIONS;
        let number = round % PASSAGES;
        let question = match round % 3 {
            0 => "請問退貨政策和客服電話".to_owned(),
            1 => format!("canary-{victim}-{number}"),
            _ => format!("保固條款 secret{victim}x{number}"),
        };
        let results = index.search(&question, &Scope::of_bases(organisation(asker), [base(asker)]), 5).unwrap();
        for hit in &results.hits {
            assert_eq!(hit.base, base(asker));
            assert!((0..PASSAGES).any(|own| hit.passage == passage(asker, own)), "{question}");
            retrieved += 1;
        }
    }
    assert!(retrieved > 40_000, "{retrieved}");
}

#[test]
fn a_base_under_a_foreign_organisation_and_an_empty_scope_find_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let index = filled(directory.path());
    for scope in [
        Scope::of_bases(organisation(1), [base(2)]),
        Scope::of_bases(organisation(1), []),
        Scope::of_bases(id(9_999), (0..ORGANISATIONS).map(base)),
    ] {
        assert!(index.search("退貨政策", &scope, 10).unwrap().hits.is_empty());
    }
    let mixed = Scope::of_bases(organisation(1), (0..ORGANISATIONS).map(base));
    let results = index.search("退貨政策", &mixed, 1_000).unwrap();
    assert_eq!(results.hits.len(), usize::try_from(PASSAGES).unwrap());
    assert!(results.hits.iter().all(|hit| hit.base == base(1)));
}

#[test]
fn the_documents_of_others_do_not_change_scores() {
    let crowded = tempfile::tempdir().unwrap();
    let alone = tempfile::tempdir().unwrap();
    let own = |index: &TextIndex| {
        let scope = Scope::of_bases(organisation(7), [base(7)]);
        let results = index.search("客服電話 canary-7-3", &scope, 3).unwrap();
        (results.hits[0].passage, results.terms.share(&PassageTerms::of("客服電話")))
    };
    let crowded_index = filled(crowded.path());
    let alone_index = filled(alone.path());
    let others: Vec<Change> =
        (0..ORGANISATIONS).filter(|n| *n != 7).map(|n| Change::RemoveOrganisation(organisation(n))).collect();
    alone_index.apply(&others, 2).unwrap();
    alone_index.rest().unwrap();
    assert_eq!(own(&crowded_index), own(&alone_index));
}
