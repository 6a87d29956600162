//! Tokens of visitors: a type of their own, which no API key can be mistaken for.
//!
//! A token is the id of a session, the end of its time and an HMAC over both. It says nothing by itself:
//! what it stands for is read from the session's row, so that taking that back ends the token.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use parlance_domain::kind::{VisitorSessionId, WebChatId};
use parlance_domain::{Error, Principal, Result, Timestamp};
use parlance_storage::secrets::MasterKey;
use sha2::Sha256;
use zeroize::Zeroizing;

/// A session that was taken back ends within this time on every node.
const CACHE_TIME: Duration = Duration::from_secs(3);
/// Sessions remembered at most.
const CACHE_SIZE: usize = 10_000;

/// Makes and checks tokens, and remembers whose they were a moment ago.
pub struct VisitorTokens {
    key: Zeroizing<[u8; 32]>,
    known: Mutex<HashMap<VisitorSessionId, (Instant, Principal)>>,
}

impl std::fmt::Debug for VisitorTokens {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("VisitorTokens")
    }
}

impl VisitorTokens {
    /// With a key derived from the master key.
    pub fn new(master_key: &MasterKey) -> Result<Self> {
        Ok(Self { key: master_key.derive("visitor tokens")?, known: Mutex::default() })
    }

    fn mac(&self, signed: &str) -> Result<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.as_ref())
            .map_err(|error| Error::internal("signing a visitor's token", error))?;
        mac.update(signed.as_bytes());
        Ok(mac)
    }

    /// A token for a session that ends at `expires_at`.
    pub fn sign(&self, session: VisitorSessionId, expires_at: Timestamp) -> Result<String> {
        let signed = format!("{}.{}", session.uuid().simple(), expires_at.millis());
        let signature = self.mac(&signed)?.finalize().into_bytes();
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// The session of a genuine token whose time is not over.
    pub fn session(&self, token: &str, now: Timestamp) -> Option<VisitorSessionId> {
        if token.len() > 256 {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        self.mac(signed).ok()?.verify_slice(&URL_SAFE_NO_PAD.decode(signature).ok()?).ok()?;
        let (session, expires_at) = signed.split_once('.')?;
        let in_time = now < Timestamp::from_millis(expires_at.parse().ok()?);
        in_time.then(|| VisitorSessionId::parse(session)).flatten()
    }

    fn known(&self) -> MutexGuard<'_, HashMap<VisitorSessionId, (Instant, Principal)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, session: VisitorSessionId) -> Option<Principal> {
        let known = self.known();
        known.get(&session).filter(|(since, _)| since.elapsed() < CACHE_TIME).map(|(_, principal)| *principal)
    }

    pub(crate) fn put(&self, session: VisitorSessionId, principal: Principal) {
        let mut known = self.known();
        if known.len() >= CACHE_SIZE {
            known.retain(|_, (since, _)| since.elapsed() < CACHE_TIME);
        }
        if known.len() < CACHE_SIZE {
            known.insert(session, (Instant::now(), principal));
        }
    }

    /// Forgets the visitors of a web chat that was changed or removed.
    pub fn forget(&self, web_chat: WebChatId) {
        self.known().retain(|_, (_, principal)| principal.visitor().is_none_or(|visitor| visitor.web_chat != web_chat));
    }
}
