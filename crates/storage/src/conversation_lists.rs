//! Lists of conversations, by their last activity, newest first.

use std::collections::HashMap;

use parlance_domain::kind::{ChatbotId, ContactId, ConversationId, FeedbackId, InboxId, MessageId};
use parlance_domain::{Result, Tenant, Timestamp};
use sqlx::QueryBuilder;

use crate::by_ids;
use crate::conversations::Conversation;
use crate::page::{Part, fitting};
use crate::reach::inbox_within_sql;
use crate::tx::{Tx, fault, on_tx};

/// Which conversations a list is of; everything within the caller's reach when nothing is named.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    /// Those of one inbox.
    pub inbox: Option<InboxId>,
    /// Those of one contact.
    pub contact: Option<ContactId>,
}

/// Where a part of a list begins, and in which direction it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Last activity of the conversation beside it.
    pub at: Timestamp,
    /// The conversation beside it.
    pub id: ConversationId,
    /// Whether the part holds what stands before that conversation, which is newer, instead of what
    /// comes after it.
    pub is_back: bool,
}

impl Position {
    /// What is bound for the position; without one, values that are not compared with anything.
    pub(crate) fn or_beyond(from: Option<Self>) -> (Option<Timestamp>, Option<ConversationId>) {
        (from.map(|from| from.at), from.map(|from| from.id))
    }
}

impl Place {
    /// The condition on a conversation `c`: `$1` is the organisation, `$2` the inbox, `$3` the
    /// contact, `$4` and `$5` the position. Parameters that are not asked about are named all the
    /// same, because PostgreSQL wants to know the type of each.
    fn condition(self, tenant: Tenant, from: Option<Position>) -> String {
        let inbox = if self.inbox.is_some() { "c.inbox_id = $2" } else { "CAST($2 AS TEXT) IS NULL" };
        let contact = if self.contact.is_some() { "c.contact_id = $3" } else { "CAST($3 AS TEXT) IS NULL" };
        let position = match from {
            None => "CAST($4 AS BIGINT) IS NULL AND CAST($5 AS TEXT) IS NULL",
            Some(Position { is_back: false, .. }) => "(c.last_activity_at, c.id) < ($4, $5)",
            Some(Position { is_back: true, .. }) => "(c.last_activity_at, c.id) > ($4, $5)",
        };
        let within = inbox_within_sql(tenant, "c.inbox_id");
        // To SQLite the index of the organisation is as good as that of an inbox, and it would look for the
        // few conversations of a quiet inbox among all there are. An expression has no index.
        let organisation = if self.inbox.is_some() { "c.org_id || '' = $1" } else { "c.org_id = $1" };
        format!("{organisation} AND {inbox} AND {contact} AND {position}{within}")
    }

    /// Selects candidates from `source`, at most `$6`, nearest to the position first.
    pub(crate) fn candidates_sql(
        self,
        tenant: Tenant,
        source: &str,
        condition: &str,
        from: Option<Position>,
    ) -> String {
        let direction = direction(from);
        format!(
            "SELECT c.id, c.last_activity_at, c.title_folded, \
             (SELECT k.name_folded FROM contacts AS k WHERE k.org_id = $1 AND k.id = c.contact_id) AS name_folded \
             FROM {source} WHERE {place}{condition} \
             ORDER BY c.last_activity_at {direction}, c.id {direction} LIMIT $6",
            place = self.condition(tenant, from),
        )
    }
}

fn direction(from: Option<Position>) -> &'static str {
    if from.is_some_and(|from| from.is_back) { "ASC" } else { "DESC" }
}

/// A conversation of which the texts are to be looked at.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Candidate {
    /// Its id.
    pub id: ConversationId,
    /// Its place in lists.
    pub last_activity_at: Timestamp,
    /// Its title, folded.
    pub title_folded: String,
    /// The contact's name, folded.
    pub name_folded: String,
}

/// A conversation with what is shown of it in lists.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Listed {
    /// The conversation.
    #[sqlx(flatten)]
    pub conversation: Conversation,
    /// Who writes, also when they were deleted.
    pub contact_name: String,
    /// Where their picture is.
    pub contact_avatar: Option<String>,
    /// When they first came.
    pub contact_created_at: Timestamp,
    /// Name of the inbox.
    pub inbox_name: String,
    /// Its kind of channel.
    pub channel_type: String,
    /// Its assistant.
    pub chatbot_id: Option<ChatbotId>,
    /// How its visitors sign in, as a JSON object.
    pub sign_auth: Option<String>,
    /// Hours in which the assistant answers by itself, as a JSON list.
    pub auto_reply_schedules: String,
    /// The organisation's time zone.
    pub time_zone: String,
    /// The last message; the rest of these belong to it.
    pub last_id: Option<MessageId>,
    /// `incoming` or `outgoing`.
    pub last_type: Option<String>,
    /// Its text.
    pub last_content: Option<String>,
    /// Its structured content.
    pub last_content_payload: Option<String>,
    /// What retrieval was narrowed to.
    pub last_query_metadata: Option<String>,
    /// Id of what the reader thought of it.
    pub last_feedback_id: Option<FeedbackId>,
    /// `like` or `dislike`.
    pub last_feedback_type: Option<String>,
    /// What the reader would have liked better.
    pub last_feedback_suggestion: Option<String>,
    /// When the reader said so.
    pub last_feedback_at: Option<Timestamp>,
    /// When it was stored.
    pub last_created_at: Option<Timestamp>,
}

/// Conversations of a list, nearest to its beginning or to the position first, whatever they say.
pub async fn walk(
    tx: &mut Tx,
    tenant: Tenant,
    place: Place,
    from: Option<Position>,
    limit: i64,
) -> Result<Vec<Candidate>> {
    let sql = place.candidates_sql(tenant, "conversations AS c", "", from);
    let (at, id) = Position::or_beyond(from);
    on_tx!(tx, db => sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(tenant.organisation()).bind(place.inbox)
        .bind(place.contact).bind(at).bind(id).bind(limit).fetch_all(db).await)
    .map_err(fault)
}

/// What is shown of one conversation.
pub async fn one(tx: &mut Tx, tenant: Tenant, id: ConversationId) -> Result<Option<Listed>> {
    Ok(shown(tx, tenant, &[id]).await?.pop())
}

/// What is shown of some conversations, in the order of `ids`, as far as the texts of their last
/// messages fit on one page. Those that are not the organisation's, not within the caller's reach or
/// gone meanwhile are left out, and what is left out counts as cut: whoever reads on misses nothing.
pub async fn some(tx: &mut Tx, tenant: Tenant, ids: &[ConversationId]) -> Result<Part<Listed>> {
    let bytes = last_bytes(tx, tenant, ids).await?;
    let fitting = &ids[..fitting(ids.iter().map(|id| bytes.get(id).copied().unwrap_or_default()))];
    let found = shown(tx, tenant, fitting).await?;
    let mut found: HashMap<_, _> = found.into_iter().map(|listed| (listed.conversation.id, listed)).collect();
    let rows: Vec<Listed> = fitting.iter().filter_map(|id| found.remove(id)).collect();
    Ok(Part { is_cut: rows.len() < ids.len(), rows })
}

/// The last message of a conversation `c`, or what `$columns` says of it.
macro_rules! last_message {
    ($columns:literal) => {
        concat!(
            "(SELECT ",
            $columns,
            " FROM messages AS l WHERE l.conversation_id = c.id AND l.state <> 'generating' \
             ORDER BY l.created_at DESC, l.id DESC LIMIT 1)"
        )
    };
}

/// Bytes of the texts of last messages. They are asked before the texts, which SQLite would otherwise
/// read all before the first row comes.
async fn last_bytes(tx: &mut Tx, tenant: Tenant, ids: &[ConversationId]) -> Result<HashMap<ConversationId, usize>> {
    let last = last_message!(
        "octet_length(l.content) + coalesce(octet_length(l.content_payload), 0) \
         + coalesce(octet_length(l.query_metadata), 0)"
    );
    let select = format!("SELECT c.id, CAST({last} AS BIGINT) FROM conversations AS c WHERE c.org_id = $1");
    let end = inbox_within_sql(tenant, "c.inbox_id");
    let rows: Vec<(ConversationId, Option<i64>)> = by_ids::rows(tx, tenant, (&select, "c.id", &end), ids).await?;
    let bytes = |sum: Option<i64>| usize::try_from(sum.unwrap_or_default()).unwrap_or_default();
    Ok(rows.into_iter().map(|(id, sum)| (id, bytes(sum))).collect())
}

/// What is shown of conversations, in no order.
///
/// They are chosen with the ids of their last messages first, and only then looked up: under row-level
/// security PostgreSQL does not use an index for a comparison with a subquery, which it has to take for
/// a way to see rows that the policy hides, and would read all messages for each conversation.
async fn shown(tx: &mut Tx, tenant: Tenant, ids: &[ConversationId]) -> Result<Vec<Listed>> {
    let select = concat!(
        "WITH chosen AS MATERIALIZED (SELECT c.*, ",
        last_message!("l.id"),
        " AS last_id \
        FROM conversations AS c WHERE c.org_id = $1"
    );
    let end = format!("{}) {SHOWN}", inbox_within_sql(tenant, "c.inbox_id"));
    by_ids::rows(tx, tenant, (select, "c.id", &end), ids).await
}

/// Selects what is shown of those that `chosen` has.
const SHOWN: &str = "SELECT c.id, c.inbox_id, c.contact_id, c.title, c.title_folded, c.auto_reply_enabled, \
     c.is_group_chat, c.enable_group_mention, c.unread_count, c.last_read_at, c.created_at, c.last_message_at, \
     c.last_activity_at, k.name AS contact_name, k.avatar AS contact_avatar, k.created_at AS contact_created_at, \
     i.name AS inbox_name, i.channel_type, i.chatbot_id, i.sign_auth, i.auto_reply_schedules, \
     (SELECT o.time_zone FROM organisations AS o WHERE o.org_id = $1) AS time_zone, m.id AS last_id, \
     m.type AS last_type, m.content AS last_content, m.content_payload AS last_content_payload, \
     m.query_metadata AS last_query_metadata, m.feedback_id AS last_feedback_id, \
     m.feedback_type AS last_feedback_type, m.feedback_suggestion AS last_feedback_suggestion, \
     m.feedback_at AS last_feedback_at, m.created_at AS last_created_at \
     FROM chosen AS c JOIN contacts AS k ON k.id = c.contact_id JOIN inboxes AS i ON i.id = c.inbox_id \
     LEFT JOIN messages AS m ON m.id = c.last_id AND m.org_id = $1 WHERE k.org_id = $1 AND i.org_id = $1";

/// Conversations with unread messages of each of these inboxes, counted up to
/// [`MOST_UNREAD`](crate::inboxes::MOST_UNREAD).
pub async fn unread(tx: &mut Tx, tenant: Tenant, inboxes: &[InboxId]) -> Result<Vec<(InboxId, i64)>> {
    if inboxes.is_empty() {
        return Ok(Vec::new());
    }
    on_tx!(tx, db => {
        let mut query = QueryBuilder::new(
            "SELECT i.id, (SELECT count(*) FROM (SELECT 1 FROM conversations AS c WHERE c.org_id = i.org_id \
             AND c.inbox_id = i.id AND c.unread_count > 0 LIMIT ");
        query.push_bind(i64::from(crate::inboxes::MOST_UNREAD)).push(") AS u) FROM inboxes AS i WHERE i.org_id = ");
        query.push_bind(tenant.organisation()).push(" AND i.id IN (");
        let mut list = query.separated(", ");
        for inbox in inboxes {
            list.push_bind(*inbox);
        }
        query.push(")");
        query.build_query_as().fetch_all(db).await
    })
    .map_err(fault)
}

#[cfg(test)]
mod tests {
    use parlance_domain::kind::OrganisationId;
    use uuid::Uuid;

    use super::*;
    use crate::tx::Engine;
    use crate::{Db, DbConfig};

    #[tokio::test]
    async fn sqlite_walks_the_conversations_of_what_is_asked_for_alone() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("test.db").display());
        let db = Db::open(&DbConfig { url, migrate_url: None, connections: 1 }).await.unwrap();
        let tenant = Tenant::authenticated(OrganisationId::from_uuid(Uuid::nil()));
        let (inbox, contact) = (Some(InboxId::from_uuid(Uuid::nil())), Some(ContactId::from_uuid(Uuid::nil())));
        let from = Some(Position {
            at: Timestamp::from_millis(5),
            id: ConversationId::from_uuid(Uuid::nil()),
            is_back: false,
        });
        let mut tx = db.read(tenant).await.unwrap();
        let Engine::Sqlite(sqlite) = &mut tx.engine else { panic!("not SQLite") };
        let connection = sqlite.ready().await.unwrap();
        for (place, index) in [
            (Place { inbox, contact: None }, "conversations_by_inbox"),
            (Place { inbox: None, contact }, "conversations_by_contact"),
            (Place { inbox: None, contact: None }, "conversations_by_org"),
        ] {
            for from in [None, from] {
                let sql = place.candidates_sql(tenant, "conversations AS c", "", from);
                let explained = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
                let steps: Vec<(i64, i64, i64, String)> = sqlx::query_as(explained)
                    .bind("o")
                    .bind("i")
                    .bind("c")
                    .bind(5_i64)
                    .bind("x")
                    .bind(20_i64)
                    .fetch_all(&mut *connection)
                    .await
                    .unwrap();
                let plan: Vec<_> = steps.into_iter().map(|(_, _, _, step)| step).collect();
                assert!(plan[0].contains(index), "{sql}\n{plan:?}");
                assert!(plan.iter().all(|step| !step.contains("TEMP B-TREE")), "{sql}\n{plan:?}");
            }
        }
    }
}
