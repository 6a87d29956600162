//! Knowledge bases.

use std::collections::HashMap;

use parlance_domain::kind::{ChatbotId, KnowledgeBaseId, ModelId};
use parlance_domain::{Error, FieldErrors, Result, Scopes, Tenant};
use parlance_retrieval::fold;
use parlance_storage::knowledge_bases::{self, Filter, KnowledgeBase};
use parlance_storage::row_lock::{Row, lock};
use parlance_storage::{Listing, Page, Tx, chatbots};

use crate::models::ModelRole;
use crate::query_metadata::{self, Layer};
use crate::search::{MAX_CHUNKS, SearchResult, search};
use crate::turn_plan::turn_plan;
use crate::{App, Warnings, further_scopes, listed_ids};

/// Neighbouring sentences at most.
const MAX_WINDOW: i64 = 20;

/// What is asked of a base; `None` leaves a value as it is, or takes the default of a new base.
#[derive(Clone, Debug, Default)]
pub struct KnowledgeBaseDraft {
    /// See [`KnowledgeBase`].
    pub name: Option<String>,
    /// See [`KnowledgeBase`].
    pub description: Option<String>,
    /// `Some(None)` takes the default.
    pub embedding_model: Option<Option<ModelId>>,
    /// `Some(None)` takes the default.
    pub reranker_model: Option<Option<ModelId>>,
    /// See [`KnowledgeBase`].
    pub retrieved_chunks: Option<i64>,
    /// See [`KnowledgeBase`].
    pub sentence_window_size: Option<i64>,
    /// See [`KnowledgeBase`].
    pub enable_hyde: Option<bool>,
    /// See [`KnowledgeBase`].
    pub similarity_cutoff: Option<f64>,
    /// See [`KnowledgeBase`].
    pub enable_rerank: Option<bool>,
    /// The assistants that answer from it.
    pub chatbots: Option<Vec<ChatbotId>>,
    /// What whoever asks may do: other assistants than before need `chatbots:write`.
    pub scopes: Scopes,
}

/// A base with what is shown of it.
#[derive(Clone, Debug)]
pub struct KnowledgeBaseView {
    /// The base.
    pub base: KnowledgeBase,
    /// How many files it holds.
    pub files_count: u64,
    /// The assistants that answer from it.
    pub chatbots: Vec<(ChatbotId, String)>,
}

/// One base.
pub async fn get(app: &App, tenant: Tenant, id: KnowledgeBaseId) -> Result<KnowledgeBaseView> {
    let mut tx = app.db.read(tenant).await?;
    let base = knowledge_bases::get(&mut tx, tenant, id).await?.ok_or(Error::NotFound("knowledge base"))?;
    view(&mut tx, tenant, base).await
}

async fn view(tx: &mut Tx, tenant: Tenant, base: KnowledgeBase) -> Result<KnowledgeBaseView> {
    let mut views = views(tx, tenant, vec![base]).await?;
    views.pop().ok_or_else(|| Error::bug("a knowledge base without its view"))
}

/// What is shown of these bases, in the same order, with as many queries as for one.
async fn views(tx: &mut Tx, tenant: Tenant, bases: Vec<KnowledgeBase>) -> Result<Vec<KnowledgeBaseView>> {
    let ids: Vec<KnowledgeBaseId> = bases.iter().map(|base| base.id).collect();
    let counts: HashMap<_, _> = knowledge_bases::files_counts(tx, tenant, &ids).await?.into_iter().collect();
    let mut chatbots: HashMap<KnowledgeBaseId, Vec<(ChatbotId, String)>> = HashMap::new();
    for (base, chatbot, name) in knowledge_bases::chatbots(tx, tenant, &ids).await? {
        chatbots.entry(base).or_default().push((chatbot, name));
    }
    let view = |base: KnowledgeBase| KnowledgeBaseView {
        files_count: counts.get(&base.id).copied().unwrap_or_default(),
        chatbots: chatbots.remove(&base.id).unwrap_or_default(),
        base,
    };
    Ok(bases.into_iter().map(view).collect())
}

/// A page of bases.
pub async fn list(app: &App, tenant: Tenant, filter: &Filter, page: Page) -> Result<Listing<KnowledgeBaseView>> {
    let mut tx = app.db.read(tenant).await?;
    let listing = knowledge_bases::list(&mut tx, tenant, filter, page).await?;
    Ok(Listing { rows: views(&mut tx, tenant, listing.rows).await?, total: listing.total })
}

/// Adds a base.
pub async fn create(app: &App, tenant: Tenant, draft: KnowledgeBaseDraft) -> Result<(KnowledgeBaseView, Warnings)> {
    let now = app.now();
    let mut base = KnowledgeBase {
        id: app.new_id(),
        name: String::new(),
        name_folded: String::new(),
        description: String::new(),
        embedding_model_id: None,
        reranker_model_id: None,
        retrieved_chunks: 12,
        sentence_window_size: 2,
        enable_hyde: false,
        similarity_cutoff: 0.0,
        enable_rerank: true,
        created_at: now,
        updated_at: now,
    };
    if draft.name.is_none() {
        return Err(Error::field("name", "This field is required."));
    }
    let mut draft = draft;
    draft.embedding_model.get_or_insert(None);
    draft.reranker_model.get_or_insert(None);
    let warnings = pick_models(app, tenant, &mut draft).await?;
    apply(&mut base, &draft)?;
    let row = base.clone();
    let view = app
        .db
        .write(tenant, move |tx| {
            Box::pin(async move {
                knowledge_bases::insert(tx, tenant, &row).await?;
                set_chatbots(tx, tenant, row.id, draft.chatbots, draft.scopes).await?;
                view(tx, tenant, row).await
            })
        })
        .await?;
    app.plans.forget(tenant);
    Ok((view, warnings))
}

/// Changes a base. Another embedding model means that every file's vectors are made anew, by a job, while
/// what is there goes on being found.
pub async fn update(
    app: &App,
    tenant: Tenant,
    id: KnowledgeBaseId,
    mut draft: KnowledgeBaseDraft,
) -> Result<(KnowledgeBaseView, Warnings)> {
    let warnings = pick_models(app, tenant, &mut draft).await?;
    let writer = app.clone();
    let (view, re_embed) = app
        .db
        .write(tenant, move |tx| {
            Box::pin(async move {
                lock(tx, tenant, Row::KnowledgeBase(id)).await?;
                let known = knowledge_bases::get(tx, tenant, id).await?;
                let mut row = known.ok_or(Error::NotFound("knowledge base"))?;
                let model_before = row.embedding_model_id;
                apply(&mut row, &draft)?;
                row.updated_at = writer.now();
                let re_embed = row.embedding_model_id != model_before;
                knowledge_bases::update(tx, tenant, &row).await?;
                set_chatbots(tx, tenant, id, draft.chatbots, draft.scopes).await?;
                if re_embed {
                    crate::re_embedding::enqueue(tx, &writer, tenant, id).await?;
                    crate::faq_vectors::enqueue(tx, &writer, tenant, id).await?;
                }
                Ok((view(tx, tenant, row).await?, re_embed))
            })
        })
        .await?;
    app.plans.forget(tenant);
    if re_embed {
        app.job_bell.notify_one();
    }
    Ok((view, warnings))
}

/// Removes a base with all of its files: hidden at once, and a job removes what it holds.
pub async fn delete(app: &App, tenant: Tenant, id: KnowledgeBaseId) -> Result<()> {
    let writer = app.clone();
    app.db
        .write(tenant, move |tx| {
            Box::pin(async move {
                let begun = crate::deletion::begin_base(tx, &writer, tenant, id).await?;
                if begun { Ok(()) } else { Err(Error::NotFound("knowledge base")) }
            })
        })
        .await?;
    app.plans.forget(tenant);
    app.job_bell.notify_one();
    Ok(())
}

/// Searches one base, in what `layer` permits of it.
pub async fn find(app: &App, tenant: Tenant, id: KnowledgeBaseId, query: &str, layer: &Layer) -> Result<SearchResult> {
    let base = {
        let mut tx = app.db.read(tenant).await?;
        knowledge_bases::get(&mut tx, tenant, id).await?.ok_or(Error::NotFound("knowledge base"))?
    };
    let permitted = query_metadata::permitted(app, tenant, &[layer], &[base.id]).await?;
    search(app, tenant, &[base], permitted, query, None, None).await
}

/// Searches what an assistant answers from, in what the assistant and `layer` permit.
pub async fn find_for_chatbot(
    app: &App,
    tenant: Tenant,
    chatbot: ChatbotId,
    query: &str,
    layer: &Layer,
) -> Result<SearchResult> {
    let plan = turn_plan(app, tenant, chatbot).await?;
    let bases: Vec<KnowledgeBaseId> = plan.bases.iter().map(|base| base.id).collect();
    let permitted = query_metadata::permitted(app, tenant, &[&plan.layer, layer], &bases).await?;
    let limit = plan.chatbot.retrieved_chunks.and_then(|chunks| usize::try_from(chunks).ok());
    search(app, tenant, &plan.bases, permitted, query, limit, None).await
}

async fn set_chatbots(
    tx: &mut Tx,
    tenant: Tenant,
    id: KnowledgeBaseId,
    chatbot_ids: Option<Vec<ChatbotId>>,
    scopes: Scopes,
) -> Result<()> {
    let Some(chatbot_ids) = chatbot_ids else { return Ok(()) };
    listed_ids::check_length("chatbots", chatbot_ids.len())?;
    further_scopes::check_assistants(tx, tenant, scopes, (id, &chatbot_ids)).await?;
    let known = chatbots::existing_of(tx, tenant, &chatbot_ids).await?;
    listed_ids::check_known("chatbots", &chatbot_ids, &known, "No chatbot has this id.")?;
    knowledge_bases::set_chatbots(tx, tenant, id, &chatbot_ids).await
}

/// Puts the models that a draft means in place of those that it names.
async fn pick_models(app: &App, tenant: Tenant, draft: &mut KnowledgeBaseDraft) -> Result<Warnings> {
    let mut warnings = Warnings::default();
    for (role, named) in
        [(ModelRole::Embedding, &mut draft.embedding_model), (ModelRole::Rerank, &mut draft.reranker_model)]
    {
        if let Some(id) = *named {
            *named = Some(pick(app, tenant, role, id, &mut warnings).await?);
        }
    }
    Ok(warnings)
}

fn apply(base: &mut KnowledgeBase, draft: &KnowledgeBaseDraft) -> Result<()> {
    let mut errors = FieldErrors::default();
    if let Some(name) = &draft.name {
        crate::chatbots::check_name(&mut errors, name);
        name.trim().clone_into(&mut base.name);
        base.name_folded = fold(&base.name);
    }
    if let Some(description) = &draft.description {
        base.description.clone_from(description);
    }
    let mut within = |field: &str, value: Option<i64>, target: &mut i64, (least, most): (i64, i64)| match value {
        Some(value) if value < least => {
            errors.add(field, format!("Ensure this value is greater than or equal to {least}."));
        }
        Some(value) if value > most => errors.add(field, format!("Ensure this value is less than or equal to {most}.")),
        Some(value) => *target = value,
        None => {}
    };
    within("numberOfRetrievedChunks", draft.retrieved_chunks, &mut base.retrieved_chunks, (1, MAX_CHUNKS));
    within("sentenceWindowSize", draft.sentence_window_size, &mut base.sentence_window_size, (0, MAX_WINDOW));
    if let Some(cutoff) = draft.similarity_cutoff {
        if (0.0..=1.0).contains(&cutoff) {
            base.similarity_cutoff = cutoff;
        } else {
            errors.add("similarityCutoff", "Ensure this value is between 0 and 1.");
        }
    }
    errors.finish()?;
    base.enable_hyde = draft.enable_hyde.unwrap_or(base.enable_hyde);
    base.enable_rerank = draft.enable_rerank.unwrap_or(base.enable_rerank);
    base.embedding_model_id = draft.embedding_model.unwrap_or(base.embedding_model_id);
    base.reranker_model_id = draft.reranker_model.unwrap_or(base.reranker_model_id);
    Ok(())
}

/// The model a write means: unknown ones fall back to the default with a remark (D31).
pub(crate) async fn pick(
    app: &App,
    tenant: Tenant,
    role: ModelRole,
    id: Option<ModelId>,
    warnings: &mut Warnings,
) -> Result<Option<ModelId>> {
    let found = app.catalogue.entry(app, tenant, role, id).await?;
    if id.is_some() && !found.as_ref().is_some_and(|(_, exact)| *exact) {
        let instead = found.as_ref().map_or("none is configured", |(entry, _)| entry.name.as_str());
        warnings.add(format!("Unknown {} model; the default is used ({instead}).", role.name()));
    }
    Ok(found.map(|(entry, _)| entry.id))
}
