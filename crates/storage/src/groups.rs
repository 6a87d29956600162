//! Groups: members who are given permissions together, and the chatbots that they reach.
//!
//! A group that was given chatbots limits its members to them. It goes on doing so when a chatbot of
//! it is removed, even the last one: what is gone must not open everything else.

use parlance_domain::kind::{ChatbotId, GroupChatbotId, GroupId, GroupMemberId, UserId};
use parlance_domain::{Result, Tenant, Timestamp};

use crate::page::{Listing, Page, count};
use crate::reach::chatbot_within;
use crate::tx::{Tx, execute, fault, on_tx};

/// A group.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Group {
    /// Its id.
    pub id: GroupId,
    /// Shown to members.
    pub name: String,
    /// Permission names joined by spaces, which its members have besides those of their role.
    pub permissions: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed.
    pub updated_at: Timestamp,
}

/// Somebody in a group.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct GroupMember {
    /// Id of the membership.
    pub id: GroupMemberId,
    /// Who.
    pub user_id: UserId,
    /// Their name.
    pub name: String,
    /// When they joined.
    pub created_at: Timestamp,
}

/// A chatbot that is meant for a group.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct GroupChatbot {
    /// Id of the link.
    pub id: GroupChatbotId,
    /// Which chatbot.
    pub chatbot_id: ChatbotId,
    /// Its name.
    pub name: String,
    /// When it was linked.
    pub created_at: Timestamp,
}

/// The groups, newest first.
pub async fn list(tx: &mut Tx, tenant: Tenant, page: Page) -> Result<Listing<Group>> {
    let total: i64 = on_tx!(tx, db => sqlx::query_scalar("SELECT count(*) FROM groups WHERE org_id = $1")
        .bind(tenant.organisation()).fetch_one(db).await)
    .map_err(fault)?;
    let rows = on_tx!(tx, db => sqlx::query_as(
        "SELECT id, name, permissions, created_at, updated_at FROM groups WHERE org_id = $1 \
         ORDER BY created_at DESC, id DESC LIMIT $2 OFFSET $3")
        .bind(tenant.organisation()).bind(page.limit_sql()).bind(page.offset_sql()).fetch_all(db).await)
    .map_err(fault)?;
    Ok(Listing { rows, total: count(total) })
}

/// A group.
pub async fn get(tx: &mut Tx, tenant: Tenant, id: GroupId) -> Result<Option<Group>> {
    on_tx!(tx, db => sqlx::query_as(
        "SELECT id, name, permissions, created_at, updated_at FROM groups WHERE org_id = $1 AND id = $2")
        .bind(tenant.organisation()).bind(id).fetch_optional(db).await)
    .map_err(fault)
}

/// Adds a group.
pub async fn insert(tx: &mut Tx, tenant: Tenant, group: &Group) -> Result<()> {
    execute!(
        tx,
        sqlx::query(
            "INSERT INTO groups (id, org_id, name, permissions, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6)"
        )
        .bind(group.id)
        .bind(tenant.organisation())
        .bind(&group.name)
        .bind(&group.permissions)
        .bind(group.created_at)
        .bind(group.updated_at)
    )
    .map(drop)
}

/// Changes name and permissions. False when there is no such group.
pub async fn update(tx: &mut Tx, tenant: Tenant, group: &Group) -> Result<bool> {
    execute!(
        tx,
        sqlx::query("UPDATE groups SET name = $3, permissions = $4, updated_at = $5 WHERE org_id = $1 AND id = $2")
            .bind(tenant.organisation())
            .bind(group.id)
            .bind(&group.name)
            .bind(&group.permissions)
            .bind(group.updated_at)
    )
    .map(|changed| changed > 0)
}

/// Removes a group with its links. False when there is no such group.
pub async fn delete(tx: &mut Tx, tenant: Tenant, id: GroupId) -> Result<bool> {
    execute!(tx, sqlx::query("DELETE FROM groups WHERE org_id = $1 AND id = $2").bind(tenant.organisation()).bind(id))
        .map(|removed| removed > 0)
}

/// The permissions that a user has through groups: names joined by spaces, one text for each group.
pub async fn permissions_of(tx: &mut Tx, tenant: Tenant, user: UserId) -> Result<Vec<String>> {
    on_tx!(tx, db => sqlx::query_scalar(
        "SELECT g.permissions FROM groups g JOIN group_members m ON m.group_id = g.id AND m.org_id = g.org_id \
         WHERE g.org_id = $1 AND m.user_id = $2")
        .bind(tenant.organisation()).bind(user).fetch_all(db).await)
    .map_err(fault)
}

/// The chatbots that a user reaches through groups, sorted; `None` when none of their groups limits
/// them.
pub async fn chatbots_of(tx: &mut Tx, tenant: Tenant, user: UserId) -> Result<Option<Vec<ChatbotId>>> {
    let is_limited: bool = on_tx!(tx, db => sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM groups AS g JOIN group_members AS m ON m.group_id = g.id AND m.org_id = g.org_id \
         WHERE g.org_id = $1 AND m.user_id = $2 AND g.limits_chatbots)")
        .bind(tenant.organisation()).bind(user).fetch_one(db).await)
    .map_err(fault)?;
    if !is_limited {
        return Ok(None);
    }
    let chatbots = on_tx!(tx, db => sqlx::query_scalar(
        "SELECT DISTINCT l.chatbot_id FROM group_chatbots AS l \
         JOIN group_members AS m ON m.group_id = l.group_id AND m.org_id = l.org_id \
         WHERE l.org_id = $1 AND m.user_id = $2 ORDER BY l.chatbot_id")
        .bind(tenant.organisation()).bind(user).fetch_all(db).await)
    .map_err(fault)?;
    Ok(Some(chatbots))
}

/// The members of a group, newest first.
pub async fn members(tx: &mut Tx, tenant: Tenant, group: GroupId, page: Page) -> Result<Listing<GroupMember>> {
    let total: i64 = on_tx!(tx, db => sqlx::query_scalar(
        "SELECT count(*) FROM group_members WHERE org_id = $1 AND group_id = $2")
        .bind(tenant.organisation()).bind(group).fetch_one(db).await)
    .map_err(fault)?;
    let rows = on_tx!(tx, db => sqlx::query_as(
        "SELECT m.id, m.user_id, u.name, m.created_at FROM group_members m JOIN users u ON u.id = m.user_id \
         WHERE m.org_id = $1 AND m.group_id = $2 ORDER BY m.created_at DESC, m.id DESC LIMIT $3 OFFSET $4")
        .bind(tenant.organisation()).bind(group).bind(page.limit_sql()).bind(page.offset_sql()).fetch_all(db).await)
    .map_err(fault)?;
    Ok(Listing { rows, total: count(total) })
}

/// One membership of a group.
pub async fn member(tx: &mut Tx, tenant: Tenant, group: GroupId, id: GroupMemberId) -> Result<Option<GroupMember>> {
    on_tx!(tx, db => sqlx::query_as(
        "SELECT m.id, m.user_id, u.name, m.created_at FROM group_members m JOIN users u ON u.id = m.user_id \
         WHERE m.org_id = $1 AND m.group_id = $2 AND m.id = $3")
        .bind(tenant.organisation()).bind(group).bind(id).fetch_optional(db).await)
    .map_err(fault)
}

/// Adds a member to a group of the same organisation; one who is in it stays.
pub async fn add_member(tx: &mut Tx, tenant: Tenant, group: GroupId, member: &GroupMember) -> Result<()> {
    execute!(
        tx,
        sqlx::query(
            "INSERT INTO group_members (id, org_id, group_id, user_id, created_at) \
             SELECT $2, g.org_id, g.id, u.id, $5 FROM groups g, users u \
             WHERE g.org_id = $1 AND u.org_id = $1 AND g.id = $3 AND u.id = $4 AND u.removed_at IS NULL \
             ON CONFLICT (group_id, user_id) DO NOTHING"
        )
        .bind(tenant.organisation())
        .bind(member.id)
        .bind(group)
        .bind(member.user_id)
        .bind(member.created_at)
    )
    .map(drop)
}

/// The membership of a user in a group.
pub async fn member_of(tx: &mut Tx, tenant: Tenant, group: GroupId, user: UserId) -> Result<Option<GroupMember>> {
    on_tx!(tx, db => sqlx::query_as(
        "SELECT m.id, m.user_id, u.name, m.created_at FROM group_members m JOIN users u ON u.id = m.user_id \
         WHERE m.org_id = $1 AND m.group_id = $2 AND m.user_id = $3")
        .bind(tenant.organisation()).bind(group).bind(user).fetch_optional(db).await)
    .map_err(fault)
}

/// Takes a member out of a group. False when there is no such membership.
pub async fn remove_member(tx: &mut Tx, tenant: Tenant, group: GroupId, id: GroupMemberId) -> Result<bool> {
    execute!(
        tx,
        sqlx::query("DELETE FROM group_members WHERE org_id = $1 AND group_id = $2 AND id = $3")
            .bind(tenant.organisation())
            .bind(group)
            .bind(id)
    )
    .map(|removed| removed > 0)
}

/// The chatbots of a group within the caller's reach, newest first.
pub async fn chatbots(tx: &mut Tx, tenant: Tenant, group: GroupId, page: Page) -> Result<Listing<GroupChatbot>> {
    let total: i64 = on_tx!(tx, db => sqlx::query_scalar(concat!(
        "SELECT count(*) FROM group_chatbots WHERE org_id = $1 AND group_id = $2", chatbot_within!("chatbot_id", "$3")))
        .bind(tenant.organisation()).bind(group).bind(tenant.limited_to()).fetch_one(db).await)
    .map_err(fault)?;
    let rows = on_tx!(tx, db => sqlx::query_as(concat!(
        "SELECT l.id, l.chatbot_id, c.name, l.created_at FROM group_chatbots l JOIN chatbots c ON c.id = l.chatbot_id \
         WHERE l.org_id = $1 AND l.group_id = $2", chatbot_within!("l.chatbot_id", "$3"),
        " ORDER BY l.created_at DESC, l.id DESC LIMIT $4 OFFSET $5"))
        .bind(tenant.organisation()).bind(group).bind(tenant.limited_to()).bind(page.limit_sql()).bind(page.offset_sql()).fetch_all(db).await)
    .map_err(fault)?;
    Ok(Listing { rows, total: count(total) })
}

/// Links a chatbot to a group of the same organisation, which limits its members from then on; one that
/// is linked stays.
pub async fn add_chatbot(tx: &mut Tx, tenant: Tenant, group: GroupId, link: &GroupChatbot) -> Result<()> {
    execute!(
        tx,
        sqlx::query(
            "UPDATE groups SET limits_chatbots = TRUE WHERE org_id = $1 AND id = $2 \
             AND EXISTS (SELECT 1 FROM chatbots WHERE org_id = $1 AND id = $3)"
        )
        .bind(tenant.organisation())
        .bind(group)
        .bind(link.chatbot_id)
    )?;
    execute!(
        tx,
        sqlx::query(
            "INSERT INTO group_chatbots (id, org_id, group_id, chatbot_id, created_at) \
             SELECT $2, g.org_id, g.id, c.id, $5 FROM groups g, chatbots c \
             WHERE g.org_id = $1 AND c.org_id = $1 AND g.id = $3 AND c.id = $4 \
             ON CONFLICT (group_id, chatbot_id) DO NOTHING"
        )
        .bind(tenant.organisation())
        .bind(link.id)
        .bind(group)
        .bind(link.chatbot_id)
        .bind(link.created_at)
    )
    .map(drop)
}

/// The link of a chatbot to a group.
pub async fn chatbot_of(
    tx: &mut Tx,
    tenant: Tenant,
    group: GroupId,
    chatbot: ChatbotId,
) -> Result<Option<GroupChatbot>> {
    on_tx!(tx, db => sqlx::query_as(
        "SELECT l.id, l.chatbot_id, c.name, l.created_at FROM group_chatbots l JOIN chatbots c ON c.id = l.chatbot_id \
         WHERE l.org_id = $1 AND l.group_id = $2 AND l.chatbot_id = $3")
        .bind(tenant.organisation()).bind(group).bind(chatbot).fetch_optional(db).await)
    .map_err(fault)
}

/// Unlinks a chatbot from a group. A group without any limits its members no more. False when there is
/// no such link.
pub async fn remove_chatbot(tx: &mut Tx, tenant: Tenant, group: GroupId, id: GroupChatbotId) -> Result<bool> {
    let removed = execute!(
        tx,
        sqlx::query("DELETE FROM group_chatbots WHERE org_id = $1 AND group_id = $2 AND id = $3")
            .bind(tenant.organisation())
            .bind(group)
            .bind(id)
    )?;
    if removed > 0 {
        execute!(
            tx,
            sqlx::query(
                "UPDATE groups SET limits_chatbots = FALSE WHERE org_id = $1 AND id = $2 \
                 AND NOT EXISTS (SELECT 1 FROM group_chatbots WHERE org_id = $1 AND group_id = $2)"
            )
            .bind(tenant.organisation())
            .bind(group)
        )?;
    }
    Ok(removed > 0)
}
