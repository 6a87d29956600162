//! Labels of knowledge bases, and naming them from files and FAQs.

use std::collections::HashMap;
use std::hash::Hash;

use parlance_domain::kind::{FileId, KnowledgeBaseId, LabelId};
use parlance_domain::{Error, FieldErrors, Result, Tenant};
use parlance_retrieval::fold;
use parlance_storage::faqs::Faq;
use parlance_storage::files::File;
use parlance_storage::labels::{self, Label};
use parlance_storage::row_lock::{Row, lock};
use parlance_storage::{Listing, Page, Tx, knowledge_bases};
use serde::{Deserialize, Serialize};

use crate::App;

/// Labels that a file or FAQ carries at most.
const MAX_LABELS: usize = 100;
/// Labels of a knowledge base at most.
const MAX_OF_BASE: u64 = 10_000;

/// A label as a request names it: by id, by name, or both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelRef {
    /// Its id. Not every text is one.
    pub id: Option<String>,
    /// Its name: of one that is found, or made, where the id is of none.
    pub name: Option<String>,
}

/// A label as it is shown with what carries it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelName {
    /// Its id.
    pub id: LabelId,
    /// Its name.
    pub name: String,
}

/// A thing with its labels, which are in the order of their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labelled<T> {
    /// The thing.
    pub item: T,
    /// Its labels.
    pub labels: Vec<LabelName>,
}

/// One label.
pub async fn get(app: &App, tenant: Tenant, base: KnowledgeBaseId, id: LabelId) -> Result<Label> {
    let mut tx = app.db.read(tenant).await?;
    labels::get(&mut tx, tenant, base, id).await?.ok_or(Error::NotFound("label"))
}

/// A page of a base's labels; with `query` those whose name contains it.
pub async fn list(
    app: &App,
    tenant: Tenant,
    base: KnowledgeBaseId,
    query: Option<&str>,
    page: Page,
) -> Result<Listing<Label>> {
    let folded = query.map(fold);
    let mut tx = app.db.read(tenant).await?;
    knowledge_bases::get(&mut tx, tenant, base).await?.ok_or(Error::NotFound("knowledge base"))?;
    labels::list(&mut tx, tenant, base, folded.as_deref(), page).await
}

/// Adds a label. Its name must be new to the base.
pub async fn create(app: &App, tenant: Tenant, base: KnowledgeBaseId, name: &str) -> Result<Label> {
    let name = checked_name("name", name)?;
    let label =
        Label { id: app.new_id(), knowledge_base_id: base, name_folded: fold(&name), name, created_at: app.now() };
    let row = label.clone();
    app.db
        .write(tenant, move |tx| {
            Box::pin(async move {
                knowledge_bases::get(tx, tenant, base).await?.ok_or(Error::NotFound("knowledge base"))?;
                refuse_taken(labels::by_name(tx, tenant, base, &row.name).await?, row.id)?;
                check_room(labels::count(tx, tenant, base).await?, "name")?;
                labels::insert(tx, tenant, &row).await
            })
        })
        .await?;
    app.plans.forget(tenant);
    Ok(label)
}

/// Renames a label; without a name it stays as it is.
pub async fn update(
    app: &App,
    tenant: Tenant,
    (base, id): (KnowledgeBaseId, LabelId),
    name: Option<String>,
) -> Result<Label> {
    let name = name.map(|name| checked_name("name", &name)).transpose()?;
    app.db
        .write(tenant, move |tx| {
            Box::pin(async move {
                lock(tx, tenant, Row::Label(id)).await?;
                let mut label = labels::get(tx, tenant, base, id).await?.ok_or(Error::NotFound("label"))?;
                if let Some(name) = name {
                    refuse_taken(labels::by_name(tx, tenant, base, &name).await?, id)?;
                    label.name_folded = fold(&name);
                    label.name = name;
                    labels::update(tx, tenant, &label).await?;
                }
                Ok(label)
            })
        })
        .await
}

/// Removes a label, also from everything that carries it.
pub async fn delete(app: &App, tenant: Tenant, base: KnowledgeBaseId, id: LabelId) -> Result<()> {
    let deleted =
        app.db.write(tenant, move |tx| Box::pin(async move { labels::delete(tx, tenant, base, id).await })).await?;
    if deleted { Ok(()) } else { Err(Error::NotFound("label")) }
}

fn checked_name(path: &str, name: &str) -> Result<String> {
    let mut errors = FieldErrors::default();
    crate::chatbots::check_name_at(&mut errors, path, name);
    errors.finish()?;
    Ok(name.trim().to_owned())
}

fn refuse_taken(known: Option<Label>, own: LabelId) -> Result<()> {
    match known {
        Some(label) if label.id != own => {
            Err(Error::field("name", "A label of this knowledge base has this name already."))
        }
        _ => Ok(()),
    }
}

/// Whether a base with this many labels takes one more.
fn check_room(count: u64, path: &str) -> Result<()> {
    if count >= MAX_OF_BASE {
        let message = format!("A knowledge base holds at most {MAX_OF_BASE} labels; delete one to make another.");
        return Err(Error::field(path, message));
    }
    Ok(())
}

/// The ids of the labels that a request names, each once. One whose id is unknown is found by its
/// name, or made (contract decision D31).
pub(crate) async fn resolve(
    tx: &mut Tx,
    app: &App,
    tenant: Tenant,
    base: KnowledgeBaseId,
    (named, path): (&[LabelRef], &str),
) -> Result<Vec<LabelId>> {
    if named.len() > MAX_LABELS {
        return Err(Error::field(path, format!("Ensure this field has no more than {MAX_LABELS} elements.")));
    }
    let mut ids = Vec::with_capacity(named.len());
    // Labels of the base, counted once it needs one more.
    let mut count = None;
    for (position, named) in named.iter().enumerate() {
        let known = match named.id.as_deref().and_then(LabelId::parse) {
            Some(id) => labels::get(tx, tenant, base, id).await?,
            None => None,
        };
        let id = match (known, &named.name) {
            (Some(label), _) => label.id,
            (None, Some(name)) => {
                let path = format!("{path}.{position}.name");
                by_name(tx, app, tenant, base, (name, &path), &mut count).await?
            }
            (None, None) => {
                return Err(Error::field(
                    format!("{path}.{position}.id"),
                    "No label of this knowledge base has this id.",
                ));
            }
        };
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(ids)
}

async fn by_name(
    tx: &mut Tx,
    app: &App,
    tenant: Tenant,
    base: KnowledgeBaseId,
    (name, path): (&str, &str),
    count: &mut Option<u64>,
) -> Result<LabelId> {
    let name = checked_name(path, name)?;
    if let Some(label) = labels::by_name(tx, tenant, base, &name).await? {
        return Ok(label.id);
    }
    let before = match *count {
        Some(count) => count,
        None => labels::count(tx, tenant, base).await?,
    };
    check_room(before, path)?;
    *count = Some(before + 1);
    let label =
        Label { id: app.new_id(), knowledge_base_id: base, name_folded: fold(&name), name, created_at: app.now() };
    labels::insert(tx, tenant, &label).await?;
    Ok(label.id)
}

/// The files with their labels, in the same order.
pub(crate) async fn of_files(tx: &mut Tx, tenant: Tenant, files: Vec<File>) -> Result<Vec<Labelled<File>>> {
    let ids: Vec<_> = files.iter().map(|file| file.id).collect();
    let rows = labels::of_files(tx, tenant, &ids).await?;
    Ok(joined(files, |file| file.id, rows))
}

/// The FAQs with their labels, in the same order.
pub(crate) async fn of_faqs(tx: &mut Tx, tenant: Tenant, faqs: Vec<Faq>) -> Result<Vec<Labelled<Faq>>> {
    let ids: Vec<_> = faqs.iter().map(|faq| faq.id).collect();
    let rows = labels::of_faqs(tx, tenant, &ids).await?;
    Ok(joined(faqs, |faq| faq.id, rows))
}

/// The labels of each of these files.
pub(crate) async fn by_file(tx: &mut Tx, tenant: Tenant, files: &[FileId]) -> Result<HashMap<FileId, Vec<LabelName>>> {
    Ok(grouped(labels::of_files(tx, tenant, files).await?))
}

fn grouped<I: Hash + Eq>(rows: Vec<(I, LabelId, String)>) -> HashMap<I, Vec<LabelName>> {
    let mut by_item: HashMap<I, Vec<LabelName>> = HashMap::new();
    for (item, id, name) in rows {
        by_item.entry(item).or_default().push(LabelName { id, name });
    }
    by_item
}

fn joined<T, I: Hash + Eq>(items: Vec<T>, id: impl Fn(&T) -> I, rows: Vec<(I, LabelId, String)>) -> Vec<Labelled<T>> {
    let mut by_item = grouped(rows);
    items
        .into_iter()
        .map(|item| {
            let labels = by_item.remove(&id(&item)).unwrap_or_default();
            Labelled { item, labels }
        })
        .collect()
}
