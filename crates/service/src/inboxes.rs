//! Inboxes: where the conversations of a channel arrive.

use parlance_domain::kind::{AutoReplySchedule, ChatbotId, InboxId};
use parlance_domain::{Error, FieldErrors, Result, Tenant};
use parlance_retrieval::fold;
use parlance_storage::inboxes::{self, Filter, ShownInbox};
use parlance_storage::row_lock::{Row, lock};
use parlance_storage::{Listing, Page};
use serde_json::Value;

use crate::App;
use crate::auto_reply::{self, DaySchedule};
use crate::web_chats::WebChatDraft;

/// Kinds of channels that are known but have no connection yet.
const LATER: [&str; 3] = ["line", "telegram", "messenger"];

/// What is asked of an inbox; `None` leaves a value as it is, or takes the default of a new one.
#[derive(Clone, Debug, Default)]
pub struct InboxDraft {
    /// Shown to people.
    pub name: Option<String>,
    /// `web`; the others are not supported yet.
    pub channel_type: Option<String>,
    /// The assistant that answers.
    pub chatbot: Option<ChatbotId>,
    /// The hours in which the assistant answers by itself; ids are given here.
    pub schedules: Option<Vec<DaySchedule>>,
    /// What retrieval is narrowed to; `Some(None)` clears it.
    pub query_metadata: Option<Option<Value>>,
    /// How visitors sign in; `Some(None)` clears it.
    pub sign_auth: Option<Option<Value>>,
    /// The web chat of a new inbox, and what whoever asks may do.
    pub web_chat: WebChatDraft,
}

/// One inbox.
pub async fn get(app: &App, tenant: Tenant, id: InboxId) -> Result<ShownInbox> {
    let mut tx = app.db.read(tenant).await?;
    inboxes::shown(&mut tx, tenant, id).await?.ok_or(Error::NotFound("inbox"))
}

/// A page of inboxes.
pub async fn list(app: &App, tenant: Tenant, filter: &Filter, page: Page) -> Result<Listing<ShownInbox>> {
    let mut tx = app.db.read(tenant).await?;
    inboxes::list(&mut tx, tenant, filter, page).await
}

/// Adds an inbox with the web chat that is its channel.
pub async fn create(app: &App, tenant: Tenant, mut draft: InboxDraft) -> Result<ShownInbox> {
    match draft.channel_type.as_deref() {
        Some("web") => {}
        None => return Err(Error::field("channelType", "This field is required.")),
        Some(other) if LATER.contains(&other) => {
            return Err(Error::field(
                "channelType",
                format!("Channels of type {other} are not supported yet; use web."),
            ));
        }
        Some(other) => return Err(Error::field("channelType", format!("\"{other}\" is not a valid choice."))),
    }
    let name = draft.name.take().ok_or_else(|| Error::field("name", "This field is required."))?;
    // Everything of the inbox is checked before the web chat is made.
    check(&name, &draft)?;
    let web_chat = WebChatDraft {
        name: draft.web_chat.name.take().filter(|name| !name.trim().is_empty()).or_else(|| Some(name.clone())),
        chatbot: draft.chatbot.take(),
        sign_auth: draft.sign_auth.take(),
        ..std::mem::take(&mut draft.web_chat)
    };
    let made = crate::web_chats::create(app, tenant, web_chat).await?;
    let (inbox, _) = made.inbox.ok_or_else(|| Error::bug("a web chat without its inbox"))?;
    update(app, tenant, inbox, InboxDraft { name: Some(name), ..draft }).await
}

fn check(name: &str, draft: &InboxDraft) -> Result<()> {
    let mut errors = FieldErrors::default();
    crate::chatbots::check_name(&mut errors, name);
    if let Some(schedules) = &draft.schedules {
        auto_reply::check(schedules, &mut errors);
    }
    if let Some(metadata) = &draft.query_metadata {
        crate::contacts::checked_metadata(metadata.as_ref(), &mut errors);
    }
    errors.finish()
}

/// Changes an inbox. Its assistant and how visitors sign in are those of its web chat.
pub async fn update(app: &App, tenant: Tenant, id: InboxId, draft: InboxDraft) -> Result<ShownInbox> {
    let known = get(app, tenant, id).await?;
    check(draft.name.as_deref().unwrap_or(&known.inbox.name), &draft)?;
    if draft.channel_type.as_ref().is_some_and(|channel_type| *channel_type != known.inbox.channel_type) {
        return Err(Error::field("channelType", "The channel of an inbox cannot be changed."));
    }
    let chatbot = draft.chatbot.filter(|chatbot| known.inbox.chatbot_id != Some(*chatbot));
    if chatbot.is_some() || draft.sign_auth.is_some() {
        let Some(web_chat) = known.inbox.web_chat_id else {
            let field = if chatbot.is_some() { "chatbot" } else { "signAuth" };
            return Err(Error::field(field, "The web chat of this inbox was removed."));
        };
        let (sign_auth, scopes) = (draft.sign_auth.clone(), draft.web_chat.scopes);
        let change = WebChatDraft { chatbot, sign_auth, scopes, ..WebChatDraft::default() };
        crate::web_chats::update(app, tenant, web_chat, change).await?;
    }
    let writer = app.clone();
    let shown = app
        .db
        .write(tenant, move |tx| {
            Box::pin(async move {
                lock(tx, tenant, Row::Inbox(id)).await?;
                let mut inbox = inboxes::get(tx, tenant, id).await?.ok_or(Error::NotFound("inbox"))?;
                if let Some(name) = &draft.name {
                    name.trim().clone_into(&mut inbox.name);
                    inbox.name_folded = fold(&inbox.name);
                }
                if let Some(schedules) = draft.schedules {
                    inbox.auto_reply_schedules = with_ids(&writer, schedules, &inbox.auto_reply_schedules)?;
                }
                if let Some(metadata) = draft.query_metadata {
                    inbox.query_metadata = metadata.filter(|metadata| !metadata.is_null()).map(|some| some.to_string());
                }
                inbox.updated_at = writer.now();
                inboxes::update(tx, tenant, &inbox).await?;
                inboxes::shown(tx, tenant, id).await?.ok_or(Error::NotFound("inbox"))
            })
        })
        .await?;
    app.plans.forget(tenant);
    Ok(shown)
}

/// The schedules as they are stored: a weekday keeps the id that it has.
fn with_ids(app: &App, schedules: Vec<DaySchedule>, stored: &str) -> Result<String> {
    let known = auto_reply::parse(stored);
    let mut schedules = schedules;
    for schedule in &mut schedules {
        let same_day = known.iter().find(|known| known.weekday == schedule.weekday);
        schedule.id = same_day.map_or_else(|| app.new_id::<AutoReplySchedule>().to_string(), |known| known.id.clone());
    }
    schedules.sort_by_key(|schedule| schedule.weekday);
    serde_json::to_string(&schedules).map_err(|error| Error::internal("storing schedules", error))
}

/// Removes an inbox with its web chat. Its conversations stay, but are no longer listed with it.
///
/// # Errors
/// `Conflict` for the inbox of an assistant's API keys, which goes with the assistant.
pub async fn delete(app: &App, tenant: Tenant, id: InboxId) -> Result<()> {
    let known = get(app, tenant, id).await?;
    if known.access_type.as_deref() == Some("api") {
        return Err(Error::Conflict("This inbox belongs to its assistant and goes with it.".to_owned()));
    }
    // First the page, so that nobody writes to an inbox that is hidden.
    if let Some(web_chat) = known.inbox.web_chat_id {
        match crate::web_chats::delete(app, tenant, web_chat).await {
            Ok(()) | Err(Error::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
    }
    let now = app.now();
    let deleted =
        app.db.write(tenant, move |tx| Box::pin(async move { inboxes::delete(tx, tenant, id, now).await })).await?;
    app.plans.forget(tenant);
    if deleted { Ok(()) } else { Err(Error::NotFound("inbox")) }
}
