//! Claims of one name by several web chats, of whichever organisation: all of them wait for their
//! proof side by side, and the first that has it excludes the others.

use parlance_domain::kind::CustomDomainId;
use parlance_domain::{Result, Timestamp};

use crate::tx::{Tx, execute, fault, on_tx};

/// What other web chats have to do with a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct Rivals {
    /// Those that claim it, whatever became of that.
    pub claims: i64,
    /// Those that have proved it: one at most.
    pub verified: i64,
}

/// What web chats of all organisations have to do with a name, but for the claim `own`.
pub async fn rivals(tx: &mut Tx, domain: &str, own: Option<CustomDomainId>) -> Result<Rivals> {
    on_tx!(tx, db => sqlx::query_as(
        "SELECT count(*) AS claims, count(CASE WHEN status = 'verified' THEN 1 END) AS verified \
         FROM custom_domains WHERE domain = $1 AND (CAST($2 AS TEXT) IS NULL OR id <> $2)")
        .bind(domain).bind(own).fetch_one(db).await)
    .map_err(fault)
}

/// Ends the claims of all organisations that still wait for the proof of a name, but for the claim
/// `winner`. Gives how many there were.
pub async fn end_others(
    tx: &mut Tx,
    domain: &str,
    winner: CustomDomainId,
    failure: &str,
    now: Timestamp,
) -> Result<u64> {
    execute!(
        tx,
        sqlx::query(
            "UPDATE custom_domains SET status = 'failed', failure = $3, checked_at = $4 \
             WHERE domain = $1 AND id <> $2 AND status = 'pending'"
        )
        .bind(domain)
        .bind(winner)
        .bind(failure)
        .bind(now)
    )
}
