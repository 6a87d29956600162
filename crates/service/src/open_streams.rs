//! Credentials that open streams depend on, and whether they are still good.
//!
//! A stream asks once who it is for and may then be open for hours. One task for the process looks
//! at the credentials that have open streams every few seconds, each once however many streams it
//! has, and tells the streams of those that are not good any more. It runs only while there are some.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use parlance_domain::Principal;
use tokio_util::sync::CancellationToken;

use crate::App;
use crate::authenticate::still_valid;

/// Time between two looks. With it a stream ends within five seconds.
const EVERY: Duration = Duration::from_secs(2);

/// The credentials with open streams.
#[derive(Debug, Default)]
pub struct OpenStreams {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    watched: HashMap<String, Entry>,
    has_task: bool,
}

#[derive(Debug)]
struct Entry {
    principal: Principal,
    gone: CancellationToken,
    streams: usize,
}

/// A stream that is watched until this is dropped.
#[derive(Debug)]
pub struct Watched {
    state: Arc<Mutex<State>>,
    credential: String,
    gone: CancellationToken,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watched {
    /// Fires when the credential is not good any more: revoked, expired, its user removed, or with
    /// fewer permissions or another reach than when the stream began.
    pub fn gone(&self) -> &CancellationToken {
        &self.gone
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        if let Some(entry) = state.watched.get_mut(&self.credential) {
            entry.streams -= 1;
            if entry.streams == 0 {
                state.watched.remove(&self.credential);
            }
        }
    }
}

/// Watches a credential while a stream for it is open.
pub fn watch(app: &App, principal: &Principal) -> Watched {
    let credential = format!("{:?} {:?} {:?}", principal.kind, principal.scopes, principal.tenant.reach());
    let mut state = lock(&app.open_streams.state);
    let entry = state.watched.entry(credential.clone()).or_insert_with(|| Entry {
        principal: *principal,
        gone: CancellationToken::new(),
        streams: 0,
    });
    entry.streams += 1;
    let gone = entry.gone.clone();
    if !state.has_task {
        state.has_task = true;
        let looking = app.clone();
        tokio::spawn(async move { look_again_and_again(&looking).await });
    }
    Watched { state: Arc::clone(&app.open_streams.state), credential, gone }
}

async fn look_again_and_again(app: &App) {
    loop {
        tokio::time::sleep(EVERY).await;
        let watched: Vec<(Principal, CancellationToken)> = {
            let mut state = lock(&app.open_streams.state);
            if state.watched.is_empty() {
                state.has_task = false;
                return;
            }
            state.watched.values().map(|entry| (entry.principal, entry.gone.clone())).collect()
        };
        for (principal, gone) in watched {
            match still_valid(app, &principal).await {
                Ok(true) => {}
                Ok(false) => gone.cancel(),
                // A database that does not answer makes nobody's credential bad.
                Err(error) => tracing::warn!(%error, "the credential of an open stream could not be looked at"),
            }
        }
    }
}
