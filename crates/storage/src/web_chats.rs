//! Web chats: the pages and programs through which people reach an assistant.

use parlance_domain::kind::{ChatbotId, CustomDomainId, InboxId, OrganisationId, WebChatId};
use parlance_domain::{Result, Tenant, Timestamp};

use crate::reach::chatbot_within;
use crate::tx::{Tx, execute, fault, on_tx};

/// Web chats in one list at most.
const MAX_LISTED: i64 = 10_000;

/// A web chat.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct WebChat {
    /// Its id.
    pub id: WebChatId,
    /// The assistant that answers.
    pub chatbot_id: ChatbotId,
    /// Shown to people.
    pub name: String,
    /// `web`, `admin`, or `api` for the hidden one of each assistant.
    pub access_type: String,
    /// Looks and switches, as a JSON object.
    pub settings: String,
    /// Whether visitors get in.
    pub is_active: bool,
    /// Replies to visitors per day; `None` follows the server's setting.
    pub daily_reply_limit: Option<i64>,
    /// Tokens of models for visitors per day; `None` follows the server's setting.
    pub daily_token_limit: Option<i64>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// A web chat with what belongs to it.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Details {
    /// The web chat.
    #[sqlx(flatten)]
    pub web_chat: WebChat,
    /// The inbox in which its conversations arrive.
    pub inbox_id: Option<InboxId>,
    /// The inbox's name.
    pub inbox_name: Option<String>,
    /// How visitors sign in, as JSON.
    pub sign_auth: Option<String>,
    /// Its own domain.
    pub domain_id: Option<CustomDomainId>,
    /// The domain's name.
    pub domain: Option<String>,
    /// `pending`, `verified` or `failed`.
    pub domain_status: Option<String>,
    /// What its owner puts into DNS.
    pub domain_token: Option<String>,
    /// Why the last check did not find that.
    pub domain_failure: Option<String>,
}

macro_rules! columns {
    () => {
        "w.id, w.chatbot_id, w.name, w.access_type, w.settings, w.is_active, w.daily_reply_limit, w.daily_token_limit, \
         w.created_at, w.updated_at"
    };
}

macro_rules! details {
    () => {
        concat!(
            columns!(),
            ", i.id AS inbox_id, i.name AS inbox_name, i.sign_auth, \
             d.id AS domain_id, d.domain, d.status AS domain_status, d.token AS domain_token, \
             d.failure AS domain_failure"
        )
    };
}

macro_rules! with_details {
    () => {
        "web_chats AS w LEFT JOIN inboxes AS i ON i.web_chat_id = w.id AND i.org_id = w.org_id AND i.deleted_at IS NULL \
         LEFT JOIN custom_domains AS d ON d.web_chat_id = w.id AND d.org_id = w.org_id"
    };
}

/// Adds a web chat.
pub async fn insert(tx: &mut Tx, tenant: Tenant, web_chat: &WebChat) -> Result<()> {
    execute!(
        tx,
        sqlx::query(
            "INSERT INTO web_chats (id, org_id, chatbot_id, name, access_type, settings, is_active, daily_reply_limit, \
         daily_token_limit, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
        )
        .bind(web_chat.id)
        .bind(tenant.organisation())
        .bind(web_chat.chatbot_id)
        .bind(&web_chat.name)
        .bind(&web_chat.access_type)
        .bind(&web_chat.settings)
        .bind(web_chat.is_active)
        .bind(web_chat.daily_reply_limit)
        .bind(web_chat.daily_token_limit)
        .bind(web_chat.created_at)
        .bind(web_chat.updated_at)
    )
    .map(drop)
}

/// One web chat, of a chatbot within the caller's reach.
pub async fn get(tx: &mut Tx, tenant: Tenant, id: WebChatId) -> Result<Option<Details>> {
    on_tx!(tx, db => sqlx::query_as(concat!(
        "SELECT ", details!(), " FROM ", with_details!(), " WHERE w.org_id = $1 AND w.id = $2",
        chatbot_within!("w.chatbot_id", "$3"), " ORDER BY i.id LIMIT 1"))
        .bind(tenant.organisation()).bind(id).bind(tenant.limited_to()).fetch_optional(db).await)
    .map_err(fault)
}

/// The web chat of any organisation that somebody without a credential asks for. The hidden ones of
/// assistants are not there for them.
pub async fn public(tx: &mut Tx, id: WebChatId) -> Result<Option<(OrganisationId, Details)>> {
    let row: Option<WithOrganisation> = on_tx!(tx, db => sqlx::query_as(concat!(
        "SELECT w.org_id, ", details!(), " FROM ", with_details!(),
        " WHERE w.id = $1 AND w.access_type <> 'api' ORDER BY i.id LIMIT 1"))
        .bind(id).fetch_optional(db).await)
    .map_err(fault)?;
    Ok(row.map(|row| (row.organisation, row.details)))
}

#[derive(sqlx::FromRow)]
struct WithOrganisation {
    #[sqlx(rename = "org_id")]
    organisation: OrganisationId,
    #[sqlx(flatten)]
    details: Details,
}

/// What a list is narrowed to.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this kind; without it, all but the hidden ones.
    pub access_type: Option<String>,
    /// Of this assistant.
    pub chatbot: Option<ChatbotId>,
}

/// The organisation's web chats, newest first; ten thousand at most.
pub async fn list(tx: &mut Tx, tenant: Tenant, filter: &Filter) -> Result<Vec<Details>> {
    on_tx!(tx, db => sqlx::query_as(concat!(
        "SELECT ", details!(), " FROM ", with_details!(), " WHERE w.org_id = $1 \
         AND ($2 IS NULL AND w.access_type <> 'api' OR w.access_type = $2) AND ($3 IS NULL OR w.chatbot_id = $3)",
        chatbot_within!("w.chatbot_id", "$5"), " ORDER BY w.created_at DESC, w.id DESC LIMIT $4"))
        .bind(tenant.organisation()).bind(&filter.access_type).bind(filter.chatbot).bind(MAX_LISTED)
        .bind(tenant.limited_to())
        .fetch_all(db).await)
    .map_err(fault)
}

/// Stores a changed web chat. Its kind and time of making stay.
pub async fn update(tx: &mut Tx, tenant: Tenant, web_chat: &WebChat) -> Result<()> {
    execute!(
        tx,
        sqlx::query(
            "UPDATE web_chats SET chatbot_id = $3, name = $4, access_type = $5, settings = $6, is_active = $7, \
         daily_reply_limit = $8, daily_token_limit = $9, updated_at = $10 WHERE org_id = $1 AND id = $2"
        )
        .bind(tenant.organisation())
        .bind(web_chat.id)
        .bind(web_chat.chatbot_id)
        .bind(&web_chat.name)
        .bind(&web_chat.access_type)
        .bind(&web_chat.settings)
        .bind(web_chat.is_active)
        .bind(web_chat.daily_reply_limit)
        .bind(web_chat.daily_token_limit)
        .bind(web_chat.updated_at)
    )
    .map(drop)
}

/// Removes a web chat that is not the hidden one of an assistant. Its inbox stays. False when there
/// is no such web chat.
pub async fn delete(tx: &mut Tx, tenant: Tenant, id: WebChatId) -> Result<bool> {
    execute!(
        tx,
        sqlx::query("DELETE FROM web_chats WHERE org_id = $1 AND id = $2 AND access_type <> 'api'")
            .bind(tenant.organisation())
            .bind(id)
    )
    .map(|removed| removed > 0)
}

/// Gives the inbox of a web chat the assistant that answers and the way visitors sign in.
pub async fn update_inbox(
    tx: &mut Tx,
    tenant: Tenant,
    id: WebChatId,
    (chatbot, sign_auth): (ChatbotId, Option<&str>),
    now: Timestamp,
) -> Result<()> {
    execute!(
        tx,
        sqlx::query(
            "UPDATE inboxes SET chatbot_id = $3, sign_auth = $4, updated_at = $5 WHERE org_id = $1 AND web_chat_id = $2"
        )
        .bind(tenant.organisation())
        .bind(id)
        .bind(chatbot)
        .bind(sign_auth)
        .bind(now)
    )
    .map(drop)
}

/// Replaces the other origins that may use a web chat.
pub async fn set_origins(tx: &mut Tx, tenant: Tenant, id: WebChatId, origins: &[String]) -> Result<()> {
    execute!(
        tx,
        sqlx::query("DELETE FROM web_chat_origins WHERE org_id = $1 AND web_chat_id = $2")
            .bind(tenant.organisation())
            .bind(id)
    )?;
    for origin in origins {
        execute!(
            tx,
            sqlx::query(
                "INSERT INTO web_chat_origins (org_id, web_chat_id, origin) \
             SELECT org_id, id, $3 FROM web_chats WHERE org_id = $1 AND id = $2"
            )
            .bind(tenant.organisation())
            .bind(id)
            .bind(origin)
        )?;
    }
    Ok(())
}

/// Whether an active web chat of any organisation lets this origin in, by its list or because it is
/// its verified domain.
pub async fn is_origin_known(tx: &mut Tx, origin: &str) -> Result<bool> {
    let domain = origin.strip_prefix("https://").unwrap_or_default();
    on_tx!(tx, db => sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM web_chat_origins AS o JOIN web_chats AS w ON w.id = o.web_chat_id \
         WHERE o.origin = $1 AND w.is_active) \
         OR EXISTS (SELECT 1 FROM custom_domains AS d JOIN web_chats AS w ON w.id = d.web_chat_id \
         WHERE d.domain = $2 AND d.status = 'verified' AND w.is_active)")
        .bind(origin).bind(domain).fetch_one(db).await)
    .map_err(fault)
}

/// Replaces the uploads that a web chat shows.
pub async fn set_files(tx: &mut Tx, tenant: Tenant, id: WebChatId, blob_keys: &[String]) -> Result<()> {
    execute!(
        tx,
        sqlx::query("DELETE FROM web_chat_files WHERE org_id = $1 AND web_chat_id = $2")
            .bind(tenant.organisation())
            .bind(id)
    )?;
    for key in blob_keys {
        execute!(
            tx,
            sqlx::query(
                "INSERT INTO web_chat_files (org_id, web_chat_id, blob_key) \
             SELECT org_id, id, $3 FROM web_chats WHERE org_id = $1 AND id = $2"
            )
            .bind(tenant.organisation())
            .bind(id)
            .bind(key)
        )?;
    }
    Ok(())
}

/// Keys of the uploads that the web chats of an assistant show, each once.
pub async fn files_of_chatbot(tx: &mut Tx, tenant: Tenant, chatbot: ChatbotId) -> Result<Vec<String>> {
    on_tx!(tx, db => sqlx::query_scalar(
        "SELECT DISTINCT f.blob_key FROM web_chat_files AS f JOIN web_chats AS w ON w.id = f.web_chat_id \
         WHERE f.org_id = $1 AND w.org_id = $1 AND w.chatbot_id = $2")
        .bind(tenant.organisation()).bind(chatbot).fetch_all(db).await)
    .map_err(fault)
}

/// The secret with which a site proves who its visitors are, sealed.
pub async fn identity_secret(tx: &mut Tx, tenant: Tenant, id: WebChatId) -> Result<Option<Vec<u8>>> {
    let secret: Option<Option<Vec<u8>>> = on_tx!(tx, db => sqlx::query_scalar(
        "SELECT identity_secret_sealed FROM web_chats WHERE org_id = $1 AND id = $2")
        .bind(tenant.organisation()).bind(id).fetch_optional(db).await)
    .map_err(fault)?;
    Ok(secret.flatten())
}

/// Replaces that secret. False when there is no such web chat within the caller's reach.
pub async fn set_identity_secret(
    tx: &mut Tx,
    tenant: Tenant,
    id: WebChatId,
    sealed: &[u8],
    now: Timestamp,
) -> Result<bool> {
    execute!(
        tx,
        sqlx::query(concat!(
            "UPDATE web_chats SET identity_secret_sealed = $3, updated_at = $4 WHERE org_id = $1 AND id = $2",
            chatbot_within!("chatbot_id", "$5")
        ))
        .bind(tenant.organisation())
        .bind(id)
        .bind(sealed)
        .bind(now)
        .bind(tenant.limited_to())
    )
    .map(|changed| changed > 0)
}

/// The hidden web chat through which API keys talk to the assistant.
pub async fn of_api(tx: &mut Tx, tenant: Tenant, chatbot: ChatbotId) -> Result<Option<WebChat>> {
    on_tx!(tx, db => sqlx::query_as(concat!(
        "SELECT ", columns!(), " FROM web_chats AS w \
         WHERE w.org_id = $1 AND w.chatbot_id = $2 AND w.access_type = 'api' ORDER BY w.created_at, w.id LIMIT 1"))
        .bind(tenant.organisation()).bind(chatbot).fetch_optional(db).await)
    .map_err(fault)
}

/// The hidden web chats of all assistants of the organisation.
pub async fn of_api_by_chatbot(tx: &mut Tx, tenant: Tenant) -> Result<Vec<(ChatbotId, WebChatId)>> {
    on_tx!(tx, db => sqlx::query_as(
        "SELECT chatbot_id, id FROM web_chats WHERE org_id = $1 AND access_type = 'api'")
        .bind(tenant.organisation()).fetch_all(db).await)
    .map_err(fault)
}
