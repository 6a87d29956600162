//! Passages as they are cited: what an answer's `[n]` points to.

use parlance_domain::kind::{FaqId, KnowledgeBaseId, PassageId};
use parlance_storage::faqs::Faq;
use parlance_storage::passages::{Passage, PassageFile};
use serde::{Deserialize, Serialize};

use crate::labels::LabelName;
use crate::material::Material;

/// A passage of the prompt with its number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cited {
    /// 1-based; `[index]` in the text points here.
    pub index: u32,
    /// 0..1, the same meaning for every question.
    pub score: f32,
    /// The passage as it was when it was cited.
    pub node: CitedPassage,
    /// The file it is from, as it was then; `None` for an FAQ.
    pub file: Option<CitedFile>,
    /// The FAQ that it is.
    #[serde(default)]
    pub faq: Option<CitedFaq>,
}

impl Cited {
    /// A passage as number `index` of the prompt.
    pub fn new(index: u32, score: f32, material: &Material) -> Self {
        let (file, faq) = match material {
            Material::Passage(passage) => (Some((&passage.file).into()), None),
            Material::Faq(found) => (None, Some((&found.faq).into())),
        };
        Self { index, score, node: material.into(), file, faq }
    }

    /// The name it is cited by: the file's, or the question.
    pub fn name(&self) -> &str {
        match (&self.file, &self.faq) {
            (Some(file), _) => &file.filename,
            (None, Some(faq)) => &faq.question,
            (None, None) => "",
        }
    }

    /// Bytes that it takes in memory.
    pub(crate) fn memory(&self) -> usize {
        let mut bytes = size_of::<Self>() + self.node.text.capacity();
        if let Some(file) = &self.file {
            let texts = [&file.filename, &file.file_type, &file.blob_key, &file.status];
            bytes += texts.into_iter().map(String::capacity).sum::<usize>();
            bytes += file.raw_metadata.as_ref().map_or(0, String::capacity);
            bytes += file.labels.iter().map(|label| size_of::<LabelName>() + label.name.capacity()).sum::<usize>();
        }
        bytes + self.faq.as_ref().map_or(0, |faq| faq.question.capacity())
    }
}

/// A cited passage, kept with the message so that the citation survives the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CitedPassage {
    /// Id of the passage.
    pub id: PassageId,
    /// Its text.
    pub text: String,
    /// Page, slide or sheet, from 1.
    pub page: Option<i64>,
    /// First character in the document's text.
    pub start: i64,
    /// One past the last character.
    pub end: i64,
    /// Characters of the text.
    pub characters: i64,
    /// How often it was cited before.
    pub hits: i64,
    /// When it was made, milliseconds since the epoch.
    pub updated_at: i64,
}

/// The file of a cited passage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CitedFile {
    /// Id of the file.
    pub id: parlance_domain::kind::FileId,
    /// Its name.
    pub filename: String,
    /// Its extension.
    pub file_type: String,
    /// Its base.
    pub knowledge_base: parlance_domain::kind::KnowledgeBaseId,
    /// Bytes.
    pub size: i64,
    /// Where its bytes are.
    pub blob_key: String,
    /// Its status when it was cited.
    pub status: String,
    /// Its parser.
    pub parser: parlance_domain::kind::ParserId,
    /// Free-form metadata of its uploader, verbatim JSON.
    #[serde(default)]
    pub raw_metadata: Option<String>,
    /// Its labels.
    #[serde(default)]
    pub labels: Vec<LabelName>,
    /// When it was added, milliseconds since the epoch.
    pub created_at: i64,
}

/// A cited FAQ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CitedFaq {
    /// Its id.
    pub id: FaqId,
    /// What it answers.
    pub question: String,
    /// Its base.
    pub knowledge_base: KnowledgeBaseId,
}

impl From<&Faq> for CitedFaq {
    fn from(faq: &Faq) -> Self {
        Self { id: faq.id, question: faq.question.clone(), knowledge_base: faq.knowledge_base_id }
    }
}

impl From<&PassageFile> for CitedFile {
    fn from(file: &PassageFile) -> Self {
        Self {
            id: file.id,
            filename: file.filename.clone(),
            file_type: file.file_type.clone(),
            knowledge_base: file.knowledge_base_id,
            size: file.size,
            blob_key: file.blob_key.clone(),
            status: file.status.clone(),
            parser: file.parser_id,
            raw_metadata: file.raw_metadata.clone(),
            labels: Vec::new(),
            created_at: file.created_at.millis(),
        }
    }
}

impl From<&Material> for CitedPassage {
    fn from(material: &Material) -> Self {
        match material {
            Material::Passage(Passage { content, hits_count, .. }) => Self {
                id: content.id,
                text: content.text.clone(),
                page: content.page,
                start: content.start_offset,
                end: content.end_offset,
                characters: content.characters,
                hits: *hits_count,
                updated_at: content.created_at.millis(),
            },
            Material::Faq(found) => {
                let characters = i64::try_from(found.text.chars().count()).unwrap_or(i64::MAX);
                Self {
                    id: material.id(),
                    text: found.text.clone(),
                    page: None,
                    start: 0,
                    end: characters,
                    characters,
                    hits: found.faq.hits_count,
                    updated_at: found.faq.updated_at.millis(),
                }
            }
        }
    }
}

/// The score as people see it: a whole percentage.
pub fn display_score(score: f32) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "a score is 0..1")]
    let percent = (score.clamp(0.0, 1.0) * 100.0).round() as i64;
    percent
}

/// The passages that the text cites by `[n]`, in the order of their numbers.
pub fn cited_in(text: &str, sources: &[Cited]) -> Vec<Cited> {
    let mut cited = vec![false; sources.len() + 1];
    for (position, _) in text.match_indices('[') {
        let digits: String = text[position + 1..].chars().take(6).take_while(char::is_ascii_digit).collect();
        let closes = text[position + 1 + digits.len()..].starts_with(']');
        if let (true, Ok(index)) = (closes, digits.parse::<usize>())
            && let Some(seen) = cited.get_mut(index)
        {
            *seen = true;
        }
    }
    sources.iter().filter(|source| cited.get(source.index as usize) == Some(&true)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use parlance_domain::{Ids, Timestamp};

    use super::*;

    fn source(index: u32) -> Cited {
        let now = Timestamp::from_millis(1_700_000_000_000);
        Cited {
            index,
            score: 0.5,
            node: CitedPassage {
                id: Ids.next(now),
                text: String::new(),
                page: None,
                start: 0,
                end: 0,
                characters: 0,
                hits: 0,
                updated_at: 0,
            },
            file: None,
            faq: None,
        }
    }

    #[test]
    fn only_markers_of_given_passages_count() {
        let sources = [source(1), source(2), source(3)];
        let numbers = |text: &str| cited_in(text, &sources).iter().map(|cited| cited.index).collect::<Vec<_>>();
        assert_eq!(numbers("七天內[3]可以[1]退貨。[3]"), [1, 3]);
        assert_eq!(numbers("[0] [4] [x] [1 [ 2] [２] []"), [0_u32; 0]);
        assert_eq!(numbers("[[2]](a)"), [2]);
        assert_eq!(numbers("[99999999999999999999]"), [0_u32; 0]);
    }

    #[test]
    fn scores_are_shown_as_percentages() {
        assert_eq!([0.0, 0.004, 0.005, 0.994, 1.0, 7.0].map(display_score), [0, 0, 1, 99, 100, 100]);
    }
}
