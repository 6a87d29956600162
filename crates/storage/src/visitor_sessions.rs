//! Visitors of web chats' pages. A visitor's token names a row here, so that taking the row back, or
//! closing the web chat, or deleting the contact ends the token.

use parlance_domain::kind::{ContactId, ConversationId, InboxId, OrganisationId, VisitorSessionId, WebChatId};
use parlance_domain::{Result, Tenant, Timestamp, Visitor};

use crate::tx::{Tx, execute, fault, on_tx};

/// A visitor's session.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct VisitorSession {
    /// Its id.
    pub id: VisitorSessionId,
    /// The page.
    pub web_chat_id: WebChatId,
    /// Who they are.
    pub contact_id: ContactId,
    /// Whether it was proved who they are.
    pub is_identified: bool,
    /// When it began.
    pub created_at: Timestamp,
    /// When it ends unless it is renewed.
    pub expires_at: Timestamp,
}

/// What a token of a session stands for.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct LiveSession {
    /// Whose web chat it is.
    #[sqlx(rename = "org_id")]
    pub organisation: OrganisationId,
    /// The page.
    pub web_chat_id: WebChatId,
    /// Where its conversations arrive.
    pub inbox_id: InboxId,
    /// Who they are.
    pub contact_id: ContactId,
    /// When it ends.
    pub expires_at: Timestamp,
    /// What it stands on.
    #[sqlx(flatten)]
    pub footing: Footing,
}

/// What decides whether a session that was neither taken back nor is over still counts: whom its web
/// chat lets in.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Footing {
    /// Whether it was proved who the visitor is.
    pub is_identified: bool,
    /// `web`, `admin`, ... of the web chat.
    pub access_type: String,
    /// Looks and switches of the web chat, as a JSON object.
    pub settings: String,
}

/// The session of any organisation with this id, while it is good: not revoked, its web chat active,
/// its contact not deleted. Whether its web chat still lets such visitors in is for the caller to see.
/// The one lookup that finds out whose a visitor is.
pub async fn live(tx: &mut Tx, id: VisitorSessionId) -> Result<Option<LiveSession>> {
    on_tx!(tx, db => sqlx::query_as(
        "SELECT s.org_id, s.web_chat_id, i.id AS inbox_id, s.contact_id, s.expires_at, s.is_identified, \
         w.access_type, w.settings FROM visitor_sessions AS s \
         JOIN web_chats AS w ON w.id = s.web_chat_id AND w.org_id = s.org_id \
         JOIN inboxes AS i ON i.web_chat_id = w.id AND i.org_id = s.org_id AND i.deleted_at IS NULL \
         JOIN contacts AS c ON c.id = s.contact_id AND c.org_id = s.org_id \
         WHERE s.id = $1 AND s.revoked_at IS NULL AND w.is_active AND w.access_type <> 'api' \
         AND c.deleted_at IS NULL ORDER BY i.id LIMIT 1")
        .bind(id).fetch_optional(db).await)
    .map_err(fault)
}

/// Adds a session. The web chat and the contact have to be the organisation's, else nothing happens.
pub async fn insert(tx: &mut Tx, tenant: Tenant, session: &VisitorSession) -> Result<()> {
    execute!(
        tx,
        sqlx::query(
            "INSERT INTO visitor_sessions (org_id, id, web_chat_id, contact_id, is_identified, created_at, expires_at) \
         SELECT w.org_id, $4, w.id, c.id, $5, $6, $7 FROM web_chats AS w, contacts AS c \
         WHERE w.org_id = $1 AND w.id = $2 AND c.org_id = $1 AND c.id = $3"
        )
        .bind(tenant.organisation())
        .bind(session.web_chat_id)
        .bind(session.contact_id)
        .bind(session.id)
        .bind(session.is_identified)
        .bind(session.created_at)
        .bind(session.expires_at)
    )
    .map(drop)
}

/// Gives a session that was not taken back a later end, and notes whether it was proved now who the
/// visitor is. False when there is none, or it is of an unknown visitor and those are not let in.
pub async fn renew(
    tx: &mut Tx,
    tenant: Tenant,
    (id, expires_at): (VisitorSessionId, Timestamp),
    is_proved: bool,
    lets_unknown_in: bool,
) -> Result<bool> {
    execute!(
        tx,
        sqlx::query(
            "UPDATE visitor_sessions SET expires_at = $3, is_identified = is_identified OR $4 \
             WHERE org_id = $1 AND id = $2 AND revoked_at IS NULL AND (is_identified OR $4 OR $5)"
        )
        .bind(tenant.organisation())
        .bind(id)
        .bind(expires_at)
        .bind(is_proved)
        .bind(lets_unknown_in)
    )
    .map(|changed| changed > 0)
}

/// Takes back the sessions of a web chat whose visitors were proved by its secret.
pub async fn revoke_identified(tx: &mut Tx, tenant: Tenant, web_chat: WebChatId, now: Timestamp) -> Result<u64> {
    execute!(
        tx,
        sqlx::query(
            "UPDATE visitor_sessions SET revoked_at = $3 WHERE org_id = $1 AND web_chat_id = $2 \
         AND is_identified AND revoked_at IS NULL"
        )
        .bind(tenant.organisation())
        .bind(web_chat)
        .bind(now)
    )
}

/// Takes back the sessions of a contact.
pub async fn revoke_of_contact(tx: &mut Tx, tenant: Tenant, contact: ContactId, now: Timestamp) -> Result<u64> {
    execute!(
        tx,
        sqlx::query(
            "UPDATE visitor_sessions SET revoked_at = $3 WHERE org_id = $1 AND contact_id = $2 AND revoked_at IS NULL"
        )
        .bind(tenant.organisation())
        .bind(contact)
        .bind(now)
    )
}

/// Forgets sessions of all organisations that ended before `before`, the earliest ones, `limit` at most.
/// Gives whose they were.
pub async fn forget(tx: &mut Tx, before: Timestamp, limit: i64) -> Result<Vec<(OrganisationId, ContactId)>> {
    on_tx!(tx, db => sqlx::query_as(
        "DELETE FROM visitor_sessions WHERE id IN (SELECT id FROM visitor_sessions WHERE expires_at < $1 \
         ORDER BY expires_at, id LIMIT $2) RETURNING org_id, contact_id")
        .bind(before).bind(limit).fetch_all(db).await)
    .map_err(fault)
}

/// What the best session of a visitor stands on: one by which it was proved who they are, if there is
/// one, of those that were neither taken back nor are over. `None` without any, and when the web chat
/// is closed or the contact deleted.
pub async fn footing(tx: &mut Tx, tenant: Tenant, visitor: Visitor, now: Timestamp) -> Result<Option<Footing>> {
    on_tx!(tx, db => sqlx::query_as(
        "SELECT s.is_identified, w.access_type, w.settings FROM visitor_sessions AS s \
         JOIN web_chats AS w ON w.id = s.web_chat_id JOIN contacts AS c ON c.id = s.contact_id \
         WHERE s.org_id = $1 AND w.org_id = $1 AND c.org_id = $1 \
         AND s.web_chat_id = $2 AND s.contact_id = $3 AND s.revoked_at IS NULL AND s.expires_at > $4 \
         AND w.is_active AND c.deleted_at IS NULL ORDER BY s.is_identified DESC LIMIT 1")
        .bind(tenant.organisation()).bind(visitor.web_chat).bind(visitor.contact).bind(now).fetch_optional(db).await)
    .map_err(fault)
}

/// The conversation of a contact in an inbox in which something happened last.
pub async fn latest_conversation(
    tx: &mut Tx,
    tenant: Tenant,
    inbox: InboxId,
    contact: ContactId,
) -> Result<Option<ConversationId>> {
    on_tx!(tx, db => sqlx::query_scalar(
        "SELECT id FROM conversations WHERE org_id = $1 AND contact_id = $2 AND inbox_id = $3 \
         ORDER BY last_activity_at DESC, id DESC LIMIT 1")
        .bind(tenant.organisation()).bind(contact).bind(inbox).fetch_optional(db).await)
    .map_err(fault)
}
