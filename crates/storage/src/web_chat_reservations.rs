//! What was set aside of a web chat's day for answers that are not over. A row is made in the
//! transaction that takes the answer on and removed in the one that ends it, so that what was set
//! aside is corrected once, whatever happens in between.

use parlance_domain::kind::{MessageId, WebChatId};
use parlance_domain::{Result, Tenant};

use crate::tx::{Tx, execute, fault, on_tx};

/// Notes that something was set aside for an answer. The web chat has to be the organisation's, else
/// nothing happens.
///
/// # Errors
/// `Conflict` when that was noted before.
pub async fn insert(tx: &mut Tx, tenant: Tenant, answer: MessageId, (web_chat, day): (WebChatId, &str)) -> Result<()> {
    execute!(
        tx,
        sqlx::query(
            "INSERT INTO web_chat_reservations (answer_id, org_id, web_chat_id, day) \
             SELECT $3, org_id, id, $4 FROM web_chats WHERE org_id = $1 AND id = $2"
        )
        .bind(tenant.organisation())
        .bind(web_chat)
        .bind(answer)
        .bind(day)
    )
    .map(drop)
}

/// Removes what was noted for an answer and gives it: the web chat and the day. `None` when nothing
/// was set aside, or when it was removed before.
pub async fn take(tx: &mut Tx, tenant: Tenant, answer: MessageId) -> Result<Option<(WebChatId, String)>> {
    on_tx!(tx, db => sqlx::query_as(
        "DELETE FROM web_chat_reservations WHERE org_id = $1 AND answer_id = $2 RETURNING web_chat_id, day")
        .bind(tenant.organisation()).bind(answer).fetch_optional(db).await)
    .map_err(fault)
}

/// Forgets what is left of days of all organisations before `day`. Gives how many rows.
pub async fn forget(tx: &mut Tx, day: &str) -> Result<u64> {
    execute!(tx, sqlx::query("DELETE FROM web_chat_reservations WHERE day < $1").bind(day))
}
