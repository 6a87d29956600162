//! What DNS has said of custom domains, and which page a verified one shows.

use parlance_domain::kind::{CustomDomainId, WebChatId};
use parlance_domain::{Result, Tenant, Timestamp};

use crate::custom_domains::CustomDomain;
use crate::tx::{Tx, execute, fault, on_tx};

/// One domain.
pub async fn get(tx: &mut Tx, tenant: Tenant, id: CustomDomainId) -> Result<Option<CustomDomain>> {
    on_tx!(tx, db => sqlx::query_as(
        "SELECT id, web_chat_id, domain, status, token, checked_at, verified_at, failure, created_at \
         FROM custom_domains WHERE org_id = $1 AND id = $2")
        .bind(tenant.organisation()).bind(id).fetch_optional(db).await)
    .map_err(fault)
}

/// Notes what a check has found: the status, and why it is not as it should be. False when the domain
/// is gone.
///
/// # Errors
/// `Conflict` when it is to be verified and another web chat's claim of the name is.
pub async fn record(
    tx: &mut Tx,
    tenant: Tenant,
    id: CustomDomainId,
    (status, failure): (&str, Option<&str>),
    now: Timestamp,
) -> Result<bool> {
    execute!(
        tx,
        sqlx::query(
            "UPDATE custom_domains SET status = $3, failure = $4, checked_at = $5, \
             verified_at = CASE WHEN $3 = 'verified' THEN coalesce(verified_at, $5) ELSE verified_at END \
             WHERE org_id = $1 AND id = $2"
        )
        .bind(tenant.organisation())
        .bind(id)
        .bind(status)
        .bind(failure)
        .bind(now)
    )
    .map(|changed| changed > 0)
}

/// The web chat of any organisation whose page is shown at a domain: a verified one, of a web chat that
/// is in use.
pub async fn web_chat_at(tx: &mut Tx, domain: &str) -> Result<Option<WebChatId>> {
    on_tx!(tx, db => sqlx::query_scalar(
        "SELECT d.web_chat_id FROM custom_domains AS d JOIN web_chats AS w ON w.id = d.web_chat_id \
         WHERE d.domain = $1 AND d.status = 'verified' AND w.is_active AND w.org_id = d.org_id")
        .bind(domain).fetch_optional(db).await)
    .map_err(fault)
}

/// The verified domains of all organisations that are served with a certificate: at most
/// `per_organisation` of each, those verified first, and at most `limit` in all. Every organisation's
/// first one comes before any's second.
pub async fn verified(tx: &mut Tx, per_organisation: u32, limit: u32) -> Result<Vec<String>> {
    on_tx!(tx, db => sqlx::query_scalar(
        "SELECT domain FROM (SELECT id, domain, verified_at, \
         row_number() OVER (PARTITION BY org_id ORDER BY verified_at, id) AS place \
         FROM custom_domains WHERE status = 'verified') AS ranked \
         WHERE place <= $1 ORDER BY place, verified_at, id LIMIT $2")
        .bind(i64::from(per_organisation)).bind(i64::from(limit)).fetch_all(db).await)
    .map_err(fault)
}
