//! Contacts: the people who write.

use parlance_domain::kind::{ContactId, InboxId};
use parlance_domain::{Result, Tenant, Timestamp};
use sqlx::QueryBuilder;

use crate::by_ids;
use crate::conversation_terms::{self, Terms};
use crate::page::{Listing, Page, bytes_of, collect};
use crate::reach::inbox_within_sql;
use crate::tx::{Tx, execute, fault, on_tx, queue};

/// Inboxes that a list may be narrowed to.
const MAX_INBOXES: usize = 500;

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

impl Contact {
    /// What is searched besides the name. Stored with the row, so that one comparison finds it.
    fn details_folded(&self) -> String {
        let details = [&self.email, &self.phone_number, &self.source_id];
        details.into_iter().flatten().map(|detail| detail.to_lowercase()).collect::<Vec<_>>().join("\n")
    }
}

/// What a list is narrowed to.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Part of the name, folded, with the same in lower case, which is looked for in the e-mail
    /// address, the phone number and the source id.
    pub keyword: Option<(String, String)>,
    /// Inboxes of which the contact has to be in one; `None` for any.
    pub inboxes: Option<Vec<InboxId>>,
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
    add(tx, tenant, contact).await?;
    join(tx, tenant, contact.id, (inbox, contact.source_id.as_deref()), contact.created_at).await
}

/// Adds a contact who writes to no inbox yet.
pub async fn add(tx: &mut Tx, tenant: Tenant, contact: &Contact) -> Result<()> {
    queue!(
        tx,
        "INSERT INTO contacts (org_id, id, name, name_folded, avatar, phone_number, email, source_id, query_metadata, \
         details_folded, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        tenant.organisation(),
        contact.id,
        &contact.name,
        &contact.name_folded,
        &contact.avatar,
        &contact.phone_number,
        &contact.email,
        &contact.source_id,
        &contact.query_metadata,
        contact.details_folded(),
        contact.created_at,
        contact.updated_at
    )
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
    queue!(
        tx,
        "INSERT INTO contact_inboxes (org_id, contact_id, inbox_id, source_id, created_at) \
         SELECT c.org_id, c.id, i.id, $4, $5 FROM contacts AS c, inboxes AS i \
         WHERE c.org_id = $1 AND c.id = $2 AND i.org_id = $1 AND i.id = $3 \
         ON CONFLICT (contact_id, inbox_id) DO UPDATE SET source_id = excluded.source_id",
        tenant.organisation(),
        contact,
        inbox,
        source_id,
        now
    )
}

/// Notes that a contact who is known elsewhere writes to an inbox too. The site that embeds it calls
/// them what the others do, unless somebody else of the inbox is called so. Does nothing when they
/// write to it already, or unless both are the organisation's.
pub async fn join_too(
    tx: &mut Tx,
    tenant: Tenant,
    contact: ContactId,
    (inbox, source_id): (InboxId, Option<&str>),
    now: Timestamp,
) -> Result<()> {
    queue!(
        tx,
        "INSERT INTO contact_inboxes (org_id, contact_id, inbox_id, source_id, created_at) \
         SELECT c.org_id, c.id, i.id, CASE WHEN EXISTS (SELECT 1 FROM contact_inboxes AS o \
         WHERE o.org_id = $1 AND o.inbox_id = $3 AND o.source_id = $4) THEN NULL ELSE $4 END, $5 \
         FROM contacts AS c, inboxes AS i \
         WHERE c.org_id = $1 AND c.id = $2 AND c.deleted_at IS NULL AND i.org_id = $1 AND i.id = $3 \
         ON CONFLICT DO NOTHING",
        tenant.organisation(),
        contact,
        inbox,
        source_id,
        now
    )
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

/// As [`by_source`], for a write that makes the contact when there is none: until it ends, no other
/// one that claims a source id of this inbox goes on, so two of them never make the same contact.
pub async fn claim_source(tx: &mut Tx, tenant: Tenant, inbox: InboxId, source_id: &str) -> Result<Option<Contact>> {
    execute!(
        tx,
        // Changes nothing, but holds the row.
        sqlx::query("UPDATE inboxes SET updated_at = updated_at WHERE org_id = $1 AND id = $2")
            .bind(tenant.organisation())
            .bind(inbox)
    )?;
    by_source(tx, tenant, inbox, source_id).await
}

/// Replaces what may change of a contact; `terms` are those of the name. False when there is none.
pub async fn update(tx: &mut Tx, tenant: Tenant, contact: &Contact, terms: &Terms) -> Result<bool> {
    let changed = execute!(
        tx,
        sqlx::query(
            "UPDATE contacts SET name = $3, name_folded = $4, avatar = $5, phone_number = $6, email = $7, \
         source_id = $8, query_metadata = $9, details_folded = $10, updated_at = $11 \
         WHERE org_id = $1 AND id = $2 AND deleted_at IS NULL"
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
        .bind(contact.details_folded())
        .bind(contact.updated_at)
    )?;
    if changed > 0 {
        conversation_terms::add_of_contact(tx, tenant, contact.id, terms).await?;
    }
    Ok(changed > 0)
}

/// Hides a contact and frees what the sites call them; their conversations stay. False when there
/// is none.
pub async fn delete(tx: &mut Tx, tenant: Tenant, id: ContactId, now: Timestamp) -> Result<bool> {
    execute!(
        tx,
        sqlx::query("UPDATE contact_inboxes SET source_id = NULL WHERE org_id = $1 AND contact_id = $2")
            .bind(tenant.organisation())
            .bind(id)
    )?;
    execute!(
        tx,
        sqlx::query("UPDATE contacts SET deleted_at = $3 WHERE org_id = $1 AND id = $2 AND deleted_at IS NULL")
            .bind(tenant.organisation())
            .bind(id)
            .bind(now)
    )
    .map(|changed| changed > 0)
}

/// Notes that a contact no longer writes to an inbox.
pub async fn leave(tx: &mut Tx, tenant: Tenant, contact: ContactId, inbox: InboxId) -> Result<()> {
    execute!(
        tx,
        sqlx::query("DELETE FROM contact_inboxes WHERE org_id = $1 AND contact_id = $2 AND inbox_id = $3")
            .bind(tenant.organisation())
            .bind(contact)
            .bind(inbox)
    )
    .map(drop)
}

/// A page of contacts that were not deleted, newest first.
pub async fn list(tx: &mut Tx, tenant: Tenant, filter: &Filter, page: Page) -> Result<Listing<Contact>> {
    let is_impossible =
        filter.inboxes.as_ref().is_some_and(|inboxes| inboxes.is_empty() || inboxes.len() > MAX_INBOXES)
            || crate::page::is_beyond_any_name(filter.keyword.as_ref().map(|(folded, _)| folded.as_str()));
    if is_impossible {
        return Ok(Listing { rows: Vec::new(), total: 0 });
    }
    macro_rules! matching {
        ($query:ident) => {
            $query.push(" FROM contacts AS c WHERE c.deleted_at IS NULL AND c.org_id = ");
            $query.push_bind(tenant.organisation());
            if let Some((folded, lower)) = &filter.keyword {
                $query.push(" AND (c.name_folded LIKE '%' || ");
                $query.push_bind(crate::page::escape_like(folded));
                $query.push(" || '%' ESCAPE '\\' OR c.details_folded LIKE '%' || ");
                $query.push_bind(crate::page::escape_like(lower));
                $query.push(" || '%' ESCAPE '\\')");
            }
            if let Some(inboxes) = &filter.inboxes {
                $query.push(
                    " AND EXISTS (SELECT 1 FROM contact_inboxes AS m WHERE m.contact_id = c.id AND m.inbox_id IN (",
                );
                let mut list = $query.separated(", ");
                for inbox in inboxes {
                    list.push_bind(*inbox);
                }
                $query.push(") AND m.org_id = ");
                $query.push_bind(tenant.organisation());
                // $1 is the organisation, which was bound first.
                $query.push(inbox_within_sql(tenant, "m.inbox_id"));
                $query.push(")");
            }
        };
    }
    let total: i64 = on_tx!(tx, db => {
        let mut query = QueryBuilder::new("SELECT count(*)");
        matching!(query);
        query.build_query_scalar().fetch_one(db).await
    })
    .map_err(fault)?;
    let rows = on_tx!(tx, db => {
        let mut query = QueryBuilder::new(concat!("SELECT ", columns!("c.")));
        matching!(query);
        query.push(" ORDER BY c.created_at DESC, c.id DESC LIMIT ");
        query.push_bind(page.limit_sql());
        query.push(" OFFSET ");
        query.push_bind(page.offset_sql());
        collect(query.build_query_as().fetch(db), |contact: &Contact| bytes_of(contact.query_metadata.as_ref())).await
    })?;
    Ok(Listing { rows, total: crate::page::count(total) })
}

/// The inboxes that contacts write to, with their names, in the order they came to them. Those that
/// were deleted, or are beyond the caller's reach, are left out.
pub async fn inboxes(tx: &mut Tx, tenant: Tenant, contacts: &[ContactId]) -> Result<Vec<(ContactId, InboxId, String)>> {
    let select = format!(
        "SELECT m.contact_id, i.id, i.name FROM contact_inboxes AS m JOIN inboxes AS i ON i.id = m.inbox_id \
         WHERE i.deleted_at IS NULL AND m.org_id = i.org_id AND m.org_id = $1{}",
        inbox_within_sql(tenant, "m.inbox_id")
    );
    by_ids::rows(tx, tenant, (&select, "m.contact_id", "ORDER BY m.created_at, i.id"), contacts).await
}

/// Contacts of an inbox that were not deleted, oldest first, `limit` at most.
pub async fn of_inbox(tx: &mut Tx, tenant: Tenant, inbox: InboxId, limit: u64) -> Result<Vec<ContactId>> {
    on_tx!(tx, db => sqlx::query_scalar(
        "SELECT c.id FROM contact_inboxes AS m JOIN contacts AS c ON c.id = m.contact_id \
         WHERE m.org_id = $1 AND c.org_id = $1 AND m.inbox_id = $2 AND c.deleted_at IS NULL \
         ORDER BY m.created_at, c.id LIMIT $3")
        .bind(tenant.organisation()).bind(inbox).bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(db).await)
    .map_err(fault)
}

/// What retrieval is narrowed to for a contact, verbatim JSON; also for one that was removed, whose
/// conversations go on.
pub async fn query_metadata(tx: &mut Tx, tenant: Tenant, id: ContactId) -> Result<Option<String>> {
    let found: Option<Option<String>> = on_tx!(tx, db => sqlx::query_scalar(
        "SELECT query_metadata FROM contacts WHERE org_id = $1 AND id = $2")
        .bind(tenant.organisation()).bind(id).fetch_optional(db).await)
    .map_err(fault)?;
    Ok(found.flatten())
}
