//! Copies of a SQLite database for a backup, made while another process serves from it.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, SqliteConnection};

use crate::{OpenError, migrate};

/// Keys that are listed at once.
const SLICE: i64 = 1_000;

/// Copies the database at `from` to `target`, which must not exist. Whoever serves from it goes on
/// writing; what was acknowledged before the call is in the copy.
pub async fn copy_in_use(from: &Path, target: &Path) -> Result<(), OpenError> {
    // Nothing but the address: how the file is written is for the one who serves from it to say.
    let options =
        SqliteConnectOptions::new().filename(from).create_if_missing(false).busy_timeout(Duration::from_secs(30));
    let mut connection = SqliteConnection::connect_with(&options).await?;
    sqlx::query("VACUUM INTO $1").bind(target.to_string_lossy().into_owned()).execute(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

/// The newest schema that this program can serve from (SQLite).
pub fn known_schema() -> i64 {
    migrate::known_sqlite_version()
}

/// A copy that nobody writes to.
#[derive(Debug)]
pub struct DatabaseCopy {
    connection: SqliteConnection,
}

impl DatabaseCopy {
    /// Opens it to read.
    pub async fn open(path: &Path) -> Result<Self, OpenError> {
        let options = SqliteConnectOptions::new().filename(path).read_only(true).immutable(true);
        Ok(Self { connection: SqliteConnection::connect_with(&options).await? })
    }

    /// The version of its schema.
    pub async fn schema(&mut self) -> Result<i64, OpenError> {
        let version =
            sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations").fetch_one(&mut self.connection).await?;
        Ok(version)
    }

    /// Keys of stored bytes that its rows name, in order, from just after `after`; none at the end.
    pub async fn blob_keys(&mut self, after: &str) -> Result<Vec<String>, OpenError> {
        let keys = sqlx::query_scalar(
            "SELECT blob_key FROM (SELECT blob_key FROM uploads UNION SELECT blob_key FROM files \
             UNION SELECT blob_key FROM attachments) WHERE blob_key > $1 ORDER BY blob_key LIMIT $2",
        )
        .bind(after)
        .bind(SLICE)
        .fetch_all(&mut self.connection)
        .await?;
        Ok(keys)
    }

    /// Closes it.
    pub async fn close(self) -> Result<(), OpenError> {
        self.connection.close().await?;
        Ok(())
    }
}
