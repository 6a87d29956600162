//! Query metadata as the contract has it (decision D30), said a second time: what can be written, how
//! it is spelled, and whether it permits one passage. Nothing here knows how the product does it; it
//! asks of each passage by itself, where the product works with sets.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::knowledge::{BASES, FAQS, FILES, Ids, LABELS, Source};

/// What one of assistant, inbox, contact and message says.
#[derive(Clone, Debug)]
pub(super) enum Layer {
    Absent,
    Null,
    Empty,
    /// Something, but no bases.
    NoBases(Listing, Option<Tree>),
    Bases(Vec<Entry>, Option<Tree>),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Listing {
    Absent,
    Null,
    Empty,
}

/// What is said of a base.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    base: Named,
    whole: Flag,
    files: Vec<Named>,
    faqs: Vec<Named>,
    tree: Option<Tree>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Flag {
    Absent,
    Yes(&'static str),
    No(&'static str),
}

/// Something by its id.
#[derive(Clone, Debug)]
pub(super) enum Named {
    /// One of those that are known, of any organisation.
    Known(usize),
    /// Nothing.
    Unknown(&'static str),
}

/// Labels that a file has to have.
#[derive(Clone, Debug)]
pub(super) enum Tree {
    Label(Named),
    Group { is_all: bool, parts: Vec<Tree> },
}

impl Named {
    fn is(&self, place: usize) -> bool {
        matches!(self, Self::Known(known) if *known == place)
    }
}

impl Layer {
    /// Whether the layer lets a passage of this source through.
    pub(super) fn permits(&self, source: &Source) -> bool {
        match self {
            Self::Absent | Self::Null | Self::Empty => true,
            Self::NoBases(..) => false,
            Self::Bases(entries, tree) => {
                entries.iter().any(|entry| entry.base.is(source.base) && entry.permits(source, tree.as_ref()))
            }
        }
    }

    /// Whether it says anything.
    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Absent | Self::Null | Self::Empty)
    }
}

impl Entry {
    fn permits(&self, source: &Source, of_layer: Option<&Tree>) -> bool {
        if matches!(self.whole, Flag::Yes(_)) {
            return true;
        }
        let named = if source.is_faq { &self.faqs } else { &self.files };
        if !named.is_empty() {
            return named.iter().any(|named| named.is(source.place));
        }
        let trees = [of_layer, self.tree.as_ref()];
        source.is_faq || trees.into_iter().flatten().all(|tree| tree.holds(source).unwrap_or(true))
    }
}

impl Tree {
    /// Whether a file has the labels; `None` for a group of nothing, which asks for nothing.
    fn holds(&self, source: &Source) -> Option<bool> {
        match self {
            Self::Label(label) => Some(source.labels.iter().any(|carried| label.is(*carried))),
            Self::Group { is_all, parts } => {
                let answers: Vec<bool> = parts.iter().filter_map(|part| part.holds(source)).collect();
                let asks = !answers.is_empty();
                asks.then(|| if *is_all { !answers.contains(&false) } else { answers.contains(&true) })
            }
        }
    }
}

/// In which of the two styles keys are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    pub(super) is_camel: bool,
}

impl Style {
    pub(super) fn key(self, snake: &str) -> String {
        if !self.is_camel {
            return snake.to_owned();
        }
        let mut words = snake.split('_');
        let first = words.next().unwrap_or_default().to_owned();
        words.fold(first, |key, word| key + &word[..1].to_uppercase() + &word[1..])
    }
}

/// Writes layers down.
pub(super) struct Writer<'a> {
    pub(super) ids: &'a Ids,
    pub(super) style: Style,
}

impl Writer<'_> {
    /// The layer as JSON; `None` when it is absent.
    pub(super) fn layer(&self, layer: &Layer) -> Option<Value> {
        let mut object = Map::new();
        let (listed, tree) = match layer {
            Layer::Absent => return None,
            Layer::Null => return Some(Value::Null),
            Layer::Empty => return Some(json!({})),
            Layer::NoBases(Listing::Absent, tree) => (None, tree),
            Layer::NoBases(Listing::Null, tree) => (Some(Value::Null), tree),
            Layer::NoBases(Listing::Empty, tree) => (Some(json!([])), tree),
            Layer::Bases(entries, tree) => {
                (Some(entries.iter().map(|entry| self.entry(entry)).collect::<Vec<_>>().into()), tree)
            }
        };
        // What makes it more than `{}`.
        object.insert("source".to_owned(), json!("page"));
        if let Some(listed) = listed {
            object.insert(self.style.key("knowledge_bases"), listed);
        }
        self.relations(&mut object, tree.as_ref());
        Some(object.into())
    }

    fn entry(&self, entry: &Entry) -> Value {
        let mut object = Map::new();
        object.insert(self.style.key("knowledge_base_id"), named(&entry.base, &self.ids.bases));
        let whole = match entry.whole {
            Flag::Absent => None,
            Flag::Yes("bool") => Some(json!(true)),
            Flag::No("bool") => Some(json!(false)),
            Flag::Yes(text) | Flag::No(text) => Some(json!(text)),
        };
        object.extend(whole.map(|whole| (self.style.key("has_user_selected_all"), whole)));
        for (key, list, ids) in
            [("chatbot_file_ids", &entry.files, &self.ids.files), ("faq_ids", &entry.faqs, &self.ids.faqs)]
        {
            // An empty list and none are the same.
            if !list.is_empty() || self.style.is_camel {
                object.insert(self.style.key(key), list.iter().map(|one| named(one, ids)).collect::<Vec<_>>().into());
            }
        }
        self.relations(&mut object, entry.tree.as_ref());
        object.into()
    }

    fn relations(&self, object: &mut Map<String, Value>, tree: Option<&Tree>) {
        object.extend(tree.map(|tree| (self.style.key("label_relations"), self.tree(tree))));
    }

    fn tree(&self, tree: &Tree) -> Value {
        match tree {
            Tree::Label(label) => json!({self.style.key("label_id"): named(label, &self.ids.labels)}),
            Tree::Group { is_all, parts } => {
                let parts: Vec<Value> = parts.iter().map(|part| self.tree(part)).collect();
                json!({"operator": if *is_all { "AND" } else { "OR" }, "conditions": parts})
            }
        }
    }
}

fn named(named: &Named, ids: &[String]) -> Value {
    match named {
        Named::Known(place) => json!(ids[*place]),
        Named::Unknown(text) => json!(text),
    }
}

const UNKNOWN: [&str; 4] = ["019a0000-0000-7000-8000-000000000000", "none", "", "*"];

/// One of `count` things, mostly one that is there.
fn any_named(count: usize) -> impl Strategy<Value = Named> + Clone {
    prop_oneof![
        12 => (0..count).prop_map(Named::Known),
        1 => prop::sample::select(&UNKNOWN[..]).prop_map(Named::Unknown),
    ]
}

fn any_tree() -> impl Strategy<Value = Tree> {
    any_named(LABELS).prop_map(Tree::Label).prop_recursive(3, 10, 3, |inner| {
        (any::<bool>(), prop::collection::vec(inner, 0..4)).prop_map(|(is_all, parts)| Tree::Group { is_all, parts })
    })
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let whole = prop_oneof![
        5 => Just(Flag::Absent),
        2 => prop::sample::select(&["bool", "True", "true"][..]).prop_map(Flag::Yes),
        2 => prop::sample::select(&["bool", "False", "false"][..]).prop_map(Flag::No),
    ];
    // A list of files has to name some of the base to let anything through, so lists are long or empty.
    let some = |count| prop_oneof![2 => Just(0..1_usize), 1 => Just(1..4), 1 => Just(4..count)];
    let list = |count| some(count).prop_flat_map(move |sizes| prop::collection::vec(any_named(count), sizes));
    let parts = (any_named(BASES), whole, list(FILES), list(FAQS), prop::option::weighted(0.15, any_tree()));
    parts.prop_map(|(base, whole, files, faqs, tree)| Entry { base, whole, files, faqs, tree })
}

/// A layer; `narrowing` of ten say something.
pub(super) fn any_layer(narrowing: u32) -> impl Strategy<Value = Layer> {
    let listing = prop_oneof![Just(Listing::Absent), Just(Listing::Null), Just(Listing::Empty)];
    let no_bases = (listing, prop::option::of(any_tree())).prop_map(|(listing, tree)| Layer::NoBases(listing, tree));
    let bases = (prop::collection::vec(any_entry(), 1..7), prop::option::weighted(0.4, any_tree()))
        .prop_map(|(entries, tree)| Layer::Bases(entries, tree));
    let open = prop_oneof![Just(Layer::Absent), Just(Layer::Null), Just(Layer::Empty)];
    let says = prop_oneof![1 => no_bases.boxed(), 20 => bases.boxed()];
    prop_oneof![10 - narrowing => open.boxed(), narrowing => says.boxed()]
}
