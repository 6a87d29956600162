//! Sessions of visitors: how somebody on a chat page becomes a caller.

use std::net::IpAddr;
use std::time::Instant;

use parlance_domain::kind::{ContactId, ConversationId, InboxId, VisitorSessionId, WebChatId};
use parlance_domain::{Error, Principal, PrincipalKind, Result, Tenant, Timestamp};
use parlance_storage::contacts::{self, Contact};
use parlance_storage::secrets::Place;
use parlance_storage::visitor_sessions::{self, Footing, VisitorSession};
use parlance_storage::web_chats;

use crate::authenticate::public_web_chat;
use crate::conversation_turn::anonymous;
use crate::identity_token::{self, Identity};
use crate::rate_limit::Kind;
use crate::web_chat_settings::WebChatSettings;
use crate::web_chats::{WebChatView, random_token};
use crate::{App, fold};

/// Somebody who wants to be a visitor.
#[derive(Clone, Debug)]
pub struct Arrival<'a> {
    /// Where they come from.
    pub address: IpAddr,
    /// The `Origin` header of the page they are on, if there is one.
    pub origin: Option<&'a str>,
    /// Their credential, when they have one: a visitor renews their session.
    pub caller: Option<(Principal, Option<VisitorSessionId>)>,
    /// The site's word about who they are.
    pub identity_token: Option<&'a str>,
}

const SIGNED_IN_ONLY: &str = "This web chat is for people who signed in.";

/// A session that was begun or renewed.
#[derive(Clone, Debug)]
pub struct Opened {
    /// What goes behind `Authorization: Visitor`.
    pub token: String,
    /// When it ends.
    pub expires_at: Timestamp,
    /// Who they are.
    pub contact: Contact,
    /// Their latest conversation.
    pub conversation: Option<ConversationId>,
}

/// Begins or renews a session.
///
/// # Errors
/// `NotFound` when there is no such web chat; `Refused` when it does not let them in; `RateLimited`.
pub async fn open(app: &App, web_chat: WebChatId, arrival: &Arrival<'_>) -> Result<Opened> {
    app.rate_limits.check(Kind::AddressSessions, &arrival.address, app.settings.session_rate, Instant::now())?;
    let view = public_web_chat(app, web_chat).await?;
    if !view.web_chat.is_active {
        return Err(Error::Refused("This web chat is closed."));
    }
    if arrival.origin.is_some_and(|origin| !is_allowed_origin(app, &view, origin)) {
        return Err(Error::Refused("This site may not use the web chat."));
    }
    let inbox = view.inbox.as_ref().map(|(id, _)| *id).ok_or(Error::NotFound("web chat"))?;
    let tenant = view.tenant;
    let own = match arrival.caller {
        Some((Principal { kind: PrincipalKind::Visitor(visitor), .. }, Some(session))) => {
            if visitor.web_chat != web_chat {
                return Err(Error::NotFound("web chat"));
            }
            Some((session, visitor.contact))
        }
        Some((caller, _)) if !caller.tenant.is_same_organisation(tenant) => return Err(Error::NotFound("web chat")),
        _ => None,
    };
    // What the site says counts before what the browser remembers, which may be of another person.
    let identity = match arrival.identity_token {
        Some(token) => Some(prove(app, &view, token).await?),
        None => None,
    };
    let named = match &identity {
        Some(identity) => contact_of(app, tenant, inbox, &identity.subject).await?.map(|contact| contact.id),
        None => own.map(|(_, contact)| contact),
    };
    if let Some((session, contact)) = own.filter(|(_, contact)| named == Some(*contact)) {
        return renew(app, &view, inbox, (session, contact), identity.is_some()).await;
    }
    if identity.is_none() && !lets_unknown_in(&view.web_chat.access_type, &view.settings) {
        return Err(Error::Refused(SIGNED_IN_ONLY));
    }
    begin(app, &view, inbox, identity).await
}

/// Whether a web chat of this kind, with these settings, lets in people who did not prove who they are.
fn lets_unknown_in(access_type: &str, settings: &WebChatSettings) -> bool {
    access_type == "web" && settings.flags.enable_anonymous
}

/// Whether a session that stands on this is still good.
pub(crate) fn is_good(footing: &Footing) -> bool {
    footing.is_identified || lets_unknown_in(&footing.access_type, &WebChatSettings::read(&footing.settings))
}

/// Whether pages of this origin may use the web chat: the product's own, its verified domain, and those
/// on its list.
pub fn is_allowed_origin(app: &App, view: &WebChatView, origin: &str) -> bool {
    let is_domain = view
        .custom_domain
        .as_ref()
        .is_some_and(|own| own.status == "verified" && origin.strip_prefix("https://") == Some(own.domain.as_str()));
    is_domain
        || origin == app.settings.public_url.origin().ascii_serialization()
        || view.settings.allowed_origins.iter().any(|allowed| allowed == origin)
}

async fn prove(app: &App, view: &WebChatView, token: &str) -> Result<Identity> {
    const WRONG: Error = Error::Refused("The identity token is not good for this web chat.");
    let (tenant, id) = (view.tenant, view.web_chat.id);
    let sealed = {
        let mut tx = app.db.read(tenant).await?;
        web_chats::identity_secret(&mut tx, tenant, id).await?
    };
    let Some(sealed) = sealed else { return Err(WRONG) };
    let row = id.to_string();
    let secret = app.master_key.open(&place(tenant, &row), &sealed)?;
    identity_token::check(token, &secret, id, app.now()).ok_or(WRONG)
}

fn place(tenant: Tenant, row: &str) -> Place<'_> {
    Place { tenant, table: "web_chats", row, column: "identity_secret" }
}

async fn begin(app: &App, view: &WebChatView, inbox: InboxId, identity: Option<Identity>) -> Result<Opened> {
    let (tenant, now) = (view.tenant, app.now());
    let known = match &identity {
        Some(identity) => contact_of(app, tenant, inbox, &identity.subject).await?,
        None => None,
    };
    let is_identified = identity.is_some();
    let contact = known.clone().unwrap_or_else(|| {
        let mut contact = anonymous(app, identity.as_ref().map(|identity| identity.subject.clone()));
        if let Some(name) = identity.and_then(|identity| identity.name) {
            contact.name_folded = fold(&name);
            contact.name = name;
        }
        contact
    });
    let is_new = known.is_none();
    let mut session = VisitorSession {
        id: app.new_id(),
        web_chat_id: view.web_chat.id,
        contact_id: contact.id,
        is_identified,
        created_at: now,
        expires_at: now.plus(app.settings.visitor_session),
    };
    let (id, expires_at) = (session.id, session.expires_at);
    let contact = app
        .db
        .write(tenant, move |tx| {
            Box::pin(async move {
                let mut contact = contact;
                if is_new {
                    // Another page of the same person may have come since they were looked for.
                    let known = match &contact.source_id {
                        Some(source_id) => contacts::claim_source(tx, tenant, inbox, source_id).await?,
                        None => None,
                    };
                    match known {
                        Some(known) => contact = known,
                        None => contacts::insert(tx, tenant, &contact, inbox).await?,
                    }
                    session.contact_id = contact.id;
                }
                visitor_sessions::insert(tx, tenant, &session).await?;
                Ok(contact)
            })
        })
        .await?;
    opened(app, tenant, inbox, (id, expires_at), contact).await
}

/// The contact of the inbox that a proof names, by its id or by what the site calls them.
async fn contact_of(app: &App, tenant: Tenant, inbox: InboxId, subject: &str) -> Result<Option<Contact>> {
    let mut tx = app.db.read(tenant).await?;
    if let Some(id) = ContactId::parse(subject)
        && let Some(contact) = contacts::get(&mut tx, tenant, id).await?
    {
        // The secret of one web chat says nothing about the contacts of others.
        let inboxes = contacts::inboxes(&mut tx, tenant, &[id]).await?;
        if inboxes.iter().any(|(_, of, _)| *of == inbox) {
            return Ok(Some(contact));
        }
    }
    contacts::by_source(&mut tx, tenant, inbox, subject).await
}

async fn renew(
    app: &App,
    view: &WebChatView,
    inbox: InboxId,
    (session, contact): (VisitorSessionId, ContactId),
    is_proved: bool,
) -> Result<Opened> {
    let tenant = view.tenant;
    let expires_at = app.now().plus(app.settings.visitor_session);
    let lets_unknown_in = lets_unknown_in(&view.web_chat.access_type, &view.settings);
    let contact = {
        let mut tx = app.db.read(tenant).await?;
        contacts::get(&mut tx, tenant, contact).await?.ok_or(Error::NotFound("web chat"))?
    };
    let renewed = app
        .db
        .write(tenant, move |tx| {
            Box::pin(async move {
                visitor_sessions::renew(tx, tenant, (session, expires_at), is_proved, lets_unknown_in).await
            })
        })
        .await?;
    if !renewed {
        return Err(Error::Unauthenticated(crate::authenticate::UNKNOWN_VISITOR));
    }
    opened(app, tenant, inbox, (session, expires_at), contact).await
}

async fn opened(
    app: &App,
    tenant: Tenant,
    inbox: InboxId,
    (session, expires_at): (VisitorSessionId, Timestamp),
    contact: Contact,
) -> Result<Opened> {
    let mut tx = app.db.read(tenant).await?;
    let conversation = visitor_sessions::latest_conversation(&mut tx, tenant, inbox, contact.id).await?;
    Ok(Opened { token: app.visitors.sign(session, expires_at)?, expires_at, contact, conversation })
}

/// Makes a new identity secret for a web chat and gives it, this once. The one before, and the sessions
/// that were proved with it, end.
pub async fn rotate_identity_secret(app: &App, tenant: Tenant, id: WebChatId) -> Result<String> {
    let secret = random_token("wcis_")?;
    let row = id.to_string();
    let sealed = app.master_key.seal(&place(tenant, &row), secret.as_bytes())?;
    let now = app.now();
    app.db
        .write(tenant, move |tx| {
            Box::pin(async move {
                if !web_chats::set_identity_secret(tx, tenant, id, &sealed, now).await? {
                    return Err(Error::NotFound("web chat"));
                }
                visitor_sessions::revoke_identified(tx, tenant, id, now).await.map(drop)
            })
        })
        .await?;
    app.visitors.forget(id);
    Ok(secret)
}
