//! Carries changes of the database into the search indexes, and publishes what they have learnt.
//!
//! One task reads `index_changes` in order. A batch is committed to the indexes with its number as
//! their watermark, then, in one transaction, the database notes the number, publishes the
//! generations and forgets the changes. A crash in between repeats the batch, which changes nothing.
//! An index whose watermark does not fit the database's is emptied and filled again.

mod collect;
mod rebuild;

use std::sync::Arc;
use std::time::Duration;

use parlance_domain::kind::{FileId, KnowledgeBaseId, ModelId, PassageId};
use parlance_domain::{Error, Result, Tenant};
use parlance_retrieval::{Scope as SearchScope, Source, VectorIndex};
use parlance_storage::index_changes::{self, IndexChange, PUT, REMOVE, TIDY};
use parlance_storage::{Scope, Tx, faqs, files, passages};

use self::collect::{Batch, collect};
pub(crate) use self::collect::{faq_source, numbers};
pub use self::rebuild::{needs_rebuild, rebuild};
use crate::App;
use crate::ingest::DELETED_AT_ONCE;

/// Name of the indexes' watermark in the database.
const WATERMARK: &str = "search";
/// Changes carried over with one commit at most.
const BATCH: i64 = 64;
/// How long to wait after a failure.
const PAUSE: Duration = Duration::from_secs(2);
/// An addition that failed this often alone is given up, so that others go on; a file then fails with
/// a reason.
const MAX_ATTEMPTS: i64 = 10;
/// The indexes free their memory after this time without work.
const REST_AFTER: Duration = Duration::from_secs(5);

/// The generation of a base's vectors is the model that made them.
fn embeddings_of(model: ModelId) -> u64 {
    model.uuid().as_u64_pair().0 ^ model.uuid().as_u64_pair().1
}

/// A passage near a vector.
pub(crate) struct Similar {
    pub(crate) passage: PassageId,
    pub(crate) source: Source,
    /// 0..1.
    pub(crate) cosine: f32,
}

/// Passages near a vector, over several bases with the same model, best first.
pub(crate) fn similar(
    index: &VectorIndex,
    vector: &[f32],
    model: ModelId,
    scope: &SearchScope,
    limit: usize,
) -> Result<Vec<Similar>> {
    let mut hits = Vec::new();
    for base in &scope.bases {
        let found = index
            .search(scope.organisation, base, embeddings_of(model), vector, limit)
            .map_err(|error| Error::internal("searching by meaning", error))?;
        hits.extend(found.into_iter().map(|hit| Similar {
            passage: hit.passage,
            source: hit.source,
            cosine: hit.cosine.max(0.0),
        }));
    }
    hits.sort_by(|one, other| other.cosine.total_cmp(&one.cosine).then(one.passage.cmp(&other.passage)));
    hits.truncate(limit);
    Ok(hits)
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
    let taken = match gather_and_apply(app, changes, number).await {
        Ok(taken) => taken,
        Err((tried, fault)) => return Err(blame(app, tried, fault, watermark).await?),
    };
    let count = taken.len();
    publish(app, taken, number).await?;
    Ok(count)
}

/// Why changes were not carried over.
#[derive(Debug)]
enum Fault {
    /// The database did not give what there is to index.
    Database(Error),
    /// An index refused.
    Index(parlance_retrieval::Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Database(error)
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Database(error) => error,
            Fault::Index(error) => Self::internal("updating the search index", error),
        }
    }
}

/// Carries the first of the changes over, as many as fit into one batch, and gives them. A change that
/// failed before goes alone, so that it takes no other with it.
async fn gather_and_apply(
    app: &App,
    changes: Vec<IndexChange>,
    number: u64,
) -> Result<Vec<IndexChange>, (Vec<IndexChange>, Fault)> {
    let mut batch = Batch::default();
    let mut taken: Vec<IndexChange> = Vec::new();
    for change in changes {
        let goes_alone = change.attempts > 0;
        if !taken.is_empty() && (goes_alone || batch.is_full()) {
            break;
        }
        let collected = collect(app, &change, &mut batch, number).await;
        taken.push(change);
        if let Err(fault) = collected {
            return Err((taken, fault));
        }
        if goes_alone {
            break;
        }
    }
    match apply(app, batch, number).await {
        Ok(()) => Ok(taken),
        Err(fault) => Err((taken, fault)),
    }
}

/// Decides whose fault it was that changes were not carried over, and notes it. Gives the error.
async fn blame(app: &App, tried: Vec<IndexChange>, fault: Fault, watermark: u64) -> Result<Error> {
    let Fault::Index(error) = fault else { return Ok(fault.into()) };
    if tried.len() == 1
        && let parlance_retrieval::Error::VectorShape { expected, received } = error
    {
        let reason = format!(
            "Its vectors have {received} numbers, but the others of this knowledge base have {expected}, or they are \
             not finite; check the dimensions of the embedding model, then reparse the file."
        );
        give_up(app, tried, reason).await?;
        return Ok(Fault::Index(error).into());
    }
    // An index that does not even take an empty batch is full or broken; no file is to blame for it.
    if apply(app, Batch::default(), watermark).await.is_ok() {
        let (worn_out, others): (Vec<_>, Vec<_>) =
            tried.into_iter().partition(|change| change.kind == PUT && change.attempts + 1 >= MAX_ATTEMPTS);
        app.db
            .write(Scope::System, move |tx| {
                Box::pin(async move {
                    for change in &others {
                        index_changes::count_attempt(tx, change.id).await?;
                    }
                    Ok(())
                })
            })
            .await?;
        let reason = "The search index could not take this file; see the server's log, then reparse it.";
        give_up(app, worn_out, reason.to_owned()).await?;
    }
    Ok(Fault::Index(error).into())
}

async fn apply(app: &App, batch: Batch, number: u64) -> Result<(), Fault> {
    let (text, vectors) = (Arc::clone(&app.text_index), Arc::clone(&app.vector_index));
    tokio::task::spawn_blocking(move || {
        text.apply(&batch.text, number)?;
        vectors.apply(&batch.vectors, number)
    })
    .await
    .map_err(|error| Error::internal("updating the search index", error))?
    .map_err(Fault::Index)
}

async fn publish(app: &App, changes: Vec<IndexChange>, number: u64) -> Result<()> {
    for change in changes.iter().filter(|change| change.kind == TIDY) {
        forget_older(app, change).await?;
    }
    let now = app.now();
    let tidy_ids: Vec<_> = changes.iter().map(|_| app.new_id()).collect();
    app.db
        .write(Scope::System, move |tx| {
            Box::pin(async move {
                for (change, tidy_id) in changes.iter().zip(tidy_ids) {
                    let tenant = Tenant::authenticated(change.organisation);
                    let made = (change.generation, change.embedding_model_id);
                    if change.kind == PUT
                        && let Some(file) = change.file_id
                        && files::publish(tx, tenant, file, made, now).await?
                        && change.generation > 1
                    {
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

/// Removes the passages of a file from before the generation that is kept, in slices. They cannot be
/// found any more; a crash in between begins again with what is left.
async fn forget_older(app: &App, change: &IndexChange) -> Result<()> {
    let tenant = Tenant::authenticated(change.organisation);
    let (Some(file), generation) = (change.file_id, change.generation) else { return Ok(()) };
    loop {
        let removed = app
            .db
            .write(tenant, move |tx| {
                Box::pin(async move { passages::delete_older(tx, tenant, file, generation, DELETED_AT_ONCE).await })
            })
            .await?;
        if removed < DELETED_AT_ONCE {
            return Ok(());
        }
    }
}

/// Ends files whose passages no index takes, with a reason. What of them is in an index is removed; the
/// previous generation stays searchable. An FAQ goes on without its vector.
async fn give_up(app: &App, changes: Vec<IndexChange>, reason: String) -> Result<()> {
    for change in changes {
        let (tidy_id, now, reason) = (app.new_id(), app.now(), reason.clone());
        let tenant = Tenant::authenticated(change.organisation);
        app.db
            .write(tenant, move |tx| {
                Box::pin(async move {
                    index_changes::delete(tx, change.id).await?;
                    if let Some(faq) = change.faq_id {
                        if faqs::drop_vector(tx, tenant, faq).await? {
                            let again = IndexChange { id: tidy_id, attempts: 0, ..change };
                            index_changes::insert(tx, tenant, &again).await?;
                        }
                        return Ok(());
                    }
                    let Some(file) = change.file_id else { return Ok(()) };
                    files::fail(tx, tenant, file, change.generation, &reason, now).await?;
                    // A newer generation tidies up when it is published.
                    let is_newest_and_hidden = |file: &files::File| {
                        file.next_generation == change.generation && file.generation != change.generation
                    };
                    let file = files::find(tx, tenant, file).await?;
                    let Some(file) = file.filter(is_newest_and_hidden) else { return Ok(()) };
                    let tidy = IndexChange {
                        id: tidy_id,
                        kind: TIDY.to_owned(),
                        generation: file.generation,
                        attempts: 0,
                        ..change
                    };
                    index_changes::insert(tx, tenant, &tidy).await
                })
            })
            .await?;
    }
    Ok(())
}

/// Queues the removal of a file from the indexes, in the caller's transaction.
pub(crate) async fn forget_file(
    tx: &mut Tx,
    app: &App,
    tenant: Tenant,
    (base, file): (KnowledgeBaseId, FileId),
) -> Result<()> {
    let change = IndexChange {
        id: app.new_id(),
        organisation: tenant.organisation(),
        kind: REMOVE.to_owned(),
        knowledge_base_id: base,
        file_id: Some(file),
        faq_id: None,
        generation: 0,
        embedding_model_id: None,
        attempts: 0,
        created_at: app.now(),
    };
    index_changes::insert(tx, tenant, &change).await
}
