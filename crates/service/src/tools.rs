//! Tools: HTTP APIs and MCP servers that assistants may call.
//!
//! Headers and the environment are secrets. They belong to the host they were given for: a tool that
//! moves to another one loses them, and what contacts gave for it as well. Commands are never kept,
//! because nothing in the database may decide which program runs.

use parlance_domain::kind::{ChatbotId, ToolId};
use parlance_domain::{Error, FieldErrors, Result, Tenant};
use parlance_retrieval::fold;
use parlance_storage::row_lock::{Row, lock};
use parlance_storage::secrets::Place;
use parlance_storage::tools::{self, Tool};
use parlance_storage::{Listing, Page, Tx, contact_credentials};
use serde_json::Value;
use url::Url;

use crate::secret_headers::{SecretDraft, Secrets};
use crate::{App, Warnings};

/// Characters of a name shown to people.
const MAX_DISPLAY_NAME: usize = 255;
/// Characters of a name for models.
const MAX_NAME: usize = 64;
/// Characters of a description or prompt.
const MAX_TEXT: usize = 10_000;
/// Characters of an address.
const MAX_URL: usize = 2000;
/// Bytes of a schema.
const MAX_SCHEMA: usize = 64 << 10;
/// Allowed tools of a server.
const MAX_ALLOWED: usize = 200;
/// Tools of one assistant.
const MAX_OF_CHATBOT: usize = 100;
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/// What is asked of a tool; `None` leaves a value as it is, or takes the default of a new one. Has
/// no `Debug`, because it holds secrets.
#[derive(Default)]
pub struct ToolDraft {
    /// See [`Tool`].
    pub name: Option<String>,
    /// See [`Tool`].
    pub display_name: Option<String>,
    /// See [`Tool`].
    pub description: Option<String>,
    /// See [`Tool`].
    pub prompt: Option<String>,
    /// See [`Tool`].
    pub tool_type: Option<String>,
    /// Where it is (`api`).
    pub api_url: Option<String>,
    /// Where it is (`mcp`).
    pub mcp_url: Option<String>,
    /// See [`Tool`].
    pub http_method: Option<String>,
    /// `Some(None)` clears it.
    pub raw_parameters_schema: Option<Option<Value>>,
    /// See [`Tool`].
    pub mcp_allowed_tools: Option<Vec<String>>,
    /// All headers.
    pub headers: Option<SecretDraft>,
    /// The whole environment.
    pub env: Option<SecretDraft>,
    /// Wrong fields that were found while reading the request.
    pub errors: FieldErrors,
}

/// One tool.
pub async fn get(app: &App, tenant: Tenant, id: ToolId) -> Result<Tool> {
    let mut tx = app.db.read(tenant).await?;
    tools::get(&mut tx, tenant, id).await?.ok_or(Error::NotFound("tool"))
}

/// A page of tools. `query` is part of a name, `tool_type` the type.
pub async fn list(
    app: &App,
    tenant: Tenant,
    (query, tool_type): (Option<&str>, Option<&str>),
    page: Page,
) -> Result<Listing<Tool>> {
    let mut tx = app.db.read(tenant).await?;
    let folded = query.map(fold);
    tools::list(&mut tx, tenant, (folded.as_deref(), tool_type), page).await
}

/// Adds a tool.
pub async fn create(app: &App, tenant: Tenant, draft: ToolDraft) -> Result<(Tool, Warnings)> {
    let now = app.now();
    let mut tool = Tool {
        id: app.new_id(),
        name: String::new(),
        display_name: String::new(),
        names_folded: String::new(),
        description: String::new(),
        prompt: String::new(),
        tool_type: String::new(),
        url: String::new(),
        http_method: "GET".to_owned(),
        raw_parameters_schema: None,
        mcp_allowed_tools: "[]".to_owned(),
        header_names: "[]".to_owned(),
        headers_sealed: None,
        env_names: "[]".to_owned(),
        env_sealed: None,
        created_at: now,
        updated_at: now,
    };
    let (_, warnings) = apply(app, tenant, &mut tool, draft)?;
    let row = tool.clone();
    app.db.write(tenant, move |tx| Box::pin(async move { tools::insert(tx, tenant, &row).await })).await?;
    Ok((tool, warnings))
}

/// Changes a tool.
pub async fn update(app: &App, tenant: Tenant, id: ToolId, draft: ToolDraft) -> Result<(Tool, Warnings)> {
    let writer = app.clone();
    app.db
        .write(tenant, move |tx| {
            Box::pin(async move {
                lock(tx, tenant, Row::Tool(id)).await?;
                let mut tool = tools::get(tx, tenant, id).await?.ok_or(Error::NotFound("tool"))?;
                let (moves, mut warnings) = apply(&writer, tenant, &mut tool, draft)?;
                tool.updated_at = writer.now();
                if moves && contact_credentials::delete_of_tool(tx, tenant, id).await? > 0 {
                    warnings.add("The credentials of contacts for this tool were removed, because its host changed.");
                }
                tools::update(tx, tenant, &tool).await?;
                Ok((tool, warnings))
            })
        })
        .await
}

/// Removes a tool with what contacts gave for it.
pub async fn delete(app: &App, tenant: Tenant, id: ToolId) -> Result<()> {
    let deleted = app.db.write(tenant, move |tx| Box::pin(async move { tools::delete(tx, tenant, id).await })).await?;
    app.plans.forget(tenant);
    if deleted { Ok(()) } else { Err(Error::NotFound("tool")) }
}

/// Makes the tools of an assistant exactly these.
pub(crate) async fn set_of_chatbot(tx: &mut Tx, tenant: Tenant, chatbot: ChatbotId, ids: &[ToolId]) -> Result<()> {
    if ids.len() > MAX_OF_CHATBOT {
        return Err(Error::field("tools", format!("At most {MAX_OF_CHATBOT} tools.")));
    }
    let mut errors = FieldErrors::default();
    for (position, id) in ids.iter().enumerate() {
        if tools::get(tx, tenant, *id).await?.is_none() {
            errors.add(format!("tools.{position}.id"), "No tool has this id.");
        }
    }
    errors.finish()?;
    tools::set_of_chatbot(tx, tenant, chatbot, ids).await
}

/// Changes the tool in memory. Gives whether it moved to another host.
fn apply(app: &App, tenant: Tenant, tool: &mut Tool, draft: ToolDraft) -> Result<(bool, Warnings)> {
    let mut errors = draft.errors;
    let mut warnings = Warnings::default();
    let type_before = std::mem::take(&mut tool.tool_type);
    tool.tool_type = draft.tool_type.unwrap_or_else(|| type_before.clone());
    check_type(&tool.tool_type, &mut errors);
    let is_mcp = tool.tool_type == "mcp";
    describe(tool, (draft.name, draft.display_name), (draft.description, draft.prompt), &mut errors);

    let (field, url, other_field, other) = if is_mcp {
        ("mcpUrl", draft.mcp_url, "apiUrl", draft.api_url)
    } else {
        ("apiUrl", draft.api_url, "mcpUrl", draft.mcp_url)
    };
    if other.is_some_and(|other| !other.trim().is_empty()) {
        errors.add(other_field, format!("A tool of type {} has no such address.", tool.tool_type));
    }
    let before = Url::parse(&tool.url).ok();
    let is_same_type = type_before == tool.tool_type;
    match url.as_deref().or(is_same_type.then_some(tool.url.as_str())) {
        None | Some("") => errors.add(field, "This field is required."),
        Some(text) => match web_address(text) {
            Ok(url) => tool.url = url.into(),
            Err(said) => errors.add(field, said),
        },
    }
    let moves = before.is_some_and(|before| {
        !is_same_type || Url::parse(&tool.url).is_ok_and(|after| after.origin() != before.origin())
    });

    if let Some(method) = draft.http_method {
        tool.http_method = method.trim().to_ascii_uppercase();
        if !METHODS.contains(&tool.http_method.as_str()) {
            errors.add("httpMethod", format!("Must be one of: {}.", METHODS.join(", ")));
        }
    }
    if let Some(schema) = draft.raw_parameters_schema {
        tool.raw_parameters_schema = schema.map(|schema| schema.to_string());
        if tool.raw_parameters_schema.as_ref().is_some_and(|schema| schema.len() > MAX_SCHEMA) {
            errors.add("rawParametersSchema", format!("At most {MAX_SCHEMA} bytes."));
        }
    }
    if let Some(allowed) = draft.mcp_allowed_tools {
        if allowed.len() > MAX_ALLOWED || allowed.iter().any(|name| name.is_empty() || name.len() > MAX_DISPLAY_NAME) {
            errors.add("mcpAllowedTools", format!("At most {MAX_ALLOWED} names, none of them empty."));
        }
        tool.mcp_allowed_tools = Value::from(allowed).to_string();
    }

    let row = tool.id.to_string();
    let at = |column| Place { tenant, table: "tools", row: &row, column };
    let header_field = if is_mcp { "rawMcpHeader" } else { "rawHeaders" };
    for (field, draft, place, (names, sealed)) in [
        (header_field, draft.headers, at("headers_sealed"), (&mut tool.header_names, &mut tool.headers_sealed)),
        ("mcpEnv", draft.env, at("env_sealed"), (&mut tool.env_names, &mut tool.env_sealed)),
    ] {
        let lost = moves && sealed.is_some();
        if lost {
            warnings.add(format!("The stored {field} was removed, because the tool's host changed."));
        }
        if draft.is_none() && !lost {
            continue;
        }
        let stored = if moves { Secrets::none() } else { Secrets::open(&app.master_key, &place, sealed.as_deref())? };
        let (secrets, missing) = stored.merged(draft.unwrap_or_default());
        if !lost && !missing.is_empty() {
            errors.add(field, format!("A value is required: {}.", missing.join(", ")));
        }
        *names = secrets.names();
        *sealed = if secrets.is_empty() { None } else { Some(secrets.seal(&app.master_key, &place)?) };
    }
    errors.finish()?;
    Ok((moves, warnings))
}

fn check_type(tool_type: &str, errors: &mut FieldErrors) {
    match tool_type {
        "api" | "mcp" => {}
        "" => errors.add("toolType", "This field is required."),
        "function" => errors.add("toolType", "Tools of type function are not supported; use api or mcp."),
        other => errors.add("toolType", format!("\"{other}\" is not a valid choice; use api or mcp.")),
    }
}

fn describe(
    tool: &mut Tool,
    (name, display_name): (Option<String>, Option<String>),
    (description, prompt): (Option<String>, Option<String>),
    errors: &mut FieldErrors,
) {
    if let Some(name) = name {
        name.trim().clone_into(&mut tool.name);
    }
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if tool.name.is_empty() && tool.tool_type == "api" {
        errors.add("name", "This field is required.");
    } else if tool.name.len() > MAX_NAME || !tool.name.bytes().all(is_name) {
        errors.add("name", format!("Use up to {MAX_NAME} letters, digits, hyphens and underscores."));
    }
    if let Some(display_name) = display_name {
        display_name.trim().clone_into(&mut tool.display_name);
    }
    if tool.display_name.is_empty() {
        errors.add("displayName", "This field is required.");
    } else if tool.display_name.chars().count() > MAX_DISPLAY_NAME {
        errors.add("displayName", format!("Ensure this field has no more than {MAX_DISPLAY_NAME} characters."));
    }
    tool.names_folded = fold(&[tool.name.as_str(), &tool.display_name].join(" "));
    for (field, text, target) in
        [("description", description, &mut tool.description), ("prompt", prompt, &mut tool.prompt)]
    {
        let Some(text) = text else { continue };
        if text.chars().count() > MAX_TEXT {
            errors.add(field, format!("Ensure this field has no more than {MAX_TEXT} characters."));
        }
        *target = text;
    }
}

/// A web address without credentials, which would be shown with it.
fn web_address(text: &str) -> Result<Url, &'static str> {
    let text = text.trim();
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let url = url.filter(|_| text.chars().count() <= MAX_URL).ok_or("Enter a valid http or https URL.")?;
    if url.username().is_empty() && url.password().is_none() {
        Ok(url)
    } else {
        Err("The address must not hold a user name or password; use headers.")
    }
}
