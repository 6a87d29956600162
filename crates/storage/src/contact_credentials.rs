//! Headers with which a tool is called for one contact.

use parlance_domain::kind::{ContactCredentialId, ContactId, ToolId};
use parlance_domain::{Result, Tenant, Timestamp};

use crate::by_ids;
use crate::tx::{Tx, execute, fault, on_tx};

/// The headers of one contact for one tool.
#[derive(Clone, Debug, PartialEq)]
pub struct ContactCredential {
    /// Its id.
    pub id: ContactCredentialId,
    /// Whose it is.
    pub contact_id: ContactId,
    /// The tool it is sent to.
    pub tool_id: ToolId,
    /// The headers as a JSON object, sealed; see [`crate::secrets`].
    pub headers_sealed: Vec<u8>,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// What is shown of a credential: everything but the headers.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct ShownCredential {
    /// Its id.
    pub id: ContactCredentialId,
    /// Whose it is.
    pub contact_id: ContactId,
    /// The tool it is sent to.
    pub tool_id: ToolId,
    /// The tool's name as people see it.
    pub tool_name: String,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// The id of the credential that a contact has for a tool.
pub async fn find(
    tx: &mut Tx,
    tenant: Tenant,
    contact: ContactId,
    tool: ToolId,
) -> Result<Option<ContactCredentialId>> {
    on_tx!(tx, db => sqlx::query_scalar(
        "SELECT id FROM contact_credentials WHERE org_id = $1 AND contact_id = $2 AND tool_id = $3")
        .bind(tenant.organisation()).bind(contact).bind(tool).fetch_optional(db).await)
    .map_err(fault)
}

/// The sealed headers of a credential with its id, which they are sealed for.
pub async fn headers(
    tx: &mut Tx,
    tenant: Tenant,
    contact: ContactId,
    tool: ToolId,
) -> Result<Option<(ContactCredentialId, Vec<u8>)>> {
    on_tx!(tx, db => sqlx::query_as(
        "SELECT id, headers_sealed FROM contact_credentials WHERE org_id = $1 AND contact_id = $2 AND tool_id = $3")
        .bind(tenant.organisation()).bind(contact).bind(tool).fetch_optional(db).await)
    .map_err(fault)
}

/// Adds a credential, or replaces the headers of the one with the same id. Contact and tool have to
/// be the organisation's.
///
/// # Errors
/// `Conflict` when the contact has another credential for the tool.
pub async fn upsert(tx: &mut Tx, tenant: Tenant, credential: &ContactCredential) -> Result<()> {
    execute!(
        tx,
        sqlx::query(
            "INSERT INTO contact_credentials (org_id, id, contact_id, tool_id, headers_sealed, created_at, updated_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) \
         ON CONFLICT (id) DO UPDATE SET headers_sealed = excluded.headers_sealed, updated_at = excluded.updated_at \
         WHERE contact_credentials.org_id = excluded.org_id"
        )
        .bind(tenant.organisation())
        .bind(credential.id)
        .bind(credential.contact_id)
        .bind(credential.tool_id)
        .bind(&credential.headers_sealed)
        .bind(credential.created_at)
        .bind(credential.updated_at)
    )
    .map(drop)
}

/// The credentials of contacts, oldest first.
pub async fn of_contacts(tx: &mut Tx, tenant: Tenant, contacts: &[ContactId]) -> Result<Vec<ShownCredential>> {
    let select = "SELECT c.id, c.contact_id, c.tool_id, t.display_name AS tool_name, c.created_at, c.updated_at \
         FROM contact_credentials AS c JOIN tools AS t ON t.id = c.tool_id \
         WHERE t.org_id = c.org_id AND c.org_id = $1";
    by_ids::rows(tx, tenant, (select, "c.contact_id", "ORDER BY c.created_at, c.id"), contacts).await
}

/// Removes the credentials of a contact.
pub async fn delete_of_contact(tx: &mut Tx, tenant: Tenant, contact: ContactId) -> Result<u64> {
    execute!(
        tx,
        sqlx::query("DELETE FROM contact_credentials WHERE org_id = $1 AND contact_id = $2")
            .bind(tenant.organisation())
            .bind(contact)
    )
}

/// Removes what contacts have for a tool, because it moved to another host.
pub async fn delete_of_tool(tx: &mut Tx, tenant: Tenant, tool: ToolId) -> Result<u64> {
    execute!(
        tx,
        sqlx::query("DELETE FROM contact_credentials WHERE org_id = $1 AND tool_id = $2")
            .bind(tenant.organisation())
            .bind(tool)
    )
}
