//! One message to many contacts. The members of the answer are in `snake_case`, as existing clients
//! read them.

use axum::Json;
use axum::extract::State;
use parlance_domain::{Error, kind};
use parlance_service::App;
use parlance_service::broadcast::{self, Audience};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::{ApiErrors, ApiResult};
use crate::extract::{Authorized, Body, Reference, grants};

/// A message with those who get it: `contactIds`, or everybody of `inboxId` but for
/// `excludeContactIds`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BroadcastBody {
    /// The text.
    message: String,
    /// Contacts by their ids; `inboxId` is ignored where they are given.
    #[schema(value_type = Option<Vec<String>>)]
    contact_ids: Option<Vec<Reference>>,
    /// Everybody who writes to this inbox.
    #[schema(value_type = Option<String>)]
    inbox_id: Option<Reference>,
    /// Those of the inbox who do not get it.
    #[schema(value_type = Option<Vec<String>>)]
    exclude_contact_ids: Option<Vec<Reference>>,
}

impl BroadcastBody {
    fn audience(&self) -> Result<Audience, Error> {
        let ids = self.contact_ids.as_ref().filter(|ids| !ids.is_empty() || self.inbox_id.is_none());
        match (ids, &self.inbox_id) {
            (Some(ids), _) => Ok(Audience::Contacts(ids.iter().map(|id| (id.0.clone(), id.id())).collect())),
            (None, Some(inbox)) => {
                let excluded = self.exclude_contact_ids.iter().flatten().filter_map(Reference::id).collect();
                Ok(Audience::Inbox(inbox.require::<kind::Inbox>("inboxId")?, excluded))
            }
            (None, None) => Err(Error::field("nonFieldErrors", "Give contact_ids or inbox_id.")),
        }
    }
}

/// What became of a message, contact by contact.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BroadcastView {
    results: Vec<SentView>,
    errors: Vec<UnsentView>,
    total_contacts: usize,
    success_count: usize,
    error_count: usize,
}

/// A contact who got the message.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SentView {
    contact_id: String,
    conversation_id: String,
    message_id: String,
    /// Always `success`.
    status: &'static str,
}

/// A contact who did not get the message.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UnsentView {
    contact_id: String,
    /// For people.
    error: &'static str,
}

/// Send a message to many contacts, each in their latest conversation. Needs `contacts:write` and
/// `conversations:write`.
#[utoipa::path(post, path = "/api/v1/contacts/broadcast-message/", tag = "contacts", request_body = BroadcastBody,
    responses((status = 200, body = BroadcastView), ApiErrors))]
pub(crate) async fn send(
    auth: Authorized<(grants::WriteContacts, grants::WriteConversations)>,
    State(app): State<App>,
    Body(body): Body<BroadcastBody>,
) -> ApiResult<Json<BroadcastView>> {
    let deliveries = broadcast::send(&app, &auth.principal, &body.message, body.audience()?).await?;
    let (mut results, mut errors) = (Vec::new(), Vec::new());
    for delivery in deliveries {
        match delivery.outcome {
            Ok((conversation, message)) => results.push(SentView {
                contact_id: delivery.contact,
                conversation_id: conversation.to_string(),
                message_id: message.to_string(),
                status: "success",
            }),
            Err(error) => errors.push(UnsentView { contact_id: delivery.contact, error }),
        }
    }
    let (success_count, error_count) = (results.len(), errors.len());
    let total_contacts = success_count + error_count;
    Ok(Json(BroadcastView { results, errors, total_contacts, success_count, error_count }))
}
