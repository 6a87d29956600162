//! Making the vectors of a base's FAQs: a job per base that goes on until every FAQ was shown to the
//! base's embedding model.
//!
//! What it stores is guarded by the FAQ's own generation and not by the job: a vector fits its text
//! whoever made it, so that a job that is queued anew while it runs loses nothing.

use parlance_domain::kind::KnowledgeBaseId;
use parlance_domain::{Error, Result, Tenant};
use parlance_llm::EmbeddingPurpose;
use parlance_storage::index_changes::{self, PUT};
use parlance_storage::jobs::{self, Job, NewJob};
use parlance_storage::{Tx, faqs, knowledge_bases};
use serde::{Deserialize, Serialize};

use crate::App;
use crate::ingest::{Stop, check_lengths};

/// Name of the job.
pub const KIND: &str = "embed-faqs";
/// FAQs that are embedded with one request.
const BATCH: i64 = 64;

/// Arguments of the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct EmbedFaqs {
    knowledge_base: KnowledgeBaseId,
}

/// Key under which the job of a base is queued once.
pub(crate) fn unique_key(base: KnowledgeBaseId) -> String {
    format!("{KIND}:{base}")
}

/// Queues the job of a base, in the caller's transaction.
pub(crate) async fn enqueue(tx: &mut Tx, app: &App, tenant: Tenant, base: KnowledgeBaseId) -> Result<()> {
    let payload = serde_json::to_string(&EmbedFaqs { knowledge_base: base })
        .map_err(|error| Error::internal("queueing FAQs", error))?;
    let now = app.now();
    let job = NewJob { id: app.new_id(), kind: KIND, unique_key: unique_key(base), payload, run_at: now };
    jobs::enqueue(tx, tenant, &job, now).await
}

/// Runs the job.
pub async fn run(app: &App, tenant: Tenant, job: &Job) -> Result<(), Stop> {
    let work: EmbedFaqs =
        serde_json::from_str(&job.payload).map_err(|error| Stop::Fail(format!("The job cannot be read ({error}).")))?;
    let base = work.knowledge_base;
    let mut after = None;
    loop {
        let (model_id, rows) = {
            let mut tx = app.db.read(tenant).await?;
            let row = knowledge_bases::get(&mut tx, tenant, base).await?.ok_or(Stop::Obsolete)?;
            let Some(model) = row.embedding_model_id else { return finish(app, tenant, job).await };
            (model, faqs::without_vector_of(&mut tx, tenant, base, model, (after, BATCH)).await?)
        };
        let Some(last) = rows.last() else { return finish(app, tenant, job).await };
        after = Some(last.id);
        let Some(embedding) = app.catalogue.embedding(app, tenant, model_id).await? else {
            return finish(app, tenant, job).await;
        };
        let texts = rows.iter().map(faqs::IndexedFaq::text).collect();
        let vectors = embedding.model.embed(texts, EmbeddingPurpose::Passage).await.map_err(|error| {
            tracing::warn!(%error, base = %base, "the embedding model failed");
            Stop::Retry("The embedding model did not answer as expected.".to_owned())
        })?;
        check_lengths(rows.len(), &vectors, embedding.model.dimensions())?;
        let (writer, model) = (app.clone(), embedding.entry.id);
        app.db
            .write(tenant, move |tx| {
                Box::pin(async move {
                    for (row, vector) in rows.iter().zip(vectors) {
                        let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
                        if faqs::set_vector(tx, tenant, (row.id, row.generation), model, &bytes).await? {
                            let change = crate::faqs::change(&writer, tenant, (base, row.id), PUT);
                            index_changes::insert(tx, tenant, &change).await?;
                        }
                    }
                    Ok(())
                })
            })
            .await?;
        app.index_bell.notify_one();
    }
}

async fn finish(app: &App, tenant: Tenant, job: &Job) -> Result<(), Stop> {
    let finished = job.clone();
    let held =
        app.db.write(tenant, move |tx| Box::pin(async move { jobs::finish(tx, tenant, &finished).await })).await?;
    // An FAQ came meanwhile, and the job with it.
    if held { Ok(()) } else { Err(Stop::Obsolete) }
}
