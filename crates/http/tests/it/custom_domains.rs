//! Custom domains: proved by a name server of the test, shown by the host of a request.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Path;
use axum::routing::get;
use http::Request;
use parlance_domain::Timestamp;
use parlance_service::domains::DomainSettings;
use parlance_testkit::{Actor, ManualClock, NameServer, TestApp};
use serde_json::{Value, json};
use tower::ServiceExt;

const DOMAIN: &str = "chat.example.com";
const TARGET: &str = "pages.parlance.example";

struct World {
    app: TestApp,
    clock: Arc<ManualClock>,
    dns: NameServer,
    web_chat: String,
}

impl World {
    async fn new() -> Self {
        let dns = NameServer::start().await;
        let clock = Arc::new(ManualClock::starting_at(Timestamp::from_millis(1_800_000_000_000)));
        let settings = DomainSettings { target: TARGET.into(), resolver: Some(dns.address()) };
        let app = TestApp::builder().clock(&clock).settings(move |all| all.domains = settings).start().await;
        let body = json!({"theme": {}, "darkTheme": {}, "customDomain": {"domain": DOMAIN}, "chatbot": app.chatbot()});
        let made = app.owner().post("web-chats/", &body).await.body_of(201);
        assert_eq!(made["customDomain"]["status"], "pending");
        Self { clock, dns, web_chat: made["id"].as_str().unwrap().to_owned(), app }
    }

    async fn domain(&self) -> Value {
        self.app.owner().get(&format!("web-chats/{}/", self.web_chat)).await.body_of(200)["customDomain"].clone()
    }

    /// Lets time pass and does what is due. Gives the status then.
    async fn after(&self, time: Duration) -> String {
        self.clock.advance(time);
        self.app.run_jobs().await;
        self.domain().await["status"].as_str().unwrap().to_owned()
    }

    /// What a browser is shown at an address of a host.
    async fn shown(&self, host: &str, path: &str) -> String {
        let routes = Router::new()
            .route("/", get(async || "home"))
            .route("/web-chats/{id}", get(async |Path(id): Path<String>| id))
            .route("/docs", get(async || "docs"));
        let service = parlance_http::with_custom_domains(self.app.app.clone(), routes);
        let request = Request::get(path).header("Host", host).body(Body::empty()).unwrap();
        let answer = service.oneshot(request).await.unwrap();
        assert_eq!(answer.status(), 200, "{host} {path}");
        String::from_utf8(to_bytes(answer.into_body(), 1000).await.unwrap().to_vec()).unwrap()
    }
}

const HOUR: Duration = Duration::from_hours(1);

/// A web chat with its domain as the organisation sees it.
struct Claim {
    actor: Actor,
    path: String,
}

impl Claim {
    /// Claims the domain for a new web chat.
    async fn new(actor: Actor) -> Self {
        let chatbot = actor.make("chatbots/", &json!({"name": "Bot"})).await;
        let body = json!({"theme": {}, "darkTheme": {}, "customDomain": {"domain": DOMAIN}, "chatbot": chatbot});
        let id = actor.make("web-chats/", &body).await;
        Self { actor, path: format!("web-chats/{id}/") }
    }

    async fn domain(&self) -> Value {
        self.actor.get(&self.path).await.body_of(200)["customDomain"].clone()
    }

    async fn status(&self) -> (String, String) {
        let domain = self.domain().await;
        let text = |key: &str| domain[key].as_str().unwrap_or_default().to_owned();
        (text("status"), text("failure"))
    }

    async fn token(&self) -> String {
        self.domain().await["dnsRecords"][1]["value"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn of_several_claims_the_token_decides_and_the_others_fail() {
    let world = World::new().await;
    let first = Claim { actor: world.app.owner(), path: format!("web-chats/{}/", world.web_chat) };
    let foreign = Claim::new(world.app.other_organisation().await).await;
    let own = Claim::new(world.app.owner()).await;
    assert_ne!(first.token().await, foreign.token().await);

    // The same name in DNS for all of them says nothing.
    world.dns.set_cname(DOMAIN, TARGET);
    assert_eq!(world.after(HOUR).await, "pending");
    for claim in [&first, &foreign, &own] {
        let (status, failure) = claim.status().await;
        assert_eq!(status, "pending");
        assert!(failure.contains("TXT") && failure.contains("several web chats"), "{failure}");
    }
    assert_eq!(world.shown(DOMAIN, "/").await, "home");

    world.dns.set_txt(&format!("_parlance.{DOMAIN}"), &[&foreign.token().await]);
    assert_eq!(world.after(HOUR * 7).await, "failed");
    assert_eq!(foreign.status().await, ("verified".to_owned(), String::new()));
    for claim in [&first, &own] {
        let (status, failure) = claim.status().await;
        assert_eq!(status, "failed");
        assert!(failure.contains("Another web chat has proved"), "{failure}");
    }
    assert_eq!(world.shown(DOMAIN, "/").await, foreign.path.replace("web-chats", "").replace('/', ""));

    // From now on nobody else may even claim it, and the CNAME goes on proving what is verified.
    let claim =
        json!({"customDomain": {"domain": DOMAIN}, "theme": {}, "darkTheme": {}, "chatbot": world.app.chatbot()});
    let refused = world.app.owner().post("web-chats/", &claim).await.body_of(400);
    assert!(refused["customDomain"]["domain"].is_array(), "{refused}");
    world.dns.set_txt(&format!("_parlance.{DOMAIN}"), &["something else"]);
    assert_eq!(world.after(HOUR * 24 * 8).await, "failed", "a lost claim is not asked for again");
    assert_eq!(foreign.status().await.0, "verified");

    // Given up, it is free again.
    foreign.actor.patch(&foreign.path, &json!({"customDomain": null})).await.expect(200).json();
    for claim in [&first, &own] {
        claim.actor.patch(&claim.path, &json!({"customDomain": null})).await.expect(200).json();
    }
    first.actor.patch(&first.path, &json!({"customDomain": {"domain": DOMAIN}})).await.expect(200).json();
    assert_eq!(world.after(Duration::ZERO).await, "verified", "alone, the CNAME is enough");
}

#[tokio::test]
async fn who_claims_a_name_first_does_not_keep_its_owner_from_it() {
    let world = World::new().await;
    let path = format!("web-chats/{}/", world.web_chat);
    world.app.owner().patch(&path, &json!({"customDomain": null})).await.expect(200).json();
    let squatter = Claim::new(world.app.other_organisation().await).await;
    world.app.run_jobs().await;
    world.clock.advance(HOUR * 24 * 6);
    world.app.run_jobs().await;
    assert_eq!(squatter.status().await.0, "pending");
    let owner = Claim::new(world.app.owner()).await;
    world.dns.set_txt(&format!("_parlance.{DOMAIN}"), &[&owner.token().await]);
    world.app.run_jobs().await;
    assert_eq!((owner.status().await.0, squatter.status().await.0), ("verified".to_owned(), "failed".to_owned()));
}

#[tokio::test]
async fn a_domain_is_proved_by_its_token_and_shows_its_page_at_the_root_alone() {
    let world = World::new().await;
    assert_eq!(world.after(Duration::ZERO).await, "pending");
    let domain = world.domain().await;
    assert!(domain["failure"].as_str().unwrap().contains(TARGET), "{domain}");
    let records = domain["dnsRecords"].as_array().unwrap();
    assert_eq!(records[0], json!({"type": "CNAME", "name": DOMAIN, "value": TARGET}));
    assert_eq!((&records[1]["type"], &records[1]["name"]), (&json!("TXT"), &json!(format!("_parlance.{DOMAIN}"))));
    assert_eq!(world.shown(DOMAIN, "/").await, "home", "not proved yet");

    world.dns.set_txt(&format!("_parlance.{DOMAIN}"), &["something else"]);
    assert_eq!(world.after(HOUR).await, "pending");
    world.dns.set_txt(&format!("_parlance.{DOMAIN}"), &["something else", records[1]["value"].as_str().unwrap()]);
    assert_eq!(world.after(HOUR * 7).await, "verified");
    assert!(world.domain().await["failure"].is_null());

    for host in [DOMAIN, "CHAT.example.com", "chat.example.com:8443", "chat.example.com."] {
        assert_eq!(world.shown(host, "/").await, world.web_chat, "{host}");
        assert_eq!(world.shown(host, "/?lang=zh").await, world.web_chat);
        assert_eq!(world.shown(host, "/docs").await, "docs", "nothing else is decided by the host");
    }
    for host in ["example.com", "other.example.com", "localhost", "127.0.0.1", "chat.example.com.evil.example", "'"] {
        assert_eq!(world.shown(host, "/").await, "home", "{host}");
    }

    let path = format!("web-chats/{}/", world.web_chat);
    world.app.owner().patch(&path, &json!({"customDomain": null})).await.expect(200).json();
    assert_eq!(world.shown(DOMAIN, "/").await, "home");
    world.clock.advance(HOUR * 48);
    world.app.run_jobs().await;
}

#[tokio::test]
async fn a_proof_that_is_gone_for_days_ends_the_domain_and_silence_does_not() {
    let world = World::new().await;
    world.dns.set_cname(DOMAIN, &format!("{TARGET}."));
    assert_eq!(world.after(Duration::ZERO).await, "verified");

    world.dns.fail();
    for _ in 0..5 {
        assert_eq!(world.after(HOUR * 24).await, "verified", "nobody could be asked");
    }
    assert!(world.domain().await["failure"].as_str().unwrap().contains("did not answer"));
    world.dns.clear();
    assert_eq!(world.after(HOUR * 24).await, "verified", "one answer is not enough");
    assert_eq!(world.shown(DOMAIN, "/").await, world.web_chat);
    assert_eq!(world.after(HOUR * 71).await, "verified");
    assert_eq!(world.after(HOUR).await, "failed");
    assert_eq!(world.shown(DOMAIN, "/").await, "home");
    world.dns.set_cname(DOMAIN, TARGET);
    assert_eq!(world.after(HOUR * 24).await, "verified", "it may come back");
    assert_eq!(world.shown(DOMAIN, "/").await, world.web_chat);
}
