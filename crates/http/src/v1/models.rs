//! Models to choose from: bare arrays (contract decision D28).

use axum::Json;
use axum::extract::State;
use parlance_service::App;
use parlance_service::models::{ModelEntry, ModelRole};
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::{ApiErrors, ApiResult};
use crate::extract::{Authorized, grants};

/// A model.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ModelView {
    id: String,
    name: String,
    is_default: bool,
    provider: String,
}

impl From<&ModelEntry> for ModelView {
    fn from(entry: &ModelEntry) -> Self {
        Self {
            id: entry.id.to_string(),
            name: entry.name.clone(),
            is_default: entry.is_default,
            provider: entry.provider.clone(),
        }
    }
}

async fn list(app: &App, auth: &Authorized<grants::ReadModels>, role: ModelRole) -> ApiResult<Json<Vec<ModelView>>> {
    let entries = app.catalogue.list(app, auth.tenant(), role).await?;
    Ok(Json(entries.iter().map(ModelView::from).collect()))
}

/// List the models that answer.
#[utoipa::path(get, path = "/api/v1/large-language-models/", tag = "models",
    responses((status = 200, body = Vec<ModelView>), ApiErrors))]
pub(crate) async fn large_language_models(
    auth: Authorized<grants::ReadModels>,
    State(app): State<App>,
) -> ApiResult<Json<Vec<ModelView>>> {
    list(&app, &auth, ModelRole::Chat).await
}

/// List the models that make vectors.
#[utoipa::path(get, path = "/api/v1/embedding-models/", tag = "models",
    responses((status = 200, body = Vec<ModelView>), ApiErrors))]
pub(crate) async fn embedding_models(
    auth: Authorized<grants::ReadModels>,
    State(app): State<App>,
) -> ApiResult<Json<Vec<ModelView>>> {
    list(&app, &auth, ModelRole::Embedding).await
}

/// List the models that reorder passages.
#[utoipa::path(get, path = "/api/v1/reranker-models/", tag = "models",
    responses((status = 200, body = Vec<ModelView>), ApiErrors))]
pub(crate) async fn reranker_models(
    auth: Authorized<grants::ReadModels>,
    State(app): State<App>,
) -> ApiResult<Json<Vec<ModelView>>> {
    list(&app, &auth, ModelRole::Rerank).await
}
