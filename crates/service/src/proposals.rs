//! What the indexes propose for a text: the question, or a passage that a model invents for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use parlance_domain::kind::{ModelId, PassageId};
use parlance_domain::{Error, Result, Tenant};
use parlance_llm::EmbeddingPurpose;
use parlance_retrieval::{BaseScope, Scope, Source, TextResults, fuse};
use parlance_storage::knowledge_bases::KnowledgeBase;
use parlance_storage::{Tx, passages};
use tokio::sync::SemaphorePermit;

use crate::App;
use crate::indexer::Similar;
use crate::search::MODEL_TIME;
use crate::side_calls::{Aide, Spent};
use crate::timing::since;

/// What the indexes propose for a text.
pub(crate) struct Proposed {
    pub(crate) by_words: TextResults,
    by_meaning: Vec<ByMeaning>,
}

/// What one embedding model proposes.
struct ByMeaning {
    model: ModelId,
    /// The vector of the text.
    vector: Vec<f32>,
    /// Best first.
    hits: Vec<Similar>,
}

impl Proposed {
    /// One ranked list of each index and model.
    pub(crate) fn lists(&self) -> impl Iterator<Item = Vec<PassageId>> {
        let by_words = self.by_words.hits.iter().map(|hit| hit.passage).collect();
        let by_meaning = self.by_meaning.iter().map(|found| found.hits.iter().map(|hit| hit.passage).collect());
        std::iter::once(by_words).chain(by_meaning)
    }

    /// Those of the proposals that are FAQs.
    pub(crate) fn faqs(&self) -> impl Iterator<Item = PassageId> {
        let by_words = self.by_words.hits.iter().map(|hit| (hit.passage, hit.source));
        let by_meaning = self.by_meaning.iter().flat_map(|found| &found.hits).map(|hit| (hit.passage, hit.source));
        let all = by_words.chain(by_meaning);
        all.filter(|(_, source)| matches!(source, Source::Faq(_))).map(|(passage, _)| passage)
    }

    /// How near each proposal is to the text, as the index has told.
    pub(crate) fn cosines(&self) -> HashMap<PassageId, f32> {
        self.by_meaning.iter().flat_map(|found| &found.hits).map(|hit| (hit.passage, hit.cosine)).collect()
    }

    /// Compares passages that others have proposed with the text.
    pub(crate) async fn compare(
        &self,
        tx: &mut Tx,
        tenant: Tenant,
        unknown: &[PassageId],
        cosines: &mut HashMap<PassageId, f32>,
    ) -> Result<()> {
        for found in &self.by_meaning {
            for (id, vector) in passages::vectors(tx, tenant, found.model, unknown).await? {
                cosines.insert(id, cosine(&crate::indexer::numbers(&vector), &found.vector));
            }
        }
        Ok(())
    }
}

/// Cosine similarity, at least 0; 0 for vectors that do not compare.
fn cosine(one: &[f32], other: &[f32]) -> f32 {
    let dot = |one: &[f32], other: &[f32]| one.iter().zip(other).map(|(one, other)| one * other).sum::<f32>();
    let lengths = (dot(one, one) * dot(other, other)).sqrt();
    if one.len() != other.len() || lengths <= 0.0 { 0.0 } else { (dot(one, other) / lengths).max(0.0) }
}

/// One order of several: that of reciprocal rank fusion.
pub(crate) fn in_one_order(lists: &[Vec<PassageId>]) -> Vec<PassageId> {
    if let [only] = lists {
        return only.clone();
    }
    let slices: Vec<&[PassageId]> = lists.iter().map(Vec::as_slice).collect();
    fuse(&slices).into_iter().map(|fused| fused.0).collect()
}

/// What the indexes propose for a text, in what may be seen of the bases.
pub(crate) async fn propose(
    app: &App,
    tenant: Tenant,
    (bases, scope): (&[&KnowledgeBase], &Arc<Scope>),
    (text, purpose): (&Arc<str>, EmbeddingPurpose),
    proposals: usize,
) -> Result<Proposed> {
    let by_words = {
        let index = Arc::clone(&app.text_index);
        let (text, scope) = (Arc::clone(text), Arc::clone(scope));
        let _slot = slot(app).await?;
        tokio::task::spawn_blocking(move || index.search(&text, &scope, proposals))
            .await
            .map_err(|error| Error::internal("searching by words", error))?
            .map_err(|error| Error::internal("searching by words", error))?
    };
    let by_meaning = by_meaning(app, tenant, (bases, scope), (text, purpose), proposals).await;
    Ok(Proposed { by_words, by_meaning })
}

/// What the indexes propose for a passage that a model invents, in the bases that want that, and the
/// seconds the model took. Nothing when anything fails.
pub(crate) async fn propose_by_invention(
    app: &App,
    tenant: Tenant,
    (bases, scope): (&[&KnowledgeBase], &Scope),
    question: &str,
    proposals: usize,
    writer: Option<Aide>,
) -> (Option<Proposed>, f64) {
    let wanting: Vec<&KnowledgeBase> = bases.iter().copied().filter(|base| base.enable_hyde).collect();
    if wanting.is_empty() {
        return (None, 0.0);
    }
    let writer = match writer {
        Some(writer) => Ok(writer),
        None => app.catalogue.chat(app, tenant, None).await.map(|chat| Aide::new(chat.model, Spent::default())),
    };
    let writer = match writer {
        Ok(writer) if writer.follows_instructions() => writer,
        Ok(_built_in) => return (None, 0.0),
        Err(error) => {
            tracing::warn!(%error, "no model to invent a passage with; the question alone is searched for");
            return (None, 0.0);
        }
    };
    let start = Instant::now();
    let passage = crate::hyde::passage(&writer, question).await;
    let Some(passage) = passage else { return (None, since(start)) };
    let seconds = since(start);
    let permitted = scope.bases.iter().filter(|permitted| wanting.iter().any(|base| base.id == permitted.base));
    let scope = Arc::new(Scope { organisation: scope.organisation, bases: permitted.cloned().collect() });
    let text = (&passage.into(), EmbeddingPurpose::Passage);
    let proposed = propose(app, tenant, (&wanting, &scope), text, proposals).await;
    let proposed = proposed.inspect_err(|error| tracing::warn!(%error, "searching by an invented passage failed"));
    (proposed.ok(), seconds)
}

/// Waits for a place to search.
async fn slot(app: &App) -> Result<SemaphorePermit<'_>> {
    app.search_slots.acquire().await.map_err(|closed| Error::internal("waiting for a search", closed))
}

/// One ranked list for each embedding model of the bases. A model that fails is left out: words
/// alone still answer.
async fn by_meaning(
    app: &App,
    tenant: Tenant,
    (bases, scope): (&[&KnowledgeBase], &Scope),
    (text, purpose): (&str, EmbeddingPurpose),
    proposals: usize,
) -> Vec<ByMeaning> {
    let mut by_model: HashMap<ModelId, Vec<BaseScope>> = HashMap::new();
    for base in bases {
        let permitted = scope.bases.iter().find(|permitted| permitted.base == base.id);
        if let (Some(model), Some(permitted)) = (base.embedding_model_id, permitted) {
            by_model.entry(model).or_default().push(permitted.clone());
        }
    }
    let mut lists = Vec::new();
    for (model_id, bases) in by_model {
        let scope = Scope { organisation: scope.organisation, bases };
        match by_one_model(app, tenant, model_id, scope, (text, purpose), proposals).await {
            Ok(list) => lists.push(list),
            Err(error) => {
                tracing::warn!(%error, model = %model_id, "searching by meaning failed; words alone are used");
            }
        }
    }
    lists
}

async fn by_one_model(
    app: &App,
    tenant: Tenant,
    model_id: ModelId,
    scope: Scope,
    (text, purpose): (&str, EmbeddingPurpose),
    proposals: usize,
) -> Result<ByMeaning> {
    let Some(embedding) = app.catalogue.embedding(app, tenant, model_id).await? else {
        return Err(Error::bug("the base's embedding model no longer exists"));
    };
    let embedding = embedding.model.embed(vec![text.to_owned()], purpose);
    let vectors = tokio::time::timeout(MODEL_TIME, embedding)
        .await
        .map_err(|elapsed| Error::internal("embedding the question", elapsed))?
        .map_err(|error| Error::internal("embedding the question", error))?;
    let vector = vectors.into_iter().next().ok_or_else(|| Error::bug("no vector for the question"))?;
    let index = Arc::clone(&app.vector_index);
    let _slot = slot(app).await?;
    tokio::task::spawn_blocking(move || {
        let hits = crate::indexer::similar(&index, &vector, model_id, &scope, proposals)?;
        Ok(ByMeaning { model: model_id, vector, hits })
    })
    .await
    .map_err(|error| Error::internal("searching by meaning", error))?
}
