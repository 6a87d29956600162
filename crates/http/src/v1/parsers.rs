//! Parsers: there is one, which picks by file type.

use axum::Json;
use axum::extract::State;
use parlance_domain::Error;
use parlance_domain::kind::Parser;
use parlance_service::App;
use parlance_service::files::{PARSER, allowed_extensions};
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::{ApiErrors, ApiResult};
use crate::extract::{Authorized, Caller, PathId, grants};

/// A parser.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ParserView {
    id: String,
    name: &'static str,
    provider: &'static str,
    order: u32,
}

/// The parser.
pub(crate) fn parser() -> ParserView {
    ParserView { id: PARSER.to_string(), name: "Parlance", provider: "maiagent", order: 1 }
}

/// File types that can be uploaded.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AllowedFileTypes {
    /// Types that knowledge bases take, with their dots.
    knowledge_base: Vec<String>,
    /// Types that go with messages, with their dots.
    attachment: Vec<String>,
    /// Bytes of one file at most.
    max_file_size: u64,
}

/// List the parsers.
#[utoipa::path(get, path = "/api/v1/parsers/", tag = "knowledge",
    responses((status = 200, body = Vec<ParserView>), ApiErrors))]
pub(crate) async fn list(_auth: Authorized<grants::ReadKnowledge>) -> Json<Vec<ParserView>> {
    Json(vec![parser()])
}

/// One parser.
#[utoipa::path(get, path = "/api/v1/parsers/{id}/", tag = "knowledge",
    params(("id" = String, Path)), responses((status = 200, body = ParserView), ApiErrors))]
pub(crate) async fn get(
    _auth: Authorized<grants::ReadKnowledge>,
    PathId(id): PathId<Parser>,
) -> ApiResult<Json<ParserView>> {
    if id == PARSER { Ok(Json(parser())) } else { Err(Error::NotFound("parser").into()) }
}

/// File types that the parsers read.
#[utoipa::path(get, path = "/api/v1/parsers/supported-file-types/", tag = "knowledge",
    responses((status = 200, body = Vec<String>), ApiErrors))]
pub(crate) async fn supported_file_types(_auth: Authorized<grants::ReadKnowledge>) -> Json<Vec<String>> {
    Json(with_dots(&allowed_extensions()))
}

/// File types that can be uploaded. For visitors too.
#[utoipa::path(get, path = "/api/v1/allowed-file-types/", tag = "knowledge",
    responses((status = 200, body = AllowedFileTypes), ApiErrors))]
pub(crate) async fn allowed_file_types(
    _caller: Caller<grants::ReadKnowledge>,
    State(app): State<App>,
) -> Json<AllowedFileTypes> {
    let knowledge_base = allowed_extensions();
    let mut attachment = knowledge_base.clone();
    attachment.extend(["png", "jpg", "jpeg", "gif", "webp", "mp3", "wav", "m4a", "ogg"]);
    Json(AllowedFileTypes {
        knowledge_base: with_dots(&knowledge_base),
        attachment: with_dots(&attachment),
        max_file_size: app.settings.max_upload_bytes,
    })
}

fn with_dots(extensions: &[&str]) -> Vec<String> {
    extensions.iter().map(|extension| format!(".{extension}")).collect()
}
