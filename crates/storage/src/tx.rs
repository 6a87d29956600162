//! A transaction or connection on either engine, and the macro that runs one SQL text on both.

use parlance_domain::Error;
use sqlx::pool::PoolConnection;
use sqlx::{Postgres, Transaction};

use crate::sqlite_tx::SqliteTx;

/// A connection with a scope set: a write transaction, or a connection to read with.
#[derive(Debug)]
pub struct Tx {
    pub(crate) engine: Engine,
}

#[derive(Debug)]
pub(crate) enum Engine {
    Sqlite(SqliteTx),
    PostgresRead(PoolConnection<Postgres>),
    PostgresWrite(Transaction<'static, Postgres>),
}

/// Runs the same expression on whichever engine the transaction is of, after what waits there was done; a
/// fault of that leaves the function.
///
/// `on_tx!(tx, db => sqlx::query("...").bind(id).execute(db).await)`
macro_rules! on_tx {
    ($tx:expr, $db:ident => $run:expr) => {
        match &mut $tx.engine {
            $crate::tx::Engine::Sqlite(sqlite) => {
                let $db = sqlite.ready().await.map_err($crate::tx::fault)?;
                $run
            }
            $crate::tx::Engine::PostgresRead(connection) => {
                let $db = &mut **connection;
                $run
            }
            $crate::tx::Engine::PostgresWrite(transaction) => {
                let $db = &mut **transaction;
                $run
            }
        }
    };
}
pub(crate) use on_tx;

/// Runs a statement and gives the number of rows it changed.
macro_rules! execute {
    ($tx:expr, $query:expr) => {
        $crate::tx::on_tx!($tx, db => $query.execute(db).await.map(|done| done.rows_affected()))
            .map_err($crate::tx::fault)
    };
}
pub(crate) use execute;

/// Runs a statement of whose outcome nothing more is wanted than that its write fails when it does. On
/// SQLite it waits for the next one (see [`crate::sqlite_tx`]); an error may come as that one's.
///
/// `queue!(tx, "UPDATE ... WHERE org_id = $1 AND id = $2", organisation, id)`
macro_rules! queue {
    ($tx:expr, $sql:expr, $($value:expr),+ $(,)?) => {
        match &mut $tx.engine {
            $crate::tx::Engine::Sqlite(sqlite) => {
                let bind = |arguments: &mut sqlx::sqlite::SqliteArguments| {
                    $(sqlx::Arguments::add(arguments, $value)?;)+
                    Ok(())
                };
                sqlite.queue($sql, bind).await
            }
            $crate::tx::Engine::PostgresRead(connection) => {
                sqlx::query($sql)$(.bind($value))+.execute(&mut **connection).await.map(drop)
            }
            $crate::tx::Engine::PostgresWrite(transaction) => {
                sqlx::query($sql)$(.bind($value))+.execute(&mut **transaction).await.map(drop)
            }
        }
        .map_err($crate::tx::fault)
    };
}
pub(crate) use queue;

/// Turns a database error into an outcome.
pub(crate) fn fault(error: sqlx::Error) -> Error {
    if let sqlx::Error::Database(database) = &error {
        // SQLITE_FULL and PostgreSQL's disk_full.
        if matches!(database.code().as_deref(), Some("13" | "53100")) {
            return Error::OutOfSpace("the database's disk is full".to_owned());
        }
        if database.is_unique_violation() {
            return Error::Conflict("the same was made at the same time by another request; try again".to_owned());
        }
        // PostgreSQL's serialization_failure and deadlock_detected: the same again works.
        if matches!(database.code().as_deref(), Some("40001" | "40P01")) {
            return Error::Unavailable("the same things were being changed elsewhere; try again".to_owned());
        }
    }
    if matches!(error, sqlx::Error::PoolTimedOut) {
        return Error::Unavailable("the database has no free connection".to_owned());
    }
    Error::internal("database", error)
}
