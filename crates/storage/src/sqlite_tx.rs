//! SQLite's side of a transaction, which makes few trips to the engine.
//!
//! The engine runs on a thread of its own, and each trip to it and back wakes two threads: that costs more
//! than most statements do. So a statement whose outcome nobody looks at waits, and goes there together
//! with the next one that somebody does look at, or at the end of its write.

use sqlx::error::BoxDynError;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments, Sqlite, SqliteConnection};

use crate::conversation_terms::Added;

/// Statements that wait at most. Statements that went together are kept prepared together, so this bounds
/// the memory of that too.
const MOST: usize = 16;

/// A connection, and what waits to be done on it.
#[derive(Debug)]
pub(crate) struct SqliteTx {
    connection: PoolConnection<Sqlite>,
    /// Whether statements may wait: only the writer sees to it that they are sent at last.
    may_wait: bool,
    waiting: Waiting,
    /// Terms that are added to the index when the transaction commits.
    terms: Vec<Added>,
    /// How many of them are of writes that stay.
    kept_terms: usize,
}

/// Statements that were not sent yet, as one text.
#[derive(Debug, Default)]
struct Waiting {
    sql: String,
    arguments: SqliteArguments,
    statements: usize,
    /// Bytes of `sql`, and statements, that are the writer's own and stay when a write is undone.
    own: (usize, usize),
}

impl SqliteTx {
    /// A connection on which each statement is sent at once.
    pub(crate) fn to_read(connection: PoolConnection<Sqlite>) -> Self {
        Self { connection, may_wait: false, waiting: Waiting::default(), terms: Vec::new(), kept_terms: 0 }
    }

    /// The writer's connection.
    pub(crate) fn to_write(connection: PoolConnection<Sqlite>) -> Self {
        Self { connection, may_wait: true, waiting: Waiting::default(), terms: Vec::new(), kept_terms: 0 }
    }

    /// The connection, after everything that waits was done.
    pub(crate) async fn ready(&mut self) -> Result<&mut SqliteConnection, sqlx::Error> {
        self.send().await?;
        Ok(&mut self.connection)
    }

    /// Does everything that waits. The first statement that fails ends it.
    pub(crate) async fn send(&mut self) -> Result<(), sqlx::Error> {
        if self.waiting.statements == 0 {
            return Ok(());
        }
        let Waiting { sql, arguments, .. } = std::mem::take(&mut self.waiting);
        let query = sqlx::query_with(sqlx::AssertSqlSafe(sql), arguments);
        // On the heap, as it is rarely needed where there is room kept for it.
        Box::pin(query.execute(&mut *self.connection)).await.map(drop)
    }

    /// Lets a statement wait. `bind` adds its arguments, which it knows as `$1` and so on.
    pub(crate) async fn queue(
        &mut self,
        sql: &str,
        bind: impl FnOnce(&mut SqliteArguments) -> Result<(), BoxDynError>,
    ) -> Result<(), sqlx::Error> {
        let before = self.waiting.arguments.len();
        bind(&mut self.waiting.arguments).map_err(sqlx::Error::Encode)?;
        push_numbered(&mut self.waiting.sql, sql, before);
        self.waiting.statements += 1;
        if self.may_wait && self.waiting.statements < MOST { Ok(()) } else { self.send().await }
    }

    /// Lets a statement of the writer itself wait, which begins or ends something.
    pub(crate) fn queue_own(&mut self, sql: &str) {
        push_numbered(&mut self.waiting.sql, sql, 0);
        self.waiting.statements += 1;
        self.waiting.own = (self.waiting.sql.len(), self.waiting.statements);
    }

    /// Forgets everything that waits.
    pub(crate) fn reset(&mut self) {
        self.waiting = Waiting::default();
        self.terms.clear();
        self.kept_terms = 0;
    }

    /// Begins a transaction.
    pub(crate) fn begin(&mut self) {
        self.reset();
        self.queue_own("BEGIN IMMEDIATE");
    }

    /// Has terms added when the transaction commits.
    pub(crate) fn gather(&mut self, added: Added) -> Result<(), sqlx::Error> {
        if !self.may_wait {
            return Err(sqlx::Error::Protocol("a connection to read with takes no writes".to_owned()));
        }
        self.terms.push(added);
        Ok(())
    }

    /// The terms of all writes that stay, which are forgotten here.
    pub(crate) fn gathered(&mut self) -> Vec<Added> {
        self.kept_terms = 0;
        std::mem::take(&mut self.terms)
    }

    /// Keeps what a write did, all of which was sent.
    pub(crate) fn keep(&mut self) {
        self.kept_terms = self.terms.len();
    }

    /// Forgets what waits of a write.
    pub(crate) fn forget(&mut self) {
        let (bytes, statements) = self.waiting.own;
        self.waiting.sql.truncate(bytes);
        self.waiting.statements = statements;
        self.waiting.arguments = SqliteArguments::default();
        self.terms.truncate(self.kept_terms);
    }
}

/// Adds a statement to those of a text that has `before` arguments already.
fn push_numbered(text: &mut String, sql: &str, before: usize) {
    let mut rest = sql;
    if before > 0 {
        while let Some(sign) = rest.find('$') {
            let (head, tail) = rest.split_at(sign + 1);
            let digits = tail.len() - tail.trim_start_matches(|sign: char| sign.is_ascii_digit()).len();
            text.push_str(head);
            if let Ok(number) = tail[..digits].parse::<usize>() {
                text.push_str(&(number + before).to_string());
            }
            rest = &tail[digits..];
        }
    }
    text.push_str(rest);
    text.push(';');
}

#[cfg(test)]
mod tests {
    use super::push_numbered;

    #[test]
    fn arguments_are_counted_on_behind_those_of_earlier_statements() {
        let mut text = String::new();
        push_numbered(&mut text, "INSERT INTO a VALUES ($1, $2, $10)", 0);
        push_numbered(&mut text, "UPDATE b SET c = c || '$.x', d = $3 WHERE e = $1", 10);
        assert_eq!(text, "INSERT INTO a VALUES ($1, $2, $10);UPDATE b SET c = c || '$.x', d = $13 WHERE e = $11;");
    }
}
