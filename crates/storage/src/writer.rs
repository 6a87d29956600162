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
use sqlx::pool::PoolConnection;
use sqlx::{Executor, Sqlite};
use tokio::sync::{Notify, mpsc, oneshot};

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
    let mut tx = Tx { engine: Engine::Sqlite(connection) };
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
    if let Err(error) = execute(&mut tx, "PRAGMA wal_checkpoint(TRUNCATE)").await {
        tracing::warn!(%error, "the write-ahead log could not be emptied; the next start goes on with it");
    }
}

async fn commit(tx: &mut Tx, batch: &mut Vec<Write>) {
    let mut replies: Vec<Reply> = Vec::with_capacity(batch.len());
    let committed = run_batch(tx, batch, &mut replies).await;
    if let Err(error) = &committed {
        tracing::error!(%error, writes = replies.len(), "commit failed");
        drop(execute(tx, "ROLLBACK").await);
    }
    // Writes that never ran have no reply of their own: dropping them closes their channel, which
    // the caller reads as this failure.
    batch.clear();
    let failure = committed.err().map(fault);
    for reply in replies {
        reply(match &failure {
            None => Ok(()),
            Some(Error::OutOfSpace(text)) => Err(Error::OutOfSpace(text.clone())),
            // What the engine said is in the log, where it belongs.
            Some(_) => Err(Error::Unavailable(NOT_STORED.to_owned())),
        });
    }
}

async fn run_batch(tx: &mut Tx, batch: &mut Vec<Write>, replies: &mut Vec<Reply>) -> Result<(), sqlx::Error> {
    if batch.len() == 1
        && let Some(write) = batch.pop()
    {
        // Alone it needs no savepoint: the transaction is its own.
        execute(tx, "BEGIN IMMEDIATE").await?;
        let (keep, reply) = write(tx).await;
        replies.push(reply);
        return execute(tx, if keep { "COMMIT" } else { "ROLLBACK" }).await;
    }
    // What stands between two writes goes to the engine's thread as one: each trip there costs more than
    // what it does.
    execute(tx, "BEGIN IMMEDIATE; SAVEPOINT write").await?;
    let mut writes = batch.drain(..).peekable();
    while let Some(write) = writes.next() {
        let (keep, reply) = write(tx).await;
        replies.push(reply);
        let between = match (keep, writes.peek()) {
            (true, Some(_)) => "RELEASE write; SAVEPOINT write",
            (true, None) => "RELEASE write; COMMIT",
            (false, Some(_)) => "ROLLBACK TO write; RELEASE write; SAVEPOINT write",
            (false, None) => "ROLLBACK TO write; RELEASE write; COMMIT",
        };
        execute(tx, between).await?;
    }
    Ok(())
}

async fn execute(tx: &mut Tx, sql: &'static str) -> Result<(), sqlx::Error> {
    match &mut tx.engine {
        Engine::Sqlite(connection) => connection.execute(sql).await.map(drop),
        Engine::PostgresRead(_) | Engine::PostgresWrite(_) => Ok(()),
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
