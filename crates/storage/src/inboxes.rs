//! Inboxes: where the conversations of a channel arrive.

use parlance_domain::kind::{ChatbotId, InboxId, WebChatId};
use parlance_domain::{Result, Tenant, Timestamp};

use crate::page::{Listing, Page, bytes_of, collect};
use crate::reach::chatbot_within;
use crate::tx::{Tx, execute, fault, on_tx};

/// An inbox.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Inbox {
    /// Its id.
    pub id: InboxId,
    /// Shown to people.
    pub name: String,
    /// [`Inbox::name`] folded for search.
    pub name_folded: String,
    /// `web`, `line`, `telegram` or `messenger`.
    pub channel_type: String,
    /// Its channel, when that is a web chat.
    pub web_chat_id: Option<WebChatId>,
    /// The assistant that answers.
    pub chatbot_id: Option<ChatbotId>,
    /// Hours in which the assistant answers by itself, as a JSON list; empty for always.
    pub auto_reply_schedules: String,
    /// What retrieval is narrowed to for its conversations, verbatim JSON.
    pub query_metadata: Option<String>,
    /// How its visitors sign in, as a JSON object.
    pub sign_auth: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl Inbox {
    /// The inbox of a new web chat.
    pub fn of_web_chat(
        id: InboxId,
        (name, name_folded): (String, String),
        (web_chat, chatbot): (WebChatId, ChatbotId),
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            name,
            name_folded,
            channel_type: "web".to_owned(),
            web_chat_id: Some(web_chat),
            chatbot_id: Some(chatbot),
            auto_reply_schedules: "[]".to_owned(),
            query_metadata: None,
            sign_auth: None,
            created_at: now,
            updated_at: now,
        }
    }
}

/// An inbox with what is shown of it.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct ShownInbox {
    /// The inbox.
    #[sqlx(flatten)]
    pub inbox: Inbox,
    /// Name of its web chat.
    pub web_chat_name: Option<String>,
    /// Who its web chat is for: `web`, `admin` or `api`.
    pub access_type: Option<String>,
    /// Conversations with something unread, counted up to [`MOST_UNREAD`].
    pub unread_conversations: i64,
}

/// Unread conversations that are counted at most.
pub const MOST_UNREAD: u32 = 1000;

/// What a list is narrowed to, and its order.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Part of the name, folded.
    pub name_folded: Option<String>,
    /// The channel's type.
    pub channel_type: Option<String>,
    /// The assistant that answers.
    pub chatbot: Option<ChatbotId>,
    /// Order of the list.
    pub order: Order,
}

/// Order of a list of inboxes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The newest first.
    #[default]
    Newest,
    /// The oldest first.
    Oldest,
    /// By name.
    Name,
    /// By name, from the end.
    NameFromEnd,
    /// The least recently changed first.
    LeastRecent,
    /// The most recently changed first.
    MostRecent,
}

macro_rules! columns {
    () => {
        "i.id, i.name, i.name_folded, i.channel_type, i.web_chat_id, i.chatbot_id, i.auto_reply_schedules, \
         i.query_metadata, i.sign_auth, i.created_at, i.updated_at"
    };
}

// 1000 is MOST_UNREAD.
macro_rules! shown {
    () => {
        concat!(
            "SELECT ",
            columns!(),
            ", w.name AS web_chat_name, w.access_type, (SELECT count(*) FROM (SELECT 1 FROM conversations AS c \
             WHERE c.inbox_id = i.id AND c.org_id = i.org_id AND c.unread_count > 0 LIMIT 1000) AS unread) \
             AS unread_conversations \
             FROM inboxes AS i LEFT JOIN web_chats AS w ON w.id = i.web_chat_id AND w.org_id = i.org_id \
             WHERE i.org_id = $1 AND i.deleted_at IS NULL"
        )
    };
}

macro_rules! matching {
    () => {
        concat!(
            " AND ($2 IS NULL OR i.name_folded LIKE '%' || $2 || '%' ESCAPE '\\') \
             AND ($3 IS NULL OR i.channel_type = $3) AND ($4 IS NULL OR i.chatbot_id = $4)",
            chatbot_within!("i.chatbot_id", "$5")
        )
    };
}

/// Adds an inbox.
pub async fn insert(tx: &mut Tx, tenant: Tenant, inbox: &Inbox) -> Result<()> {
    execute!(
        tx,
        sqlx::query(
            "INSERT INTO inboxes (org_id, id, name, name_folded, channel_type, web_chat_id, chatbot_id, \
         auto_reply_schedules, query_metadata, sign_auth, created_at, updated_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
        )
        .bind(tenant.organisation())
        .bind(inbox.id)
        .bind(&inbox.name)
        .bind(&inbox.name_folded)
        .bind(&inbox.channel_type)
        .bind(inbox.web_chat_id)
        .bind(inbox.chatbot_id)
        .bind(&inbox.auto_reply_schedules)
        .bind(&inbox.query_metadata)
        .bind(&inbox.sign_auth)
        .bind(inbox.created_at)
        .bind(inbox.updated_at)
    )
    .map(drop)
}

/// Replaces what may change of an inbox. False when there is none.
pub async fn update(tx: &mut Tx, tenant: Tenant, inbox: &Inbox) -> Result<bool> {
    execute!(
        tx,
        sqlx::query(
            "UPDATE inboxes SET name = $3, name_folded = $4, chatbot_id = $5, auto_reply_schedules = $6, \
         query_metadata = $7, sign_auth = $8, updated_at = $9 WHERE org_id = $1 AND id = $2 AND deleted_at IS NULL"
        )
        .bind(tenant.organisation())
        .bind(inbox.id)
        .bind(&inbox.name)
        .bind(&inbox.name_folded)
        .bind(inbox.chatbot_id)
        .bind(&inbox.auto_reply_schedules)
        .bind(&inbox.query_metadata)
        .bind(&inbox.sign_auth)
        .bind(inbox.updated_at)
    )
    .map(|changed| changed > 0)
}

/// Hides an inbox; its conversations stay. False when there is none.
pub async fn delete(tx: &mut Tx, tenant: Tenant, id: InboxId, now: Timestamp) -> Result<bool> {
    execute!(
        tx,
        sqlx::query("UPDATE inboxes SET deleted_at = $3 WHERE org_id = $1 AND id = $2 AND deleted_at IS NULL")
            .bind(tenant.organisation())
            .bind(id)
            .bind(now)
    )
    .map(|changed| changed > 0)
}

/// One inbox that was not deleted, of a chatbot within the caller's reach.
pub async fn get(tx: &mut Tx, tenant: Tenant, id: InboxId) -> Result<Option<Inbox>> {
    on_tx!(tx, db => sqlx::query_as(concat!(
        "SELECT ", columns!(), " FROM inboxes AS i WHERE i.org_id = $1 AND i.id = $2 AND i.deleted_at IS NULL",
        chatbot_within!("i.chatbot_id", "$3")))
        .bind(tenant.organisation()).bind(id).bind(tenant.limited_to()).fetch_optional(db).await)
    .map_err(fault)
}

/// As [`get`], with what is shown of it.
pub async fn shown(tx: &mut Tx, tenant: Tenant, id: InboxId) -> Result<Option<ShownInbox>> {
    on_tx!(tx, db => sqlx::query_as(concat!(shown!(), " AND i.id = $2", chatbot_within!("i.chatbot_id", "$3")))
        .bind(tenant.organisation()).bind(id).bind(tenant.limited_to()).fetch_optional(db).await)
    .map_err(fault)
}

/// A page of the inboxes of chatbots within the caller's reach.
pub async fn list(tx: &mut Tx, tenant: Tenant, filter: &Filter, page: Page) -> Result<Listing<ShownInbox>> {
    if crate::page::is_beyond_any_name(filter.name_folded.as_deref()) {
        return Ok(Listing { rows: Vec::new(), total: 0 });
    }
    macro_rules! in_order {
        ($order:literal) => {
            concat!(shown!(), matching!(), " ORDER BY ", $order, " LIMIT $6 OFFSET $7")
        };
    }
    let statement = match filter.order {
        Order::Newest => in_order!("i.created_at DESC, i.id DESC"),
        Order::Oldest => in_order!("i.created_at, i.id"),
        Order::Name => in_order!("i.name_folded, i.id"),
        Order::NameFromEnd => in_order!("i.name_folded DESC, i.id DESC"),
        Order::LeastRecent => in_order!("i.updated_at, i.id"),
        Order::MostRecent => in_order!("i.updated_at DESC, i.id DESC"),
    };
    let name = filter.name_folded.as_deref().map(crate::page::escape_like);
    let total: i64 = on_tx!(tx, db => sqlx::query_scalar(concat!(
        "SELECT count(*) FROM inboxes AS i WHERE i.org_id = $1 AND i.deleted_at IS NULL", matching!()))
        .bind(tenant.organisation()).bind(&name).bind(&filter.channel_type).bind(filter.chatbot)
        .bind(tenant.limited_to()).fetch_one(db).await)
    .map_err(fault)?;
    let bytes = |row: &ShownInbox| row.inbox.auto_reply_schedules.len() + bytes_of(row.inbox.query_metadata.as_ref());
    let rows = on_tx!(tx, db => collect(sqlx::query_as(statement)
        .bind(tenant.organisation()).bind(&name).bind(&filter.channel_type).bind(filter.chatbot)
        .bind(tenant.limited_to()).bind(page.limit_sql()).bind(page.offset_sql()).fetch(db), bytes).await)?;
    Ok(Listing { rows, total: crate::page::count(total) })
}

/// The inbox of a web chat, of a chatbot within the caller's reach.
pub async fn of_web_chat(tx: &mut Tx, tenant: Tenant, web_chat: WebChatId) -> Result<Option<Inbox>> {
    on_tx!(tx, db => sqlx::query_as(concat!(
        "SELECT ", columns!(), " FROM inboxes AS i WHERE i.org_id = $1 AND i.web_chat_id = $2 \
         AND i.deleted_at IS NULL", chatbot_within!("i.chatbot_id", "$3"), " ORDER BY i.created_at, i.id LIMIT 1"))
        .bind(tenant.organisation()).bind(web_chat).bind(tenant.limited_to()).fetch_optional(db).await)
    .map_err(fault)
}

/// The inbox in which the conversations of an assistant's API keys arrive.
pub async fn of_api(tx: &mut Tx, tenant: Tenant, chatbot: ChatbotId) -> Result<Option<Inbox>> {
    on_tx!(tx, db => sqlx::query_as(concat!(
        "SELECT ", columns!(), " FROM inboxes AS i JOIN web_chats AS w ON w.id = i.web_chat_id \
         WHERE i.org_id = $1 AND w.org_id = $1 AND w.chatbot_id = $2 AND w.access_type = 'api' \
         ORDER BY w.created_at, w.id LIMIT 1"))
        .bind(tenant.organisation()).bind(chatbot).fetch_optional(db).await)
    .map_err(fault)
}

/// What retrieval is narrowed to for an assistant's inboxes, verbatim JSON; those without are left out.
pub async fn query_metadata_of(tx: &mut Tx, tenant: Tenant, chatbot: ChatbotId) -> Result<Vec<(InboxId, String)>> {
    on_tx!(tx, db => sqlx::query_as(
        "SELECT id, query_metadata FROM inboxes \
         WHERE org_id = $1 AND chatbot_id = $2 AND query_metadata IS NOT NULL")
        .bind(tenant.organisation()).bind(chatbot).fetch_all(db).await)
    .map_err(fault)
}
