//! Contacts: the people who write.

use parlance_domain::kind::{ContactId, InboxId};
use parlance_domain::{Result, Tenant, Timestamp};

use crate::tx::{Tx, execute, fault, on_tx};

/// A person who writes to one or several inboxes.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Contact {
    /// Their id.
    pub id: ContactId,
    /// Shown to people.
    pub name: String,
    /// The name as it is searched for.
    pub name_folded: String,
    /// Where their picture is.
    pub avatar: Option<String>,
    /// As it was given.
    pub phone_number: Option<String>,
    /// As it was given.
    pub email: Option<String>,
    /// What the embedding site calls them; unique within each of their inboxes.
    pub source_id: Option<String>,
    /// What retrieval is narrowed to for them, verbatim JSON.
    pub query_metadata: Option<String>,
    /// When they first came.
    pub created_at: Timestamp,
    /// When they were last changed.
    pub updated_at: Timestamp,
}

macro_rules! columns {
    ($alias:literal) => {
        concat!(
            $alias,
            "id, ",
            $alias,
            "name, ",
            $alias,
            "name_folded, ",
            $alias,
            "avatar, ",
            $alias,
            "phone_number, ",
            $alias,
            "email, ",
            $alias,
            "source_id, ",
            $alias,
            "query_metadata, ",
            $alias,
            "created_at, ",
            $alias,
            "updated_at"
        )
    };
}

/// Adds a contact who writes to `inbox`.
///
/// # Errors
/// `Conflict` when a contact of the inbox has the same source id.
pub async fn insert(tx: &mut Tx, tenant: Tenant, contact: &Contact, inbox: InboxId) -> Result<()> {
    execute!(
        tx,
        sqlx::query(
            "INSERT INTO contacts (org_id, id, name, name_folded, avatar, phone_number, email, source_id, query_metadata, \
         created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
        )
        .bind(tenant.organisation())
        .bind(contact.id)
        .bind(&contact.name)
        .bind(&contact.name_folded)
        .bind(&contact.avatar)
        .bind(&contact.phone_number)
        .bind(&contact.email)
        .bind(&contact.source_id)
        .bind(&contact.query_metadata)
        .bind(contact.created_at)
        .bind(contact.updated_at)
    )?;
    join(tx, tenant, contact.id, (inbox, contact.source_id.as_deref()), contact.created_at).await
}

/// Notes that a contact writes to an inbox, and what the site embedding it calls them. Does nothing
/// unless both are the organisation's.
///
/// # Errors
/// `Conflict` when another contact of the inbox has the same source id.
pub async fn join(
    tx: &mut Tx,
    tenant: Tenant,
    contact: ContactId,
    (inbox, source_id): (InboxId, Option<&str>),
    now: Timestamp,
) -> Result<()> {
    execute!(
        tx,
        sqlx::query(
            "INSERT INTO contact_inboxes (org_id, contact_id, inbox_id, source_id, created_at) \
         SELECT c.org_id, c.id, i.id, $4, $5 FROM contacts AS c, inboxes AS i \
         WHERE c.org_id = $1 AND c.id = $2 AND i.org_id = $1 AND i.id = $3 \
         ON CONFLICT (contact_id, inbox_id) DO UPDATE SET source_id = excluded.source_id"
        )
        .bind(tenant.organisation())
        .bind(contact)
        .bind(inbox)
        .bind(source_id)
        .bind(now)
    )
    .map(drop)
}

/// One contact that was not deleted.
pub async fn get(tx: &mut Tx, tenant: Tenant, id: ContactId) -> Result<Option<Contact>> {
    on_tx!(tx, db => sqlx::query_as(concat!(
        "SELECT ", columns!(""), " FROM contacts WHERE org_id = $1 AND id = $2 AND deleted_at IS NULL"))
        .bind(tenant.organisation()).bind(id).fetch_optional(db).await)
    .map_err(fault)
}

/// The contact of an inbox that the embedding site calls `source_id`.
pub async fn by_source(tx: &mut Tx, tenant: Tenant, inbox: InboxId, source_id: &str) -> Result<Option<Contact>> {
    on_tx!(tx, db => sqlx::query_as(concat!(
        "SELECT ", columns!("c."), " FROM contact_inboxes AS m JOIN contacts AS c ON c.id = m.contact_id \
         WHERE m.org_id = $1 AND c.org_id = $1 AND m.inbox_id = $2 AND m.source_id = $3 AND c.deleted_at IS NULL"))
        .bind(tenant.organisation()).bind(inbox).bind(source_id).fetch_optional(db).await)
    .map_err(fault)
}
