//! Domains of customers, under which the page of one web chat is served.

use parlance_domain::kind::{CustomDomainId, WebChatId};
use parlance_domain::{Result, Tenant, Timestamp};

use crate::tx::{Tx, execute, fault, on_tx};

/// A domain.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct CustomDomain {
    /// Its id.
    pub id: CustomDomainId,
    /// The web chat whose page it shows.
    pub web_chat_id: WebChatId,
    /// Its name in lower case, as DNS has it. Among all organisations one at most is verified of it.
    pub domain: String,
    /// `pending`, `verified` or `failed`.
    pub status: String,
    /// What its owner puts into DNS to prove that it is theirs.
    pub token: String,
    /// When DNS was last asked.
    pub checked_at: Option<Timestamp>,
    /// When the proof was first found.
    pub verified_at: Option<Timestamp>,
    /// Why it is not verified.
    pub failure: Option<String>,
    /// When it was asked for.
    pub created_at: Timestamp,
}

/// The domain of a web chat.
pub async fn of_web_chat(tx: &mut Tx, tenant: Tenant, web_chat: WebChatId) -> Result<Option<CustomDomain>> {
    on_tx!(tx, db => sqlx::query_as(
        "SELECT id, web_chat_id, domain, status, token, checked_at, verified_at, failure, created_at \
         FROM custom_domains WHERE org_id = $1 AND web_chat_id = $2")
        .bind(tenant.organisation()).bind(web_chat).fetch_optional(db).await)
    .map_err(fault)
}

/// Adds a domain to a web chat of the organisation, whoever else claims it. False when there is no
/// such web chat, or when it has a domain.
pub async fn insert(tx: &mut Tx, tenant: Tenant, domain: &CustomDomain) -> Result<bool> {
    execute!(
        tx,
        sqlx::query(
            "INSERT INTO custom_domains (org_id, id, web_chat_id, domain, status, token, checked_at, verified_at, \
         failure, created_at) SELECT w.org_id, $3, w.id, $4, $5, $6, $7, $8, $9, $10 \
         FROM web_chats AS w WHERE w.org_id = $1 AND w.id = $2 ON CONFLICT (web_chat_id) DO NOTHING"
        )
        .bind(tenant.organisation())
        .bind(domain.web_chat_id)
        .bind(domain.id)
        .bind(&domain.domain)
        .bind(&domain.status)
        .bind(&domain.token)
        .bind(domain.checked_at)
        .bind(domain.verified_at)
        .bind(&domain.failure)
        .bind(domain.created_at)
    )
    .map(|inserted| inserted > 0)
}

/// Removes the domain of a web chat.
pub async fn delete_of_web_chat(tx: &mut Tx, tenant: Tenant, web_chat: WebChatId) -> Result<()> {
    execute!(
        tx,
        sqlx::query("DELETE FROM custom_domains WHERE org_id = $1 AND web_chat_id = $2")
            .bind(tenant.organisation())
            .bind(web_chat)
    )
    .map(drop)
}
