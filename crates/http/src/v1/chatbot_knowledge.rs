//! The older paths, which address knowledge by the assistant that answers from it. What they add goes
//! to the assistant's oldest knowledge base.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use parlance_domain::{Error, kind};
use parlance_service::App;
use parlance_service::place::{self, Place};
use parlance_service::{faqs, files, knowledge_bases};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::{ApiErrors, ApiResult};
use crate::extract::{Authorized, Body, PageBody, Paging, PathId, PathIds, Query, Reference, from_value, grants};
use crate::v1::faqs::{Deleted, FaqBody, FaqFilter, FaqView, FaqsBody};
use crate::v1::files::{BatchDeleteBody, FileBody, FileFilter, FileView, NewFileBody, NewFilesBody};
use crate::v1::knowledge_bases::{SearchBody, SearchHit, check_query, hits, layer};

/// An FAQ for a chatbot.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct ChatbotFaqBody {
    #[schema(value_type = String)]
    chatbot: Reference,
    #[serde(flatten)]
    faq: FaqBody,
}

/// Add an FAQ to a chatbot's knowledge; a knowledge base is made when it has none, which needs
/// `chatbots:write`.
#[utoipa::path(post, path = "/api/v1/faqs/", tag = "knowledge", request_body = ChatbotFaqBody,
    responses((status = 201, body = FaqView), ApiErrors))]
pub(crate) async fn add_faq(
    auth: Authorized<grants::WriteKnowledge>,
    State(app): State<App>,
    Body(body): Body<ChatbotFaqBody>,
) -> ApiResult<(StatusCode, Json<FaqView>)> {
    let unknown = || Error::field("chatbot", "No chatbot has this id.");
    let chatbot = body.chatbot.id().ok_or_else(unknown)?;
    match make_faq(&auth, &app, chatbot, body.faq).await {
        Err(Error::NotFound("chatbot")) => Err(unknown().into()),
        made => Ok((StatusCode::CREATED, Json(made?))),
    }
}

async fn make_faq(
    auth: &Authorized<grants::WriteKnowledge>,
    app: &App,
    chatbot: kind::ChatbotId,
    body: FaqBody,
) -> Result<FaqView, Error> {
    let draft = body.draft();
    draft.check_new()?;
    let base = place::base_of_chatbot(app, &auth.principal, chatbot).await?;
    Ok(crate::v1::faqs::view(faqs::create(app, auth.tenant(), base, draft).await?))
}

/// List the FAQs of a chatbot's knowledge bases, newest first.
#[utoipa::path(get, path = "/api/v1/chatbots/{id}/faqs/", tag = "knowledge",
    params(("id" = String, Path), FaqFilter, ("page" = Option<u64>, Query), ("pageSize" = Option<u64>, Query)),
    responses((status = 200, body = PageBody<FaqView>), ApiErrors))]
pub(crate) async fn list_faqs(
    auth: Authorized<grants::ReadKnowledge>,
    State(app): State<App>,
    PathId(chatbot): PathId<kind::Chatbot>,
    Query(filter): Query<FaqFilter>,
    paging: Paging,
) -> ApiResult<Json<PageBody<FaqView>>> {
    crate::v1::faqs::page(&app, auth.tenant(), Place::Chatbot(chatbot), filter, &paging).await
}

/// Add an FAQ to a chatbot's knowledge; a knowledge base is made when it has none, which needs
/// `chatbots:write`.
#[utoipa::path(post, path = "/api/v1/chatbots/{id}/faqs/", tag = "knowledge", params(("id" = String, Path)),
    request_body = FaqBody, responses((status = 201, body = FaqView), ApiErrors))]
pub(crate) async fn create_faq(
    auth: Authorized<grants::WriteKnowledge>,
    State(app): State<App>,
    PathId(chatbot): PathId<kind::Chatbot>,
    Body(body): Body<FaqBody>,
) -> ApiResult<(StatusCode, Json<FaqView>)> {
    Ok((StatusCode::CREATED, Json(make_faq(&auth, &app, chatbot, body).await?)))
}

/// One FAQ of a chatbot's knowledge bases.
#[utoipa::path(get, path = "/api/v1/chatbots/{chatbot}/faqs/{id}/", tag = "knowledge",
    params(("chatbot" = String, Path), ("id" = String, Path)), responses((status = 200, body = FaqView), ApiErrors))]
pub(crate) async fn get_faq(
    auth: Authorized<grants::ReadKnowledge>,
    State(app): State<App>,
    PathIds(chatbot, id): PathIds<kind::Chatbot, kind::Faq>,
) -> ApiResult<Json<FaqView>> {
    let faq = faqs::get(&app, auth.tenant(), Place::Chatbot(chatbot), id).await?;
    Ok(Json(crate::v1::faqs::view(faq)))
}

/// Change an FAQ of a chatbot's knowledge bases. As with PATCH, absent fields stay.
#[utoipa::path(put, path = "/api/v1/chatbots/{chatbot}/faqs/{id}/", tag = "knowledge",
    params(("chatbot" = String, Path), ("id" = String, Path)), request_body = FaqBody,
    responses((status = 200, body = FaqView), ApiErrors))]
pub(crate) async fn replace_faq(
    auth: Authorized<grants::WriteKnowledge>,
    State(app): State<App>,
    PathIds(chatbot, id): PathIds<kind::Chatbot, kind::Faq>,
    Body(body): Body<FaqBody>,
) -> ApiResult<Json<FaqView>> {
    let faq = faqs::update(&app, auth.tenant(), Place::Chatbot(chatbot), id, body.draft()).await?;
    Ok(Json(crate::v1::faqs::view(faq)))
}

/// Change an FAQ of a chatbot's knowledge bases.
#[utoipa::path(patch, path = "/api/v1/chatbots/{chatbot}/faqs/{id}/", tag = "knowledge",
    params(("chatbot" = String, Path), ("id" = String, Path)), request_body = FaqBody,
    responses((status = 200, body = FaqView), ApiErrors))]
pub(crate) async fn update_faq(
    auth: Authorized<grants::WriteKnowledge>,
    State(app): State<App>,
    PathIds(chatbot, id): PathIds<kind::Chatbot, kind::Faq>,
    Body(body): Body<FaqBody>,
) -> ApiResult<Json<FaqView>> {
    let faq = faqs::update(&app, auth.tenant(), Place::Chatbot(chatbot), id, body.draft()).await?;
    Ok(Json(crate::v1::faqs::view(faq)))
}

/// Remove an FAQ of a chatbot's knowledge bases.
#[utoipa::path(delete, path = "/api/v1/chatbots/{chatbot}/faqs/{id}/", tag = "knowledge",
    params(("chatbot" = String, Path), ("id" = String, Path)), responses((status = 204), ApiErrors))]
pub(crate) async fn delete_faq(
    auth: Authorized<grants::WriteKnowledge>,
    State(app): State<App>,
    PathIds(chatbot, id): PathIds<kind::Chatbot, kind::Faq>,
) -> ApiResult<StatusCode> {
    faqs::delete(&app, auth.tenant(), Place::Chatbot(chatbot), vec![id]).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Remove several FAQs of a chatbot's knowledge bases, all or none. An empty list removes nothing.
#[utoipa::path(post, path = "/api/v1/chatbots/{id}/faqs/batch-delete/", tag = "knowledge",
    params(("id" = String, Path)), request_body = FaqsBody, responses((status = 200, body = Deleted), ApiErrors))]
pub(crate) async fn delete_faqs(
    auth: Authorized<grants::WriteKnowledge>,
    State(app): State<App>,
    PathId(chatbot): PathId<kind::Chatbot>,
    Body(body): Body<FaqsBody>,
) -> ApiResult<Json<Deleted>> {
    place::check(&app, auth.tenant(), Place::Chatbot(chatbot)).await?;
    crate::v1::faqs::delete_named(&app, auth.tenant(), Place::Chatbot(chatbot), body).await
}

/// List the files of a chatbot's knowledge bases, newest first.
#[utoipa::path(get, path = "/api/v1/chatbots/{id}/files/", tag = "knowledge",
    params(("id" = String, Path), FileFilter, ("page" = Option<u64>, Query), ("pageSize" = Option<u64>, Query)),
    responses((status = 200, body = PageBody<FileView>), ApiErrors))]
pub(crate) async fn list_files(
    auth: Authorized<grants::ReadKnowledge>,
    State(app): State<App>,
    PathId(chatbot): PathId<kind::Chatbot>,
    Query(filter): Query<FileFilter>,
    paging: Paging,
) -> ApiResult<Json<PageBody<FileView>>> {
    crate::v1::files::page(&app, auth.tenant(), Place::Chatbot(chatbot), filter, &paging).await
}

/// List the files of a chatbot's knowledge bases, newest first.
#[utoipa::path(get, path = "/api/v1/chatbots/{id}/knowledge-bases-files/", tag = "knowledge",
    params(("id" = String, Path), FileFilter, ("page" = Option<u64>, Query), ("pageSize" = Option<u64>, Query)),
    responses((status = 200, body = PageBody<FileView>), ApiErrors))]
pub(crate) async fn list_knowledge_bases_files(
    auth: Authorized<grants::ReadKnowledge>,
    State(app): State<App>,
    PathId(chatbot): PathId<kind::Chatbot>,
    Query(filter): Query<FileFilter>,
    paging: Paging,
) -> ApiResult<Json<PageBody<FileView>>> {
    crate::v1::files::page(&app, auth.tenant(), Place::Chatbot(chatbot), filter, &paging).await
}

/// Add uploaded files to a chatbot's knowledge; a knowledge base is made when it has none, which needs
/// `chatbots:write`. One file is answered as an object, a list as a list.
#[utoipa::path(post, path = "/api/v1/chatbots/{id}/files/", tag = "knowledge", params(("id" = String, Path)),
    request_body = NewFilesBody, responses((status = 201, body = Vec<FileView>), ApiErrors))]
pub(crate) async fn create_files(
    auth: Authorized<grants::WriteKnowledge>,
    State(app): State<App>,
    PathId(chatbot): PathId<kind::Chatbot>,
    Body(body): Body<serde_json::Map<String, serde_json::Value>>,
) -> ApiResult<Response> {
    let tenant = auth.tenant();
    place::check(&app, tenant, Place::Chatbot(chatbot)).await?;
    let is_list = body.contains_key("files");
    let value = serde_json::Value::Object(body);
    let new: Vec<NewFileBody> =
        if is_list { from_value::<NewFilesBody>(value)?.files } else { vec![from_value(value)?] };
    let base = place::base_of_chatbot(&app, &auth.principal, chatbot).await?;
    let mut made = crate::v1::files::add(&app, &auth.principal, base, new).await?;
    let made = match made.pop() {
        Some(file) if !is_list => Json(file).into_response(),
        last => {
            made.extend(last);
            Json(made).into_response()
        }
    };
    Ok((StatusCode::CREATED, made).into_response())
}

/// One file of a chatbot's knowledge bases.
#[utoipa::path(get, path = "/api/v1/chatbots/{chatbot}/files/{id}/", tag = "knowledge",
    params(("chatbot" = String, Path), ("id" = String, Path)), responses((status = 200, body = FileView), ApiErrors))]
pub(crate) async fn get_file(
    auth: Authorized<grants::ReadKnowledge>,
    State(app): State<App>,
    PathIds(chatbot, id): PathIds<kind::Chatbot, kind::File>,
) -> ApiResult<Json<FileView>> {
    let file = files::get(&app, auth.tenant(), Place::Chatbot(chatbot), id).await?;
    Ok(Json(crate::v1::files::view(&app, auth.tenant(), file)))
}

/// Rename a file of a chatbot, or change its metadata or labels. As with PATCH, absent fields stay.
#[utoipa::path(put, path = "/api/v1/chatbots/{chatbot}/files/{id}/", tag = "knowledge",
    params(("chatbot" = String, Path), ("id" = String, Path)), request_body = FileBody,
    responses((status = 200, body = FileView), ApiErrors))]
pub(crate) async fn replace_file(
    auth: Authorized<grants::WriteKnowledge>,
    State(app): State<App>,
    PathIds(chatbot, id): PathIds<kind::Chatbot, kind::File>,
    Body(body): Body<FileBody>,
) -> ApiResult<Json<FileView>> {
    crate::v1::files::change(&app, auth.tenant(), Place::Chatbot(chatbot), id, body).await
}

/// Rename a file of a chatbot, or change its metadata or labels.
#[utoipa::path(patch, path = "/api/v1/chatbots/{chatbot}/files/{id}/", tag = "knowledge",
    params(("chatbot" = String, Path), ("id" = String, Path)), request_body = FileBody,
    responses((status = 200, body = FileView), ApiErrors))]
pub(crate) async fn update_file(
    auth: Authorized<grants::WriteKnowledge>,
    State(app): State<App>,
    PathIds(chatbot, id): PathIds<kind::Chatbot, kind::File>,
    Body(body): Body<FileBody>,
) -> ApiResult<Json<FileView>> {
    crate::v1::files::change(&app, auth.tenant(), Place::Chatbot(chatbot), id, body).await
}

/// Remove a file of a chatbot's knowledge bases.
#[utoipa::path(delete, path = "/api/v1/chatbots/{chatbot}/files/{id}/", tag = "knowledge",
    params(("chatbot" = String, Path), ("id" = String, Path)), responses((status = 204), ApiErrors))]
pub(crate) async fn delete_file(
    auth: Authorized<grants::WriteKnowledge>,
    State(app): State<App>,
    PathIds(chatbot, id): PathIds<kind::Chatbot, kind::File>,
) -> ApiResult<StatusCode> {
    files::delete(&app, auth.tenant(), Place::Chatbot(chatbot), vec![id]).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Why a file failed, or why it waits.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the name in the contract")]
pub(crate) struct FailedReason {
    id: String,
    status: String,
    failed_reason: Option<String>,
}

/// Why a file failed; null when it did not.
#[utoipa::path(get, path = "/api/v1/chatbots/{chatbot}/files/{id}/latest-failed-reason/", tag = "knowledge",
    params(("chatbot" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = FailedReason), ApiErrors))]
pub(crate) async fn latest_failed_reason(
    auth: Authorized<grants::ReadKnowledge>,
    State(app): State<App>,
    PathIds(chatbot, id): PathIds<kind::Chatbot, kind::File>,
) -> ApiResult<Json<FailedReason>> {
    let file = files::get(&app, auth.tenant(), Place::Chatbot(chatbot), id).await?.item;
    Ok(Json(FailedReason { id: file.id.to_string(), status: file.status, failed_reason: file.failure }))
}

/// Remove several files of a chatbot's knowledge bases, all or none.
#[utoipa::path(post, path = "/api/v1/chatbots/{id}/files/batch-delete/", tag = "knowledge",
    params(("id" = String, Path)), request_body = BatchDeleteBody, responses((status = 204), ApiErrors))]
pub(crate) async fn delete_files(
    auth: Authorized<grants::WriteKnowledge>,
    State(app): State<App>,
    PathId(chatbot): PathId<kind::Chatbot>,
    Body(body): Body<BatchDeleteBody>,
) -> ApiResult<StatusCode> {
    crate::v1::files::delete_named(&app, auth.tenant(), Place::Chatbot(chatbot), body).await
}

/// Search what a chatbot answers from.
#[utoipa::path(post, path = "/api/v1/chatbots/{id}/search/", tag = "knowledge", params(("id" = String, Path)),
    request_body = SearchBody, responses((status = 200, body = Vec<SearchHit>), ApiErrors))]
pub(crate) async fn search(
    auth: Authorized<grants::ReadKnowledge>,
    State(app): State<App>,
    PathId(chatbot): PathId<kind::Chatbot>,
    Body(body): Body<SearchBody>,
) -> ApiResult<Json<Vec<SearchHit>>> {
    check_query(&app, &body.query)?;
    let layer = layer(body.query_metadata)?;
    let result = knowledge_bases::find_for_chatbot(&app, auth.tenant(), chatbot, &body.query, &layer).await?;
    Ok(Json(hits(result)))
}
