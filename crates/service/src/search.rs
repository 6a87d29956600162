//! From a question to passages: words and vectors propose, the database disposes.
//!
//! 1. The full-text index and, for bases with an embedding model, the vector index each propose an
//!    order; reciprocal rank fusion makes one of them.
//! 2. The database says which of the proposed passages exist, are published, belong to the
//!    organisation and are permitted. The indexes are never trusted with that.
//! 3. Scores (contract decision D29): the rerank model's where one was asked, else the larger of
//!    cosine similarity and the idf-weighted share of the question's terms found in the passage.
//! 4. Cut-off, number, neighbouring sentences.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parlance_domain::kind::{FaqId, KnowledgeBaseId, ModelId, PassageId};
use parlance_domain::{Error, Result, Tenant};
use parlance_llm::EmbeddingPurpose;
use parlance_retrieval::{BaseScope, Scope, Source, fuse};
use parlance_storage::faqs;
use parlance_storage::knowledge_bases::KnowledgeBase;
use parlance_storage::passages::{self, Passage};
use tokio::sync::SemaphorePermit;

use crate::App;
use crate::indexer::Similar;
use crate::material::Material;
use crate::models::Rerank;
use crate::timing::since;

/// Passages proposed by each index for each one wanted.
const PROPOSALS_PER_RESULT: usize = 4;
/// Proposals at least, so that a small number of results still has something to choose from.
const MIN_PROPOSALS: usize = 40;
/// Passages that are reordered at most: rerank models are slow and priced by the passage.
const MAX_RERANKED: usize = 50;
/// Time for a model that only makes the search better.
const MODEL_TIME: Duration = Duration::from_secs(8);
/// Results at most.
const MAX_RESULTS: usize = 200;

/// A passage that was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The passage.
    pub material: Material,
    /// 0..1, the same meaning for every question.
    pub score: f32,
    /// Sentences just before the passage.
    pub before: String,
    /// Sentences just after the passage.
    pub after: String,
}

/// What a search gave.
#[derive(Clone, Debug, Default)]
pub struct SearchResult {
    /// Best first.
    pub found: Vec<Found>,
    /// Seconds for finding.
    pub retrieval: f64,
    /// Seconds for reordering.
    pub rerank: f64,
}

struct Candidate {
    material: Material,
    score: f32,
}

/// Finds passages of `bases` for `question`; `limit` overrides the bases' own number. `permitted` is what
/// may be seen of them; `None` for all.
pub async fn search(
    app: &App,
    tenant: Tenant,
    bases: &[KnowledgeBase],
    permitted: Option<Vec<BaseScope>>,
    question: &str,
    limit: Option<usize>,
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
    let limit = limit.or(wanted).unwrap_or_default().min(MAX_RESULTS);
    if bases.is_empty() || limit == 0 || question.trim().is_empty() {
        return Ok(SearchResult::default());
    }
    let proposals = (limit * PROPOSALS_PER_RESULT).max(MIN_PROPOSALS);
    let question: Arc<str> = question.into();

    let text = {
        let index = Arc::clone(&app.text_index);
        let (question, scope) = (Arc::clone(&question), Arc::clone(&scope));
        let _slot = slot(app).await?;
        tokio::task::spawn_blocking(move || index.search(&question, &scope, proposals))
            .await
            .map_err(|error| Error::internal("searching by words", error))?
            .map_err(|error| Error::internal("searching by words", error))?
    };
    let similar = by_meaning(app, tenant, (bases, &scope), &question, proposals).await;
    let cosines: HashMap<PassageId, f32> = similar.iter().flatten().map(|hit| (hit.passage, hit.cosine)).collect();
    let sources = text.hits.iter().map(|hit| (hit.passage, hit.source));
    let sources = sources.chain(similar.iter().flatten().map(|hit| (hit.passage, hit.source)));
    let proposed_faqs: HashSet<PassageId> =
        sources.filter(|(_, source)| matches!(source, Source::Faq(_))).map(|(passage, _)| passage).collect();
    let by_words: Vec<PassageId> = text.hits.iter().map(|hit| hit.passage).collect();
    let order = if similar.is_empty() {
        by_words
    } else {
        let mut lists = vec![by_words];
        lists.extend(similar.into_iter().map(|list| list.into_iter().map(|hit| hit.passage).collect()));
        {
            let slices: Vec<&[PassageId]> = lists.iter().map(Vec::as_slice).collect();
            fuse(&slices).into_iter().map(|fused| fused.0).collect()
        }
    };

    let reranks = bases.iter().any(|base| base.enable_rerank);
    let reranker = if reranks {
        let id = bases.iter().find_map(|base| base.reranker_model_id);
        app.catalogue.rerank(app, tenant, id).await?
    } else {
        None
    };
    // Without a reranker and a cut-off the order is final: more is read only when some of the best
    // were withdrawn.
    let cuts_off = bases.iter().any(|base| base.similarity_cutoff > 0.0);
    let look_at = match (&reranker, cuts_off) {
        (Some(_), _) => MAX_RERANKED.max(limit),
        (None, true) => order.len(),
        (None, false) => limit,
    };
    let first = &order[..look_at.min(order.len())];
    let mut candidates = load(app, tenant, &scope, first, &proposed_faqs).await?;
    if candidates.len() < limit.min(order.len()) && order.len() > look_at {
        candidates = load(app, tenant, &scope, &order, &proposed_faqs).await?;
    }
    if reranker.is_none() && !cuts_off {
        candidates.truncate(limit);
    }
    for candidate in &mut candidates {
        let share = text.terms.share(candidate.material.text());
        let cosine = cosines.get(&candidate.material.id()).copied().unwrap_or_default();
        candidate.score = share.max(cosine).clamp(0.0, 1.0);
    }
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

    let cutoffs: HashMap<KnowledgeBaseId, f64> = bases.iter().map(|base| (base.id, base.similarity_cutoff)).collect();
    candidates.retain(|candidate| {
        let cutoff = cutoffs.get(&candidate.material.knowledge_base()).copied().unwrap_or_default();
        f64::from(candidate.score) >= cutoff
    });
    candidates.truncate(limit);
    let found = with_neighbours(app, tenant, bases, candidates).await?;
    Ok(SearchResult { found, retrieval, rerank })
}

/// Waits for a place to search.
async fn slot(app: &App) -> Result<SemaphorePermit<'_>> {
    app.search_slots.acquire().await.map_err(|closed| Error::internal("waiting for a search", closed))
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
    tenant: Tenant,
    scope: &Scope,
    order: &[PassageId],
    proposed_faqs: &HashSet<PassageId>,
) -> Result<Vec<Candidate>> {
    if order.is_empty() {
        return Ok(Vec::new());
    }
    let (entries, of_files): (Vec<PassageId>, Vec<PassageId>) =
        order.iter().copied().partition(|id| proposed_faqs.contains(id));
    let entries: Vec<FaqId> = entries.into_iter().map(|id| FaqId::from_uuid(id.uuid())).collect();
    let mut tx = app.db.read(tenant).await?;
    let rows = passages::searchable(&mut tx, tenant, &of_files).await?;
    // Neither statement is run without ids.
    let entries = faqs::by_ids(&mut tx, tenant, &entries).await?;
    drop(tx);
    let permitted: HashMap<KnowledgeBaseId, &BaseScope> = scope.bases.iter().map(|base| (base.base, base)).collect();
    let found = rows.into_iter().map(Material::Passage).chain(entries.into_iter().map(|faq| Material::Faq(faq.into())));
    let mut by_id: HashMap<PassageId, Material> = found
        .filter(|material| {
            let base = permitted.get(&material.knowledge_base());
            base.is_some_and(|base| base.allows(material.source()))
        })
        .map(|material| (material.id(), material))
        .collect();
    Ok(order.iter().filter_map(|id| by_id.remove(id)).map(|material| Candidate { material, score: 0.0 }).collect())
}

/// One ranked list for each embedding model of the bases. A model that fails is left out: words
/// alone still answer.
async fn by_meaning(
    app: &App,
    tenant: Tenant,
    (bases, scope): (&[&KnowledgeBase], &Scope),
    question: &str,
    proposals: usize,
) -> Vec<Vec<Similar>> {
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
        match by_one_model(app, tenant, model_id, scope, question, proposals).await {
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
    question: &str,
    proposals: usize,
) -> Result<Vec<Similar>> {
    let Some(embedding) = app.catalogue.embedding(app, tenant, model_id).await? else {
        return Err(Error::bug("the base's embedding model no longer exists"));
    };
    let embedding = embedding.model.embed(vec![question.to_owned()], EmbeddingPurpose::Question);
    let vectors = tokio::time::timeout(MODEL_TIME, embedding)
        .await
        .map_err(|elapsed| Error::internal("embedding the question", elapsed))?
        .map_err(|error| Error::internal("embedding the question", error))?;
    let vector = vectors.into_iter().next().ok_or_else(|| Error::bug("no vector for the question"))?;
    let index = Arc::clone(&app.vector_index);
    let _slot = slot(app).await?;
    tokio::task::spawn_blocking(move || crate::indexer::similar(&index, &vector, model_id, &scope, proposals))
        .await
        .map_err(|error| Error::internal("searching by meaning", error))?
}

async fn with_neighbours(
    app: &App,
    tenant: Tenant,
    bases: &[&KnowledgeBase],
    candidates: Vec<Candidate>,
) -> Result<Vec<Found>> {
    let windows: HashMap<KnowledgeBaseId, usize> =
        bases.iter().map(|base| (base.id, usize::try_from(base.sentence_window_size).unwrap_or_default())).collect();
    let window = |passage: &Passage| windows.get(&passage.knowledge_base_id).copied().unwrap_or_default();
    let passages: Vec<Passage> = candidates
        .iter()
        .filter_map(|candidate| candidate.material.passage())
        .filter(|passage| window(passage) > 0)
        .cloned()
        .collect();
    let neighbours = if passages.is_empty() {
        Vec::new()
    } else {
        let mut tx = app.db.read(tenant).await?;
        passages::neighbours(&mut tx, tenant, &passages).await?
    };
    let by_place: HashMap<_, &str> =
        neighbours.iter().map(|(file, ordinal, text)| ((*file, *ordinal), text.as_str())).collect();
    Ok(candidates
        .into_iter()
        .map(|Candidate { material, score }| {
            let sentences = material.passage().map(window).unwrap_or_default();
            let (before, after) = match material.passage() {
                Some(passage) if sentences > 0 => {
                    let at = |ordinal: i64| by_place.get(&(passage.file_id, ordinal)).copied().unwrap_or_default();
                    (
                        last_sentences(at(passage.ordinal - 1), sentences),
                        first_sentences(at(passage.ordinal + 1), sentences),
                    )
                }
                _ => (String::new(), String::new()),
            };
            Found { material, score, before, after }
        })
        .collect())
}

/// Byte positions just after each sentence end.
fn sentence_ends(text: &str) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut characters = text.char_indices().peekable();
    while let Some((position, character)) = characters.next() {
        let next = characters.peek().map(|(_, next)| *next);
        let ends_here = match character {
            '。' | '！' | '？' | '；' | '\n' => true,
            // A point inside a number or an abbreviation is followed by something else than a blank.
            '.' | '!' | '?' => next.is_none_or(char::is_whitespace),
            _ => false,
        };
        if ends_here {
            ends.push(position + character.len_utf8());
        }
    }
    if ends.last() != Some(&text.len()) && !text.is_empty() {
        ends.push(text.len());
    }
    ends
}

fn first_sentences(text: &str, count: usize) -> String {
    let ends = sentence_ends(text);
    ends.get(count.min(ends.len()).wrapping_sub(1)).map_or("", |end| &text[..*end]).trim().to_owned()
}

fn last_sentences(text: &str, count: usize) -> String {
    let ends = sentence_ends(text);
    let skipped = ends.len().saturating_sub(count);
    let from = if skipped == 0 { 0 } else { ends[skipped - 1] };
    text[from..].trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_come_as_whole_sentences() {
        let text = "運費為 3.5 元。七日內可退貨！請保留發票。";
        assert_eq!(first_sentences(text, 1), "運費為 3.5 元。");
        assert_eq!(last_sentences(text, 2), "七日內可退貨！請保留發票。");
        assert_eq!(first_sentences(text, 9), text);
        assert_eq!(last_sentences(text, 9), text);
        assert_eq!(first_sentences("Version 2.1 is out. See notes.", 1), "Version 2.1 is out.");
        assert_eq!((first_sentences("", 2), last_sentences("", 2)), (String::new(), String::new()));
    }
}
