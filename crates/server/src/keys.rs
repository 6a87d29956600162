//! `parlance key`: API keys from the command line.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use parlance_domain::{Clock, Ids, Permission, SystemClock, Tenant};
use parlance_service::authenticate::key_hash;
use parlance_service::first_start::new_key;
use parlance_storage::api_keys::{self, ApiKey};
use parlance_storage::{Db, Scope, organisations};

use crate::config::Config;
use crate::wiring;

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a key and print it, once.
    Create {
        /// What it is for.
        #[arg(long, default_value = "Command line")]
        name: String,
        /// What it may do: permission names separated by spaces, or * for everything.
        #[arg(long, default_value = "*")]
        scopes: String,
        /// Days until it stops working; forever when absent.
        #[arg(long)]
        days: Option<u32>,
    },
    /// List the keys; the keys themselves are not stored.
    List,
    /// Take a key back.
    Revoke {
        /// Its id, from the list.
        id: String,
    },
}

/// Carries out the command on the oldest organisation. Gives what to print.
pub(crate) async fn run(config: &Config, data: &Path, command: KeyCommand) -> Result<String> {
    // Only the database: blobs and indexes belong to the server, which may be running.
    let db = wiring::open_database(config, data).await?;
    let printed = carry_out(&db, command).await;
    db.close().await;
    printed
}

async fn carry_out(db: &Db, command: KeyCommand) -> Result<String> {
    let organisation = {
        let mut tx = db.read(Scope::System).await?;
        organisations::first(&mut tx).await?
    };
    let organisation = organisation.context("there is no organisation yet; run `parlance serve` once")?;
    let tenant = Tenant::authenticated(organisation.id);
    match command {
        KeyCommand::Create { name, scopes, days } => create(db, tenant, name, scopes, days).await,
        KeyCommand::List => list(db, tenant).await,
        KeyCommand::Revoke { id } => {
            let id = parlance_domain::Id::parse(&id).context("that is no id of a key")?;
            let now = SystemClock.now();
            let revoked = db
                .write(tenant, move |tx| Box::pin(async move { api_keys::revoke(tx, tenant, id, now).await }))
                .await?;
            if revoked { Ok(format!("revoked {id}\n")) } else { bail!("no key has this id") }
        }
    }
}

async fn create(db: &Db, tenant: Tenant, name: String, scopes: String, days: Option<u32>) -> Result<String> {
    for scope in scopes.split_whitespace() {
        if scope != "*" && !Permission::ALL.iter().any(|permission| permission.name() == scope) {
            let names: Vec<_> = Permission::ALL.iter().map(|permission| permission.name()).collect();
            bail!("there is no permission {scope:?}; there are: {}", names.join(" "));
        }
    }
    let owner = {
        let mut tx = db.read(tenant).await?;
        organisations::owner(&mut tx, tenant).await?
    };
    let key = new_key()?;
    let now = SystemClock.now();
    let row = ApiKey {
        id: Ids.next(now),
        organisation: tenant.organisation(),
        user_id: owner.context("the organisation has no owner")?.id,
        name,
        key_hash: hex_of(key_hash(&key)),
        scopes,
        created_at: now,
        expires_at: days.map(|days| now.plus(Duration::from_hours(24) * days)),
        revoked_at: None,
    };
    db.write(tenant, move |tx| Box::pin(async move { api_keys::upsert(tx, tenant, &row).await })).await?;
    Ok(format!("{key}\n"))
}

async fn list(db: &Db, tenant: Tenant) -> Result<String> {
    let keys = {
        let mut tx = db.read(tenant).await?;
        api_keys::list(&mut tx, tenant).await?
    };
    let now = SystemClock.now();
    let lines = keys.into_iter().map(|key| {
        let state = if key.revoked_at.is_some() {
            "revoked"
        } else if key.expires_at.is_some_and(|end| end <= now) {
            "expired"
        } else {
            "active"
        };
        format!("{}  {state:8}  {}  {}\n", key.id, key.scopes, key.name)
    });
    Ok(lines.collect())
}

fn hex_of(hash: [u8; 32]) -> String {
    use std::fmt::Write as _;
    hash.iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
