//! Labels of a knowledge base, and the files and FAQs that carry them.

use parlance_domain::kind::{FaqId, FileId, KnowledgeBaseId, LabelId};
use parlance_domain::{Id, IdKind, Result, Tenant, Timestamp};

use crate::by_ids;
use crate::page::{Listing, Page};
use crate::reach::base_within;
use crate::tx::{Tx, execute, fault, on_tx};

/// A label of a base. Its name is unique there.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Label {
    /// Its id.
    pub id: LabelId,
    /// The base it belongs to.
    pub knowledge_base_id: KnowledgeBaseId,
    /// Shown to people.
    pub name: String,
    /// [`Label::name`] folded for search.
    pub name_folded: String,
    /// When it was made.
    pub created_at: Timestamp,
}

macro_rules! columns {
    () => {
        "id, knowledge_base_id, name, name_folded, created_at"
    };
}

/// One label of a base.
pub async fn get(tx: &mut Tx, tenant: Tenant, base: KnowledgeBaseId, id: LabelId) -> Result<Option<Label>> {
    on_tx!(tx, db => sqlx::query_as(concat!(
        "SELECT ", columns!(), " FROM labels WHERE org_id = $1 AND knowledge_base_id = $2 AND id = $3",
        base_within!("labels.knowledge_base_id", "$4")))
        .bind(tenant.organisation()).bind(base).bind(id).bind(tenant.limited_to()).fetch_optional(db).await)
    .map_err(fault)
}

/// The label of a base that has this name.
pub async fn by_name(tx: &mut Tx, tenant: Tenant, base: KnowledgeBaseId, name: &str) -> Result<Option<Label>> {
    on_tx!(tx, db => sqlx::query_as(concat!(
        "SELECT ", columns!(), " FROM labels WHERE org_id = $1 AND knowledge_base_id = $2 AND name = $3"))
        .bind(tenant.organisation()).bind(base).bind(name).fetch_optional(db).await)
    .map_err(fault)
}

/// A page of a base's labels, newest first; with `name_folded` those whose name contains it.
pub async fn list(
    tx: &mut Tx,
    tenant: Tenant,
    base: KnowledgeBaseId,
    name_folded: Option<&str>,
    page: Page,
) -> Result<Listing<Label>> {
    macro_rules! matching {
        () => {
            " FROM labels WHERE org_id = $1 AND knowledge_base_id = $2 \
             AND ($3 IS NULL OR name_folded LIKE '%' || $3 || '%' ESCAPE '\\')"
        };
    }
    if crate::page::is_beyond_any_name(name_folded) {
        return Ok(Listing { rows: Vec::new(), total: 0 });
    }
    let name = name_folded.map(crate::page::escape_like);
    let total: i64 = on_tx!(tx, db => sqlx::query_scalar(concat!("SELECT count(*)", matching!()))
        .bind(tenant.organisation()).bind(base).bind(&name).fetch_one(db).await)
    .map_err(fault)?;
    let rows = on_tx!(tx, db => sqlx::query_as(
        concat!("SELECT ", columns!(), matching!(), " ORDER BY created_at DESC, id DESC LIMIT $4 OFFSET $5"))
        .bind(tenant.organisation()).bind(base).bind(&name).bind(page.limit_sql()).bind(page.offset_sql())
        .fetch_all(db).await)
    .map_err(fault)?;
    Ok(Listing { rows, total: crate::page::count(total) })
}

/// How many labels a base has.
pub async fn count(tx: &mut Tx, tenant: Tenant, base: KnowledgeBaseId) -> Result<u64> {
    let count: i64 = on_tx!(tx, db => sqlx::query_scalar(
        "SELECT count(*) FROM labels WHERE org_id = $1 AND knowledge_base_id = $2")
        .bind(tenant.organisation()).bind(base).fetch_one(db).await)
    .map_err(fault)?;
    Ok(crate::page::count(count))
}

/// Whether any of these bases has a label.
pub async fn any(tx: &mut Tx, tenant: Tenant, bases: &[KnowledgeBaseId]) -> Result<bool> {
    let select = "SELECT DISTINCT knowledge_base_id FROM labels WHERE org_id = $1";
    let labelled: Vec<(KnowledgeBaseId,)> = by_ids::rows(tx, tenant, (select, "knowledge_base_id", ""), bases).await?;
    Ok(!labelled.is_empty())
}

/// Adds a label.
pub async fn insert(tx: &mut Tx, tenant: Tenant, label: &Label) -> Result<()> {
    execute!(
        tx,
        sqlx::query(
            "INSERT INTO labels (org_id, id, knowledge_base_id, name, name_folded, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6)"
        )
        .bind(tenant.organisation())
        .bind(label.id)
        .bind(label.knowledge_base_id)
        .bind(&label.name)
        .bind(&label.name_folded)
        .bind(label.created_at)
    )
    .map(drop)
}

/// Renames a label.
pub async fn update(tx: &mut Tx, tenant: Tenant, label: &Label) -> Result<()> {
    execute!(
        tx,
        sqlx::query("UPDATE labels SET name = $3, name_folded = $4 WHERE org_id = $1 AND id = $2")
            .bind(tenant.organisation())
            .bind(label.id)
            .bind(&label.name)
            .bind(&label.name_folded)
    )
    .map(drop)
}

/// Removes a label of a base, also from what carries it. False when there is none.
pub async fn delete(tx: &mut Tx, tenant: Tenant, base: KnowledgeBaseId, id: LabelId) -> Result<bool> {
    execute!(
        tx,
        sqlx::query(concat!(
            "DELETE FROM labels WHERE org_id = $1 AND knowledge_base_id = $2 AND id = $3",
            base_within!("labels.knowledge_base_id", "$4")
        ))
        .bind(tenant.organisation())
        .bind(base)
        .bind(id)
        .bind(tenant.limited_to())
    )
    .map(|changed| changed > 0)
}

/// The labels of these files, as `(file, label, name)`, by name.
pub async fn of_files(tx: &mut Tx, tenant: Tenant, files: &[FileId]) -> Result<Vec<(FileId, LabelId, String)>> {
    carried(tx, tenant, files, ["file_labels", "c.file_id"]).await
}

/// The labels of these FAQs, as `(FAQ, label, name)`, by name.
pub async fn of_faqs(tx: &mut Tx, tenant: Tenant, faqs: &[FaqId]) -> Result<Vec<(FaqId, LabelId, String)>> {
    carried(tx, tenant, faqs, ["faq_labels", "c.faq_id"]).await
}

async fn carried<K: IdKind>(
    tx: &mut Tx,
    tenant: Tenant,
    ids: &[Id<K>],
    [table, column]: [&'static str; 2],
) -> Result<Vec<(Id<K>, LabelId, String)>> {
    let select = format!(
        "SELECT {column}, l.id, l.name FROM {table} AS c JOIN labels AS l ON l.id = c.label_id \
         WHERE c.org_id = $1 AND l.org_id = c.org_id"
    );
    by_ids::rows(tx, tenant, (&select, column, "ORDER BY l.name, l.id"), ids).await
}

/// Makes a file's labels exactly these. Labels of another base are left out.
pub async fn set_of_file(tx: &mut Tx, tenant: Tenant, file: FileId, labels: &[LabelId]) -> Result<()> {
    execute!(
        tx,
        sqlx::query("DELETE FROM file_labels WHERE org_id = $1 AND file_id = $2")
            .bind(tenant.organisation())
            .bind(file)
    )?;
    for label in labels {
        execute!(
            tx,
            sqlx::query(
                "INSERT INTO file_labels (org_id, label_id, file_id) SELECT $1, l.id, f.id \
                 FROM labels AS l JOIN files AS f ON f.knowledge_base_id = l.knowledge_base_id \
                 WHERE l.org_id = $1 AND l.id = $2 AND f.org_id = $1 AND f.id = $3 ON CONFLICT DO NOTHING"
            )
            .bind(tenant.organisation())
            .bind(*label)
            .bind(file)
        )?;
    }
    Ok(())
}

/// Makes an FAQ's labels exactly these. Labels of another base are left out.
pub async fn set_of_faq(tx: &mut Tx, tenant: Tenant, faq: FaqId, labels: &[LabelId]) -> Result<()> {
    execute!(
        tx,
        sqlx::query("DELETE FROM faq_labels WHERE org_id = $1 AND faq_id = $2").bind(tenant.organisation()).bind(faq)
    )?;
    for label in labels {
        execute!(
            tx,
            sqlx::query(
                "INSERT INTO faq_labels (org_id, label_id, faq_id) SELECT $1, l.id, f.id \
                 FROM labels AS l JOIN faqs AS f ON f.knowledge_base_id = l.knowledge_base_id \
                 WHERE l.org_id = $1 AND l.id = $2 AND f.org_id = $1 AND f.id = $3 ON CONFLICT DO NOTHING"
            )
            .bind(tenant.organisation())
            .bind(*label)
            .bind(faq)
        )?;
    }
    Ok(())
}

/// The files that carry these labels, as `(label, file)`.
pub async fn files_with(tx: &mut Tx, tenant: Tenant, labels: &[LabelId]) -> Result<Vec<(LabelId, FileId)>> {
    let select = "SELECT label_id, file_id FROM file_labels WHERE org_id = $1";
    by_ids::rows(tx, tenant, (select, "label_id", ""), labels).await
}
