//! Which terms occur in which conversations: the index behind the keyword search of conversations.
//!
//! A term is a number that stands for a piece of a folded text and the organisation it belongs to.
//! What was added is never taken away, and two pieces may share a number: a hit says that a
//! conversation may match, and who asks looks at its texts. So the index holds no organisation of
//! its own, and what it gives is read through tables that do.
//!
//! The two engines keep it in their own ways, with SQL of their own. SQLite has one document per
//! conversation, to which each message adds (FTS5 without contents). PostgreSQL has one row per
//! message: GIN does not grow a row cheaply.

use parlance_domain::kind::{ContactId, ConversationId, OrganisationId};
use parlance_domain::{Result, Tenant};
use sqlx::{Arguments, Connection};

use crate::conversation_lists::{Candidate, Place, Position};
use crate::sqlite_tx::SqliteTx;
use crate::tx::{Engine, Tx, fault};

/// Terms of a text: each once, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms(Vec<i32>);

impl Terms {
    /// Of a text without terms, or one that is not to be found.
    pub const NONE: Self = Self(Vec::new());

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The terms, in order.
    pub fn iter(&self) -> impl Iterator<Item = i32> {
        self.0.iter().copied()
    }

    fn words(&self, separator: &str, quote: &str) -> String {
        let words: Vec<String> =
            self.0.iter().map(|term| format!("{quote}{:08x}{quote}", u32::from_ne_bytes(term.to_ne_bytes()))).collect();
        words.join(separator)
    }
}

impl FromIterator<i32> for Terms {
    fn from_iter<I: IntoIterator<Item = i32>>(terms: I) -> Self {
        let mut terms: Vec<i32> = terms.into_iter().collect();
        terms.sort_unstable();
        terms.dedup();
        Self(terms)
    }
}

/// Terms that a write on SQLite adds to a conversation when it commits.
#[derive(Debug)]
pub(crate) struct Added {
    organisation: OrganisationId,
    conversation: ConversationId,
    words: String,
}

/// Adds terms to the conversations of a condition, which knows the organisation as `$1` and an id as `$2`.
macro_rules! insert_on_postgres {
    ($connection:expr, $tenant:expr, $id:expr, $terms:expr, $condition:literal) => {
        sqlx::query(concat!(
            "INSERT INTO conversation_terms (number, terms) SELECT c.number, $3 FROM conversations AS c \
             WHERE c.org_id = $1 AND ",
            $condition
        ))
        .bind($tenant.organisation())
        .bind($id)
        .bind(&$terms.0)
        .execute(&mut **$connection)
        .await
        .map(drop)
    };
}

/// Adds the terms of a text to a conversation. Does nothing unless it is the organisation's.
///
/// SQLite adds them at the end of the transaction, those of all its writes together: FTS5 writes out what it
/// has at every savepoint, and each write has one.
pub async fn add(tx: &mut Tx, tenant: Tenant, conversation: ConversationId, terms: &Terms) -> Result<()> {
    if terms.is_empty() {
        return Ok(());
    }
    match &mut tx.engine {
        Engine::Sqlite(sqlite) => {
            let words = terms.words(" ", "");
            sqlite.gather(Added { organisation: tenant.organisation(), conversation, words })
        }
        Engine::PostgresRead(connection) => {
            insert_on_postgres!(connection, tenant, conversation, terms, "c.id = $2")
        }
        Engine::PostgresWrite(connection) => {
            insert_on_postgres!(connection, tenant, conversation, terms, "c.id = $2")
        }
    }
    .map_err(fault)
}

/// Adds the terms that the writes of a transaction on SQLite have gathered.
pub(crate) async fn add_gathered(sqlite: &mut SqliteTx) -> Result<(), sqlx::Error> {
    let gathered = sqlite.gathered();
    if gathered.is_empty() {
        return Ok(());
    }
    let rows = gathered.iter().map(|added| (added.organisation, added.conversation, &added.words)).collect::<Vec<_>>();
    let rows = serde_json::to_string(&rows).map_err(|error| sqlx::Error::Encode(error.into()))?;
    // In the order of numbers, as FTS5 likes it.
    sqlite
        .queue(
            "INSERT INTO conversation_terms (rowid, terms) SELECT c.number, j.value ->> 2 FROM json_each($1) AS j \
             CROSS JOIN conversations AS c ON c.org_id = j.value ->> 0 AND c.id = j.value ->> 1 ORDER BY c.number",
            |arguments| arguments.add(rows),
        )
        .await
}

/// Adds the terms of a contact's new name to all of their conversations.
pub async fn add_of_contact(tx: &mut Tx, tenant: Tenant, contact: ContactId, terms: &Terms) -> Result<()> {
    if terms.is_empty() {
        return Ok(());
    }
    match &mut tx.engine {
        Engine::Sqlite(sqlite) => {
            let sql = "INSERT INTO conversation_terms (rowid, terms) SELECT c.number, $3 FROM conversations AS c \
                       WHERE c.org_id = $1 AND c.contact_id = $2";
            let words = terms.words(" ", "");
            sqlite
                .queue(sql, |arguments| {
                    arguments.add(tenant.organisation())?;
                    arguments.add(contact)?;
                    arguments.add(words)
                })
                .await
        }
        Engine::PostgresRead(connection) => {
            insert_on_postgres!(connection, tenant, contact, terms, "c.contact_id = $2")
        }
        Engine::PostgresWrite(connection) => {
            insert_on_postgres!(connection, tenant, contact, terms, "c.contact_id = $2")
        }
    }
    .map_err(fault)
}

/// A search for conversations: in each, every part has to occur.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// Terms of each part; a part's terms are all of one text.
    pub parts: &'a [Terms],
    /// Where to look.
    pub place: Place,
    /// Where to go on.
    pub from: Option<Position>,
    /// Conversations at most.
    pub limit: i64,
}

/// Hits beyond which the list of conversations is gone through instead of the hits.
const MANY: i64 = 4000;

/// Conversations that may match, in the order of the list from `from` on.
pub async fn candidates(tx: &mut Tx, tenant: Tenant, wanted: &Wanted<'_>) -> Result<Vec<Candidate>> {
    if wanted.parts.is_empty() || wanted.parts.iter().any(Terms::is_empty) {
        return Ok(Vec::new());
    }
    match &mut tx.engine {
        Engine::Sqlite(sqlite) => on_sqlite(sqlite.ready().await.map_err(fault)?, tenant, wanted).await,
        Engine::PostgresRead(connection) => on_postgres(connection, tenant, wanted).await,
        Engine::PostgresWrite(connection) => on_postgres(connection, tenant, wanted).await,
    }
    .map_err(fault)
}

/// What a search binds from `$2` on, besides its terms.
macro_rules! bind {
    ($query:expr, $wanted:expr) => {{
        let (at, id) = Position::or_beyond($wanted.from);
        let query = $query.bind($wanted.place.inbox);
        query.bind($wanted.place.contact).bind(at).bind(id).bind($wanted.limit)
    }};
}

async fn on_sqlite(
    connection: &mut sqlx::SqliteConnection,
    tenant: Tenant,
    wanted: &Wanted<'_>,
) -> Result<Vec<Candidate>, sqlx::Error> {
    let parts: Vec<String> = wanted.parts.iter().map(|terms| terms.words(" AND ", "\"")).collect();
    let expression = parts.join(" AND ");
    let hits: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM (SELECT 1 FROM conversation_terms WHERE conversation_terms MATCH $1 LIMIT $2)",
    )
    .bind(&expression)
    .bind(MANY)
    .fetch_one(&mut *connection)
    .await?;
    if hits == 0 {
        return Ok(Vec::new());
    }
    let found = "SELECT rowid AS number FROM conversation_terms WHERE conversation_terms MATCH $7";
    // The words CROSS JOIN and the sign keep SQLite from choosing the other way.
    let source = if hits < MANY {
        format!("({found}) AS h CROSS JOIN conversations AS c ON c.number = h.number")
    } else {
        "conversations AS c".to_owned()
    };
    let condition = if hits < MANY { String::new() } else { format!(" AND +c.number IN ({found})") };
    let sql = wanted.place.candidates_sql(tenant, &source, &condition, wanted.from);
    let query = sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(tenant.organisation());
    bind!(query, wanted).bind(&expression).fetch_all(connection).await
}

async fn on_postgres(
    connection: &mut sqlx::PgConnection,
    tenant: Tenant,
    wanted: &Wanted<'_>,
) -> Result<Vec<Candidate>, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    // Rows of this table are long and its statistics may be old: it is never to be read as a whole.
    sqlx::query("SET LOCAL enable_seqscan = off").execute(&mut *transaction).await?;
    // Numbers that every part names, as far as the parts are rare; the others are left to the texts.
    let mut numbers: Option<Vec<i64>> = None;
    for terms in wanted.parts {
        let mut named: Vec<i64> =
            sqlx::query_scalar("SELECT number FROM conversation_terms WHERE terms @> $1 LIMIT $2")
                .bind(&terms.0)
                .bind(MANY)
                .fetch_all(&mut *transaction)
                .await?;
        if named.is_empty() {
            return Ok(Vec::new());
        }
        if i64::try_from(named.len()).is_ok_and(|hits| hits < MANY) {
            named.sort_unstable();
            named.dedup();
            if let Some(known) = &numbers {
                named.retain(|number| known.binary_search(number).is_ok());
            }
            numbers = Some(named);
        }
    }
    // Many hits are kept in a table that the list is compared with, so that the first page ends it;
    // `IS TRUE` is what keeps PostgreSQL from joining all of them instead.
    let condition = match numbers {
        Some(_) => " AND c.number = ANY($7)",
        None => " AND (c.number IN (SELECT number FROM conversation_terms WHERE terms @> $7)) IS TRUE",
    };
    let sql = wanted.place.candidates_sql(tenant, "conversations AS c", condition, wanted.from);
    let query = bind!(sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(tenant.organisation()), wanted);
    let query = match (&numbers, wanted.parts.first()) {
        (Some(numbers), _) => query.bind(numbers),
        (None, first) => query.bind(first.map(|terms| &terms.0)),
    };
    let rows = query.fetch_all(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(rows)
}
