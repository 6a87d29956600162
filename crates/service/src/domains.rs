//! Custom domains: proving in DNS whose they are, and whose page is shown at one.
//!
//! A job asks DNS for a CNAME of the domain to the operator's name, or a TXT record of
//! `_parlance.<domain>` with the domain's token, and queues itself again:
//!
//! | status | not found | asked again |
//! |---|---|---|
//! | `pending` | stays so for a week, then `failed` | after as long as it has been asked for, 1 min to 6 h |
//! | `verified` | stays so for three days of nothing but that, then `failed` | each day, while not found each hour |
//! | `failed` | stays so | each day for 30 days after it was asked for or was last verified |
//!
//! Found, it is `verified` at once. Name servers that do not answer prove nothing: nothing that is
//! verified ends by that.
//!
//! Claiming a name keeps nobody else from it: several web chats, of whichever organisations, may wait for
//! the proof of one, and the first that has it excludes the others, whose claims fail. The token
//! says whose claim it proves; a CNAME to the operator's name, which is the same for all, does not. So it
//! proves a claim only while no other web chat has one of the same name, and else the token alone does. It
//! goes on proving what is verified already.

use std::net::SocketAddr;
use std::time::Duration;

use parlance_domain::kind::{CustomDomainId, JobId, WebChatId};
use parlance_domain::{Error, Result, Tenant, Timestamp};
use parlance_outbound::Dns;
use parlance_storage::custom_domains::CustomDomain;
use parlance_storage::jobs::{self, Job, NewJob};
use parlance_storage::{Scope, Tx, domain_checks, domain_claims};
use serde::{Deserialize, Serialize};

use crate::App;
use crate::ingest::write_held;

/// Name of the job.
pub const KIND: &str = "check-domain";

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
/// A new domain is proved within this time or has failed.
const PENDING_FOR: Duration = Duration::from_hours(7 * 24);
/// Longest pause between two checks of a new domain.
const PENDING_PAUSE: Duration = Duration::from_hours(6);
/// A verified domain fails when its proof was missing for this long.
const DOUBTED_FOR: Duration = Duration::from_hours(3 * 24);
/// A failed domain is not asked for any more after this time.
const FAILED_FOR: Duration = Duration::from_hours(30 * 24);

/// What is told of a claim when another web chat has proved the name.
const LOST: &str = "Another web chat has proved that this domain is its own.";

/// Where domains have to point and who is asked about it.
#[derive(Clone, Debug, Default)]
pub struct DomainSettings {
    /// The name that customers' domains are another name (CNAME) of; empty accepts TXT records alone.
    pub target: String,
    /// The name server to ask; `None` takes the system's.
    pub resolver: Option<SocketAddr>,
}

/// Arguments of the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainCheck {
    /// The domain.
    pub domain: CustomDomainId,
    /// Since when the proof of a verified domain is missing, milliseconds since 1970.
    pub missing_since: Option<i64>,
}

impl DomainCheck {
    /// The arguments of a job.
    ///
    /// # Errors
    /// When it holds others.
    pub fn of(job: &Job) -> Result<Self> {
        serde_json::from_str(&job.payload).map_err(|error| Error::internal("reading the check of a domain", error))
    }
}

/// Queues a check, in the caller's transaction. It takes the place of one that waits.
pub(crate) async fn enqueue(
    tx: &mut Tx,
    tenant: Tenant,
    (id, check): (JobId, DomainCheck),
    (run_at, now): (Timestamp, Timestamp),
) -> Result<()> {
    let payload = serde_json::to_string(&check).map_err(|error| Error::internal("queueing a domain", error))?;
    let unique_key = format!("{KIND}:{}", check.domain);
    let job = NewJob { id, kind: KIND, unique_key, payload, run_at };
    jobs::enqueue(tx, tenant, &job, now).await
}

/// What DNS says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Proof {
    Found,
    /// It is not there, for this reason.
    Missing(String),
    /// Nobody answered.
    Unknown,
    /// Another claim was proved.
    Lost,
}

/// What follows from a check.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Verdict {
    status: &'static str,
    failure: Option<String>,
    missing_since: Option<Timestamp>,
    /// `None`: not again.
    again_in: Option<Duration>,
}

/// Makes one check and queues the next. False when nobody wants it any more: the domain is gone, or
/// another worker has the job.
///
/// # Errors
/// When the database fails.
pub async fn run(app: &App, tenant: Tenant, job: &Job, check: DomainCheck) -> Result<bool> {
    let known = {
        let mut tx = app.db.read(tenant).await?;
        domain_checks::get(&mut tx, tenant, check.domain).await?
    };
    let Some(domain) = known else { return Ok(false) };
    let rivals = rivals(app, &domain.domain, Some(domain.id)).await?;
    let is_verified = domain.status == "verified";
    let is_lost = !is_verified && rivals.verified > 0;
    let proof = if is_lost {
        Proof::Lost
    } else {
        let is_alone = is_verified || rivals.claims == 0;
        look(&app.settings.domains, &domain, is_alone).await
    };
    let missing_since = check.missing_since.map(Timestamp::from_millis);
    let found = verdict(&domain, missing_since, proof, app.now());
    let is_new = found.status == "verified" && !is_verified;
    let is_done = match settle(app, tenant, job, &domain, found).await {
        // Another claim was proved at the same moment.
        Err(Error::Conflict(_)) if is_new => {
            let lost = verdict(&domain, missing_since, Proof::Lost, app.now());
            return settle(app, tenant, job, &domain, lost).await;
        }
        settled => settled?,
    };
    if is_done && is_new {
        end_others(app, &domain).await;
    }
    Ok(is_done)
}

/// Whether another web chat, of whichever organisation, has proved that a domain is its own. `own` is
/// the claim of the web chat that asks.
pub(crate) async fn is_taken(app: &App, domain: &str, own: Option<CustomDomainId>) -> Result<bool> {
    Ok(rivals(app, domain, own).await?.verified > 0)
}

async fn rivals(app: &App, domain: &str, own: Option<CustomDomainId>) -> Result<domain_claims::Rivals> {
    // They may be of any organisation; how many they are is all that is told.
    let mut tx = app.db.read(Scope::System).await?;
    domain_claims::rivals(&mut tx, domain, own).await
}

/// Tells those who wait for the proof of the same name that it is too late. Each would find that out at
/// its next check.
async fn end_others(app: &App, domain: &CustomDomain) {
    let (name, winner, now) = (domain.domain.clone(), domain.id, app.now());
    let ended = app.db.write(Scope::System, move |tx| {
        Box::pin(async move { domain_claims::end_others(tx, &name, winner, LOST, now).await })
    });
    if let Err(error) = ended.await {
        tracing::warn!(%error, domain = domain.domain, "other claims of a domain were not ended yet");
    }
}

/// Stores what follows from a check, and queues the next.
async fn settle(app: &App, tenant: Tenant, job: &Job, domain: &CustomDomain, verdict: Verdict) -> Result<bool> {
    if verdict.status != domain.status {
        tracing::info!(domain = domain.domain, status = verdict.status, "a custom domain changed");
    }
    let (domain, now) = (domain.clone(), app.now());
    let (next_id, held) = (app.new_id(), job.clone());
    write_held(app, tenant, job, move |tx| {
        Box::pin(async move {
            let outcome = (verdict.status, verdict.failure.as_deref());
            if !domain_checks::record(tx, tenant, domain.id, outcome, now).await? {
                return Ok(false);
            }
            match verdict.again_in {
                Some(pause) => {
                    let next =
                        DomainCheck { domain: domain.id, missing_since: verdict.missing_since.map(Timestamp::millis) };
                    enqueue(tx, tenant, (next_id, next), (now.plus(pause), now)).await?;
                }
                None => drop(jobs::finish(tx, tenant, &held).await?),
            }
            Ok(true)
        })
    })
    .await
}

/// Asks DNS. Unless the claim `is_alone`, a CNAME does not say whose the name is.
async fn look(settings: &DomainSettings, domain: &CustomDomain, is_alone: bool) -> Proof {
    // Who was asked and did not answer is for the operator alone.
    let unknown = |error| {
        tracing::warn!(domain = domain.domain, %error, "DNS could not be asked for a custom domain");
        Proof::Unknown
    };
    let dns = match Dns::new(settings.resolver).await {
        Ok(dns) => dns,
        Err(error) => return unknown(error),
    };
    let target = settings.target.trim_end_matches('.').to_ascii_lowercase();
    let place = proof_name(&domain.domain);
    let (names, texts) = tokio::join!(dns.cname(&domain.domain), dns.txt(&place));
    let points_here = !target.is_empty() && names.as_ref().is_ok_and(|names| names.contains(&target));
    let has_token = texts.as_ref().is_ok_and(|texts| texts.iter().any(|text| text.trim() == domain.token));
    if has_token || (points_here && is_alone) {
        return Proof::Found;
    }
    if points_here && texts.is_ok() {
        let missing = format!("DNS has no TXT record of {place} with the token.");
        return Proof::Missing(format!(
            "{missing} The CNAME record alone does not say whose of several web chats it is."
        ));
    }
    if let Some(error) = names.err().or(texts.err()) {
        return unknown(error);
    }
    let cname = if target.is_empty() { String::new() } else { format!("no CNAME record to {target} and ") };
    Proof::Missing(format!("DNS has {cname}no TXT record of {place} with the token."))
}

/// The records of which one proves a domain, as `(type, name, value)`.
pub fn wanted_records(settings: &DomainSettings, domain: &str, token: &str) -> Vec<(&'static str, String, String)> {
    let txt = ("TXT", proof_name(domain), token.to_owned());
    let cname = (!settings.target.is_empty()).then(|| ("CNAME", domain.to_owned(), settings.target.clone()));
    cname.into_iter().chain([txt]).collect()
}

/// Where the TXT record of a domain stands.
fn proof_name(domain: &str) -> String {
    format!("_parlance.{domain}")
}

fn verdict(domain: &CustomDomain, missing_since: Option<Timestamp>, proof: Proof, now: Timestamp) -> Verdict {
    let age =
        |since: Timestamp| Duration::from_millis(u64::try_from(now.millis() - since.millis()).unwrap_or_default());
    let silence = || Some("DNS did not answer; it is asked again.".to_owned());
    let is_verified = domain.status == "verified";
    let failure = match proof {
        Proof::Found => {
            return Verdict { status: "verified", failure: None, missing_since: None, again_in: Some(DAY) };
        }
        // What is verified is not doubted because nobody could be asked.
        Proof::Unknown if is_verified => {
            return Verdict { status: "verified", failure: silence(), missing_since, again_in: Some(HOUR) };
        }
        Proof::Lost => {
            let failure = Some(LOST.to_owned());
            return Verdict { status: "failed", failure, missing_since: None, again_in: None };
        }
        Proof::Unknown => silence(),
        Proof::Missing(reason) => Some(reason),
    };
    if is_verified {
        let since = missing_since.unwrap_or(now);
        return if age(since) < DOUBTED_FOR {
            Verdict { status: "verified", failure, missing_since: Some(since), again_in: Some(HOUR) }
        } else {
            Verdict { status: "failed", failure, missing_since: Some(since), again_in: Some(DAY) }
        };
    }
    let asked_for = age(domain.created_at);
    if domain.status == "pending" && asked_for < PENDING_FOR {
        let pause = asked_for.clamp(MINUTE, PENDING_PAUSE);
        return Verdict { status: "pending", failure, missing_since: None, again_in: Some(pause) };
    }
    // One that was verified once is looked for from when its proof went missing.
    let over = missing_since.map_or(asked_for, age) >= FAILED_FOR;
    Verdict { status: "failed", failure, missing_since, again_in: (!over).then_some(DAY) }
}

/// The web chat whose page is shown at the host of a request, if it is a verified domain of one.
/// `host` is the request's, with or without a port.
pub async fn web_chat_at(app: &App, host: &str) -> Result<Option<WebChatId>> {
    let name = host.rsplit_once(':').map_or(host, |(name, _port)| name);
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let is_name = name.len() <= 253
        && name.contains('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    if !is_name || app.settings.public_url.host_str() == Some(name.as_str()) {
        return Ok(None);
    }
    // Whose domain it is is what has to be found out.
    let mut tx = app.db.read(Scope::System).await?;
    domain_checks::web_chat_at(&mut tx, &name).await
}

/// The verified domains that are served with a certificate: at most `per_organisation` of each
/// organisation, those verified first, and at most `limit` in all.
pub async fn verified(app: &App, per_organisation: u32, limit: u32) -> Result<Vec<String>> {
    // Names of all organisations: whose they are decides nothing but how many.
    let mut tx = app.db.read(Scope::System).await?;
    domain_checks::verified(&mut tx, per_organisation, limit).await
}

/// Gives a job up whose arguments cannot be read.
pub async fn give_up(app: &App, tenant: Tenant, job: &Job, reason: String) -> Result<()> {
    tracing::error!(job = %job.id, reason, "a domain is not checked any more");
    let job = job.clone();
    app.db.write(tenant, move |tx| Box::pin(async move { jobs::finish(tx, tenant, &job).await.map(drop) })).await
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn domain(status: &str) -> CustomDomain {
        CustomDomain {
            id: parlance_domain::Ids.next(START),
            web_chat_id: parlance_domain::Ids.next(START),
            domain: "chat.example.com".into(),
            status: status.into(),
            token: "token".into(),
            checked_at: None,
            verified_at: None,
            failure: None,
            created_at: START,
        }
    }

    fn missing() -> Proof {
        Proof::Missing("nothing".into())
    }

    /// Checks again and again, each time when it is asked for. Gives how often, until the status changed
    /// or no check follows, and what it was then, after how long.
    fn run_until_change(status: &str, proof: &Proof) -> (usize, &'static str, Duration) {
        let (mut now, mut missing_since) = (START, None);
        for count in 1..2000 {
            let verdict = verdict(&domain(status), missing_since, proof.clone(), now);
            let after = Duration::from_millis(u64::try_from(now.millis() - START.millis()).unwrap());
            let Some(pause) = verdict.again_in.filter(|_| verdict.status == status) else {
                return (count, verdict.status, after);
            };
            missing_since = verdict.missing_since;
            now = now.plus(pause);
        }
        (2000, "no end", Duration::ZERO)
    }

    #[test]
    fn a_new_domain_has_a_week() {
        let (count, status, after) = run_until_change("pending", &missing());
        assert_eq!(status, "failed");
        assert!(after >= PENDING_FOR && after < PENDING_FOR + PENDING_PAUSE, "{after:?}");
        assert!((30..50).contains(&count), "{count} checks");
        let first = verdict(&domain("pending"), None, missing(), START);
        assert_eq!((first.status, first.again_in), ("pending", Some(MINUTE)));
        assert_eq!(first.failure.as_deref(), Some("nothing"));
    }

    #[test]
    fn a_verified_domain_is_doubted_for_days_and_only_by_an_answer() {
        let (count, status, after) = run_until_change("verified", &missing());
        assert_eq!((status, after), ("failed", DOUBTED_FOR));
        assert_eq!(count, 3 * 24 + 1);
        assert_eq!(run_until_change("verified", &Proof::Unknown).1, "no end");
        // An answer in between begins anew.
        let late = START.plus(DOUBTED_FOR);
        let found = verdict(&domain("verified"), Some(START), Proof::Found, late);
        assert_eq!((found.status, found.missing_since, found.again_in), ("verified", None, Some(DAY)));
    }

    #[test]
    fn a_claim_that_another_one_has_beaten_ends_at_once() {
        for status in ["pending", "failed"] {
            assert_eq!(run_until_change(status, &Proof::Lost), (1, "failed", Duration::ZERO));
        }
        let lost = verdict(&domain("pending"), None, Proof::Lost, START);
        assert_eq!((lost.failure.as_deref(), lost.again_in), (Some(LOST), None));
    }

    #[test]
    fn a_failed_domain_may_still_be_proved_for_a_month() {
        let (count, status, after) = run_until_change("failed", &missing());
        assert_eq!((count, status, after), (31, "failed", FAILED_FOR));
        assert_eq!(verdict(&domain("failed"), None, Proof::Found, START).status, "verified");
    }
}
