//! Query metadata: what retrieval is narrowed to (contract decision D30).
//!
//! An assistant, an inbox, a contact and a message may each have some. Each is a [`Layer`], and what
//! may be seen is what every one of them permits: a further layer only narrows. A layer that is
//! absent, null or `{}` sets nothing. Ids that are unknown, or are none, permit nothing.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use parlance_domain::kind::{FaqId, FileId, KnowledgeBaseId, LabelId};
use parlance_domain::{Error, Id, IdKind, Result, Tenant};
use parlance_retrieval::{BaseScope, Selection};
use parlance_storage::{Tx, labels};
use serde_json::{Map, Value};

/// Bytes of one layer.
const MAX_BYTES: usize = 1 << 20;
/// Ids of one list.
const MAX_IDS: usize = 20_000;
/// Bases of one layer.
const MAX_BASES: usize = 1_000;
/// Labels and groups of labels in one relation.
const MAX_NODES: usize = 500;
/// Groups within groups of labels.
const MAX_DEPTH: usize = 20;

/// Files by the labels they carry.
pub(crate) type Labelled = HashMap<LabelId, HashSet<FileId>>;

/// What one of assistant, inbox, contact and message permits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layer(Option<Rules>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Rules {
    entries: Vec<Entry>,
    labels: Option<Node>,
}

/// What is permitted of one base.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    base: KnowledgeBaseId,
    is_whole: bool,
    /// These files; `None` leaves it to the labels.
    files: Option<HashSet<FileId>>,
    /// These FAQs; `None` for all.
    faqs: Option<HashSet<FaqId>>,
    labels: Option<Node>,
}

/// A condition on the labels of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    /// It carries this one; `None` is a label that does not exist.
    Label(Option<LabelId>),
    All(Vec<Node>),
    Any(Vec<Node>),
}

impl Layer {
    /// Sets nothing.
    pub const OPEN: Self = Self(None);

    /// Reads a layer as it is stored: JSON text, or nothing.
    ///
    /// # Errors
    /// `Invalid` on the field `path` when it is malformed.
    pub fn parse(text: Option<&str>, path: &str) -> Result<Self> {
        let Some(text) = text else { return Ok(Self::default()) };
        let wrong = |message: String| Error::field(path, message);
        if text.len() > MAX_BYTES {
            return Err(wrong(format!("Ensure this field has no more than {MAX_BYTES} bytes.")));
        }
        let value: Value = serde_json::from_str(text).map_err(|error| wrong(format!("Not JSON: {error}.")))?;
        Self::read(&value).map_err(wrong)
    }

    /// Reads a layer that was checked when it was stored. One that cannot be read any more permits
    /// nothing.
    pub(crate) fn stored(text: Option<&str>) -> Self {
        Self::parse(text, "queryMetadata").unwrap_or_else(|error| {
            tracing::warn!(?error, "stored query metadata cannot be read; it permits nothing");
            Self(Some(Rules::default()))
        })
    }

    /// Whether it leaves everything as it is.
    pub fn sets_nothing(&self) -> bool {
        self.0.is_none()
    }

    fn read(value: &Value) -> Result<Self, String> {
        let members = match value {
            Value::Null => return Ok(Self::default()),
            Value::Object(members) if members.is_empty() => return Ok(Self::default()),
            Value::Object(members) => members,
            _ => return Err("Expected an object.".to_owned()),
        };
        let labels = label_relations(members)?;
        let bases = list(members, ["knowledgeBases", "knowledge_bases"], MAX_BASES)?;
        let mut entries = Vec::with_capacity(bases.len());
        for base in bases {
            entries.extend(entry(base)?);
        }
        Ok(Self(Some(Rules { entries, labels })))
    }
}

/// A member by either of its spellings; null is the same as absent.
fn member<'a>(members: &'a Map<String, Value>, names: [&str; 2]) -> Option<&'a Value> {
    names.into_iter().find_map(|name| members.get(name)).filter(|value| !value.is_null())
}

fn list<'a>(members: &'a Map<String, Value>, names: [&str; 2], limit: usize) -> Result<&'a [Value], String> {
    match member(members, names) {
        None => Ok(&[]),
        Some(Value::Array(items)) if items.len() <= limit => Ok(items),
        Some(Value::Array(_)) => Err(format!("{}: no more than {limit} elements.", names[1])),
        Some(_) => Err(format!("{}: expected a list.", names[1])),
    }
}

/// An id, which need not be that of anything.
fn id<K: IdKind>(value: &Value, name: &str) -> Result<Option<Id<K>>, String> {
    match value {
        Value::String(text) => Ok(Id::parse(text)),
        _ => Err(format!("{name}: expected an id.")),
    }
}

/// The ids of a list; `None` when it is empty. Of what is no id nothing stays but that it was listed.
fn ids<K: IdKind>(members: &Map<String, Value>, names: [&str; 2]) -> Result<Option<HashSet<Id<K>>>, String> {
    let items = list(members, names, MAX_IDS)?;
    if items.is_empty() {
        return Ok(None);
    }
    let mut found = HashSet::with_capacity(items.len());
    for item in items {
        found.extend(id::<K>(item, names[1])?);
    }
    Ok(Some(found))
}

fn flag(members: &Map<String, Value>, names: [&str; 2]) -> Result<bool, String> {
    match member(members, names) {
        None => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(true),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(false),
        Some(_) => Err(format!("{}: expected true or false.", names[1])),
    }
}

/// What is permitted of a base; `None` when its id is none.
fn entry(value: &Value) -> Result<Option<Entry>, String> {
    let Value::Object(members) = value else { return Err("knowledge_bases: expected objects.".to_owned()) };
    let base = member(members, ["knowledgeBaseId", "knowledge_base_id"]);
    let base = base.ok_or_else(|| "knowledge_base_id: this field is required.".to_owned())?;
    let base = id(base, "knowledge_base_id")?;
    let is_whole = flag(members, ["hasUserSelectedAll", "has_user_selected_all"])?;
    let files = ids(members, ["chatbotFileIds", "chatbot_file_ids"])?;
    let faqs = ids(members, ["faqIds", "faq_ids"])?;
    let labels = label_relations(members)?;
    Ok(base.map(|base| Entry { base, is_whole, files, faqs, labels }))
}

fn label_relations(members: &Map<String, Value>) -> Result<Option<Node>, String> {
    match member(members, ["labelRelations", "label_relations"]) {
        None => Ok(None),
        Some(value) => node(value, &mut MAX_NODES.clone(), MAX_DEPTH),
    }
}

/// A condition; `None` for an empty group, which is no condition.
fn node(value: &Value, left: &mut usize, depth: usize) -> Result<Option<Node>, String> {
    let Value::Object(members) = value else { return Err("label_relations: expected an object.".to_owned()) };
    *left = left.checked_sub(1).ok_or_else(|| format!("label_relations: no more than {MAX_NODES} conditions."))?;
    let depth = depth.checked_sub(1).ok_or_else(|| format!("label_relations: no deeper than {MAX_DEPTH} groups."))?;
    if let Some(label) = member(members, ["labelId", "label_id"]) {
        return Ok(Some(Node::Label(id(label, "label_id")?)));
    }
    let mut parts = Vec::new();
    for condition in list(members, ["conditions", "conditions"], MAX_NODES)? {
        parts.extend(node(condition, left, depth)?);
    }
    let is_all = match member(members, ["operator", "operator"]) {
        Some(Value::String(operator)) if operator.eq_ignore_ascii_case("and") => true,
        Some(Value::String(operator)) if operator.eq_ignore_ascii_case("or") => false,
        None if members.is_empty() => return Ok(None),
        _ => return Err("label_relations: the operator is AND or OR.".to_owned()),
    };
    Ok(match (parts.is_empty(), is_all) {
        (true, _) => None,
        (false, true) => Some(Node::All(parts)),
        (false, false) => Some(Node::Any(parts)),
    })
}

impl Node {
    fn name_labels(&self, named: &mut HashSet<LabelId>) {
        match self {
            Self::Label(label) => named.extend(label),
            Self::All(parts) | Self::Any(parts) => parts.iter().for_each(|part| part.name_labels(named)),
        }
    }

    fn files(&self, labelled: &Labelled) -> HashSet<FileId> {
        match self {
            Self::Label(label) => label.and_then(|label| labelled.get(&label)).cloned().unwrap_or_default(),
            Self::Any(parts) => parts.iter().flat_map(|part| part.files(labelled)).collect(),
            Self::All(parts) => {
                let mut sets = parts.iter().map(|part| part.files(labelled));
                let mut files = sets.next().unwrap_or_default();
                sets.for_each(|set| files.retain(|file| set.contains(file)));
                files
            }
        }
    }
}

impl Rules {
    /// What is permitted of `base`; an entry that is repeated adds to the one before.
    fn scope(&self, base: KnowledgeBaseId, labelled: &Labelled) -> BaseScope {
        let mut scope = BaseScope { base, files: Selection::Nothing, faqs: Selection::Nothing };
        for entry in self.entries.iter().filter(|entry| entry.base == base) {
            if entry.is_whole {
                return BaseScope::whole(base);
            }
            let files = match &entry.files {
                Some(files) => Selection::Only(files.clone()),
                None => [&self.labels, &entry.labels]
                    .into_iter()
                    .flatten()
                    .fold(Selection::All, |files, node| both(files, Selection::Only(node.files(labelled)))),
            };
            let faqs = match &entry.faqs {
                Some(faqs) => Selection::Only(faqs.iter().map(|faq| faq.uuid().as_u128()).collect()),
                None => Selection::All,
            };
            scope = BaseScope { base, files: either(scope.files, files), faqs: either(scope.faqs, faqs) };
        }
        scope
    }
}

/// What both select.
fn both<T: Hash + Eq>(one: Selection<T>, other: Selection<T>) -> Selection<T> {
    match (one, other) {
        (Selection::Nothing, _) | (_, Selection::Nothing) => Selection::Nothing,
        (Selection::All, rest) | (rest, Selection::All) => rest,
        (Selection::Only(mut one), Selection::Only(other)) => {
            one.retain(|item| other.contains(item));
            Selection::Only(one)
        }
    }
}

/// What one of them selects.
fn either<T: Hash + Eq>(one: Selection<T>, other: Selection<T>) -> Selection<T> {
    match (one, other) {
        (Selection::All, _) | (_, Selection::All) => Selection::All,
        (Selection::Nothing, rest) | (rest, Selection::Nothing) => rest,
        (Selection::Only(mut one), Selection::Only(other)) => {
            one.extend(other);
            Selection::Only(one)
        }
    }
}

fn is_empty<T: Hash + Eq>(selection: &Selection<T>) -> bool {
    match selection {
        Selection::Nothing => true,
        Selection::All => false,
        Selection::Only(items) => items.is_empty(),
    }
}

/// What all layers permit of these bases; those of which nothing is left are left out.
fn narrowed(layers: &[&Layer], bases: &[KnowledgeBaseId], labelled: &Labelled) -> Vec<BaseScope> {
    let scope = |base: &KnowledgeBaseId| {
        let rules = layers.iter().filter_map(|layer| layer.0.as_ref());
        let scope = rules.fold(BaseScope::whole(*base), |scope, rules| {
            let further = rules.scope(*base, labelled);
            BaseScope { base: *base, files: both(scope.files, further.files), faqs: both(scope.faqs, further.faqs) }
        });
        (!is_empty(&scope.files) || !is_empty(&scope.faqs)).then_some(scope)
    };
    bases.iter().filter_map(scope).collect()
}

/// The labels that decide something: those of entries without files of their own.
fn named_labels(layers: &[&Layer]) -> Vec<LabelId> {
    let mut named = HashSet::new();
    for rules in layers.iter().filter_map(|layer| layer.0.as_ref()) {
        for entry in rules.entries.iter().filter(|entry| !entry.is_whole && entry.files.is_none()) {
            [&rules.labels, &entry.labels].into_iter().flatten().for_each(|node| node.name_labels(&mut named));
        }
    }
    named.into_iter().collect()
}

/// What all layers permit of these bases. `None` when none of them sets anything, which costs
/// nothing; the database is asked only about labels.
pub(crate) async fn permitted(
    app: &crate::App,
    tenant: Tenant,
    layers: &[&Layer],
    bases: &[KnowledgeBaseId],
) -> Result<Option<Vec<BaseScope>>> {
    if layers.iter().all(|layer| layer.sets_nothing()) {
        return Ok(None);
    }
    let named = named_labels(layers);
    let labelled = if named.is_empty() {
        Labelled::new()
    } else {
        let mut tx = app.db.read(tenant).await?;
        files_with(&mut tx, tenant, &named).await?
    };
    Ok(Some(narrowed(layers, bases, &labelled)))
}

async fn files_with(tx: &mut Tx, tenant: Tenant, named: &[LabelId]) -> Result<Labelled> {
    let mut labelled = Labelled::new();
    for (label, file) in labels::files_with(tx, tenant, named).await? {
        labelled.entry(label).or_default().insert(file);
    }
    Ok(labelled)
}

#[cfg(test)]
#[path = "query_metadata_tests.rs"]
mod tests;
