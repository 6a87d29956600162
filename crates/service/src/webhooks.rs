//! Webhooks of an assistant: the outbox of its replies, the secret that signs them, and what became
//! of them. Sending is in [`crate::webhook_delivery`].

use std::time::Duration;

use parlance_domain::kind::{ChatbotId, MessageId, WebhookAttemptId};
use parlance_domain::{Error, Result, Tenant, Timestamp};
use parlance_storage::jobs::{self, NewJob};
use parlance_storage::secrets::Place;
use parlance_storage::webhooks::{self, Delivery, Endpoint, LoggedAttempt};
use parlance_storage::{Listing, Page, Scope, Tx, chatbots};
use zeroize::Zeroizing;

use crate::webhook_signature::{key_of, new_secret};
use crate::{App, webhook_delivery};

/// How long the secret before the present one signs as well.
const OVERLAP: Duration = Duration::from_hours(24);
/// Ended deliveries removed at a time.
const FORGOTTEN_AT_ONCE: i64 = 500;

fn place(tenant: Tenant, row: &str) -> Place<'_> {
    Place { tenant, table: "webhook_endpoints", row, column: "secret" }
}

/// A secret, which is shown this once.
#[derive(Debug)]
pub struct NewSecret {
    /// `whsec_` and base64.
    pub secret: Zeroizing<String>,
    /// Until when the secret before it signs as well; `None` for the first.
    pub previous_valid_until: Option<Timestamp>,
}

/// Makes a new secret for an assistant's webhooks. The one before it signs as well for a day.
pub async fn rotate_secret(app: &App, tenant: Tenant, chatbot: ChatbotId) -> Result<NewSecret> {
    let now = app.now();
    let secret = new_secret()?;
    let sealed = app.master_key.seal(&place(tenant, &chatbot.to_string()), secret.as_bytes())?;
    let until = now.plus(OVERLAP);
    let had_one = app
        .db
        .write(tenant, move |tx| {
            Box::pin(async move {
                chatbots::get(tx, tenant, chatbot).await?.ok_or(Error::NotFound("chatbot"))?;
                let before = webhooks::endpoint(tx, tenant, chatbot).await?;
                webhooks::set_secret(tx, tenant, chatbot, (&sealed, until), now).await?;
                Ok(before.is_some_and(|before| before.secret_sealed.is_some()))
            })
        })
        .await?;
    Ok(NewSecret { secret, previous_valid_until: had_one.then_some(until) })
}

/// The keys that sign now, the newest first.
pub(crate) fn signing_keys(
    app: &App,
    tenant: Tenant,
    chatbot: ChatbotId,
    endpoint: &Endpoint,
    now: Timestamp,
) -> Result<Vec<Zeroizing<Vec<u8>>>> {
    let Some(secret) = &endpoint.secret_sealed else {
        // Nobody has asked for a secret, so nobody can check; the header is there all the same.
        let unknown = app.master_key.derive(&format!("webhooks|{}|{chatbot}", tenant.organisation()))?;
        return Ok(vec![Zeroizing::new(unknown.to_vec())]);
    };
    let row = chatbot.to_string();
    let mut keys = vec![key_of(&app.master_key.open(&place(tenant, &row), secret)?)?];
    if let Some(previous) = &endpoint.previous_secret_sealed
        && endpoint.previous_until.is_some_and(|until| now < until)
    {
        keys.push(key_of(&app.master_key.open(&place(tenant, &row), previous)?)?);
    }
    Ok(keys)
}

/// Puts a reply into the outbox, in the transaction that stores it. The caller rings the bell of
/// the jobs after the commit.
pub(crate) async fn put(tx: &mut Tx, app: &App, tenant: Tenant, reply: &NewDelivery) -> Result<()> {
    let now = app.now();
    let delivery = Delivery {
        id: app.new_id(),
        chatbot_id: reply.chatbot,
        message_id: reply.message,
        url: reply.url.clone(),
        body: reply.body.clone(),
        status: "pending".to_owned(),
        attempts: 0,
        is_redelivery: false,
        next_attempt_at: now,
        created_at: now,
    };
    webhooks::insert(tx, tenant, &delivery).await?;
    wake(tx, app, tenant, reply.chatbot).await
}

/// A reply to put into the outbox.
#[derive(Clone, Debug)]
pub(crate) struct NewDelivery {
    pub(crate) chatbot: ChatbotId,
    pub(crate) message: MessageId,
    pub(crate) url: String,
    pub(crate) body: String,
}

/// Has the job of an endpoint look at its deliveries, now or after its present attempt.
async fn wake(tx: &mut Tx, app: &App, tenant: Tenant, chatbot: ChatbotId) -> Result<()> {
    let now = app.now();
    let job = NewJob {
        id: app.new_id(),
        kind: webhook_delivery::KIND,
        unique_key: format!("{}:{chatbot}", webhook_delivery::KIND),
        payload: serde_json::json!({"chatbot": chatbot}).to_string(),
        run_at: now,
    };
    jobs::enqueue_or_advance(tx, tenant, &job, now).await
}

/// A page of the attempts to deliver an assistant's replies, newest first, with its name.
pub async fn records(
    app: &App,
    tenant: Tenant,
    chatbot: ChatbotId,
    page: Page,
) -> Result<(String, Listing<LoggedAttempt>)> {
    let mut tx = app.db.read(tenant).await?;
    let chatbot = chatbots::get(&mut tx, tenant, chatbot).await?.ok_or(Error::NotFound("chatbot"))?;
    let listing = webhooks::attempts(&mut tx, tenant, chatbot.id, page).await?;
    Ok((chatbot.name, listing))
}

/// Sends what an attempt sent once more, with the same id, from the first attempt of the schedule
/// on; also to a disabled endpoint, which works again when it answers. Gives the attempt with how its
/// delivery stands.
pub async fn redeliver(
    app: &App,
    tenant: Tenant,
    chatbot: ChatbotId,
    id: WebhookAttemptId,
) -> Result<(String, LoggedAttempt)> {
    let (now, writer) = (app.now(), app.clone());
    let found = app
        .db
        .write(tenant, move |tx| {
            Box::pin(async move {
                let chatbot = chatbots::get(tx, tenant, chatbot).await?.ok_or(Error::NotFound("chatbot"))?;
                if chatbot.webhook_url.is_none() {
                    return Err(Error::Conflict("the chatbot has no webhookUrl".to_owned()));
                }
                let known = webhooks::attempt(tx, tenant, chatbot.id, id).await?;
                let known = known.ok_or(Error::NotFound("webhook record"))?;
                // The job first, in the same order as the job itself takes its rows.
                wake(tx, &writer, tenant, chatbot.id).await?;
                webhooks::ask_again(tx, tenant, known.attempt.delivery_id, now).await?;
                let asked = webhooks::attempt(tx, tenant, chatbot.id, id).await?;
                Ok((chatbot.name, asked.unwrap_or(known)))
            })
        })
        .await?;
    app.job_bell.notify_one();
    Ok(found)
}

/// Removes deliveries that ended longer ago than they are kept. Gives how many.
pub async fn sweep(app: &App) -> Result<u64> {
    let before = app.now().minus(app.settings.webhooks_kept_for);
    let mut removed = 0;
    loop {
        let some = app
            .db
            .write(Scope::System, move |tx| {
                Box::pin(async move { webhooks::forget(tx, before, FORGOTTEN_AT_ONCE).await })
            })
            .await?;
        removed += some;
        if some == 0 {
            return Ok(removed);
        }
    }
}
