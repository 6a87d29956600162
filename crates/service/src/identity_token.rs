//! Proof by an embedding site of who its visitor is: a JSON Web Token, signed with the web chat's
//! secret.
//!
//! Only HMAC with SHA-256 is understood, whatever the token itself asks for (RFC 8725, section 3.1), and
//! only tokens made for this one web chat that end within a day.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use parlance_domain::Timestamp;
use parlance_domain::kind::WebChatId;
use serde_json::Value;
use sha2::Sha256;

/// A token ends at most this long after it is used.
const LONGEST: Duration = Duration::from_hours(24);
/// Clocks of two machines may be this far apart.
const LEEWAY: Duration = Duration::from_mins(1);
/// Bytes of a token.
const MAX_TOKEN: usize = 4096;
/// Characters of a name of somebody.
const MAX_NAME: usize = 255;

/// Who a visitor is, as the site proved it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The id of a contact, or what the site calls them.
    pub(crate) subject: String,
    /// Their name, for a contact who is made.
    pub(crate) name: Option<String>,
}

/// Reads a token. `None` unless it is good.
pub(crate) fn check(token: &str, secret: &[u8], web_chat: WebChatId, now: Timestamp) -> Option<Identity> {
    if token.len() > MAX_TOKEN {
        return None;
    }
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, payload) = signed.split_once('.')?;
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).ok()?;
    mac.update(signed.as_bytes());
    mac.verify_slice(&URL_SAFE_NO_PAD.decode(signature).ok()?).ok()?;
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
    // What `crit` names must be understood, and nothing is.
    if header.get("alg")?.as_str()? != "HS256" || header.get("crit").is_some() {
        return None;
    }
    let payload: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
    let is_ours = |audience: &Value| audience.as_str().and_then(WebChatId::parse) == Some(web_chat);
    let audience = payload.get("aud")?;
    if !is_ours(audience) && !audience.as_array().is_some_and(|audiences| audiences.iter().any(is_ours)) {
        return None;
    }
    let moment =
        |name: &str| payload.get(name).map(|value| value.as_f64().map(at)).map_or(Some(None), |at| at.map(Some));
    let end = moment("exp")??;
    if end <= now || end > now.plus(LONGEST).plus(LEEWAY) {
        return None;
    }
    for begin in ["nbf", "iat"] {
        if moment(begin)?.is_some_and(|begin| begin > now.plus(LEEWAY)) {
            return None;
        }
    }
    let text = |name: &str| payload.get(name).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
    let fits = |text: &str| text.chars().count() <= MAX_NAME && !text.contains('\0');
    let subject = text("sub").filter(|subject| fits(subject))?.to_owned();
    Some(Identity { subject, name: text("name").filter(|name| fits(name)).map(str::to_owned) })
}

/// Seconds since the epoch as a time.
fn at(seconds: f64) -> Timestamp {
    #[expect(clippy::cast_possible_truncation, reason = "a cast of a number that is too large gives the largest")]
    Timestamp::from_millis((seconds * 1000.0) as i64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);
    const SECRET: &[u8] = b"secret";

    fn web_chat(last: u128) -> WebChatId {
        WebChatId::from_uuid(uuid::Uuid::from_u128(last))
    }

    fn token(header: &Value, payload: &Value, secret: &[u8]) -> String {
        let signed = [header, payload].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
        mac.update(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
    }

    fn payload() -> Value {
        json!({"sub": "customer-7", "name": "王小明", "aud": web_chat(1).to_string(), "exp": 1_790_000_060, "iat": 1_790_000_000})
    }

    #[test]
    fn a_good_token_says_who_it_is() {
        let header = json!({"alg": "HS256", "typ": "JWT"});
        let mut several = payload();
        several["aud"] = json!(["other", web_chat(1).to_string()]);
        for payload in [payload(), several] {
            let identity = check(&token(&header, &payload, SECRET), SECRET, web_chat(1), NOW).unwrap();
            assert_eq!((identity.subject.as_str(), identity.name.as_deref()), ("customer-7", Some("王小明")));
        }
    }

    #[test]
    fn everything_else_is_refused() {
        let header = json!({"alg": "HS256"});
        let good = token(&header, &payload(), SECRET);
        assert!(check(&good, SECRET, web_chat(1), NOW).is_some());
        assert!(check(&good, b"other", web_chat(1), NOW).is_none());
        assert!(check(&good, SECRET, web_chat(2), NOW).is_none());
        for header in
            [json!({"alg": "none"}), json!({"alg": "HS512"}), json!({}), json!({"alg": "HS256", "crit": ["x"]})]
        {
            assert!(check(&token(&header, &payload(), SECRET), SECRET, web_chat(1), NOW).is_none(), "{header}");
        }
        for (claim, value) in [
            ("exp", json!(1_790_000_000)),
            ("exp", json!(1_790_000_000 + 86_400 + 61)),
            ("exp", json!("1790000060")),
            ("exp", Value::Null),
            ("nbf", json!(1_790_000_061)),
            ("iat", json!(1_790_000_061)),
            ("aud", json!("other")),
            ("aud", json!([])),
            ("sub", json!("")),
            ("sub", json!(7)),
            ("sub", json!("x".repeat(256))),
        ] {
            let mut payload = payload();
            payload[claim] = value.clone();
            assert!(check(&token(&header, &payload, SECRET), SECRET, web_chat(1), NOW).is_none(), "{claim} {value}");
        }
        let unsigned = format!("{}.", good.rsplit_once('.').unwrap().0);
        for bad in ["", ".", "..", "a.b.c", unsigned.as_str(), &"x".repeat(5000)] {
            assert!(check(bad, SECRET, web_chat(1), NOW).is_none());
        }
    }
}
