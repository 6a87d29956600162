//! Webhooks: the outbox of an assistant's replies, the attempts to deliver them, and the state of
//! the endpoint they go to. An assistant has one endpoint, the address in its settings.
//!
//! A delivery is written in the transaction of the message it tells of; its id is the `webhook-id`
//! that the receiver sees, the same for every attempt.

use parlance_domain::kind::{ChatbotId, MessageId, WebhookAttemptId, WebhookDeliveryId};
use parlance_domain::{Result, Tenant, Timestamp};

use crate::page::{Listing, Page, collect};
use crate::tx::{Tx, execute, fault, on_tx};

/// What is known of an assistant's endpoint besides its address.
#[derive(Clone, Debug, Default, PartialEq, sqlx::FromRow)]
pub struct Endpoint {
    /// The sealed secret that signs; `None` until one was asked for.
    pub secret_sealed: Option<Vec<u8>>,
    /// The sealed secret before it.
    pub previous_secret_sealed: Option<Vec<u8>>,
    /// Until when the secret before it signs as well.
    pub previous_until: Option<Timestamp>,
    /// The first failure since the last success.
    pub failing_since: Option<Timestamp>,
    /// Since when nothing is sent any more.
    pub disabled_at: Option<Timestamp>,
    /// Why, as a sentence.
    pub disabled_reason: Option<String>,
}

/// What is known of an assistant's endpoint; `None` when nothing was noted of it yet.
pub async fn endpoint(tx: &mut Tx, tenant: Tenant, chatbot: ChatbotId) -> Result<Option<Endpoint>> {
    on_tx!(tx, db => sqlx::query_as(
        "SELECT secret_sealed, previous_secret_sealed, previous_until, failing_since, disabled_at, disabled_reason \
         FROM webhook_endpoints WHERE org_id = $1 AND chatbot_id = $2")
        .bind(tenant.organisation()).bind(chatbot).fetch_optional(db).await)
    .map_err(fault)
}

/// Makes sure that there is a row to note something in, if the organisation has such an assistant.
async fn ensure_endpoint(tx: &mut Tx, tenant: Tenant, chatbot: ChatbotId, now: Timestamp) -> Result<()> {
    execute!(
        tx,
        sqlx::query(
            "INSERT INTO webhook_endpoints (org_id, chatbot_id, created_at) \
             SELECT $1, id, $3 FROM chatbots WHERE org_id = $1 AND id = $2 ON CONFLICT (chatbot_id) DO NOTHING"
        )
        .bind(tenant.organisation())
        .bind(chatbot)
        .bind(now)
    )
    .map(drop)
}

/// Puts a new secret in the place of the present one, which goes on signing until `previous_until`.
pub async fn set_secret(
    tx: &mut Tx,
    tenant: Tenant,
    chatbot: ChatbotId,
    (sealed, previous_until): (&[u8], Timestamp),
    now: Timestamp,
) -> Result<()> {
    ensure_endpoint(tx, tenant, chatbot, now).await?;
    execute!(
        tx,
        sqlx::query(
            "UPDATE webhook_endpoints SET previous_secret_sealed = secret_sealed, previous_until = $4, \
             secret_sealed = $3 WHERE org_id = $1 AND chatbot_id = $2"
        )
        .bind(tenant.organisation())
        .bind(chatbot)
        .bind(sealed)
        .bind(previous_until)
    )
    .map(drop)
}

/// Notes a failed attempt. Gives the first failure since the last success, which may be this one.
pub async fn note_failure(tx: &mut Tx, tenant: Tenant, chatbot: ChatbotId, now: Timestamp) -> Result<Timestamp> {
    ensure_endpoint(tx, tenant, chatbot, now).await?;
    execute!(
        tx,
        sqlx::query(
            "UPDATE webhook_endpoints SET failing_since = $3 \
             WHERE org_id = $1 AND chatbot_id = $2 AND failing_since IS NULL"
        )
        .bind(tenant.organisation())
        .bind(chatbot)
        .bind(now)
    )?;
    let since = endpoint(tx, tenant, chatbot).await?.and_then(|endpoint| endpoint.failing_since);
    Ok(since.unwrap_or(now))
}

/// Stops sending to an endpoint. One that is disabled already keeps its time and reason.
pub async fn disable(tx: &mut Tx, tenant: Tenant, chatbot: ChatbotId, reason: &str, now: Timestamp) -> Result<()> {
    execute!(
        tx,
        sqlx::query(
            "UPDATE webhook_endpoints SET disabled_at = $3, disabled_reason = $4 \
             WHERE org_id = $1 AND chatbot_id = $2 AND disabled_at IS NULL"
        )
        .bind(tenant.organisation())
        .bind(chatbot)
        .bind(now)
        .bind(reason)
    )
    .map(drop)
}

/// Forgets failures of an endpoint and sends to it again: it answered, or its address was written.
pub async fn enable(tx: &mut Tx, tenant: Tenant, chatbot: ChatbotId) -> Result<()> {
    execute!(
        tx,
        sqlx::query(
            "UPDATE webhook_endpoints SET failing_since = NULL, disabled_at = NULL, disabled_reason = NULL \
             WHERE org_id = $1 AND chatbot_id = $2 AND (failing_since IS NOT NULL OR disabled_at IS NOT NULL)"
        )
        .bind(tenant.organisation())
        .bind(chatbot)
    )
    .map(drop)
}

/// A reply that is to be sent, or was.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Delivery {
    /// The `webhook-id`.
    pub id: WebhookDeliveryId,
    /// The assistant.
    pub chatbot_id: ChatbotId,
    /// The reply. It has one delivery at most.
    pub message_id: MessageId,
    /// The address when the reply was made.
    pub url: String,
    /// What is sent, JSON, the same bytes each time.
    pub body: String,
    /// `pending`, `succeeded` or `failed`.
    pub status: String,
    /// Attempts since it was made or last asked for again.
    pub attempts: i64,
    /// Whether a person asked for it again; such a delivery goes to a disabled endpoint too.
    pub is_redelivery: bool,
    /// Not before this, while it is pending.
    pub next_attempt_at: Timestamp,
    /// When the reply was made.
    pub created_at: Timestamp,
}

macro_rules! columns {
    () => {
        "id, chatbot_id, message_id, url, body, status, attempts, is_redelivery, next_attempt_at, created_at"
    };
}

/// Adds a delivery to the outbox. A message has one at most; a second is ignored.
pub async fn insert(tx: &mut Tx, tenant: Tenant, delivery: &Delivery) -> Result<()> {
    execute!(
        tx,
        sqlx::query(
            "INSERT INTO webhook_deliveries (org_id, id, chatbot_id, message_id, url, body, status, attempts, \
             is_redelivery, next_attempt_at, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
             ON CONFLICT (message_id) DO NOTHING"
        )
        .bind(tenant.organisation())
        .bind(delivery.id)
        .bind(delivery.chatbot_id)
        .bind(delivery.message_id)
        .bind(&delivery.url)
        .bind(&delivery.body)
        .bind(&delivery.status)
        .bind(delivery.attempts)
        .bind(delivery.is_redelivery)
        .bind(delivery.next_attempt_at)
        .bind(delivery.created_at)
    )
    .map(drop)
}

/// One delivery.
pub async fn get(tx: &mut Tx, tenant: Tenant, id: WebhookDeliveryId) -> Result<Option<Delivery>> {
    on_tx!(tx, db => sqlx::query_as(
        concat!("SELECT ", columns!(), " FROM webhook_deliveries WHERE org_id = $1 AND id = $2"))
        .bind(tenant.organisation()).bind(id).fetch_optional(db).await)
    .map_err(fault)
}

/// Pending deliveries of an assistant whose time has come, the longest waiting first.
pub async fn due(tx: &mut Tx, tenant: Tenant, chatbot: ChatbotId, now: Timestamp, limit: i64) -> Result<Vec<Delivery>> {
    on_tx!(tx, db => sqlx::query_as(concat!(
        "SELECT ", columns!(), " FROM webhook_deliveries WHERE org_id = $1 AND chatbot_id = $2 AND status = 'pending' \
         AND next_attempt_at <= $3 ORDER BY next_attempt_at, id LIMIT $4"))
        .bind(tenant.organisation()).bind(chatbot).bind(now).bind(limit).fetch_all(db).await)
    .map_err(fault)
}

/// When the next pending delivery of an assistant may be tried; `None` when none is pending.
pub async fn next_due(tx: &mut Tx, tenant: Tenant, chatbot: ChatbotId) -> Result<Option<Timestamp>> {
    on_tx!(tx, db => sqlx::query_scalar(
        "SELECT min(next_attempt_at) FROM webhook_deliveries \
         WHERE org_id = $1 AND chatbot_id = $2 AND status = 'pending'")
        .bind(tenant.organisation()).bind(chatbot).fetch_one(db).await)
    .map_err(fault)
}

/// Notes how a delivery stands after an attempt.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    /// `pending`, `succeeded` or `failed`.
    pub status: &'a str,
    /// Attempts so far.
    pub attempts: i64,
    /// Not before this, while it is pending.
    pub next_attempt_at: Timestamp,
}

/// Notes how a delivery stands.
pub async fn set_standing(tx: &mut Tx, tenant: Tenant, id: WebhookDeliveryId, standing: Standing<'_>) -> Result<()> {
    execute!(
        tx,
        sqlx::query(
            "UPDATE webhook_deliveries SET status = $3, attempts = $4, next_attempt_at = $5 \
             WHERE org_id = $1 AND id = $2"
        )
        .bind(tenant.organisation())
        .bind(id)
        .bind(standing.status)
        .bind(standing.attempts)
        .bind(standing.next_attempt_at)
    )
    .map(drop)
}

/// Has everything that is pending for an assistant looked at now.
pub async fn advance(tx: &mut Tx, tenant: Tenant, chatbot: ChatbotId, now: Timestamp) -> Result<()> {
    execute!(
        tx,
        sqlx::query(
            "UPDATE webhook_deliveries SET next_attempt_at = $3 \
             WHERE org_id = $1 AND chatbot_id = $2 AND status = 'pending' AND next_attempt_at > $3"
        )
        .bind(tenant.organisation())
        .bind(chatbot)
        .bind(now)
    )
    .map(drop)
}

/// Makes a delivery pending again from its first attempt on, whatever became of it.
pub async fn ask_again(tx: &mut Tx, tenant: Tenant, id: WebhookDeliveryId, now: Timestamp) -> Result<bool> {
    execute!(
        tx,
        sqlx::query(
            "UPDATE webhook_deliveries SET status = 'pending', attempts = 0, is_redelivery = TRUE, \
             next_attempt_at = $3 WHERE org_id = $1 AND id = $2"
        )
        .bind(tenant.organisation())
        .bind(id)
        .bind(now)
    )
    .map(|changed| changed > 0)
}

/// An attempt to deliver.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Attempt {
    /// Its id.
    pub id: WebhookAttemptId,
    /// The delivery.
    pub delivery_id: WebhookDeliveryId,
    /// The assistant.
    pub chatbot_id: ChatbotId,
    /// The address that was called.
    pub url: String,
    /// The status that the receiver answered with, if it did.
    pub status_code: Option<i64>,
    /// What happened, in words of our own. Nothing of the receiver's answer.
    pub response: String,
    /// How long it took.
    pub duration_millis: i64,
    /// When it ended.
    pub created_at: Timestamp,
}

/// Stores an attempt.
pub async fn insert_attempt(tx: &mut Tx, tenant: Tenant, attempt: &Attempt) -> Result<()> {
    execute!(
        tx,
        sqlx::query(
            "INSERT INTO webhook_attempts (org_id, id, delivery_id, chatbot_id, url, status_code, response, \
             duration_millis, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
        )
        .bind(tenant.organisation())
        .bind(attempt.id)
        .bind(attempt.delivery_id)
        .bind(attempt.chatbot_id)
        .bind(&attempt.url)
        .bind(attempt.status_code)
        .bind(&attempt.response)
        .bind(attempt.duration_millis)
        .bind(attempt.created_at)
    )
    .map(drop)
}

/// An attempt with the delivery it was of.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct LoggedAttempt {
    /// The attempt.
    #[sqlx(flatten)]
    pub attempt: Attempt,
    /// The message that was told of.
    pub message_id: MessageId,
    /// What was sent.
    pub body: String,
    /// How the delivery stands now: `pending`, `succeeded` or `failed`.
    pub status: String,
    /// When it is tried again, while it is pending.
    pub next_attempt_at: Timestamp,
}

macro_rules! logged {
    () => {
        "SELECT a.id, a.delivery_id, a.chatbot_id, a.url, a.status_code, a.response, a.duration_millis, a.created_at, \
         d.message_id, d.body, d.status, d.next_attempt_at \
         FROM webhook_attempts AS a JOIN webhook_deliveries AS d ON d.id = a.delivery_id \
         WHERE a.org_id = $1 AND d.org_id = $1 AND a.chatbot_id = $2"
    };
}

/// A page of an assistant's attempts, newest first.
pub async fn attempts(tx: &mut Tx, tenant: Tenant, chatbot: ChatbotId, page: Page) -> Result<Listing<LoggedAttempt>> {
    let total: i64 = on_tx!(tx, db => sqlx::query_scalar(
        "SELECT count(*) FROM webhook_attempts WHERE org_id = $1 AND chatbot_id = $2")
        .bind(tenant.organisation()).bind(chatbot).fetch_one(db).await)
    .map_err(fault)?;
    let bytes = |logged: &LoggedAttempt| logged.body.len() + logged.attempt.response.len();
    let rows = on_tx!(tx, db => collect(sqlx::query_as(
        concat!(logged!(), " ORDER BY a.created_at DESC, a.id DESC LIMIT $3 OFFSET $4"))
        .bind(tenant.organisation()).bind(chatbot).bind(page.limit_sql()).bind(page.offset_sql())
        .fetch(db), bytes).await)?;
    Ok(Listing { rows, total: crate::page::count(total) })
}

/// One of an assistant's attempts.
pub async fn attempt(
    tx: &mut Tx,
    tenant: Tenant,
    chatbot: ChatbotId,
    id: WebhookAttemptId,
) -> Result<Option<LoggedAttempt>> {
    on_tx!(tx, db => sqlx::query_as(concat!(logged!(), " AND a.id = $3"))
        .bind(tenant.organisation()).bind(chatbot).bind(id).fetch_optional(db).await)
    .map_err(fault)
}

/// Removes deliveries of all organisations that ended and were made before this time, with their
/// attempts; at most `limit` of them. Gives how many.
pub async fn forget(tx: &mut Tx, before: Timestamp, limit: i64) -> Result<u64> {
    execute!(
        tx,
        sqlx::query(
            "DELETE FROM webhook_deliveries WHERE id IN (SELECT id FROM webhook_deliveries \
             WHERE created_at < $1 AND status <> 'pending' ORDER BY created_at LIMIT $2)"
        )
        .bind(before)
        .bind(limit)
    )
}
