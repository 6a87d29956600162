//! Carries changes of the database into the search indexes, and publishes what they have learnt.
//!
//! One task reads `index_changes` in order. A batch is committed to the indexes with its number as
//! their watermark, then, in one transaction, the database notes the number, publishes the
//! generations and forgets the changes. A crash in between repeats the batch, which changes nothing.
//! An index whose watermark does not fit the database's is emptied and filled again.

use std::sync::Arc;
use std::time::Duration;

use parlance_domain::kind::{KnowledgeBaseId, ModelId, PassageId};
use parlance_domain::{Error, Result, Tenant};
use parlance_retrieval::{
    Change, IndexedPassage, IndexedVector, Scope as SearchScope, Source, VectorChange, VectorIndex,
};
use parlance_storage::index_changes::{self, IndexChange, PUT, REMOVE, TIDY};
use parlance_storage::{Scope, files, passages};

use crate::App;

/// Name of the indexes' watermark in the database.
const WATERMARK: &str = "search";
/// Changes carried over with one commit at most.
const BATCH: i64 = 64;
/// Passages carried over with one commit at most; the rest of a larger file follows in further ones.
const BATCH_PASSAGES: usize = 20_000;
/// Passages read from the database at once.
const READ: i64 = 2_000;
/// How long to wait after a failure.
const PAUSE: Duration = Duration::from_secs(2);
/// A change that failed this often takes its file down with a reason, so that others go on.
const MAX_ATTEMPTS: i64 = 10;
/// The indexes free their memory after this time without work.
const REST_AFTER: Duration = Duration::from_secs(5);

/// The generation of a base's vectors is the model that made them.
fn embeddings_of(model: ModelId) -> u64 {
    model.uuid().as_u64_pair().0 ^ model.uuid().as_u64_pair().1
}

/// Passages near a vector, over several bases with the same model, best first.
pub(crate) fn similar(
    index: &VectorIndex,
    vector: &[f32],
    model: ModelId,
    scope: &SearchScope,
    limit: usize,
) -> Result<Vec<(PassageId, f32)>> {
    let mut hits = Vec::new();
    for base in &scope.bases {
        let found = index
            .search(scope.organisation, base, embeddings_of(model), vector, limit)
            .map_err(|error| Error::internal("searching by meaning", error))?;
        hits.extend(found.into_iter().map(|hit| (hit.passage, hit.cosine.max(0.0))));
    }
    hits.sort_by(|one, other| other.1.total_cmp(&one.1).then(one.0.cmp(&other.0)));
    hits.truncate(limit);
    Ok(hits)
}

/// Compares the watermarks that the indexes were opened with to the database's. When they do not
/// fit, the caller empties the indexes; this queues every searchable file to be indexed again.
pub async fn needs_rebuild(app_db: &parlance_storage::Db, watermarks: [Option<u64>; 2]) -> Result<bool> {
    let mut tx = app_db.read(Scope::System).await?;
    let known = index_changes::watermark(&mut tx, WATERMARK).await?;
    let Some(known) = known else {
        // Nothing was ever indexed.
        return Ok(watermarks.iter().any(|watermark| watermark.is_some_and(|batch| batch > 1)));
    };
    // The text index is committed first, then the vectors, then the database.
    Ok(!watermarks.iter().all(|watermark| *watermark == Some(known) || *watermark == Some(known + 1)))
}

/// Queues every searchable file to be indexed again.
pub async fn rebuild(app: &App) -> Result<usize> {
    let searchable = {
        let mut tx = app.db.read(Scope::System).await?;
        files::searchable(&mut tx).await?
    };
    let count = searchable.len();
    let now = app.now();
    let changes: Vec<_> = searchable
        .into_iter()
        .map(|(organisation, base, file, generation)| IndexChange {
            id: app.new_id(),
            organisation,
            kind: PUT.to_owned(),
            knowledge_base_id: base,
            file_id: file,
            generation,
            attempts: 0,
            created_at: now,
        })
        .collect();
    app.db
        .write(Scope::System, move |tx| {
            Box::pin(async move {
                index_changes::set_watermark(tx, WATERMARK, 0).await?;
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

/// Runs until the server stops.
pub async fn run(app: &App) {
    let mut rested = false;
    loop {
        match carry_over(app).await {
            Ok(0) => {
                let idle = tokio::select! {
                    () = app.stopping.cancelled() => return,
                    () = app.index_bell.notified() => false,
                    () = tokio::time::sleep(REST_AFTER) => true,
                };
                if idle && !rested {
                    rest(app).await;
                }
                rested = idle;
            }
            Ok(_) => rested = false,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the search index could not be updated");
                tokio::select! {
                    () = app.stopping.cancelled() => return,
                    () = tokio::time::sleep(PAUSE) => {}
                }
            }
        }
    }
}

async fn rest(app: &App) {
    let (text, vectors) = (Arc::clone(&app.text_index), Arc::clone(&app.vector_index));
    let stopping = app.stopping.clone();
    let resting = tokio::task::spawn_blocking(move || {
        text.rest()?;
        vectors.optimise(|| stopping.is_cancelled()).map(drop)
    });
    match resting.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the search index could not be tidied"),
        Err(error) => tracing::warn!(%error, "tidying the search index stopped"),
    }
}

/// Carries one batch over. Gives how many changes it held; 0 when there was nothing to do.
pub async fn carry_over(app: &App) -> Result<usize> {
    let (changes, watermark) = {
        let mut tx = app.db.read(Scope::System).await?;
        let changes = index_changes::pending(&mut tx, BATCH).await?;
        (changes, index_changes::watermark(&mut tx, WATERMARK).await?.unwrap_or_default())
    };
    if changes.is_empty() {
        return Ok(0);
    }
    let number = watermark + 1;
    let mut batch = Batch::default();
    let mut taken = Vec::new();
    for change in changes {
        if !taken.is_empty() && batch.text.len() >= BATCH_PASSAGES {
            break;
        }
        if let Err(error) = collect(app, &change, &mut batch, number).await {
            give_up_or_count(app, &change).await?;
            return Err(error);
        }
        taken.push(change);
    }
    let count = taken.len();
    if let Err(error) = apply(app, batch, number).await {
        for change in &taken {
            give_up_or_count(app, change).await?;
        }
        return Err(error);
    }
    publish(app, taken, number).await?;
    Ok(count)
}

#[derive(Debug, Default)]
struct Batch {
    text: Vec<Change>,
    vectors: Vec<VectorChange>,
}

async fn collect(app: &App, change: &IndexChange, batch: &mut Batch, number: u64) -> Result<()> {
    let source = Source::File(change.file_id);
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
            let model = {
                let mut tx = app.db.read(tenant).await?;
                files::find(&mut tx, tenant, change.file_id).await?.and_then(|file| file.embedding_model_id)
            };
            let mut from = 0;
            loop {
                let rows = {
                    let mut tx = app.db.read(tenant).await?;
                    passages::of_generation(&mut tx, tenant, (change.file_id, change.generation), from, READ).await?
                };
                let Some(last) = rows.last() else { break };
                from = last.ordinal + 1;
                for row in rows {
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
                if batch.text.len() >= BATCH_PASSAGES {
                    // Commits under the number of the last complete batch: a crash in here shows as
                    // a batch that was never finished, and it is carried over again from its start.
                    apply(app, std::mem::take(batch), number - 1).await?;
                }
            }
        }
    }
    Ok(())
}

fn numbers(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

async fn apply(app: &App, batch: Batch, number: u64) -> Result<()> {
    let (text, vectors) = (Arc::clone(&app.text_index), Arc::clone(&app.vector_index));
    tokio::task::spawn_blocking(move || {
        text.apply(&batch.text, number)?;
        vectors.apply(&batch.vectors, number)
    })
    .await
    .map_err(|error| Error::internal("updating the search index", error))?
    .map_err(|error| Error::internal("updating the search index", error))
}

async fn publish(app: &App, changes: Vec<IndexChange>, number: u64) -> Result<()> {
    let now = app.now();
    let tidy_ids: Vec<_> = changes.iter().map(|_| app.new_id()).collect();
    app.db
        .write(Scope::System, move |tx| {
            Box::pin(async move {
                for (change, tidy_id) in changes.iter().zip(tidy_ids) {
                    let tenant = Tenant::authenticated(change.organisation);
                    if change.kind == PUT
                        && files::publish(tx, tenant, change.file_id, change.generation, now).await?
                        && change.generation > 1
                    {
                        passages::delete_others(tx, tenant, change.file_id, change.generation).await?;
                        let tidy = IndexChange { id: tidy_id, kind: TIDY.to_owned(), attempts: 0, ..change.clone() };
                        index_changes::insert(tx, tenant, &tidy).await?;
                    }
                    index_changes::delete(tx, change.id).await?;
                }
                index_changes::set_watermark(tx, WATERMARK, number).await
            })
        })
        .await
}

/// Counts a failed attempt, or ends the file with a reason when there were too many.
async fn give_up_or_count(app: &App, change: &IndexChange) -> Result<()> {
    let (change, now) = (change.clone(), app.now());
    let tenant = Tenant::authenticated(change.organisation);
    app.db
        .write(Scope::System, move |tx| {
            Box::pin(async move {
                if change.attempts + 1 < MAX_ATTEMPTS {
                    return index_changes::count_attempt(tx, change.id).await;
                }
                let reason = "The search index could not take this file; see the server's log, then reparse it.";
                files::fail(tx, tenant, change.file_id, change.generation, reason, now).await?;
                index_changes::delete(tx, change.id).await
            })
        })
        .await
}

/// Queues the removal of a file from the indexes, in the caller's transaction.
pub(crate) async fn forget_file(
    tx: &mut parlance_storage::Tx,
    app: &App,
    tenant: Tenant,
    (base, file): (KnowledgeBaseId, parlance_domain::kind::FileId),
) -> Result<()> {
    let change = IndexChange {
        id: app.new_id(),
        organisation: tenant.organisation(),
        kind: REMOVE.to_owned(),
        knowledge_base_id: base,
        file_id: file,
        generation: 0,
        attempts: 0,
        created_at: app.now(),
    };
    index_changes::insert(tx, tenant, &change).await
}
