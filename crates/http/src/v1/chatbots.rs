//! Assistants, which the contract calls chatbots.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use parlance_domain::{Scopes, kind};
use parlance_service::chatbots::{self, ChatbotDraft, ChatbotView, ListedView};
use parlance_service::models::ModelEntry;
use parlance_service::{App, Warnings};
use parlance_storage::chatbots::Filter;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::{IntoParams, ToSchema};

use crate::error::{ApiErrors, ApiResult};
use crate::extract::{Authorized, Body, Caller, PageBody, Paging, Patch, PathId, Query, Reference, grants, patch};
use crate::v1::models::ModelView;
use crate::v1::tools::ToolSummaryView;

/// Fields that are kept and returned, with what an assistant has until they are written.
fn kept_fields() -> [(&'static str, Value); 18] {
    [
        ("rag", Value::Null),
        ("embeddingModel", Value::Null),
        ("rerankerModel", Value::Null),
        ("builtInWorkflow", Value::Null),
        ("workflow", Value::Null),
        ("template", json!("")),
        ("unanswerableTemplate", json!("")),
        ("totalWordsCount", json!(0)),
        ("outputMode", json!("text")),
        ("rawOutputFormat", Value::Null),
        ("databaseUrl", json!("")),
        ("databaseType", Value::Null),
        ("includeTables", json!([])),
        ("databases", json!([])),
        ("groups", json!([])),
        ("toolkits", json!([])),
        ("agentMode", json!("normal")),
        ("queryMetadata", Value::Null),
    ]
}

/// A chatbot, as it is asked for. Absent fields stay as they are, or take their defaults.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChatbotBody {
    /// Required for a new one; at most 255 characters.
    name: Option<String>,
    /// Id of a model; unknown ones take the default, with a remark in `warnings`.
    #[serde(default, deserialize_with = "patch")]
    #[schema(value_type = Option<String>)]
    large_language_model: Patch<Reference>,
    /// Another name of `largeLanguageModel`.
    #[serde(default, deserialize_with = "patch")]
    #[schema(value_type = Option<String>)]
    model: Patch<Reference>,
    instructions: Option<String>,
    /// The knowledge bases it answers from. Adding one needs `knowledge:read`.
    #[schema(value_type = Option<Vec<Object>>)]
    knowledge_bases: Option<Vec<Reference>>,
    /// The tools it may call, in this order; at most 100. Adding one needs `tools:read`.
    #[schema(value_type = Option<Vec<Object>>)]
    tools: Option<Vec<Reference>>,
    /// 1..200.
    #[serde(default, deserialize_with = "patch")]
    #[schema(value_type = Option<i64>)]
    number_of_retrieved_chunks: Patch<i64>,
    /// Where replies to stored messages are sent. Setting another one needs `conversations:read`.
    #[serde(default, deserialize_with = "patch")]
    #[schema(value_type = Option<String>)]
    webhook_url: Patch<String>,
    /// `normal`, `template`, `hybrid`, `workflow`, `agent` or `text_to_sql`.
    reply_mode: Option<String>,
    enable_evaluation: Option<bool>,
    #[serde(flatten)]
    #[schema(value_type = Object)]
    rest: Map<String, Value>,
}

impl ChatbotBody {
    fn draft(mut self, scopes: Scopes) -> ApiResult<ChatbotDraft> {
        let kept = kept_fields();
        self.rest.retain(|key, _| kept.iter().any(|(name, _)| name == key));
        // What is no id is an unknown model, and that falls back to the default.
        let model = self.large_language_model.or(self.model).map(|named| named.map(|model| model.id_or_unknown()));
        let knowledge_bases = match &self.knowledge_bases {
            Some(references) => Some(Reference::require_all(references, "knowledgeBases")?),
            None => None,
        };
        let tools = match &self.tools {
            Some(references) => Some(Reference::require_all(references, "tools")?),
            None => None,
        };
        Ok(ChatbotDraft {
            tools,
            name: self.name,
            model,
            instructions: self.instructions,
            retrieved_chunks: self.number_of_retrieved_chunks,
            webhook_url: self.webhook_url,
            reply_mode: self.reply_mode,
            enable_evaluation: self.enable_evaluation,
            knowledge_bases,
            settings: self.rest,
            scopes,
        })
    }
}

/// A thing by id and name.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct IdName {
    pub(crate) id: String,
    pub(crate) name: String,
}

/// A chatbot.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChatbotOut {
    id: String,
    name: String,
    /// Id of the model that answers.
    large_language_model: String,
    instructions: String,
    knowledge_bases: Vec<IdName>,
    tools: Vec<ToolSummaryView>,
    number_of_retrieved_chunks: Option<i64>,
    webhook_url: Option<String>,
    /// Since when nothing is sent to `webhookUrl` any more. Writing `webhookUrl` again, or a
    /// redelivery that succeeds, ends it.
    webhook_disabled_at: Option<String>,
    /// Why, as a sentence.
    webhook_disabled_reason: Option<String>,
    reply_mode: String,
    enable_evaluation: bool,
    organization: String,
    /// The hidden web chat in whose inbox the conversations of API keys are.
    api_web_chat_id: Option<String>,
    created_at: String,
    updated_at: String,
    #[serde(flatten)]
    #[schema(value_type = Object)]
    kept: Map<String, Value>,
    /// Remarks on a write that was accepted all the same.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

fn out(auth_organisation: parlance_domain::Tenant, view: ChatbotView, warnings: Warnings) -> ChatbotOut {
    let stored: Map<String, Value> = serde_json::from_str(&view.chatbot.settings).unwrap_or_default();
    let mut kept: Map<String, Value> =
        kept_fields().into_iter().map(|(name, default)| (name.to_owned(), default)).collect();
    kept.extend(stored.into_iter().filter(|(name, _)| name != "tools"));
    ChatbotOut {
        id: view.chatbot.id.to_string(),
        name: view.chatbot.name,
        large_language_model: view.model.id.to_string(),
        instructions: view.chatbot.instructions,
        knowledge_bases: view
            .knowledge_bases
            .into_iter()
            .map(|(id, name)| IdName { id: id.to_string(), name })
            .collect(),
        tools: view.tools.into_iter().map(Into::into).collect(),
        number_of_retrieved_chunks: view.chatbot.retrieved_chunks,
        webhook_url: view.chatbot.webhook_url,
        webhook_disabled_at: view.webhook.disabled_at.map(|at| at.to_string()),
        webhook_disabled_reason: view.webhook.disabled_reason,
        reply_mode: view.chatbot.reply_mode,
        enable_evaluation: view.chatbot.enable_evaluation,
        organization: auth_organisation.organisation().to_string(),
        api_web_chat_id: view.api_web_chat.map(|id| id.to_string()),
        created_at: view.chatbot.created_at.to_string(),
        updated_at: view.chatbot.updated_at.to_string(),
        kept,
        warnings: warnings.into_sentences(),
    }
}

/// A chatbot in a list.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChatbotListItem {
    id: String,
    name: String,
    large_language_model: ModelView,
    rag: Rag,
    #[schema(value_type = Option<Object>)]
    embedding_model: Option<Value>,
    #[schema(value_type = Option<Object>)]
    reranker_model: Option<Value>,
    reply_mode: String,
    api_web_chat_id: Option<String>,
    updated_at: String,
}

/// The one way of retrieval there is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Rag {
    id: String,
    name: &'static str,
    is_default: bool,
    is_embedding_model_selectable: bool,
    is_reranker_model_selectable: bool,
}

fn list_item(view: ListedView) -> ChatbotListItem {
    let entry: &ModelEntry = &view.model;
    ChatbotListItem {
        id: view.chatbot.id.to_string(),
        name: view.chatbot.name,
        large_language_model: entry.into(),
        rag: Rag {
            id: parlance_service::files::PARSER.to_string(),
            name: "hybrid",
            is_default: true,
            is_embedding_model_selectable: true,
            is_reranker_model_selectable: true,
        },
        embedding_model: None,
        reranker_model: None,
        reply_mode: view.chatbot.reply_mode,
        api_web_chat_id: view.api_web_chat.map(|id| id.to_string()),
        updated_at: view.chatbot.updated_at.to_string(),
    }
}

/// What a list is narrowed to.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(crate) struct ChatbotFilter {
    /// Part of the name.
    query: Option<String>,
    /// Id of the model that answers.
    large_language_model: Option<String>,
    /// Reply mode.
    reply_mode: Option<String>,
}

/// List the chatbots, newest first.
#[utoipa::path(get, path = "/api/v1/chatbots/", tag = "chatbots",
    params(ChatbotFilter, ("page" = Option<u64>, Query), ("pageSize" = Option<u64>, Query)),
    responses((status = 200, body = PageBody<ChatbotListItem>), ApiErrors))]
pub(crate) async fn list(
    auth: Authorized<grants::ReadChatbots>,
    State(app): State<App>,
    Query(filter): Query<ChatbotFilter>,
    paging: Paging,
) -> ApiResult<Json<PageBody<ChatbotListItem>>> {
    let non_empty = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
    let filter = Filter {
        name_folded: non_empty(filter.query).map(|query| parlance_service::fold(query.trim())),
        model: non_empty(filter.large_language_model).map(|id| Reference(id).id_or_unknown()),
        reply_mode: non_empty(filter.reply_mode),
        ..Filter::default()
    };
    let listing = chatbots::list(&app, auth.tenant(), &filter, paging.page()).await?;
    Ok(Json(paging.answer(listing, list_item)?))
}

/// Add a chatbot.
#[utoipa::path(post, path = "/api/v1/chatbots/", tag = "chatbots", request_body = ChatbotBody,
    responses((status = 201, body = ChatbotOut), ApiErrors))]
pub(crate) async fn create(
    auth: Authorized<grants::WriteChatbots>,
    State(app): State<App>,
    Body(body): Body<ChatbotBody>,
) -> ApiResult<(StatusCode, Json<ChatbotOut>)> {
    let (view, warnings) = chatbots::create(&app, auth.tenant(), body.draft(auth.principal.scopes)?).await?;
    Ok((StatusCode::CREATED, Json(out(auth.tenant(), view, warnings))))
}

/// One chatbot. A visitor sees the one of their web chat, and of it `id` and `name` alone.
#[utoipa::path(get, path = "/api/v1/chatbots/{id}/", tag = "chatbots", params(("id" = String, Path)),
    responses((status = 200, body = ChatbotOut), ApiErrors))]
pub(crate) async fn get(
    caller: Caller<grants::ReadChatbots>,
    State(app): State<App>,
    PathId(id): PathId<kind::Chatbot>,
) -> ApiResult<Response> {
    if let Some(visitor) = caller.visitor() {
        let name = chatbots::name_for_visitor(&app, caller.tenant(), visitor, id).await?;
        return Ok(Json(IdName { id: id.to_string(), name }).into_response());
    }
    let view = chatbots::get(&app, caller.tenant(), id).await?;
    Ok(Json(out(caller.tenant(), view, Warnings::default())).into_response())
}

async fn change(
    auth: &Authorized<grants::WriteChatbots>,
    app: &App,
    id: kind::ChatbotId,
    body: ChatbotBody,
) -> ApiResult<Json<ChatbotOut>> {
    let (view, warnings) = chatbots::update(app, auth.tenant(), id, body.draft(auth.principal.scopes)?).await?;
    Ok(Json(out(auth.tenant(), view, warnings)))
}

/// Change a chatbot. As with PATCH, absent fields stay.
#[utoipa::path(put, path = "/api/v1/chatbots/{id}/", tag = "chatbots", params(("id" = String, Path)),
    request_body = ChatbotBody, responses((status = 200, body = ChatbotOut), ApiErrors))]
pub(crate) async fn replace(
    auth: Authorized<grants::WriteChatbots>,
    State(app): State<App>,
    PathId(id): PathId<kind::Chatbot>,
    Body(body): Body<ChatbotBody>,
) -> ApiResult<Json<ChatbotOut>> {
    change(&auth, &app, id, body).await
}

/// Change a chatbot.
#[utoipa::path(patch, path = "/api/v1/chatbots/{id}/", tag = "chatbots", params(("id" = String, Path)),
    request_body = ChatbotBody, responses((status = 200, body = ChatbotOut), ApiErrors))]
pub(crate) async fn update(
    auth: Authorized<grants::WriteChatbots>,
    State(app): State<App>,
    PathId(id): PathId<kind::Chatbot>,
    Body(body): Body<ChatbotBody>,
) -> ApiResult<Json<ChatbotOut>> {
    change(&auth, &app, id, body).await
}

/// Remove a chatbot; its conversations stay.
#[utoipa::path(delete, path = "/api/v1/chatbots/{id}/", tag = "chatbots", params(("id" = String, Path)),
    responses((status = 204), ApiErrors))]
pub(crate) async fn delete(
    auth: Authorized<grants::WriteChatbots>,
    State(app): State<App>,
    PathId(id): PathId<kind::Chatbot>,
) -> ApiResult<StatusCode> {
    chatbots::delete(&app, auth.tenant(), id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Copy a chatbot with its settings and knowledge bases.
#[utoipa::path(post, path = "/api/v1/chatbots/{id}/duplicate/", tag = "chatbots", params(("id" = String, Path)),
    responses((status = 201, body = ChatbotOut), ApiErrors))]
pub(crate) async fn duplicate(
    auth: Authorized<grants::WriteChatbots>,
    State(app): State<App>,
    PathId(id): PathId<kind::Chatbot>,
) -> ApiResult<(StatusCode, Json<ChatbotOut>)> {
    let view = chatbots::duplicate(&app, auth.tenant(), id).await?;
    Ok((StatusCode::CREATED, Json(out(auth.tenant(), view, Warnings::default()))))
}

/// Whether answers are scored.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EvaluationSwitch {
    /// Absent leaves it as it is.
    #[serde(default)]
    enable_evaluation: Option<bool>,
}

/// Switch the scoring of answers on or off.
#[utoipa::path(patch, path = "/api/v1/chatbots/{id}/enable-evaluation/", tag = "chatbots",
    params(("id" = String, Path)), request_body = EvaluationSwitch,
    responses((status = 200, body = EvaluationSwitch), ApiErrors))]
pub(crate) async fn enable_evaluation(
    auth: Authorized<grants::WriteChatbots>,
    State(app): State<App>,
    PathId(id): PathId<kind::Chatbot>,
    Body(body): Body<EvaluationSwitch>,
) -> ApiResult<Json<EvaluationSwitch>> {
    let draft = ChatbotDraft { enable_evaluation: body.enable_evaluation, ..ChatbotDraft::default() };
    let (view, _) = chatbots::update(&app, auth.tenant(), id, draft).await?;
    Ok(Json(EvaluationSwitch { enable_evaluation: Some(view.chatbot.enable_evaluation) }))
}
