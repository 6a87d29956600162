//! Who asks too often is told when to come back; others do not notice.

use parlance_service::client_address::TrustedProxies;
use parlance_service::rate_limit::Rate;
use parlance_testkit::{Actor, Answer, Method, TestApp};
use serde_json::json;

async fn statuses(actor: &Actor, count: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..count {
        statuses.push(actor.get("chatbots/").await.status.as_u16());
    }
    statuses
}

fn check_refusal(answer: &Answer) {
    let seconds: u64 = answer.header("retry-after").parse().unwrap();
    assert!((1..=1800).contains(&seconds), "{seconds}");
    let body = answer.clone().body_of(429);
    assert_eq!(body["code"], "throttled");
    assert!(body["detail"].as_str().unwrap().starts_with("too many requests"), "{body}");
}

#[tokio::test]
async fn a_key_and_an_organisation_have_limits_of_their_own() {
    let rate = |requests| Rate { requests, period: std::time::Duration::from_hours(1) };
    let app = TestApp::builder()
        .settings(move |settings| {
            settings.key_rate = rate(3);
            settings.organisation_rate = rate(5);
        })
        .start()
        .await;
    let (first, second) = (app.key("*").await, app.key("*").await);
    assert_eq!(statuses(&first, 5).await, [200, 200, 200, 429, 429]);
    check_refusal(&first.get("chatbots/").await);
    assert_eq!(statuses(&second, 3).await, [200, 200, 429], "the organisation's five are gone");
    check_refusal(&second.post("chatbots/", &json!({"name": "Not made"})).await);
    let other = app.other_organisation().await;
    let list = other.get("chatbots/").await.body_of(200);
    assert_eq!(list["count"], 0);
    assert_eq!(app.nobody().get("/healthz").await.status.as_u16(), 200);
}

#[tokio::test]
async fn bad_credentials_are_counted_by_address() {
    let ask = async |actor: &Actor, forwarded: &str| {
        let request = actor.request(Method::GET, "chatbots/").header("x-forwarded-for", forwarded);
        actor.send(request).await.status.as_u16()
    };
    let rate = Rate { requests: 2, period: std::time::Duration::from_hours(1) };
    let app = TestApp::builder().settings(move |settings| settings.refused_rate = rate).start().await;
    let guesser = app.with_header("Api-Key guess");
    assert_eq!(ask(&guesser, "9.9.9.1").await, 401);
    assert_eq!(ask(&app.nobody(), "9.9.9.2").await, 401);
    assert_eq!(ask(&guesser, "9.9.9.3").await, 429, "the header of a stranger changes nothing");
    check_refusal(&guesser.get("chatbots/").await);
    assert_eq!(ask(&app.owner(), "9.9.9.3").await, 200);

    let change = move |settings: &mut parlance_service::settings::Settings| {
        settings.refused_rate = rate;
        settings.trusted_proxies = TrustedProxies::parse("127.0.0.1").unwrap();
    };
    let app = TestApp::builder().settings(change).start().await;
    let guesser = app.with_header("Api-Key guess");
    for _ in 0..2 {
        assert_eq!(ask(&guesser, "9.9.9.1").await, 401);
    }
    assert_eq!(ask(&guesser, "9.9.9.1").await, 429);
    assert_eq!(ask(&guesser, "9.9.9.2").await, 401);
}
