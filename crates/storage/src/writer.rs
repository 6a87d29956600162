//! The one writer of SQLite: takes writes from a bounded queue and commits those that wait together.
//!
//! With `synchronous=FULL` a commit costs one flush of the disk, whatever it holds. While one
//! commit flushes, the next writes gather and share the next flush (group commit). Each write runs
//! in a savepoint of its own (a lone one in the transaction itself), so a failed one takes nothing else with it, and nobody hears of
//! success before the commit that holds it is on disk.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parlance_domain::{Error, Result};
use sqlx::Sqlite;
use sqlx::pool::PoolConnection;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::conversation_terms;
use crate::sqlite_tx::SqliteTx;
use crate::tx::{Engine, Tx, fault};

/// Writes that share one commit at most. Bounds how long the first waits for the last.
const BATCH: usize = 64;

/// What callers are told when a commit failed.
const NOT_STORED: &str = "the change could not be stored; try again in a moment";

/// Tells a caller how its write ended, once the commit is known.
type Reply = Box<dyn FnOnce(Result<()>) + Send>;

/// A write: runs on the transaction and says whether it may stay, and how to tell the caller.
pub(crate) type Write = Box<dyn for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, (bool, Reply)> + Send>;

/// What is done in a write.
pub(crate) type Operation<T> = Box<dyn for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T>> + Send>;

/// Wraps an operation so that its outcome reaches `reply` after the commit.
pub(crate) fn write<T: Send + 'static>(operation: Operation<T>) -> (Write, oneshot::Receiver<Result<T>>) {
    let (sender, receiver) = oneshot::channel();
    let write: Write = Box::new(move |tx| {
        async move {
            let outcome = AssertUnwindSafe(operation(tx))
                .catch_unwind()
                .await
                .unwrap_or_else(|_| Err(Error::bug("a database write panicked")));
            let keep = outcome.is_ok();
            let reply: Reply = Box::new(move |committed| {
                // The caller may have gone; the write stands all the same.
                // What the write itself said is more exact than why its commit failed.
                drop(sender.send(outcome.and_then(|value| committed.map(|()| value))));
            });
            (keep, reply)
        }
        .boxed()
    });
    (write, receiver)
}

/// Runs until every sender is gone or `stop` is notified, and the queue is empty.
pub(crate) async fn run(connection: PoolConnection<Sqlite>, mut queue: mpsc::Receiver<Write>, stop: Arc<Notify>) {
    let mut tx = Tx { engine: Engine::Sqlite(SqliteTx::to_write(connection)) };
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let received = tokio::select! {
            received = queue.recv_many(&mut batch, BATCH) => received,
            () = stop.notified() => {
                // Takes no new writes; those that wait are still received.
                queue.close();
                continue;
            }
        };
        if received == 0 {
            break;
        }
        commit(&mut tx, &mut batch).await;
    }
    // So that a clean stop leaves everything in one file: SQLite does this by itself only when it is
    // sure that no other connection is left.
    if let Err(error) = alone(&mut tx, "PRAGMA wal_checkpoint(TRUNCATE)").await {
        tracing::warn!(%error, "the write-ahead log could not be emptied; the next start goes on with it");
    }
}

async fn commit(tx: &mut Tx, batch: &mut Vec<Write>) {
    let mut replies: Vec<Reply> = Vec::with_capacity(batch.len());
    let committed = run_batch(tx, batch, &mut replies).await;
    let failure = committed.err().map(|error| (error.to_string(), fault(error)));
    if failure.is_some() {
        drop(alone(tx, "ROLLBACK").await);
    }
    if let Some((error, _)) = failure.as_ref().filter(|(_, fault)| !matches!(fault, Error::Conflict(_))) {
        tracing::error!(error, writes = replies.len(), "commit failed");
    }
    // Writes that never ran have no reply of their own: dropping them closes their channel, which
    // the caller reads as this failure.
    batch.clear();
    for reply in replies {
        reply(match &failure {
            None => Ok(()),
            Some((_, Error::OutOfSpace(text))) => Err(Error::OutOfSpace(text.clone())),
            // Of a statement that went with the commit.
            Some((_, Error::Conflict(text))) => Err(Error::Conflict(text.clone())),
            // What the engine said is in the log, where it belongs.
            Some(_) => Err(Error::Unavailable(NOT_STORED.to_owned())),
        });
    }
}

async fn run_batch(tx: &mut Tx, batch: &mut Vec<Write>, replies: &mut Vec<Reply>) -> Result<(), sqlx::Error> {
    sqlite(tx)?.begin();
    if batch.len() == 1
        && let Some(write) = batch.pop()
    {
        // Alone it needs no savepoint: the transaction is its own, and what it leaves waiting goes with the
        // commit.
        let (keep, reply) = write(tx).await;
        replies.push(reply);
        let sqlite = sqlite(tx)?;
        if keep {
            return end(sqlite).await;
        }
        sqlite.forget();
        sqlite.queue_own("ROLLBACK");
        return sqlite.send().await;
    }
    for write in batch.drain(..) {
        sqlite(tx)?.queue_own("SAVEPOINT write");
        let (keep, reply) = write(tx).await;
        let sqlite = sqlite(tx)?;
        let sent = if keep { sqlite.send().await } else { Ok(()) };
        if keep && sent.is_ok() {
            sqlite.keep();
            sqlite.queue_own("RELEASE write");
        } else {
            sqlite.forget();
            sqlite.queue_own("ROLLBACK TO write; RELEASE write");
        }
        replies.push(match sent.map_err(fault) {
            Ok(()) => reply,
            // What it left waiting has failed it.
            Err(error) => Box::new(|_committed| reply(Err(error))),
        });
    }
    end(sqlite(tx)?).await
}

/// Adds what the writes have left for the end, and commits.
async fn end(sqlite: &mut SqliteTx) -> Result<(), sqlx::Error> {
    conversation_terms::add_gathered(sqlite).await?;
    sqlite.queue_own("COMMIT");
    sqlite.send().await
}

/// Runs a statement of the writer itself, and nothing that may still wait.
async fn alone(tx: &mut Tx, sql: &'static str) -> Result<(), sqlx::Error> {
    let sqlite = sqlite(tx)?;
    sqlite.reset();
    sqlite.queue_own(sql);
    sqlite.send().await
}

/// The writer's connection, which is always one of SQLite.
fn sqlite(tx: &mut Tx) -> Result<&mut SqliteTx, sqlx::Error> {
    match &mut tx.engine {
        Engine::Sqlite(sqlite) => Ok(sqlite),
        Engine::PostgresRead(_) | Engine::PostgresWrite(_) => Err(sqlx::Error::Protocol("not SQLite".to_owned())),
    }
}

/// Hands a write to the writer and waits until it is durable.
pub(crate) async fn submit<T: Send + 'static>(queue: &mpsc::Sender<Write>, operation: Operation<T>) -> Result<T> {
    let (write, outcome) = write(operation);
    let stopped = || Error::Unavailable("the database has stopped".to_owned());
    queue.send(write).await.map_err(|_closed| stopped())?;
    outcome.await.map_err(|_closed| Error::Unavailable(NOT_STORED.to_owned()))?
}

/// Runs a write of PostgreSQL in a transaction of its own.
pub(crate) async fn postgres<T>(pool: &sqlx::PgPool, scope: &str, operation: Operation<T>) -> Result<T> {
    let mut transaction = pool.begin().await.map_err(fault)?;
    sqlx::query("SELECT set_config('parlance.organisation', $1, TRUE)")
        .bind(scope)
        .execute(&mut *transaction)
        .await
        .map_err(fault)?;
    let mut tx = Tx { engine: Engine::PostgresWrite(transaction) };
    let value = operation(&mut tx).await?;
    if let Engine::PostgresWrite(transaction) = tx.engine {
        transaction.commit().await.map_err(fault)?;
    }
    Ok(value)
}
