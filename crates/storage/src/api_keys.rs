//! API keys: only their SHA-256 is stored. Keys are long and random, so a plain hash is enough.

use parlance_domain::kind::{ApiKeyId, OrganisationId, UserId};
use parlance_domain::{Result, Tenant, Timestamp};

use crate::tx::{Tx, execute, fault, on_tx};

/// What is stored of a key.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct ApiKey {
    /// Its id.
    pub id: ApiKeyId,
    /// The organisation it acts for.
    #[sqlx(rename = "org_id")]
    pub organisation: OrganisationId,
    /// The user it belongs to.
    pub user_id: UserId,
    /// What it is for.
    pub name: String,
    /// SHA-256 of the whole key, in hexadecimal.
    pub key_hash: String,
    /// Permission names joined by spaces, or `*`.
    pub scopes: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// After this it no longer works.
    pub expires_at: Option<Timestamp>,
    /// When it was taken back.
    pub revoked_at: Option<Timestamp>,
}

/// The key with this hash, of any organisation: the one lookup that finds out whose a caller is.
pub async fn by_hash(tx: &mut Tx, key_hash: &str) -> Result<Option<ApiKey>> {
    on_tx!(tx, db => sqlx::query_as(
        "SELECT id, org_id, user_id, name, key_hash, scopes, created_at, expires_at, revoked_at \
         FROM api_keys WHERE key_hash = $1",
    ).bind(key_hash).fetch_optional(db).await)
    .map_err(fault)
}

/// Adds a key; one that exists already (by hash) gets the given scopes and lives again. It stays its
/// user's, unless they were removed: a key of nobody is good for nothing.
pub async fn upsert(tx: &mut Tx, tenant: Tenant, key: &ApiKey) -> Result<()> {
    execute!(
        tx,
        sqlx::query(
            "INSERT INTO api_keys (id, org_id, user_id, name, key_hash, scopes, created_at, expires_at, revoked_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
         ON CONFLICT (key_hash) DO UPDATE SET scopes = excluded.scopes, expires_at = excluded.expires_at, \
         revoked_at = excluded.revoked_at, user_id = CASE WHEN EXISTS (SELECT 1 FROM users AS u \
         WHERE u.org_id = api_keys.org_id AND u.id = api_keys.user_id AND u.removed_at IS NULL) \
         THEN api_keys.user_id ELSE excluded.user_id END WHERE api_keys.org_id = excluded.org_id"
        )
        .bind(key.id)
        .bind(tenant.organisation())
        .bind(key.user_id)
        .bind(&key.name)
        .bind(&key.key_hash)
        .bind(&key.scopes)
        .bind(key.created_at)
        .bind(key.expires_at)
        .bind(key.revoked_at)
    )
    .map(drop)
}

/// The organisation's keys, newest first.
pub async fn list(tx: &mut Tx, tenant: Tenant) -> Result<Vec<ApiKey>> {
    on_tx!(tx, db => sqlx::query_as(
        "SELECT id, org_id, user_id, name, key_hash, scopes, created_at, expires_at, revoked_at \
         FROM api_keys WHERE org_id = $1 ORDER BY created_at DESC, id DESC",
    ).bind(tenant.organisation()).fetch_all(db).await)
    .map_err(fault)
}

/// One key.
pub async fn get(tx: &mut Tx, tenant: Tenant, id: ApiKeyId) -> Result<Option<ApiKey>> {
    on_tx!(tx, db => sqlx::query_as(
        "SELECT id, org_id, user_id, name, key_hash, scopes, created_at, expires_at, revoked_at \
         FROM api_keys WHERE org_id = $1 AND id = $2",
    ).bind(tenant.organisation()).bind(id).fetch_optional(db).await)
    .map_err(fault)
}

/// Gives a key another name. False when there is no such key.
pub async fn rename(tx: &mut Tx, tenant: Tenant, id: ApiKeyId, name: &str) -> Result<bool> {
    execute!(
        tx,
        sqlx::query("UPDATE api_keys SET name = $3 WHERE org_id = $1 AND id = $2")
            .bind(tenant.organisation())
            .bind(id)
            .bind(name)
    )
    .map(|changed| changed > 0)
}

/// Takes a key back. False when there is no such key.
pub async fn revoke(tx: &mut Tx, tenant: Tenant, id: ApiKeyId, now: Timestamp) -> Result<bool> {
    execute!(
        tx,
        sqlx::query("UPDATE api_keys SET revoked_at = coalesce(revoked_at, $3) WHERE org_id = $1 AND id = $2")
            .bind(tenant.organisation())
            .bind(id)
            .bind(now)
    )
    .map(|changed| changed > 0)
}
