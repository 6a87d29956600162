//! The organisation, its people and their groups.

use parlance_domain::kind::{ChatbotId, GroupChatbotId, GroupId, GroupMemberId, UserId};
use parlance_domain::{Error, Permission, Principal, Result, Role, Scopes, Tenant};
use parlance_storage::groups::{self, Group, GroupChatbot, GroupMember};
use parlance_storage::members::{self, Member};
use parlance_storage::organisations::{self, Organisation};
use parlance_storage::row_lock::{Row, lock};
use parlance_storage::{Listing, Page, Tx, chatbots};

use crate::App;

/// Characters of a name.
const MAX_NAME: usize = 255;
/// Characters of an e-mail address.
const MAX_EMAIL: usize = 254;

/// The caller's organisation.
pub async fn organisation(app: &App, principal: &Principal) -> Result<Organisation> {
    let mut tx = app.db.read(principal.tenant).await?;
    organisations::get(&mut tx, principal.tenant).await?.ok_or(Error::NotFound("organisation"))
}

/// Changes the name or the time zone of the caller's organisation.
pub async fn update_organisation(
    app: &App,
    principal: &Principal,
    name: Option<String>,
    time_zone: Option<String>,
) -> Result<Organisation> {
    let name = name.map(|name| checked_name(&name)).transpose()?;
    let time_zone = time_zone.map(|zone| checked_time_zone(&zone)).transpose()?;
    let tenant = principal.tenant;
    app.db
        .write(tenant, move |tx| {
            Box::pin(async move {
                lock(tx, tenant, Row::Organisation).await?;
                let known = organisations::get(tx, tenant).await?;
                let mut changed = known.ok_or(Error::NotFound("organisation"))?;
                changed.name = name.unwrap_or(changed.name);
                changed.time_zone = time_zone.unwrap_or(changed.time_zone);
                organisations::update(tx, tenant, &changed).await?;
                Ok(changed)
            })
        })
        .await
}

/// The IANA name of a time zone as it is usually written.
pub(crate) fn checked_time_zone(zone: &str) -> Result<String> {
    let known = jiff::tz::TimeZone::get(zone.trim()).ok();
    let name = known.as_ref().and_then(jiff::tz::TimeZone::iana_name).map(str::to_owned);
    name.ok_or_else(|| Error::field("timeZone", "This is no name of a time zone, such as Asia/Taipei."))
}

/// The name of an organisation, a person or a group.
pub(crate) fn checked_name(name: &str) -> Result<String> {
    let name = name.trim();
    if name.is_empty() {
        return Err(Error::field("name", "This field may not be blank."));
    }
    if name.chars().count() > MAX_NAME {
        return Err(Error::field("name", format!("Ensure this field has no more than {MAX_NAME} characters.")));
    }
    Ok(name.to_owned())
}

fn checked_email(email: &str) -> Result<Option<String>> {
    let email = email.trim();
    if email.is_empty() {
        return Ok(None);
    }
    let is_good = email.len() <= MAX_EMAIL
        && email.split_once('@').is_some_and(|(local, host)| !local.is_empty() && host.contains('.'))
        && !email.chars().any(|character| character.is_whitespace() || character.is_control());
    if is_good { Ok(Some(email.to_owned())) } else { Err(Error::field("email", "Enter a valid email address.")) }
}

fn checked_role(role: &str) -> Result<Role> {
    Role::parse(role).ok_or_else(|| Error::field("role", "Choose one of owner, admin, member and viewer."))
}

/// The members of the caller's organisation, newest first.
pub async fn list(app: &App, principal: &Principal, page: Page) -> Result<Listing<Member>> {
    let mut tx = app.db.read(principal.tenant).await?;
    members::list(&mut tx, principal.tenant, page).await
}

/// One member.
pub async fn get(app: &App, principal: &Principal, id: UserId) -> Result<Member> {
    let mut tx = app.db.read(principal.tenant).await?;
    members::get(&mut tx, principal.tenant, id).await?.ok_or(Error::NotFound("user"))
}

/// The user behind the credential.
pub async fn current(app: &App, principal: &Principal) -> Result<Member> {
    let id = principal.user.ok_or(Error::NotFound("user"))?;
    get(app, principal, id).await
}

/// What is asked to change of a member.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// Another name.
    pub name: Option<String>,
    /// Another e-mail address; empty for none.
    pub email: Option<String>,
    /// Another role.
    pub role: Option<String>,
}

/// Only admins and owners decide about roles, and only owners about owners.
async fn check_may_set(tx: &mut Tx, principal: &Principal, roles: &[Role]) -> Result<()> {
    let id = principal.user.ok_or(Error::NotFound("user"))?;
    let own = members::get(tx, principal.tenant, id).await?.ok_or(Error::NotFound("user"))?;
    let own = Role::parse(&own.role).unwrap_or(Role::Viewer);
    let enough = match own {
        Role::Owner => true,
        Role::Admin => !roles.contains(&Role::Owner),
        Role::Member | Role::Viewer => false,
    };
    if enough { Ok(()) } else { Err(Error::Forbidden("role")) }
}

/// Adds a member.
pub async fn add(app: &App, principal: &Principal, name: &str, email: &str, role: &str) -> Result<Member> {
    let role = checked_role(role)?;
    let member = Member {
        id: app.new_id(),
        name: checked_name(name)?,
        email: checked_email(email)?,
        role: role.name().to_owned(),
        created_at: app.now(),
    };
    let (principal, tenant, row) = (*principal, principal.tenant, member.clone());
    app.db
        .write(tenant, move |tx| {
            Box::pin(async move {
                check_may_set(tx, &principal, &[role]).await?;
                members::insert(tx, tenant, &row).await
            })
        })
        .await?;
    Ok(member)
}

/// Changes a member. The last owner stays one.
pub async fn update(app: &App, principal: &Principal, id: UserId, change: Change) -> Result<Member> {
    let name = change.name.map(|name| checked_name(&name)).transpose()?;
    let email = change.email.map(|email| checked_email(&email)).transpose()?;
    let role = change.role.map(|role| checked_role(&role)).transpose()?;
    let (principal, tenant) = (*principal, principal.tenant);
    let changed = app
        .db
        .write(tenant, move |tx| {
            Box::pin(async move {
                // Not the member's row alone: two owners who step down at once must see each other.
                lock(tx, tenant, Row::Organisation).await?;
                let mut member = members::get(tx, tenant, id).await?.ok_or(Error::NotFound("user"))?;
                let old = Role::parse(&member.role).unwrap_or(Role::Viewer);
                let new = role.unwrap_or(old);
                // Somebody else's name and address are theirs, or those of who decides about their role.
                if old != new || principal.user != Some(id) {
                    check_may_set(tx, &principal, &[old, new]).await?;
                }
                check_an_owner_stays(tx, tenant, old, new).await?;
                member.name = name.unwrap_or(member.name);
                member.email = email.unwrap_or(member.email);
                new.name().clone_into(&mut member.role);
                let known = members::update(tx, tenant, &member).await?;
                if known { Ok(member) } else { Err(Error::NotFound("user")) }
            })
        })
        .await?;
    app.keys.forget_organisation(tenant);
    Ok(changed)
}

async fn check_an_owner_stays(tx: &mut Tx, tenant: Tenant, old: Role, new: Role) -> Result<()> {
    let steps_down = old == Role::Owner && new != Role::Owner;
    if steps_down && members::count_role(tx, tenant, Role::Owner.name()).await? < 2 {
        return Err(Error::field("role", "The last owner stays one; make another one first."));
    }
    Ok(())
}

/// Removes a member; their API keys stop working.
pub async fn remove(app: &App, principal: &Principal, id: UserId) -> Result<()> {
    let (principal, tenant, now) = (*principal, principal.tenant, app.now());
    let known = app
        .db
        .write(tenant, move |tx| {
            Box::pin(async move {
                lock(tx, tenant, Row::Organisation).await?;
                let member = members::get(tx, tenant, id).await?.ok_or(Error::NotFound("user"))?;
                let role = Role::parse(&member.role).unwrap_or(Role::Viewer);
                check_may_set(tx, &principal, &[role]).await?;
                if role == Role::Owner && members::count_role(tx, tenant, role.name()).await? < 2 {
                    return Err(Error::Conflict(
                        "The last owner cannot be removed; make another one first.".to_owned(),
                    ));
                }
                members::remove(tx, tenant, id, now).await
            })
        })
        .await?;
    app.keys.forget_organisation(tenant);
    if known { Ok(()) } else { Err(Error::NotFound("user")) }
}

/// The groups of the caller's organisation, newest first.
pub async fn groups(app: &App, principal: &Principal, page: Page) -> Result<Listing<Group>> {
    let mut tx = app.db.read(principal.tenant).await?;
    groups::list(&mut tx, principal.tenant, page).await
}

/// One group.
pub async fn group(app: &App, principal: &Principal, id: GroupId) -> Result<Group> {
    let mut tx = app.db.read(principal.tenant).await?;
    groups::get(&mut tx, principal.tenant, id).await?.ok_or(Error::NotFound("group"))
}

/// What a group may be given by somebody who has these permissions themselves.
fn checked_permissions(principal: &Principal, permissions: &[Permission]) -> Result<String> {
    for (position, permission) in permissions.iter().enumerate() {
        if !principal.scopes.contains(*permission) {
            let message = format!("You do not have the permission {} yourself.", permission.name());
            return Err(Error::field(format!("permissions.{position}"), message));
        }
    }
    Ok(permissions.iter().copied().collect::<Scopes>().to_string())
}

/// Makes a group.
///
/// # Errors
/// Wrong fields; `Refused` for somebody whom groups limit.
pub async fn add_group(app: &App, principal: &Principal, name: &str, permissions: &[Permission]) -> Result<Group> {
    check_is_unlimited(principal)?;
    let now = app.now();
    let group = Group {
        id: app.new_id(),
        name: checked_name(name)?,
        permissions: checked_permissions(principal, permissions)?,
        created_at: now,
        updated_at: now,
    };
    let (tenant, row) = (principal.tenant, group.clone());
    app.db.write(tenant, move |tx| Box::pin(async move { groups::insert(tx, tenant, &row).await })).await?;
    Ok(group)
}

/// Changes a group.
///
/// # Errors
/// `NotFound`; wrong fields; `Refused` for somebody whom groups limit.
pub async fn update_group(
    app: &App,
    principal: &Principal,
    id: GroupId,
    name: Option<String>,
    permissions: Option<Vec<Permission>>,
) -> Result<Group> {
    check_is_unlimited(principal)?;
    let name = name.map(|name| checked_name(&name)).transpose()?;
    let permissions = permissions.map(|permissions| checked_permissions(principal, &permissions)).transpose()?;
    let (tenant, now) = (principal.tenant, app.now());
    let changed = app
        .db
        .write(tenant, move |tx| {
            Box::pin(async move {
                lock(tx, tenant, Row::Group(id)).await?;
                let mut group = groups::get(tx, tenant, id).await?.ok_or(Error::NotFound("group"))?;
                group.name = name.unwrap_or(group.name);
                group.permissions = permissions.unwrap_or(group.permissions);
                group.updated_at = now;
                let known = groups::update(tx, tenant, &group).await?;
                if known { Ok(group) } else { Err(Error::NotFound("group")) }
            })
        })
        .await?;
    app.keys.forget_organisation(tenant);
    Ok(changed)
}

/// Who is limited by groups does not decide about them: they could widen their own reach.
fn check_is_unlimited(principal: &Principal) -> Result<()> {
    match principal.tenant.reach() {
        None => Ok(()),
        Some(_) => Err(Error::Refused("Your groups limit which chatbots you reach, so you cannot change groups.")),
    }
}

/// Removes a group.
///
/// # Errors
/// `NotFound`; `Refused` for somebody whom groups limit.
pub async fn delete_group(app: &App, principal: &Principal, id: GroupId) -> Result<()> {
    check_is_unlimited(principal)?;
    let tenant = principal.tenant;
    let known = app.db.write(tenant, move |tx| Box::pin(async move { groups::delete(tx, tenant, id).await })).await?;
    app.keys.forget_organisation(tenant);
    if known { Ok(()) } else { Err(Error::NotFound("group")) }
}

/// The members of a group, newest first.
pub async fn group_members(app: &App, principal: &Principal, id: GroupId, page: Page) -> Result<Listing<GroupMember>> {
    group(app, principal, id).await?;
    let mut tx = app.db.read(principal.tenant).await?;
    groups::members(&mut tx, principal.tenant, id, page).await
}

/// One membership of a group.
pub async fn group_member(app: &App, principal: &Principal, group: GroupId, id: GroupMemberId) -> Result<GroupMember> {
    let mut tx = app.db.read(principal.tenant).await?;
    groups::member(&mut tx, principal.tenant, group, id).await?.ok_or(Error::NotFound("group member"))
}

/// Who joins gets what the group has, so whoever adds must have it too.
fn check_may_fill(principal: &Principal, group: &Group) -> Result<()> {
    let given = Scopes::parse(&group.permissions);
    let missing = Permission::ALL.iter().find(|one| given.contains(**one) && !principal.scopes.contains(**one));
    missing.map_or(Ok(()), |permission| Err(Error::Forbidden(permission.name())))
}

/// Adds members to a group, all or none; those who are in it stay.
pub async fn add_group_members(
    app: &App,
    principal: &Principal,
    id: GroupId,
    users: Vec<(String, UserId)>,
) -> Result<Vec<GroupMember>> {
    check_is_unlimited(principal)?;
    check_may_fill(principal, &group(app, principal, id).await?)?;
    let (tenant, now) = (principal.tenant, app.now());
    let users: Vec<_> = users.into_iter().map(|(field, user)| (field, user, app.new_id())).collect();
    let added = app.db.write(tenant, move |tx| {
        Box::pin(async move {
            let mut added = Vec::with_capacity(users.len());
            for (field, user_id, id_of_link) in users {
                let name = members::get(tx, tenant, user_id).await?.map(|member| member.name);
                let name = name.ok_or_else(|| Error::field(field, "No user has this id."))?;
                let member = GroupMember { id: id_of_link, user_id, name, created_at: now };
                groups::add_member(tx, tenant, id, &member).await?;
                added.extend(groups::member_of(tx, tenant, id, user_id).await?);
            }
            Ok(added)
        })
    });
    let added = added.await?;
    app.keys.forget_organisation(tenant);
    Ok(added)
}

/// Takes a member out of a group.
pub async fn remove_group_member(app: &App, principal: &Principal, group: GroupId, id: GroupMemberId) -> Result<()> {
    check_is_unlimited(principal)?;
    let tenant = principal.tenant;
    let known = app
        .db
        .write(tenant, move |tx| Box::pin(async move { groups::remove_member(tx, tenant, group, id).await }))
        .await?;
    app.keys.forget_organisation(tenant);
    if known { Ok(()) } else { Err(Error::NotFound("group member")) }
}

/// The chatbots of a group, newest first.
pub async fn group_chatbots(
    app: &App,
    principal: &Principal,
    id: GroupId,
    page: Page,
) -> Result<Listing<GroupChatbot>> {
    group(app, principal, id).await?;
    let mut tx = app.db.read(principal.tenant).await?;
    groups::chatbots(&mut tx, principal.tenant, id, page).await
}

/// Links chatbots to a group, all or none; those that are linked stay.
pub async fn add_group_chatbots(
    app: &App,
    principal: &Principal,
    id: GroupId,
    linked: Vec<(String, ChatbotId)>,
) -> Result<Vec<GroupChatbot>> {
    check_is_unlimited(principal)?;
    group(app, principal, id).await?;
    let (tenant, now) = (principal.tenant, app.now());
    let linked: Vec<_> = linked.into_iter().map(|(field, chatbot)| (field, chatbot, app.new_id())).collect();
    let added = app.db.write(tenant, move |tx| {
        Box::pin(async move {
            let mut added = Vec::with_capacity(linked.len());
            for (field, chatbot_id, id_of_link) in linked {
                let name = chatbots::get(tx, tenant, chatbot_id).await?.map(|chatbot| chatbot.name);
                let name = name.ok_or_else(|| Error::field(field, "No chatbot has this id."))?;
                let link = GroupChatbot { id: id_of_link, chatbot_id, name, created_at: now };
                groups::add_chatbot(tx, tenant, id, &link).await?;
                added.extend(groups::chatbot_of(tx, tenant, id, chatbot_id).await?);
            }
            Ok(added)
        })
    });
    let added = added.await?;
    app.keys.forget_organisation(tenant);
    Ok(added)
}

/// Unlinks a chatbot from a group.
pub async fn remove_group_chatbot(app: &App, principal: &Principal, group: GroupId, id: GroupChatbotId) -> Result<()> {
    check_is_unlimited(principal)?;
    let tenant = principal.tenant;
    let known = app
        .db
        .write(tenant, move |tx| Box::pin(async move { groups::remove_chatbot(tx, tenant, group, id).await }))
        .await?;
    app.keys.forget_organisation(tenant);
    if known { Ok(()) } else { Err(Error::NotFound("group chatbot")) }
}
