//! Opening the database and handing out transactions.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use parlance_domain::{Error, Result, Tenant};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection, PgPool, SqliteConnection, SqlitePool};
use tokio::sync::{Notify, mpsc};

use crate::request_scope::Rider;
use crate::sqlite_tx::SqliteTx;
use crate::tx::{Engine as TxEngine, Tx, fault};
use crate::writer::Operation;
use crate::{migrate, writer};

/// Writes that may wait for the writer before callers have to wait for a place.
const WRITE_QUEUE: usize = 1024;

/// Which database to open and how.
#[derive(Clone, Debug)]
pub struct DbConfig {
    /// `sqlite:PATH` or `postgres://...`.
    pub url: String,
    /// Address with the right to change the schema; the same as `url` when absent (PostgreSQL).
    pub migrate_url: Option<String>,
    /// Connections to read with (SQLite) or in all (PostgreSQL).
    pub connections: u32,
}

/// Whose rows a connection sees. SQLite relies on the statements alone; PostgreSQL enforces it too.
#[derive(Clone, Copy, Debug)]
pub enum Scope {
    /// One organisation.
    Tenant(Tenant),
    /// All of them: only to find out whose a credential, job or upload is.
    System,
}

impl Scope {
    fn setting(self) -> String {
        match self {
            Self::Tenant(tenant) => tenant.organisation().to_string(),
            Self::System => "*".to_owned(),
        }
    }
}

impl From<Tenant> for Scope {
    fn from(tenant: Tenant) -> Self {
        Self::Tenant(tenant)
    }
}

/// Why the database could not be opened. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The address is not one of ours.
    #[error("DATABASE__URL must start with sqlite: or postgres://, not {0:?}")]
    Url(String),
    /// Another process has the file open.
    #[error("another parlance process uses {0}; stop it first, or give this one its own --data-dir")]
    InUse(PathBuf),
    /// Written by a newer release.
    #[error(
        "the database was last used by a newer release (schema {found}, this one knows {known}); start that release, or restore the snapshot it made before its migration"
    )]
    Newer {
        /// Version found in the database.
        found: i64,
        /// Newest version this program knows.
        known: i64,
    },
    /// PostgreSQL superusers and roles with BYPASSRLS see every organisation's rows.
    #[error(
        "the database role {0:?} bypasses row-level security; serve with a plain role:\n  CREATE ROLE parlance LOGIN PASSWORD '...' NOSUPERUSER NOBYPASSRLS;\n  CREATE DATABASE parlance OWNER parlance;"
    )]
    Superuser(String),
    /// A file could not be read or written.
    #[error("{0}: {1}")]
    File(PathBuf, #[source] std::io::Error),
    /// The engine said no.
    #[error("the database could not be opened: {0}")]
    Engine(#[from] sqlx::Error),
    /// A migration failed.
    #[error("the database could not be migrated: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
}

/// The database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Db {
    engine: Engine,
}

#[derive(Clone, Debug)]
struct Sqlite {
    reads: SqlitePool,
    writes: mpsc::Sender<writer::Write>,
    /// Tells the writer to take no more writes.
    stop: Arc<Notify>,
    /// Holds the writer's connection.
    writer: SqlitePool,
    _lock: Arc<File>,
}

#[derive(Clone, Debug)]
enum Engine {
    Sqlite(Sqlite),
    Postgres(PgPool),
}

impl Db {
    /// Opens the database and brings its schema up to date, with a snapshot first where there is
    /// something to lose.
    pub async fn open(config: &DbConfig) -> Result<Self, OpenError> {
        if let Some(path) = config.url.strip_prefix("sqlite:") {
            Self::open_sqlite(Path::new(path), config.connections).await
        } else if config.url.starts_with("postgres://") || config.url.starts_with("postgresql://") {
            Self::open_postgres(config).await
        } else {
            Err(OpenError::Url(config.url.split(':').next().unwrap_or_default().to_owned()))
        }
    }

    async fn open_sqlite(path: &Path, connections: u32) -> Result<Self, OpenError> {
        let lock = lock_beside(path)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(10))
            .statement_cache_capacity(256)
            .pragma("journal_size_limit", "67108864")
            .pragma("temp_store", "memory")
            .optimize_on_close(true, None);
        let writes = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options.clone().pragma("cache_size", "-8000"))
            .await?;
        migrate::sqlite(&writes, path).await?;
        let reads = SqlitePoolOptions::new()
            .max_connections(connections.max(1))
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options.pragma("cache_size", "-4000").pragma("query_only", "ON"))
            .await?;
        let (sender, receiver) = mpsc::channel(WRITE_QUEUE);
        let connection = writes.acquire().await?;
        let stop = Arc::new(Notify::new());
        tokio::spawn(writer::run(connection, receiver, Arc::clone(&stop)));
        let sqlite = Sqlite { reads, writes: sender, stop, writer: writes, _lock: Arc::new(lock) };
        Ok(Self { engine: Engine::Sqlite(sqlite) })
    }

    async fn open_postgres(config: &DbConfig) -> Result<Self, OpenError> {
        let options = PgConnectOptions::from_str(&config.url)?.application_name("parlance");
        let pool = PgPoolOptions::new()
            .max_connections(config.connections.max(2))
            .acquire_timeout(Duration::from_secs(10))
            .test_before_acquire(false)
            .connect_with(options)
            .await?;
        let (role, bypasses): (String, bool) =
            sqlx::query_as("SELECT rolname::text, rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user")
                .fetch_one(&pool)
                .await?;
        if bypasses {
            // Before the migration, so that a refused role owns no tables.
            return Err(OpenError::Superuser(role));
        }
        let migrate_url = config.migrate_url.as_deref().unwrap_or(&config.url);
        migrate::postgres(migrate_url, &config.url).await?;
        Ok(Self { engine: Engine::Postgres(pool) })
    }

    /// A connection to read with, which sees what `scope` allows.
    pub async fn read(&self, scope: impl Into<Scope>) -> Result<Tx> {
        let engine = match &self.engine {
            // On the heap: what opening a connection takes is large, and every request would keep room for it.
            Engine::Sqlite(sqlite) => {
                TxEngine::Sqlite(SqliteTx::to_read(Box::pin(sqlite.reads.acquire()).await.map_err(fault)?))
            }
            Engine::Postgres(pool) => {
                let mut connection = Box::pin(pool.acquire()).await.map_err(fault)?;
                // Set anew at every checkout: what an earlier user of the connection set is gone.
                sqlx::query("SELECT set_config('parlance.organisation', $1, FALSE)")
                    .bind(scope.into().setting())
                    .execute(&mut *connection)
                    .await
                    .map_err(fault)?;
                TxEngine::PostgresRead(connection)
            }
        };
        Ok(Tx { engine })
    }

    /// Runs `operation` in a transaction and returns when its effects are on disk. An error undoes
    /// all of it. It runs to its end even if the caller goes away, so nothing is left half done.
    ///
    /// No network call and no model call in here: on SQLite every other write waits.
    pub fn write<T, F>(&self, scope: impl Into<Scope>, operation: F) -> impl Future<Output = Result<T>> + Send
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T>> + Send + 'static,
    {
        // On the heap from the start: operations carry whole rows, and every layer below would keep room
        // for them twice, in thousands of requests at once.
        self.write_boxed(scope.into(), Box::new(operation))
    }

    async fn write_boxed<T: Send + 'static>(&self, scope: Scope, operation: Operation<T>) -> Result<T> {
        let Some(rider) = Rider::of(scope) else { return self.submit(scope, operation).await };
        let rider = Arc::new(rider);
        let riding = Arc::clone(&rider);
        let with_rider: Operation<T> = Box::new(move |tx| {
            Box::pin(async move {
                let value = operation(tx).await?;
                riding.ride(tx).await?;
                Ok(value)
            })
        });
        let written = self.submit(scope, with_rider).await?;
        rider.arrived();
        Ok(written)
    }

    async fn submit<T: Send + 'static>(&self, scope: Scope, operation: Operation<T>) -> Result<T> {
        match &self.engine {
            Engine::Sqlite(sqlite) => writer::submit(&sqlite.writes, operation).await,
            Engine::Postgres(pool) => {
                let pool = pool.clone();
                let setting = scope.setting();
                let running = tokio::spawn(async move { writer::postgres(&pool, &setting, operation).await });
                running.await.map_err(|error| Error::internal("a database write stopped", error))?
            }
        }
    }

    /// Whether the database answers.
    pub async fn is_ready(&self) -> bool {
        self.ask().await.is_ok()
    }

    async fn ask(&self) -> Result<()> {
        let mut tx = self.read(Scope::System).await?;
        crate::tx::execute!(tx, sqlx::query("SELECT 1")).map(drop)
    }

    /// `sqlite` or `postgres`.
    pub const fn engine_name(&self) -> &'static str {
        match self.engine {
            Engine::Sqlite(_) => "sqlite",
            Engine::Postgres(_) => "postgres",
        }
    }

    /// Writes a consistent copy of a SQLite database to `target`, which must not exist. Writes go on
    /// meanwhile; those acknowledged before the call are in the copy.
    pub async fn snapshot(&self, target: &Path) -> Result<()> {
        match &self.engine {
            Engine::Sqlite(sqlite) => {
                // A connection of its own: the writer's is busy, and SQLite counts this as a write of
                // those that only read.
                let mut connection =
                    SqliteConnection::connect_with(&sqlite.writer.connect_options()).await.map_err(fault)?;
                sqlx::query("VACUUM INTO $1")
                    .bind(target.to_string_lossy().into_owned())
                    .execute(&mut connection)
                    .await
                    .map_err(fault)?;
                connection.close().await.map_err(fault)?;
                let flushed = async { tokio::fs::File::open(target).await?.sync_all().await };
                flushed.await.map_err(|error| Error::internal("flushing a snapshot", error))
            }
            Engine::Postgres(_) => Err(Error::BadRequest(
                "use pg_dump to back up a PostgreSQL database; docs/DATABASES.md has the command".to_owned(),
            )),
        }
    }

    /// Takes no more writes, waits for those that were handed in, and closes all connections. Other
    /// clones of this database are of no use afterwards.
    pub async fn close(self) {
        match self.engine {
            Engine::Sqlite(sqlite) => {
                // Readers first: the writer's last act is to empty the write-ahead log, which they hold up.
                sqlite.reads.close().await;
                sqlite.stop.notify_one();
                // The writer gives its connection back at its end, which this waits for.
                sqlite.writer.close().await;
            }
            Engine::Postgres(pool) => pool.close().await,
        }
    }
}

/// Takes the lock that keeps a second process off the same file. Held until the process ends,
/// however it ends.
fn lock_beside(database: &Path) -> Result<File, OpenError> {
    let path = database.with_extension("lock");
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|error| OpenError::File(path.clone(), error))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(database.to_owned())),
        Err(TryLockError::Error(error)) => Err(OpenError::File(path, error)),
    }
}
