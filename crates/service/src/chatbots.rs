//! Assistants.

use std::collections::HashMap;

use parlance_domain::kind::{ChatbotId, KnowledgeBaseId, ModelId, ToolId, WebChatId};
use parlance_domain::{Error, FieldErrors, Result, Scopes, Tenant, Timestamp, Visitor};
use parlance_outbound::parse_url;
use parlance_retrieval::fold;
use parlance_storage::chatbots::{self, Chatbot, Filter, ListedChatbot};
use parlance_storage::inboxes::{self, Inbox};
use parlance_storage::row_lock::{Row, lock};
use parlance_storage::tools::{self, ToolSummary};
use parlance_storage::web_chats::{self, WebChat};
use parlance_storage::webhooks::{self, Endpoint};
use parlance_storage::{Listing, Page, Tx, knowledge_bases};
use serde_json::{Map, Value};

use crate::models::{ModelEntry, ModelRole};
use crate::query_metadata::Layer;
use crate::search::MAX_CHUNKS;
use crate::{App, Warnings, further_scopes, listed_ids};

/// Characters of a name.
const MAX_NAME: usize = 255;
/// Characters of a webhook address.
const MAX_URL: usize = 511;
/// Characters of instructions.
const MAX_INSTRUCTIONS: usize = 100_000;
/// Name of what an assistant's retrieval is narrowed to, in its settings and in the API.
pub(crate) const QUERY_METADATA: &str = "queryMetadata";
const REPLY_MODES: [&str; 6] = ["normal", "template", "hybrid", "workflow", "agent", "text_to_sql"];

/// What is asked of an assistant; `None` leaves a value as it is, or takes the default of a new one.
#[derive(Clone, Debug, Default)]
pub struct ChatbotDraft {
    /// See [`Chatbot`].
    pub name: Option<String>,
    /// `Some(None)` takes the default.
    pub model: Option<Option<ModelId>>,
    /// See [`Chatbot`].
    pub instructions: Option<String>,
    /// `Some(None)` takes the bases' own number.
    pub retrieved_chunks: Option<Option<i64>>,
    /// `Some(None)` clears it.
    pub webhook_url: Option<Option<String>>,
    /// See [`Chatbot`].
    pub reply_mode: Option<String>,
    /// See [`Chatbot`].
    pub enable_evaluation: Option<bool>,
    /// The bases it answers from.
    pub knowledge_bases: Option<Vec<KnowledgeBaseId>>,
    /// The tools it may call.
    pub tools: Option<Vec<ToolId>>,
    /// Fields that are kept and returned, by their names in the API.
    pub settings: Map<String, Value>,
    /// What whoever asks may do: see [`crate::further_scopes`].
    pub scopes: Scopes,
}

/// An assistant with what is shown of it.
#[derive(Clone, Debug)]
pub struct ChatbotView {
    /// The assistant.
    pub chatbot: Chatbot,
    /// The model that answers.
    pub model: ModelEntry,
    /// Its bases.
    pub knowledge_bases: Vec<(KnowledgeBaseId, String)>,
    /// The tools it may call.
    pub tools: Vec<ToolSummary>,
    /// The hidden web chat of API keys.
    pub api_web_chat: Option<WebChatId>,
    /// What is known of its webhook's endpoint.
    pub webhook: Endpoint,
}

/// An assistant with what is shown of it in a list.
#[derive(Clone, Debug)]
pub struct ListedView {
    /// The assistant.
    pub chatbot: ListedChatbot,
    /// The model that answers.
    pub model: ModelEntry,
    /// The hidden web chat of API keys.
    pub api_web_chat: Option<WebChatId>,
}

/// One assistant.
pub async fn get(app: &App, tenant: Tenant, id: ChatbotId) -> Result<ChatbotView> {
    let (chatbot, bases, tools, web_chat, webhook) = {
        let mut tx = app.db.read(tenant).await?;
        let chatbot = chatbots::get(&mut tx, tenant, id).await?.ok_or(Error::NotFound("chatbot"))?;
        let bases = chatbots::knowledge_bases(&mut tx, tenant, id).await?;
        let tools = tools::of_chatbot(&mut tx, tenant, id).await?;
        let webhook = webhooks::endpoint(&mut tx, tenant, id).await?.unwrap_or_default();
        (chatbot, bases, tools, web_chats::of_api(&mut tx, tenant, id).await?, webhook)
    };
    let chatbot = Chatbot { settings: crate::database_url::shown(&chatbot.settings), ..chatbot };
    let model = app.catalogue.chat(app, tenant, chatbot.model_id).await?.entry;
    let api_web_chat = web_chat.map(|web_chat| web_chat.id);
    Ok(ChatbotView { chatbot, model, knowledge_bases: bases, tools, api_web_chat, webhook })
}

/// A page of assistants.
pub async fn list(app: &App, tenant: Tenant, filter: &Filter, page: Page) -> Result<Listing<ListedView>> {
    let models = app.catalogue.list(app, tenant, ModelRole::Chat).await?;
    let default = models.iter().find(|model| model.is_default).ok_or_else(|| Error::bug("no chat model"))?;
    let models: HashMap<ModelId, &ModelEntry> = models.iter().map(|model| (model.id, model)).collect();
    let filter = Filter { model_is_default: filter.model == Some(default.id), ..filter.clone() };
    let (listing, web_chats) = {
        let mut tx = app.db.read(tenant).await?;
        let listing = chatbots::list(&mut tx, tenant, &filter, page).await?;
        (listing, web_chats::of_api_by_chatbot(&mut tx, tenant).await?)
    };
    let web_chats: HashMap<ChatbotId, WebChatId> = web_chats.into_iter().collect();
    let view = |chatbot: ListedChatbot| ListedView {
        model: chatbot.model_id.and_then(|id| models.get(&id).copied()).unwrap_or(default).clone(),
        api_web_chat: web_chats.get(&chatbot.id).copied(),
        chatbot,
    };
    Ok(Listing { rows: listing.rows.into_iter().map(view).collect(), total: listing.total })
}

/// Adds an assistant with its hidden web chat and inbox.
///
/// # Errors
/// Wrong fields; `Refused` for somebody whom groups limit; `Forbidden` for what it would reach.
pub async fn create(app: &App, tenant: Tenant, mut draft: ChatbotDraft) -> Result<(ChatbotView, Warnings)> {
    check_may_add(tenant)?;
    if draft.name.is_none() {
        return Err(Error::field("name", "This field is required."));
    }
    check_links(&draft)?;
    further_scopes::check_new(&draft)?;
    let mut chatbot = blank(app);
    let mut warnings = pick_model(app, tenant, &mut draft).await?;
    apply(app, tenant, &mut chatbot, &draft, &mut warnings)?;
    let linked = (draft.knowledge_bases.unwrap_or_default(), draft.tools.unwrap_or_default());
    let id = insert(app, tenant, chatbot, linked).await?;
    Ok((get(app, tenant, id).await?, warnings))
}

/// A copy may have more bases than a body can name: those that were linked from the bases' side.
fn check_links(draft: &ChatbotDraft) -> Result<()> {
    listed_ids::check_length("knowledgeBases", draft.knowledge_bases.as_ref().map_or(0, Vec::len))
}

/// A new assistant is in no group: somebody whom groups limit could not even look at it.
fn check_may_add(tenant: Tenant) -> Result<()> {
    match tenant.reach() {
        None => Ok(()),
        Some(_) => Err(Error::Refused("Your groups limit you to their chatbots, so you cannot add others.")),
    }
}

fn blank(app: &App) -> Chatbot {
    let now = app.now();
    Chatbot {
        id: app.new_id(),
        name: String::new(),
        name_folded: String::new(),
        model_id: None,
        instructions: String::new(),
        retrieved_chunks: None,
        webhook_url: None,
        reply_mode: "normal".to_owned(),
        enable_evaluation: false,
        settings: "{}".to_owned(),
        created_at: now,
        updated_at: now,
    }
}

async fn insert(
    app: &App,
    tenant: Tenant,
    chatbot: Chatbot,
    (bases, tools): (Vec<KnowledgeBaseId>, Vec<ToolId>),
) -> Result<ChatbotId> {
    let id = chatbot.id;
    let writer = app.clone();
    app.db
        .write(tenant, move |tx| {
            Box::pin(async move {
                insert_in(tx, &writer, tenant, &chatbot, &bases).await?;
                crate::tools::set_of_chatbot(tx, tenant, id, &tools).await
            })
        })
        .await?;
    Ok(id)
}

/// Adds an assistant with what belongs to it, in the caller's transaction.
pub(crate) async fn insert_in(
    tx: &mut Tx,
    app: &App,
    tenant: Tenant,
    chatbot: &Chatbot,
    bases: &[KnowledgeBaseId],
) -> Result<()> {
    chatbots::insert(tx, tenant, chatbot).await?;
    set_knowledge_bases(tx, tenant, chatbot.id, bases).await?;
    insert_web_chat(tx, app, tenant, chatbot, "api").await.map(drop)
}

/// Adds a web chat of an assistant with its inbox.
pub(crate) async fn insert_web_chat(
    tx: &mut Tx,
    app: &App,
    tenant: Tenant,
    chatbot: &Chatbot,
    access_type: &str,
) -> Result<WebChatId> {
    let now: Timestamp = app.now();
    let web_chat = WebChat {
        id: app.new_id(),
        chatbot_id: chatbot.id,
        name: chatbot.name.clone(),
        access_type: access_type.to_owned(),
        settings: "{}".to_owned(),
        is_active: true,
        daily_reply_limit: None,
        daily_token_limit: None,
        created_at: now,
        updated_at: now,
    };
    web_chats::insert(tx, tenant, &web_chat).await?;
    let names = (chatbot.name.clone(), chatbot.name_folded.clone());
    let inbox = Inbox::of_web_chat(app.new_id(), names, (web_chat.id, chatbot.id), now);
    inboxes::insert(tx, tenant, &inbox).await?;
    Ok(web_chat.id)
}

/// Changes an assistant.
pub async fn update(
    app: &App,
    tenant: Tenant,
    id: ChatbotId,
    mut draft: ChatbotDraft,
) -> Result<(ChatbotView, Warnings)> {
    check_links(&draft)?;
    let mut warnings = pick_model(app, tenant, &mut draft).await?;
    let writer = app.clone();
    let warnings = app
        .db
        .write(tenant, move |tx| {
            Box::pin(async move {
                lock(tx, tenant, Row::Chatbot(id)).await?;
                let mut chatbot = chatbots::get(tx, tenant, id).await?.ok_or(Error::NotFound("chatbot"))?;
                further_scopes::check_change(tx, tenant, &chatbot, &draft).await?;
                apply(&writer, tenant, &mut chatbot, &draft, &mut warnings)?;
                chatbot.updated_at = writer.now();
                chatbots::update(tx, tenant, &chatbot).await?;
                if draft.webhook_url.is_some() {
                    // Whoever writes the address means it to be used.
                    webhooks::enable(tx, tenant, id).await?;
                }
                if let Some(bases) = draft.knowledge_bases {
                    set_knowledge_bases(tx, tenant, id, &bases).await?;
                }
                if let Some(tools) = draft.tools {
                    crate::tools::set_of_chatbot(tx, tenant, id, &tools).await?;
                }
                Ok(warnings)
            })
        })
        .await?;
    app.plans.forget(tenant);
    Ok((get(app, tenant, id).await?, warnings))
}

/// The name of the assistant that a visitor talks to. Others do not exist for them.
pub async fn name_for_visitor(app: &App, tenant: Tenant, visitor: Visitor, id: ChatbotId) -> Result<String> {
    let mut tx = app.db.read(tenant).await?;
    let page = web_chats::get(&mut tx, tenant, visitor.web_chat).await?;
    if page.is_none_or(|page| page.web_chat.chatbot_id != id) {
        return Err(Error::NotFound("chatbot"));
    }
    let chatbot = chatbots::get(&mut tx, tenant, id).await?.ok_or(Error::NotFound("chatbot"))?;
    Ok(chatbot.name)
}

/// Removes an assistant. Its conversations and records stay.
pub async fn delete(app: &App, tenant: Tenant, id: ChatbotId) -> Result<()> {
    let deleted = app
        .db
        .write(tenant, move |tx| {
            Box::pin(async move {
                // Its web chats go with it; what they show is for the sweeper then.
                let pictures = web_chats::files_of_chatbot(tx, tenant, id).await?;
                let deleted = chatbots::delete(tx, tenant, id).await?;
                crate::web_chats::release(tx, tenant, &pictures).await?;
                Ok(deleted)
            })
        })
        .await?;
    app.plans.forget(tenant);
    if deleted { Ok(()) } else { Err(Error::NotFound("chatbot")) }
}

/// Copies an assistant with its settings and bases, under a name that says so.
///
/// # Errors
/// `NotFound`; `Refused` for somebody whom groups limit.
pub async fn duplicate(app: &App, tenant: Tenant, id: ChatbotId) -> Result<ChatbotView> {
    let (mut chatbot, bases, tools) = {
        let mut tx = app.db.read(tenant).await?;
        let chatbot = chatbots::get(&mut tx, tenant, id).await?.ok_or(Error::NotFound("chatbot"))?;
        let bases = chatbots::knowledge_bases(&mut tx, tenant, id).await?;
        let tools = tools::of_chatbot(&mut tx, tenant, id).await?;
        let bases = bases.into_iter().map(|(base, _)| base).collect();
        (chatbot, bases, tools.into_iter().map(|tool| tool.id).collect())
    };
    check_may_add(tenant)?;
    let now = app.now();
    let copy = app.new_id();
    chatbot.settings = crate::database_url::copied(&app.master_key, tenant, &chatbot, copy)?;
    chatbot.id = copy;
    let suffix = " (copy)";
    chatbot.name = chatbot.name.chars().take(MAX_NAME - suffix.len()).collect::<String>() + suffix;
    chatbot.name_folded = fold(&chatbot.name);
    chatbot.created_at = now;
    chatbot.updated_at = now;
    let copy = insert(app, tenant, chatbot, (bases, tools)).await?;
    get(app, tenant, copy).await
}

async fn set_knowledge_bases(tx: &mut Tx, tenant: Tenant, id: ChatbotId, bases: &[KnowledgeBaseId]) -> Result<()> {
    let known = knowledge_bases::existing_of(tx, tenant, bases).await?;
    listed_ids::check_known("knowledgeBases", bases, &known, "No knowledge base has this id.")?;
    chatbots::set_knowledge_bases(tx, tenant, id, bases).await
}

/// Checks a name.
pub(crate) fn check_name(errors: &mut FieldErrors, name: &str) {
    check_name_at(errors, "name", name);
}

/// Checks the name in the field `path`.
pub(crate) fn check_name_at(errors: &mut FieldErrors, path: &str, name: &str) {
    if name.trim().is_empty() {
        errors.add(path, "This field may not be blank.");
    } else if name.trim().chars().count() > MAX_NAME {
        errors.add(path, format!("Ensure this field has no more than {MAX_NAME} characters."));
    }
}

/// Whether webhooks may be sent there, as far as can be said without the network.
fn check_webhook_url(app: &App, address: &str) -> Result<(), String> {
    let url = parse_url(address).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let url = url.filter(|_| address.chars().count() <= MAX_URL).ok_or("Enter a valid URL.")?;
    app.outbound.check(&url).map_err(|refused| format!("Enter another URL: {refused}."))
}

/// Puts the model that a draft means in place of the one that it names.
async fn pick_model(app: &App, tenant: Tenant, draft: &mut ChatbotDraft) -> Result<Warnings> {
    let mut warnings = Warnings::default();
    // Without a choice the assistant follows the default, whatever that becomes.
    if let Some(Some(id)) = draft.model {
        draft.model = Some(crate::knowledge_bases::pick(app, tenant, ModelRole::Chat, Some(id), &mut warnings).await?);
    }
    Ok(warnings)
}

fn apply(
    app: &App,
    tenant: Tenant,
    chatbot: &mut Chatbot,
    draft: &ChatbotDraft,
    warnings: &mut Warnings,
) -> Result<()> {
    let mut errors = FieldErrors::default();
    if let Some(name) = &draft.name {
        check_name(&mut errors, name);
        name.trim().clone_into(&mut chatbot.name);
        chatbot.name_folded = fold(&chatbot.name);
    }
    if let Some(instructions) = &draft.instructions {
        if instructions.chars().count() > MAX_INSTRUCTIONS {
            errors.add("instructions", format!("Ensure this field has no more than {MAX_INSTRUCTIONS} characters."));
        }
        chatbot.instructions.clone_from(instructions);
    }
    if let Some(chunks) = draft.retrieved_chunks {
        if chunks.is_some_and(|chunks| !(1..=MAX_CHUNKS).contains(&chunks)) {
            errors.add("numberOfRetrievedChunks", format!("Ensure this value is between 1 and {MAX_CHUNKS}."));
        }
        chatbot.retrieved_chunks = chunks;
    }
    if let Some(webhook_url) = &draft.webhook_url {
        let address = webhook_url.as_deref().map(str::trim).filter(|address| !address.is_empty());
        if let Some(Err(reason)) = address.map(|address| check_webhook_url(app, address)) {
            errors.add("webhookUrl", reason);
        }
        chatbot.webhook_url = address.map(str::to_owned);
    }
    if let Some(reply_mode) = &draft.reply_mode {
        if !REPLY_MODES.contains(&reply_mode.as_str()) {
            errors.add("replyMode", format!("\"{reply_mode}\" is not a valid choice."));
        }
        chatbot.reply_mode.clone_from(reply_mode);
    }
    errors.finish()?;
    chatbot.enable_evaluation = draft.enable_evaluation.unwrap_or(chatbot.enable_evaluation);
    chatbot.model_id = draft.model.unwrap_or(chatbot.model_id);
    if let Some(value) = draft.settings.get(QUERY_METADATA) {
        Layer::parse(Some(&value.to_string()), QUERY_METADATA)?;
    }
    chatbot.settings = crate::database_url::merged(&app.master_key, tenant, chatbot, &draft.settings, warnings)?;
    Ok(())
}
