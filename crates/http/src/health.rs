//! Whether the process lives and whether it can work.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use parlance_service::App;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// A verdict is given again for this long, so that asking often costs nothing.
const VERDICT_HOLDS: Duration = Duration::from_secs(1);
/// What does not answer within this time does not work.
const PATIENCE: Duration = Duration::from_secs(3);

/// What is answered.
type Verdict = (StatusCode, &'static str);

/// The process answers.
pub(crate) async fn healthz() -> &'static str {
    "ok"
}

/// Knows whether storage and index answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readiness {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    last: Option<(Instant, Verdict)>,
    /// A look at the index that has not ended; another one would only wait beside it.
    index: Option<JoinHandle<bool>>,
}

impl Readiness {
    /// Storage and index answer, and the server is not stopping.
    pub(crate) async fn verdict(&self, app: &App) -> Verdict {
        if app.stopping.is_cancelled() {
            return (StatusCode::SERVICE_UNAVAILABLE, "stopping");
        }
        let mut state = self.state.lock().await;
        if let Some((at, verdict)) = state.last
            && at.elapsed() < VERDICT_HOLDS
        {
            return verdict;
        }
        let verdict = state.look(app).await;
        state.last = Some((Instant::now(), verdict));
        verdict
    }
}

impl State {
    async fn look(&mut self, app: &App) -> Verdict {
        if !timeout(PATIENCE, app.db.is_ready()).await.unwrap_or_default() {
            return (StatusCode::SERVICE_UNAVAILABLE, "the database does not answer");
        }
        let index = self.index.get_or_insert_with(|| {
            let text_index = Arc::clone(&app.text_index);
            tokio::task::spawn_blocking(move || match text_index.health() {
                Ok(_) => true,
                Err(error) => {
                    tracing::warn!(%error, "the search index does not answer");
                    false
                }
            })
        });
        let Ok(ended) = timeout(PATIENCE, index).await else {
            return (StatusCode::SERVICE_UNAVAILABLE, "the search index does not answer");
        };
        self.index = None;
        if ended.unwrap_or_default() {
            (StatusCode::OK, "ready")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "the search index does not answer")
        }
    }
}
