//! Keeps a certificate for each name that is to have one: the server's own and verified custom domains.
//! What clients ask for starts nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use parlance_domain::Timestamp;
use parlance_service::{App, domains};

use super::acme::{Directory, Failure};
use super::certificates::{Certificate, Certificates};
use super::schedule;
use super::store::{Attempts, Store};

/// Time between two looks at which names there are and what they lack.
const PERIOD: Duration = Duration::from_secs(2);
const DAY: Duration = Duration::from_hours(24);
/// Time in which nothing is asked for when the directory cannot be used; twice as long each time.
const DIRECTORY_PAUSE: Duration = Duration::from_mins(1);
const LONGEST_DIRECTORY_PAUSE: Duration = Duration::from_hours(1);

/// Which names get a certificate.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    /// The server's own, if it has one that needs a certificate.
    pub(crate) own: Option<String>,
    /// Custom domains of one organisation at most.
    pub(crate) per_organisation: u32,
    /// Custom domains at most.
    pub(crate) limit: u32,
}

/// The certificates of the names and what is known of asking for them.
pub(crate) struct Keeper {
    names: Names,
    directory: Directory,
    store: Store,
    shown: Arc<Certificates>,
    /// What the folder holds of the names, each read once.
    known: BTreeMap<String, Option<Certificate>>,
    attempts: Attempts,
    /// When files of names that are gone are looked for again.
    tidy_at: Timestamp,
    directory_failures: u32,
    /// Nothing is asked for before.
    not_before: Timestamp,
}

impl Keeper {
    /// One that knows nothing yet.
    pub(crate) fn new(names: Names, directory: Directory, store: Store, shown: Arc<Certificates>) -> Self {
        Self {
            names,
            directory,
            store,
            shown,
            known: BTreeMap::new(),
            attempts: Attempts::new(),
            tidy_at: Timestamp::from_millis(0),
            directory_failures: 0,
            not_before: Timestamp::from_millis(0),
        }
    }

    /// Keeps them until the server stops.
    pub(crate) async fn run(mut self, app: &App) {
        match self.with_store(Store::attempts).await {
            Ok(attempts) => self.attempts = attempts,
            Err(error) => tracing::error!(error = format!("{error:#}"), "when certificates were asked for is unknown"),
        }
        let keep = async {
            loop {
                if let Err(error) = self.look(app).await {
                    tracing::error!(error = format!("{error:#}"), "certificates could not be looked after");
                }
                tokio::time::sleep(PERIOD).await;
            }
        };
        // An order that is under way is given up: it counts as an attempt.
        tokio::select! {
            () = keep => {}
            () = app.stopping.cancelled() => {}
        }
    }

    /// Looks at what there is to do and does it.
    async fn look(&mut self, app: &App) -> Result<()> {
        let wanted = self.wanted(app).await?;
        let is_wanted: BTreeSet<&str> = wanted.iter().map(String::as_str).collect();
        self.known.retain(|name, _certificate| is_wanted.contains(name.as_str()));
        self.shown.keep(|name| is_wanted.contains(name));
        schedule::forget_unwanted(&mut self.attempts, app.now(), |name| is_wanted.contains(name));
        for name in &wanted {
            if !self.known.contains_key(name) {
                let certificate = self.stored(name).await;
                self.know(name, certificate);
            }
        }
        if self.tidy_at <= app.now() {
            self.tidy_at = app.now().plus(DAY);
            let wanted: BTreeSet<String> = wanted.iter().cloned().collect();
            self.with_store(move |store| store.remove_unwanted(|name| wanted.contains(name))).await?;
        }
        while let Some(name) = self.next(&wanted, app.now()) {
            self.obtain(app, &name).await?;
        }
        Ok(())
    }

    async fn wanted(&self, app: &App) -> Result<Vec<String>> {
        let custom = domains::verified(app, self.names.per_organisation, self.names.limit).await?;
        let own = self.names.own.clone();
        Ok(own.iter().cloned().chain(custom.into_iter().filter(|name| Some(name) != own.as_ref())).collect())
    }

    /// The certificate that was kept for a name. One that cannot be used is as good as none.
    async fn stored(&self, name: &str) -> Option<Certificate> {
        let wanted = name.to_owned();
        self.with_store(move |store| store.certificate(&wanted)).await.unwrap_or_else(|error| {
            tracing::warn!(name, error = format!("{error:#}"), "a stored certificate cannot be used");
            None
        })
    }

    fn know(&mut self, name: &str, certificate: Option<Certificate>) {
        if let Some(certificate) = &certificate {
            self.shown.show(name, Arc::clone(&certificate.key));
        }
        self.known.insert(name.to_owned(), certificate);
    }

    fn next(&self, wanted: &[String], now: Timestamp) -> Option<String> {
        if now < self.not_before {
            return None;
        }
        let is_due = |name: &&str| {
            let certificate = self.known.get(*name).and_then(Option::as_ref);
            certificate.is_none_or(|certificate| certificate.renew_at <= now)
        };
        let due = wanted.iter().map(String::as_str).filter(is_due);
        schedule::next(due, &self.attempts, now).map(str::to_owned)
    }

    /// Asks for a certificate and shows it.
    ///
    /// # Errors
    /// When nothing can be written, in which case nothing is asked for.
    async fn obtain(&mut self, app: &App, name: &str) -> Result<()> {
        let before = self.attempts.get(name).copied();
        schedule::begin(&mut self.attempts, name, app.now());
        // Without this on the disk, a server that is started again and again would ask each time.
        self.save_attempts().await?;
        match self.directory.obtain(name, &self.shown).await {
            Ok(text) => self.receive(name, text).await,
            Err(Failure::Name(error)) => {
                let failures = self.attempts.get(name).map_or(0, |attempt| attempt.failures);
                let again_in = schedule::pause(failures);
                tracing::warn!(
                    name,
                    error = format!("{error:#}"),
                    ?again_in,
                    "no certificate: DNS must lead the name to this server, and port 443 there to TLS__LISTEN"
                );
                self.directory_failures = 0;
                Ok(())
            }
            Err(Failure::Limited(error)) => {
                self.wait(app, &error);
                Ok(())
            }
            Err(Failure::Directory(error)) => {
                self.wait(app, &error);
                // It was not the name's fault.
                match before {
                    Some(before) => self.attempts.insert(name.to_owned(), before),
                    None => self.attempts.remove(name),
                };
                self.save_attempts().await
            }
        }
    }

    fn wait(&mut self, app: &App, error: &anyhow::Error) {
        let pause = DIRECTORY_PAUSE * 2_u32.pow(self.directory_failures.min(8));
        let again_in = pause.min(LONGEST_DIRECTORY_PAUSE);
        self.directory_failures += 1;
        self.not_before = app.now().plus(again_in);
        tracing::warn!(
            error = format!("{error:#}"),
            ?again_in,
            "no certificates from TLS__DIRECTORY_URL: it must be reachable and accept TLS__CONTACT"
        );
    }

    async fn receive(&mut self, name: &str, text: String) -> Result<()> {
        self.directory_failures = 0;
        let certificate = Certificate::read(text.as_bytes(), text.as_bytes())?;
        certificate.check_name(name)?;
        if let Some(attempt) = self.attempts.get_mut(name) {
            attempt.failures = 0;
        }
        tracing::info!(name, renewed_at = %certificate.renew_at, "a certificate was obtained");
        self.know(name, Some(certificate));
        let saved = name.to_owned();
        self.with_store(move |store| store.save_certificate(&saved, &text)).await?;
        self.save_attempts().await
    }

    async fn save_attempts(&self) -> Result<()> {
        let attempts = self.attempts.clone();
        self.with_store(move |store| store.save_attempts(&attempts)).await
    }

    /// Files are for threads that may wait.
    async fn with_store<T: Send + 'static>(
        &self,
        use_it: impl FnOnce(&Store) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || use_it(&store)).await?
    }
}
