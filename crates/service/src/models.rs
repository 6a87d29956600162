//! The models an organisation can use: the built-in one, the operator's, and its own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use parlance_domain::kind::{ModelId, OrganisationId};
use parlance_domain::{Error, Id, Result, Tenant};
use parlance_llm::{
    ChatModel, ChatOptions, EmbeddingModel, Endpoint, Extractive, Models as ModelFactory, Origin, ProviderKind,
    RerankModel,
};
use parlance_storage::providers::{Model, Provider};
use parlance_storage::secrets::{MasterKey, Place};
use parlance_storage::{Db, providers};
use secrecy::SecretString;
use sha2::{Digest, Sha256};
use url::Url;
use uuid::Uuid;

/// Changes made on another node are seen within this time.
const CACHE_TIME: Duration = Duration::from_secs(5);

/// What a model is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelRole {
    /// Answers.
    Chat,
    /// Makes vectors.
    Embedding,
    /// Orders passages.
    Rerank,
}

impl ModelRole {
    /// Name in the database and the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Embedding => "embedding",
            Self::Rerank => "rerank",
        }
    }

    /// The role with this name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Chat, Self::Embedding, Self::Rerank].into_iter().find(|role| role.name() == name)
    }
}

/// A model in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelEntry {
    /// Stable id.
    pub id: ModelId,
    /// What it is for.
    pub role: ModelRole,
    /// The provider's name for it.
    pub name: String,
    /// Who serves it: `builtin`, a provider kind, or the name of the organisation's provider.
    pub provider: String,
    /// Whether it is taken where none is named.
    pub is_default: bool,
}

/// A model that can be called.
#[derive(Clone, Debug)]
enum Handle {
    Chat(Arc<dyn ChatModel>),
    Embedding(Arc<dyn EmbeddingModel>),
    Rerank(Arc<dyn RerankModel>),
}

#[derive(Clone, Debug)]
struct Known {
    entry: ModelEntry,
    handle: Handle,
}

/// A chat model with what is known of it.
#[derive(Clone, Debug)]
pub struct Chat {
    /// Its entry.
    pub entry: ModelEntry,
    /// The model.
    pub model: Arc<dyn ChatModel>,
}

/// An embedding model with what is known of it.
#[derive(Clone, Debug)]
pub struct Embedding {
    /// Its entry.
    pub entry: ModelEntry,
    /// The model.
    pub model: Arc<dyn EmbeddingModel>,
}

/// A rerank model with what is known of it.
#[derive(Clone, Debug)]
pub struct Rerank {
    /// Its entry.
    pub entry: ModelEntry,
    /// The model.
    pub model: Arc<dyn RerankModel>,
}

/// A model of the operator's settings.
#[derive(Clone, Debug)]
pub struct ConfiguredModel {
    /// What it is for.
    pub role: ModelRole,
    /// Where it is.
    pub endpoint: Endpoint,
    /// The provider's name for it.
    pub name: String,
    /// Length of its vectors (embedding).
    pub dimensions: Option<usize>,
    /// Whether it takes pictures (chat).
    pub sees_images: bool,
}

/// All models.
#[derive(Debug)]
pub struct Catalogue {
    fixed: Vec<Known>,
    factory: ModelFactory,
    tenants: Mutex<HashMap<OrganisationId, OwnModels>>,
}

/// An organisation's own models as they were read a moment ago.
#[derive(Debug)]
struct OwnModels {
    since: Instant,
    models: Arc<Vec<Known>>,
}

/// A stable id for a model that is in no table.
fn fixed_id(role: ModelRole, provider: &str, name: &str) -> ModelId {
    let digest = Sha256::digest(format!("parlance model|{}|{provider}|{name}", role.name()));
    let mut bytes = [0_u8; 16];
    bytes.copy_from_slice(&digest[..16]);
    Id::from_uuid(Uuid::new_v8(bytes))
}

impl Catalogue {
    /// The built-in model and those of the operator's settings, in order of preference.
    pub fn new(factory: ModelFactory, configured: &[ConfiguredModel]) -> Result<Self, parlance_llm::Error> {
        let mut catalogue = Self { fixed: Vec::new(), factory, tenants: Mutex::default() };
        for model in configured {
            let handle =
                catalogue.handle(model.role, &model.endpoint, &model.name, model.dimensions, model.sees_images)?;
            catalogue.push(model.role, model.endpoint.kind.as_str(), &model.name, handle);
        }
        let extractive: Arc<dyn ChatModel> = Arc::new(Extractive::new(parlance_retrieval::fold_char));
        catalogue.push(ModelRole::Chat, "builtin", "extractive", Handle::Chat(extractive));
        Ok(catalogue)
    }

    fn push(&mut self, role: ModelRole, provider: &str, name: &str, handle: Handle) {
        let is_default = !self.fixed.iter().any(|known| known.entry.role == role);
        let entry = ModelEntry {
            id: fixed_id(role, provider, name),
            role,
            name: name.to_owned(),
            provider: provider.to_owned(),
            is_default,
        };
        self.fixed.push(Known { entry, handle });
    }

    /// Puts a chat model before all others, as an operator's model would stand. For programs that
    /// bring their own, such as tests.
    pub fn prefer_chat(&mut self, name: &str, model: Arc<dyn ChatModel>) {
        self.prefer(ModelRole::Chat, name, Handle::Chat(model));
    }

    /// As [`Catalogue::prefer_chat`], for vectors.
    pub fn prefer_embedding(&mut self, name: &str, model: Arc<dyn EmbeddingModel>) {
        self.prefer(ModelRole::Embedding, name, Handle::Embedding(model));
    }

    /// As [`Catalogue::prefer_chat`], for reordering.
    pub fn prefer_rerank(&mut self, name: &str, model: Arc<dyn RerankModel>) {
        self.prefer(ModelRole::Rerank, name, Handle::Rerank(model));
    }

    fn prefer(&mut self, role: ModelRole, name: &str, handle: Handle) {
        for known in &mut self.fixed {
            known.entry.is_default &= known.entry.role != role;
        }
        let entry = ModelEntry {
            id: fixed_id(role, "program", name),
            role,
            name: name.to_owned(),
            provider: "program".to_owned(),
            is_default: true,
        };
        self.fixed.insert(0, Known { entry, handle });
    }

    fn handle(
        &self,
        role: ModelRole,
        endpoint: &Endpoint,
        name: &str,
        dimensions: Option<usize>,
        sees_images: bool,
    ) -> Result<Handle, parlance_llm::Error> {
        Ok(match role {
            ModelRole::Chat => Handle::Chat(self.factory.chat(endpoint, name, ChatOptions { sees_images })?),
            ModelRole::Embedding => Handle::Embedding(self.factory.embedding(endpoint, name, dimensions)?),
            ModelRole::Rerank => Handle::Rerank(self.factory.rerank(endpoint, name)?),
        })
    }

    /// Whether a provider of this kind and address could be called.
    pub fn check(&self, endpoint: &Endpoint, role: ModelRole) -> Result<(), parlance_llm::Error> {
        self.handle(role, endpoint, "check", None, false).map(drop)
    }

    /// Forgets what is known of an organisation's own models, because they changed.
    pub fn forget(&self, tenant: Tenant) {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner).remove(&tenant.organisation());
    }

    async fn own(&self, db: &Db, master_key: &MasterKey, tenant: Tenant) -> Result<Arc<Vec<Known>>> {
        {
            let tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(own) = tenants.get(&tenant.organisation())
                && own.since.elapsed() < CACHE_TIME
            {
                return Ok(Arc::clone(&own.models));
            }
        }
        let (stored_providers, stored_models) = {
            let mut tx = db.read(tenant).await?;
            (providers::list(&mut tx, tenant).await?, providers::models(&mut tx, tenant).await?)
        };
        let own: Arc<Vec<Known>> = Arc::new(
            stored_models
                .iter()
                .filter_map(|model| {
                    let provider = stored_providers.iter().find(|provider| provider.id == model.provider_id)?;
                    self.known(master_key, tenant, provider, model)
                        .inspect_err(|error| tracing::warn!(model = %model.id, %error, "a model cannot be used"))
                        .ok()
                })
                .collect(),
        );
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        tenants.insert(tenant.organisation(), OwnModels { since: Instant::now(), models: Arc::clone(&own) });
        Ok(own)
    }

    fn known(&self, master_key: &MasterKey, tenant: Tenant, provider: &Provider, model: &Model) -> Result<Known> {
        let role = ModelRole::parse(&model.role).ok_or_else(|| Error::bug("a model without role"))?;
        let endpoint = endpoint(master_key, tenant, provider)?;
        let dimensions = model.dimensions.and_then(|dimensions| usize::try_from(dimensions).ok());
        let handle = self
            .handle(role, &endpoint, &model.name, dimensions, model.sees_images)
            .map_err(|error| Error::internal("making a model", error))?;
        let entry = ModelEntry {
            id: model.id,
            role,
            name: model.name.clone(),
            provider: provider.name.clone(),
            is_default: model.is_default,
        };
        Ok(Known { entry, handle })
    }

    async fn all(&self, app: &crate::App, tenant: Tenant, role: ModelRole) -> Result<Vec<Known>> {
        let own = self.own(&app.db, &app.master_key, tenant).await?;
        let mut all: Vec<Known> =
            own.iter().chain(&self.fixed).filter(|known| known.entry.role == role).cloned().collect();
        // The organisation's own default comes first; exactly one model is the default.
        let default = all.iter().position(|known| known.entry.is_default).unwrap_or_default();
        for (position, known) in all.iter_mut().enumerate() {
            known.entry.is_default = position == default;
        }
        Ok(all)
    }

    /// The models of a role.
    pub async fn list(&self, app: &crate::App, tenant: Tenant, role: ModelRole) -> Result<Vec<ModelEntry>> {
        Ok(self.all(app, tenant, role).await?.into_iter().map(|known| known.entry).collect())
    }

    /// The model with this id, else the default one. The flag says whether the id was known.
    async fn resolve(
        &self,
        app: &crate::App,
        tenant: Tenant,
        role: ModelRole,
        id: Option<ModelId>,
    ) -> Result<Option<(Known, bool)>> {
        let all = self.all(app, tenant, role).await?;
        let exact = id.and_then(|id| all.iter().find(|known| known.entry.id == id));
        let found = exact.or_else(|| all.iter().find(|known| known.entry.is_default));
        Ok(found.map(|known| (known.clone(), id.is_none() || exact.is_some())))
    }

    /// The model that answers: the one with this id, else the default. There always is one.
    pub async fn chat(&self, app: &crate::App, tenant: Tenant, id: Option<ModelId>) -> Result<Chat> {
        match self.resolve(app, tenant, ModelRole::Chat, id).await? {
            Some((Known { entry, handle: Handle::Chat(model) }, _)) => Ok(Chat { entry, model }),
            _ => Err(Error::bug("no chat model")),
        }
    }

    /// The embedding model with this id; none when there is no such model, because vectors of
    /// different models do not compare.
    pub async fn embedding(&self, app: &crate::App, tenant: Tenant, id: ModelId) -> Result<Option<Embedding>> {
        Ok(match self.resolve(app, tenant, ModelRole::Embedding, Some(id)).await? {
            Some((Known { entry, handle: Handle::Embedding(model) }, true)) => Some(Embedding { entry, model }),
            _ => None,
        })
    }

    /// The rerank model with this id, else the default where there is one.
    pub async fn rerank(&self, app: &crate::App, tenant: Tenant, id: Option<ModelId>) -> Result<Option<Rerank>> {
        Ok(match self.resolve(app, tenant, ModelRole::Rerank, id).await? {
            Some((Known { entry, handle: Handle::Rerank(model) }, _)) => Some(Rerank { entry, model }),
            _ => None,
        })
    }

    /// The entry a write refers to: the model with this id, or the default one when there is no
    /// such model (contract decision D31), and then the flag is false. `None` without any model.
    pub async fn entry(
        &self,
        app: &crate::App,
        tenant: Tenant,
        role: ModelRole,
        id: Option<ModelId>,
    ) -> Result<Option<(ModelEntry, bool)>> {
        Ok(self.resolve(app, tenant, role, id).await?.map(|(known, exact)| (known.entry, exact)))
    }
}

/// Where a stored provider is, with its key.
pub(crate) fn endpoint(master_key: &MasterKey, tenant: Tenant, provider: &Provider) -> Result<Endpoint> {
    let kind = ProviderKind::parse(&provider.kind).ok_or_else(|| Error::bug("a provider of unknown kind"))?;
    let base_url = Url::parse(&provider.base_url).map_err(|error| Error::internal("a provider's address", error))?;
    let api_key = match &provider.api_key_sealed {
        None => None,
        Some(sealed) => {
            let opened = master_key.open(&key_place(tenant, &provider.id.to_string()), sealed)?;
            let text = std::str::from_utf8(&opened).map_err(|error| Error::internal("a provider's key", error))?;
            Some(SecretString::from(text.to_owned()))
        }
    };
    Ok(Endpoint { kind, base_url, api_key, origin: Origin::Tenant })
}

/// Where a provider's key stands.
pub(crate) fn key_place(tenant: Tenant, provider: &str) -> Place<'_> {
    Place { tenant, table: "model_providers", row: provider, column: "api_key_sealed" }
}
