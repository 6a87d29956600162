//! The full-text index: changes, scope, what survives a restart.

use std::collections::HashSet;

use parlance_retrieval::{BaseScope, Change, IndexedPassage, Scope, Selection, Source, TextIndex};

use crate::{base, id, organisation, passage, put};

fn whole() -> Scope {
    Scope::of_bases(organisation(), [base()])
}

fn open(directory: &std::path::Path) -> TextIndex {
    TextIndex::open(directory).unwrap().index
}

/// Numbers of the passages found, best first.
fn found(index: &TextIndex, question: &str, scope: &Scope) -> Vec<u128> {
    let results = index.search(question, scope, 10).unwrap();
    results.hits.iter().map(|hit| (1..1000).find(|number| hit.passage == id(*number)).unwrap()).collect()
}

#[test]
fn finds_what_was_put_and_not_what_was_removed() {
    let directory = tempfile::tempdir().unwrap();
    let index = open(directory.path());
    index.apply(&[put(1, 10, "七日內可以退貨"), put(2, 10, "客服電話"), put(3, 11, "綁定帳號與退貨")], 1).unwrap();
    assert_eq!(found(&index, "退貨", &whole()), [1, 3]);
    assert_eq!(found(&index, "绑定", &whole()), [3]);
    index.apply(&[Change::RemovePassage(id(1))], 2).unwrap();
    assert_eq!(found(&index, "退貨", &whole()), [3]);
    index.apply(&[Change::remove_file(id(11))], 3).unwrap();
    assert!(found(&index, "退貨", &whole()).is_empty());
    index.apply(&[Change::RemoveBase(base())], 4).unwrap();
    assert!(found(&index, "客服", &whole()).is_empty());
    index.apply(&[put(4, 12, "客服")], 5).unwrap();
    index.apply(&[Change::RemoveOrganisation(organisation())], 6).unwrap();
    assert!(found(&index, "客服", &whole()).is_empty());
    assert_eq!(index.health().unwrap().passages, 0);
}

#[test]
fn a_new_generation_replaces_the_old_one_in_one_step() {
    let directory = tempfile::tempdir().unwrap();
    let index = open(directory.path());
    index.apply(&[put(1, 10, "old words about shipping"), put(2, 11, "other shipping")], 1).unwrap();
    let newer = IndexedPassage { generation: 2, ..passage(3, 10, "new words about shipping") };
    let source = Source::File(id(10));
    index.apply(&[Change::Put(newer), Change::RemoveOtherGenerations { source, keep: 2 }], 2).unwrap();
    assert_eq!(found(&index, "words about shipping", &whole()), [3, 2]);
}

#[test]
fn replayed_changes_change_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let changes = [
        put(1, 10, "付款方式"),
        put(2, 10, "付款期限"),
        put(2, 10, "付款期限延長"),
        Change::RemovePassage(id(1)),
        put(1, 10, "付款方式更新"),
        put(5, 13, "付款紀錄"),
        Change::remove_file(id(13)),
    ];
    let index = open(directory.path());
    index.apply(&changes, 1).unwrap();
    let before = found(&index, "付款", &whole());
    assert_eq!(index.health().unwrap().passages, 2);
    index.apply(&changes, 1).unwrap();
    index.apply(&changes, 1).unwrap();
    assert_eq!(found(&index, "付款", &whole()), before);
    assert_eq!(index.health().unwrap().passages, 2);
    index.rest().unwrap();
    assert_eq!(found(&index, "付款", &whole()), before);
    let health = index.health().unwrap();
    assert_eq!((health.passages, health.segments, health.writer_open), (2, 1, false));
}

#[test]
fn the_watermark_and_the_passages_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let opened = TextIndex::open(directory.path()).unwrap();
    assert_eq!(opened.watermark, None);
    opened.index.apply(&[put(1, 10, "營業時間")], 41).unwrap();
    opened.index.apply(&[], 42).unwrap();
    drop(opened);
    let opened = TextIndex::open(directory.path()).unwrap();
    assert_eq!(opened.watermark, Some(42));
    assert_eq!(found(&opened.index, "幾點營業", &whole()), [1]);
}

#[test]
fn an_index_without_passages_is_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()));
    let opened = TextIndex::open(directory.path()).unwrap();
    assert_eq!((opened.watermark, opened.moved_aside), (Some(0), None));
    opened.index.apply(&[put(1, 10, "營業時間")], 1).unwrap();
    assert_eq!(found(&opened.index, "營業", &whole()), [1]);
}

#[test]
fn a_commit_that_never_happened_leaves_the_last_one() {
    let directory = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let index = open(directory.path());
    index.apply(&[put(1, 10, "第一批")], 1).unwrap();
    // What is on disk at this moment is what a process killed before its next commit leaves.
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    std::fs::write(copy.path().join("0123456789abcdef0123456789abcdef.term"), b"half written").unwrap();
    let second = [put(2, 11, "第二批"), put(1, 10, "第一批改")];
    index.apply(&second, 2).unwrap();
    let after_crash = TextIndex::open(copy.path()).unwrap();
    assert_eq!(after_crash.watermark, Some(1));
    assert_eq!(found(&after_crash.index, "批", &whole()), [1]);
    after_crash.index.apply(&second, 2).unwrap();
    assert_eq!(found(&after_crash.index, "第二批", &whole()), found(&index, "第二批", &whole()));
    assert_eq!(after_crash.index.health().unwrap().passages, 2);
}

#[test]
fn a_damaged_index_is_moved_aside_and_replaced() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("text");
    for damage in ["meta.json", ".term", ".idx", ".fast"] {
        let index = open(&directory);
        index.apply(&[put(1, 10, "不會留下")], 7).unwrap();
        drop(index);
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.to_string_lossy().ends_with(damage) {
                let mut bytes = std::fs::read(&path).unwrap();
                let middle = bytes.len() / 3;
                bytes[middle] ^= 0x55;
                bytes.truncate(bytes.len() - usize::from(damage == "meta.json"));
                std::fs::write(&path, bytes).unwrap();
            }
        }
        let opened = TextIndex::open(&directory).unwrap();
        assert_eq!(opened.watermark, None, "{damage}");
        assert!(opened.moved_aside.unwrap().0.join("meta.json").exists());
        assert!(found(&opened.index, "留下", &whole()).is_empty());
        drop(opened.index);
        std::fs::remove_dir_all(&directory).unwrap();
    }
}

#[test]
fn headings_are_searched() {
    let directory = tempfile::tempdir().unwrap();
    let index = open(directory.path());
    let with_heading =
        IndexedPassage { heading: Some("保固條款".to_owned()), ..passage(1, 10, "自購買日起一年") };
    index.apply(&[Change::Put(with_heading), put(2, 10, "自出貨日起七日")], 1).unwrap();
    assert_eq!(found(&index, "保固多久", &whole()), [1]);
}

#[test]
fn a_scope_narrows_to_files_and_faq_entries() {
    let directory = tempfile::tempdir().unwrap();
    let index = open(directory.path());
    let faq = |number, entry| IndexedPassage { source: Source::Faq(entry), ..passage(number, 0, "運費說明") };
    index
        .apply(&[put(1, 10, "運費說明"), put(2, 11, "運費說明"), Change::Put(faq(3, 77)), Change::Put(faq(4, 78))], 1)
        .unwrap();
    let with = |files: Selection<_>, faqs: Selection<u128>| Scope {
        organisation: organisation(),
        bases: vec![BaseScope { base: base(), files, faqs }],
    };
    let sorted = |scope: &Scope| {
        let mut numbers = found(&index, "運費", scope);
        numbers.sort_unstable();
        numbers
    };
    assert_eq!(sorted(&whole()), [1, 2, 3, 4]);
    assert_eq!(sorted(&with(Selection::All, Selection::Nothing)), [1, 2]);
    assert_eq!(sorted(&with(Selection::Only([id(11)].into()), Selection::Only([77].into()))), [2, 3]);
    assert_eq!(sorted(&with(Selection::Only([id(12)].into()), Selection::All)), [3, 4]);
    assert!(sorted(&with(Selection::Only(HashSet::new()), Selection::Nothing)).is_empty());
    assert!(sorted(&with(Selection::Nothing, Selection::Nothing)).is_empty());
}

#[test]
fn passages_that_may_not_be_seen_do_not_crowd_out_those_that_may() {
    let directory = tempfile::tempdir().unwrap();
    let index = open(directory.path());
    let mut changes: Vec<Change> = (1..100).map(|number| put(number, 10, "運費說明")).collect();
    changes.push(put(500, 11, "關於運費與其他許多事項的一般說明"));
    index.apply(&changes, 1).unwrap();
    let files = Selection::Only([id(11)].into());
    let scope =
        Scope { organisation: organisation(), bases: vec![BaseScope { base: base(), files, faqs: Selection::All }] };
    let results = index.search("運費說明", &scope, 1).unwrap();
    assert_eq!(results.hits.len(), 1);
    assert_eq!(results.hits[0].passage, id(500));
}

#[test]
fn looking_up_only_candidates_finds_the_same_as_looking_at_all() {
    // Enough postings that a search with a small limit stops collecting candidates early, which one
    // with a limit above the number of passages never does.
    let directory = tempfile::tempdir().unwrap();
    let index = open(directory.path());
    let places = ["臺北", "臺中", "高雄", "花蓮", "新竹", "嘉義", "澎湖"];
    let changes: Vec<Change> = (1..9_000_u128)
        .map(|number| {
            let place = places[usize::try_from(number % 7).unwrap()];
            let other = places[usize::try_from(number / 7 % 7).unwrap()];
            let extra = "說明".repeat(usize::try_from(number % 5).unwrap());
            put(number, 10, &format!("{place}與{other}分店的服務時間{extra}，第{}條以現場公告為準", number % 97))
        })
        .collect();
    index.apply(&changes, 1).unwrap();
    for question in ["花蓮分店的服務時間第13條公告", "澎湖與嘉義服務說明", "以現場為準的時間"]
    {
        let few = index.search(question, &whole(), 5).unwrap();
        let all = index.search(question, &whole(), 10_000).unwrap();
        assert_eq!(few.hits.len(), 5);
        for (one, other) in few.hits.iter().zip(&all.hits) {
            assert!((one.bm25 - other.bm25).abs() < 1e-3 * one.bm25, "{question}: {one:?} {other:?}");
        }
    }
}
