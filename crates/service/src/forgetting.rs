//! What is kept for a time only and then forgotten.

use std::time::Duration;

use parlance_domain::{Result, Tenant};
use parlance_storage::{
    Scope, audit, idempotency, silent_contacts, visitor_sessions, web_chat_reservations, web_chat_usage,
};

use crate::conversation_turn::ANONYMOUS;
use crate::{App, spending};

/// Time that idempotency keys are kept, with their answers.
pub const IDEMPOTENCY_KEYS: Duration = Duration::from_hours(24);
/// Time that ended sessions of visitors are kept.
const ENDED_SESSIONS: Duration = Duration::from_hours(24);
/// Time that the counts of a web chat's day are kept.
const DAYS_OF_USE: Duration = Duration::from_hours(40 * 24);
/// Ended sessions that are removed in one transaction.
const SESSIONS: i64 = 200;
/// Lines of the audit log that are removed in one transaction.
const SLICE: i64 = 5000;

/// Forgets idempotency keys, sessions of visitors (with the contacts of those who never wrote), counts
/// of days and lines of the audit log whose time is over.
pub async fn forget(app: &App) -> Result<()> {
    let before = app.now().minus(IDEMPOTENCY_KEYS);
    app.db.write(Scope::System, move |tx| Box::pin(async move { idempotency::forget(tx, before).await })).await?;
    forget_visitors(app).await?;
    let (day, _) = spending::day_at(app.now().minus(DAYS_OF_USE), "UTC");
    app.db
        .write(Scope::System, move |tx| {
            Box::pin(async move {
                web_chat_reservations::forget(tx, &day).await?;
                web_chat_usage::forget(tx, &day).await
            })
        })
        .await?;
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

/// Forgets ended sessions of visitors, in slices; with each the contact that it made, if they never wrote
/// anything and nothing else is known of them.
async fn forget_visitors(app: &App) -> Result<()> {
    let before = app.now().minus(ENDED_SESSIONS);
    loop {
        let ended = app
            .db
            .write(Scope::System, move |tx| {
                Box::pin(async move {
                    let ended = visitor_sessions::forget(tx, before, SESSIONS).await?;
                    for (organisation, contact) in &ended {
                        let tenant = Tenant::authenticated(*organisation);
                        silent_contacts::remove(tx, tenant, *contact, ANONYMOUS).await?;
                    }
                    Ok(ended.len())
                })
            })
            .await?;
        if i64::try_from(ended).unwrap_or(i64::MAX) < SESSIONS || app.stopping.is_cancelled() {
            return Ok(());
        }
    }
}
