//! Contacts: the people who write.

use parlance_domain::kind::{ContactId, InboxId};
use parlance_domain::{Result, Tenant, Timestamp};

use crate::tx::{Tx, execute, fault, on_tx};

/// A person who writes to an inbox.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Contact {
    /// Their id.
    pub id: ContactId,
    /// The inbox they write to.
    pub inbox_id: InboxId,
    /// Shown to people.
    pub name: String,
    /// What the embedding site calls them; unique within the inbox.
    pub source_id: Option<String>,
    /// When they first came.
    pub created_at: Timestamp,
}

/// Adds a contact.
pub async fn insert(tx: &mut Tx, tenant: Tenant, contact: &Contact) -> Result<()> {
    execute!(
        tx,
        sqlx::query(
            "INSERT INTO contacts (id, org_id, inbox_id, name, source_id, created_at, updated_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $6)"
        )
        .bind(contact.id)
        .bind(tenant.organisation())
        .bind(contact.inbox_id)
        .bind(&contact.name)
        .bind(&contact.source_id)
        .bind(contact.created_at)
    )
    .map(drop)
}

/// One contact that was not deleted.
pub async fn get(tx: &mut Tx, tenant: Tenant, id: ContactId) -> Result<Option<Contact>> {
    on_tx!(tx, db => sqlx::query_as(
        "SELECT id, inbox_id, name, source_id, created_at FROM contacts \
         WHERE org_id = $1 AND id = $2 AND deleted_at IS NULL")
        .bind(tenant.organisation()).bind(id).fetch_optional(db).await)
    .map_err(fault)
}

/// The contact of an inbox that the embedding site calls `source_id`.
pub async fn by_source(tx: &mut Tx, tenant: Tenant, inbox: InboxId, source_id: &str) -> Result<Option<Contact>> {
    on_tx!(tx, db => sqlx::query_as(
        "SELECT id, inbox_id, name, source_id, created_at FROM contacts \
         WHERE org_id = $1 AND inbox_id = $2 AND source_id = $3 AND deleted_at IS NULL")
        .bind(tenant.organisation()).bind(inbox).bind(source_id).fetch_optional(db).await)
    .map_err(fault)
}
