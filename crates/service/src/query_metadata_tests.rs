use proptest::prelude::*;
use serde_json::json;
use uuid::Uuid;

use super::*;

fn at<K: IdKind>(number: u128) -> Id<K> {
    Id::from_uuid(Uuid::from_u128(number))
}

fn layer(value: &Value) -> Layer {
    Layer::parse(Some(&value.to_string()), "q").unwrap()
}

const A: u128 = 1;
const B: u128 = 2;

fn scopes(layers: &[&Value], labelled: &Labelled) -> Vec<BaseScope> {
    let layers: Vec<Layer> = layers.iter().map(|value| layer(value)).collect();
    narrowed(&layers.iter().collect::<Vec<_>>(), &[at(A), at(B)], labelled)
}

fn text(number: u128) -> String {
    Uuid::from_u128(number).to_string()
}

fn files(numbers: &[u128]) -> Selection<FileId> {
    Selection::Only(numbers.iter().copied().map(at).collect())
}

#[test]
fn what_sets_nothing_and_what_permits_nothing() {
    for open in [None, Some("null"), Some("{}")] {
        assert!(Layer::parse(open, "q").unwrap().sets_nothing(), "{open:?}");
    }
    let nothing = [
        json!({"other": 1}),
        json!({"knowledge_bases": []}),
        json!({"knowledgeBases": null}),
        json!({"label_relations": {"label_id": text(9)}}),
        json!({"knowledge_bases": [{"knowledge_base_id": "no id", "has_user_selected_all": true}]}),
        json!({"knowledge_bases": [{"knowledge_base_id": text(77), "has_user_selected_all": true}]}),
    ];
    for value in &nothing {
        assert_eq!(scopes(&[value], &Labelled::new()), [], "{value}");
    }
    assert_eq!(Layer::stored(Some("[")), Layer(Some(Rules::default())), "what cannot be read permits nothing");
}

#[test]
fn the_examples_of_the_contract() {
    let labelled = Labelled::from([(at(50), HashSet::from([at(10), at(11)]))]);
    // A: files by their label, and exactly these FAQs.
    let a = json!({
        "knowledge_bases": [{"knowledge_base_id": text(A), "faq_ids": [text(30)]}],
        "label_relations": {"operator": "OR", "conditions": [{"label_id": text(50)}]},
    });
    let expected = BaseScope { base: at(A), files: files(&[10, 11]), faqs: Selection::Only(HashSet::from([30])) };
    assert_eq!(scopes(&[&a], &labelled), [expected]);
    // B: these files, and all FAQs of the base.
    let b = json!({"knowledgeBases": [{"knowledgeBaseId": text(A), "chatbotFileIds": [text(12), "?"], "faqIds": []}]});
    let expected = BaseScope { base: at(A), files: files(&[12]), faqs: Selection::All };
    assert_eq!(scopes(&[&b], &labelled), [expected]);
}

#[test]
fn everything_wins_over_files_and_files_over_labels() {
    let labelled = Labelled::from([(at(50), HashSet::from([at(10)]))]);
    for all in [json!(true), json!("True"), json!("true")] {
        let value = json!({"knowledge_bases": [{"knowledge_base_id": text(A), "has_user_selected_all": all,
            "chatbot_file_ids": [text(10)], "faq_ids": [text(30)]}], "label_relations": {"label_id": text(50)}});
        assert_eq!(scopes(&[&value], &labelled), [BaseScope::whole(at(A))]);
    }
    let value = json!({"knowledge_bases": [{"knowledge_base_id": text(A), "has_user_selected_all": "False",
        "chatbot_file_ids": [text(12)]}], "label_relations": {"label_id": text(50)}});
    assert_eq!(scopes(&[&value], &labelled)[0].files, files(&[12]));
    let listed_but_none = json!({"knowledge_bases": [{"knowledge_base_id": text(A), "chatbot_file_ids": ["x"]}]});
    assert_eq!(scopes(&[&listed_but_none], &labelled)[0].files, files(&[]));
}

#[test]
fn labels_combine() {
    let labelled =
        Labelled::from([(at(50), HashSet::from([at(10), at(11)])), (at(51), HashSet::from([at(11), at(12)]))]);
    let of = |relation: Value| {
        let value = json!({"knowledge_bases": [{"knowledge_base_id": text(A)}], "labelRelations": relation});
        scopes(&[&value], &labelled)[0].files.clone()
    };
    let (one, other) = (json!({"label_id": text(50)}), json!({"labelId": text(51)}));
    assert_eq!(of(json!({"operator": "AND", "conditions": [one, other]})), files(&[11]));
    assert_eq!(of(json!({"operator": "or", "conditions": [one, other]})), files(&[10, 11, 12]));
    let nested = json!({"operator": "AND", "conditions": [one, {"operator": "OR", "conditions": [other]}]});
    assert_eq!(of(nested), files(&[11]));
    assert_eq!(of(json!({"operator": "AND", "conditions": [one, {"label_id": "none"}]})), files(&[]));
    assert_eq!(of(json!({"operator": "OR", "conditions": []})), Selection::All, "no label filter");
    assert_eq!(of(json!({})), Selection::All);
}

#[test]
fn what_is_malformed_is_refused() {
    let mut deep = json!({"label_id": text(50)});
    for _ in 0..30 {
        deep = json!({"operator": "AND", "conditions": [deep]});
    }
    let base = |member: &str, value: Value| {
        let mut entry = json!({"knowledge_base_id": text(A)});
        entry[member] = value;
        json!({"knowledge_bases": [entry]})
    };
    for value in [
        json!([]),
        json!("x"),
        json!(true),
        json!({"knowledge_bases": {}}),
        json!({"knowledge_bases": ["x"]}),
        json!({"knowledge_bases": [{}]}),
        base("knowledge_base_id", json!(7)),
        base("has_user_selected_all", json!("yes")),
        base("has_user_selected_all", json!(1)),
        base("chatbot_file_ids", json!("x")),
        base("chatbot_file_ids", json!([1])),
        base("faq_ids", json!({})),
        base("faq_ids", json!(vec!["x"; 20_001])),
        json!({"label_relations": []}),
        json!({"label_relations": {"operator": "NOT", "conditions": []}}),
        json!({"label_relations": {"conditions": [{"label_id": "x"}]}}),
        json!({"label_relations": {"operator": "AND", "conditions": "x"}}),
        json!({"label_relations": deep}),
        json!({"label_relations": {"operator": "AND", "conditions": vec![json!({"label_id": "x"}); 501]}}),
    ] {
        let refused = Layer::parse(Some(&value.to_string()), "q");
        assert!(matches!(refused, Err(Error::Invalid(_))), "{value}");
    }
    assert!(Layer::parse(Some("{"), "q").is_err());
    assert!(Layer::parse(Some(&" ".repeat(MAX_BYTES + 1)), "q").is_err());
}

fn any_ids(from: u128) -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec((from..from + 6).prop_map(text), 0..4)
}

fn any_node() -> impl Strategy<Value = Value> {
    let leaf = (50..54_u128).prop_map(|label| json!({"label_id": text(label)}));
    leaf.prop_recursive(3, 12, 3, |inner| {
        (prop_oneof![Just("AND"), Just("OR")], prop::collection::vec(inner, 0..3))
            .prop_map(|(operator, conditions)| json!({"operator": operator, "conditions": conditions}))
    })
}

fn any_layer() -> impl Strategy<Value = Value> {
    let entry = (1..4_u128, any_ids(10), any_ids(30), any::<Option<bool>>()).prop_map(|(base, files, faqs, all)| {
        json!({"knowledge_base_id": text(base), "chatbot_file_ids": files, "faq_ids": faqs,
            "has_user_selected_all": all.map(|all| if all { "True" } else { "False" })})
    });
    let rules = (prop::collection::vec(entry, 0..4), prop::option::of(any_node()))
        .prop_map(|(bases, labels)| json!({"knowledge_bases": bases, "label_relations": labels}));
    prop_oneof![1 => Just(json!({})), 1 => Just(Value::Null), 6 => rules]
}

fn any_labelled() -> impl Strategy<Value = Labelled> {
    prop::collection::hash_map(50..54_u128, prop::collection::hash_set(10..16_u128, 0..5), 0..4).prop_map(|labelled| {
        labelled.into_iter().map(|(label, files)| (at(label), files.into_iter().map(at).collect())).collect()
    })
}

/// Every file and FAQ of two bases that `scopes` lets through.
fn seen(scopes: &[BaseScope]) -> HashSet<(KnowledgeBaseId, bool, u128)> {
    let mut seen = HashSet::new();
    for scope in scopes {
        seen.extend((10..16).filter(|file| scope.files.contains(&at(*file))).map(|file| (scope.base, true, file)));
        seen.extend((30..36).filter(|faq| scope.faqs.contains(faq)).map(|faq| (scope.base, false, faq)));
    }
    seen
}

proptest! {
    #[test]
    fn a_further_layer_only_narrows(
        values in prop::collection::vec(any_layer(), 0..4), further in any_layer(), labelled in any_labelled()
    ) {
        let layers: Vec<&Value> = values.iter().collect();
        let before = seen(&scopes(&layers, &labelled));
        let after = seen(&scopes(&[layers.clone(), vec![&further]].concat(), &labelled));
        prop_assert!(after.is_subset(&before));
        // What is permitted is what each layer alone permits, in whatever order.
        let mut each = seen(&scopes(&[], &labelled));
        for value in values.iter().chain([&further]) {
            let alone = seen(&scopes(&[value], &labelled));
            each.retain(|item| alone.contains(item));
        }
        prop_assert_eq!(&after, &each);
    }

    #[test]
    fn nothing_that_is_not_named_is_permitted(value in any_layer(), labelled in any_labelled()) {
        let listed = value["knowledge_bases"].as_array().cloned().unwrap_or_default();
        let is_open = value.as_object().is_none_or(Map::is_empty);
        for scope in scopes(&[&value], &labelled) {
            let own: Vec<&Value> =
                listed.iter().filter(|entry| entry["knowledge_base_id"] == json!(scope.base.uuid())).collect();
            prop_assert!(is_open || !own.is_empty());
            for file in (10..16).filter(|file| scope.files.contains(&at(*file))) {
                let named = own.iter().any(|entry| {
                    let ids = entry["chatbot_file_ids"].as_array().unwrap();
                    entry["has_user_selected_all"] == "True" || ids.is_empty() || ids.contains(&json!(text(file)))
                });
                prop_assert!(is_open || named, "{file}");
            }
        }
    }
}
