//! Credentials with which tools are called for one contact, set up by the site that embeds a web
//! chat.

use parlance_domain::kind::{ContactId, InboxId, ToolId, WebChatId};
use parlance_domain::{Error, FieldErrors, Result, Tenant};
use parlance_retrieval::fold;
use parlance_storage::contact_credentials::{self, ContactCredential};
use parlance_storage::contacts::{self, Contact};
use parlance_storage::secrets::Place;
use parlance_storage::{Tx, inboxes, tools};
use secrecy::SecretString;

use crate::contacts::{ContactView, blank, repeat, view};
use crate::secret_headers::{SecretDraft, Secrets};
use crate::{App, keyword};

/// Characters of a name, and of what a site calls somebody.
const MAX_NAME: usize = 255;
/// Tools of one request.
const MAX_TOOLS: usize = 50;

/// Who is set up, and with what. Has no `Debug`, because it holds secrets.
pub struct SetUp {
    /// What the site calls the contact.
    pub source_id: String,
    /// Shown to people; `None` leaves a known contact's name.
    pub name: Option<String>,
    /// Headers by tool; `None` leaves those that are stored.
    pub credentials: Vec<(ToolId, Option<SecretDraft>)>,
}

/// A contact that was set up.
#[derive(Clone, Debug)]
pub struct Done {
    /// The contact.
    pub view: ContactView,
    /// The inbox of the web chat, with its name.
    pub inbox: (InboxId, String),
    /// Whether the contact is new.
    pub is_new: bool,
}

/// Makes or changes the contact of a web chat's inbox with this source id, and stores the headers
/// with which tools are called for them.
///
/// # Errors
/// `NotFound` for the web chat; wrong fields for all else.
pub async fn set_up(app: &App, tenant: Tenant, web_chat: WebChatId, asked: SetUp) -> Result<Done> {
    let inbox = {
        let mut tx = app.db.read(tenant).await?;
        inboxes::of_web_chat(&mut tx, tenant, web_chat).await?.ok_or(Error::NotFound("web chat"))?
    };
    let SetUp { source_id, name, credentials } = asked;
    let source_id = source_id.trim().to_owned();
    let name = name.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    let is_long = |text: &str| text.chars().count() > MAX_NAME;
    let mut errors = FieldErrors::default();
    if source_id.is_empty() || is_long(&source_id) {
        errors.add("sourceId", format!("Enter 1 to {MAX_NAME} characters."));
    }
    if name.as_deref().is_some_and(is_long) {
        errors.add("name", format!("Ensure this field has no more than {MAX_NAME} characters."));
    }
    if credentials.len() > MAX_TOOLS {
        errors.add("mcpCredentials", format!("At most {MAX_TOOLS} tools."));
    }
    errors.finish()?;
    let (view, is_new) = repeat(|| {
        let (writer, inbox) = (app.clone(), inbox.id);
        let (source_id, name, credentials) = (source_id.clone(), name.clone(), copy(&credentials));
        app.db.write(tenant, move |tx| {
            Box::pin(async move {
                let (contact, is_new) = upsert(tx, &writer, tenant, inbox, (source_id, name)).await?;
                for (tool, headers) in credentials {
                    store(tx, &writer, tenant, (contact.id, tool), headers).await?;
                }
                Ok((view(tx, tenant, contact).await?, is_new))
            })
        })
    })
    .await?;
    Ok(Done { view, inbox: (inbox.id, inbox.name), is_new })
}

fn copy(credentials: &[(ToolId, Option<SecretDraft>)]) -> Vec<(ToolId, Option<SecretDraft>)> {
    let secrets = |draft: &SecretDraft| -> SecretDraft {
        draft.iter().map(|(name, value): &(String, Option<SecretString>)| (name.clone(), value.clone())).collect()
    };
    credentials.iter().map(|(tool, headers)| (*tool, headers.as_ref().map(secrets))).collect()
}

async fn upsert(
    tx: &mut Tx,
    app: &App,
    tenant: Tenant,
    inbox: InboxId,
    (source_id, name): (String, Option<String>),
) -> Result<(Contact, bool)> {
    if let Some(mut known) = contacts::claim_source(tx, tenant, inbox, &source_id).await? {
        if let Some(name) = name.filter(|name| *name != known.name) {
            known.name_folded = fold(&name);
            known.name = name;
            known.updated_at = app.now();
            contacts::update(tx, tenant, &known, &keyword::terms(tenant, &known.name)).await?;
        }
        return Ok((known, false));
    }
    let name = name.unwrap_or_else(|| source_id.clone());
    let contact = Contact { name_folded: fold(&name), name, source_id: Some(source_id), ..blank(app) };
    contacts::insert(tx, tenant, &contact, inbox).await?;
    Ok((contact, true))
}

async fn store(
    tx: &mut Tx,
    app: &App,
    tenant: Tenant,
    (contact, tool): (ContactId, ToolId),
    headers: Option<SecretDraft>,
) -> Result<()> {
    if tools::get(tx, tenant, tool).await?.is_none() {
        return Err(Error::field("mcpCredentials.toolId", "No tool has this id."));
    }
    let known = contact_credentials::headers(tx, tenant, contact, tool).await?;
    let Some(headers) = headers.or_else(|| known.is_none().then(Vec::new)) else { return Ok(()) };
    let id = known.as_ref().map_or_else(|| app.new_id(), |(id, _)| *id);
    let row = id.to_string();
    let place = Place { tenant, table: "contact_credentials", row: &row, column: "headers_sealed" };
    let stored = Secrets::open(&app.master_key, &place, known.as_ref().map(|(_, sealed)| sealed.as_slice()))?;
    let (secrets, missing) = stored.merged(headers);
    if !missing.is_empty() {
        let message = format!("A value is required: {}.", missing.join(", "));
        return Err(Error::field("mcpCredentials.headers", message));
    }
    let now = app.now();
    let headers_sealed = secrets.seal(&app.master_key, &place)?;
    let credential =
        ContactCredential { id, contact_id: contact, tool_id: tool, headers_sealed, created_at: now, updated_at: now };
    contact_credentials::upsert(tx, tenant, &credential).await
}
