//! Knowledge bases and their search.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use parlance_domain::{Error, Scopes, kind};
use parlance_service::citations::{Cited, display_score};
use parlance_service::knowledge_bases::{self, KnowledgeBaseDraft, KnowledgeBaseView};
use parlance_service::query_metadata::Layer;
use parlance_service::search::SearchResult;
use parlance_service::{App, Warnings};
use parlance_storage::knowledge_bases::Filter;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::error::{ApiErrors, ApiResult};
use crate::extract::{Authorized, Body, PageBody, Paging, Patch, PathId, Query, Reference, grants, patch};
use crate::v1::chatbots::IdName;

/// A knowledge base, as it is asked for. Absent fields stay as they are, or take their defaults.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct KnowledgeBaseBody {
    /// Required for a new one; at most 255 characters.
    name: Option<String>,
    description: Option<String>,
    /// Id of a model; null takes the default.
    #[serde(default, deserialize_with = "patch")]
    #[schema(value_type = Option<String>)]
    embedding_model: Patch<Reference>,
    /// Id of a model; null takes the default.
    #[serde(default, deserialize_with = "patch")]
    #[schema(value_type = Option<String>)]
    reranker_model: Patch<Reference>,
    /// 1..200, 12 by default.
    number_of_retrieved_chunks: Option<i64>,
    /// Sentences around a passage that go with it, 0..20, 2 by default.
    sentence_window_size: Option<i64>,
    enable_hyde: Option<bool>,
    /// 0..1, 0 by default.
    similarity_cutoff: Option<f64>,
    enable_rerank: Option<bool>,
    /// The chatbots that answer from it. Others than those that do need `chatbots:write`.
    #[schema(value_type = Option<Vec<Object>>)]
    chatbots: Option<Vec<Reference>>,
}

impl KnowledgeBaseBody {
    fn draft(self, scopes: Scopes) -> ApiResult<KnowledgeBaseDraft> {
        let chatbots = match &self.chatbots {
            Some(references) => Some(Reference::require_all(references, "chatbots")?),
            None => None,
        };
        // What is no id is an unknown model, and that falls back to the default.
        let model = |named: Patch<Reference>| named.map(|named| named.map(|model| model.id_or_unknown()));
        Ok(KnowledgeBaseDraft {
            name: self.name,
            description: self.description,
            embedding_model: model(self.embedding_model),
            reranker_model: model(self.reranker_model),
            retrieved_chunks: self.number_of_retrieved_chunks,
            sentence_window_size: self.sentence_window_size,
            enable_hyde: self.enable_hyde,
            similarity_cutoff: self.similarity_cutoff,
            enable_rerank: self.enable_rerank,
            chatbots,
            scopes,
        })
    }
}

/// A knowledge base.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct KnowledgeBaseOut {
    id: String,
    name: String,
    description: String,
    embedding_model: Option<String>,
    reranker_model: Option<String>,
    number_of_retrieved_chunks: i64,
    sentence_window_size: i64,
    enable_hyde: bool,
    similarity_cutoff: f64,
    enable_rerank: bool,
    chatbots: Vec<IdName>,
    #[schema(value_type = Vec<Object>)]
    groups: Vec<IdName>,
    user: Option<String>,
    organization: String,
    files_count: u64,
    created_at: String,
    updated_at: String,
    /// Remarks on a write that was accepted all the same.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

fn out(tenant: parlance_domain::Tenant, view: KnowledgeBaseView, warnings: Warnings) -> KnowledgeBaseOut {
    let base = view.base;
    KnowledgeBaseOut {
        id: base.id.to_string(),
        name: base.name,
        description: base.description,
        embedding_model: base.embedding_model_id.map(|id| id.to_string()),
        reranker_model: base.reranker_model_id.map(|id| id.to_string()),
        number_of_retrieved_chunks: base.retrieved_chunks,
        sentence_window_size: base.sentence_window_size,
        enable_hyde: base.enable_hyde,
        similarity_cutoff: base.similarity_cutoff,
        enable_rerank: base.enable_rerank,
        chatbots: view.chatbots.into_iter().map(|(id, name)| IdName { id: id.to_string(), name }).collect(),
        groups: Vec::new(),
        user: None,
        organization: tenant.organisation().to_string(),
        files_count: view.files_count,
        created_at: base.created_at.to_string(),
        updated_at: base.updated_at.to_string(),
        warnings: warnings.into_sentences(),
    }
}

/// What a list is narrowed to.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(crate) struct KnowledgeBaseFilter {
    /// Part of the name.
    query: Option<String>,
    /// Id of the embedding model.
    embedding_model: Option<String>,
    /// Id of the rerank model.
    reranker_model: Option<String>,
}

/// List the knowledge bases, newest first.
#[utoipa::path(get, path = "/api/v1/knowledge-bases/", tag = "knowledge",
    params(KnowledgeBaseFilter, ("page" = Option<u64>, Query), ("pageSize" = Option<u64>, Query)),
    responses((status = 200, body = PageBody<KnowledgeBaseOut>), ApiErrors))]
pub(crate) async fn list(
    auth: Authorized<grants::ReadKnowledge>,
    State(app): State<App>,
    Query(filter): Query<KnowledgeBaseFilter>,
    paging: Paging,
) -> ApiResult<Json<PageBody<KnowledgeBaseOut>>> {
    let non_empty = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
    let model = |id: String| Reference(id).id_or_unknown();
    let filter = Filter {
        name_folded: non_empty(filter.query).map(|query| parlance_service::fold(query.trim())),
        embedding_model: non_empty(filter.embedding_model).map(model),
        reranker_model: non_empty(filter.reranker_model).map(model),
    };
    let tenant = auth.tenant();
    let listing = knowledge_bases::list(&app, tenant, &filter, paging.page()).await?;
    Ok(Json(paging.answer(listing, |view| out(tenant, view, Warnings::default()))?))
}

/// Add a knowledge base.
#[utoipa::path(post, path = "/api/v1/knowledge-bases/", tag = "knowledge", request_body = KnowledgeBaseBody,
    responses((status = 201, body = KnowledgeBaseOut), ApiErrors))]
pub(crate) async fn create(
    auth: Authorized<grants::WriteKnowledge>,
    State(app): State<App>,
    Body(body): Body<KnowledgeBaseBody>,
) -> ApiResult<(StatusCode, Json<KnowledgeBaseOut>)> {
    let (view, warnings) = knowledge_bases::create(&app, auth.tenant(), body.draft(auth.principal.scopes)?).await?;
    Ok((StatusCode::CREATED, Json(out(auth.tenant(), view, warnings))))
}

/// One knowledge base.
#[utoipa::path(get, path = "/api/v1/knowledge-bases/{id}/", tag = "knowledge", params(("id" = String, Path)),
    responses((status = 200, body = KnowledgeBaseOut), ApiErrors))]
pub(crate) async fn get(
    auth: Authorized<grants::ReadKnowledge>,
    State(app): State<App>,
    PathId(id): PathId<kind::KnowledgeBase>,
) -> ApiResult<Json<KnowledgeBaseOut>> {
    let view = knowledge_bases::get(&app, auth.tenant(), id).await?;
    Ok(Json(out(auth.tenant(), view, Warnings::default())))
}

async fn change(
    auth: &Authorized<grants::WriteKnowledge>,
    app: &App,
    id: kind::KnowledgeBaseId,
    body: KnowledgeBaseBody,
) -> ApiResult<Json<KnowledgeBaseOut>> {
    let (view, warnings) = knowledge_bases::update(app, auth.tenant(), id, body.draft(auth.principal.scopes)?).await?;
    Ok(Json(out(auth.tenant(), view, warnings)))
}

/// Change a knowledge base. As with PATCH, absent fields stay.
#[utoipa::path(put, path = "/api/v1/knowledge-bases/{id}/", tag = "knowledge", params(("id" = String, Path)),
    request_body = KnowledgeBaseBody, responses((status = 200, body = KnowledgeBaseOut), ApiErrors))]
pub(crate) async fn replace(
    auth: Authorized<grants::WriteKnowledge>,
    State(app): State<App>,
    PathId(id): PathId<kind::KnowledgeBase>,
    Body(body): Body<KnowledgeBaseBody>,
) -> ApiResult<Json<KnowledgeBaseOut>> {
    change(&auth, &app, id, body).await
}

/// Change a knowledge base.
#[utoipa::path(patch, path = "/api/v1/knowledge-bases/{id}/", tag = "knowledge", params(("id" = String, Path)),
    request_body = KnowledgeBaseBody, responses((status = 200, body = KnowledgeBaseOut), ApiErrors))]
pub(crate) async fn update(
    auth: Authorized<grants::WriteKnowledge>,
    State(app): State<App>,
    PathId(id): PathId<kind::KnowledgeBase>,
    Body(body): Body<KnowledgeBaseBody>,
) -> ApiResult<Json<KnowledgeBaseOut>> {
    change(&auth, &app, id, body).await
}

/// Remove a knowledge base with all of its files.
#[utoipa::path(delete, path = "/api/v1/knowledge-bases/{id}/", tag = "knowledge", params(("id" = String, Path)),
    responses((status = 204), ApiErrors))]
pub(crate) async fn delete(
    auth: Authorized<grants::WriteKnowledge>,
    State(app): State<App>,
    PathId(id): PathId<kind::KnowledgeBase>,
) -> ApiResult<StatusCode> {
    knowledge_bases::delete(&app, auth.tenant(), id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A question to a knowledge base.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct SearchQuery {
    /// What to look for.
    query: String,
}

/// A question to knowledge.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SearchBody {
    /// What to look for.
    pub(crate) query: String,
    /// What may be found.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub(crate) query_metadata: Option<Value>,
}

/// A passage that was found. Fields that existing clients read in `snake_case` carry both spellings.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SearchHit {
    id: String,
    text: String,
    /// 0..1, the same meaning for every question.
    score: f32,
    /// 0..100.
    display_score: i64,
    page_number: Option<i64>,
    #[serde(rename = "page_number")]
    page_number_snake: Option<i64>,
    chatbot_file: SearchFile,
    #[serde(rename = "chatbot_file")]
    chatbot_file_snake: SearchFile,
    /// Id of the FAQ, if it is one.
    faq: Option<String>,
    heading: Option<String>,
    characters_count: i64,
    hits_count: i64,
    start_offset: i64,
    end_offset: i64,
}

/// The file of a passage. An FAQ has its question as the name and no id.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct SearchFile {
    id: Option<String>,
    filename: String,
}

/// Hits as they are shown.
pub(crate) fn hits(result: SearchResult) -> Vec<SearchHit> {
    let found = result.found.into_iter().map(|found| {
        let cited = Cited::new(0, found.score, &found.material);
        let filename = cited.name().to_owned();
        let file = SearchFile { id: cited.file.map(|file| file.id.to_string()), filename };
        let node = cited.node;
        SearchHit {
            id: node.id.to_string(),
            text: node.text,
            score: found.score,
            display_score: display_score(found.score),
            page_number: node.page,
            page_number_snake: node.page,
            chatbot_file: file.clone(),
            chatbot_file_snake: file,
            faq: cited.faq.map(|faq| faq.id.to_string()),
            heading: found.material.passage().and_then(|passage| passage.content.heading.clone()),
            characters_count: node.characters,
            hits_count: node.hits,
            start_offset: node.start,
            end_offset: node.end,
        }
    });
    found.collect()
}

/// Refuses a question that is too long.
pub(crate) fn check_query(app: &App, query: &str) -> Result<(), Error> {
    let limit = app.settings.max_message_characters;
    if query.chars().count() > limit {
        return Err(Error::field("query", format!("Ensure this field has no more than {limit} characters.")));
    }
    Ok(())
}

async fn find(
    auth: &Authorized<grants::ReadKnowledge>,
    app: &App,
    id: kind::KnowledgeBaseId,
    query: &str,
    query_metadata: Option<Value>,
) -> ApiResult<Json<Vec<SearchHit>>> {
    check_query(app, query)?;
    let layer = layer(query_metadata)?;
    let result = knowledge_bases::find(app, auth.tenant(), id, query, &layer).await?;
    Ok(Json(hits(result)))
}

/// The query metadata of a search.
pub(crate) fn layer(query_metadata: Option<Value>) -> Result<Layer, Error> {
    Layer::parse(query_metadata.map(|value| value.to_string()).as_deref(), "queryMetadata")
}

/// Search a knowledge base.
#[utoipa::path(get, path = "/api/v1/knowledge-bases/{id}/search/", tag = "knowledge",
    params(("id" = String, Path), SearchQuery), responses((status = 200, body = Vec<SearchHit>), ApiErrors))]
pub(crate) async fn search_by_get(
    auth: Authorized<grants::ReadKnowledge>,
    State(app): State<App>,
    PathId(id): PathId<kind::KnowledgeBase>,
    Query(query): Query<SearchQuery>,
) -> ApiResult<Json<Vec<SearchHit>>> {
    find(&auth, &app, id, &query.query, None).await
}

/// Search a knowledge base.
#[utoipa::path(post, path = "/api/v1/knowledge-bases/{id}/search/", tag = "knowledge",
    params(("id" = String, Path)), request_body = SearchBody,
    responses((status = 200, body = Vec<SearchHit>), ApiErrors))]
pub(crate) async fn search_by_post(
    auth: Authorized<grants::ReadKnowledge>,
    State(app): State<App>,
    PathId(id): PathId<kind::KnowledgeBase>,
    Body(body): Body<SearchBody>,
) -> ApiResult<Json<Vec<SearchHit>>> {
    find(&auth, &app, id, &body.query, body.query_metadata).await
}
