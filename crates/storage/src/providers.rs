//! Model providers that an organisation added, and their models.

use parlance_domain::kind::{ModelId, ProviderId};
use parlance_domain::{Result, Tenant, Timestamp};

use crate::tx::{Tx, execute, fault, on_tx};

/// Where models are served.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Provider {
    /// Its id.
    pub id: ProviderId,
    /// Shown to people.
    pub name: String,
    /// Which protocol it speaks, for example `openai`.
    pub kind: String,
    /// Address, with the version path.
    pub base_url: String,
    /// Its key, sealed; see [`crate::secrets`].
    pub api_key_sealed: Option<Vec<u8>>,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// A model of a provider.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Model {
    /// Its id.
    pub id: ModelId,
    /// The provider that serves it.
    pub provider_id: ProviderId,
    /// `chat`, `embedding` or `rerank`.
    pub role: String,
    /// The provider's name for it.
    pub name: String,
    /// Length of its vectors (embedding).
    pub dimensions: Option<i64>,
    /// Whether it takes pictures (chat).
    pub sees_images: bool,
    /// Whether new assistants and bases take it.
    pub is_default: bool,
    /// When it was added.
    pub created_at: Timestamp,
}

/// The organisation's providers, oldest first.
pub async fn list(tx: &mut Tx, tenant: Tenant) -> Result<Vec<Provider>> {
    on_tx!(tx, db => sqlx::query_as(
        "SELECT id, name, kind, base_url, api_key_sealed, created_at, updated_at \
         FROM model_providers WHERE org_id = $1 ORDER BY created_at, id",
    ).bind(tenant.organisation()).fetch_all(db).await)
    .map_err(fault)
}

/// One provider.
pub async fn get(tx: &mut Tx, tenant: Tenant, id: ProviderId) -> Result<Option<Provider>> {
    on_tx!(tx, db => sqlx::query_as(
        "SELECT id, name, kind, base_url, api_key_sealed, created_at, updated_at \
         FROM model_providers WHERE org_id = $1 AND id = $2",
    ).bind(tenant.organisation()).bind(id).fetch_optional(db).await)
    .map_err(fault)
}

/// Adds a provider, or replaces all of it but its creation time.
pub async fn upsert(tx: &mut Tx, tenant: Tenant, provider: &Provider) -> Result<()> {
    execute!(
        tx,
        sqlx::query(
            "INSERT INTO model_providers (id, org_id, name, kind, base_url, api_key_sealed, created_at, updated_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, kind = excluded.kind, base_url = excluded.base_url, \
         api_key_sealed = excluded.api_key_sealed, updated_at = excluded.updated_at \
         WHERE model_providers.org_id = excluded.org_id"
        )
        .bind(provider.id)
        .bind(tenant.organisation())
        .bind(&provider.name)
        .bind(&provider.kind)
        .bind(&provider.base_url)
        .bind(&provider.api_key_sealed)
        .bind(provider.created_at)
        .bind(provider.updated_at)
    )
    .map(drop)
}

/// Removes a provider with its models. False when there is none.
pub async fn delete(tx: &mut Tx, tenant: Tenant, id: ProviderId) -> Result<bool> {
    execute!(
        tx,
        sqlx::query("DELETE FROM model_providers WHERE org_id = $1 AND id = $2").bind(tenant.organisation()).bind(id)
    )
    .map(|changed| changed > 0)
}

/// The organisation's models, oldest first.
pub async fn models(tx: &mut Tx, tenant: Tenant) -> Result<Vec<Model>> {
    on_tx!(tx, db => sqlx::query_as(
        "SELECT id, provider_id, role, name, dimensions, sees_images, is_default, created_at \
         FROM models WHERE org_id = $1 ORDER BY created_at, id",
    ).bind(tenant.organisation()).fetch_all(db).await)
    .map_err(fault)
}

/// Makes the provider's models exactly these. Nothing happens when the provider is another
/// organisation's.
pub async fn replace_models(tx: &mut Tx, tenant: Tenant, provider: ProviderId, models: &[Model]) -> Result<()> {
    let kept = serde_json::to_string(&models.iter().map(|model| model.id).collect::<Vec<_>>()).unwrap_or_default();
    execute!(
        tx,
        sqlx::query(
            // The kept ids are a JSON list of UUIDs, so containing one's text is containing it.
            "DELETE FROM models WHERE org_id = $1 AND provider_id = $2 AND $3 NOT LIKE '%' || id || '%'"
        )
        .bind(tenant.organisation())
        .bind(provider)
        .bind(kept)
    )?;
    for model in models {
        execute!(tx, sqlx::query(
            "INSERT INTO models (id, org_id, provider_id, role, name, dimensions, sees_images, is_default, created_at) \
             SELECT $1, p.org_id, p.id, $4, $5, $6, $7, $8, $9 FROM model_providers AS p \
             WHERE p.org_id = $2 AND p.id = $3 \
             ON CONFLICT (id) DO UPDATE SET role = excluded.role, name = excluded.name, \
             dimensions = excluded.dimensions, sees_images = excluded.sees_images, is_default = excluded.is_default \
             WHERE models.org_id = excluded.org_id")
            .bind(model.id)
            .bind(tenant.organisation())
            .bind(provider)
            .bind(&model.role)
            .bind(&model.name)
            .bind(model.dimensions)
            .bind(model.sees_images)
            .bind(model.is_default)
            .bind(model.created_at))?;
    }
    Ok(())
}
