//! The running app and its actors.

use std::net::SocketAddr;

use axum::ServiceExt;
use axum::extract::Request;
use parlance_domain::kind::UserId;
use parlance_domain::{Tenant, Timestamp};
use parlance_service::App;
use parlance_service::authenticate::key_hash;
use parlance_service::first_start::{self, FirstStart};
use parlance_storage::api_keys::{self, ApiKey};
use parlance_storage::organisations::{self, Organisation, User};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use url::Url;

use crate::actor::Actor;
use crate::builder::Builder;

/// A running app with an organisation, whose owner is [`TestApp::owner`].
#[derive(Debug)]
pub struct TestApp {
    /// The app, for what has no API.
    pub app: App,
    /// Where it is served.
    pub url: Url,
    /// What the first start made.
    pub first: FirstStart,
    /// The organisation of the first start.
    pub tenant: Tenant,
    pub(crate) client: reqwest::Client,
    folder: TempDir,
    server: JoinHandle<()>,
}

impl Drop for TestApp {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl TestApp {
    /// An app with the built-in model.
    pub async fn start() -> Self {
        Builder::default().start().await
    }

    /// An app to be described.
    pub fn builder() -> Builder {
        Builder::default()
    }

    #[expect(clippy::expect_used, reason = "a test cannot go on without its app")]
    pub(crate) async fn serve(folder: TempDir, app: App, url: Url, listener: TcpListener) -> Self {
        let first =
            first_start::prepare(&app, None, |_| Ok(())).await.expect("a first start").expect("an empty database");
        let tenant = {
            let mut tx = app.db.read(parlance_storage::Scope::System).await.expect("the database");
            let organisation = organisations::first(&mut tx).await.expect("the database").expect("an organisation");
            Tenant::authenticated(organisation.id)
        };
        let service = parlance_http::serve_both_forms(parlance_http::router(app.clone()));
        let server = tokio::spawn(async move {
            let service = ServiceExt::<Request>::into_make_service_with_connect_info::<SocketAddr>(service);
            axum::serve(listener, service).await.expect("serving");
        });
        #[expect(clippy::disallowed_methods, reason = "the client of a test, which calls the test's own server")]
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .expect("a client");
        Self { app, url, first, tenant, client, folder, server }
    }

    /// The folder of everything that is stored.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Somebody with every permission in the first organisation.
    pub fn owner(&self) -> Actor {
        self.actor(Some(format!("Api-Key {}", self.first.api_key)))
    }

    /// Somebody without a credential.
    pub fn nobody(&self) -> Actor {
        self.actor(None)
    }

    /// Somebody with this `Authorization` header.
    pub fn with_header(&self, authorization: &str) -> Actor {
        self.actor(Some(authorization.to_owned()))
    }

    fn actor(&self, authorization: Option<String>) -> Actor {
        Actor { url: self.url.clone(), client: self.client.clone(), authorization }
    }

    /// Somebody of the first organisation with these permissions: names joined by spaces.
    pub async fn key(&self, scopes: &str) -> Actor {
        self.key_until(scopes, None, None).await
    }

    /// As [`TestApp::key`], with an end and a time at which it was taken back.
    ///
    /// # Panics
    /// When the key cannot be stored.
    #[expect(clippy::expect_used, reason = "a test cannot go on without its key")]
    pub async fn key_until(&self, scopes: &str, expires_at: Option<Timestamp>, revoked_at: Option<Timestamp>) -> Actor {
        let tenant = self.tenant;
        let owner = {
            let mut tx = self.app.db.read(tenant).await.expect("the database");
            organisations::owner(&mut tx, tenant).await.expect("the database").expect("an owner")
        };
        let key = first_start::new_key().expect("a key");
        let row = ApiKey { expires_at, revoked_at, ..self.api_key(tenant, owner.id, &key, scopes) };
        self.store_key(row, &key).await
    }

    /// A member of the first organisation, by their id, with a key that allows all they may.
    ///
    /// # Panics
    /// When that is no id, or the key cannot be stored.
    #[expect(clippy::expect_used, reason = "a test cannot go on without its key")]
    pub async fn member(&self, user: &str) -> Actor {
        let key = first_start::new_key().expect("a key");
        let row = self.api_key(self.tenant, UserId::parse(user).expect("the id of a user"), &key, "*");
        self.store_key(row, &key).await
    }

    #[expect(clippy::expect_used, reason = "a test cannot go on without its key")]
    async fn store_key(&self, row: ApiKey, key: &str) -> Actor {
        let tenant = self.tenant;
        self.app
            .db
            .write(tenant, move |tx| Box::pin(async move { api_keys::upsert(tx, tenant, &row).await }))
            .await
            .expect("storing a key");
        self.actor(Some(format!("Api-Key {key}")))
    }

    fn api_key(&self, tenant: Tenant, owner: UserId, key: &str, scopes: &str) -> ApiKey {
        ApiKey {
            id: self.app.new_id(),
            organisation: tenant.organisation(),
            user_id: owner,
            name: "Test".to_owned(),
            key_hash: hex::encode(key_hash(key)),
            scopes: scopes.to_owned(),
            created_at: self.app.now(),
            expires_at: None,
            revoked_at: None,
        }
    }

    /// The organisation that somebody's key is of.
    ///
    /// # Panics
    /// When they have no good key.
    #[expect(clippy::expect_used, reason = "a test cannot go on without its organisation")]
    pub async fn tenant_of(&self, actor: &Actor) -> Tenant {
        let header = actor.authorization().map(str::as_bytes);
        parlance_service::authenticate::authenticate(&self.app, header).await.expect("a good key").tenant
    }

    /// The owner of another, empty organisation.
    ///
    /// # Panics
    /// When it cannot be stored.
    #[expect(clippy::expect_used, reason = "a test cannot go on without its organisation")]
    pub async fn other_organisation(&self) -> Actor {
        let now = self.app.now();
        let organisation = Organisation {
            id: self.app.new_id(),
            name: "Another".to_owned(),
            time_zone: "Asia/Taipei".to_owned(),
            created_at: now,
        };
        let tenant = Tenant::authenticated(organisation.id);
        let owner = User { id: self.app.new_id(), name: "Other".to_owned(), role: "owner".to_owned(), created_at: now };
        let key = first_start::new_key().expect("a key");
        let row = self.api_key(tenant, owner.id, &key, "*");
        self.app
            .db
            .write(tenant, move |tx| {
                Box::pin(async move {
                    organisations::insert(tx, &organisation).await?;
                    organisations::insert_user(tx, tenant, &owner).await?;
                    api_keys::upsert(tx, tenant, &row).await
                })
            })
            .await
            .expect("storing an organisation");
        self.actor(Some(format!("Api-Key {key}")))
    }

    /// Runs jobs as the product does, from now on until the test ends.
    pub fn run_jobs_in_background(&self) {
        let app = self.app.clone();
        tokio::spawn(async move { parlance_jobs::run(&app, 2).await });
    }

    /// Runs every job that is due, and the indexer, until nothing is left to do.
    ///
    /// # Panics
    /// When the database fails.
    #[expect(clippy::expect_used, reason = "a test cannot go on without its jobs")]
    pub async fn run_jobs(&self) -> usize {
        parlance_jobs::drain(&self.app).await.expect("running jobs")
    }
}
