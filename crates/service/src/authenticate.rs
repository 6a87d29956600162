//! From a credential to a [`Principal`]: the only place where one is made from a request.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use parlance_domain::kind::{ApiKeyId, ChatbotId, UserId, VisitorSessionId, WebChatId};
use parlance_domain::{Error, Principal, PrincipalKind, Reach, Result, Role, Scopes, Tenant, Timestamp, Visitor};
use parlance_storage::api_keys::{self, ApiKey};
use parlance_storage::{Scope, Tx, groups, members, visitor_sessions};
use sha2::{Digest, Sha256};

use crate::App;
use crate::rate_limit::Kind;
use crate::visitor_sessions::is_good;
use crate::web_chats::WebChatView;

/// A revoked key stops working within this time on every node.
const CACHE_TIME: Duration = Duration::from_secs(3);
/// Keys remembered at most.
const CACHE_SIZE: usize = 10_000;

const MISSING: &str = "Authentication credentials were not provided.";
const FORMAT: &str = "Invalid API key format.";
const UNKNOWN: &str = "Invalid API key.";
pub(crate) const UNKNOWN_VISITOR: &str = "Invalid visitor token.";

/// Keys that were looked up a moment ago, by the hash of the whole key.
#[derive(Debug, Default)]
pub struct KeyCache {
    known: Mutex<HashMap<[u8; 32], Remembered>>,
}

/// A key that was looked up, and when.
#[derive(Clone, Copy, Debug)]
struct Remembered {
    principal: Principal,
    expires_at: Option<Timestamp>,
    since: Instant,
}

impl KeyCache {
    fn get(&self, hash: &[u8; 32]) -> Option<(Principal, Option<Timestamp>)> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .get(hash)
            .filter(|remembered| remembered.since.elapsed() < CACHE_TIME)
            .map(|remembered| (remembered.principal, remembered.expires_at))
    }

    fn put(&self, hash: [u8; 32], principal: Principal, expires_at: Option<Timestamp>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= CACHE_SIZE {
            known.retain(|_, remembered| remembered.since.elapsed() < CACHE_TIME);
        }
        if known.len() < CACHE_SIZE {
            known.insert(hash, Remembered { principal, expires_at, since: Instant::now() });
        }
    }

    /// Forgets the keys of an organisation whose people or their permissions changed.
    pub fn forget_organisation(&self, tenant: Tenant) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, remembered| !remembered.principal.tenant.is_same_organisation(tenant));
    }

    /// Forgets a key that was just revoked.
    pub fn forget(&self, id: ApiKeyId) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, remembered| remembered.principal.kind != PrincipalKind::ApiKey(id));
    }
}

/// The hash under which a key is stored.
pub fn key_hash(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

/// Whether the caller may ask once more now.
///
/// # Errors
/// [`Error::RateLimited`] when the key or its organisation has asked too often.
pub fn admit(app: &App, principal: &Principal) -> Result<()> {
    let (now, settings) = (Instant::now(), &app.settings);
    match principal.kind {
        PrincipalKind::ApiKey(id) => app.rate_limits.check(Kind::ApiKey, &id, settings.key_rate, now)?,
        // Visitors have limits of their own; they must not use up what programs have.
        PrincipalKind::Visitor(visitor) => {
            return app.rate_limits.check(Kind::Visitor, &visitor.contact, settings.visitor_rate, now);
        }
    }
    let organisation = principal.tenant.organisation();
    app.rate_limits.check(Kind::Organisation, &organisation, settings.organisation_rate, now)
}

/// Notes that a credential from this address was not good.
///
/// # Errors
/// [`Error::RateLimited`] when there were too many.
pub fn note_refusal(app: &App, address: IpAddr) -> Result<()> {
    app.rate_limits.check(Kind::Refused, &address, app.settings.refused_rate, Instant::now())
}

/// What a stored key allows now: its own scopes, as far as the role of its user and their groups
/// allow them, and how far it reaches. `None` when it is not good (any more).
async fn effective(
    tx: &mut Tx,
    tenant: Tenant,
    key: &ApiKey,
    now: Timestamp,
) -> Result<Option<(Scopes, Option<Reach>)>> {
    if key.revoked_at.is_some() || key.expires_at.is_some_and(|end| end <= now) {
        return Ok(None);
    }
    let Some(user) = members::get(tx, tenant, key.user_id).await? else { return Ok(None) };
    let own = Scopes::parse(&key.scopes);
    let role = Role::parse(&user.role);
    let reach = match role {
        Some(role) if !role.is_limited_by_groups() => None,
        _ => groups::chatbots_of(tx, tenant, user.id).await?.map(|chatbots| reach(user.id, &chatbots)),
    };
    // A role that this release does not know allows nothing.
    let role = role.map_or(Scopes::NONE, Role::scopes);
    if own & role == own {
        return Ok(Some((own, reach)));
    }
    let groups = groups::permissions_of(tx, tenant, user.id).await?;
    let given = groups.iter().fold(role, |given, group| given | Scopes::parse(group));
    Ok(Some((own & given, reach)))
}

/// The reach of a user whose groups name these chatbots.
fn reach(user: UserId, chatbots: &[ChatbotId]) -> Reach {
    let mut hasher = Sha256::new();
    for chatbot in chatbots {
        hasher.update(chatbot.uuid().as_bytes());
    }
    let digest = hasher.finalize();
    let first = digest.iter().take(8).fold(0, |number, byte| (number << 8) | u64::from(*byte));
    Reach { user, chatbots: first }
}

/// Whether a credential that was good when a stream began still is, and allows all that it allowed
/// then, with the same reach or none that limits it. For streams that stay open; [`crate::open_streams`] asks for all of them.
pub async fn still_valid(app: &App, principal: &Principal) -> Result<bool> {
    match principal.kind {
        PrincipalKind::ApiKey(id) => {
            let mut tx = app.db.read(principal.tenant).await?;
            let Some(key) = api_keys::get(&mut tx, principal.tenant, id).await? else { return Ok(false) };
            let now = effective(&mut tx, principal.tenant, &key, app.now()).await?;
            Ok(now.is_some_and(|(scopes, reach)| {
                let reaches_as_far = reach.is_none() || reach == principal.tenant.reach();
                reaches_as_far && scopes & principal.scopes == principal.scopes
            }))
        }
        PrincipalKind::Visitor(visitor) => {
            let mut tx = app.db.read(principal.tenant).await?;
            let footing = visitor_sessions::footing(&mut tx, principal.tenant, visitor, app.now()).await?;
            Ok(footing.is_some_and(|footing| is_good(&footing)))
        }
    }
}

/// Who the value of an `Authorization` header belongs to.
pub async fn authenticate(app: &App, authorization: Option<&[u8]>) -> Result<Principal> {
    let header = authorization.ok_or(Error::Unauthenticated(MISSING))?;
    let header = std::str::from_utf8(header).map_err(|_not_text| Error::Unauthenticated(FORMAT))?.trim();
    if header.is_empty() {
        return Err(Error::Unauthenticated(MISSING));
    }
    let key = match header.split_once(' ') {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case("api-key") => key.trim(),
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("visitor") => {
            return Box::pin(visitor(app, token.trim())).await;
        }
        _ => return Err(Error::Unauthenticated(FORMAT)),
    };
    if key.is_empty() || key.len() > 256 || !key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Err(Error::Unauthenticated(FORMAT));
    }
    let hash = key_hash(key);
    let now = app.now();
    let alive = |expires_at: Option<Timestamp>| expires_at.is_none_or(|end| now < end);
    if let Some((principal, expires_at)) = app.keys.get(&hash) {
        return if alive(expires_at) { Ok(principal) } else { Err(Error::Unauthenticated(UNKNOWN)) };
    }
    // On the heap: most requests do not come to this, and all would keep room for it.
    Box::pin(look_up(app, hash, now)).await
}

async fn look_up(app: &App, hash: [u8; 32], now: Timestamp) -> Result<Principal> {
    let mut tx = app.db.read(Scope::System).await?;
    let stored = api_keys::by_hash(&mut tx, &hex::encode(hash)).await?;
    let stored = stored.ok_or(Error::Unauthenticated(UNKNOWN))?;
    let tenant = Tenant::authenticated(stored.organisation);
    let allowed = effective(&mut tx, tenant, &stored, now).await?;
    let (scopes, reach) = allowed.ok_or(Error::Unauthenticated(UNKNOWN))?;
    let kind = PrincipalKind::ApiKey(stored.id);
    let principal = Principal { tenant: tenant.within(reach), user: Some(stored.user_id), kind, scopes };
    app.keys.put(hash, principal, stored.expires_at);
    Ok(principal)
}

/// Whom a visitor's token stands for, by its session's row.
async fn visitor(app: &App, token: &str) -> Result<Principal> {
    const WRONG: Error = Error::Unauthenticated(UNKNOWN_VISITOR);
    let now = app.now();
    let session = app.visitors.session(token, now).ok_or(WRONG)?;
    if let Some(principal) = app.visitors.get(session) {
        return Ok(principal);
    }
    let stored = {
        let mut tx = app.db.read(Scope::System).await?;
        visitor_sessions::live(&mut tx, session).await?
    };
    let stored = stored.filter(|stored| now < stored.expires_at && is_good(&stored.footing)).ok_or(WRONG)?;
    let visitor = Visitor { web_chat: stored.web_chat_id, inbox: stored.inbox_id, contact: stored.contact_id };
    let principal = Principal {
        tenant: Tenant::authenticated(stored.organisation),
        user: None,
        kind: PrincipalKind::Visitor(visitor),
        scopes: Scopes::NONE,
    };
    app.visitors.put(session, principal);
    Ok(principal)
}

/// The session whose token is in the value of an `Authorization` header.
pub fn visitor_session(app: &App, authorization: Option<&[u8]>) -> Option<VisitorSessionId> {
    let (_, token) = std::str::from_utf8(authorization?).ok()?.trim().split_once(' ')?;
    app.visitors.session(token.trim(), app.now())
}

/// The web chat that somebody without a credential asks for: the one thing of an organisation that is
/// found by its id alone. What of it they are shown is for the caller to limit.
pub async fn public_web_chat(app: &App, id: WebChatId) -> Result<WebChatView> {
    let mut tx = app.db.read(Scope::System).await?;
    let found = parlance_storage::web_chats::public(&mut tx, id).await?;
    let (organisation, details) = found.ok_or(Error::NotFound("web chat"))?;
    Ok(WebChatView::new(Tenant::authenticated(organisation), details))
}
