//! Tools: what an assistant may call, as an HTTP API or an MCP server.

use parlance_domain::kind::{ChatbotId, ToolId};
use parlance_domain::{Result, Tenant, Timestamp};

use crate::page::{Listing, Page, bytes_of, collect};
use crate::tx::{Tx, execute, fault, on_tx};

/// A tool.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Tool {
    /// Its id.
    pub id: ToolId,
    /// What models call it; may be empty for an MCP server.
    pub name: String,
    /// Shown to people.
    pub display_name: String,
    /// Both names, folded for search.
    pub names_folded: String,
    /// What it does.
    pub description: String,
    /// What models are told about it; empty takes the description.
    pub prompt: String,
    /// `api` or `mcp`.
    pub tool_type: String,
    /// Where it is.
    pub url: String,
    /// Method of the request (`api`).
    pub http_method: String,
    /// JSON Schema of its parameters, verbatim (`api`).
    pub raw_parameters_schema: Option<String>,
    /// Names of the server's tools that may be called, as a JSON list; empty allows all (`mcp`).
    pub mcp_allowed_tools: String,
    /// Names of the headers, as a JSON list.
    pub header_names: String,
    /// The headers as a JSON object, sealed; see [`crate::secrets`].
    pub headers_sealed: Option<Vec<u8>>,
    /// Names of the environment's values, as a JSON list (`mcp`).
    pub env_names: String,
    /// The environment as a JSON object, sealed.
    pub env_sealed: Option<Vec<u8>>,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl Tool {
    fn bytes(&self) -> usize {
        let sealed = [&self.headers_sealed, &self.env_sealed].into_iter().flatten().map(Vec::len).sum::<usize>();
        let texts = [&self.description, &self.prompt, &self.mcp_allowed_tools, &self.header_names, &self.env_names];
        let texts = texts.into_iter().map(String::len).sum::<usize>();
        sealed + texts + bytes_of(self.raw_parameters_schema.as_ref())
    }
}

/// A tool by its names.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct ToolSummary {
    /// Its id.
    pub id: ToolId,
    /// What models call it.
    pub name: String,
    /// Shown to people.
    pub display_name: String,
    /// `api` or `mcp`.
    pub tool_type: String,
}

macro_rules! columns {
    () => {
        "id, name, display_name, names_folded, description, prompt, tool_type, url, http_method, \
         raw_parameters_schema, mcp_allowed_tools, header_names, headers_sealed, env_names, env_sealed, created_at, \
         updated_at"
    };
}

/// One tool.
pub async fn get(tx: &mut Tx, tenant: Tenant, id: ToolId) -> Result<Option<Tool>> {
    on_tx!(tx, db => sqlx::query_as(concat!("SELECT ", columns!(), " FROM tools WHERE org_id = $1 AND id = $2"))
        .bind(tenant.organisation()).bind(id).fetch_optional(db).await)
    .map_err(fault)
}

/// A page of tools, newest first. `filter` is part of a name, folded; `tool_type` the type.
pub async fn list(
    tx: &mut Tx,
    tenant: Tenant,
    (filter, tool_type): (Option<&str>, Option<&str>),
    page: Page,
) -> Result<Listing<Tool>> {
    macro_rules! matching {
        () => {
            " FROM tools WHERE org_id = $1 AND ($2 IS NULL OR names_folded LIKE '%' || $2 || '%' ESCAPE '\\') \
             AND ($3 IS NULL OR tool_type = $3)"
        };
    }
    if crate::page::is_beyond_any_name(filter) {
        return Ok(Listing { rows: Vec::new(), total: 0 });
    }
    let filter = filter.map(crate::page::escape_like);
    let total: i64 = on_tx!(tx, db => sqlx::query_scalar(concat!("SELECT count(*)", matching!()))
        .bind(tenant.organisation()).bind(&filter).bind(tool_type).fetch_one(db).await)
    .map_err(fault)?;
    let rows = on_tx!(tx, db => collect(sqlx::query_as(
        concat!("SELECT ", columns!(), matching!(), " ORDER BY created_at DESC, id DESC LIMIT $4 OFFSET $5"))
        .bind(tenant.organisation()).bind(&filter).bind(tool_type)
        .bind(page.limit_sql()).bind(page.offset_sql()).fetch(db), Tool::bytes).await)?;
    Ok(Listing { rows, total: crate::page::count(total) })
}

/// Adds a tool.
pub async fn insert(tx: &mut Tx, tenant: Tenant, tool: &Tool) -> Result<()> {
    execute!(
        tx,
        sqlx::query(
            "INSERT INTO tools (org_id, id, name, display_name, names_folded, description, prompt, tool_type, url, \
         http_method, raw_parameters_schema, mcp_allowed_tools, header_names, headers_sealed, env_names, env_sealed, \
         created_at, updated_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)"
        )
        .bind(tenant.organisation())
        .bind(tool.id)
        .bind(&tool.name)
        .bind(&tool.display_name)
        .bind(&tool.names_folded)
        .bind(&tool.description)
        .bind(&tool.prompt)
        .bind(&tool.tool_type)
        .bind(&tool.url)
        .bind(&tool.http_method)
        .bind(&tool.raw_parameters_schema)
        .bind(&tool.mcp_allowed_tools)
        .bind(&tool.header_names)
        .bind(&tool.headers_sealed)
        .bind(&tool.env_names)
        .bind(&tool.env_sealed)
        .bind(tool.created_at)
        .bind(tool.updated_at)
    )
    .map(drop)
}

/// Replaces what may change of a tool.
pub async fn update(tx: &mut Tx, tenant: Tenant, tool: &Tool) -> Result<()> {
    execute!(
        tx,
        sqlx::query(
            "UPDATE tools SET name = $3, display_name = $4, names_folded = $5, description = $6, prompt = $7, \
         tool_type = $8, url = $9, http_method = $10, raw_parameters_schema = $11, mcp_allowed_tools = $12, \
         header_names = $13, headers_sealed = $14, env_names = $15, env_sealed = $16, updated_at = $17 \
         WHERE org_id = $1 AND id = $2"
        )
        .bind(tenant.organisation())
        .bind(tool.id)
        .bind(&tool.name)
        .bind(&tool.display_name)
        .bind(&tool.names_folded)
        .bind(&tool.description)
        .bind(&tool.prompt)
        .bind(&tool.tool_type)
        .bind(&tool.url)
        .bind(&tool.http_method)
        .bind(&tool.raw_parameters_schema)
        .bind(&tool.mcp_allowed_tools)
        .bind(&tool.header_names)
        .bind(&tool.headers_sealed)
        .bind(&tool.env_names)
        .bind(&tool.env_sealed)
        .bind(tool.updated_at)
    )
    .map(drop)
}

/// Removes a tool with the credentials that contacts have for it. False when there is none.
pub async fn delete(tx: &mut Tx, tenant: Tenant, id: ToolId) -> Result<bool> {
    execute!(tx, sqlx::query("DELETE FROM tools WHERE org_id = $1 AND id = $2").bind(tenant.organisation()).bind(id))
        .map(|changed| changed > 0)
}

/// The tools of an assistant, in the order they were given.
pub async fn of_chatbot(tx: &mut Tx, tenant: Tenant, chatbot: ChatbotId) -> Result<Vec<ToolSummary>> {
    on_tx!(tx, db => sqlx::query_as(
        "SELECT t.id, t.name, t.display_name, t.tool_type FROM chatbot_tools AS c JOIN tools AS t ON t.id = c.tool_id \
         WHERE c.org_id = $1 AND c.chatbot_id = $2 AND t.org_id = $1 ORDER BY c.place")
        .bind(tenant.organisation()).bind(chatbot).fetch_all(db).await)
    .map_err(fault)
}

/// Makes the tools of an assistant exactly these. Those of another organisation are left out.
pub async fn set_of_chatbot(tx: &mut Tx, tenant: Tenant, chatbot: ChatbotId, tools: &[ToolId]) -> Result<()> {
    execute!(
        tx,
        sqlx::query("DELETE FROM chatbot_tools WHERE org_id = $1 AND chatbot_id = $2")
            .bind(tenant.organisation())
            .bind(chatbot)
    )?;
    for (place, tool) in (0_i64..).zip(tools) {
        execute!(
            tx,
            sqlx::query(
                "INSERT INTO chatbot_tools (org_id, chatbot_id, tool_id, place) \
             SELECT $1, c.id, t.id, $4 FROM chatbots AS c, tools AS t \
             WHERE c.org_id = $1 AND c.id = $2 AND t.org_id = $1 AND t.id = $3 ON CONFLICT DO NOTHING"
            )
            .bind(tenant.organisation())
            .bind(chatbot)
            .bind(*tool)
            .bind(place)
        )?;
    }
    Ok(())
}
