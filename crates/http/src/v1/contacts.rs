//! Contacts: the people who write. Existing clients read some members in camelCase and some in
//! `snake_case`, so both spellings are answered.

use axum::Json;
use axum::extract::{RawQuery, State};
use http::StatusCode;
use parlance_domain::kind;
use parlance_service::App;
use parlance_service::contacts::{self, ContactDraft, ContactView};
use parlance_storage::contact_credentials::ShownCredential;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::error::{ApiErrors, ApiResult};
use crate::extract::{Authorized, Body, EitherPaging, PageBody, Patch, PathId, Query, Reference, grants, patch};
use crate::v1::chatbots::IdName;

/// A contact, as it is asked for. Absent fields stay as they are.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ContactBody {
    /// Required for a new one.
    name: Option<String>,
    /// Address of a picture.
    #[serde(default, deserialize_with = "patch")]
    #[schema(value_type = Option<String>)]
    avatar: Patch<String>,
    #[serde(default, deserialize_with = "patch")]
    #[schema(value_type = Option<String>)]
    phone_number: Patch<String>,
    #[serde(default, deserialize_with = "patch")]
    #[schema(value_type = Option<String>)]
    email: Patch<String>,
    /// What the embedding site calls them; unique within an inbox.
    #[serde(default, deserialize_with = "patch")]
    #[schema(value_type = Option<String>)]
    source_id: Patch<String>,
    /// What retrieval is narrowed to for them.
    #[serde(default, deserialize_with = "patch")]
    #[schema(value_type = Option<Object>)]
    query_metadata: Patch<Value>,
    /// The inboxes they write to.
    #[schema(value_type = Option<Vec<Object>>)]
    inboxes: Option<Vec<Reference>>,
    /// The one inbox they write to; ignored where `inboxes` is given.
    #[schema(value_type = Option<Object>)]
    inbox: Option<Reference>,
}

impl ContactBody {
    fn draft(self) -> ApiResult<ContactDraft> {
        let inboxes = match (&self.inboxes, &self.inbox) {
            (Some(inboxes), _) => {
                let ids = Reference::require_all::<kind::Inbox>(inboxes, "inboxes")?;
                Some(ids.into_iter().enumerate().map(|(place, id)| (format!("inboxes.{place}.id"), id)).collect())
            }
            (None, Some(inbox)) => Some(vec![("inbox".to_owned(), inbox.require("inbox")?)]),
            (None, None) => None,
        };
        Ok(ContactDraft {
            name: self.name,
            avatar: self.avatar,
            phone_number: self.phone_number,
            email: self.email,
            source_id: self.source_id,
            query_metadata: self.query_metadata,
            inboxes,
        })
    }
}

/// What a contact has for a tool. The headers are never shown.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CredentialView {
    id: String,
    tool_id: String,
    tool: CredentialTool,
    created_at: String,
    updated_at: String,
}

/// The tool of a credential.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct CredentialTool {
    id: String,
    name: String,
}

impl From<ShownCredential> for CredentialView {
    fn from(credential: ShownCredential) -> Self {
        let tool_id = credential.tool_id.to_string();
        Self {
            id: credential.id.to_string(),
            tool: CredentialTool { id: tool_id.clone(), name: credential.tool_name },
            tool_id,
            created_at: credential.created_at.to_string(),
            updated_at: credential.updated_at.to_string(),
        }
    }
}

/// A contact.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ContactOut {
    id: String,
    name: String,
    avatar: Option<String>,
    phone_number: Option<String>,
    email: Option<String>,
    source_id: Option<String>,
    inboxes: Vec<IdName>,
    /// The first of the inboxes.
    inbox: Option<IdName>,
    #[schema(value_type = Option<Object>)]
    query_metadata: Option<Value>,
    /// What is stored for tools, without the headers.
    mcp_credentials: Vec<CredentialView>,
    created_at: String,
    updated_at: String,
    #[serde(flatten)]
    other_spelling: OtherSpelling,
}

/// The same once more.
#[derive(Debug, Serialize, ToSchema)]
struct OtherSpelling {
    phone_number: Option<String>,
    source_id: Option<String>,
    #[schema(value_type = Option<Object>)]
    query_metadata: Option<Value>,
    mcp_credentials: Vec<CredentialView>,
    created_at: String,
    updated_at: String,
}

pub(crate) fn out(view: ContactView) -> ContactOut {
    let contact = view.contact;
    let query_metadata: Option<Value> = contact.query_metadata.and_then(|text| serde_json::from_str(&text).ok());
    let mcp_credentials: Vec<CredentialView> = view.credentials.into_iter().map(Into::into).collect();
    let inbox = |(id, name): &(kind::InboxId, String)| IdName { id: id.to_string(), name: name.clone() };
    let (created_at, updated_at) = (contact.created_at.to_string(), contact.updated_at.to_string());
    ContactOut {
        id: contact.id.to_string(),
        name: contact.name,
        avatar: contact.avatar,
        phone_number: contact.phone_number.clone(),
        email: contact.email,
        source_id: contact.source_id.clone(),
        inboxes: view.inboxes.iter().map(inbox).collect(),
        inbox: view.inboxes.first().map(inbox),
        query_metadata: query_metadata.clone(),
        mcp_credentials: mcp_credentials.clone(),
        created_at: created_at.clone(),
        updated_at: updated_at.clone(),
        other_spelling: OtherSpelling {
            phone_number: contact.phone_number,
            source_id: contact.source_id,
            query_metadata,
            mcp_credentials,
            created_at,
            updated_at,
        },
    }
}

/// What a list is narrowed to.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(crate) struct ContactFilter {
    /// Part of the name, e-mail address, phone number or source id.
    query: Option<String>,
    /// Another name of `query`.
    search: Option<String>,
    /// Another name of `query`.
    keyword: Option<String>,
}

/// The inboxes that a query string names as `inbox` or `inboxes`, repeated or joined by commas.
/// `None` where it names none; what is no id matches nothing.
pub(crate) fn inboxes_of(query: Option<&str>) -> Option<Vec<kind::InboxId>> {
    let pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let mut ids = Vec::new();
    for (_, value) in pairs.filter(|(key, _)| matches!(key.as_ref(), "inbox" | "inboxes" | "inboxes[]")) {
        let named = value.split(',').map(str::trim).filter(|id| !id.is_empty());
        ids.extend(named.map(|id| kind::InboxId::parse(id).unwrap_or(kind::InboxId::from_uuid(uuid::Uuid::nil()))));
    }
    (!ids.is_empty()).then_some(ids)
}

/// List the contacts, newest first: by `page` and `pageSize`, or by `limit` and `offset`.
#[utoipa::path(get, path = "/api/v1/contacts/", tag = "contacts",
    params(ContactFilter, ("inbox" = Option<String>, Query), ("inboxes" = Option<String>, Query),
        ("page" = Option<u64>, Query), ("pageSize" = Option<u64>, Query), ("limit" = Option<u64>, Query),
        ("offset" = Option<u64>, Query)),
    responses((status = 200, body = PageBody<ContactOut>), ApiErrors))]
pub(crate) async fn list(
    auth: Authorized<grants::ReadContacts>,
    State(app): State<App>,
    Query(filter): Query<ContactFilter>,
    RawQuery(query): RawQuery,
    paging: EitherPaging,
) -> ApiResult<Json<PageBody<ContactOut>>> {
    let keyword = [filter.query, filter.search, filter.keyword].into_iter().flatten();
    let keyword = keyword.map(|keyword| keyword.trim().to_owned()).find(|keyword| !keyword.is_empty());
    let narrowed = (keyword.as_deref(), inboxes_of(query.as_deref()));
    let listing = contacts::list(&app, auth.tenant(), narrowed, paging.page()).await?;
    Ok(Json(paging.answer(listing, out)?))
}

/// Add a contact.
#[utoipa::path(post, path = "/api/v1/contacts/", tag = "contacts", request_body = ContactBody,
    responses((status = 201, body = ContactOut), ApiErrors))]
pub(crate) async fn create(
    auth: Authorized<grants::WriteContacts>,
    State(app): State<App>,
    Body(body): Body<ContactBody>,
) -> ApiResult<(StatusCode, Json<ContactOut>)> {
    let view = contacts::create(&app, auth.tenant(), body.draft()?).await?;
    Ok((StatusCode::CREATED, Json(out(view))))
}

/// One contact.
#[utoipa::path(get, path = "/api/v1/contacts/{id}/", tag = "contacts", params(("id" = String, Path)),
    responses((status = 200, body = ContactOut), ApiErrors))]
pub(crate) async fn get(
    auth: Authorized<grants::ReadContacts>,
    State(app): State<App>,
    PathId(id): PathId<kind::Contact>,
) -> ApiResult<Json<ContactOut>> {
    Ok(Json(out(contacts::get(&app, auth.tenant(), id).await?)))
}

/// Change a contact. As with PATCH, absent fields stay.
#[utoipa::path(put, path = "/api/v1/contacts/{id}/", tag = "contacts", params(("id" = String, Path)),
    request_body = ContactBody, responses((status = 200, body = ContactOut), ApiErrors))]
pub(crate) async fn replace(
    auth: Authorized<grants::WriteContacts>,
    State(app): State<App>,
    PathId(id): PathId<kind::Contact>,
    Body(body): Body<ContactBody>,
) -> ApiResult<Json<ContactOut>> {
    Ok(Json(out(contacts::update(&app, auth.tenant(), id, body.draft()?).await?)))
}

/// Change a contact.
#[utoipa::path(patch, path = "/api/v1/contacts/{id}/", tag = "contacts", params(("id" = String, Path)),
    request_body = ContactBody, responses((status = 200, body = ContactOut), ApiErrors))]
pub(crate) async fn update(
    auth: Authorized<grants::WriteContacts>,
    State(app): State<App>,
    PathId(id): PathId<kind::Contact>,
    Body(body): Body<ContactBody>,
) -> ApiResult<Json<ContactOut>> {
    Ok(Json(out(contacts::update(&app, auth.tenant(), id, body.draft()?).await?)))
}

/// Remove a contact; their conversations stay and their source id is free again.
#[utoipa::path(delete, path = "/api/v1/contacts/{id}/", tag = "contacts", params(("id" = String, Path)),
    responses((status = 204), ApiErrors))]
pub(crate) async fn delete(
    auth: Authorized<grants::WriteContacts>,
    State(app): State<App>,
    PathId(id): PathId<kind::Contact>,
) -> ApiResult<StatusCode> {
    contacts::delete(&app, auth.tenant(), id).await?;
    Ok(StatusCode::NO_CONTENT)
}
