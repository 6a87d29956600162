//! Labels of knowledge bases, and how files and FAQs name them.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use parlance_domain::{Error, kind};
use parlance_service::App;
use parlance_service::labels::{self, LabelName, LabelRef};
use parlance_storage::labels::Label;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::error::{ApiErrors, ApiResult};
use crate::extract::{Authorized, Body, PageBody, Paging, PathId, PathIds, Query, grants};

/// A label.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct LabelView {
    id: String,
    name: String,
}

impl From<Label> for LabelView {
    fn from(label: Label) -> Self {
        Self { id: label.id.to_string(), name: label.name }
    }
}

/// Labels as they are shown with what carries them.
pub(crate) fn views(labels: &[LabelName]) -> Vec<LabelView> {
    labels.iter().map(|label| LabelView { id: label.id.to_string(), name: label.name.clone() }).collect()
}

/// A label named in a body: its id, or an object with an id, a name, or both.
#[derive(Debug)]
pub(crate) struct NamedLabel(LabelRef);

impl NamedLabel {
    /// The labels of a body, as the service takes them.
    pub(crate) fn refs(named: Vec<Self>) -> Vec<LabelRef> {
        named.into_iter().map(|named| named.0).collect()
    }
}

impl<'de> Deserialize<'de> for NamedLabel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = |value: Option<&Value>| match value {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(serde::de::Error::custom("expected an object with an id or a name")),
        };
        let named = match Value::deserialize(deserializer)? {
            Value::String(id) => LabelRef { id: Some(id), name: None },
            Value::Object(members) => LabelRef { id: text(members.get("id"))?, name: text(members.get("name"))? },
            _ => return Err(serde::de::Error::custom("expected an object with an id or a name")),
        };
        Ok(Self(named))
    }
}

/// A label, as it is asked for.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct LabelBody {
    /// Required for a new one; at most 255 characters, once per knowledge base.
    #[serde(default)]
    name: Option<String>,
}

/// What a list is narrowed to.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct LabelFilter {
    /// Part of the name.
    query: Option<String>,
}

/// List a knowledge base's labels, newest first.
#[utoipa::path(get, path = "/api/v1/knowledge-bases/{id}/labels/", tag = "knowledge",
    params(("id" = String, Path), LabelFilter, ("page" = Option<u64>, Query), ("pageSize" = Option<u64>, Query)),
    responses((status = 200, body = PageBody<LabelView>), ApiErrors))]
pub(crate) async fn list(
    auth: Authorized<grants::ReadKnowledge>,
    State(app): State<App>,
    PathId(base): PathId<kind::KnowledgeBase>,
    Query(filter): Query<LabelFilter>,
    paging: Paging,
) -> ApiResult<Json<PageBody<LabelView>>> {
    let query = filter.query.as_deref().map(str::trim).filter(|query| !query.is_empty());
    let listing = labels::list(&app, auth.tenant(), base, query, paging.page()).await?;
    Ok(Json(paging.answer(listing, LabelView::from)?))
}

/// Add a label to a knowledge base.
#[utoipa::path(post, path = "/api/v1/knowledge-bases/{id}/labels/", tag = "knowledge", params(("id" = String, Path)),
    request_body = LabelBody, responses((status = 201, body = LabelView), ApiErrors))]
pub(crate) async fn create(
    auth: Authorized<grants::WriteKnowledge>,
    State(app): State<App>,
    PathId(base): PathId<kind::KnowledgeBase>,
    Body(body): Body<LabelBody>,
) -> ApiResult<(StatusCode, Json<LabelView>)> {
    let name = body.name.ok_or_else(|| Error::field("name", "This field is required."))?;
    let label = labels::create(&app, auth.tenant(), base, &name).await?;
    Ok((StatusCode::CREATED, Json(label.into())))
}

/// One label.
#[utoipa::path(get, path = "/api/v1/knowledge-bases/{kb}/labels/{id}/", tag = "knowledge",
    params(("kb" = String, Path), ("id" = String, Path)), responses((status = 200, body = LabelView), ApiErrors))]
pub(crate) async fn get(
    auth: Authorized<grants::ReadKnowledge>,
    State(app): State<App>,
    PathIds(base, id): PathIds<kind::KnowledgeBase, kind::Label>,
) -> ApiResult<Json<LabelView>> {
    Ok(Json(labels::get(&app, auth.tenant(), base, id).await?.into()))
}

/// Rename a label. As with PATCH, an absent name stays.
#[utoipa::path(put, path = "/api/v1/knowledge-bases/{kb}/labels/{id}/", tag = "knowledge",
    params(("kb" = String, Path), ("id" = String, Path)), request_body = LabelBody,
    responses((status = 200, body = LabelView), ApiErrors))]
pub(crate) async fn replace(
    auth: Authorized<grants::WriteKnowledge>,
    State(app): State<App>,
    PathIds(base, id): PathIds<kind::KnowledgeBase, kind::Label>,
    Body(body): Body<LabelBody>,
) -> ApiResult<Json<LabelView>> {
    Ok(Json(labels::update(&app, auth.tenant(), (base, id), body.name).await?.into()))
}

/// Rename a label.
#[utoipa::path(patch, path = "/api/v1/knowledge-bases/{kb}/labels/{id}/", tag = "knowledge",
    params(("kb" = String, Path), ("id" = String, Path)), request_body = LabelBody,
    responses((status = 200, body = LabelView), ApiErrors))]
pub(crate) async fn update(
    auth: Authorized<grants::WriteKnowledge>,
    State(app): State<App>,
    PathIds(base, id): PathIds<kind::KnowledgeBase, kind::Label>,
    Body(body): Body<LabelBody>,
) -> ApiResult<Json<LabelView>> {
    Ok(Json(labels::update(&app, auth.tenant(), (base, id), body.name).await?.into()))
}

/// Remove a label, also from the files and FAQs that carry it.
#[utoipa::path(delete, path = "/api/v1/knowledge-bases/{kb}/labels/{id}/", tag = "knowledge",
    params(("kb" = String, Path), ("id" = String, Path)), responses((status = 204), ApiErrors))]
pub(crate) async fn delete(
    auth: Authorized<grants::WriteKnowledge>,
    State(app): State<App>,
    PathIds(base, id): PathIds<kind::KnowledgeBase, kind::Label>,
) -> ApiResult<StatusCode> {
    labels::delete(&app, auth.tenant(), base, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
