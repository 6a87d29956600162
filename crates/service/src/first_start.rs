//! What an empty installation is given: an organisation, an owner, a key, an assistant that answers
//! from an empty knowledge base, and its web chat.

use parlance_domain::kind::{ChatbotId, KnowledgeBaseId, UserId};
use parlance_domain::{Error, Result, Tenant};
use parlance_retrieval::fold;
use parlance_storage::api_keys::{self, ApiKey};
use parlance_storage::knowledge_bases::{self, KnowledgeBase};
use parlance_storage::organisations::{self, Organisation, User};
use parlance_storage::{Scope, chatbots};

use crate::App;
use crate::authenticate::key_hash;

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
/// instead of a generated one, and is made good at every start. `keep` is given everything before it
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
    fill(app, key, keep).await.map(Some)
}

async fn ensure_key(app: &App, tenant: Tenant, owner: UserId, key: &str) -> Result<()> {
    let row = owner_key(app, tenant, owner, key);
    app.db.write(tenant, move |tx| Box::pin(async move { api_keys::upsert(tx, tenant, &row).await })).await
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

async fn fill(app: &App, key: String, keep: impl FnOnce(&FirstStart) -> Result<()> + Send) -> Result<FirstStart> {
    let now = app.now();
    let organisation = Organisation {
        id: app.new_id(),
        name: "Parlance".to_owned(),
        time_zone: "Asia/Taipei".to_owned(),
        created_at: now,
    };
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
