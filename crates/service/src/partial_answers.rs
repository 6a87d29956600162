//! Saving what unfinished answers have so far, so that a crash loses a second of text at most.

use std::sync::Arc;
use std::time::Duration;

use parlance_domain::Result;
use parlance_storage::{Scope, messages};

use crate::App;
use crate::live_answer::LiveAnswer;

/// Saves the text of unfinished answers, all of them in one transaction, until the server stops.
pub async fn save_partial_answers(app: &App) {
    let mut ticks = tokio::time::interval(Duration::from_millis(700));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut round: u32 = 0;
    loop {
        ticks.tick().await;
        let unsaved = app.streams.unsaved();
        round = round.wrapping_add(1);
        if round.is_multiple_of(16) {
            app.streams.expire();
        }
        if unsaved.is_empty() {
            continue;
        }
        for texts in unsaved.chunks(SAVED_AT_ONCE) {
            if let Err(error) = save_partial(app, texts.to_vec()).await {
                tracing::warn!(%error, "unfinished answers could not be saved together; they are saved one by one");
                for text in texts {
                    if let Err(error) = save_partial(app, vec![text.clone()]).await {
                        tracing::warn!(%error, message = %text.0.about.message, "an unfinished answer could not be saved");
                    }
                }
            }
        }
    }
}

/// Unfinished answers that are saved with one write: few enough not to keep other writes waiting.
const SAVED_AT_ONCE: usize = 64;

async fn save_partial(app: &App, texts: Vec<(Arc<LiveAnswer>, String)>) -> Result<()> {
    let now = app.now();
    app.db
        .write(Scope::System, move |tx| {
            Box::pin(async move {
                for (answer, text) in &texts {
                    let about = &answer.about;
                    messages::save_partial(tx, about.tenant, about.message, text, now).await?;
                }
                Ok(())
            })
        })
        .await
}
