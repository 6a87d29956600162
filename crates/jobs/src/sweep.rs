//! Removing uploads that nothing refers to.

use std::time::Duration;

use parlance_service::{App, uploads};

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(30);

/// Removes abandoned and released uploads until the server stops.
pub async fn sweep_uploads(app: &App) {
    loop {
        match uploads::sweep(app).await {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "removed uploads that nothing refers to"),
            Err(error) => tracing::warn!(%error, "uploads could not be swept"),
        }
        tokio::select! {
            () = app.stopping.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}
