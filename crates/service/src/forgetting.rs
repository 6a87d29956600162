//! What is kept for a time only and then forgotten.

use std::time::Duration;

use parlance_domain::Result;
use parlance_storage::{Scope, audit, idempotency};

use crate::App;

/// Time that idempotency keys are kept, with their answers.
pub const IDEMPOTENCY_KEYS: Duration = Duration::from_hours(24);
/// Lines of the audit log that are removed in one transaction.
const SLICE: i64 = 5000;

/// Forgets idempotency keys and lines of the audit log whose time is over.
pub async fn forget(app: &App) -> Result<()> {
    let before = app.now().minus(IDEMPOTENCY_KEYS);
    app.db.write(Scope::System, move |tx| Box::pin(async move { idempotency::forget(tx, before).await })).await?;
    if app.settings.audit_retention.is_zero() {
        return Ok(());
    }
    let before = app.now().minus(app.settings.audit_retention);
    loop {
        let removed = app
            .db
            .write(Scope::System, move |tx| Box::pin(async move { audit::forget(tx, before, SLICE).await }))
            .await?;
        if removed < SLICE.unsigned_abs() || app.stopping.is_cancelled() {
            return Ok(());
        }
    }
}
