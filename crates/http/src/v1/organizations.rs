//! The organisation, its members, users, and what they may be allowed.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use parlance_domain::{Error, Permission, Principal, kind};
use parlance_service::members::{self, Change};
use parlance_service::storage_quota::{self, Usage};
use parlance_service::{App, first_start};
use parlance_storage::members::Member;
use parlance_storage::organisations::Organisation;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::error::{ApiErrors, ApiResult};
use crate::extract::{Authorized, Body, PageBody, Paging, PathId, PathIds, grants};

/// An organisation.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OrganizationView {
    id: String,
    name: String,
    /// IANA name. Statistics and hours of automatic replies go by it.
    time_zone: String,
    /// Bytes of files that are stored: knowledge, attachments, pictures, uploads that nothing uses yet.
    stored_bytes: u64,
    /// Bytes that may be stored; null for any number.
    stored_bytes_limit: Option<u64>,
    created_at: String,
}

fn view(organisation: Organisation, usage: Usage) -> OrganizationView {
    OrganizationView {
        id: organisation.id.to_string(),
        name: organisation.name,
        time_zone: organisation.time_zone,
        stored_bytes: usage.stored,
        stored_bytes_limit: usage.quota,
        created_at: organisation.created_at.to_string(),
    }
}

/// The caller's own organisation.
async fn own_view(app: &App, principal: &Principal, own: Organisation) -> ApiResult<OrganizationView> {
    Ok(view(own, storage_quota::usage(app, principal.tenant).await?))
}

/// What may be changed of an organisation.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OrganizationBody {
    #[serde(default)]
    name: Option<String>,
    /// IANA name, such as `Asia/Taipei`.
    #[serde(default)]
    time_zone: Option<String>,
}

/// There is the caller's own organisation and no other.
pub(crate) fn check_own(principal: &Principal, id: kind::OrganisationId) -> Result<(), Error> {
    if principal.tenant.organisation() == id { Ok(()) } else { Err(Error::NotFound("organisation")) }
}

/// List the organisations that the key acts for: one.
#[utoipa::path(get, path = "/api/v1/organizations/", tag = "organization",
    params(("page" = Option<u64>, Query), ("pageSize" = Option<u64>, Query)),
    responses((status = 200, body = PageBody<OrganizationView>), ApiErrors))]
pub(crate) async fn list(
    auth: Authorized<grants::ReadOrganisation>,
    State(app): State<App>,
    paging: Paging,
) -> ApiResult<Json<PageBody<OrganizationView>>> {
    let own = members::organisation(&app, &auth.principal).await?;
    let own = own_view(&app, &auth.principal, own).await?;
    let rows = if paging.page().offset == 0 { vec![own] } else { Vec::new() };
    Ok(Json(paging.answer(parlance_storage::Listing { rows, total: 1 }, std::convert::identity)?))
}

/// An organisation to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NewOrganizationBody {
    name: String,
    /// IANA name; `Asia/Taipei` when absent.
    #[serde(default)]
    time_zone: Option<String>,
}

/// An organisation that was just made.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NewOrganizationView {
    #[serde(flatten)]
    organization: OrganizationView,
    /// The key of its owner, with all scopes. It is shown this once.
    api_key: String,
}

/// Make another organisation, with an owner, an assistant and its web chat. Only an owner of the first
/// organisation may, with a key that has all scopes; they have no part in the new one but its key.
#[utoipa::path(post, path = "/api/v1/organizations/", tag = "organization", request_body = NewOrganizationBody,
    responses((status = 201, body = NewOrganizationView), ApiErrors))]
pub(crate) async fn create(
    auth: Authorized<grants::WriteOrganisation>,
    State(app): State<App>,
    Body(body): Body<NewOrganizationBody>,
) -> ApiResult<(StatusCode, Json<NewOrganizationView>)> {
    let zone = body.time_zone.as_deref();
    let (made, api_key) = first_start::add_organisation(&app, &auth.principal, &body.name, zone).await?;
    let nothing_stored = Usage { stored: 0, quota: storage_quota::usage(&app, auth.principal.tenant).await?.quota };
    let organization = view(made, nothing_stored);
    Ok((StatusCode::CREATED, Json(NewOrganizationView { organization, api_key })))
}

/// The organisation.
#[utoipa::path(get, path = "/api/v1/organizations/{id}/", tag = "organization", params(("id" = String, Path)),
    responses((status = 200, body = OrganizationView), ApiErrors))]
pub(crate) async fn get(
    auth: Authorized<grants::ReadOrganisation>,
    State(app): State<App>,
    PathId(id): PathId<kind::Organisation>,
) -> ApiResult<Json<OrganizationView>> {
    check_own(&auth.principal, id)?;
    let own = members::organisation(&app, &auth.principal).await?;
    Ok(Json(own_view(&app, &auth.principal, own).await?))
}

async fn change(
    auth: &Authorized<grants::WriteOrganisation>,
    app: &App,
    id: kind::OrganisationId,
    body: OrganizationBody,
) -> ApiResult<Json<OrganizationView>> {
    check_own(&auth.principal, id)?;
    let changed = members::update_organisation(app, &auth.principal, body.name, body.time_zone).await?;
    Ok(Json(own_view(app, &auth.principal, changed).await?))
}

/// Change name or time zone. As with PATCH, absent fields stay.
#[utoipa::path(put, path = "/api/v1/organizations/{id}/", tag = "organization", params(("id" = String, Path)),
    request_body = OrganizationBody, responses((status = 200, body = OrganizationView), ApiErrors))]
pub(crate) async fn replace(
    auth: Authorized<grants::WriteOrganisation>,
    State(app): State<App>,
    PathId(id): PathId<kind::Organisation>,
    Body(body): Body<OrganizationBody>,
) -> ApiResult<Json<OrganizationView>> {
    change(&auth, &app, id, body).await
}

/// Change name or time zone.
#[utoipa::path(patch, path = "/api/v1/organizations/{id}/", tag = "organization", params(("id" = String, Path)),
    request_body = OrganizationBody, responses((status = 200, body = OrganizationView), ApiErrors))]
pub(crate) async fn update(
    auth: Authorized<grants::WriteOrganisation>,
    State(app): State<App>,
    PathId(id): PathId<kind::Organisation>,
    Body(body): Body<OrganizationBody>,
) -> ApiResult<Json<OrganizationView>> {
    change(&auth, &app, id, body).await
}

/// Somebody of the organisation.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MemberView {
    id: String,
    name: String,
    email: Option<String>,
    /// `owner`, `admin`, `member` or `viewer`.
    role: String,
    created_at: String,
}

impl From<Member> for MemberView {
    fn from(member: Member) -> Self {
        Self {
            id: member.id.to_string(),
            name: member.name,
            email: member.email,
            role: member.role,
            created_at: member.created_at.to_string(),
        }
    }
}

/// Somebody to add.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct NewMemberBody {
    name: String,
    #[serde(default)]
    email: Option<String>,
    /// `owner`, `admin`, `member` (default) or `viewer`.
    #[serde(default)]
    role: Option<String>,
}

/// What may be changed of somebody.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct MemberBody {
    #[serde(default)]
    name: Option<String>,
    /// Empty for none.
    #[serde(default)]
    email: Option<String>,
    #[serde(default)]
    role: Option<String>,
}

impl From<MemberBody> for Change {
    fn from(body: MemberBody) -> Self {
        Self { name: body.name, email: body.email, role: body.role }
    }
}

/// List the members, newest first.
#[utoipa::path(get, path = "/api/v1/organizations/{id}/members/", tag = "organization",
    params(("id" = String, Path), ("page" = Option<u64>, Query), ("pageSize" = Option<u64>, Query)),
    responses((status = 200, body = PageBody<MemberView>), ApiErrors))]
pub(crate) async fn members(
    auth: Authorized<grants::ReadOrganisation>,
    State(app): State<App>,
    PathId(id): PathId<kind::Organisation>,
    paging: Paging,
) -> ApiResult<Json<PageBody<MemberView>>> {
    check_own(&auth.principal, id)?;
    let listing = members::list(&app, &auth.principal, paging.page()).await?;
    Ok(Json(paging.answer(listing, MemberView::from)?))
}

/// Add a member. They get no credential by this; somebody makes them an API key.
#[utoipa::path(post, path = "/api/v1/organizations/{id}/members/", tag = "organization", params(("id" = String, Path)),
    request_body = NewMemberBody, responses((status = 201, body = MemberView), ApiErrors))]
pub(crate) async fn add_member(
    auth: Authorized<grants::WriteOrganisation>,
    State(app): State<App>,
    PathId(id): PathId<kind::Organisation>,
    Body(body): Body<NewMemberBody>,
) -> ApiResult<(StatusCode, Json<MemberView>)> {
    check_own(&auth.principal, id)?;
    let (email, role) = (body.email.unwrap_or_default(), body.role.as_deref().unwrap_or("member"));
    let added = members::add(&app, &auth.principal, &body.name, &email, role).await?;
    Ok((StatusCode::CREATED, Json(added.into())))
}

/// One member.
#[utoipa::path(get, path = "/api/v1/organizations/{organization}/members/{id}/", tag = "organization",
    params(("organization" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = MemberView), ApiErrors))]
pub(crate) async fn member(
    auth: Authorized<grants::ReadOrganisation>,
    State(app): State<App>,
    PathIds(organisation, id): PathIds<kind::Organisation, kind::User>,
) -> ApiResult<Json<MemberView>> {
    check_own(&auth.principal, organisation)?;
    Ok(Json(members::get(&app, &auth.principal, id).await?.into()))
}

/// Change a member's name, address or role. It counts within five seconds; the last owner stays one.
#[utoipa::path(patch, path = "/api/v1/organizations/{organization}/members/{id}/", tag = "organization",
    params(("organization" = String, Path), ("id" = String, Path)), request_body = MemberBody,
    responses((status = 200, body = MemberView), ApiErrors))]
pub(crate) async fn update_member(
    auth: Authorized<grants::WriteOrganisation>,
    State(app): State<App>,
    PathIds(organisation, id): PathIds<kind::Organisation, kind::User>,
    Body(body): Body<MemberBody>,
) -> ApiResult<Json<MemberView>> {
    check_own(&auth.principal, organisation)?;
    Ok(Json(members::update(&app, &auth.principal, id, body.into()).await?.into()))
}

/// Remove a member. Their API keys stop working within five seconds, and their streams end.
#[utoipa::path(delete, path = "/api/v1/organizations/{organization}/members/{id}/", tag = "organization",
    params(("organization" = String, Path), ("id" = String, Path)), responses((status = 204), ApiErrors))]
pub(crate) async fn remove_member(
    auth: Authorized<grants::WriteOrganisation>,
    State(app): State<App>,
    PathIds(organisation, id): PathIds<kind::Organisation, kind::User>,
) -> ApiResult<StatusCode> {
    check_own(&auth.principal, organisation)?;
    members::remove(&app, &auth.principal, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List the users of the organisation, newest first: its members.
#[utoipa::path(get, path = "/api/v1/users/", tag = "organization",
    params(("page" = Option<u64>, Query), ("pageSize" = Option<u64>, Query)),
    responses((status = 200, body = PageBody<MemberView>), ApiErrors))]
pub(crate) async fn users(
    auth: Authorized<grants::ReadOrganisation>,
    State(app): State<App>,
    paging: Paging,
) -> ApiResult<Json<PageBody<MemberView>>> {
    let listing = members::list(&app, &auth.principal, paging.page()).await?;
    Ok(Json(paging.answer(listing, MemberView::from)?))
}

/// One user.
#[utoipa::path(get, path = "/api/v1/users/{id}/", tag = "organization", params(("id" = String, Path)),
    responses((status = 200, body = MemberView), ApiErrors))]
pub(crate) async fn user(
    auth: Authorized<grants::ReadOrganisation>,
    State(app): State<App>,
    PathId(id): PathId<kind::User>,
) -> ApiResult<Json<MemberView>> {
    Ok(Json(members::get(&app, &auth.principal, id).await?.into()))
}

/// Change a user. As with PATCH, absent fields stay.
#[utoipa::path(put, path = "/api/v1/users/{id}/", tag = "organization", params(("id" = String, Path)),
    request_body = MemberBody, responses((status = 200, body = MemberView), ApiErrors))]
pub(crate) async fn replace_user(
    auth: Authorized<grants::WriteOrganisation>,
    State(app): State<App>,
    PathId(id): PathId<kind::User>,
    Body(body): Body<MemberBody>,
) -> ApiResult<Json<MemberView>> {
    Ok(Json(members::update(&app, &auth.principal, id, body.into()).await?.into()))
}

/// Change a user.
#[utoipa::path(patch, path = "/api/v1/users/{id}/", tag = "organization", params(("id" = String, Path)),
    request_body = MemberBody, responses((status = 200, body = MemberView), ApiErrors))]
pub(crate) async fn update_user(
    auth: Authorized<grants::WriteOrganisation>,
    State(app): State<App>,
    PathId(id): PathId<kind::User>,
    Body(body): Body<MemberBody>,
) -> ApiResult<Json<MemberView>> {
    Ok(Json(members::update(&app, &auth.principal, id, body.into()).await?.into()))
}

/// The user behind the key.
#[utoipa::path(get, path = "/api/v1/users/current/", tag = "organization",
    responses((status = 200, body = MemberView), ApiErrors))]
pub(crate) async fn current_user(
    auth: Authorized<grants::ReadOrganisation>,
    State(app): State<App>,
) -> ApiResult<Json<MemberView>> {
    Ok(Json(members::current(&app, &auth.principal).await?.into()))
}

async fn change_current(
    auth: &Authorized<grants::WriteOrganisation>,
    app: &App,
    body: MemberBody,
) -> ApiResult<Json<MemberView>> {
    let own = members::current(app, &auth.principal).await?;
    Ok(Json(members::update(app, &auth.principal, own.id, body.into()).await?.into()))
}

/// Change the user behind the key. As with PATCH, absent fields stay.
#[utoipa::path(put, path = "/api/v1/users/current/", tag = "organization", request_body = MemberBody,
    responses((status = 200, body = MemberView), ApiErrors))]
pub(crate) async fn replace_current_user(
    auth: Authorized<grants::WriteOrganisation>,
    State(app): State<App>,
    Body(body): Body<MemberBody>,
) -> ApiResult<Json<MemberView>> {
    change_current(&auth, &app, body).await
}

/// Change the user behind the key.
#[utoipa::path(patch, path = "/api/v1/users/current/", tag = "organization", request_body = MemberBody,
    responses((status = 200, body = MemberView), ApiErrors))]
pub(crate) async fn update_current_user(
    auth: Authorized<grants::WriteOrganisation>,
    State(app): State<App>,
    Body(body): Body<MemberBody>,
) -> ApiResult<Json<MemberView>> {
    change_current(&auth, &app, body).await
}

/// Something that may be allowed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PermissionView {
    /// The same everywhere and always, made from the name.
    id: String,
    /// As in the scopes of keys.
    name: String,
}

/// The id under which a permission is named in groups.
pub(crate) fn permission_id(permission: Permission) -> Uuid {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(format!("parlance permission {}", permission.name()).as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

impl From<Permission> for PermissionView {
    fn from(permission: Permission) -> Self {
        Self { id: permission_id(permission).to_string(), name: permission.name().to_owned() }
    }
}

/// List everything that may be allowed.
#[utoipa::path(get, path = "/api/v1/permissions/", tag = "organization",
    responses((status = 200, body = Vec<PermissionView>), ApiErrors))]
pub(crate) async fn permissions(_auth: Authorized<grants::ReadOrganisation>) -> Json<Vec<PermissionView>> {
    Json(Permission::ALL.iter().copied().map(PermissionView::from).collect())
}
