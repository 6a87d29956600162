//! Whether the process lives and whether it can work.

use axum::extract::State;
use http::StatusCode;
use parlance_service::App;

/// The process answers.
pub(crate) async fn healthz() -> &'static str {
    "ok"
}

/// Storage and index answer, and the server is not stopping.
pub(crate) async fn readyz(State(app): State<App>) -> (StatusCode, &'static str) {
    if app.stopping.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping");
    }
    if !app.db.is_ready().await {
        return (StatusCode::SERVICE_UNAVAILABLE, "the database does not answer");
    }
    if let Err(error) = app.text_index.health() {
        tracing::warn!(%error, "the search index does not answer");
        return (StatusCode::SERVICE_UNAVAILABLE, "the search index does not answer");
    }
    (StatusCode::OK, "ready")
}
