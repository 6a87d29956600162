//! FAQs of knowledge bases. Each is a passage of its own: its words are searchable as soon as the
//! indexer has seen it, its vector follows by a job.

use parlance_domain::kind::{FaqId, KnowledgeBaseId};
use parlance_domain::{Error, FieldErrors, Result, Tenant};
use parlance_retrieval::fold;
use parlance_storage::faqs::{self, Faq, Filter};
use parlance_storage::index_changes::{self, IndexChange, PUT, REMOVE};
use parlance_storage::row_lock::{Row, lock};
use parlance_storage::{Listing, Page, Tx, knowledge_bases, labels as label_rows};

use crate::labels::{self, LabelRef, Labelled};
use crate::place::Place;
use crate::{App, faq_vectors};

/// Characters of a question.
const MAX_QUESTION: usize = 2_000;
/// Characters of an answer.
const MAX_ANSWER: usize = 10_000;
/// FAQs that are removed with one write: others wait for no more than that.
const DELETED_AT_ONCE: u64 = 500;

/// What is asked of an FAQ; `None` leaves a value as it is.
#[derive(Clone, Debug, Default)]
pub struct FaqDraft {
    /// Required for a new one.
    pub question: Option<String>,
    /// Required for a new one.
    pub answer: Option<String>,
    /// The labels it carries.
    pub labels: Option<Vec<LabelRef>>,
    /// Free-form metadata, verbatim JSON. `Some(None)` clears it.
    pub raw_metadata: Option<Option<String>>,
}

impl FaqDraft {
    /// Checks what is asked of a new one.
    ///
    /// # Errors
    /// `Invalid` for what is missing or wrong.
    pub fn check_new(&self) -> Result<()> {
        let mut errors = FieldErrors::default();
        for (field, text) in [("question", &self.question), ("answer", &self.answer)] {
            if text.is_none() {
                errors.add(field, "This field is required.");
            }
        }
        errors.finish()?;
        self.check()
    }

    fn check(&self) -> Result<()> {
        let mut errors = FieldErrors::default();
        for (field, text, limit) in [("question", &self.question, MAX_QUESTION), ("answer", &self.answer, MAX_ANSWER)] {
            match text {
                Some(text) if text.trim().is_empty() => errors.add(field, "This field may not be blank."),
                Some(text) if text.trim().chars().count() > limit => {
                    errors.add(field, format!("Ensure this field has no more than {limit} characters."));
                }
                _ => {}
            }
        }
        errors.finish()?;
        crate::files::check_metadata("rawUserDefineMetadata", self.raw_metadata.as_ref().and_then(Option::as_deref))
    }
}

/// Adds an FAQ to a base.
pub async fn create(app: &App, tenant: Tenant, base: KnowledgeBaseId, draft: FaqDraft) -> Result<Labelled<Faq>> {
    draft.check_new()?;
    let now = app.now();
    let mut faq = Faq {
        id: app.new_id(),
        knowledge_base_id: base,
        question: draft.question.unwrap_or_default().trim().to_owned(),
        answer: draft.answer.unwrap_or_default().trim().to_owned(),
        folded: String::new(),
        raw_metadata: draft.raw_metadata.flatten(),
        hits_count: 0,
        generation: 1,
        created_at: now,
        updated_at: now,
    };
    faq.folded = fold(&faq.text());
    let writer = app.clone();
    let named = draft.labels.unwrap_or_default();
    let made = app
        .db
        .write(tenant, move |tx| {
            Box::pin(async move {
                let row = knowledge_bases::get(tx, tenant, base).await?.ok_or(Error::NotFound("knowledge base"))?;
                let ids = labels::resolve(tx, &writer, tenant, base, (&named, "labels")).await?;
                faqs::insert(tx, tenant, &faq).await?;
                label_rows::set_of_faq(tx, tenant, faq.id, &ids).await?;
                announce(tx, &writer, tenant, (base, faq.id), PUT).await?;
                if row.embedding_model_id.is_some() {
                    faq_vectors::enqueue(tx, &writer, tenant, base).await?;
                }
                shown(tx, tenant, faq).await
            })
        })
        .await?;
    ring(app, tenant);
    Ok(made)
}

fn ring(app: &App, tenant: Tenant) {
    // Labels may have been made.
    app.plans.forget(tenant);
    app.index_bell.notify_one();
    app.job_bell.notify_one();
}

async fn shown(tx: &mut Tx, tenant: Tenant, faq: Faq) -> Result<Labelled<Faq>> {
    let mut shown = labels::of_faqs(tx, tenant, vec![faq]).await?;
    shown.pop().ok_or_else(|| Error::bug("an FAQ that was just stored"))
}

/// Tells the index of an FAQ, in the caller's transaction.
async fn announce(
    tx: &mut Tx,
    app: &App,
    tenant: Tenant,
    (base, faq): (KnowledgeBaseId, FaqId),
    kind: &str,
) -> Result<()> {
    index_changes::insert(tx, tenant, &change(app, tenant, (base, faq), kind)).await
}

/// A change of an FAQ for the index.
pub(crate) fn change(app: &App, tenant: Tenant, (base, faq): (KnowledgeBaseId, FaqId), kind: &str) -> IndexChange {
    IndexChange {
        id: app.new_id(),
        organisation: tenant.organisation(),
        kind: kind.to_owned(),
        knowledge_base_id: base,
        file_id: None,
        faq_id: Some(faq),
        generation: 0,
        embedding_model_id: None,
        attempts: 0,
        created_at: app.now(),
    }
}

/// The FAQ, if it is of that place.
async fn find(tx: &mut Tx, tenant: Tenant, place: Place, id: FaqId) -> Result<Faq> {
    let bases = place.bases(tx, tenant).await?;
    let faq = faqs::get(tx, tenant, id).await?;
    faq.filter(|faq| bases.contains(&faq.knowledge_base_id)).ok_or(Error::NotFound("FAQ"))
}

/// One FAQ.
pub async fn get(app: &App, tenant: Tenant, place: Place, id: FaqId) -> Result<Labelled<Faq>> {
    let mut tx = app.db.read(tenant).await?;
    let faq = find(&mut tx, tenant, place, id).await?;
    shown(&mut tx, tenant, faq).await
}

/// A page of FAQs.
pub async fn list(
    app: &App,
    tenant: Tenant,
    place: Place,
    filter: &Filter,
    page: Page,
) -> Result<Listing<Labelled<Faq>>> {
    let mut tx = app.db.read(tenant).await?;
    let bases = place.bases(&mut tx, tenant).await?;
    let listing = faqs::list(&mut tx, tenant, &bases, filter, page).await?;
    Ok(Listing { rows: labels::of_faqs(&mut tx, tenant, listing.rows).await?, total: listing.total })
}

/// Changes an FAQ.
pub async fn update(app: &App, tenant: Tenant, place: Place, id: FaqId, draft: FaqDraft) -> Result<Labelled<Faq>> {
    draft.check()?;
    let (writer, now) = (app.clone(), app.now());
    let changed = app
        .db
        .write(tenant, move |tx| {
            Box::pin(async move {
                lock(tx, tenant, Row::Faq(id)).await?;
                let mut faq = find(tx, tenant, place, id).await?;
                let base = faq.knowledge_base_id;
                faq.updated_at = now;
                if let Some(raw_metadata) = draft.raw_metadata {
                    faq.raw_metadata = raw_metadata;
                    faqs::describe(tx, tenant, id, faq.raw_metadata.as_deref(), now).await?;
                }
                let before = faq.text();
                if let Some(question) = draft.question {
                    question.trim().clone_into(&mut faq.question);
                }
                if let Some(answer) = draft.answer {
                    answer.trim().clone_into(&mut faq.answer);
                }
                if faq.text() != before {
                    faq.folded = fold(&faq.text());
                    faqs::update(tx, tenant, &faq).await?;
                    announce(tx, &writer, tenant, (base, id), PUT).await?;
                    let row = knowledge_bases::get(tx, tenant, base).await?;
                    if row.is_some_and(|row| row.embedding_model_id.is_some()) {
                        faq_vectors::enqueue(tx, &writer, tenant, base).await?;
                    }
                }
                if let Some(named) = draft.labels {
                    let ids = labels::resolve(tx, &writer, tenant, base, (&named, "labels")).await?;
                    label_rows::set_of_faq(tx, tenant, id, &ids).await?;
                }
                shown(tx, tenant, faq).await
            })
        })
        .await?;
    ring(app, tenant);
    Ok(changed)
}

/// Removes FAQs, all or none. An unknown one is not found.
pub async fn delete(app: &App, tenant: Tenant, place: Place, ids: Vec<FaqId>) -> Result<()> {
    let writer = app.clone();
    app.db
        .write(tenant, move |tx| {
            Box::pin(async move {
                let bases = place.bases(tx, tenant).await?;
                for id in ids {
                    let faq = faqs::get(tx, tenant, id).await?;
                    let known = faq.is_some_and(|faq| bases.contains(&faq.knowledge_base_id));
                    if !known {
                        return Err(Error::NotFound("FAQ"));
                    }
                    delete_one(tx, &writer, tenant, id).await?;
                }
                Ok(())
            })
        })
        .await?;
    app.index_bell.notify_one();
    Ok(())
}

async fn delete_one(tx: &mut Tx, app: &App, tenant: Tenant, id: FaqId) -> Result<()> {
    let Some(base) = faqs::delete(tx, tenant, id).await? else { return Ok(()) };
    announce(tx, app, tenant, (base, id), REMOVE).await
}

/// Removes a slice of a base's FAQs, in the caller's transaction. Gives how many: 0 when none is left.
pub(crate) async fn delete_some(tx: &mut Tx, app: &App, tenant: Tenant, base: KnowledgeBaseId) -> Result<u64> {
    let ids = faqs::first_of_base(tx, tenant, base, DELETED_AT_ONCE).await?;
    for id in &ids {
        delete_one(tx, app, tenant, *id).await?;
    }
    Ok(ids.len() as u64)
}

/// Removes every FAQ of a base, in slices. Gives how many.
pub async fn delete_all(app: &App, tenant: Tenant, base: KnowledgeBaseId) -> Result<u64> {
    let mut removed = 0;
    loop {
        let writer = app.clone();
        let count = app
            .db
            .write(tenant, move |tx| Box::pin(async move { delete_some(tx, &writer, tenant, base).await }))
            .await?;
        removed += count;
        app.index_bell.notify_one();
        if count < DELETED_AT_ONCE {
            return Ok(removed);
        }
    }
}
