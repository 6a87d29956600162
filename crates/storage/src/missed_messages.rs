//! Messages that settled since some time, which are those that were stored and the answers that ended:
//! what open pages are told when they come back.
//!
//! However old the time is and however much there is, a look reads a bounded number of rows. It walks
//! the index `messages_settled` of one conversation after the other, for an inbox of those that had any
//! activity since.

use parlance_domain::kind::{ConversationId, InboxId, MessageId};
use parlance_domain::{Result, Tenant, Timestamp};
use sqlx::AssertSqlSafe;

use crate::message_lists::{Sent, sent};
use crate::tx::{Tx, fault, on_tx};

/// Messages that are read together.
pub const AT_ONCE: usize = 50;

/// A message, and when it settled: when it was stored or, for an answer, when it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, sqlx::FromRow)]
pub struct Settled {
    /// When that was.
    #[sqlx(rename = "updated_at")]
    pub at: Timestamp,
    /// The message.
    pub id: MessageId,
}

const IN_CONVERSATION: &str = "SELECT m.updated_at, m.id FROM messages AS m WHERE m.org_id = $1 \
     AND m.conversation_id = $2 AND m.state <> 'generating' AND m.updated_at >= $3 \
     ORDER BY m.updated_at, m.id LIMIT $4";

// The organisation is asked of the inbox: with that of the conversation, both engines might take the
// index on it to be as good as the one of the inbox, and walk all conversations of the organisation. The
// order is that of the index, so that PostgreSQL walks it and stops at the limit.
const ACTIVE: &str = "SELECT count(*) FROM (SELECT 1 FROM conversations AS c \
     WHERE EXISTS (SELECT 1 FROM inboxes AS i WHERE i.org_id = $1 AND i.id = $2) \
     AND c.inbox_id = $2 AND c.last_activity_at >= $3 \
     ORDER BY c.last_activity_at, c.id LIMIT $4) AS active";

// Not in the order of the messages, which no index has for an inbox: all would have to be read before
// the first. SQLite takes the tables of a CROSS JOIN in the order in which they are named.
const IN_INBOX: &str = "SELECT m.updated_at, m.id FROM conversations AS c CROSS JOIN messages AS m \
     WHERE EXISTS (SELECT 1 FROM inboxes AS i WHERE i.org_id = $1 AND i.id = $2) \
     AND c.inbox_id = $2 AND c.last_activity_at >= $3 AND m.org_id = $1 \
     AND m.conversation_id = c.id AND m.state <> 'generating' AND m.updated_at >= $3 \
     ORDER BY c.last_activity_at, c.id LIMIT $4";

/// As many rows as show that there are more than `most`.
fn one_more(most: usize) -> i64 {
    i64::try_from(most).unwrap_or(i64::MAX).saturating_add(1)
}

/// Messages of a conversation that settled at a time or later, in the order in which they did. `None`
/// when there are more than `most`.
pub async fn in_conversation(
    tx: &mut Tx,
    tenant: Tenant,
    conversation: ConversationId,
    since: Timestamp,
    most: usize,
) -> Result<Option<Vec<Settled>>> {
    let settled: Vec<Settled> = on_tx!(tx, db => sqlx::query_as(IN_CONVERSATION)
        .bind(tenant.organisation()).bind(conversation).bind(since).bind(one_more(most)).fetch_all(db).await)
    .map_err(fault)?;
    Ok((settled.len() <= most).then_some(settled))
}

/// As [`in_conversation`], of all conversations of an inbox. `None` also when more than `most` of them
/// had any activity since.
pub async fn in_inbox(
    tx: &mut Tx,
    tenant: Tenant,
    inbox: InboxId,
    since: Timestamp,
    most: usize,
) -> Result<Option<Vec<Settled>>> {
    let limit = one_more(most);
    // Planned anew each time: a plan of PostgreSQL's for any time and any limit reads whole tables.
    let active: i64 = on_tx!(tx, db => sqlx::query_scalar(ACTIVE).persistent(false)
        .bind(tenant.organisation()).bind(inbox).bind(since).bind(limit).fetch_one(db).await)
    .map_err(fault)?;
    if active == limit {
        return Ok(None);
    }
    let mut settled: Vec<Settled> = on_tx!(tx, db => sqlx::query_as(IN_INBOX).persistent(false)
        .bind(tenant.organisation()).bind(inbox).bind(since).bind(limit).fetch_all(db).await)
    .map_err(fault)?;
    settled.sort_unstable();
    Ok((settled.len() <= most).then_some(settled))
}

#[derive(sqlx::FromRow)]
struct SettledMessage {
    #[sqlx(flatten)]
    sent: Sent,
    settled_at: Timestamp,
}

/// The messages themselves, of the first [`AT_ONCE`] at most, each with when it settled and in that
/// order. One that is gone, or an answer that is made again, is left out.
pub async fn read(tx: &mut Tx, tenant: Tenant, settled: &[Settled]) -> Result<Vec<(Timestamp, Sent)>> {
    let Some(last) = settled.last() else { return Ok(Vec::new()) };
    let places: Vec<String> = (0..AT_ONCE).map(|place| format!("${}", place + 2)).collect();
    let sql = format!("{} AND m.state <> 'generating' AND m.id IN ({})", sent!(), places.join(", "));
    let mut rows: Vec<SettledMessage> = on_tx!(tx, db => {
        let mut query = sqlx::query_as(AssertSqlSafe(sql)).bind(tenant.organisation());
        // The last one again and again, so that it is one statement however many there are.
        for place in 0..AT_ONCE {
            query = query.bind(settled.get(place).unwrap_or(last).id);
        }
        query.fetch_all(db).await
    })
    .map_err(fault)?;
    rows.sort_unstable_by_key(|row| (row.settled_at, row.sent.message.id));
    Ok(rows.into_iter().map(|row| (row.settled_at, row.sent)).collect())
}

#[cfg(test)]
mod tests {
    use parlance_domain::kind::OrganisationId;
    use uuid::Uuid;

    use super::*;
    use crate::testing;
    use crate::tx::Engine;

    /// How the engine goes about a statement.
    async fn plan(tx: &mut Tx, sql: &str) -> String {
        let mut sql = sql.to_owned();
        for (place, value) in [("$1", "'o'"), ("$2", "'p'"), ("$3", "5"), ("$4", "2001")] {
            sql = sql.replace(place, value);
        }
        let steps: Vec<String> = match &mut tx.engine {
            Engine::Sqlite(sqlite) => {
                let connection = sqlite.ready().await.unwrap();
                let sql = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
                let rows: Vec<(i64, i64, i64, String)> = sqlx::query_as(sql).fetch_all(connection).await.unwrap();
                rows.into_iter().map(|(_, _, _, step)| step).collect()
            }
            Engine::PostgresRead(connection) => {
                // It would read tables without rows from one end to the other.
                let set = "SET enable_seqscan = off; SET enable_bitmapscan = off";
                sqlx::raw_sql(set).execute(&mut **connection).await.unwrap();
                let sql = AssertSqlSafe(format!("EXPLAIN {sql}"));
                sqlx::query_scalar(sql).fetch_all(&mut **connection).await.unwrap()
            }
            Engine::PostgresWrite(_) => panic!("a connection to read with"),
        };
        steps.join("\n")
    }

    #[tokio::test]
    async fn what_was_missed_is_walked_in_the_order_of_an_index() {
        let folder = tempfile::tempdir().unwrap();
        let db = testing::open(folder.path()).await;
        let tenant = Tenant::authenticated(OrganisationId::from_uuid(Uuid::nil()));
        let mut tx = db.read(tenant).await.unwrap();
        for (sql, indexes) in [
            (IN_CONVERSATION, ["messages_settled"].as_slice()),
            (ACTIVE, &["conversations_by_inbox"]),
            (IN_INBOX, &["conversations_by_inbox", "messages_settled"]),
        ] {
            let plan = plan(&mut tx, sql).await;
            for index in indexes {
                assert!(plan.contains(index), "{sql}\n{plan}");
            }
            // What SQLite and PostgreSQL call sorting and reading a table from one end to the other.
            for step in ["TEMP B-TREE", "SCAN m", "SCAN c", "Sort", "Seq Scan"] {
                assert!(!plan.contains(step), "{sql}\n{plan}");
            }
        }
    }
}
