//! FAQs of knowledge bases.

use std::collections::HashSet;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use parlance_domain::kind::{self, FaqId, LabelId};
use parlance_domain::{Error, Tenant};
use parlance_service::App;
use parlance_service::faqs::{self, FaqDraft};
use parlance_service::labels::Labelled;
use parlance_service::place::{self, Place};
use parlance_storage::faqs::{Faq, Filter};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::error::{ApiErrors, ApiResult};
use crate::extract::{Authorized, Body, PageBody, Paging, Patch, PathId, PathIds, Query, Reference, grants, patch};
use crate::v1::files::{MetadataBody, check_batch};
use crate::v1::labels::{LabelView, NamedLabel, views};

/// A question with its answer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FaqView {
    id: String,
    question: String,
    answer: String,
    knowledge_base: String,
    labels: Vec<LabelView>,
    raw_user_define_metadata: Option<Value>,
    /// How often it was cited.
    hits_count: i64,
    created_at: String,
    updated_at: String,
}

pub(crate) fn view(faq: Labelled<Faq>) -> FaqView {
    let labels = views(&faq.labels);
    let faq = faq.item;
    FaqView {
        id: faq.id.to_string(),
        question: faq.question,
        answer: faq.answer,
        knowledge_base: faq.knowledge_base_id.to_string(),
        labels,
        raw_user_define_metadata: faq.raw_metadata.and_then(|text| serde_json::from_str(&text).ok()),
        hits_count: faq.hits_count,
        created_at: faq.created_at.to_string(),
        updated_at: faq.updated_at.to_string(),
    }
}

/// An FAQ, as it is asked for. Absent fields stay as they are.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FaqBody {
    /// Required for a new one; at most 2,000 characters.
    #[serde(default)]
    question: Option<String>,
    /// Required for a new one; at most 10,000 characters.
    #[serde(default)]
    answer: Option<String>,
    /// Labels by id, by name, or both; one whose id is unknown is found by its name, or made.
    #[serde(default)]
    #[schema(value_type = Option<Vec<Object>>)]
    labels: Option<Vec<NamedLabel>>,
    #[serde(default, deserialize_with = "patch")]
    #[schema(value_type = Option<Object>)]
    raw_user_define_metadata: Patch<Value>,
}

impl FaqBody {
    pub(crate) fn draft(self) -> FaqDraft {
        FaqDraft {
            question: self.question,
            answer: self.answer,
            labels: self.labels.map(NamedLabel::refs),
            raw_metadata: self.raw_user_define_metadata.map(|value| value.map(|value| value.to_string())),
        }
    }
}

/// What a list is narrowed to.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct FaqFilter {
    /// Part of the question or the answer.
    query: Option<String>,
    /// Id of a label.
    label: Option<String>,
}

/// A page of the FAQs of a place.
pub(crate) async fn page(
    app: &App,
    tenant: Tenant,
    place: Place,
    filter: FaqFilter,
    paging: &Paging,
) -> ApiResult<Json<PageBody<FaqView>>> {
    let non_empty = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
    let filter = Filter {
        text_folded: non_empty(filter.query).map(|query| parlance_service::fold(query.trim())),
        label: non_empty(filter.label).map(|id| label_id(&id)),
    };
    let listing = faqs::list(app, tenant, place, &filter, paging.page()).await?;
    Ok(Json(paging.answer(listing, view)?))
}

/// The label with this id; what is no id is that of none.
pub(crate) fn label_id(text: &str) -> LabelId {
    LabelId::parse(text).unwrap_or_else(|| LabelId::from_uuid(Uuid::nil()))
}

/// List a knowledge base's FAQs, newest first.
#[utoipa::path(get, path = "/api/v1/knowledge-bases/{id}/faqs/", tag = "knowledge",
    params(("id" = String, Path), FaqFilter, ("page" = Option<u64>, Query), ("pageSize" = Option<u64>, Query)),
    responses((status = 200, body = PageBody<FaqView>), ApiErrors))]
pub(crate) async fn list(
    auth: Authorized<grants::ReadKnowledge>,
    State(app): State<App>,
    PathId(base): PathId<kind::KnowledgeBase>,
    Query(filter): Query<FaqFilter>,
    paging: Paging,
) -> ApiResult<Json<PageBody<FaqView>>> {
    page(&app, auth.tenant(), Place::Base(base), filter, &paging).await
}

/// Add an FAQ to a knowledge base.
#[utoipa::path(post, path = "/api/v1/knowledge-bases/{id}/faqs/", tag = "knowledge", params(("id" = String, Path)),
    request_body = FaqBody, responses((status = 201, body = FaqView), ApiErrors))]
pub(crate) async fn create(
    auth: Authorized<grants::WriteKnowledge>,
    State(app): State<App>,
    PathId(base): PathId<kind::KnowledgeBase>,
    Body(body): Body<FaqBody>,
) -> ApiResult<(StatusCode, Json<FaqView>)> {
    let made = faqs::create(&app, auth.tenant(), base, body.draft()).await?;
    Ok((StatusCode::CREATED, Json(view(made))))
}

/// One FAQ.
#[utoipa::path(get, path = "/api/v1/knowledge-bases/{kb}/faqs/{id}/", tag = "knowledge",
    params(("kb" = String, Path), ("id" = String, Path)), responses((status = 200, body = FaqView), ApiErrors))]
pub(crate) async fn get(
    auth: Authorized<grants::ReadKnowledge>,
    State(app): State<App>,
    PathIds(base, id): PathIds<kind::KnowledgeBase, kind::Faq>,
) -> ApiResult<Json<FaqView>> {
    Ok(Json(view(faqs::get(&app, auth.tenant(), Place::Base(base), id).await?)))
}

/// Change an FAQ. As with PATCH, absent fields stay.
#[utoipa::path(put, path = "/api/v1/knowledge-bases/{kb}/faqs/{id}/", tag = "knowledge",
    params(("kb" = String, Path), ("id" = String, Path)), request_body = FaqBody,
    responses((status = 200, body = FaqView), ApiErrors))]
pub(crate) async fn replace(
    auth: Authorized<grants::WriteKnowledge>,
    State(app): State<App>,
    PathIds(base, id): PathIds<kind::KnowledgeBase, kind::Faq>,
    Body(body): Body<FaqBody>,
) -> ApiResult<Json<FaqView>> {
    Ok(Json(view(faqs::update(&app, auth.tenant(), Place::Base(base), id, body.draft()).await?)))
}

/// Change an FAQ.
#[utoipa::path(patch, path = "/api/v1/knowledge-bases/{kb}/faqs/{id}/", tag = "knowledge",
    params(("kb" = String, Path), ("id" = String, Path)), request_body = FaqBody,
    responses((status = 200, body = FaqView), ApiErrors))]
pub(crate) async fn update(
    auth: Authorized<grants::WriteKnowledge>,
    State(app): State<App>,
    PathIds(base, id): PathIds<kind::KnowledgeBase, kind::Faq>,
    Body(body): Body<FaqBody>,
) -> ApiResult<Json<FaqView>> {
    Ok(Json(view(faqs::update(&app, auth.tenant(), Place::Base(base), id, body.draft()).await?)))
}

/// Remove an FAQ; it is not found or cited from now on.
#[utoipa::path(delete, path = "/api/v1/knowledge-bases/{kb}/faqs/{id}/", tag = "knowledge",
    params(("kb" = String, Path), ("id" = String, Path)), responses((status = 204), ApiErrors))]
pub(crate) async fn delete(
    auth: Authorized<grants::WriteKnowledge>,
    State(app): State<App>,
    PathIds(base, id): PathIds<kind::KnowledgeBase, kind::Faq>,
) -> ApiResult<StatusCode> {
    faqs::delete(&app, auth.tenant(), Place::Base(base), vec![id]).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn describe(
    auth: &Authorized<grants::WriteKnowledge>,
    app: &App,
    place: Place,
    id: FaqId,
    body: MetadataBody,
) -> ApiResult<Json<FaqView>> {
    let draft = FaqDraft { raw_metadata: Some(body.metadata()?), ..FaqDraft::default() };
    Ok(Json(view(faqs::update(app, auth.tenant(), place, id, draft).await?)))
}

/// Replace the free-form metadata of an FAQ.
#[utoipa::path(patch, path = "/api/v1/knowledge-bases/{kb}/faqs/{id}/update-metadata/", tag = "knowledge",
    params(("kb" = String, Path), ("id" = String, Path)), request_body = MetadataBody,
    responses((status = 200, body = FaqView), ApiErrors))]
pub(crate) async fn update_metadata(
    auth: Authorized<grants::WriteKnowledge>,
    State(app): State<App>,
    PathIds(base, id): PathIds<kind::KnowledgeBase, kind::Faq>,
    Body(body): Body<MetadataBody>,
) -> ApiResult<Json<FaqView>> {
    describe(&auth, &app, Place::Base(base), id, body).await
}

/// Replace the free-form metadata of an FAQ.
#[utoipa::path(post, path = "/api/v1/knowledge-bases/{kb}/faqs/{id}/update-metadata/", tag = "knowledge",
    params(("kb" = String, Path), ("id" = String, Path)), request_body = MetadataBody,
    responses((status = 200, body = FaqView), ApiErrors))]
pub(crate) async fn post_metadata(
    auth: Authorized<grants::WriteKnowledge>,
    State(app): State<App>,
    PathIds(base, id): PathIds<kind::KnowledgeBase, kind::Faq>,
    Body(body): Body<MetadataBody>,
) -> ApiResult<Json<FaqView>> {
    describe(&auth, &app, Place::Base(base), id, body).await
}

/// FAQs to remove.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct FaqsBody {
    #[schema(value_type = Vec<String>)]
    ids: Vec<Reference>,
}

/// How many were removed.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Deleted {
    pub(crate) deleted_count: u64,
}

/// Removes the FAQs that a body names, all or none.
pub(crate) async fn delete_named(app: &App, tenant: Tenant, place: Place, body: FaqsBody) -> ApiResult<Json<Deleted>> {
    check_batch(body.ids.len(), "ids")?;
    let mut ids = Vec::with_capacity(body.ids.len());
    let mut seen = HashSet::with_capacity(body.ids.len());
    for (position, reference) in body.ids.iter().enumerate() {
        let path = format!("ids.{position}");
        let id: FaqId = reference.require(&path)?;
        if !seen.insert(id) {
            continue;
        }
        match faqs::get(app, tenant, place, id).await {
            Ok(_) => ids.push(id),
            Err(Error::NotFound(_)) => return Err(Error::field(path, "No FAQ has this id.").into()),
            Err(error) => return Err(error.into()),
        }
    }
    let deleted_count = ids.len() as u64;
    faqs::delete(app, tenant, place, ids).await?;
    Ok(Json(Deleted { deleted_count }))
}

/// Remove several FAQs, all or none. An empty list removes every FAQ of the knowledge base.
#[utoipa::path(post, path = "/api/v1/knowledge-bases/{id}/faqs/batch-delete/", tag = "knowledge",
    params(("id" = String, Path)), request_body = FaqsBody, responses((status = 200, body = Deleted), ApiErrors))]
pub(crate) async fn batch_delete(
    auth: Authorized<grants::WriteKnowledge>,
    State(app): State<App>,
    PathId(base): PathId<kind::KnowledgeBase>,
    Body(body): Body<FaqsBody>,
) -> ApiResult<Json<Deleted>> {
    place::check(&app, auth.tenant(), Place::Base(base)).await?;
    if body.ids.is_empty() {
        let deleted_count = faqs::delete_all(&app, auth.tenant(), base).await?;
        return Ok(Json(Deleted { deleted_count }));
    }
    delete_named(&app, auth.tenant(), Place::Base(base), body).await
}
