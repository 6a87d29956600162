//! What the visitors of a web chat have used of a day, so that a limit can be kept.

use parlance_domain::kind::WebChatId;
use parlance_domain::{Result, Tenant};

use crate::tx::{Tx, execute, fault, on_tx};

/// What was used of a day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct Usage {
    /// Replies that were begun.
    pub replies: i64,
    /// Tokens of models, with those set aside for replies that are being made.
    pub tokens: i64,
}

/// What was used of a day; nothing when it is not known.
pub async fn of_day(tx: &mut Tx, tenant: Tenant, web_chat: WebChatId, day: &str) -> Result<Usage> {
    let usage: Option<Usage> = on_tx!(tx, db => sqlx::query_as(
        "SELECT replies, tokens FROM web_chat_usage WHERE org_id = $1 AND web_chat_id = $2 AND day = $3")
        .bind(tenant.organisation()).bind(web_chat).bind(day).fetch_optional(db).await)
    .map_err(fault)?;
    Ok(usage.unwrap_or_default())
}

/// Adds to what was used of a day (or takes from it, for what is negative) and gives the sum. Holds
/// the row until the transaction ends, so that sums of requests at the same time are all different.
/// `None` when the organisation has no such web chat.
pub async fn add(tx: &mut Tx, tenant: Tenant, web_chat: WebChatId, day: &str, used: Usage) -> Result<Option<Usage>> {
    on_tx!(tx, db => sqlx::query_as(
        "INSERT INTO web_chat_usage (org_id, web_chat_id, day, replies, tokens) \
         SELECT org_id, id, $3, $4, $5 FROM web_chats WHERE org_id = $1 AND id = $2 \
         ON CONFLICT (web_chat_id, day) DO UPDATE SET replies = web_chat_usage.replies + excluded.replies, \
         tokens = web_chat_usage.tokens + excluded.tokens RETURNING replies, tokens")
        .bind(tenant.organisation()).bind(web_chat).bind(day).bind(used.replies).bind(used.tokens)
        .fetch_optional(db).await)
    .map_err(fault)
}

/// Forgets days of all organisations before `day`. Gives how many rows.
pub async fn forget(tx: &mut Tx, day: &str) -> Result<u64> {
    execute!(tx, sqlx::query("DELETE FROM web_chat_usage WHERE day < $1").bind(day))
}
