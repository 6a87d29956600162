//! Filling emptied indexes from the database.

use parlance_domain::kind::{FaqId, KnowledgeBaseId, OrganisationId};
use parlance_domain::{Result, Tenant};
use parlance_storage::index_changes::{self, IndexChange, PUT};
use parlance_storage::{Scope, Tx, faqs, files};

use super::WATERMARK;
use crate::App;

/// FAQs whose ids are read at once.
const READ_FAQS: i64 = 10_000;

/// Compares the watermarks that the indexes were opened with to the database's. When they do not
/// fit, the caller empties the indexes; this queues every searchable file to be indexed again.
pub async fn needs_rebuild(app_db: &parlance_storage::Db, watermarks: [Option<u64>; 2]) -> Result<bool> {
    let mut tx = app_db.read(Scope::System).await?;
    let known = index_changes::watermark(&mut tx, WATERMARK).await?;
    // Before the first batch an index is empty, whether it was just made or not, and all there is to
    // index is queued.
    let known = known.unwrap_or_default();
    // The text index is committed first, then the vectors, then the database.
    Ok(!watermarks.map(Option::unwrap_or_default).iter().all(|watermark| [known, known + 1].contains(watermark)))
}

/// Queues everything searchable, files and FAQs, to be indexed again. Gives how much that is.
pub async fn rebuild(app: &App) -> Result<usize> {
    let (searchable, entries) = {
        let mut tx = app.db.read(Scope::System).await?;
        (files::searchable(&mut tx).await?, every_faq(&mut tx).await?)
    };
    let count = searchable.len() + entries.len();
    let now = app.now();
    let mut changes: Vec<_> = searchable
        .into_iter()
        .map(|file| IndexChange {
            id: app.new_id(),
            organisation: file.organisation,
            kind: PUT.to_owned(),
            knowledge_base_id: file.knowledge_base_id,
            file_id: Some(file.id),
            faq_id: None,
            generation: file.generation,
            embedding_model_id: file.embedding_model_id,
            attempts: 0,
            created_at: now,
        })
        .collect();
    changes.extend(entries.into_iter().map(|(organisation, base, faq)| {
        crate::faqs::change(app, Tenant::authenticated(organisation), (base, faq), PUT)
    }));
    app.db
        .write(Scope::System, move |tx| {
            Box::pin(async move {
                index_changes::set_watermark(tx, WATERMARK, 0).await?;
                index_changes::delete_repeated(tx).await?;
                for change in &changes {
                    index_changes::insert(tx, Tenant::authenticated(change.organisation), change).await?;
                }
                Ok(())
            })
        })
        .await?;
    app.index_bell.notify_one();
    Ok(count)
}

async fn every_faq(tx: &mut Tx) -> Result<Vec<(OrganisationId, KnowledgeBaseId, FaqId)>> {
    let mut all = Vec::new();
    loop {
        let after = all.last().map(|(_, _, faq)| *faq);
        let some = faqs::searchable(tx, after, READ_FAQS).await?;
        if some.is_empty() {
            return Ok(all);
        }
        all.extend(some);
    }
}
