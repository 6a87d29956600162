//! Contacts that visiting a web chat made, of visitors who never wrote anything.

use parlance_domain::kind::ContactId;
use parlance_domain::{Result, Tenant};

use crate::tx::{Tx, execute, fault, on_tx};
use crate::uploads;

/// Removes a contact of whom nothing is known, with the empty conversations that they began and what
/// they uploaded there. `name` is what contacts are called who did not say who they are. False, and
/// nothing is changed, when there is any message, session, credential or detail of theirs.
///
/// What the keyword search knows of the conversations stays: it only proposes.
pub async fn remove(tx: &mut Tx, tenant: Tenant, id: ContactId, name: &str) -> Result<bool> {
    // Whoever adds a message changes its conversation first, so they wait from here on.
    execute!(
        tx,
        sqlx::query("UPDATE conversations SET unread_count = unread_count WHERE org_id = $1 AND contact_id = $2")
            .bind(tenant.organisation())
            .bind(id)
    )?;
    let is_silent: bool = on_tx!(tx, db => sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM contacts AS c WHERE c.org_id = $1 AND c.id = $2 AND c.name = $3 \
         AND c.updated_at = c.created_at AND c.source_id IS NULL AND c.avatar IS NULL AND c.email IS NULL \
         AND c.phone_number IS NULL AND c.query_metadata IS NULL \
         AND NOT EXISTS (SELECT 1 FROM visitor_sessions AS s WHERE s.contact_id = c.id) \
         AND NOT EXISTS (SELECT 1 FROM contact_credentials AS k WHERE k.contact_id = c.id) \
         AND NOT EXISTS (SELECT 1 FROM messages AS m JOIN conversations AS v ON v.id = m.conversation_id \
         WHERE v.contact_id = c.id))")
        .bind(tenant.organisation()).bind(id).bind(name).fetch_one(db).await)
    .map_err(fault)?;
    if !is_silent {
        return Ok(false);
    }
    let keys: Vec<String> = on_tx!(tx, db => sqlx::query_scalar(
        "DELETE FROM attachments WHERE org_id = $1 AND conversation_id IN \
         (SELECT id FROM conversations WHERE org_id = $1 AND contact_id = $2) RETURNING blob_key")
        .bind(tenant.organisation()).bind(id).fetch_all(db).await)
    .map_err(fault)?;
    for key in &keys {
        uploads::release(tx, tenant, key).await?;
    }
    execute!(
        tx,
        sqlx::query("DELETE FROM conversations WHERE org_id = $1 AND contact_id = $2")
            .bind(tenant.organisation())
            .bind(id)
    )?;
    execute!(tx, sqlx::query("DELETE FROM contacts WHERE org_id = $1 AND id = $2").bind(tenant.organisation()).bind(id))
        .map(|changed| changed > 0)
}
