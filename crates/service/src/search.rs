//! From a question to passages: words and vectors propose, the database disposes.
//!
//! 1. The full-text index and, for bases with an embedding model, the vector index each propose an
//!    order, and again for an invented passage where a base wants that ([`crate::hyde`]); reciprocal
//!    rank fusion makes one of them.
//! 2. The database says which of the proposed passages exist, are published, belong to the
//!    organisation and are permitted. The indexes are never trusted with that.
//! 3. Scores (contract decision D29): the rerank model's where one was asked, else the larger of
//!    cosine similarity and the idf-weighted share of the question's terms found in the passage.
//! 4. Cut-off, number, neighbouring sentences.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parlance_domain::kind::{FaqId, KnowledgeBaseId, PassageId};
use parlance_domain::{Result, Tenant};
use parlance_llm::EmbeddingPurpose;
use parlance_retrieval::{BaseScope, PassageTerms, Scope};
use parlance_storage::knowledge_bases::KnowledgeBase;
use parlance_storage::passages::Passage;
use parlance_storage::{Tx, faqs};

use crate::App;
use crate::around::Around;
use crate::material::Material;
use crate::models::Rerank;
use crate::proposals::{Proposed, in_one_order, propose, propose_by_invention};
use crate::side_calls::Aide;
use crate::timing::since;

/// Passages proposed by each index for each one wanted.
const PROPOSALS_PER_RESULT: usize = 4;
/// Proposals at least, so that a small number of results still has something to choose from.
const MIN_PROPOSALS: usize = 40;
/// Passages that are reordered at most: rerank models are slow and priced by the passage.
const MAX_RERANKED: usize = 50;
/// Time for a model that only makes the search better.
pub(crate) const MODEL_TIME: Duration = Duration::from_secs(8);
/// Passages per question at most, whoever sets the number.
pub(crate) const MAX_CHUNKS: i64 = 200;

/// A passage that was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The passage.
    pub material: Material,
    /// 0..1, the same meaning for every question.
    pub score: f32,
    /// The sentences around it.
    pub around: Arc<Around>,
}

/// What a search gave.
#[derive(Clone, Debug, Default)]
pub struct SearchResult {
    /// Best first.
    pub found: Vec<Found>,
    /// Seconds for finding.
    pub retrieval: f64,
    /// Of these, seconds for inventing a passage to search with.
    pub hyde: f64,
    /// Seconds for reordering.
    pub rerank: f64,
}

struct Candidate {
    material: Material,
    terms: Arc<PassageTerms>,
    score: f32,
}

/// Finds passages of `bases` for `question`; `limit` overrides the bases' own number. `permitted` is what
/// may be seen of them; `None` for all. `writer` invents passages to search with for the bases that want
/// it; without it the default model does.
pub async fn search(
    app: &App,
    tenant: Tenant,
    bases: &[KnowledgeBase],
    permitted: Option<Vec<BaseScope>>,
    question: &str,
    limit: Option<usize>,
    writer: Option<Aide>,
) -> Result<SearchResult> {
    let start = Instant::now();
    let scope = match permitted {
        None => Scope::of_bases(tenant.organisation(), bases.iter().map(|base| base.id)),
        Some(bases) => Scope { organisation: tenant.organisation(), bases },
    };
    let scope = Arc::new(scope);
    // A base of which nothing may be seen decides about nothing either, such as the models to ask.
    let bases: Vec<&KnowledgeBase> =
        bases.iter().filter(|base| scope.bases.iter().any(|permitted| permitted.base == base.id)).collect();
    let bases = bases.as_slice();
    let wanted = bases.iter().map(|base| usize::try_from(base.retrieved_chunks).unwrap_or_default()).max();
    let limit = limit.or(wanted).unwrap_or_default().min(usize::try_from(MAX_CHUNKS).unwrap_or_default());
    if bases.is_empty() || limit == 0 || question.trim().is_empty() {
        return Ok(SearchResult::default());
    }
    let proposals = (limit * PROPOSALS_PER_RESULT).max(MIN_PROPOSALS);
    let question: Arc<str> = question.into();

    let (proposed, (invented, hyde)) = tokio::join!(
        propose(app, tenant, (bases, &scope), (&question, EmbeddingPurpose::Question), proposals),
        propose_by_invention(app, tenant, (bases, &scope), &question, proposals, writer)
    );
    let proposed = proposed?;
    let proposed_faqs: HashSet<PassageId> = proposed.faqs().chain(invented.iter().flat_map(Proposed::faqs)).collect();
    let lists: Vec<_> = proposed.lists().chain(invented.iter().flat_map(Proposed::lists)).collect();
    let order = in_one_order(&lists);

    let reranker = reranker(app, tenant, bases).await?;
    // Without a reranker and a cut-off the order is final: more is read only when some of the best
    // were withdrawn.
    let cuts_off = bases.iter().any(|base| base.similarity_cutoff > 0.0);
    let look_at = match (&reranker, cuts_off) {
        (Some(_), _) => MAX_RERANKED.max(limit),
        (None, true) => order.len(),
        (None, false) => limit,
    };
    let first = &order[..look_at.min(order.len())];
    let mut tx = app.db.read(tenant).await?;
    let mut candidates = load(app, &mut tx, tenant, &scope, (first, &proposed_faqs)).await?;
    if candidates.len() < limit.min(order.len()) && order.len() > look_at {
        candidates = load(app, &mut tx, tenant, &scope, (&order, &proposed_faqs)).await?;
    }
    if reranker.is_none() && !cuts_off {
        candidates.truncate(limit);
    }
    let mut cosines = proposed.cosines();
    if invented.is_some() {
        let unknown: Vec<PassageId> =
            candidates.iter().map(|found| found.material.id()).filter(|id| !cosines.contains_key(id)).collect();
        proposed.compare(&mut tx, tenant, &unknown, &mut cosines).await?;
    }
    for candidate in &mut candidates {
        let share = proposed.by_words.terms.share(&candidate.terms);
        let cosine = cosines.get(&candidate.material.id()).copied().unwrap_or_default();
        candidate.score = share.max(cosine).clamp(0.0, 1.0);
    }
    // Nobody waits for a connection while a model thinks.
    let tx = if reranker.is_none() { Some(tx) } else { None };
    let retrieval = since(start);

    let rerank_start = Instant::now();
    let mut rerank = 0.0;
    if let Some(reranker) = reranker
        && !candidates.is_empty()
    {
        candidates.truncate(MAX_RERANKED);
        reorder(&reranker, &question, &mut candidates).await;
        rerank = since(rerank_start);
    }

    cut_off(bases, &mut candidates);
    candidates.truncate(limit);
    let tx = match tx {
        Some(tx) => tx,
        None => app.db.read(tenant).await?,
    };
    let found = with_neighbours(app, tx, tenant, bases, candidates).await?;
    Ok(SearchResult { found, retrieval, hyde, rerank })
}

/// The rerank model of the bases, if one of them wants it and there is one.
async fn reranker(app: &App, tenant: Tenant, bases: &[&KnowledgeBase]) -> Result<Option<Rerank>> {
    if !bases.iter().any(|base| base.enable_rerank) {
        return Ok(None);
    }
    let id = bases.iter().find_map(|base| base.reranker_model_id);
    app.catalogue.rerank(app, tenant, id).await
}

/// Removes what scores below the cut-off of its base.
fn cut_off(bases: &[&KnowledgeBase], candidates: &mut Vec<Candidate>) {
    let cutoffs: HashMap<KnowledgeBaseId, f64> = bases.iter().map(|base| (base.id, base.similarity_cutoff)).collect();
    candidates.retain(|candidate| {
        let cutoff = cutoffs.get(&candidate.material.knowledge_base()).copied().unwrap_or_default();
        f64::from(candidate.score) >= cutoff
    });
}

/// Scores and orders the passages by a rerank model. A model that fails leaves them as they are.
async fn reorder(reranker: &Rerank, question: &str, candidates: &mut [Candidate]) {
    let documents = candidates.iter().map(|candidate| candidate.material.text().to_owned()).collect();
    let reranking = reranker.model.rerank(question.to_owned(), documents);
    match tokio::time::timeout(MODEL_TIME, reranking).await {
        Ok(Ok(scores)) => {
            for (candidate, score) in candidates.iter_mut().zip(scores) {
                candidate.score = score.clamp(0.0, 1.0);
            }
            // Stable, so that equal scores keep the order of the fusion.
            candidates.sort_by(|one, other| other.score.total_cmp(&one.score));
        }
        Ok(Err(error)) => tracing::warn!(%error, "the rerank model failed; the order of the search stands"),
        Err(_elapsed) => tracing::warn!("the rerank model took too long; the order of the search stands"),
    }
}

/// Those of the proposals that exist, are published and in the scope, in the proposed order.
async fn load(
    app: &App,
    tx: &mut Tx,
    tenant: Tenant,
    scope: &Scope,
    (order, proposed_faqs): (&[PassageId], &HashSet<PassageId>),
) -> Result<Vec<Candidate>> {
    if order.is_empty() {
        return Ok(Vec::new());
    }
    let (entries, of_files): (Vec<PassageId>, Vec<PassageId>) =
        order.iter().copied().partition(|id| proposed_faqs.contains(id));
    let entries: Vec<FaqId> = entries.into_iter().map(|id| FaqId::from_uuid(id.uuid())).collect();
    let rows = app.known_passages.searchable(tx, tenant, &of_files).await?;
    let entries = faqs::by_ids(tx, tenant, &entries).await?;
    let permitted: HashMap<KnowledgeBaseId, &BaseScope> = scope.bases.iter().map(|base| (base.base, base)).collect();
    let passages = rows.into_iter().map(|(passage, terms)| (Material::Passage(passage), terms));
    let entries = entries.into_iter().map(|faq| {
        let material = Material::Faq(faq.into());
        let terms = Arc::new(PassageTerms::of(material.text()));
        (material, terms)
    });
    let mut by_id: HashMap<PassageId, Candidate> = passages
        .chain(entries)
        .filter(|(material, _)| {
            let base = permitted.get(&material.knowledge_base());
            base.is_some_and(|base| base.allows(material.source()))
        })
        .map(|(material, terms)| (material.id(), Candidate { material, terms, score: 0.0 }))
        .collect();
    Ok(order.iter().filter_map(|id| by_id.remove(id)).collect())
}

async fn with_neighbours(
    app: &App,
    mut tx: Tx,
    tenant: Tenant,
    bases: &[&KnowledgeBase],
    candidates: Vec<Candidate>,
) -> Result<Vec<Found>> {
    let windows: HashMap<KnowledgeBaseId, usize> =
        bases.iter().map(|base| (base.id, usize::try_from(base.sentence_window_size).unwrap_or_default())).collect();
    let wanted: Vec<(&Passage, usize)> = candidates
        .iter()
        .filter_map(|candidate| candidate.material.passage())
        .map(|passage| (passage, windows.get(&passage.file.knowledge_base_id).copied().unwrap_or_default()))
        .filter(|(_, window)| *window > 0)
        .collect();
    let mut around = app.known_passages.around(&mut tx, tenant, &wanted).await?;
    drop(tx);
    let found = candidates.into_iter().map(|Candidate { material, score, .. }| {
        let around = around.remove(&material.id()).unwrap_or_default();
        Found { material, score, around }
    });
    Ok(found.collect())
}
