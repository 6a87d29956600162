//! Citations as clients read them: files, and the passages of them. Whoever is not shown them gets
//! empty lists, and whoever may not have the files gets no links.

use parlance_domain::{Tenant, Timestamp};
use parlance_service::App;
use parlance_service::citations::{Cited, CitedFile, display_score};
use parlance_service::display::Display;
use serde::Serialize;
use utoipa::ToSchema;

use crate::v1::labels::{LabelView, views};
use crate::v1::parsers::{ParserView, parser};

/// A cited file.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Citation {
    id: String,
    filename: String,
    /// Signed, expiring URL; null for a visitor whose web chat gives no files away.
    file: Option<String>,
    file_type: String,
    knowledge_base: String,
    size: i64,
    status: String,
    parser: ParserView,
    labels: Vec<LabelView>,
    raw_user_define_metadata: Option<serde_json::Value>,
    /// Milliseconds since the epoch, 13 digits.
    created_at: String,
}

/// A cited passage.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CitationNode {
    /// `[index]` in the text points here.
    index: u32,
    chatbot_text_node: TextNode,
    /// 0..1.
    score: f32,
    /// 0..100.
    display_score: i64,
}

/// A passage.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TextNode {
    pub(crate) id: String,
    pub(crate) characters_count: i64,
    pub(crate) hits_count: i64,
    pub(crate) text: String,
    pub(crate) updated_at: String,
    pub(crate) filename: String,
    /// The file; null for an FAQ, whose `filename` is its question.
    pub(crate) chatbot_file: Option<String>,
    pub(crate) page_number: Option<i64>,
    /// First character of the passage in the document's text.
    pub(crate) start_offset: i64,
    /// One past the last character.
    pub(crate) end_offset: i64,
}

/// The files of the passages, each once, in the order they are first cited.
pub(crate) fn citations(app: &App, tenant: Tenant, display: Display, cited: &[Cited]) -> Vec<Citation> {
    if !display.citations {
        return Vec::new();
    }
    let mut files: Vec<&CitedFile> = Vec::new();
    for file in cited.iter().filter_map(|one| one.file.as_ref()) {
        if !files.iter().any(|known| known.id == file.id) {
            files.push(file);
        }
    }
    files.into_iter().map(|file| citation(app, tenant, display, file)).collect()
}

fn citation(app: &App, tenant: Tenant, display: Display, file: &CitedFile) -> Citation {
    // A link that cannot be made leaves the citation readable.
    let url = || app.links.file_url(tenant, &file.blob_key, &file.filename, app.now()).unwrap_or_default();
    Citation {
        id: file.id.to_string(),
        filename: file.filename.clone(),
        file: display.files.then(url),
        file_type: file.file_type.clone(),
        knowledge_base: file.knowledge_base.to_string(),
        size: file.size,
        status: file.status.clone(),
        parser: parser(),
        labels: views(&file.labels),
        raw_user_define_metadata: file.raw_metadata.as_deref().and_then(|text| serde_json::from_str(text).ok()),
        created_at: Timestamp::from_millis(file.created_at).to_string(),
    }
}

/// The passages.
pub(crate) fn citation_nodes(display: Display, cited: &[Cited]) -> Vec<CitationNode> {
    if !display.citations {
        return Vec::new();
    }
    cited
        .iter()
        .map(|one| CitationNode {
            index: one.index,
            chatbot_text_node: TextNode {
                id: one.node.id.to_string(),
                characters_count: one.node.characters,
                hits_count: one.node.hits,
                text: one.node.text.clone(),
                updated_at: Timestamp::from_millis(one.node.updated_at).to_string(),
                filename: one.name().to_owned(),
                chatbot_file: one.file.as_ref().map(|file| file.id.to_string()),
                page_number: one.node.page,
                start_offset: one.node.start,
                end_offset: one.node.end,
            },
            score: one.score,
            display_score: display_score(one.score),
        })
        .collect()
}
