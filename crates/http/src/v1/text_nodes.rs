//! Passages of a file, which the contract calls text nodes.

use axum::Json;
use axum::extract::State;
use parlance_domain::Error;
use parlance_domain::kind::FileId;
use parlance_service::App;
use parlance_service::files;
use parlance_storage::passages::Passage;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::error::{ApiErrors, ApiResult};
use crate::extract::{Authorized, PageBody, Paging, Query, grants};
use crate::v1::citations::TextNode;

/// Whose passages.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(crate) struct TextNodeFilter {
    /// Id of the file.
    chatbot_file: Option<String>,
    /// Another name of `chatbotFile`.
    chatbot_file_content: Option<String>,
}

fn view(Passage { content, hits_count, file }: Passage) -> TextNode {
    TextNode {
        id: content.id.to_string(),
        characters_count: content.characters,
        hits_count,
        text: content.text.clone(),
        updated_at: content.created_at.to_string(),
        filename: file.filename,
        chatbot_file: Some(file.id.to_string()),
        page_number: content.page,
        start_offset: content.start_offset,
        end_offset: content.end_offset,
    }
}

/// Passages of one page.
const MAX_TEXT_NODES: u64 = 1_000;

/// List the passages of a file, in order. A page has 1,000 at most.
#[utoipa::path(get, path = "/api/v1/chatbot-text-nodes/", tag = "knowledge",
    params(TextNodeFilter, ("page" = Option<u64>, Query), ("pageSize" = Option<u64>, Query)),
    responses((status = 200, body = PageBody<TextNode>), ApiErrors))]
pub(crate) async fn list(
    auth: Authorized<grants::ReadKnowledge>,
    State(app): State<App>,
    Query(filter): Query<TextNodeFilter>,
    paging: Paging<MAX_TEXT_NODES>,
) -> ApiResult<Json<PageBody<TextNode>>> {
    let file = filter.chatbot_file.or(filter.chatbot_file_content);
    let file = file.ok_or_else(|| Error::field("chatbotFile", "This field is required."))?;
    let unknown = || Error::field("chatbotFile", "No file has this id.");
    let id = FileId::parse(&file).ok_or_else(unknown)?;
    let listing = match files::passages(&app, auth.tenant(), id, paging.page()).await {
        Err(Error::NotFound(_)) => return Err(unknown().into()),
        other => other?,
    };
    Ok(Json(paging.answer(listing, view)?))
}
