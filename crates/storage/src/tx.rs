//! A transaction or connection on either engine, and the macro that runs one SQL text on both.

use parlance_domain::Error;
use sqlx::pool::PoolConnection;
use sqlx::{Postgres, Sqlite, Transaction};

/// A connection with a scope set: a write transaction, or a connection to read with.
#[derive(Debug)]
pub struct Tx {
    pub(crate) engine: Engine,
}

#[derive(Debug)]
pub(crate) enum Engine {
    Sqlite(PoolConnection<Sqlite>),
    PostgresRead(PoolConnection<Postgres>),
    PostgresWrite(Transaction<'static, Postgres>),
}

/// Runs the same expression on whichever engine the transaction is of.
///
/// `on_tx!(tx, db => sqlx::query("...").bind(id).execute(db).await)`
macro_rules! on_tx {
    ($tx:expr, $db:ident => $run:expr) => {
        match &mut $tx.engine {
            $crate::tx::Engine::Sqlite(connection) => {
                let $db = &mut **connection;
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
