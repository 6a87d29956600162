//! Throw-away databases for tests: SQLite in a temporary folder, or a database of its own on the
//! PostgreSQL server that `TEST_DATABASE_URL` names.

use std::path::Path;

use sqlx::Connection;

use crate::{Db, DbConfig};

/// Address of a new, empty database for a test. `folder` outlives the test's use of it.
///
/// # Panics
/// When the test server cannot be reached or the database cannot be made.
pub async fn database_url(folder: &Path) -> String {
    #[expect(clippy::disallowed_methods, reason = "how `make test` tells the tests where PostgreSQL is")]
    let Ok(server) = std::env::var("TEST_DATABASE_URL") else {
        return format!("sqlite:{}", folder.join("parlance.db").display());
    };
    create_postgres(&server).await.unwrap_or_else(|error| {
        #[expect(clippy::panic, reason = "a test cannot go on without its database")]
        {
            panic!("no test database at {server}: {error}")
        }
    })
}

async fn create_postgres(server: &str) -> Result<String, sqlx::Error> {
    let name = format!("test_{}", uuid::Uuid::now_v7().simple());
    let mut connection = sqlx::PgConnection::connect(server).await?;
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut connection).await?;
    connection.close().await?;
    let (before_query, query) = server.split_once('?').map_or((server, ""), |(url, query)| (url, query));
    let base = before_query.rsplit_once('/').map_or(before_query, |(base, _database)| base);
    Ok(if query.is_empty() { format!("{base}/{name}") } else { format!("{base}/{name}?{query}") })
}

/// Opens a new, empty, migrated database in `folder`.
///
/// # Panics
/// When that is not possible.
pub async fn open(folder: &Path) -> Db {
    let config = DbConfig { url: database_url(folder).await, migrate_url: None, connections: 4 };
    Db::open(&config).await.unwrap_or_else(|error| {
        #[expect(clippy::panic, reason = "a test cannot go on without its database")]
        {
            panic!("the test database does not open: {error}")
        }
    })
}
