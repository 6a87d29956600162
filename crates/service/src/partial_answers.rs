//! Saving what unfinished answers have so far, so that a crash loses a second of text at most.

use std::sync::Arc;
use std::time::Duration;

use parlance_domain::Result;
use parlance_storage::Scope;
use parlance_storage::messages::{self, Partial};

use crate::App;
use crate::live_answer::{About, LiveAnswer};

/// Saves the text of unfinished answers, many with each write, until the server stops.
pub async fn save_partial_answers(app: &App) {
    let mut ticks = tokio::time::interval(Duration::from_millis(700));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut round: u32 = 0;
    loop {
        ticks.tick().await;
        round = round.wrapping_add(1);
        if round.is_multiple_of(16) {
            app.streams.expire();
        }
        let unfinished = app.streams.unfinished();
        let mut unsaved = unfinished.iter().filter_map(unsaved);
        loop {
            let partials: Vec<Partial> = unsaved.by_ref().take(SAVED_AT_ONCE).collect();
            if partials.is_empty() {
                break;
            }
            save_together(app, partials).await;
        }
    }
}

/// What an answer has so far, if some of it was not saved yet.
fn unsaved(answer: &Arc<LiveAnswer>) -> Option<Partial> {
    let About { tenant, message, .. } = answer.about;
    answer.unsaved().map(|content| Partial { tenant, id: message, content })
}

async fn save_together(app: &App, partials: Vec<Partial>) {
    let partials = Arc::new(partials);
    let Err(error) = save(app, Arc::clone(&partials)).await else { return };
    tracing::warn!(%error, "unfinished answers could not be saved together; they are saved one by one");
    for partial in partials.iter() {
        if let Err(error) = save(app, Arc::new(vec![partial.clone()])).await {
            tracing::warn!(%error, message = %partial.id, "an unfinished answer could not be saved");
        }
    }
}

/// Unfinished answers that are saved with one write: few enough not to keep other writes waiting.
const SAVED_AT_ONCE: usize = 64;

async fn save(app: &App, partials: Arc<Vec<Partial>>) -> Result<()> {
    let now = app.now();
    app.db
        .write(Scope::System, move |tx| Box::pin(async move { messages::save_partials(tx, &partials, now).await }))
        .await
}
