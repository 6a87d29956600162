//! Organisations and their users.

use parlance_domain::kind::{OrganisationId, UserId};
use parlance_domain::{Result, Tenant, Timestamp};

use crate::tx::{Tx, execute, fault, on_tx};

/// A tenant of the installation.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Organisation {
    /// Its id.
    #[sqlx(rename = "org_id")]
    pub id: OrganisationId,
    /// Shown to its members.
    pub name: String,
    /// IANA name; statistics and schedules use it.
    pub time_zone: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A person who works with the product.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct User {
    /// Their id.
    pub id: UserId,
    /// Shown to others.
    pub name: String,
    /// `owner` or `member`.
    pub role: String,
    /// When they were added.
    pub created_at: Timestamp,
}

/// The oldest organisation, which first start made. `None` on an empty database.
pub async fn first(tx: &mut Tx) -> Result<Option<Organisation>> {
    on_tx!(tx, db => sqlx::query_as(
        "SELECT org_id, name, time_zone, created_at FROM organisations ORDER BY created_at, org_id LIMIT 1",
    ).fetch_optional(db).await)
    .map_err(fault)
}

/// The caller's own organisation.
pub async fn get(tx: &mut Tx, tenant: Tenant) -> Result<Option<Organisation>> {
    on_tx!(tx, db => sqlx::query_as(
        "SELECT org_id, name, time_zone, created_at FROM organisations WHERE org_id = $1",
    ).bind(tenant.organisation()).fetch_optional(db).await)
    .map_err(fault)
}

/// Adds an organisation.
pub async fn insert(tx: &mut Tx, organisation: &Organisation) -> Result<()> {
    execute!(
        tx,
        sqlx::query("INSERT INTO organisations (org_id, name, time_zone, created_at) VALUES ($1, $2, $3, $4)")
            .bind(organisation.id)
            .bind(&organisation.name)
            .bind(&organisation.time_zone)
            .bind(organisation.created_at)
    )
    .map(drop)
}

/// Changes name and time zone.
pub async fn update(tx: &mut Tx, tenant: Tenant, organisation: &Organisation) -> Result<()> {
    execute!(
        tx,
        sqlx::query("UPDATE organisations SET name = $2, time_zone = $3 WHERE org_id = $1")
            .bind(tenant.organisation())
            .bind(&organisation.name)
            .bind(&organisation.time_zone)
    )
    .map(drop)
}

/// The organisation's first owner.
pub async fn owner(tx: &mut Tx, tenant: Tenant) -> Result<Option<User>> {
    on_tx!(tx, db => sqlx::query_as(
        "SELECT id, name, role, created_at FROM users WHERE org_id = $1 AND role = 'owner' AND removed_at IS NULL \
         ORDER BY created_at LIMIT 1",
    ).bind(tenant.organisation()).fetch_optional(db).await)
    .map_err(fault)
}

/// Adds a user to the organisation.
pub async fn insert_user(tx: &mut Tx, tenant: Tenant, user: &User) -> Result<()> {
    execute!(
        tx,
        sqlx::query("INSERT INTO users (id, org_id, name, role, created_at) VALUES ($1, $2, $3, $4, $5)")
            .bind(user.id)
            .bind(tenant.organisation())
            .bind(&user.name)
            .bind(&user.role)
            .bind(user.created_at)
    )
    .map(drop)
}
