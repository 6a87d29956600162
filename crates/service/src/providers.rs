//! Model providers that an organisation adds: address, key, models.

use parlance_domain::kind::{ModelId, ProviderId};
use parlance_domain::{Error, FieldErrors, Result, Tenant};
use parlance_llm::{Endpoint, Origin, ProviderKind};
use parlance_storage::Tx;
use parlance_storage::providers::{self, Model, Provider};
use parlance_storage::row_lock::{Row, lock};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::App;
use crate::models::{ModelRole, key_place};

/// Models of one provider at most.
const MAX_MODELS: usize = 200;

/// A provider as it is asked for.
#[derive(Clone, Debug)]
pub struct ProviderDraft {
    /// Shown to people.
    pub name: String,
    /// Protocol name.
    pub kind: String,
    /// Address with the version path.
    pub base_url: String,
    /// `None` leaves the stored key, unless the address moves to another host.
    pub api_key: Option<SecretString>,
    /// Its models.
    pub models: Vec<ModelDraft>,
}

/// A model as it is asked for.
#[derive(Clone, Debug)]
pub struct ModelDraft {
    /// `None` for a new one; else one of this provider.
    pub id: Option<ModelId>,
    /// The provider's name for it.
    pub name: String,
    /// `chat`, `embedding` or `rerank`.
    pub role: String,
    /// Length of its vectors (embedding).
    pub dimensions: Option<u32>,
    /// Whether it takes pictures (chat).
    pub sees_images: bool,
    /// Whether it is taken where none is named.
    pub is_default: bool,
}

/// The organisation's providers with their models.
pub async fn list(app: &App, tenant: Tenant) -> Result<Vec<(Provider, Vec<Model>)>> {
    let mut tx = app.db.read(tenant).await?;
    let all = providers::list(&mut tx, tenant).await?;
    let models = providers::models(&mut tx, tenant).await?;
    Ok(all
        .into_iter()
        .map(|provider| {
            let own = models.iter().filter(|model| model.provider_id == provider.id).cloned().collect();
            (provider, own)
        })
        .collect())
}

/// One provider with its models.
pub async fn get(app: &App, tenant: Tenant, id: ProviderId) -> Result<(Provider, Vec<Model>)> {
    let all = list(app, tenant).await?;
    all.into_iter().find(|(provider, _)| provider.id == id).ok_or(Error::NotFound("model provider"))
}

/// Adds a provider.
pub async fn create(app: &App, tenant: Tenant, draft: ProviderDraft) -> Result<(Provider, Vec<Model>)> {
    let now = app.now();
    let blank = Provider {
        id: app.new_id(),
        name: String::new(),
        kind: String::new(),
        base_url: String::new(),
        api_key_sealed: None,
        created_at: now,
        updated_at: now,
    };
    let base_url = validate(app, &draft)?;
    let writer = app.clone();
    let stored = app
        .db
        .write(tenant, move |tx| {
            Box::pin(async move { store(tx, &writer, tenant, (blank, &[]), draft, base_url).await })
        })
        .await?;
    app.catalogue.forget(tenant);
    Ok(stored)
}

/// Replaces a provider.
pub async fn update(app: &App, tenant: Tenant, id: ProviderId, draft: ProviderDraft) -> Result<(Provider, Vec<Model>)> {
    let base_url = validate(app, &draft)?;
    let writer = app.clone();
    let stored = app
        .db
        .write(tenant, move |tx| {
            Box::pin(async move {
                lock(tx, tenant, Row::Provider(id)).await?;
                let known = providers::get(tx, tenant, id).await?.ok_or(Error::NotFound("model provider"))?;
                let mut models = providers::models(tx, tenant).await?;
                models.retain(|model| model.provider_id == id);
                store(tx, &writer, tenant, (known, &models), draft, base_url).await
            })
        })
        .await?;
    app.catalogue.forget(tenant);
    Ok(stored)
}

/// Removes a provider. Assistants that used its models fall back to the default.
pub async fn delete(app: &App, tenant: Tenant, id: ProviderId) -> Result<()> {
    let deleted =
        app.db.write(tenant, move |tx| Box::pin(async move { providers::delete(tx, tenant, id).await })).await?;
    app.catalogue.forget(tenant);
    if deleted { Ok(()) } else { Err(Error::NotFound("model provider")) }
}

async fn store(
    tx: &mut Tx,
    app: &App,
    tenant: Tenant,
    (mut provider, existing): (Provider, &[Model]),
    draft: ProviderDraft,
    base_url: Url,
) -> Result<(Provider, Vec<Model>)> {
    let now = app.now();
    let moves = Url::parse(&provider.base_url).is_ok_and(|before| before.origin() != base_url.origin());
    if moves {
        // A key belongs to the host it was given for.
        provider.api_key_sealed = None;
    }
    if let Some(key) = &draft.api_key {
        let row = provider.id.to_string();
        let secret = key.expose_secret();
        provider.api_key_sealed = if secret.is_empty() {
            None
        } else {
            Some(app.master_key.seal(&key_place(tenant, &row), secret.as_bytes())?)
        };
    }
    provider.name = draft.name.trim().to_owned();
    provider.kind = draft.kind;
    provider.base_url = base_url.into();
    provider.updated_at = now;
    let mut models = Vec::with_capacity(draft.models.len());
    for (position, model) in draft.models.into_iter().enumerate() {
        let before = model.id.map(|id| existing.iter().find(|known| known.id == id));
        let id = match before {
            Some(None) => return Err(Error::field(format!("models.{position}.id"), "No model of this provider.")),
            Some(Some(known)) => known.id,
            None => existing
                .iter()
                .find(|known| known.name == model.name && known.role == model.role)
                .map_or_else(|| app.new_id(), |known| known.id),
        };
        models.push(Model {
            id,
            provider_id: provider.id,
            role: model.role,
            name: model.name.trim().to_owned(),
            dimensions: model.dimensions.map(i64::from),
            sees_images: model.sees_images,
            is_default: model.is_default,
            created_at: now,
        });
    }
    providers::upsert(tx, tenant, &provider).await?;
    providers::replace_models(tx, tenant, provider.id, &models).await?;
    Ok((provider, models))
}

fn validate(app: &App, draft: &ProviderDraft) -> Result<Url> {
    let mut errors = FieldErrors::default();
    if draft.name.trim().is_empty() {
        errors.add("name", "This field may not be blank.");
    }
    if draft.models.len() > MAX_MODELS {
        errors.add("models", format!("At most {MAX_MODELS} models."));
    }
    let kind = ProviderKind::parse(&draft.kind);
    if kind.is_none() {
        let names: Vec<_> = ProviderKind::ALL.iter().map(|kind| kind.as_str()).collect();
        errors.add("kind", format!("Must be one of: {}.", names.join(", ")));
    }
    let base_url = Url::parse(draft.base_url.trim()).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    if base_url.is_none() {
        errors.add("baseUrl", "Enter a valid http or https URL.");
    }
    for (position, model) in draft.models.iter().enumerate() {
        if model.name.trim().is_empty() {
            errors.add(format!("models.{position}.name"), "This field may not be blank.");
        }
        let Some(role) = ModelRole::parse(&model.role) else {
            errors.add(format!("models.{position}.role"), "Must be one of: chat, embedding, rerank.");
            continue;
        };
        if let (Some(kind), Some(base_url)) = (kind, &base_url) {
            let endpoint = Endpoint { kind, base_url: base_url.clone(), api_key: None, origin: Origin::Tenant };
            if let Err(error) = app.catalogue.check(&endpoint, role) {
                let field = if error.kind == parlance_llm::ErrorKind::Blocked {
                    "baseUrl".to_owned()
                } else {
                    format!("models.{position}.role")
                };
                errors.add(field, error.detail);
            }
        }
    }
    errors.finish()?;
    base_url.ok_or_else(|| Error::field("baseUrl", "Enter a valid http or https URL."))
}
