//! Inboxes: where the conversations of a channel arrive.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use parlance_domain::{Error, Scopes, Tenant, kind};
use parlance_service::App;
use parlance_service::auto_reply::{self, DaySchedule};
use parlance_service::inboxes::{self, InboxDraft};
use parlance_service::web_chats::WebChatDraft;
use parlance_storage::inboxes::{Filter, Order, ShownInbox};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::error::{ApiErrors, ApiResult};
use crate::extract::{Authorized, Body, PageBody, Paging, Patch, PathId, Query, Reference, from_value, grants, patch};

/// An inbox, as it is asked for. Absent fields stay as they are, or take their defaults.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InboxBody {
    /// Required for a new one; at most 255 characters.
    name: Option<String>,
    /// `web`. Required for a new one; `line`, `telegram` and `messenger` are not supported yet.
    channel_type: Option<String>,
    /// The assistant that answers; the only one there is for a new inbox that names none. A new inbox
    /// and another assistant need `chatbots:read`.
    #[schema(value_type = Option<String>)]
    chatbot: Option<Reference>,
    /// The web chat that is made with a new inbox: `{name}`.
    #[schema(value_type = Option<Object>)]
    channel: Option<Value>,
    /// Hours in which the assistant answers by itself, in the organisation's time zone. Without any
    /// it always answers.
    #[serde(default, deserialize_with = "patch")]
    #[schema(value_type = Option<Vec<ScheduleBody>>)]
    auto_reply_schedules: Patch<Vec<ScheduleBody>>,
    /// What retrieval is narrowed to for all conversations of the inbox.
    #[serde(default, deserialize_with = "patch")]
    #[schema(value_type = Option<Object>)]
    query_metadata: Patch<Value>,
    /// How visitors sign in: `{signSource: {accessType}, signParams}`.
    #[serde(default, deserialize_with = "patch")]
    #[schema(value_type = Option<Object>)]
    sign_auth: Patch<Value>,
}

/// The hours of one weekday.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ScheduleBody {
    /// 0 (Monday) to 6 (Sunday).
    weekday: u8,
    /// Whether the assistant answers on this day at all; true by default.
    #[serde(default)]
    is_enabled: Option<bool>,
    /// `[["09:00", "18:00"]]`; an end before its start is on the next day. None is the whole day.
    #[serde(default)]
    time_slots: Option<Vec<[String; 2]>>,
}

/// The web chat of a new inbox.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ChannelBody {
    name: Option<String>,
    chatbot: Option<Reference>,
}

impl InboxBody {
    fn draft(self, scopes: Scopes) -> ApiResult<InboxDraft> {
        let channel: ChannelBody = match self.channel {
            Some(channel @ Value::Object(_)) => from_value(channel).map_err(|error| under("channel", error))?,
            _ => ChannelBody::default(),
        };
        let chatbot = match (&self.chatbot, &channel.chatbot) {
            (Some(chatbot), _) => Some(chatbot.require("chatbot")?),
            (None, Some(chatbot)) => Some(chatbot.require("channel.chatbot")?),
            (None, None) => None,
        };
        let schedules = self.auto_reply_schedules.map(|schedules| {
            let days = schedules.unwrap_or_default().into_iter().map(|schedule| DaySchedule {
                id: String::new(),
                weekday: schedule.weekday,
                is_enabled: schedule.is_enabled.unwrap_or(true),
                time_slots: schedule.time_slots,
            });
            days.collect()
        });
        Ok(InboxDraft {
            name: self.name,
            channel_type: self.channel_type,
            chatbot,
            schedules,
            query_metadata: self.query_metadata,
            sign_auth: self.sign_auth.map(|sign_auth| sign_auth.filter(|sign_auth| !sign_auth.is_null())),
            web_chat: WebChatDraft { name: channel.name, scopes, ..WebChatDraft::default() },
        })
    }
}

/// The same error with its fields below another one.
fn under(parent: &str, error: Error) -> Error {
    let Error::Invalid(fields) = error else { return error };
    let mut moved = parlance_domain::FieldErrors::default();
    for (path, messages) in fields.iter() {
        for message in messages {
            moved.add(format!("{parent}.{path}"), message);
        }
    }
    Error::Invalid(moved)
}

/// An inbox.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InboxOut {
    id: String,
    name: String,
    /// `web`.
    channel_type: String,
    /// The channel's type for people.
    channel_type_label: &'static str,
    chatbot: Option<String>,
    channel: Channel,
    auto_reply_schedules: Vec<ScheduleView>,
    /// Conversations with something unread, counted up to 1000.
    unread_conversations_count: i64,
    #[schema(value_type = Option<Object>)]
    query_metadata: Option<Value>,
    #[schema(value_type = Option<Object>)]
    sign_auth: Option<Value>,
    organization: String,
    created_at: String,
    updated_at: String,
}

/// The channel of an inbox: its web chat.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Channel {
    /// Null when the web chat was removed.
    id: Option<String>,
    name: String,
    /// Who it is for: `web`, `admin`, or `api` for API keys.
    access_type: Option<String>,
}

/// The hours of one weekday.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ScheduleView {
    id: String,
    /// 0 (Monday) to 6 (Sunday).
    weekday: u8,
    weekday_name: &'static str,
    is_enabled: bool,
    time_slots: Option<Vec<[String; 2]>>,
}

fn out(tenant: Tenant, shown: ShownInbox) -> InboxOut {
    let inbox = shown.inbox;
    let json = |text: Option<String>| text.and_then(|text| serde_json::from_str(&text).ok());
    let schedules = auto_reply::parse(&inbox.auto_reply_schedules).into_iter();
    InboxOut {
        id: inbox.id.to_string(),
        channel_type_label: match inbox.channel_type.as_str() {
            "line" => "LINE",
            "telegram" => "Telegram",
            "messenger" => "Messenger",
            _ => "網頁聊天",
        },
        channel_type: inbox.channel_type,
        chatbot: inbox.chatbot_id.map(|id| id.to_string()),
        channel: Channel {
            id: inbox.web_chat_id.map(|id| id.to_string()),
            name: shown.web_chat_name.unwrap_or_else(|| inbox.name.clone()),
            access_type: shown.access_type,
        },
        name: inbox.name,
        auto_reply_schedules: schedules
            .map(|schedule| ScheduleView {
                weekday_name: schedule.weekday_name(),
                id: schedule.id,
                weekday: schedule.weekday,
                is_enabled: schedule.is_enabled,
                time_slots: schedule.time_slots,
            })
            .collect(),
        unread_conversations_count: shown.unread_conversations,
        query_metadata: json(inbox.query_metadata),
        sign_auth: json(inbox.sign_auth),
        organization: tenant.organisation().to_string(),
        created_at: inbox.created_at.to_string(),
        updated_at: inbox.updated_at.to_string(),
    }
}

/// What a list is narrowed to, and its order.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(crate) struct InboxFilter {
    /// Part of the name.
    query: Option<String>,
    /// `web`, `line`, `telegram` or `messenger`.
    channel_type: Option<String>,
    /// Id of the assistant that answers.
    chatbot: Option<String>,
    /// `-createdAt` (the default), `createdAt`, `name`, `-name`, `updatedAt` or `-updatedAt`.
    ordering: Option<String>,
}

fn order(ordering: Option<&str>) -> Order {
    match ordering.unwrap_or_default() {
        "createdAt" | "created_at" => Order::Oldest,
        "name" => Order::Name,
        "-name" => Order::NameFromEnd,
        "updatedAt" | "updated_at" => Order::LeastRecent,
        "-updatedAt" | "-updated_at" => Order::MostRecent,
        _ => Order::Newest,
    }
}

/// List the inboxes, newest first.
#[utoipa::path(get, path = "/api/v1/inboxes/", tag = "inboxes",
    params(InboxFilter, ("page" = Option<u64>, Query), ("pageSize" = Option<u64>, Query)),
    responses((status = 200, body = PageBody<InboxOut>), ApiErrors))]
pub(crate) async fn list(
    auth: Authorized<grants::ReadChannels>,
    State(app): State<App>,
    Query(filter): Query<InboxFilter>,
    paging: Paging,
) -> ApiResult<Json<PageBody<InboxOut>>> {
    let non_empty = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
    let filter = Filter {
        name_folded: non_empty(filter.query).map(|query| parlance_service::fold(query.trim())),
        channel_type: non_empty(filter.channel_type),
        chatbot: non_empty(filter.chatbot)
            .map(|id| kind::ChatbotId::parse(&id).unwrap_or(kind::ChatbotId::from_uuid(uuid::Uuid::nil()))),
        order: order(filter.ordering.as_deref().map(str::trim)),
    };
    let listing = inboxes::list(&app, auth.tenant(), &filter, paging.page()).await?;
    Ok(Json(paging.answer(listing, |shown| out(auth.tenant(), shown))?))
}

/// Add an inbox with the web chat that is its channel.
#[utoipa::path(post, path = "/api/v1/inboxes/", tag = "inboxes", request_body = InboxBody,
    responses((status = 201, body = InboxOut), ApiErrors))]
pub(crate) async fn create(
    auth: Authorized<grants::WriteChannels>,
    State(app): State<App>,
    Body(body): Body<InboxBody>,
) -> ApiResult<(StatusCode, Json<InboxOut>)> {
    let shown = Box::pin(inboxes::create(&app, auth.tenant(), body.draft(auth.principal.scopes)?)).await?;
    Ok((StatusCode::CREATED, Json(out(auth.tenant(), shown))))
}

/// One inbox.
#[utoipa::path(get, path = "/api/v1/inboxes/{id}/", tag = "inboxes", params(("id" = String, Path)),
    responses((status = 200, body = InboxOut), ApiErrors))]
pub(crate) async fn get(
    auth: Authorized<grants::ReadChannels>,
    State(app): State<App>,
    PathId(id): PathId<kind::Inbox>,
) -> ApiResult<Json<InboxOut>> {
    Ok(Json(out(auth.tenant(), inboxes::get(&app, auth.tenant(), id).await?)))
}

/// Change an inbox. As with PATCH, absent fields stay.
#[utoipa::path(put, path = "/api/v1/inboxes/{id}/", tag = "inboxes", params(("id" = String, Path)),
    request_body = InboxBody, responses((status = 200, body = InboxOut), ApiErrors))]
pub(crate) async fn replace(
    auth: Authorized<grants::WriteChannels>,
    State(app): State<App>,
    PathId(id): PathId<kind::Inbox>,
    Body(body): Body<InboxBody>,
) -> ApiResult<Json<InboxOut>> {
    Ok(Json(out(auth.tenant(), inboxes::update(&app, auth.tenant(), id, body.draft(auth.principal.scopes)?).await?)))
}

/// Change an inbox.
#[utoipa::path(patch, path = "/api/v1/inboxes/{id}/", tag = "inboxes", params(("id" = String, Path)),
    request_body = InboxBody, responses((status = 200, body = InboxOut), ApiErrors))]
pub(crate) async fn update(
    auth: Authorized<grants::WriteChannels>,
    State(app): State<App>,
    PathId(id): PathId<kind::Inbox>,
    Body(body): Body<InboxBody>,
) -> ApiResult<Json<InboxOut>> {
    Ok(Json(out(auth.tenant(), inboxes::update(&app, auth.tenant(), id, body.draft(auth.principal.scopes)?).await?)))
}

/// Remove an inbox with its web chat; its conversations stay.
#[utoipa::path(delete, path = "/api/v1/inboxes/{id}/", tag = "inboxes", params(("id" = String, Path)),
    responses((status = 204), ApiErrors))]
pub(crate) async fn delete(
    auth: Authorized<grants::WriteChannels>,
    State(app): State<App>,
    PathId(id): PathId<kind::Inbox>,
) -> ApiResult<StatusCode> {
    inboxes::delete(&app, auth.tenant(), id).await?;
    Ok(StatusCode::NO_CONTENT)
}
