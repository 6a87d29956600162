//! Contacts: the people who write, as other programs keep them.

use std::collections::HashMap;

use parlance_domain::kind::{ContactId, InboxId};
use parlance_domain::{Error, FieldErrors, Result, Tenant};
use parlance_retrieval::fold;
use parlance_storage::contact_credentials::{self, ShownCredential};
use parlance_storage::contacts::{self, Contact, Filter};
use parlance_storage::row_lock::{Row, lock};
use parlance_storage::{Listing, Page, Tx, inboxes};
use serde_json::Value;
use url::Url;

use crate::query_metadata::Layer;
use crate::{App, keyword};

/// Characters of a name, and of what a site calls somebody.
const MAX_NAME: usize = 255;
/// Characters of the address of a picture.
const MAX_AVATAR: usize = 511;
/// Characters of an e-mail address.
const MAX_EMAIL: usize = 254;
/// Characters of a phone number.
const MAX_PHONE: usize = 64;
/// Inboxes of one contact.
const MAX_INBOXES: usize = 100;
/// Bytes of query metadata.
const MAX_METADATA: usize = 256 << 10;
/// Times a write is made that others made impossible at the same moment.
const ATTEMPTS: usize = 3;

/// What is asked of a contact; `None` leaves a value as it is, or takes the default of a new one.
/// `Some(None)` clears it.
#[derive(Clone, Debug, Default)]
pub struct ContactDraft {
    /// Shown to people.
    pub name: Option<String>,
    /// Where their picture is.
    pub avatar: Option<Option<String>>,
    /// As people write it.
    pub phone_number: Option<Option<String>>,
    /// As people write it.
    pub email: Option<Option<String>>,
    /// What the embedding site calls them.
    pub source_id: Option<Option<String>>,
    /// What retrieval is narrowed to for them.
    pub query_metadata: Option<Option<Value>>,
    /// The inboxes they write to, with the name of the field for an error.
    pub inboxes: Option<Vec<(String, InboxId)>>,
}

/// A contact with what is shown of them.
#[derive(Clone, Debug)]
pub struct ContactView {
    /// The contact.
    pub contact: Contact,
    /// The inboxes they write to, with their names.
    pub inboxes: Vec<(InboxId, String)>,
    /// Their credentials for tools, without the headers.
    pub credentials: Vec<ShownCredential>,
}

/// One contact.
pub async fn get(app: &App, tenant: Tenant, id: ContactId) -> Result<ContactView> {
    let mut tx = app.db.read(tenant).await?;
    let contact = contacts::get(&mut tx, tenant, id).await?.ok_or(Error::NotFound("contact"))?;
    view(&mut tx, tenant, contact).await
}

/// A page of contacts, newest first. `keyword` is part of the name, whatever its case and script, or
/// of the e-mail address, phone number or source id.
pub async fn list(
    app: &App,
    tenant: Tenant,
    (keyword, inboxes): (Option<&str>, Option<Vec<InboxId>>),
    page: Page,
) -> Result<Listing<ContactView>> {
    let filter = Filter { keyword: keyword.map(|keyword| (fold(keyword), keyword.to_lowercase())), inboxes };
    let mut tx = app.db.read(tenant).await?;
    let listing = contacts::list(&mut tx, tenant, &filter, page).await?;
    Ok(Listing { rows: views(&mut tx, tenant, listing.rows).await?, total: listing.total })
}

/// Adds a contact.
pub async fn create(app: &App, tenant: Tenant, draft: ContactDraft) -> Result<ContactView> {
    if draft.name.is_none() {
        return Err(Error::field("name", "This field is required."));
    }
    let mut contact = blank(app);
    apply(&mut contact, &draft)?;
    let inboxes = draft.inboxes.unwrap_or_default();
    repeat(|| {
        let (contact, inboxes) = (contact.clone(), inboxes.clone());
        app.db.write(tenant, move |tx| {
            Box::pin(async move {
                contacts::add(tx, tenant, &contact).await?;
                set_inboxes(tx, tenant, &contact, &inboxes, &[]).await?;
                view(tx, tenant, contact).await
            })
        })
    })
    .await
}

/// A contact of whom nothing is known.
pub(crate) fn blank(app: &App) -> Contact {
    let now = app.now();
    Contact {
        id: app.new_id(),
        name: String::new(),
        name_folded: String::new(),
        avatar: None,
        phone_number: None,
        email: None,
        source_id: None,
        query_metadata: None,
        created_at: now,
        updated_at: now,
    }
}

/// Changes a contact.
pub async fn update(app: &App, tenant: Tenant, id: ContactId, draft: ContactDraft) -> Result<ContactView> {
    repeat(|| {
        let (draft, now) = (draft.clone(), app.now());
        app.db.write(tenant, move |tx| {
            Box::pin(async move {
                lock(tx, tenant, Row::Contact(id)).await?;
                let known = contacts::get(tx, tenant, id).await?.ok_or(Error::NotFound("contact"))?;
                let before = contacts::inboxes(tx, tenant, &[id]).await?;
                let before: Vec<InboxId> = before.into_iter().map(|(_, inbox, _)| inbox).collect();
                let mut contact = Contact { updated_at: now, ..known };
                apply(&mut contact, &draft)?;
                let terms = keyword::terms(tenant, &contact.name);
                contacts::update(tx, tenant, &contact, &terms).await?;
                if draft.inboxes.is_some() || draft.source_id.is_some() {
                    let same = || before.iter().map(|inbox| ("sourceId".to_owned(), *inbox)).collect();
                    let inboxes = draft.inboxes.unwrap_or_else(same);
                    set_inboxes(tx, tenant, &contact, &inboxes, &before).await?;
                }
                view(tx, tenant, contact).await
            })
        })
    })
    .await
}

/// Hides a contact: their conversations stay, what sites call them is free again, and their
/// credentials are gone.
pub async fn delete(app: &App, tenant: Tenant, id: ContactId) -> Result<()> {
    let now = app.now();
    app.db
        .write(tenant, move |tx| {
            Box::pin(async move {
                if !contacts::delete(tx, tenant, id, now).await? {
                    return Err(Error::NotFound("contact"));
                }
                contact_credentials::delete_of_contact(tx, tenant, id).await.map(drop)
            })
        })
        .await
}

/// What is shown of a contact.
pub(crate) async fn view(tx: &mut Tx, tenant: Tenant, contact: Contact) -> Result<ContactView> {
    let mut views = views(tx, tenant, vec![contact]).await?;
    views.pop().ok_or_else(|| Error::bug("a contact without its view"))
}

async fn views(tx: &mut Tx, tenant: Tenant, contacts: Vec<Contact>) -> Result<Vec<ContactView>> {
    let ids: Vec<ContactId> = contacts.iter().map(|contact| contact.id).collect();
    let places: HashMap<ContactId, usize> = ids.iter().copied().zip(0..).collect();
    let mut views: Vec<ContactView> = contacts
        .into_iter()
        .map(|contact| ContactView { contact, inboxes: Vec::new(), credentials: Vec::new() })
        .collect();
    for (contact, inbox, name) in contacts::inboxes(tx, tenant, &ids).await? {
        if let Some(view) = places.get(&contact).and_then(|place| views.get_mut(*place)) {
            view.inboxes.push((inbox, name));
        }
    }
    for credential in contact_credentials::of_contacts(tx, tenant, &ids).await? {
        if let Some(view) = places.get(&credential.contact_id).and_then(|place| views.get_mut(*place)) {
            view.credentials.push(credential);
        }
    }
    Ok(views)
}

/// Makes the inboxes of a contact exactly these.
async fn set_inboxes(
    tx: &mut Tx,
    tenant: Tenant,
    contact: &Contact,
    wanted: &[(String, InboxId)],
    before: &[InboxId],
) -> Result<()> {
    let mut errors = FieldErrors::default();
    for (field, inbox) in wanted {
        if inboxes::get(tx, tenant, *inbox).await?.is_none() {
            errors.add(field, "No inbox has this id.");
        } else if let Some(source_id) = &contact.source_id {
            let known = contacts::by_source(tx, tenant, *inbox, source_id).await?;
            if known.is_some_and(|known| known.id != contact.id) {
                errors.add("sourceId", "Another contact of the inbox has this source id.");
            }
        }
    }
    errors.finish()?;
    for inbox in before.iter().filter(|inbox| !wanted.iter().any(|(_, wanted)| wanted == *inbox)) {
        contacts::leave(tx, tenant, contact.id, *inbox).await?;
    }
    for (_, inbox) in wanted {
        let place = (*inbox, contact.source_id.as_deref());
        contacts::join(tx, tenant, contact.id, place, contact.updated_at).await?;
    }
    Ok(())
}

/// Makes a write again when another one made it impossible at the same moment: the second time it
/// sees what the other one did.
pub(crate) async fn repeat<T, F: Future<Output = Result<T>>>(write: impl Fn() -> F) -> Result<T> {
    let mut attempt = 1;
    loop {
        match write().await {
            Err(Error::Conflict(_)) if attempt < ATTEMPTS => attempt += 1,
            done => return done,
        }
    }
}

/// Whether a text is what a field holds.
type Check<'a> = &'a dyn Fn(&str) -> bool;

fn apply(contact: &mut Contact, draft: &ContactDraft) -> Result<()> {
    let mut errors = FieldErrors::default();
    if let Some(name) = &draft.name {
        crate::chatbots::check_name(&mut errors, name);
        name.trim().clone_into(&mut contact.name);
        contact.name_folded = fold(&contact.name);
    }
    let is_picture = |text: &str| Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    let is_email = |text: &str| {
        let parts = text.split_once('@');
        parts.is_some_and(|(name, host)| !name.is_empty() && !host.is_empty() && !text.contains(char::is_whitespace))
    };
    let any = |_: &str| true;
    let texts: [(_, _, _, _, Check<'_>, _); 4] = [
        ("avatar", &draft.avatar, &mut contact.avatar, MAX_AVATAR, &is_picture, "Enter a valid URL."),
        ("phoneNumber", &draft.phone_number, &mut contact.phone_number, MAX_PHONE, &any, ""),
        ("email", &draft.email, &mut contact.email, MAX_EMAIL, &is_email, "Enter a valid email address."),
        ("sourceId", &draft.source_id, &mut contact.source_id, MAX_NAME, &any, ""),
    ];
    for (field, asked, target, most, is_good, said) in texts {
        let Some(asked) = asked else { continue };
        let text = asked.as_deref().map(str::trim).filter(|text| !text.is_empty());
        if text.is_some_and(|text| text.chars().count() > most) {
            errors.add(field, format!("Ensure this field has no more than {most} characters."));
        } else if text.is_some_and(|text| !is_good(text)) {
            errors.add(field, said);
        }
        *target = text.map(str::to_owned);
    }
    if let Some(metadata) = &draft.query_metadata {
        contact.query_metadata = checked_metadata(metadata.as_ref(), &mut errors);
    }
    if draft.inboxes.as_ref().is_some_and(|inboxes| inboxes.len() > MAX_INBOXES) {
        errors.add("inboxes", format!("At most {MAX_INBOXES} inboxes."));
    }
    errors.finish()
}

/// Query metadata as it is stored: the object as it came.
pub(crate) fn checked_metadata(metadata: Option<&Value>, errors: &mut FieldErrors) -> Option<String> {
    let metadata = metadata.filter(|metadata| !metadata.is_null())?;
    let text = metadata.to_string();
    if text.len() > MAX_METADATA {
        errors.add("queryMetadata", format!("At most {MAX_METADATA} bytes."));
    } else if let Err(Error::Invalid(wrong)) = Layer::parse(Some(&text), "queryMetadata") {
        for (path, messages) in wrong.iter() {
            for message in messages {
                errors.add(path, message);
            }
        }
    }
    Some(text)
}
