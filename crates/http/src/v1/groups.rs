//! Groups of members, what they may do, and the chatbots that they reach.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use parlance_domain::{Error, Permission, Scopes, kind};
use parlance_service::{App, listed_ids, members};
use parlance_storage::groups::{Group, GroupChatbot, GroupMember};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::{ApiErrors, ApiResult};
use crate::extract::{Authorized, Body, PageBody, Paging, PathId, PathIds, PathIds3, Reference, grants};
use crate::v1::organizations::{PermissionView, check_own, permission_id};

/// A group.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GroupView {
    id: String,
    name: String,
    organization: String,
    permissions: Vec<PermissionView>,
    created_at: String,
    updated_at: String,
}

fn view(organisation: kind::OrganisationId, group: Group) -> GroupView {
    let scopes = Scopes::parse(&group.permissions);
    let permissions = Permission::ALL.iter().copied().filter(|permission| scopes.contains(*permission));
    GroupView {
        id: group.id.to_string(),
        name: group.name,
        organization: organisation.to_string(),
        permissions: permissions.map(PermissionView::from).collect(),
        created_at: group.created_at.to_string(),
        updated_at: group.updated_at.to_string(),
    }
}

/// A group to make.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct NewGroupBody {
    name: String,
    /// Ids or names of permissions; members have these besides those of their role.
    #[schema(value_type = Vec<String>)]
    permissions: Vec<Reference>,
}

/// What may be changed of a group.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct GroupBody {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    permissions: Option<Vec<Reference>>,
}

fn permissions(references: &[Reference]) -> Result<Vec<Permission>, Error> {
    let named = references.iter().enumerate().map(|(position, reference)| {
        let known = Permission::ALL.iter().copied().find(|permission| {
            permission.name() == reference.0 || permission_id(*permission).to_string() == reference.0
        });
        known.ok_or_else(|| Error::field(format!("permissions.{position}"), "No permission has this id."))
    });
    named.collect()
}

/// List the groups, newest first.
#[utoipa::path(get, path = "/api/v1/organizations/{id}/groups/", tag = "organization",
    params(("id" = String, Path), ("page" = Option<u64>, Query), ("pageSize" = Option<u64>, Query)),
    responses((status = 200, body = PageBody<GroupView>), ApiErrors))]
pub(crate) async fn list(
    auth: Authorized<grants::ReadOrganisation>,
    State(app): State<App>,
    PathId(organisation): PathId<kind::Organisation>,
    paging: Paging,
) -> ApiResult<Json<PageBody<GroupView>>> {
    check_own(&auth.principal, organisation)?;
    let listing = members::groups(&app, &auth.principal, paging.page()).await?;
    Ok(Json(paging.answer(listing, |group| view(organisation, group))?))
}

/// Make a group.
#[utoipa::path(post, path = "/api/v1/organizations/{id}/groups/", tag = "organization", params(("id" = String, Path)),
    request_body = NewGroupBody, responses((status = 201, body = GroupView), ApiErrors))]
pub(crate) async fn create(
    auth: Authorized<grants::WriteOrganisation>,
    State(app): State<App>,
    PathId(organisation): PathId<kind::Organisation>,
    Body(body): Body<NewGroupBody>,
) -> ApiResult<(StatusCode, Json<GroupView>)> {
    check_own(&auth.principal, organisation)?;
    let group = members::add_group(&app, &auth.principal, &body.name, &permissions(&body.permissions)?).await?;
    Ok((StatusCode::CREATED, Json(view(organisation, group))))
}

/// One group.
#[utoipa::path(get, path = "/api/v1/organizations/{organization}/groups/{id}/", tag = "organization",
    params(("organization" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = GroupView), ApiErrors))]
pub(crate) async fn get(
    auth: Authorized<grants::ReadOrganisation>,
    State(app): State<App>,
    PathIds(organisation, id): PathIds<kind::Organisation, kind::Group>,
) -> ApiResult<Json<GroupView>> {
    check_own(&auth.principal, organisation)?;
    Ok(Json(view(organisation, members::group(&app, &auth.principal, id).await?)))
}

async fn change(
    auth: &Authorized<grants::WriteOrganisation>,
    app: &App,
    (organisation, id): (kind::OrganisationId, kind::GroupId),
    body: GroupBody,
) -> ApiResult<Json<GroupView>> {
    check_own(&auth.principal, organisation)?;
    let permissions = body.permissions.as_deref().map(permissions).transpose()?;
    Ok(Json(view(organisation, members::update_group(app, &auth.principal, id, body.name, permissions).await?)))
}

/// Change a group. As with PATCH, absent fields stay.
#[utoipa::path(put, path = "/api/v1/organizations/{organization}/groups/{id}/", tag = "organization",
    params(("organization" = String, Path), ("id" = String, Path)), request_body = GroupBody,
    responses((status = 200, body = GroupView), ApiErrors))]
pub(crate) async fn replace(
    auth: Authorized<grants::WriteOrganisation>,
    State(app): State<App>,
    PathIds(organisation, id): PathIds<kind::Organisation, kind::Group>,
    Body(body): Body<GroupBody>,
) -> ApiResult<Json<GroupView>> {
    change(&auth, &app, (organisation, id), body).await
}

/// Change a group.
#[utoipa::path(patch, path = "/api/v1/organizations/{organization}/groups/{id}/", tag = "organization",
    params(("organization" = String, Path), ("id" = String, Path)), request_body = GroupBody,
    responses((status = 200, body = GroupView), ApiErrors))]
pub(crate) async fn update(
    auth: Authorized<grants::WriteOrganisation>,
    State(app): State<App>,
    PathIds(organisation, id): PathIds<kind::Organisation, kind::Group>,
    Body(body): Body<GroupBody>,
) -> ApiResult<Json<GroupView>> {
    change(&auth, &app, (organisation, id), body).await
}

/// Remove a group. Its members lose what they had through it.
#[utoipa::path(delete, path = "/api/v1/organizations/{organization}/groups/{id}/", tag = "organization",
    params(("organization" = String, Path), ("id" = String, Path)), responses((status = 204), ApiErrors))]
pub(crate) async fn delete(
    auth: Authorized<grants::WriteOrganisation>,
    State(app): State<App>,
    PathIds(organisation, id): PathIds<kind::Organisation, kind::Group>,
) -> ApiResult<StatusCode> {
    check_own(&auth.principal, organisation)?;
    members::delete_group(&app, &auth.principal, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Somebody in a group.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GroupMemberView {
    id: String,
    /// Who: id and name.
    #[schema(value_type = Object)]
    user: serde_json::Value,
    created_at: String,
}

impl From<GroupMember> for GroupMemberView {
    fn from(member: GroupMember) -> Self {
        Self {
            id: member.id.to_string(),
            user: serde_json::json!({"id": member.user_id, "name": member.name}),
            created_at: member.created_at.to_string(),
        }
    }
}

/// Somebody to add to a group.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct GroupMemberBody {
    #[schema(value_type = String)]
    user: Reference,
}

/// People to add to a group.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct GroupMembersBody {
    #[schema(value_type = Vec<String>)]
    users: Vec<Reference>,
}

/// Which group: the ids of the path.
type InGroup = PathIds<kind::Organisation, kind::Group>;

/// List the members of a group, newest first.
#[utoipa::path(get, path = "/api/v1/organizations/{organization}/groups/{group}/group-members/", tag = "organization",
    params(("organization" = String, Path), ("group" = String, Path), ("page" = Option<u64>, Query),
        ("pageSize" = Option<u64>, Query)),
    responses((status = 200, body = PageBody<GroupMemberView>), ApiErrors))]
pub(crate) async fn list_members(
    auth: Authorized<grants::ReadOrganisation>,
    State(app): State<App>,
    PathIds(organisation, group): InGroup,
    paging: Paging,
) -> ApiResult<Json<PageBody<GroupMemberView>>> {
    check_own(&auth.principal, organisation)?;
    let listing = members::group_members(&app, &auth.principal, group, paging.page()).await?;
    Ok(Json(paging.answer(listing, GroupMemberView::from)?))
}

/// Add a member to a group; one who is in it stays.
#[utoipa::path(post, path = "/api/v1/organizations/{organization}/groups/{group}/group-members/", tag = "organization",
    params(("organization" = String, Path), ("group" = String, Path)), request_body = GroupMemberBody,
    responses((status = 201, body = GroupMemberView), ApiErrors))]
pub(crate) async fn add_member(
    auth: Authorized<grants::WriteOrganisation>,
    State(app): State<App>,
    PathIds(organisation, group): InGroup,
    Body(body): Body<GroupMemberBody>,
) -> ApiResult<(StatusCode, Json<GroupMemberView>)> {
    check_own(&auth.principal, organisation)?;
    members::group(&app, &auth.principal, group).await?;
    let user = vec![("user".to_owned(), body.user.require("user")?)];
    let added = members::add_group_members(&app, &auth.principal, group, user).await?;
    let added = added.into_iter().next().ok_or(Error::NotFound("group"))?;
    Ok((StatusCode::CREATED, Json(added.into())))
}

/// Add several members to a group, all or none.
#[utoipa::path(post, path = "/api/v1/organizations/{organization}/groups/{group}/group-members/bulk-create/",
    tag = "organization", params(("organization" = String, Path), ("group" = String, Path)),
    request_body = GroupMembersBody, responses((status = 201, body = Vec<GroupMemberView>), ApiErrors))]
pub(crate) async fn add_members(
    auth: Authorized<grants::WriteOrganisation>,
    State(app): State<App>,
    PathIds(organisation, group): InGroup,
    Body(body): Body<GroupMembersBody>,
) -> ApiResult<(StatusCode, Json<Vec<GroupMemberView>>)> {
    check_own(&auth.principal, organisation)?;
    members::group(&app, &auth.principal, group).await?;
    listed_ids::check_length("users", body.users.len())?;
    let mut users = Vec::with_capacity(body.users.len());
    for (position, reference) in body.users.iter().enumerate() {
        let field = format!("users.{position}");
        let user = reference.require(&field)?;
        users.push((field, user));
    }
    let added = members::add_group_members(&app, &auth.principal, group, users).await?;
    Ok((StatusCode::CREATED, Json(added.into_iter().map(GroupMemberView::from).collect())))
}

/// One membership of a group.
#[utoipa::path(get, path = "/api/v1/organizations/{organization}/groups/{group}/group-members/{id}/",
    tag = "organization", params(("organization" = String, Path), ("group" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = GroupMemberView), ApiErrors))]
pub(crate) async fn get_member(
    auth: Authorized<grants::ReadOrganisation>,
    State(app): State<App>,
    PathIds3(organisation, group, id): PathIds3<kind::Organisation, kind::Group, kind::GroupMember>,
) -> ApiResult<Json<GroupMemberView>> {
    check_own(&auth.principal, organisation)?;
    Ok(Json(members::group_member(&app, &auth.principal, group, id).await?.into()))
}

/// Take a member out of a group.
#[utoipa::path(delete, path = "/api/v1/organizations/{organization}/groups/{group}/group-members/{id}/",
    tag = "organization", params(("organization" = String, Path), ("group" = String, Path), ("id" = String, Path)),
    responses((status = 204), ApiErrors))]
pub(crate) async fn remove_member(
    auth: Authorized<grants::WriteOrganisation>,
    State(app): State<App>,
    PathIds3(organisation, group, id): PathIds3<kind::Organisation, kind::Group, kind::GroupMember>,
) -> ApiResult<StatusCode> {
    check_own(&auth.principal, organisation)?;
    members::remove_group_member(&app, &auth.principal, group, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A chatbot that the members of a group reach.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GroupChatbotView {
    id: String,
    /// Which one: id and name.
    #[schema(value_type = Object)]
    chatbot: serde_json::Value,
    created_at: String,
}

impl From<GroupChatbot> for GroupChatbotView {
    fn from(link: GroupChatbot) -> Self {
        Self {
            id: link.id.to_string(),
            chatbot: serde_json::json!({"id": link.chatbot_id, "name": link.name}),
            created_at: link.created_at.to_string(),
        }
    }
}

/// A chatbot to link to a group.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct GroupChatbotBody {
    #[schema(value_type = String)]
    chatbot: Reference,
}

/// Chatbots to link to a group.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct GroupChatbotsBody {
    #[schema(value_type = Vec<String>)]
    chatbots: Vec<Reference>,
}

/// List the chatbots of a group, newest first.
#[utoipa::path(get, path = "/api/v1/organizations/{organization}/groups/{group}/group-chatbots/", tag = "organization",
    params(("organization" = String, Path), ("group" = String, Path), ("page" = Option<u64>, Query),
        ("pageSize" = Option<u64>, Query)),
    responses((status = 200, body = PageBody<GroupChatbotView>), ApiErrors))]
pub(crate) async fn list_chatbots(
    auth: Authorized<grants::ReadOrganisation>,
    State(app): State<App>,
    PathIds(organisation, group): InGroup,
    paging: Paging,
) -> ApiResult<Json<PageBody<GroupChatbotView>>> {
    check_own(&auth.principal, organisation)?;
    let listing = members::group_chatbots(&app, &auth.principal, group, paging.page()).await?;
    Ok(Json(paging.answer(listing, GroupChatbotView::from)?))
}

/// Link a chatbot to a group; one that is linked stays. From the first one on the group's members with a role
/// below `admin` reach only chatbots of their groups.
#[utoipa::path(post, path = "/api/v1/organizations/{organization}/groups/{group}/group-chatbots/", tag = "organization",
    params(("organization" = String, Path), ("group" = String, Path)), request_body = GroupChatbotBody,
    responses((status = 201, body = GroupChatbotView), ApiErrors))]
pub(crate) async fn add_chatbot(
    auth: Authorized<grants::WriteOrganisation>,
    State(app): State<App>,
    PathIds(organisation, group): InGroup,
    Body(body): Body<GroupChatbotBody>,
) -> ApiResult<(StatusCode, Json<GroupChatbotView>)> {
    check_own(&auth.principal, organisation)?;
    members::group(&app, &auth.principal, group).await?;
    let chatbot = vec![("chatbot".to_owned(), body.chatbot.require("chatbot")?)];
    let added = members::add_group_chatbots(&app, &auth.principal, group, chatbot).await?;
    let added = added.into_iter().next().ok_or(Error::NotFound("group"))?;
    Ok((StatusCode::CREATED, Json(added.into())))
}

/// Link several chatbots to a group, all or none.
#[utoipa::path(post, path = "/api/v1/organizations/{organization}/groups/{group}/group-chatbots/bulk-create/",
    tag = "organization", params(("organization" = String, Path), ("group" = String, Path)),
    request_body = GroupChatbotsBody, responses((status = 201, body = Vec<GroupChatbotView>), ApiErrors))]
pub(crate) async fn add_chatbots(
    auth: Authorized<grants::WriteOrganisation>,
    State(app): State<App>,
    PathIds(organisation, group): InGroup,
    Body(body): Body<GroupChatbotsBody>,
) -> ApiResult<(StatusCode, Json<Vec<GroupChatbotView>>)> {
    check_own(&auth.principal, organisation)?;
    members::group(&app, &auth.principal, group).await?;
    listed_ids::check_length("chatbots", body.chatbots.len())?;
    let mut chatbots = Vec::with_capacity(body.chatbots.len());
    for (position, reference) in body.chatbots.iter().enumerate() {
        let field = format!("chatbots.{position}");
        let chatbot = reference.require(&field)?;
        chatbots.push((field, chatbot));
    }
    let added = members::add_group_chatbots(&app, &auth.principal, group, chatbots).await?;
    Ok((StatusCode::CREATED, Json(added.into_iter().map(GroupChatbotView::from).collect())))
}

/// Unlink a chatbot from a group. A group without any limits nobody.
#[utoipa::path(delete, path = "/api/v1/organizations/{organization}/groups/{group}/group-chatbots/{id}/",
    tag = "organization", params(("organization" = String, Path), ("group" = String, Path), ("id" = String, Path)),
    responses((status = 204), ApiErrors))]
pub(crate) async fn remove_chatbot(
    auth: Authorized<grants::WriteOrganisation>,
    State(app): State<App>,
    PathIds3(organisation, group, id): PathIds3<kind::Organisation, kind::Group, kind::GroupChatbot>,
) -> ApiResult<StatusCode> {
    check_own(&auth.principal, organisation)?;
    members::remove_group_chatbot(&app, &auth.principal, group, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
