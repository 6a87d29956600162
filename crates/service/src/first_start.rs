//! What an empty installation is given, and every further organisation: an owner, a key, an assistant
//! that answers from an empty knowledge base, and its web chat.

use parlance_domain::kind::{ChatbotId, KnowledgeBaseId, UserId};
use parlance_domain::{Error, Principal, Result, Role, Scopes, Tenant};
use parlance_retrieval::fold;
use parlance_storage::api_keys::{self, ApiKey};
use parlance_storage::knowledge_bases::{self, KnowledgeBase};
use parlance_storage::organisations::{self, Organisation, User};
use parlance_storage::{Scope, chatbots};

use crate::authenticate::key_hash;
use crate::{App, members};

/// What was made.
#[derive(Clone, Debug)]
pub struct FirstStart {
    /// The owner's key, shown once.
    pub api_key: String,
    /// The assistant.
    pub chatbot: ChatbotId,
    /// Its knowledge base.
    pub knowledge_base: KnowledgeBaseId,
}

/// Where an organisation is unless it says otherwise.
const TIME_ZONE: &str = "Asia/Taipei";

/// Characters of a generated key: 62 choices each, so more than 256 bits in all.
const KEY_LENGTH: usize = 48;

/// A new random key.
pub fn new_key() -> Result<String> {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut key = String::with_capacity(KEY_LENGTH);
    while key.len() < KEY_LENGTH {
        let mut bytes = [0_u8; 64];
        getrandom::fill(&mut bytes).map_err(|error| Error::internal("randomness", error))?;
        // Values above 247 would make some characters likelier than others.
        key.extend(bytes.iter().filter(|byte| **byte < 248).map(|byte| char::from(ALPHABET[usize::from(byte % 62)])));
    }
    key.truncate(KEY_LENGTH);
    Ok(key)
}

/// Fills an empty installation; `None` when there is an organisation already. `fixed_key` is used
/// instead of a generated one, and is made good at every start: it stays the first owner's, and is a
/// present owner's once they were removed. `keep` is given everything before it
/// is committed: the key is stored nowhere else, so that a process that dies would lose it.
pub async fn prepare(
    app: &App,
    fixed_key: Option<&str>,
    keep: impl FnOnce(&FirstStart) -> Result<()> + Send,
) -> Result<Option<FirstStart>> {
    let existing = {
        let mut tx = app.db.read(Scope::System).await?;
        organisations::first(&mut tx).await?
    };
    if let Some(organisation) = existing {
        let tenant = Tenant::authenticated(organisation.id);
        if let Some(key) = fixed_key {
            let owner = {
                let mut tx = app.db.read(tenant).await?;
                organisations::owner(&mut tx, tenant).await?
            };
            let owner = owner.ok_or_else(|| Error::bug("the organisation has no owner"))?;
            ensure_key(app, tenant, owner.id, key).await?;
        }
        return Ok(None);
    }
    let key = match fixed_key {
        Some(key) => key.to_owned(),
        None => new_key()?,
    };
    let organisation = Organisation {
        id: app.new_id(),
        name: "Parlance".to_owned(),
        time_zone: TIME_ZONE.to_owned(),
        created_at: app.now(),
    };
    fill(app, organisation, key, keep).await.map(Some)
}

/// Makes another organisation. Gives it with its owner's key, which is stored nowhere else. The caller
/// has no part in it.
///
/// # Errors
/// Wrong fields; `Refused` unless the caller owns the first organisation, with a key that allows
/// everything: they run the installation.
pub async fn add_organisation(
    app: &App,
    principal: &Principal,
    name: &str,
    time_zone: Option<&str>,
) -> Result<(Organisation, String)> {
    const REFUSED: Error = Error::Refused(
        "Only an owner of the installation's first organisation may make others, with a key that allows everything.",
    );
    let first = {
        let mut tx = app.db.read(Scope::System).await?;
        organisations::first(&mut tx).await?
    };
    let is_first = first.is_some_and(|first| first.id == principal.tenant.organisation());
    if !is_first || principal.scopes != Scopes::all() || principal.user.is_none() {
        return Err(REFUSED);
    }
    if members::current(app, principal).await?.role != Role::Owner.name() {
        return Err(REFUSED);
    }
    let organisation = Organisation {
        id: app.new_id(),
        name: members::checked_name(name)?,
        time_zone: time_zone.map_or_else(|| Ok(TIME_ZONE.to_owned()), members::checked_time_zone)?,
        created_at: app.now(),
    };
    // The new rows are of another organisation than the caller's. What the caller's own has of it, the
    // line in its audit log and the idempotency key, is written before: a request that is sent again
    // after a crash in between makes nothing, rather than a second organisation.
    app.db.write(principal.tenant, |_tx| Box::pin(async { Ok(()) })).await?;
    let made = fill(app, organisation.clone(), new_key()?, |_made| Ok(())).await?;
    Ok((organisation, made.api_key))
}

async fn ensure_key(app: &App, tenant: Tenant, owner: UserId, key: &str) -> Result<()> {
    let row = owner_key(app, tenant, owner, key);
    app.db.write(tenant, move |tx| Box::pin(async move { api_keys::upsert(tx, tenant, &row).await })).await?;
    app.keys.forget_organisation(tenant);
    Ok(())
}

fn owner_key(app: &App, tenant: Tenant, owner: UserId, key: &str) -> ApiKey {
    ApiKey {
        id: app.new_id(),
        organisation: tenant.organisation(),
        user_id: owner,
        name: "Owner".to_owned(),
        key_hash: hex::encode(key_hash(key)),
        scopes: "*".to_owned(),
        created_at: app.now(),
        expires_at: None,
        revoked_at: None,
    }
}

async fn fill(
    app: &App,
    organisation: Organisation,
    key: String,
    keep: impl FnOnce(&FirstStart) -> Result<()> + Send,
) -> Result<FirstStart> {
    let now = organisation.created_at;
    let tenant = Tenant::authenticated(organisation.id);
    let owner = User { id: app.new_id(), name: "Owner".to_owned(), role: "owner".to_owned(), created_at: now };
    let api_key = owner_key(app, tenant, owner.id, &key);
    let name = "知識庫 Knowledge base";
    let base = KnowledgeBase {
        id: app.new_id(),
        name: name.to_owned(),
        name_folded: fold(name),
        description: String::new(),
        embedding_model_id: app
            .catalogue
            .entry(app, tenant, crate::models::ModelRole::Embedding, None)
            .await?
            .map(|(entry, _)| entry.id),
        reranker_model_id: None,
        retrieved_chunks: 12,
        sentence_window_size: 2,
        enable_hyde: false,
        similarity_cutoff: 0.0,
        enable_rerank: true,
        created_at: now,
        updated_at: now,
    };
    let name = "智慧助理 Assistant";
    let chatbot = chatbots::Chatbot {
        id: app.new_id(),
        name: name.to_owned(),
        name_folded: fold(name),
        model_id: None,
        instructions: String::new(),
        retrieved_chunks: None,
        webhook_url: None,
        reply_mode: "normal".to_owned(),
        enable_evaluation: false,
        settings: "{}".to_owned(),
        created_at: now,
        updated_at: now,
    };
    let made = FirstStart { api_key: key, chatbot: chatbot.id, knowledge_base: base.id };
    keep(&made)?;
    let writer = app.clone();
    app.db
        .write(tenant, move |tx| {
            Box::pin(async move {
                organisations::insert(tx, &organisation).await?;
                organisations::insert_user(tx, tenant, &owner).await?;
                api_keys::upsert(tx, tenant, &api_key).await?;
                knowledge_bases::insert(tx, tenant, &base).await?;
                crate::chatbots::insert_in(tx, &writer, tenant, &chatbot, &[base.id]).await?;
                crate::chatbots::insert_web_chat(tx, &writer, tenant, &chatbot, "web").await.map(drop)
            })
        })
        .await?;
    Ok(made)
}
