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
use parlance_testkit::{ManualClock, NameServer, TestApp};
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
