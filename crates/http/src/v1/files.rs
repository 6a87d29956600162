//! Files of knowledge bases.

use std::collections::HashSet;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use parlance_domain::kind::{self, FileId};
use parlance_domain::{Error, Principal, Tenant};
use parlance_service::App;
use parlance_service::files::{self, FileChange, NewFile};
use parlance_service::labels::Labelled;
use parlance_service::place::{self, Place};
use parlance_storage::files::{File, Filter};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::error::{ApiErrors, ApiResult};
use crate::extract::{
    Authorized, Body, ListBody, PageBody, Paging, Patch, PathId, PathIds, Query, Reference, grants, patch,
};
use crate::v1::faqs::label_id;
use crate::v1::labels::{LabelView, NamedLabel, views};
use crate::v1::parsers::{ParserView, parser};

/// A file of a knowledge base.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FileView {
    id: String,
    filename: String,
    /// Signed, expiring URL.
    file: String,
    file_type: String,
    knowledge_base: String,
    size: i64,
    /// `initial`, `processing`, `done` or `failed`.
    status: String,
    /// What is being done, and how far it is.
    progress: FileProgress,
    /// Why it failed, or why it waits.
    failed_reason: Option<String>,
    parser: ParserView,
    labels: Vec<LabelView>,
    raw_user_define_metadata: Option<Value>,
    characters_count: i64,
    text_nodes_count: i64,
    created_at: String,
    updated_at: String,
}

/// How far a file's ingestion is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FileProgress {
    /// `waiting`, `parsing`, `embedding`, `indexing`, or empty at the end.
    stage: String,
    done: i64,
    /// 0 when it is not known.
    total: i64,
}

pub(crate) fn view(app: &App, tenant: Tenant, file: Labelled<File>) -> FileView {
    let labels = views(&file.labels);
    let file = file.item;
    FileView {
        id: file.id.to_string(),
        file: app.links.file_url(tenant, &file.blob_key, &file.filename, app.now()).unwrap_or_default(),
        filename: file.filename,
        file_type: file.file_type,
        knowledge_base: file.knowledge_base_id.to_string(),
        size: file.size,
        status: file.status,
        progress: FileProgress { stage: file.stage, done: file.progress_done, total: file.progress_total },
        failed_reason: file.failure,
        parser: parser(),
        labels,
        raw_user_define_metadata: file.raw_metadata.and_then(|text| serde_json::from_str(&text).ok()),
        characters_count: file.characters,
        text_nodes_count: file.passages_count,
        created_at: file.created_at.to_string(),
        updated_at: file.updated_at.to_string(),
    }
}

/// Files to add.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct NewFilesBody {
    pub(crate) files: Vec<NewFileBody>,
}

/// A file to add.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NewFileBody {
    /// Key of a finished upload.
    file: String,
    #[serde(default)]
    filename: Option<String>,
    #[serde(default)]
    raw_user_define_metadata: Option<Value>,
    /// Labels by id, by name, or both; one whose id is unknown is found by its name, or made.
    #[serde(default)]
    #[schema(value_type = Option<Vec<Object>>)]
    labels: Option<Vec<NamedLabel>>,
}

/// Adds uploaded files to a base.
pub(crate) async fn add(
    app: &App,
    principal: &Principal,
    base: kind::KnowledgeBaseId,
    new: Vec<NewFileBody>,
) -> ApiResult<Vec<FileView>> {
    let new = new.into_iter().map(|file| NewFile {
        file: file.file,
        filename: file.filename,
        raw_metadata: file.raw_user_define_metadata.map(|value| value.to_string()),
        labels: NamedLabel::refs(file.labels.unwrap_or_default()),
    });
    let created = files::create(app, principal, base, new.collect()).await?;
    Ok(created.into_iter().map(|file| view(app, principal.tenant, file)).collect())
}

/// Add uploaded files to a knowledge base and begin to ingest them.
#[utoipa::path(post, path = "/api/v1/knowledge-bases/{id}/files/", tag = "knowledge", params(("id" = String, Path)),
    request_body = NewFilesBody, responses((status = 201, body = Vec<FileView>), ApiErrors))]
pub(crate) async fn create(
    auth: Authorized<grants::WriteKnowledge>,
    State(app): State<App>,
    PathId(base): PathId<kind::KnowledgeBase>,
    Body(body): Body<NewFilesBody>,
) -> ApiResult<(StatusCode, Json<Vec<FileView>>)> {
    Ok((StatusCode::CREATED, Json(add(&app, &auth.principal, base, body.files).await?)))
}

/// What a list is narrowed to.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(crate) struct FileFilter {
    /// Part of the file name.
    query: Option<String>,
    /// Part of the file name.
    filename: Option<String>,
    /// Status.
    status: Option<String>,
    /// Extension.
    file_type: Option<String>,
    /// Id of a label.
    label: Option<String>,
}

/// A page of the files of a place.
pub(crate) async fn page(
    app: &App,
    tenant: Tenant,
    place: Place,
    filter: FileFilter,
    paging: &Paging,
) -> ApiResult<Json<PageBody<FileView>>> {
    let non_empty = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
    let filter = Filter {
        filename_folded: non_empty(filter.query)
            .or(non_empty(filter.filename))
            .map(|query| parlance_service::fold(query.trim())),
        status: non_empty(filter.status),
        file_type: non_empty(filter.file_type)
            .map(|file_type| file_type.trim().trim_start_matches('.').to_ascii_lowercase()),
        label: non_empty(filter.label).map(|id| label_id(&id)),
    };
    let listing = files::list(app, tenant, place, &filter, paging.page()).await?;
    Ok(Json(paging.answer(listing, |file| view(app, tenant, file))?))
}

/// List a knowledge base's files, newest first.
#[utoipa::path(get, path = "/api/v1/knowledge-bases/{id}/files/", tag = "knowledge",
    params(("id" = String, Path), FileFilter, ("page" = Option<u64>, Query), ("pageSize" = Option<u64>, Query)),
    responses((status = 200, body = PageBody<FileView>), ApiErrors))]
pub(crate) async fn list(
    auth: Authorized<grants::ReadKnowledge>,
    State(app): State<App>,
    PathId(base): PathId<kind::KnowledgeBase>,
    Query(filter): Query<FileFilter>,
    paging: Paging,
) -> ApiResult<Json<PageBody<FileView>>> {
    page(&app, auth.tenant(), Place::Base(base), filter, &paging).await
}

/// One file.
#[utoipa::path(get, path = "/api/v1/knowledge-bases/{kb}/files/{id}/", tag = "knowledge",
    params(("kb" = String, Path), ("id" = String, Path)), responses((status = 200, body = FileView), ApiErrors))]
pub(crate) async fn get(
    auth: Authorized<grants::ReadKnowledge>,
    State(app): State<App>,
    PathIds(base, id): PathIds<kind::KnowledgeBase, kind::File>,
) -> ApiResult<Json<FileView>> {
    let file = files::get(&app, auth.tenant(), Place::Base(base), id).await?;
    Ok(Json(view(&app, auth.tenant(), file)))
}

/// What may be changed of a file.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FileBody {
    #[serde(default)]
    filename: Option<String>,
    #[serde(default, deserialize_with = "patch")]
    #[schema(value_type = Option<Object>)]
    raw_user_define_metadata: Patch<Value>,
    /// Labels by id, by name, or both; one whose id is unknown is found by its name, or made.
    #[serde(default)]
    #[schema(value_type = Option<Vec<Object>>)]
    labels: Option<Vec<NamedLabel>>,
}

/// Changes a file of a place.
pub(crate) async fn change(
    app: &App,
    tenant: Tenant,
    place: Place,
    id: FileId,
    body: FileBody,
) -> ApiResult<Json<FileView>> {
    let change = FileChange {
        filename: body.filename,
        raw_metadata: body.raw_user_define_metadata.map(|value| value.map(|value| value.to_string())),
        labels: body.labels.map(NamedLabel::refs),
    };
    let file = files::update(app, tenant, place, id, change).await?;
    Ok(Json(view(app, tenant, file)))
}

/// Free-form metadata.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MetadataBody {
    /// Kept as it is; null clears it.
    #[serde(default, deserialize_with = "patch")]
    #[schema(value_type = Option<Object>)]
    raw_user_define_metadata: Patch<Value>,
}

impl MetadataBody {
    /// The metadata as JSON.
    pub(crate) fn metadata(self) -> Result<Option<String>, Error> {
        let value = self.raw_user_define_metadata;
        let value = value.ok_or_else(|| Error::field("rawUserDefineMetadata", "This field is required."))?;
        Ok(value.map(|value| value.to_string()))
    }
}

async fn describe(
    auth: &Authorized<grants::WriteKnowledge>,
    app: &App,
    place: Place,
    id: FileId,
    body: MetadataBody,
) -> ApiResult<Json<FileView>> {
    let change = FileChange { raw_metadata: Some(body.metadata()?), ..FileChange::default() };
    let file = files::update(app, auth.tenant(), place, id, change).await?;
    Ok(Json(view(app, auth.tenant(), file)))
}

/// Replace the free-form metadata of a file.
#[utoipa::path(patch, path = "/api/v1/knowledge-bases/{kb}/files/{id}/update-metadata/", tag = "knowledge",
    params(("kb" = String, Path), ("id" = String, Path)), request_body = MetadataBody,
    responses((status = 200, body = FileView), ApiErrors))]
pub(crate) async fn update_metadata(
    auth: Authorized<grants::WriteKnowledge>,
    State(app): State<App>,
    PathIds(base, id): PathIds<kind::KnowledgeBase, kind::File>,
    Body(body): Body<MetadataBody>,
) -> ApiResult<Json<FileView>> {
    describe(&auth, &app, Place::Base(base), id, body).await
}

/// Replace the free-form metadata of a file.
#[utoipa::path(post, path = "/api/v1/knowledge-bases/{kb}/files/{id}/update-metadata/", tag = "knowledge",
    params(("kb" = String, Path), ("id" = String, Path)), request_body = MetadataBody,
    responses((status = 200, body = FileView), ApiErrors))]
pub(crate) async fn post_metadata(
    auth: Authorized<grants::WriteKnowledge>,
    State(app): State<App>,
    PathIds(base, id): PathIds<kind::KnowledgeBase, kind::File>,
    Body(body): Body<MetadataBody>,
) -> ApiResult<Json<FileView>> {
    describe(&auth, &app, Place::Base(base), id, body).await
}

/// Rename a file or change its metadata. As with PATCH, absent fields stay.
#[utoipa::path(put, path = "/api/v1/knowledge-bases/{kb}/files/{id}/", tag = "knowledge",
    params(("kb" = String, Path), ("id" = String, Path)), request_body = FileBody,
    responses((status = 200, body = FileView), ApiErrors))]
pub(crate) async fn replace(
    auth: Authorized<grants::WriteKnowledge>,
    State(app): State<App>,
    PathIds(base, id): PathIds<kind::KnowledgeBase, kind::File>,
    Body(body): Body<FileBody>,
) -> ApiResult<Json<FileView>> {
    change(&app, auth.tenant(), Place::Base(base), id, body).await
}

/// Rename a file or change its metadata.
#[utoipa::path(patch, path = "/api/v1/knowledge-bases/{kb}/files/{id}/", tag = "knowledge",
    params(("kb" = String, Path), ("id" = String, Path)), request_body = FileBody,
    responses((status = 200, body = FileView), ApiErrors))]
pub(crate) async fn update(
    auth: Authorized<grants::WriteKnowledge>,
    State(app): State<App>,
    PathIds(base, id): PathIds<kind::KnowledgeBase, kind::File>,
    Body(body): Body<FileBody>,
) -> ApiResult<Json<FileView>> {
    change(&app, auth.tenant(), Place::Base(base), id, body).await
}

/// Remove a file; it is not found or cited from now on.
#[utoipa::path(delete, path = "/api/v1/knowledge-bases/{kb}/files/{id}/", tag = "knowledge",
    params(("kb" = String, Path), ("id" = String, Path)), responses((status = 204), ApiErrors))]
pub(crate) async fn delete(
    auth: Authorized<grants::WriteKnowledge>,
    State(app): State<App>,
    PathIds(base, id): PathIds<kind::KnowledgeBase, kind::File>,
) -> ApiResult<StatusCode> {
    files::delete(&app, auth.tenant(), Place::Base(base), vec![id]).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ids of one batch.
const MAX_BATCH: usize = 1000;

/// Refuses a batch that is too long.
pub(crate) fn check_batch(length: usize, path: &str) -> Result<(), Error> {
    if length > MAX_BATCH {
        return Err(Error::field(path, format!("Ensure this field has no more than {MAX_BATCH} elements.")));
    }
    Ok(())
}

/// Files to remove.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct BatchDeleteBody {
    #[schema(value_type = Vec<String>)]
    ids: Vec<Reference>,
}

/// Removes the files that a body names, all or none.
pub(crate) async fn delete_named(
    app: &App,
    tenant: Tenant,
    place: Place,
    body: BatchDeleteBody,
) -> ApiResult<StatusCode> {
    place::check(app, tenant, place).await?;
    check_batch(body.ids.len(), "ids")?;
    let mut ids = Vec::with_capacity(body.ids.len());
    let mut seen = HashSet::with_capacity(body.ids.len());
    for (position, reference) in body.ids.iter().enumerate() {
        let path = format!("ids.{position}");
        let id = reference.require(&path)?;
        if !seen.insert(id) {
            continue;
        }
        match files::get(app, tenant, place, id).await {
            Ok(_) => ids.push(id),
            Err(Error::NotFound(_)) => {
                return Err(Error::field(path, "No file of this knowledge base has this id.").into());
            }
            Err(error) => return Err(error.into()),
        }
    }
    files::delete(app, tenant, place, ids).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Remove several files, all or none.
#[utoipa::path(post, path = "/api/v1/knowledge-bases/{id}/files/batch-delete/", tag = "knowledge",
    params(("id" = String, Path)), request_body = BatchDeleteBody, responses((status = 204), ApiErrors))]
pub(crate) async fn batch_delete(
    auth: Authorized<grants::WriteKnowledge>,
    State(app): State<App>,
    PathId(base): PathId<kind::KnowledgeBase>,
    Body(body): Body<BatchDeleteBody>,
) -> ApiResult<StatusCode> {
    delete_named(&app, auth.tenant(), Place::Base(base), body).await
}

/// A file to parse again.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct ReparseItem {
    #[schema(value_type = String)]
    id: Reference,
    /// There is one parser; any is accepted.
    #[serde(default)]
    #[expect(dead_code, reason = "read so that its presence is documented")]
    #[schema(value_type = Option<Object>)]
    parser: Option<Value>,
}

/// Parse files again. What is searchable stays so until the new text is ready.
#[utoipa::path(patch, path = "/api/v1/knowledge-bases/{id}/files/batch-reparse/", tag = "knowledge",
    params(("id" = String, Path)), request_body = Vec<ReparseItem>,
    responses((status = 200, body = Vec<FileView>), ApiErrors))]
pub(crate) async fn batch_reparse(
    auth: Authorized<grants::WriteKnowledge>,
    State(app): State<App>,
    PathId(base): PathId<kind::KnowledgeBase>,
    ListBody(items): ListBody<ReparseItem>,
) -> ApiResult<Json<Vec<FileView>>> {
    place::check(&app, auth.tenant(), Place::Base(base)).await?;
    check_batch(items.len(), "nonFieldErrors")?;
    let mut ids = Vec::with_capacity(items.len());
    let mut seen = HashSet::with_capacity(items.len());
    for (position, item) in items.iter().enumerate() {
        let id = item.id.require(&format!("{position}.id"))?;
        if seen.insert(id) {
            ids.push(id);
        }
    }
    let reparsed = files::reparse(&app, auth.tenant(), base, ids).await?;
    Ok(Json(reparsed.into_iter().map(|file| view(&app, auth.tenant(), file)).collect()))
}
