//! Attachments of messages.

use parlance_domain::kind::{AttachmentId, ConversationId};
use parlance_domain::{Result, Tenant, Timestamp};

use crate::page::{Listing, Page};
use crate::reach::conversation_within;
use crate::tx::{Tx, execute, fault, on_tx};

/// A file that goes with a message.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Attachment {
    /// Its id.
    pub id: AttachmentId,
    /// The conversation it was uploaded for, where one was named.
    pub conversation_id: Option<ConversationId>,
    /// `image`, `video`, `audio`, `sticker` or `other`.
    #[sqlx(rename = "type")]
    pub kind: String,
    /// As the uploader called it.
    pub filename: String,
    /// Media type.
    pub media_type: String,
    /// Bytes.
    pub size: i64,
    /// Where its bytes are.
    pub blob_key: String,
    /// When it was added.
    pub created_at: Timestamp,
}

macro_rules! columns {
    () => {
        "id, conversation_id, type, filename, media_type, size, blob_key, created_at"
    };
}

/// Those of no conversation are everybody's.
macro_rules! within {
    ($user:literal) => {
        concat!(" AND (conversation_id IS NULL OR TRUE", conversation_within!("conversation_id", $user), ")")
    };
}

/// Adds an attachment.
pub async fn insert(tx: &mut Tx, tenant: Tenant, attachment: &Attachment) -> Result<()> {
    execute!(tx, sqlx::query(
        "INSERT INTO attachments (id, org_id, conversation_id, type, filename, media_type, size, blob_key, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)")
        .bind(attachment.id)
        .bind(tenant.organisation())
        .bind(attachment.conversation_id)
        .bind(&attachment.kind)
        .bind(&attachment.filename)
        .bind(&attachment.media_type)
        .bind(attachment.size)
        .bind(&attachment.blob_key)
        .bind(attachment.created_at))
    .map(drop)
}

/// One attachment within the caller's reach.
pub async fn get(tx: &mut Tx, tenant: Tenant, id: AttachmentId) -> Result<Option<Attachment>> {
    on_tx!(tx, db => sqlx::query_as(concat!(
        "SELECT ", columns!(), " FROM attachments WHERE org_id = $1 AND id = $2", within!("$3")))
        .bind(tenant.organisation()).bind(id).bind(tenant.limited_to()).fetch_optional(db).await)
    .map_err(fault)
}

/// A page of the attachments within the caller's reach, newest first.
pub async fn list(tx: &mut Tx, tenant: Tenant, page: Page) -> Result<Listing<Attachment>> {
    let total: i64 = on_tx!(tx, db => sqlx::query_scalar(
        concat!("SELECT count(*) FROM attachments WHERE org_id = $1", within!("$2")))
        .bind(tenant.organisation()).bind(tenant.limited_to()).fetch_one(db).await)
    .map_err(fault)?;
    let rows = on_tx!(tx, db => sqlx::query_as(concat!(
        "SELECT ", columns!(), " FROM attachments WHERE org_id = $1", within!("$2"),
        " ORDER BY created_at DESC, id DESC LIMIT $3 OFFSET $4"))
        .bind(tenant.organisation()).bind(tenant.limited_to()).bind(page.limit_sql()).bind(page.offset_sql()).fetch_all(db).await)
    .map_err(fault)?;
    Ok(Listing { rows, total: crate::page::count(total) })
}

/// Removes an attachment. Gives its blob key, `None` when there is none.
pub async fn delete(tx: &mut Tx, tenant: Tenant, id: AttachmentId) -> Result<Option<String>> {
    on_tx!(tx, db => sqlx::query_scalar(concat!(
        "DELETE FROM attachments WHERE org_id = $1 AND id = $2", within!("$3"), " RETURNING blob_key"))
        .bind(tenant.organisation()).bind(id).bind(tenant.limited_to()).fetch_optional(db).await)
    .map_err(fault)
}
