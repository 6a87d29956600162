//! What a search finds: a passage of a file, or an FAQ.

use parlance_domain::kind::{KnowledgeBaseId, PassageId};
use parlance_retrieval::Source;
use parlance_storage::faqs::Faq;
use parlance_storage::passages::Passage;

/// A passage of either kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Material {
    /// A passage of a file.
    Passage(Passage),
    /// An FAQ, which is one passage.
    Faq(FaqPassage),
}

/// An FAQ with the text it is searched and cited by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaqPassage {
    /// The FAQ.
    pub faq: Faq,
    /// Its question, and below it the answer.
    pub text: String,
}

impl From<Faq> for FaqPassage {
    fn from(faq: Faq) -> Self {
        Self { text: faq.text(), faq }
    }
}

impl Material {
    /// Its id. An FAQ's is that of the FAQ.
    pub fn id(&self) -> PassageId {
        match self {
            Self::Passage(passage) => passage.content.id,
            Self::Faq(found) => PassageId::from_uuid(found.faq.id.uuid()),
        }
    }

    /// The base it belongs to.
    pub fn knowledge_base(&self) -> KnowledgeBaseId {
        match self {
            Self::Passage(passage) => passage.file.knowledge_base_id,
            Self::Faq(found) => found.faq.knowledge_base_id,
        }
    }

    /// Its text.
    pub fn text(&self) -> &str {
        match self {
            Self::Passage(passage) => &passage.content.text,
            Self::Faq(found) => &found.text,
        }
    }

    /// The name it is cited by: the file's, or the question.
    pub fn name(&self) -> &str {
        match self {
            Self::Passage(passage) => &passage.file.filename,
            Self::Faq(found) => &found.faq.question,
        }
    }

    /// The file or FAQ, as the indexes and their scopes know it.
    pub(crate) fn source(&self) -> Source {
        match self {
            Self::Passage(passage) => Source::File(passage.file.id),
            Self::Faq(found) => crate::indexer::faq_source(found.faq.id),
        }
    }

    /// The passage of a file, if it is one.
    pub fn passage(&self) -> Option<&Passage> {
        match self {
            Self::Passage(passage) => Some(passage),
            Self::Faq(_) => None,
        }
    }

    /// The question that it answers, if it is an FAQ.
    pub fn question(&self) -> Option<&str> {
        match self {
            Self::Passage(_) => None,
            Self::Faq(found) => Some(&found.faq.question),
        }
    }
}
