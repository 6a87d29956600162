//! From a change of the database to the changes of the indexes.

use parlance_domain::Tenant;
use parlance_domain::kind::{FaqId, FileId, PassageId};
use parlance_retrieval::{Change, IndexedPassage, IndexedVector, Source, VectorChange};
use parlance_storage::index_changes::{IndexChange, PUT, REMOVE, TIDY};
use parlance_storage::{faqs, passages};

use super::{Fault, apply, embeddings_of};
use crate::App;

/// Passages carried over with one commit at most; the rest of a larger file follows in further ones.
const BATCH_PASSAGES: usize = 20_000;
/// Bytes of texts and vectors carried over with one commit at most.
const BATCH_BYTES: usize = 32 << 20;
/// Passages read from the database at once.
const READ: i64 = 500;

#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) text: Vec<Change>,
    pub(super) vectors: Vec<VectorChange>,
    /// Bytes of their texts and vectors.
    bytes: usize,
}

impl Batch {
    pub(super) fn is_full(&self) -> bool {
        self.text.len() >= BATCH_PASSAGES || self.bytes >= BATCH_BYTES
    }
}

/// Adds what a change means for the indexes.
pub(super) async fn collect(app: &App, change: &IndexChange, batch: &mut Batch, number: u64) -> Result<(), Fault> {
    if let Some(faq) = change.faq_id {
        collect_faq(app, change, faq, batch).await?;
    }
    match change.file_id {
        Some(file) => collect_file(app, change, file, batch, number).await,
        None => Ok(()),
    }
}

/// Adds an FAQ as the database has it now, in the place of what the indexes know of it.
async fn collect_faq(app: &App, change: &IndexChange, faq: FaqId, batch: &mut Batch) -> Result<(), Fault> {
    let source = faq_source(faq);
    let tenant = Tenant::authenticated(change.organisation);
    let row = if change.kind == PUT {
        let mut tx = app.db.read(tenant).await?;
        faqs::indexed(&mut tx, tenant, faq).await?
    } else {
        None
    };
    // Also where there is one to add: a vector of an older text, or of another model, goes.
    batch.vectors.push(VectorChange::RemoveSource(source));
    let Some(row) = row else {
        batch.text.push(Change::RemoveSource(source));
        return Ok(());
    };
    let passage = PassageId::from_uuid(faq.uuid());
    let text = row.text();
    batch.bytes += text.len() + row.vector.as_ref().map_or(0, Vec::len);
    let generation = u64::try_from(row.generation).unwrap_or_default();
    if let (Some(vector), Some(model)) = (&row.vector, row.embedding_model_id) {
        batch.vectors.push(VectorChange::Put(IndexedVector {
            organisation: change.organisation,
            base: row.knowledge_base_id,
            embeddings: embeddings_of(model),
            source,
            generation,
            passage,
            vector: numbers(vector),
        }));
    }
    batch.text.push(Change::Put(IndexedPassage {
        organisation: change.organisation,
        base: row.knowledge_base_id,
        source,
        generation,
        passage,
        text,
        heading: None,
    }));
    Ok(())
}

/// The FAQ as the indexes know it.
pub(crate) fn faq_source(faq: FaqId) -> Source {
    Source::Faq(faq.uuid().as_u128())
}

async fn collect_file(
    app: &App,
    change: &IndexChange,
    file: FileId,
    batch: &mut Batch,
    number: u64,
) -> Result<(), Fault> {
    let source = Source::File(file);
    let generation = u64::try_from(change.generation).unwrap_or_default();
    match change.kind.as_str() {
        REMOVE => {
            batch.text.push(Change::RemoveSource(source));
            batch.vectors.push(VectorChange::RemoveSource(source));
        }
        TIDY => {
            batch.text.push(Change::RemoveOtherGenerations { source, keep: generation });
            batch.vectors.push(VectorChange::RemoveOtherGenerations { source, keep: generation });
        }
        _ => {
            let tenant = Tenant::authenticated(change.organisation);
            let model = change.embedding_model_id;
            let mut from = 0;
            loop {
                let rows = {
                    let mut tx = app.db.read(tenant).await?;
                    passages::of_generation(&mut tx, tenant, (file, change.generation), from, READ).await?
                };
                let Some(last) = rows.last() else { break };
                from = last.ordinal + 1;
                for row in rows {
                    batch.bytes += row.text.len()
                        + row.heading.as_ref().map_or(0, String::len)
                        + row.vector.as_ref().map_or(0, Vec::len);
                    if let (Some(vector), Some(model)) = (&row.vector, model) {
                        batch.vectors.push(VectorChange::Put(IndexedVector {
                            organisation: change.organisation,
                            base: change.knowledge_base_id,
                            embeddings: embeddings_of(model),
                            source,
                            generation,
                            passage: row.id,
                            vector: numbers(vector),
                        }));
                    }
                    batch.text.push(Change::Put(IndexedPassage {
                        organisation: change.organisation,
                        base: change.knowledge_base_id,
                        source,
                        generation,
                        passage: row.id,
                        text: row.text,
                        heading: row.heading,
                    }));
                }
                if batch.is_full() {
                    // Commits under the number of the last complete batch: a crash in here shows as
                    // a batch that was never finished, and it is carried over again from its start.
                    apply(app, std::mem::take(batch), number - 1).await?;
                }
            }
        }
    }
    Ok(())
}

/// The numbers of a stored vector.
pub(crate) fn numbers(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}
