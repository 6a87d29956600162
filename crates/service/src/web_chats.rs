//! Web chats: the pages on which people talk to an assistant, each the channel of one inbox.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parlance_domain::kind::{ChatbotId, CustomDomainId, InboxId, JobId, WebChatId};
use parlance_domain::{Error, FieldErrors, Permission, Result, Scopes, Tenant};
use parlance_retrieval::fold;
use parlance_storage::custom_domains::{self, CustomDomain};
use parlance_storage::inboxes::{self, Inbox};
use parlance_storage::row_lock::{Row, lock};
use parlance_storage::web_chats::{self, Details, Filter, WebChat};
use parlance_storage::{Page, Tx, chatbots, uploads};
use serde_json::Value;

use crate::App;
use crate::domains::DomainCheck;
use crate::further_scopes::Use;
use crate::sign_auth::SignAuth;
use crate::web_chat_settings::{Picture, SettingsChanges, WebChatSettings, check_choice, is_web_address};

/// Characters of a name.
const MAX_NAME: usize = 255;
/// Characters of the address of a picture.
const MAX_PICTURE: usize = 2000;
/// Largest daily limit that can be set.
const MAX_LIMIT: i64 = 1_000_000_000_000;
/// Kinds of web chats that can be asked for. `api` are the hidden ones of assistants.
const ACCESS_TYPES: [&str; 2] = ["web", "admin"];

/// What is asked of a web chat; `None` leaves a value as it is, or takes the default of a new one.
#[derive(Clone, Debug, Default)]
pub struct WebChatDraft {
    /// Shown to people; that of the assistant for a new one.
    pub name: Option<String>,
    /// The assistant that answers; the only one there is for a new web chat.
    pub chatbot: Option<ChatbotId>,
    /// `web` or `admin`.
    pub access_type: Option<String>,
    /// Whether visitors get in.
    pub is_active: Option<bool>,
    /// How visitors sign in; `Some(None)` clears it.
    pub sign_auth: Option<Option<Value>>,
    /// The domain under which the page is served; `Some(None)` clears it.
    pub custom_domain: Option<Option<String>>,
    /// Replies to visitors per day; `Some(None)` follows the server's setting.
    pub daily_reply_limit: Option<Option<i64>>,
    /// Tokens for visitors per day; `Some(None)` follows the server's setting.
    pub daily_token_limit: Option<Option<i64>>,
    /// Pictures by their names in the API: an upload's key or id, one of our own links, or an address
    /// on the web; `None` clears one.
    pub pictures: Vec<(&'static str, Option<String>)>,
    /// Looks and switches.
    pub settings: SettingsChanges,
    /// What whoever asks may do: another assistant than before needs `chatbots:read`, since the web chat
    /// shows it to its visitors.
    pub scopes: Scopes,
}

/// A web chat with what is shown of it.
#[derive(Clone, Debug)]
pub struct WebChatView {
    /// Whose it is.
    pub tenant: Tenant,
    /// The web chat.
    pub web_chat: WebChat,
    /// Its settings, read.
    pub settings: WebChatSettings,
    /// The inbox in which its conversations arrive, with its name.
    pub inbox: Option<(InboxId, String)>,
    /// How visitors sign in.
    pub sign_auth: Option<SignAuth>,
    /// The domain under which the page is served.
    pub custom_domain: Option<DomainView>,
}

/// A domain of a web chat.
#[derive(Clone, Debug)]
pub struct DomainView {
    /// Its id.
    pub id: CustomDomainId,
    /// Its name.
    pub domain: String,
    /// `pending`, `verified` or `failed`.
    pub status: String,
    /// What its owner puts into DNS.
    pub token: String,
    /// Why the last check did not find that.
    pub failure: Option<String>,
}

impl WebChatView {
    /// What is shown of a stored web chat of this organisation.
    pub fn new(tenant: Tenant, details: Details) -> Self {
        let Details { web_chat, inbox_id, inbox_name, sign_auth, .. } = details;
        let domain = (details.domain_id, details.domain, details.domain_status, details.domain_token);
        let custom_domain = match domain {
            (Some(id), Some(domain), Some(status), Some(token)) => {
                Some(DomainView { id, domain, status, token, failure: details.domain_failure })
            }
            _ => None,
        };
        Self {
            tenant,
            settings: WebChatSettings::read(&web_chat.settings),
            web_chat,
            inbox: inbox_id.zip(inbox_name),
            sign_auth: SignAuth::stored(sign_auth.as_deref()),
            custom_domain,
        }
    }
}

/// One web chat.
pub async fn get(app: &App, tenant: Tenant, id: WebChatId) -> Result<WebChatView> {
    let mut tx = app.db.read(tenant).await?;
    let details = web_chats::get(&mut tx, tenant, id).await?.ok_or(Error::NotFound("web chat"))?;
    Ok(WebChatView::new(tenant, details))
}

/// The organisation's web chats, newest first; without a kind all but the hidden ones.
pub async fn list(app: &App, tenant: Tenant, filter: &Filter) -> Result<Vec<WebChatView>> {
    let mut tx = app.db.read(tenant).await?;
    let listed = web_chats::list(&mut tx, tenant, filter).await?;
    Ok(listed.into_iter().map(|details| WebChatView::new(tenant, details)).collect())
}

/// Adds a web chat with its inbox.
pub async fn create(app: &App, tenant: Tenant, draft: WebChatDraft) -> Result<WebChatView> {
    draft.scopes.require(Permission::ReadChatbots)?;
    let (chatbot, name) = chatbot_of(app, tenant, draft.chatbot).await?;
    let now = app.now();
    let web_chat = WebChat {
        id: app.new_id(),
        chatbot_id: chatbot,
        name,
        access_type: "web".to_owned(),
        settings: String::new(),
        is_active: true,
        daily_reply_limit: None,
        daily_token_limit: None,
        created_at: now,
        updated_at: now,
    };
    let blank = Details {
        web_chat,
        inbox_id: None,
        inbox_name: None,
        sign_auth: None,
        domain_id: None,
        domain: None,
        domain_status: None,
        domain_token: None,
        domain_failure: None,
    };
    let id = blank.web_chat.id;
    let domain = asked_domain(app, &draft, None).await?;
    let writer = app.clone();
    app.db
        .write(tenant, move |tx| {
            Box::pin(async move {
                let blank = WebChatView::new(tenant, blank);
                let change = Change::make(tx, &writer, tenant, blank, (draft, domain)).await?;
                let names = (change.web_chat.name.clone(), fold(&change.web_chat.name));
                let inbox = Inbox::of_web_chat(writer.new_id(), names, (id, chatbot), now);
                web_chats::insert(tx, tenant, &change.web_chat).await?;
                inboxes::insert(tx, tenant, &inbox).await?;
                change.store(tx, tenant).await
            })
        })
        .await?;
    get(app, tenant, id).await
}

/// Changes a web chat.
pub async fn update(app: &App, tenant: Tenant, id: WebChatId, draft: WebChatDraft) -> Result<WebChatView> {
    let known = get(app, tenant, id).await?;
    let domain = asked_domain(app, &draft, known.custom_domain.as_ref()).await?;
    let writer = app.clone();
    app.db
        .write(tenant, move |tx| {
            Box::pin(async move {
                lock(tx, tenant, Row::WebChat(id)).await?;
                let details = web_chats::get(tx, tenant, id).await?.ok_or(Error::NotFound("web chat"))?;
                let known = WebChatView::new(tenant, details);
                if let Some(another) = draft.chatbot.filter(|another| *another != known.web_chat.chatbot_id) {
                    draft.scopes.require(Permission::ReadChatbots)?;
                    chatbots::get(tx, tenant, another).await?.ok_or_else(no_such_chatbot)?;
                }
                let mut change = Change::make(tx, &writer, tenant, known, (draft, domain)).await?;
                change.web_chat.updated_at = writer.now();
                web_chats::update(tx, tenant, &change.web_chat).await?;
                change.store(tx, tenant).await
            })
        })
        .await?;
    app.visitors.forget(id);
    app.displays.forget(id);
    // Its inbox, and what that is narrowed to, may be another assistant's now.
    app.plans.forget(tenant);
    get(app, tenant, id).await
}

/// Removes a web chat. Its conversations stay, in their inbox.
pub async fn delete(app: &App, tenant: Tenant, id: WebChatId) -> Result<()> {
    let known = get(app, tenant, id).await?;
    if known.web_chat.access_type == "api" {
        return Err(Error::Conflict("This web chat belongs to its assistant and goes with it.".to_owned()));
    }
    let pictures = known.settings.pictures.blob_keys();
    app.db
        .write(tenant, move |tx| {
            Box::pin(async move {
                if !web_chats::delete(tx, tenant, id).await? {
                    return Err(Error::NotFound("web chat"));
                }
                release(tx, tenant, &pictures).await
            })
        })
        .await?;
    app.visitors.forget(id);
    app.displays.forget(id);
    Ok(())
}

/// The assistant that is named, or the only one there is, with its name.
async fn chatbot_of(app: &App, tenant: Tenant, named: Option<ChatbotId>) -> Result<(ChatbotId, String)> {
    let mut tx = app.db.read(tenant).await?;
    if let Some(id) = named {
        let chatbot = chatbots::get(&mut tx, tenant, id).await?;
        let chatbot = chatbot.ok_or_else(no_such_chatbot)?;
        return Ok((chatbot.id, chatbot.name));
    }
    let two = Page { offset: 0, limit: 2 };
    let listing = chatbots::list(&mut tx, tenant, &chatbots::Filter::default(), two).await?;
    match <[_; 1]>::try_from(listing.rows) {
        Ok([chatbot]) => Ok((chatbot.id, chatbot.name)),
        Err(_none_or_several) => {
            Err(Error::field("chatbot", "This field is required: there is not exactly one chatbot."))
        }
    }
}

fn no_such_chatbot() -> Error {
    Error::field("chatbot", "No chatbot has this id.")
}

/// The domain that a draft asks for, or none of its own; or what is wrong with it.
type AskedDomain = Result<Option<String>, &'static str>;

/// What a draft says about the domain, checked against the web chats of all organisations. `own` is the
/// domain that the web chat has.
async fn asked_domain(app: &App, draft: &WebChatDraft, own: Option<&DomainView>) -> Result<Option<AskedDomain>> {
    let Some(asked) = &draft.custom_domain else { return Ok(None) };
    let Some(name) = asked else { return Ok(Some(Ok(None))) };
    let name = match domain_name(app, name) {
        Ok(name) => name,
        Err(message) => return Ok(Some(Err(message))),
    };
    let is_own = own.is_some_and(|own| own.domain == name);
    if !is_own && crate::domains::is_taken(app, &name, own.map(|own| own.id)).await? {
        return Ok(Some(Err("Another web chat uses this domain.")));
    }
    Ok(Some(Ok(Some(name))))
}

/// What a write does about the domain.
enum DomainChange {
    Keep,
    Remove,
    Replace(Box<CustomDomain>),
}

/// What a write changes, checked and ready to be stored.
struct Change {
    web_chat: WebChat,
    sign_auth: Option<String>,
    domain: DomainChange,
    /// Id of the job that checks it.
    check: JobId,
    origins: Vec<String>,
    pictures: Vec<String>,
    /// Pictures that are shown no more, if nothing else shows them.
    released: Vec<String>,
}

impl Change {
    async fn make(
        tx: &mut Tx,
        app: &App,
        tenant: Tenant,
        known: WebChatView,
        (draft, domain): (WebChatDraft, Option<AskedDomain>),
    ) -> Result<Self> {
        let WebChatView { mut web_chat, mut settings, mut sign_auth, custom_domain, .. } = known;
        let mut errors = FieldErrors::default();
        change_row(&mut web_chat, &draft, &mut errors);
        settings.change(&draft.settings, &mut errors);
        let shown_before = settings.pictures.blob_keys();
        for (name, picture) in settings.pictures.all_mut() {
            if let Some((_, value)) = draft.pictures.iter().find(|(field, _)| *field == name) {
                match read_picture(tx, app, tenant, (draft.scopes, value.as_deref())).await? {
                    Ok(read) => *picture = read,
                    Err(message) => errors.add(name, message),
                }
            }
        }
        let domain = match domain {
            None => DomainChange::Keep,
            Some(Ok(None)) => DomainChange::Remove,
            Some(Ok(Some(name))) if custom_domain.is_some_and(|known| known.domain == name) => DomainChange::Keep,
            Some(Ok(Some(name))) => DomainChange::Replace(Box::new(new_domain(app, web_chat.id, name)?)),
            Some(Err(message)) => {
                errors.add("customDomain.domain", message);
                DomainChange::Keep
            }
        };
        errors.finish()?;
        match &draft.sign_auth {
            Some(Some(asked)) => sign_auth = Some(SignAuth::read(app, asked, sign_auth.as_ref(), "signAuth")?),
            Some(None) => sign_auth = None,
            None => {}
        }
        web_chat.settings = settings.json()?;
        let pictures = settings.pictures.blob_keys();
        let sign_auth = sign_auth
            .map(|sign_auth| serde_json::to_string(&sign_auth))
            .transpose()
            .map_err(|error| Error::internal("storing a way to sign in", error))?;
        Ok(Self {
            web_chat,
            sign_auth,
            domain,
            check: app.new_id(),
            origins: settings.allowed_origins,
            released: shown_before.into_iter().filter(|key| !pictures.contains(key)).collect(),
            pictures,
        })
    }

    /// Stores what is not in the row itself.
    async fn store(&self, tx: &mut Tx, tenant: Tenant) -> Result<()> {
        let (id, now) = (self.web_chat.id, self.web_chat.updated_at);
        let inbox = (self.web_chat.chatbot_id, self.sign_auth.as_deref());
        web_chats::update_inbox(tx, tenant, id, inbox, now).await?;
        web_chats::set_origins(tx, tenant, id, &self.origins).await?;
        for key in &self.pictures {
            // Since it was looked up, the sweeper may have removed it.
            if !uploads::mark_used(tx, tenant, key, now).await? {
                return Err(Error::BadRequest(
                    "An uploaded picture is not there any more; upload it again.".to_owned(),
                ));
            }
        }
        web_chats::set_files(tx, tenant, id, &self.pictures).await?;
        release(tx, tenant, &self.released).await?;
        if matches!(self.domain, DomainChange::Keep) {
            return Ok(());
        }
        custom_domains::delete_of_web_chat(tx, tenant, id).await?;
        if let DomainChange::Replace(domain) = &self.domain {
            if !custom_domains::insert(tx, tenant, domain).await? {
                return Err(Error::NotFound("web chat"));
            }
            let check = DomainCheck { domain: domain.id, missing_since: None };
            crate::domains::enqueue(tx, tenant, (self.check, check), (domain.created_at, domain.created_at)).await?;
        }
        Ok(())
    }
}

/// Lets uploads go that a web chat shows no more, unless something else shows them.
pub(crate) async fn release(tx: &mut Tx, tenant: Tenant, blob_keys: &[String]) -> Result<()> {
    for key in blob_keys {
        uploads::release(tx, tenant, key).await?;
    }
    Ok(())
}

fn change_row(web_chat: &mut WebChat, draft: &WebChatDraft, errors: &mut FieldErrors) {
    if let Some(name) = &draft.name {
        if name.trim().is_empty() {
            errors.add("name", "This field may not be blank.");
        } else if name.chars().count() > MAX_NAME {
            errors.add("name", format!("Ensure this field has no more than {MAX_NAME} characters."));
        }
        name.trim().clone_into(&mut web_chat.name);
    }
    let is_hidden = web_chat.access_type == "api";
    if let Some(chatbot) = draft.chatbot.filter(|chatbot| *chatbot != web_chat.chatbot_id) {
        if is_hidden {
            errors.add("chatbot", "This web chat belongs to its assistant.");
        }
        web_chat.chatbot_id = chatbot;
    }
    if let Some(access_type) = draft.access_type.as_ref().filter(|access_type| **access_type != web_chat.access_type) {
        if is_hidden {
            errors.add("accessType", "This web chat belongs to its assistant.");
        }
        check_choice("accessType", access_type, &ACCESS_TYPES, errors);
        web_chat.access_type.clone_from(access_type);
    }
    web_chat.is_active = draft.is_active.unwrap_or(web_chat.is_active);
    for (field, asked, limit) in [
        ("dailyReplyLimit", draft.daily_reply_limit, &mut web_chat.daily_reply_limit),
        ("dailyTokenLimit", draft.daily_token_limit, &mut web_chat.daily_token_limit),
    ] {
        if let Some(asked) = asked {
            if asked.is_some_and(|asked| !(0..=MAX_LIMIT).contains(&asked)) {
                errors.add(field, format!("Ensure this value is between 0 and {MAX_LIMIT}."));
            }
            *limit = asked;
        }
    }
}

/// The picture that a field names, or what is wrong with it. Nothing is ever fetched.
async fn read_picture(
    tx: &mut Tx,
    app: &App,
    tenant: Tenant,
    (scopes, value): (Scopes, Option<&str>),
) -> Result<Result<Option<Picture>, &'static str>> {
    let Some(value) = value.map(str::trim).filter(|value| !value.is_empty()) else { return Ok(Ok(None)) };
    if let Some(upload) = crate::uploads::resolve(app, tx, tenant, (scopes, Use::Picture), value).await? {
        return Ok(Ok(Some(Picture::Own { blob_key: upload.blob_key, filename: upload.filename })));
    }
    // A page that is served with TLS shows no picture without it.
    let is_foreign = value.starts_with("https://") && !value.starts_with(app.settings.public_url.as_str());
    if is_foreign && is_web_address(value) && value.chars().count() <= MAX_PICTURE {
        return Ok(Ok(Some(Picture::Web(value.to_owned()))));
    }
    Ok(Err("Use the key of a finished upload, one of our own file links, or an https address."))
}

/// A text that nobody can guess, behind a prefix that tells what it is.
pub(crate) fn random_token(prefix: &str) -> Result<String> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(|error| Error::internal("randomness", error))?;
    Ok(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes)))
}

fn new_domain(app: &App, web_chat: WebChatId, domain: String) -> Result<CustomDomain> {
    Ok(CustomDomain {
        id: app.new_id(),
        web_chat_id: web_chat,
        domain,
        status: "pending".to_owned(),
        token: random_token("")?,
        checked_at: None,
        verified_at: None,
        failure: None,
        created_at: app.now(),
    })
}

/// A domain's name in the form that DNS has, or what is wrong with it.
fn domain_name(app: &App, text: &str) -> Result<String, &'static str> {
    const WRONG: &str = "Enter a domain name such as chat.example.com.";
    let text = text.trim().trim_end_matches('.');
    // As part of an address it is checked and folded the way browsers do it.
    let plain = !text.contains(['/', '\\', '@', ':', '?', '#', '%', '*', '[']);
    let host = plain.then(|| url::Host::parse(text).ok()).flatten().ok_or(WRONG)?;
    let url::Host::Domain(domain) = host else { return Err(WRONG) };
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let labels: Vec<&str> = domain.split('.').collect();
    let top_is_a_name = labels.last().is_some_and(|top| !top.bytes().all(|byte| byte.is_ascii_digit()));
    if domain.len() > 253 || labels.len() < 2 || !labels.iter().all(|label| is_label(label)) || !top_is_a_name {
        return Err(WRONG);
    }
    if app.settings.public_url.host_str() == Some(domain.as_str()) {
        return Err("This is the server's own domain.");
    }
    Ok(domain)
}
