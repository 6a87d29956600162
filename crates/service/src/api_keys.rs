//! API keys, made and taken back through the API.

use parlance_domain::kind::ApiKeyId;
use parlance_domain::{Error, Permission, Principal, Result, Scopes, Timestamp};
use parlance_storage::api_keys::{self, ApiKey};

use crate::App;
use crate::authenticate::key_hash;
use crate::first_start::new_key;

/// Characters of a name.
const MAX_NAME: usize = 255;

/// What a new key is to be.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// What it is for.
    pub name: String,
    /// What it may do: part of what its maker may. `None` for all of that.
    pub scopes: Option<Vec<String>>,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
}

fn checked_name(name: &str) -> Result<String> {
    let name = name.trim();
    match name.chars().count() {
        0 => Err(Error::field("name", "This field may not be blank.")),
        1..=MAX_NAME => Ok(name.to_owned()),
        _ => Err(Error::field("name", format!("Ensure this field has no more than {MAX_NAME} characters."))),
    }
}

/// The organisation's keys, newest first; those that were taken back say when.
pub async fn list(app: &App, principal: &Principal) -> Result<Vec<ApiKey>> {
    let mut tx = app.db.read(principal.tenant).await?;
    api_keys::list(&mut tx, principal.tenant).await
}

/// One key that was not taken back.
pub async fn get(app: &App, principal: &Principal, id: ApiKeyId) -> Result<ApiKey> {
    let mut tx = app.db.read(principal.tenant).await?;
    let key = api_keys::get(&mut tx, principal.tenant, id).await?;
    key.filter(|key| key.revoked_at.is_none()).ok_or(Error::NotFound("API key"))
}

/// Makes a key of the caller's own user. Gives it with its row; it is stored nowhere.
pub async fn create(app: &App, principal: &Principal, new: NewKey) -> Result<(ApiKey, String)> {
    let now = app.now();
    let scopes = match &new.scopes {
        None => principal.scopes,
        Some(names) => checked_scopes(principal, names)?,
    };
    if new.expires_at.is_some_and(|end| end <= now) {
        return Err(Error::field("expiresAt", "Choose a time that is still to come."));
    }
    let user_id = principal.user.ok_or(Error::Forbidden("organisation:write"))?;
    let key = new_key()?;
    let row = ApiKey {
        id: app.new_id(),
        organisation: principal.tenant.organisation(),
        user_id,
        name: checked_name(&new.name)?,
        key_hash: hex::encode(key_hash(&key)),
        scopes: scopes.to_string(),
        created_at: now,
        expires_at: new.expires_at,
        revoked_at: None,
    };
    let (tenant, stored) = (principal.tenant, row.clone());
    app.db.write(tenant, move |tx| Box::pin(async move { api_keys::upsert(tx, tenant, &stored).await })).await?;
    Ok((row, key))
}

fn checked_scopes(principal: &Principal, names: &[String]) -> Result<Scopes> {
    let mut scopes = Vec::with_capacity(names.len());
    for (position, name) in names.iter().enumerate() {
        let known = Permission::ALL.iter().copied().find(|permission| permission.name() == name);
        let field = format!("scopes.{position}");
        match known {
            None => return Err(Error::field(field, "There is no such permission.")),
            Some(permission) if !principal.scopes.contains(permission) => {
                return Err(Error::field(field, "You do not have this permission yourself."));
            }
            Some(permission) => scopes.push(permission),
        }
    }
    if scopes.is_empty() {
        return Err(Error::field("scopes", "This list may not be empty."));
    }
    Ok(scopes.into_iter().collect())
}

/// Gives a key another name.
pub async fn rename(app: &App, principal: &Principal, id: ApiKeyId, name: &str) -> Result<ApiKey> {
    let (tenant, new_name) = (principal.tenant, checked_name(name)?);
    get(app, principal, id).await?;
    let known = app
        .db
        .write(tenant, move |tx| Box::pin(async move { api_keys::rename(tx, tenant, id, &new_name).await }))
        .await?;
    if known { get(app, principal, id).await } else { Err(Error::NotFound("API key")) }
}

/// Takes a key back.
pub async fn revoke(app: &App, principal: &Principal, id: ApiKeyId) -> Result<()> {
    let (tenant, now) = (principal.tenant, app.now());
    let known =
        app.db.write(tenant, move |tx| Box::pin(async move { api_keys::revoke(tx, tenant, id, now).await })).await?;
    app.keys.forget(id);
    if known { Ok(()) } else { Err(Error::NotFound("API key")) }
}
