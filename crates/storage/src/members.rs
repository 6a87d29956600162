//! The people of an organisation.

use parlance_domain::kind::UserId;
use parlance_domain::{Result, Tenant, Timestamp};

use crate::page::{Listing, Page, count};
use crate::tx::{Tx, execute, fault, on_tx};

/// Somebody who works with the product.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Member {
    /// Their id.
    pub id: UserId,
    /// Shown to others.
    pub name: String,
    /// Where they can be written to.
    pub email: Option<String>,
    /// Name of a role of `parlance_domain::Role`.
    pub role: String,
    /// When they were added.
    pub created_at: Timestamp,
}

/// The members, newest first.
pub async fn list(tx: &mut Tx, tenant: Tenant, page: Page) -> Result<Listing<Member>> {
    let total: i64 = on_tx!(tx, db => sqlx::query_scalar(
        "SELECT count(*) FROM users WHERE org_id = $1 AND removed_at IS NULL")
        .bind(tenant.organisation()).fetch_one(db).await)
    .map_err(fault)?;
    let rows = on_tx!(tx, db => sqlx::query_as(
        "SELECT id, name, email, role, created_at FROM users WHERE org_id = $1 AND removed_at IS NULL \
         ORDER BY created_at DESC, id DESC LIMIT $2 OFFSET $3")
        .bind(tenant.organisation()).bind(page.limit_sql()).bind(page.offset_sql()).fetch_all(db).await)
    .map_err(fault)?;
    Ok(Listing { rows, total: count(total) })
}

/// A member, unless they were removed.
pub async fn get(tx: &mut Tx, tenant: Tenant, id: UserId) -> Result<Option<Member>> {
    on_tx!(tx, db => sqlx::query_as(
        "SELECT id, name, email, role, created_at FROM users WHERE org_id = $1 AND id = $2 AND removed_at IS NULL")
        .bind(tenant.organisation()).bind(id).fetch_optional(db).await)
    .map_err(fault)
}

/// Adds a member.
pub async fn insert(tx: &mut Tx, tenant: Tenant, member: &Member) -> Result<()> {
    execute!(
        tx,
        sqlx::query("INSERT INTO users (id, org_id, name, email, role, created_at) VALUES ($1, $2, $3, $4, $5, $6)")
            .bind(member.id)
            .bind(tenant.organisation())
            .bind(&member.name)
            .bind(&member.email)
            .bind(&member.role)
            .bind(member.created_at)
    )
    .map(drop)
}

/// Changes name, e-mail address and role. False when there is no such member.
pub async fn update(tx: &mut Tx, tenant: Tenant, member: &Member) -> Result<bool> {
    execute!(
        tx,
        sqlx::query(
            "UPDATE users SET name = $3, email = $4, role = $5 WHERE org_id = $1 AND id = $2 AND removed_at IS NULL"
        )
        .bind(tenant.organisation())
        .bind(member.id)
        .bind(&member.name)
        .bind(&member.email)
        .bind(&member.role)
    )
    .map(|changed| changed > 0)
}

/// Removes a member: their API keys are taken back, and they are in no group any more. What they
/// wrote keeps their name. False when there is no such member.
pub async fn remove(tx: &mut Tx, tenant: Tenant, id: UserId, now: Timestamp) -> Result<bool> {
    let removed = execute!(
        tx,
        sqlx::query("UPDATE users SET removed_at = $3 WHERE org_id = $1 AND id = $2 AND removed_at IS NULL")
            .bind(tenant.organisation())
            .bind(id)
            .bind(now)
    )?;
    execute!(
        tx,
        sqlx::query("UPDATE api_keys SET revoked_at = coalesce(revoked_at, $3) WHERE org_id = $1 AND user_id = $2")
            .bind(tenant.organisation())
            .bind(id)
            .bind(now)
    )?;
    execute!(
        tx,
        sqlx::query("DELETE FROM group_members WHERE org_id = $1 AND user_id = $2")
            .bind(tenant.organisation())
            .bind(id)
    )?;
    Ok(removed > 0)
}

/// How many members have a role. Other transactions that change members of the organisation wait
/// until this one has ended, so that two of them cannot each remove what the other counts on.
pub async fn count_role(tx: &mut Tx, tenant: Tenant, role: &str) -> Result<u64> {
    execute!(tx, sqlx::query("UPDATE organisations SET name = name WHERE org_id = $1").bind(tenant.organisation()))?;
    let members: i64 = on_tx!(tx, db => sqlx::query_scalar(
        "SELECT count(*) FROM users WHERE org_id = $1 AND role = $2 AND removed_at IS NULL")
        .bind(tenant.organisation()).bind(role).fetch_one(db).await)
    .map_err(fault)?;
    Ok(count(members))
}
