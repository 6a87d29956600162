//! Tokens for the voice agent.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parlance_service::voice::LiveKit;
use parlance_testkit::TestApp;
use secrecy::SecretString;
use serde_json::{Value, json};

async fn web_chat(app: &TestApp, has_voice: bool) -> String {
    let body = json!({"theme": {}, "darkTheme": {}, "chatbot": app.chatbot(), "enableVoiceAgent": has_voice});
    let made = app.owner().post("web-chats/", &body).await.body_of(201);
    format!("web-chats/{}/voice-agent/token/", made["id"].as_str().unwrap())
}

#[tokio::test]
async fn a_token_lets_its_caller_into_a_room_of_its_own() {
    let livekit = LiveKit {
        url: "wss://voice.example.com".into(),
        api_key: "APIexample".into(),
        api_secret: SecretString::from("a-secret-of-at-least-32-characters"),
    };
    let app = TestApp::builder().settings(move |settings| settings.livekit = Some(livekit)).start().await;
    let path = web_chat(&app, true).await;
    let made = app.owner().post(&path, &json!({"name": "whatever"})).await.body_of(200);
    for alias in ["url", "serverUrl", "livekitUrl"] {
        assert_eq!(made[alias], "wss://voice.example.com");
    }
    let token = made["token"].as_str().unwrap();
    let parts: Vec<&str> = token.split('.').collect();
    assert_eq!(parts.len(), 3);
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
    assert_eq!((&claims["iss"], &claims["sub"]), (&json!("APIexample"), &made["participantIdentity"]));
    let expected = json!({"room": made["roomName"], "roomJoin": true, "canPublish": true, "canSubscribe": true});
    assert_eq!(claims["video"], expected);
    let seconds = claims["exp"].as_i64().unwrap();
    assert_eq!(seconds - claims["nbf"].as_i64().unwrap(), 600);
    assert_eq!(made["expiresAt"].as_str().unwrap().parse::<i64>().unwrap() / 1000, seconds);
    let again = app.owner().post(&path, &json!({})).await.body_of(200);
    assert_ne!(again["roomName"], made["roomName"]);

    // A visitor talks to the page they are on, and to no other.
    let sessions = path.replace("voice-agent/token", "sessions");
    let session = app.nobody().post(&sessions, &json!({})).await.body_of(201);
    let visitor = app.with_header(&format!("Visitor {}", session["token"].as_str().unwrap()));
    let theirs = visitor.post(&path, &json!({})).await.body_of(200);
    assert!(theirs["participantIdentity"].as_str().unwrap().starts_with("contact-"), "{theirs}");
    let elsewhere = web_chat(&app, true).await;
    visitor.post(&elsewhere, &json!({})).await.expect(404).json();

    let off = web_chat(&app, false).await;
    let refused = app.owner().post(&off, &json!({})).await.body_of(403);
    assert_eq!(refused["detail"], "The voice agent of this web chat is off.");
    app.other_organisation().await.post(&path, &json!({})).await.expect(404).json();
    app.key("chatbots:read").await.post(&path, &json!({})).await.expect(403).json();
}

#[tokio::test]
async fn without_a_voice_server_there_is_no_token() {
    let app = TestApp::start().await;
    let path = web_chat(&app, true).await;
    let refused = app.owner().post(&path, &json!({})).await.body_of(503);
    assert_eq!(refused["code"], "unavailable");
    let off = web_chat(&app, false).await;
    app.owner().post(&off, &json!({})).await.expect(403).json();
}
