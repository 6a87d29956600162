//! Who a visitor is: what the site proves counts, and who proved nothing is let in only where that is
//! allowed.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use parlance_service::authenticate::{authenticate, still_valid};
use parlance_service::streams::Retention;
use parlance_testkit::{Actor, TestApp};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::visitors::{arrive, ask, hello, session, web_chat};

/// A web chat and the secret with which its site proves who visitors are.
struct Site<'a> {
    app: &'a TestApp,
    page: String,
    secret: String,
}

impl<'a> Site<'a> {
    async fn of(app: &'a TestApp, settings: Value) -> Self {
        let page = web_chat(app, settings).await;
        let path = format!("web-chats/{page}/identity-secret/");
        let secret = app.owner().post(&path, &json!({})).await.body_of(200)["secret"].as_str().unwrap().to_owned();
        Self { app, page, secret }
    }

    /// A body that proves this subject.
    fn proof(&self, subject: &str) -> Value {
        let end = self.app.app.now().millis() / 1000 + 300;
        let claims = json!({"sub": subject, "aud": self.page, "exp": end});
        let signed = [json!({"alg": "HS256"}), claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes()).unwrap();
        mac.update(signed.as_bytes());
        json!({"identityToken": format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))})
    }

    /// Opens a session as `who` and gives the visitor with what was answered.
    async fn open(&self, who: &Actor, body: &Value) -> (Actor, Value) {
        let opened = arrive(who, &self.page, &[], body).await.body_of(201);
        (self.app.with_header(&format!("Visitor {}", opened["token"].as_str().unwrap())), opened)
    }

    async fn change(&self, change: Value) {
        self.app.owner().patch(&format!("web-chats/{}/", self.page), &change).await.expect(200).json();
    }

    /// Whether a visitor is still one.
    async fn lets_in(&self, visitor: &Actor) -> bool {
        visitor.get(&format!("web-chats/{}/", self.page)).await.status.as_u16() == 200
    }
}

#[tokio::test]
async fn another_person_on_the_same_browser_is_another_visitor() {
    let app = TestApp::start().await;
    let site = Site::of(&app, json!({})).await;
    let (alice, first) = site.open(&app.nobody(), &site.proof("alice")).await;
    let asked = ask(&alice, &site.page, hello()).await.body_of(200);
    // The page sends what the browser kept of Alice with the site's word about Bob.
    let (bob, second) = site.open(&alice, &site.proof("bob")).await;
    assert_ne!(second["contact"]["id"], first["contact"]["id"]);
    assert!(second.get("conversation").is_none(), "{second}");
    let path = format!("conversations/{}/", asked["conversationId"].as_str().unwrap());
    bob.get(&path).await.expect(404).json();
    alice.get(&path).await.expect(200).json();
    // A proof that is not good is not passed over either.
    arrive(&alice, &site.page, &[], &json!({"identityToken": "a.b.c"})).await.expect(403).json();
    // The same person goes on, with a proof and without one.
    for body in [site.proof("alice"), json!({})] {
        let (_, again) = site.open(&alice, &body).await;
        assert_eq!((&again["contact"], &again["conversation"]), (&first["contact"], &asked["conversationId"]));
    }
    let (_, known) = site.open(&bob, &site.proof(first["contact"]["id"].as_str().unwrap())).await;
    assert_eq!(known["contact"], first["contact"], "by the contact's id");
}

#[tokio::test]
async fn who_proved_nothing_is_out_when_that_is_asked_for() {
    let app = TestApp::start().await;
    let closing = [json!({"enableAnonymous": false}), json!({"accessType": "admin"})];
    let opening = [json!({"enableAnonymous": true}), json!({"accessType": "web"})];
    for (closing, opening) in closing.into_iter().zip(opening) {
        let site = Site::of(&app, json!({})).await;
        let (stranger, _) = session(&app, &site.page).await;
        let (known, _) = site.open(&app.nobody(), &site.proof("customer-7")).await;
        // Somebody who signs in later keeps their contact, and is known from then on.
        let (late, before) = session(&app, &site.page).await;
        let (late_again, after) = site.open(&late, &site.proof(before["contact"]["id"].as_str().unwrap())).await;
        assert_eq!(after["contact"], before["contact"]);
        let principal = authenticate(&app.app, stranger.authorization().map(str::as_bytes)).await.unwrap();
        assert!(still_valid(&app.app, &principal).await.unwrap());

        site.change(closing).await;
        assert!(!site.lets_in(&stranger).await);
        assert!(!still_valid(&app.app, &principal).await.unwrap(), "open streams end");
        arrive(&stranger, &site.page, &[], &json!({})).await.expect(401).json();
        arrive(&app.nobody(), &site.page, &[], &json!({})).await.expect(403).json();
        for who in [&known, &late_again, &late] {
            assert!(site.lets_in(who).await);
            let (renewed, _) = site.open(who, &json!({})).await;
            assert!(site.lets_in(&renewed).await);
        }
        site.change(opening).await;
        assert!(site.lets_in(&stranger).await);
    }
}

#[tokio::test]
async fn pages_of_one_person_that_open_at_once_are_one_visitor() {
    let app = TestApp::start().await;
    let site = Site::of(&app, json!({})).await;
    let proof = site.proof("customer-7");
    let nobody = app.nobody();
    let opened = futures_util::future::join_all((0..6).map(|_| site.open(&nobody, &proof))).await;
    for (_, one) in &opened {
        assert_eq!(one["contact"], opened[0].1["contact"]);
    }
    // And so are questions of a program for somebody whom it names for the first time.
    let question = json!({"sourceId": "caller-9", "message": {"content": "Hello?"}});
    let path = format!("chatbots/{}/completions/", app.chatbot());
    let owner = app.owner();
    let asked = futures_util::future::join_all((0..6).map(|_| owner.post(&path, &question))).await;
    for answer in asked {
        answer.expect(200).json();
    }
}

#[tokio::test]
async fn a_contact_of_two_web_chats_reaches_each_from_its_own_page() {
    // Answers that are followed again from memory, and such that are told from storage.
    for time in [Duration::from_mins(10), Duration::ZERO] {
        let app = TestApp::builder().retention(Retention { time, bytes: 1 << 20 }).start().await;
        let (one, two) = (Site::of(&app, json!({})).await, Site::of(&app, json!({})).await);
        let mut inboxes = Vec::new();
        for site in [&one, &two] {
            let shown = app.owner().get(&format!("web-chats/{}/", site.page)).await.body_of(200);
            inboxes.push(json!({"id": shown["inbox"]["id"]}));
        }
        let contact = app.owner().make("contacts/", &json!({"name": "Both", "inboxes": inboxes})).await;
        let (here, first) = one.open(&app.nobody(), &one.proof(&contact)).await;
        let (there, second) = two.open(&app.nobody(), &two.proof(&contact)).await;
        assert_eq!((&first["contact"]["id"], &second["contact"]["id"]), (&json!(contact), &json!(contact)));
        let answer = ask(&here, &one.page, hello()).await.body_of(200);
        let message = answer["messageId"].as_str().unwrap();
        here.get(&format!("messages/{message}/stream/")).await.expect(200);
        there.get(&format!("messages/{message}/stream/")).await.expect(404).json();
        there.post(&format!("messages/{message}/cancel/"), &json!({})).await.expect(404).json();
    }
}
