//! Conversations.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use parlance_domain::{Error, Timestamp, kind};
use parlance_service::conversation_search::{self, Asked};
use parlance_service::conversations::{self, MAX_SOURCE_ID, NewConversation, Shown};
use parlance_service::{App, auto_reply};
use parlance_storage::conversation_lists::Position;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::error::{ApiErrors, ApiResult};
use crate::extract::{Authorized, Body, Caller, CursorBody, Cursors, PathId, Query, Reference, grants};
use crate::v1::message_view::{Feedback, feedback, json, time};

/// A conversation to begin.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConversationBody {
    /// Where it arrives.
    #[schema(value_type = String)]
    web_chat: Reference,
    /// The contact who writes, by id. API keys only.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    contact: Option<Reference>,
    /// Another name of `contact`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    contact_id: Option<Reference>,
    /// What the caller calls the contact who writes; one is made when there is none. At most 255
    /// characters. API keys only.
    #[serde(default)]
    source_id: Option<String>,
}

/// Who a conversation is with.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConversationContact {
    id: String,
    name: String,
    avatar: Option<String>,
    /// Milliseconds since the epoch, 13 digits.
    created_at: String,
}

/// Where a conversation takes place.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConversationInbox {
    id: String,
    name: String,
    /// `web`, `line`, `telegram` or `messenger`.
    channel_type: String,
    /// Counted up to 1,000.
    unread_conversations_count: i64,
    #[schema(value_type = Option<Object>)]
    sign_auth: Option<Value>,
}

/// The last message of a conversation.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LastMessage {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    content: String,
    #[schema(value_type = Option<Object>)]
    content_payload: Option<Value>,
    feedback: Option<Feedback>,
    created_at: String,
    #[schema(value_type = Option<Object>)]
    query_metadata: Option<Value>,
}

/// A conversation.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "each is a field of its own in the contract")]
pub(crate) struct ConversationView {
    pub(crate) id: String,
    contact: ConversationContact,
    inbox: ConversationInbox,
    /// What the contact said first, shortened to 60 characters.
    title: String,
    last_message: Option<LastMessage>,
    last_message_created_at: Option<String>,
    /// Messages from the contact since it was last read.
    unread_messages_count: i64,
    /// Whether the assistant answers; off when a person has taken over.
    auto_reply_enabled: bool,
    /// Whether the assistant answers now, by the hours of the inbox.
    is_auto_reply_now: bool,
    last_read_at: Option<String>,
    created_at: String,
    is_group_chat: bool,
    enable_group_mention: bool,
}

/// A conversation as clients read it.
pub(crate) fn view(now: Timestamp, shown: Shown) -> ConversationView {
    let Shown { listed, inbox_unread } = shown;
    let row = listed.conversation;
    let last = (listed.last_id, listed.last_created_at);
    let last_message = match last {
        (Some(id), Some(created_at)) => Some(LastMessage {
            id: id.to_string(),
            kind: listed.last_type.unwrap_or_default(),
            content: listed.last_content.unwrap_or_default(),
            content_payload: json(listed.last_content_payload.as_deref()),
            feedback: feedback(
                listed.last_feedback_id,
                listed.last_feedback_type,
                listed.last_feedback_suggestion,
                listed.last_feedback_at,
            ),
            created_at: created_at.to_string(),
            query_metadata: json(listed.last_query_metadata.as_deref()),
        }),
        _ => None,
    };
    let is_on = auto_reply::is_on(row.auto_reply_enabled, &listed.auto_reply_schedules, &listed.time_zone, now);
    ConversationView {
        id: row.id.to_string(),
        contact: ConversationContact {
            id: row.contact_id.to_string(),
            name: listed.contact_name,
            avatar: listed.contact_avatar,
            created_at: listed.contact_created_at.to_string(),
        },
        inbox: ConversationInbox {
            id: row.inbox_id.to_string(),
            name: listed.inbox_name,
            channel_type: listed.channel_type,
            unread_conversations_count: inbox_unread,
            sign_auth: json(listed.sign_auth.as_deref()),
        },
        title: row.title,
        last_message,
        last_message_created_at: time(row.last_message_at),
        unread_messages_count: row.unread_count,
        auto_reply_enabled: row.auto_reply_enabled,
        is_auto_reply_now: is_on,
        last_read_at: time(row.last_read_at),
        created_at: row.created_at.to_string(),
        is_group_chat: row.is_group_chat,
        enable_group_mention: row.enable_group_mention,
    }
}

impl ConversationBody {
    fn conversation(self) -> Result<NewConversation, Error> {
        let named = [("contact", &self.contact), ("contactId", &self.contact_id)];
        let named = named.into_iter().find_map(|(field, reference)| Some((field, reference.as_ref()?)));
        let (contact_field, contact) = match named {
            Some((field, reference)) => (field, Some(reference.require(field)?)),
            None => ("", None),
        };
        let source_id = self.source_id.map(|id| id.trim().to_owned()).filter(|id| !id.is_empty());
        if source_id.as_ref().is_some_and(|id| id.chars().count() > MAX_SOURCE_ID) {
            let message = format!("Ensure this field has no more than {MAX_SOURCE_ID} characters.");
            return Err(Error::field("sourceId", message));
        }
        Ok(NewConversation { web_chat: self.web_chat.require("webChat")?, contact, contact_field, source_id })
    }
}

/// Begin a conversation.
#[utoipa::path(post, path = "/api/v1/conversations/", tag = "conversations", request_body = ConversationBody,
    responses((status = 201, body = ConversationView), ApiErrors))]
pub(crate) async fn create(
    caller: Caller<grants::WriteConversations>,
    State(app): State<App>,
    Body(body): Body<ConversationBody>,
) -> ApiResult<(StatusCode, Json<ConversationView>)> {
    let shown = conversations::create(&app, &caller.principal, body.conversation()?).await?;
    Ok((StatusCode::CREATED, Json(view(app.now(), shown))))
}

/// What a list is narrowed to.
#[derive(Debug, Deserialize)]
pub(crate) struct ListParams {
    inbox: Option<String>,
    keyword: Option<String>,
}

/// List conversations, the one with the latest message first. `keyword` is looked for in titles,
/// contacts' names and messages, whatever its case and whether Traditional or Simplified; of words,
/// the beginnings are found.
#[utoipa::path(get, path = "/api/v1/conversations/", tag = "conversations",
    params(("inbox" = Option<String>, Query), ("keyword" = Option<String>, Query), ("cursor" = Option<String>, Query),
        ("pageSize" = Option<u64>, Query)),
    responses((status = 200, body = CursorBody<ConversationView>), ApiErrors))]
pub(crate) async fn list(
    caller: Caller<grants::ReadConversations>,
    State(app): State<App>,
    cursors: Cursors,
    Query(params): Query<ListParams>,
) -> ApiResult<Json<CursorBody<ConversationView>>> {
    let inbox = match params.inbox.filter(|inbox| !inbox.trim().is_empty()) {
        Some(inbox) => Some(Reference(inbox).require("inbox")?),
        None => None,
    };
    let asked = Asked { inbox, contact: None, keyword: params.keyword.unwrap_or_default() };
    let from = cursors.from().map(|(at, id, is_back)| Position { at, id, is_back });
    let part = conversation_search::list(&app, &caller.principal, &asked, from, cursors.limit()).await?;
    let now = app.now();
    let key = |shown: &Shown| (shown.listed.conversation.last_activity_at, shown.listed.conversation.id);
    Ok(Json(cursors.answer(part, key, |shown| view(now, shown))))
}

/// One conversation.
#[utoipa::path(get, path = "/api/v1/conversations/{id}/", tag = "conversations", params(("id" = String, Path)),
    responses((status = 200, body = ConversationView), ApiErrors))]
pub(crate) async fn get(
    caller: Caller<grants::ReadConversations>,
    State(app): State<App>,
    PathId(id): PathId<kind::Conversation>,
) -> ApiResult<Json<ConversationView>> {
    let shown = conversations::get(&app, &caller.principal, id).await?;
    Ok(Json(view(app.now(), shown)))
}

/// Note that a person has read everything so far.
#[utoipa::path(post, path = "/api/v1/conversations/{id}/read/", tag = "conversations", params(("id" = String, Path)),
    responses((status = 200, body = ConversationView), ApiErrors))]
pub(crate) async fn read(
    auth: Authorized<grants::WriteConversations>,
    State(app): State<App>,
    PathId(id): PathId<kind::Conversation>,
) -> ApiResult<Json<ConversationView>> {
    let shown = conversations::read(&app, &auth.principal, id).await?;
    Ok(Json(view(app.now(), shown)))
}

/// Whether the assistant answers.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AutoReplyBody {
    auto_reply_enabled: bool,
}

/// Take a conversation over from the assistant (`false`), or hand it back (`true`).
#[utoipa::path(patch, path = "/api/v1/conversations/{id}/update-auto-reply/", tag = "conversations",
    params(("id" = String, Path)), request_body = AutoReplyBody,
    responses((status = 200, body = ConversationView), ApiErrors))]
pub(crate) async fn update_auto_reply(
    auth: Authorized<grants::WriteConversations>,
    State(app): State<App>,
    PathId(id): PathId<kind::Conversation>,
    Body(body): Body<AutoReplyBody>,
) -> ApiResult<Json<ConversationView>> {
    let shown = conversations::set_auto_reply(&app, &auth.principal, id, body.auto_reply_enabled).await?;
    Ok(Json(view(app.now(), shown)))
}

/// Whether the assistant waits to be mentioned.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GroupMentionBody {
    enable_group_mention: bool,
}

/// Decide whether the assistant answers in a group only when it is mentioned.
#[utoipa::path(patch, path = "/api/v1/conversations/{id}/update-enable-group-mention/", tag = "conversations",
    params(("id" = String, Path)), request_body = GroupMentionBody,
    responses((status = 200, body = ConversationView), ApiErrors))]
pub(crate) async fn update_enable_group_mention(
    auth: Authorized<grants::WriteConversations>,
    State(app): State<App>,
    PathId(id): PathId<kind::Conversation>,
    Body(body): Body<GroupMentionBody>,
) -> ApiResult<Json<ConversationView>> {
    let shown = conversations::set_group_mention(&app, &auth.principal, id, body.enable_group_mention).await?;
    Ok(Json(view(app.now(), shown)))
}
