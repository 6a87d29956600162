//! Removing what nobody needs any more: uploads that nothing refers to, old webhook deliveries,
//! idempotency keys and audit entries.

use std::time::Duration;

use parlance_service::{App, forgetting, uploads, webhooks};

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(30);

/// Looks for [`uploads::sweep`] between two looks at all bytes on disk: a day.
const LOOKS_PER_DAY: u32 = 24 * 60 * 2;

/// Looks between two at old webhook deliveries: an idle server is to write nothing.
const LOOKS_PER_HOUR: u32 = 2 * 60;

/// Removes abandoned and released uploads and old webhook deliveries until the server stops; at its
/// start and then daily, bytes that the database knows nothing of.
pub async fn sweep_uploads(app: &App) {
    let mut look: u32 = 0;
    loop {
        if look == 0 {
            match uploads::sweep_unknown_bytes(app).await {
                Ok(0) => {}
                Ok(removed) => tracing::info!(removed, "removed stored files that the database knows nothing of"),
                Err(error) => tracing::warn!(%error, "stored files could not be swept"),
            }
        }
        if look.is_multiple_of(LOOKS_PER_HOUR)
            && let Err(error) = forgetting::forget(app).await
        {
            tracing::warn!(%error, "old idempotency keys and audit entries could not be forgotten");
        }
        look = (look + 1) % LOOKS_PER_DAY;
        match uploads::sweep(app).await {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "removed uploads that nothing refers to"),
            Err(error) => tracing::warn!(%error, "uploads could not be swept"),
        }
        if look % LOOKS_PER_HOUR == 1 {
            match webhooks::sweep(app).await {
                Ok(0) => {}
                Ok(removed) => tracing::info!(removed, "removed webhook deliveries that ended long ago"),
                Err(error) => tracing::warn!(%error, "webhook deliveries could not be swept"),
            }
        }
        tokio::select! {
            () = app.stopping.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}
