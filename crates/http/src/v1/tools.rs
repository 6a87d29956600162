//! Tools. Headers and environment are written, never read: what is shown are their names.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use parlance_domain::{FieldErrors, Tenant, kind};
use parlance_service::secret_headers::{self, Form};
use parlance_service::tools::{self, ToolDraft};
use parlance_service::{App, Warnings};
use parlance_storage::tools::{Tool, ToolSummary};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use crate::error::{ApiErrors, ApiResult};
use crate::extract::{Authorized, Body, PageBody, Paging, Patch, PathId, Query, grants, patch};

/// A tool, as it is asked for. Absent fields stay as they are, or take their defaults. Has no
/// `Debug`, because it holds secrets.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ToolBody {
    /// What models call it: letters, digits, `_` and `-`. Required for `api`.
    name: Option<String>,
    /// Shown to people. Required for a new one.
    display_name: Option<String>,
    description: Option<String>,
    /// What models are told about it; empty takes the description.
    prompt: Option<String>,
    /// `api` or `mcp`. Required for a new one.
    tool_type: Option<String>,
    /// Where the API is.
    #[serde(default, deserialize_with = "patch")]
    #[schema(value_type = Option<String>)]
    api_url: Patch<String>,
    /// `GET` (the default), `POST`, `PUT`, `PATCH` or `DELETE`.
    #[serde(default, deserialize_with = "patch")]
    #[schema(value_type = Option<String>)]
    http_method: Patch<String>,
    /// Headers sent to the API, by name. Their values are never shown; null stands for the stored
    /// value. Another host in the address removes them.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    raw_headers: Option<Value>,
    /// JSON Schema of the parameters.
    #[serde(default, deserialize_with = "patch")]
    #[schema(value_type = Option<Object>)]
    raw_parameters_schema: Patch<Value>,
    /// Where the MCP server is, by HTTP. Servers that are started by a command are not supported.
    #[serde(default, deserialize_with = "patch")]
    #[schema(value_type = Option<String>)]
    mcp_url: Patch<String>,
    /// Names of the server's tools that may be called; empty allows all.
    #[serde(default, deserialize_with = "patch")]
    #[schema(value_type = Option<Vec<String>>)]
    mcp_allowed_tools: Patch<Vec<String>>,
    /// Headers sent to the MCP server, as `rawHeaders`.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    raw_mcp_header: Option<Value>,
    /// Values kept for the MCP server; never shown either.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    mcp_env: Option<Value>,
    /// Not supported: only an empty value is accepted.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    mcp_args: Option<Value>,
    /// Not supported: only an empty value is accepted.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    mcp_command: Option<Value>,
    /// Not supported: only an empty value is accepted.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    function_code: Option<Value>,
}

impl ToolBody {
    fn draft(self) -> ToolDraft {
        let mut errors = FieldErrors::default();
        for (field, value) in
            [("mcpArgs", &self.mcp_args), ("mcpCommand", &self.mcp_command), ("functionCode", &self.function_code)]
        {
            if value.as_ref().is_some_and(|value| !is_empty(value)) {
                errors.add(field, "Commands and code are not run; use the address of an MCP server or an API.");
            }
        }
        // Either name of the headers is understood; the one that holds something counts.
        let given = |value: &Option<Value>| value.as_ref().is_some_and(|value| !is_empty(value));
        let (field, headers) = if given(&self.raw_mcp_header) || self.raw_headers.is_none() {
            ("rawMcpHeader", self.raw_mcp_header)
        } else {
            ("rawHeaders", self.raw_headers)
        };
        let headers = headers.map(|value| secret_headers::read(field, &value, Form::Headers, &mut errors));
        let env = self.mcp_env.map(|value| secret_headers::read("mcpEnv", &value, Form::Environment, &mut errors));
        let schema = self.raw_parameters_schema.map(|schema| schema.filter(|schema| !is_empty(schema)));
        if schema.as_ref().is_some_and(|schema| schema.as_ref().is_some_and(|schema| !schema.is_object())) {
            errors.add("rawParametersSchema", "Expected an object.");
        }
        ToolDraft {
            name: self.name,
            display_name: self.display_name,
            description: self.description,
            prompt: self.prompt,
            tool_type: self.tool_type,
            api_url: self.api_url.map(Option::unwrap_or_default),
            mcp_url: self.mcp_url.map(Option::unwrap_or_default),
            http_method: self.http_method.flatten().filter(|method| !method.trim().is_empty()),
            raw_parameters_schema: schema,
            mcp_allowed_tools: self.mcp_allowed_tools.map(Option::unwrap_or_default),
            headers,
            env,
            errors,
        }
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// A tool.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ToolView {
    id: String,
    name: String,
    display_name: String,
    description: String,
    prompt: String,
    /// `api` or `mcp`.
    tool_type: String,
    api_url: Option<String>,
    http_method: Option<String>,
    /// The headers' names; the values are null.
    #[schema(value_type = Object)]
    raw_headers: Map<String, Value>,
    #[schema(value_type = Option<Object>)]
    raw_parameters_schema: Option<Value>,
    mcp_url: Option<String>,
    mcp_allowed_tools: Vec<String>,
    /// The headers' names; the values are null.
    #[schema(value_type = Object)]
    raw_mcp_header: Map<String, Value>,
    /// The names; the values are null.
    #[schema(value_type = Object)]
    mcp_env: Map<String, Value>,
    organization: String,
    created_at: String,
    updated_at: String,
    /// Remarks on a write that was accepted all the same.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

/// A tool of a chatbot.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ToolSummaryView {
    id: String,
    name: String,
    display_name: String,
    tool_type: String,
}

impl From<ToolSummary> for ToolSummaryView {
    fn from(tool: ToolSummary) -> Self {
        Self { id: tool.id.to_string(), name: tool.name, display_name: tool.display_name, tool_type: tool.tool_type }
    }
}

fn view(tenant: Tenant, tool: Tool, warnings: Warnings) -> ToolView {
    let names = |json: &str| {
        let names: Vec<String> = serde_json::from_str(json).unwrap_or_default();
        names.into_iter().map(|name| (name, Value::Null)).collect::<Map<_, _>>()
    };
    let headers = names(&tool.header_names);
    let is_mcp = tool.tool_type == "mcp";
    let (raw_headers, raw_mcp_header) = if is_mcp { (Map::new(), headers) } else { (headers, Map::new()) };
    let (api_url, mcp_url) = if is_mcp { (None, Some(tool.url)) } else { (Some(tool.url), None) };
    ToolView {
        id: tool.id.to_string(),
        name: tool.name,
        display_name: tool.display_name,
        description: tool.description,
        prompt: tool.prompt,
        tool_type: tool.tool_type,
        api_url,
        http_method: (!is_mcp).then_some(tool.http_method),
        raw_headers,
        raw_parameters_schema: tool.raw_parameters_schema.and_then(|schema| serde_json::from_str(&schema).ok()),
        mcp_url,
        mcp_allowed_tools: serde_json::from_str(&tool.mcp_allowed_tools).unwrap_or_default(),
        raw_mcp_header,
        mcp_env: names(&tool.env_names),
        organization: tenant.organisation().to_string(),
        created_at: tool.created_at.to_string(),
        updated_at: tool.updated_at.to_string(),
        warnings: warnings.into_sentences(),
    }
}

/// What a list is narrowed to.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(crate) struct ToolFilter {
    /// Part of one of the names.
    query: Option<String>,
    /// `api` or `mcp`.
    tool_type: Option<String>,
}

/// List the tools, newest first.
#[utoipa::path(get, path = "/api/v1/tools/", tag = "tools",
    params(ToolFilter, ("page" = Option<u64>, Query), ("pageSize" = Option<u64>, Query)),
    responses((status = 200, body = PageBody<ToolView>), ApiErrors))]
pub(crate) async fn list(
    auth: Authorized<grants::ReadTools>,
    State(app): State<App>,
    Query(filter): Query<ToolFilter>,
    paging: Paging,
) -> ApiResult<Json<PageBody<ToolView>>> {
    let query = filter.query.as_deref().map(str::trim).filter(|query| !query.is_empty());
    let tool_type = filter.tool_type.as_deref().filter(|tool_type| !tool_type.is_empty());
    let listing = tools::list(&app, auth.tenant(), (query, tool_type), paging.page()).await?;
    Ok(Json(paging.answer(listing, |tool| view(auth.tenant(), tool, Warnings::default()))?))
}

/// Add a tool.
#[utoipa::path(post, path = "/api/v1/tools/", tag = "tools", request_body = ToolBody,
    responses((status = 201, body = ToolView), ApiErrors))]
pub(crate) async fn create(
    auth: Authorized<grants::WriteTools>,
    State(app): State<App>,
    Body(body): Body<ToolBody>,
) -> ApiResult<(StatusCode, Json<ToolView>)> {
    let (tool, warnings) = tools::create(&app, auth.tenant(), body.draft()).await?;
    Ok((StatusCode::CREATED, Json(view(auth.tenant(), tool, warnings))))
}

/// One tool.
#[utoipa::path(get, path = "/api/v1/tools/{id}/", tag = "tools", params(("id" = String, Path)),
    responses((status = 200, body = ToolView), ApiErrors))]
pub(crate) async fn get(
    auth: Authorized<grants::ReadTools>,
    State(app): State<App>,
    PathId(id): PathId<kind::Tool>,
) -> ApiResult<Json<ToolView>> {
    let tool = tools::get(&app, auth.tenant(), id).await?;
    Ok(Json(view(auth.tenant(), tool, Warnings::default())))
}

async fn change(
    auth: &Authorized<grants::WriteTools>,
    app: &App,
    id: kind::ToolId,
    body: ToolBody,
) -> ApiResult<Json<ToolView>> {
    let (tool, warnings) = tools::update(app, auth.tenant(), id, body.draft()).await?;
    Ok(Json(view(auth.tenant(), tool, warnings)))
}

/// Change a tool. As with PATCH, absent fields stay.
#[utoipa::path(put, path = "/api/v1/tools/{id}/", tag = "tools", params(("id" = String, Path)),
    request_body = ToolBody, responses((status = 200, body = ToolView), ApiErrors))]
pub(crate) async fn replace(
    auth: Authorized<grants::WriteTools>,
    State(app): State<App>,
    PathId(id): PathId<kind::Tool>,
    Body(body): Body<ToolBody>,
) -> ApiResult<Json<ToolView>> {
    change(&auth, &app, id, body).await
}

/// Change a tool.
#[utoipa::path(patch, path = "/api/v1/tools/{id}/", tag = "tools", params(("id" = String, Path)),
    request_body = ToolBody, responses((status = 200, body = ToolView), ApiErrors))]
pub(crate) async fn update(
    auth: Authorized<grants::WriteTools>,
    State(app): State<App>,
    PathId(id): PathId<kind::Tool>,
    Body(body): Body<ToolBody>,
) -> ApiResult<Json<ToolView>> {
    change(&auth, &app, id, body).await
}

/// Remove a tool with what contacts gave for it.
#[utoipa::path(delete, path = "/api/v1/tools/{id}/", tag = "tools", params(("id" = String, Path)),
    responses((status = 204), ApiErrors))]
pub(crate) async fn delete(
    auth: Authorized<grants::WriteTools>,
    State(app): State<App>,
    PathId(id): PathId<kind::Tool>,
) -> ApiResult<StatusCode> {
    tools::delete(&app, auth.tenant(), id).await?;
    Ok(StatusCode::NO_CONTENT)
}
