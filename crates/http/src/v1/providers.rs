//! Model providers of an organisation. Keys are written, never read.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use parlance_domain::kind;
use parlance_service::App;
use parlance_service::providers::{self, ModelDraft, ProviderDraft};
use parlance_storage::providers::{Model, Provider};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::{ApiErrors, ApiResult};
use crate::extract::{Authorized, Body, PathId, Reference, grants};

/// A model of a provider, as it is asked for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ModelBody {
    /// An existing model of this provider.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    id: Option<Reference>,
    /// The provider's name for it.
    name: String,
    /// `chat`, `embedding` or `rerank`.
    role: String,
    #[serde(default)]
    dimensions: Option<u32>,
    #[serde(default)]
    sees_images: bool,
    #[serde(default)]
    is_default: bool,
}

/// A provider, as it is asked for. Has no `Debug`, because it holds the key.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProviderBody {
    name: String,
    /// `openai` (and everything compatible), `azure`, `anthropic`, `gemini`, `cohere`, `jina`, `tei`.
    kind: String,
    /// Address with the version path.
    base_url: String,
    /// Write-only. Absent leaves the stored key; empty removes it; a change of host removes it too.
    #[serde(default)]
    #[schema(value_type = Option<String>, write_only)]
    api_key: Option<String>,
    #[serde(default)]
    models: Vec<ModelBody>,
}

impl ProviderBody {
    fn draft(self) -> ApiResult<ProviderDraft> {
        let mut models = Vec::with_capacity(self.models.len());
        for (position, model) in self.models.into_iter().enumerate() {
            let id = match &model.id {
                Some(reference) => Some(reference.require(&format!("models.{position}.id"))?),
                None => None,
            };
            models.push(ModelDraft {
                id,
                name: model.name,
                role: model.role,
                dimensions: model.dimensions,
                sees_images: model.sees_images,
                is_default: model.is_default,
            });
        }
        Ok(ProviderDraft {
            name: self.name,
            kind: self.kind,
            base_url: self.base_url,
            api_key: self.api_key.map(SecretString::from),
            models,
        })
    }
}

/// A provider.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProviderView {
    id: String,
    name: String,
    kind: String,
    base_url: String,
    /// Whether a key is stored.
    has_api_key: bool,
    models: Vec<ProviderModelView>,
    created_at: String,
    updated_at: String,
}

/// A model of a provider.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProviderModelView {
    id: String,
    name: String,
    role: String,
    dimensions: Option<i64>,
    sees_images: bool,
    is_default: bool,
}

fn view((provider, models): (Provider, Vec<Model>)) -> ProviderView {
    ProviderView {
        id: provider.id.to_string(),
        name: provider.name,
        kind: provider.kind,
        base_url: provider.base_url,
        has_api_key: provider.api_key_sealed.is_some(),
        models: models
            .into_iter()
            .map(|model| ProviderModelView {
                id: model.id.to_string(),
                name: model.name,
                role: model.role,
                dimensions: model.dimensions,
                sees_images: model.sees_images,
                is_default: model.is_default,
            })
            .collect(),
        created_at: provider.created_at.to_string(),
        updated_at: provider.updated_at.to_string(),
    }
}

/// List the organisation's model providers.
#[utoipa::path(get, path = "/api/v1/model-providers/", tag = "models",
    responses((status = 200, body = Vec<ProviderView>), ApiErrors))]
pub(crate) async fn list(
    auth: Authorized<grants::ReadModels>,
    State(app): State<App>,
) -> ApiResult<Json<Vec<ProviderView>>> {
    Ok(Json(providers::list(&app, auth.tenant()).await?.into_iter().map(view).collect()))
}

/// Add a model provider.
#[utoipa::path(post, path = "/api/v1/model-providers/", tag = "models", request_body = ProviderBody,
    responses((status = 201, body = ProviderView), ApiErrors))]
pub(crate) async fn create(
    auth: Authorized<grants::WriteModels>,
    State(app): State<App>,
    Body(body): Body<ProviderBody>,
) -> ApiResult<(StatusCode, Json<ProviderView>)> {
    let provider = providers::create(&app, auth.tenant(), body.draft()?).await?;
    Ok((StatusCode::CREATED, Json(view(provider))))
}

/// One model provider.
#[utoipa::path(get, path = "/api/v1/model-providers/{id}/", tag = "models", params(("id" = String, Path)),
    responses((status = 200, body = ProviderView), ApiErrors))]
pub(crate) async fn get(
    auth: Authorized<grants::ReadModels>,
    State(app): State<App>,
    PathId(id): PathId<kind::Provider>,
) -> ApiResult<Json<ProviderView>> {
    Ok(Json(view(providers::get(&app, auth.tenant(), id).await?)))
}

/// Replace a model provider.
#[utoipa::path(put, path = "/api/v1/model-providers/{id}/", tag = "models", params(("id" = String, Path)),
    request_body = ProviderBody, responses((status = 200, body = ProviderView), ApiErrors))]
pub(crate) async fn update(
    auth: Authorized<grants::WriteModels>,
    State(app): State<App>,
    PathId(id): PathId<kind::Provider>,
    Body(body): Body<ProviderBody>,
) -> ApiResult<Json<ProviderView>> {
    Ok(Json(view(providers::update(&app, auth.tenant(), id, body.draft()?).await?)))
}

/// Remove a model provider; assistants that used its models take the default.
#[utoipa::path(delete, path = "/api/v1/model-providers/{id}/", tag = "models", params(("id" = String, Path)),
    responses((status = 204), ApiErrors))]
pub(crate) async fn delete(
    auth: Authorized<grants::WriteModels>,
    State(app): State<App>,
    PathId(id): PathId<kind::Provider>,
) -> ApiResult<StatusCode> {
    providers::delete(&app, auth.tenant(), id).await?;
    Ok(StatusCode::NO_CONTENT)
}
