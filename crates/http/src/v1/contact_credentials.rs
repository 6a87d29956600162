//! `POST web-chats/{id}/setup-contact-credentials/`: the site that embeds a web chat says who its
//! visitor is and with which headers tools are called for them. Headers are never answered.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use parlance_domain::{Error, FieldErrors, kind};
use parlance_service::App;
use parlance_service::contact_credentials::{self, Done, SetUp};
use parlance_service::secret_headers::{self, Form};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::error::{ApiError, ApiErrors};
use crate::extract::{Authorized, Body, PathId, Reference, from_value, grants};
use crate::v1::chatbots::IdName;
use crate::v1::contacts::CredentialView;

/// Who the visitor is, and the headers for tools. Has no `Debug`, because it holds secrets.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SetUpBody {
    /// What the site calls the contact.
    source_id: String,
    /// Shown to people.
    #[serde(default)]
    name: Option<String>,
    /// `{toolId, headers}`, or a list of these.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    mcp_credentials: Option<Value>,
}

/// The headers for one tool.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CredentialBody {
    tool_id: Reference,
    #[serde(default)]
    headers: Option<Value>,
}

impl SetUpBody {
    fn set_up(self) -> Result<SetUp, Error> {
        let bodies: Vec<CredentialBody> = match self.mcp_credentials {
            None | Some(Value::Null) => Vec::new(),
            Some(list @ Value::Array(_)) => from_value(list)?,
            Some(one) => vec![from_value(one)?],
        };
        let mut errors = FieldErrors::default();
        let mut credentials = Vec::with_capacity(bodies.len());
        for body in bodies {
            let headers =
                body.headers.map(|headers| secret_headers::read("headers", &headers, Form::Headers, &mut errors));
            credentials.push((body.tool_id.require::<kind::Tool>("mcpCredentials.toolId")?, headers));
        }
        errors.finish()?;
        Ok(SetUp { source_id: self.source_id, name: self.name, credentials })
    }
}

/// A contact that was set up.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SetUpView {
    id: String,
    /// The same as `id`.
    contact_id: String,
    source_id: Option<String>,
    name: String,
    inbox: IdName,
    mcp_credentials: Vec<CredentialView>,
    /// Whether the contact is new.
    created: bool,
}

fn view(done: Done) -> SetUpView {
    let id = done.view.contact.id.to_string();
    let (inbox, name) = done.inbox;
    SetUpView {
        contact_id: id.clone(),
        id,
        source_id: done.view.contact.source_id,
        name: done.view.contact.name,
        inbox: IdName { id: inbox.to_string(), name },
        mcp_credentials: done.view.credentials.into_iter().map(Into::into).collect(),
        created: done.is_new,
    }
}

/// Set up a web chat's contact and their credentials for tools. A wrong request is 400 without a
/// body.
#[utoipa::path(post, path = "/api/v1/web-chats/{id}/setup-contact-credentials/", tag = "contacts",
    params(("id" = String, Path)), request_body = SetUpBody,
    responses((status = 200, body = SetUpView), ApiErrors, (status = 400, description = "A field is wrong.")))]
pub(crate) async fn set_up(
    auth: Authorized<grants::WriteContacts>,
    State(app): State<App>,
    PathId(id): PathId<kind::WebChat>,
    body: Result<Body<SetUpBody>, ApiError>,
) -> Response {
    let asked = body.and_then(|Body(body)| Ok(body.set_up()?));
    let done = match asked {
        Ok(asked) => contact_credentials::set_up(&app, auth.tenant(), id, asked).await.map_err(ApiError),
        Err(refused) => Err(refused),
    };
    match done {
        Ok(done) => Json(view(done)).into_response(),
        Err(ApiError(Error::Invalid(_) | Error::BadRequest(_))) => StatusCode::BAD_REQUEST.into_response(),
        Err(other) => other.into_response(),
    }
}
