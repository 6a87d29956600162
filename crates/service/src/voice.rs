//! Tokens for the voice agent: with one, a person joins a room of the operator's `LiveKit` server.
//!
//! A token is a JWT signed with the server's secret (HS256). Its claims are those that `LiveKit`
//! documents: `iss` the API key, `sub` who joins, `nbf` and `exp`, and `video` with what is granted.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use parlance_domain::kind::WebChatId;
use parlance_domain::{Error, Principal, PrincipalKind, Result, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use sha2::Sha256;

use crate::{App, web_chats};

/// Time to join with a token; who has joined stays.
const VALID_FOR: Duration = Duration::from_mins(10);

/// The operator's `LiveKit` server.
#[derive(Clone, Debug)]
pub struct LiveKit {
    /// Where browsers reach it, `ws://` or `wss://`.
    pub url: String,
    /// Name of the secret.
    pub api_key: String,
    /// What tokens are signed with.
    pub api_secret: SecretString,
}

/// The right to join one room.
#[derive(Debug)]
pub struct VoiceToken {
    /// The JWT.
    pub token: String,
    /// Where the server is.
    pub url: String,
    /// The room, which is new.
    pub room: String,
    /// Who joins.
    pub identity: String,
    /// Until when it can be used.
    pub expires_at: Timestamp,
}

/// Lets a caller talk to the voice agent of a web chat.
///
/// # Errors
/// No such web chat, or another one than the visitor's; one without voice agent; no `LiveKit` server.
pub async fn token(app: &App, principal: &Principal, id: WebChatId) -> Result<VoiceToken> {
    if principal.visitor().is_some_and(|visitor| visitor.web_chat != id) {
        return Err(Error::NotFound("web chat"));
    }
    let web_chat = web_chats::get(app, principal.tenant, id).await?;
    if !web_chat.settings.flags.enable_voice_agent {
        return Err(Error::Refused("The voice agent of this web chat is off."));
    }
    let Some(server) = &app.settings.livekit else {
        return Err(Error::Unavailable("No voice server is configured.".to_owned()));
    };
    let identity = match principal.kind {
        PrincipalKind::Visitor(visitor) => format!("contact-{}", visitor.contact),
        PrincipalKind::ApiKey(key) => format!("key-{key}"),
    };
    // A room of its own for each conversation, which nobody can guess.
    let room = format!("web-chat-{id}-{}", crate::web_chats::random_token("")?);
    let now = app.now();
    let expires_at = now.plus(VALID_FOR);
    let token = sign(server, (&room, &identity), now, expires_at)?;
    Ok(VoiceToken { token, url: server.url.clone(), room, identity, expires_at })
}

fn sign(server: &LiveKit, (room, identity): (&str, &str), now: Timestamp, expires_at: Timestamp) -> Result<String> {
    let encode = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({
        "iss": server.api_key,
        "sub": identity,
        "nbf": now.millis() / 1000,
        "exp": expires_at.millis() / 1000,
        "video": {"room": room, "roomJoin": true, "canPublish": true, "canSubscribe": true},
    });
    let signed = format!("{}.{}", encode(&json!({"typ": "JWT", "alg": "HS256"})), encode(&claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(server.api_secret.expose_secret().as_bytes())
        .map_err(|error| Error::internal("signing a voice token", error))?;
    mac.update(signed.as_bytes());
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_byte_for_byte_what_another_library_makes() {
        let server = LiveKit {
            url: "wss://voice.example.com".into(),
            api_key: "APIexample".into(),
            api_secret: SecretString::from("a-secret-of-at-least-32-characters"),
        };
        let now = Timestamp::from_millis(1_800_000_000_123);
        let token = sign(&server, ("room-1", "contact-1"), now, now.plus(VALID_FOR)).unwrap();
        // PyJWT 2.15.1, `jwt.encode(claims, secret, algorithm="HS256", sort_headers=False)`.
        let expected = "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.\
            eyJpc3MiOiJBUElleGFtcGxlIiwic3ViIjoiY29udGFjdC0xIiwibmJmIjoxODAwMDAwMDAwLCJleHAiOjE4MDAwMDA2MDAsInZpZGVv\
            Ijp7InJvb20iOiJyb29tLTEiLCJyb29tSm9pbiI6dHJ1ZSwiY2FuUHVibGlzaCI6dHJ1ZSwiY2FuU3Vic2NyaWJlIjp0cnVlfX0.\
            mt8rCIU1bo42-WjMzINYpzyB9lo_rVdV1zB8tlBAXlU";
        assert_eq!(token, expected);
        assert!(!format!("{server:?}").contains("a-secret"));
    }
}
