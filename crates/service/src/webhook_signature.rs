//! Signatures of webhooks, as the Standard Webhooks specification has them: HMAC-SHA-256 over
//! `id.timestamp.body`, so that a receiver knows who sent a body and when.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use parlance_domain::{Error, Result};
use sha2::Sha256;
use zeroize::Zeroizing;

/// What a secret begins with; base64 follows.
const PREFIX: &str = "whsec_";
/// Random bytes of a secret. The specification asks for 24 to 64.
const SECRET_BYTES: usize = 32;

/// A new secret in the form that receivers are given.
pub(crate) fn new_secret() -> Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new([0_u8; SECRET_BYTES]);
    getrandom::fill(bytes.as_mut()).map_err(|error| Error::internal("randomness", error))?;
    Ok(Zeroizing::new(format!("{PREFIX}{}", STANDARD.encode(bytes.as_ref()))))
}

/// The key in a secret that [`new_secret`] made.
pub(crate) fn key_of(secret: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let encoded = secret.strip_prefix(PREFIX.as_bytes()).ok_or_else(|| Error::bug("a stored webhook secret"))?;
    STANDARD.decode(encoded).map(Zeroizing::new).map_err(|error| Error::internal("a stored webhook secret", error))
}

/// The value of `webhook-signature`: one signature for each key, the newest first.
pub(crate) fn signatures(keys: &[Zeroizing<Vec<u8>>], id: &str, seconds: i64, body: &str) -> Result<String> {
    let mut all = Vec::with_capacity(keys.len());
    for key in keys {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(|error| Error::internal("signing", error))?;
        for part in [id, ".", &seconds.to_string(), ".", body] {
            mac.update(part.as_bytes());
        }
        all.push(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())));
    }
    Ok(all.join(" "))
}

#[cfg(test)]
#[path = "webhook_signature_tests.rs"]
mod tests;
