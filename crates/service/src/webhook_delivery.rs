//! Sending webhooks: one job for each endpoint that has something waiting.
//!
//! The job takes what is due from the outbox, sends it, notes what became of it, and goes on when
//! the next is due. An endpoint that does not answer so keeps its own deliveries waiting and nobody
//! else's. A crash between sending and noting sends once more, with the same `webhook-id`.

use std::time::{Duration, Instant, SystemTime};

use futures_util::future::join_all;
use parlance_domain::kind::ChatbotId;
use parlance_domain::{Error, Result, Tenant, Timestamp};
use parlance_outbound::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use parlance_outbound::{Limits, Method, Request, parse_url};
use parlance_storage::jobs::{self, Job};
use parlance_storage::webhooks::{self, Attempt, Delivery, Endpoint, Standing};
use parlance_storage::{Tx, chatbots};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::App;
use crate::webhook_signature::signatures;
use crate::webhooks::signing_keys;

/// Name of the job.
pub const KIND: &str = "webhook";

/// Pauses before each further attempt, give or take a tenth.
const PAUSES: [Duration; 6] = [
    Duration::from_secs(5),
    Duration::from_mins(1),
    Duration::from_mins(5),
    Duration::from_mins(30),
    Duration::from_hours(2),
    Duration::from_hours(6),
];
/// Longest pause that a receiver may ask for.
const LONGEST_PAUSE: Duration = Duration::from_hours(24);
/// An endpoint that did nothing but fail for this long is disabled.
const PATIENCE: Duration = Duration::from_hours(5 * 24);
/// Deliveries of one endpoint sent at the same time. While the endpoint fails: one.
const TOGETHER: i64 = 8;
/// Deliveries of a disabled endpoint ended at a time.
const ENDED_AT_ONCE: i64 = 100;

#[derive(Deserialize)]
struct Payload {
    chatbot: ChatbotId,
}

/// Where an assistant's webhooks go.
struct Target {
    chatbot: ChatbotId,
    url: Option<String>,
    endpoint: Endpoint,
    keys: Vec<Zeroizing<Vec<u8>>>,
}

impl Target {
    /// Why a delivery is not sent at all.
    fn refusal(&self, delivery: &Delivery) -> Option<&'static str> {
        if self.url.is_none() {
            return Some("not sent: the chatbot has no webhookUrl any more");
        }
        let is_disabled = self.endpoint.disabled_at.is_some() && !delivery.is_redelivery;
        is_disabled.then_some("not sent: the endpoint is disabled")
    }
}

/// What became of an attempt.
struct Verdict {
    status_code: Option<u16>,
    /// In words of our own: what the receiver says is nobody's business but its own.
    response: String,
    retry_after: Option<Duration>,
    took: Duration,
}

impl Verdict {
    fn is_success(&self) -> bool {
        self.status_code.is_some_and(|status| (200..300).contains(&status))
    }

    fn is_gone(&self) -> bool {
        self.status_code == Some(410)
    }
}

/// Sends what is due of an endpoint. False when the assistant is gone.
pub async fn run(app: &App, tenant: Tenant, job: &Job) -> Result<bool> {
    let payload: Payload = serde_json::from_str(&job.payload).map_err(|error| Error::internal("a job", error))?;
    let now = app.now();
    let (target, due) = {
        let mut tx = app.db.read(tenant).await?;
        let Some(chatbot) = chatbots::get(&mut tx, tenant, payload.chatbot).await? else { return Ok(false) };
        let endpoint = webhooks::endpoint(&mut tx, tenant, chatbot.id).await?.unwrap_or_default();
        let limit = match (&endpoint.disabled_at, &endpoint.failing_since) {
            (Some(_), _) => ENDED_AT_ONCE,
            (None, Some(_)) => 1,
            (None, None) => TOGETHER,
        };
        let due = webhooks::due(&mut tx, tenant, chatbot.id, now, limit).await?;
        let keys = signing_keys(app, tenant, chatbot.id, &endpoint, now)?;
        (Target { chatbot: chatbot.id, url: chatbot.webhook_url, endpoint, keys }, due)
    };
    let (refused, sent): (Vec<_>, Vec<_>) = due.into_iter().partition(|one| target.refusal(one).is_some());
    refuse(app, tenant, job, &target, refused).await?;
    for some in sent.chunks(usize::try_from(TOGETHER).unwrap_or(1)) {
        let attempts = some.iter().map(|delivery| attempt(app, tenant, job, &target, delivery));
        for noted in join_all(attempts).await {
            noted?;
        }
    }
    go_on(app, tenant, job, target.chatbot).await?;
    Ok(true)
}

/// Has the job run again when the next delivery is due, or ends it.
async fn go_on(app: &App, tenant: Tenant, job: &Job, chatbot: ChatbotId) -> Result<()> {
    let job = job.clone();
    app.db
        .write(tenant, move |tx| {
            Box::pin(async move {
                // First, so that nothing is added between looking and going.
                if !jobs::is_held(tx, tenant, &job).await? {
                    return Ok(());
                }
                match webhooks::next_due(tx, tenant, chatbot).await? {
                    Some(due) => jobs::go_on(tx, tenant, &job, due).await.map(drop),
                    None => jobs::finish(tx, tenant, &job).await.map(drop),
                }
            })
        })
        .await
}

/// Ends deliveries that are not to be sent.
async fn refuse(app: &App, tenant: Tenant, job: &Job, target: &Target, refused: Vec<Delivery>) -> Result<()> {
    if refused.is_empty() {
        return Ok(());
    }
    let now = app.now();
    let ended: Vec<(Attempt, Standing<'static>)> = refused
        .into_iter()
        .map(|delivery| {
            let standing = Standing { status: "failed", attempts: delivery.attempts, next_attempt_at: now };
            let response = target.refusal(&delivery).unwrap_or_default().to_owned();
            let verdict = Verdict { status_code: None, response, retry_after: None, took: Duration::ZERO };
            (attempt_row(app, &delivery, delivery.url.clone(), &verdict), standing)
        })
        .collect();
    let job = job.clone();
    app.db
        .write(tenant, move |tx| {
            Box::pin(async move {
                if !jobs::is_held(tx, tenant, &job).await? {
                    return Ok(());
                }
                for (attempt, standing) in &ended {
                    webhooks::insert_attempt(tx, tenant, attempt).await?;
                    webhooks::set_standing(tx, tenant, attempt.delivery_id, *standing).await?;
                }
                Ok(())
            })
        })
        .await
}

fn attempt_row(app: &App, delivery: &Delivery, url: String, verdict: &Verdict) -> Attempt {
    Attempt {
        id: app.new_id(),
        delivery_id: delivery.id,
        chatbot_id: delivery.chatbot_id,
        url,
        status_code: verdict.status_code.map(i64::from),
        response: verdict.response.clone(),
        duration_millis: i64::try_from(verdict.took.as_millis()).unwrap_or(i64::MAX),
        created_at: app.now(),
    }
}

/// Sends one delivery and notes what became of it.
async fn attempt(app: &App, tenant: Tenant, job: &Job, target: &Target, delivery: &Delivery) -> Result<()> {
    let url = target.url.clone().unwrap_or_default();
    let verdict = send(app, &url, &target.keys, delivery).await?;
    metrics::counter!("parlance_webhook_attempts_total", "end" => if verdict.is_success() { "ok" } else { "failed" })
        .increment(1);
    if !verdict.is_success() {
        tracing::info!(chatbot = %target.chatbot, delivery = %delivery.id, response = verdict.response,
            "a webhook was not delivered");
    }
    let row = attempt_row(app, delivery, url, &verdict);
    let (job, delivery, chatbot) = (job.clone(), delivery.clone(), target.chatbot);
    app.db
        .write(tenant, move |tx| {
            Box::pin(async move {
                if !jobs::is_held(tx, tenant, &job).await? {
                    return Ok(());
                }
                webhooks::insert_attempt(tx, tenant, &row).await?;
                note(tx, tenant, chatbot, &delivery, &verdict, row.created_at).await
            })
        })
        .await
}

/// Decides between done, again and never again, and what it says about the endpoint.
async fn note(
    tx: &mut Tx,
    tenant: Tenant,
    chatbot: ChatbotId,
    delivery: &Delivery,
    verdict: &Verdict,
    now: Timestamp,
) -> Result<()> {
    let attempts = delivery.attempts + 1;
    if verdict.is_success() {
        webhooks::enable(tx, tenant, chatbot).await?;
        let standing = Standing { status: "succeeded", attempts, next_attempt_at: now };
        return webhooks::set_standing(tx, tenant, delivery.id, standing).await;
    }
    let failing_since = webhooks::note_failure(tx, tenant, chatbot, now).await?;
    if verdict.is_gone() {
        disable(tx, tenant, chatbot, "It answered 410 (gone).", now).await?;
    } else if failing_since <= now.minus(PATIENCE) {
        disable(tx, tenant, chatbot, "It did nothing but fail for five days.", now).await?;
    }
    // As it is now: another attempt may have disabled it meanwhile.
    let is_disabled = webhooks::endpoint(tx, tenant, chatbot).await?.is_some_and(|now| now.disabled_at.is_some());
    let standing = match pause(delivery, attempts).filter(|_| !is_disabled) {
        Some(pause) => {
            let asked = verdict.retry_after.unwrap_or_default().min(LONGEST_PAUSE);
            Standing { status: "pending", attempts, next_attempt_at: now.plus(pause.max(asked)) }
        }
        None => Standing { status: "failed", attempts, next_attempt_at: now },
    };
    webhooks::set_standing(tx, tenant, delivery.id, standing).await
}

/// Disables an endpoint and has what waits for it ended now.
async fn disable(tx: &mut Tx, tenant: Tenant, chatbot: ChatbotId, reason: &str, now: Timestamp) -> Result<()> {
    tracing::warn!(%chatbot, reason, "a webhook endpoint is disabled");
    webhooks::disable(tx, tenant, chatbot, reason, now).await?;
    webhooks::advance(tx, tenant, chatbot, now).await
}

/// The pause after this many attempts; `None` when there is no further one. It varies by up to a
/// tenth from delivery to delivery, so that they do not come back all at once.
fn pause(delivery: &Delivery, attempts: i64) -> Option<Duration> {
    let pause = usize::try_from(attempts - 1).ok().and_then(|number| PAUSES.get(number))?;
    let digest = Sha256::digest(format!("{}|{attempts}", delivery.id));
    let fraction = f64::from(u16::from_le_bytes([digest[0], digest[1]])) / f64::from(u16::MAX);
    Some(pause.mul_f64(0.9 + 0.2 * fraction))
}

/// Makes the request. An error only when it could not be made up.
async fn send(app: &App, url: &str, keys: &[Zeroizing<Vec<u8>>], delivery: &Delivery) -> Result<Verdict> {
    let began = Instant::now();
    let timeout = app.settings.webhook_timeout;
    // A header is all that is waited for: nothing of the body is of interest.
    let limits = Limits { headers_timeout: timeout, total_timeout: timeout, ..app.outbound.limits() };
    let answer = match parse_url(url) {
        Ok(url) => {
            let mut request = Request::new(Method::POST, url);
            *request.headers_mut() = headers(keys, delivery, app.now())?;
            *request.body_mut() = Some(delivery.body.clone().into());
            app.outbound.send_within(request, limits).await
        }
        Err(error) => Err(error),
    };
    let took = began.elapsed();
    Ok(match answer {
        Ok(answer) => {
            let status = answer.status().as_u16();
            let note = if answer.status().is_redirection() { " (redirects are not followed)" } else { "" };
            let retry_after = answer.header("retry-after").and_then(|value| retry_after(value, app.now()));
            Verdict { status_code: Some(status), response: format!("HTTP {status}{note}"), retry_after, took }
        }
        Err(error) => Verdict { status_code: None, response: error.to_string(), retry_after: None, took },
    })
}

fn headers(keys: &[Zeroizing<Vec<u8>>], delivery: &Delivery, now: Timestamp) -> Result<HeaderMap> {
    let (id, seconds) = (delivery.id.to_string(), now.millis() / 1000);
    let fields = [
        ("webhook-signature", signatures(keys, &id, seconds, &delivery.body)?),
        ("webhook-id", id),
        ("webhook-timestamp", seconds.to_string()),
    ];
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in fields {
        let value = HeaderValue::try_from(value).map_err(|error| Error::internal("a webhook's header", error))?;
        headers.insert(HeaderName::from_static(name), value);
    }
    Ok(headers)
}

/// The time that `Retry-After` asks to wait: seconds or a date.
fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(value).ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let now = Duration::from_millis(u64::try_from(now.millis()).ok()?);
    Some(until.saturating_sub(now))
}

#[cfg(test)]
mod tests {
    use parlance_domain::Ids;

    use super::*;

    fn delivery() -> Delivery {
        let now = Timestamp::from_millis(1_800_000_000_000);
        Delivery {
            id: Ids.next(now),
            chatbot_id: Ids.next(now),
            message_id: Ids.next(now),
            url: String::new(),
            body: String::new(),
            status: "pending".to_owned(),
            attempts: 0,
            is_redelivery: false,
            next_attempt_at: now,
            created_at: now,
        }
    }

    #[test]
    fn seven_attempts_within_a_tenth_of_the_schedule() {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let delivery = delivery();
            for (number, planned) in PAUSES.iter().enumerate() {
                let pause = pause(&delivery, i64::try_from(number).unwrap() + 1).unwrap();
                assert!(pause >= planned.mul_f64(0.9) && pause <= planned.mul_f64(1.1), "{pause:?} {planned:?}");
                seen.insert(pause);
            }
            assert_eq!(pause(&delivery, 7), None);
        }
        assert!(seen.len() > 1000, "they vary");
    }

    #[test]
    fn a_receiver_says_when_in_seconds_or_by_date() {
        let now = Timestamp::from_millis(1_800_000_000_000);
        assert_eq!(retry_after(" 120 ", now), Some(Duration::from_mins(2)));
        assert_eq!(retry_after("Fri, 15 Jan 2027 08:01:00 GMT", now), Some(Duration::from_mins(1)));
        assert_eq!(retry_after("Fri, 15 Jan 2027 07:01:00 GMT", now), Some(Duration::ZERO));
        for nonsense in ["", "-1", "soon", "1.5", "99999999999999999999"] {
            assert_eq!(retry_after(nonsense, now), None, "{nonsense}");
        }
    }
}
