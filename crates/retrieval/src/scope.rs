//! What a search may see.

use std::collections::HashSet;

use parlance_domain::Id;
use parlance_domain::kind::{FileId, KnowledgeBaseId, OrganisationId};

/// Where a passage comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// A passage of an uploaded file.
    File(FileId),
    /// A question with its answer, by the id of the FAQ entry.
    Faq(u128),
}

impl Source {
    pub(crate) fn parts(self) -> (u64, u128) {
        match self {
            Self::File(file) => (0, bits(file)),
            Self::Faq(entry) => (1, entry),
        }
    }

    pub(crate) fn from_parts(kind: u64, id: u128) -> Self {
        if kind == 0 { Self::File(from_bits(id)) } else { Self::Faq(id) }
    }
}

/// Which sources of one kind a search may see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Selection<T: std::hash::Hash + Eq> {
    /// None of them: what a filter that was left out means.
    #[default]
    Nothing,
    /// Every one in the knowledge base.
    All,
    /// These and no others.
    Only(HashSet<T>),
}

impl<T: std::hash::Hash + Eq> Selection<T> {
    /// Whether `item` is selected.
    pub fn contains(&self, item: &T) -> bool {
        match self {
            Self::Nothing => false,
            Self::All => true,
            Self::Only(items) => items.contains(item),
        }
    }
}

/// What a search may see of one knowledge base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseScope {
    /// The knowledge base.
    pub base: KnowledgeBaseId,
    /// Its files.
    pub files: Selection<FileId>,
    /// Its FAQ entries.
    pub faqs: Selection<u128>,
}

impl BaseScope {
    /// Every file and every FAQ entry of `base`.
    pub fn whole(base: KnowledgeBaseId) -> Self {
        Self { base, files: Selection::All, faqs: Selection::All }
    }

    /// Whether passages of `source` may be seen.
    pub fn allows(&self, source: Source) -> bool {
        match source {
            Source::File(file) => self.files.contains(&file),
            Source::Faq(entry) => self.faqs.contains(&entry),
        }
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.files == Selection::All && self.faqs == Selection::All
    }
}

/// What a search may see: parts of the knowledge bases of one organisation. Without bases it sees
/// nothing. A base that is listed twice counts once, as listed first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The organisation that owns every listed base.
    pub organisation: OrganisationId,
    /// The knowledge bases.
    pub bases: Vec<BaseScope>,
}

impl Scope {
    /// A scope of whole knowledge bases.
    pub fn of_bases(organisation: OrganisationId, bases: impl IntoIterator<Item = KnowledgeBaseId>) -> Self {
        Self { organisation, bases: bases.into_iter().map(BaseScope::whole).collect() }
    }
}

pub(crate) fn bits<K: parlance_domain::IdKind>(id: Id<K>) -> u128 {
    id.uuid().as_u128()
}

pub(crate) fn from_bits<K: parlance_domain::IdKind>(bits: u128) -> Id<K> {
    Id::from_uuid(uuid::Uuid::from_u128(bits))
}
