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

/// No test takes longer than this: what is older and not in use is left over. Seconds.
const LONGEST_TEST: u64 = 150;

async fn create_postgres(server: &str) -> Result<String, sqlx::Error> {
    let id = uuid::Uuid::now_v7();
    let name = format!("test_{}", id.simple());
    let mut connection = sqlx::PgConnection::connect(server).await?;
    drop_left_over(&mut connection, id).await?;
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut connection).await?;
    connection.close().await?;
    let (before_query, query) = server.split_once('?').map_or((server, ""), |(url, query)| (url, query));
    let base = before_query.rsplit_once('/').map_or(before_query, |(base, _database)| base);
    Ok(if query.is_empty() { format!("{base}/{name}") } else { format!("{base}/{name}?{query}") })
}

/// Removes a few databases of tests that ended: each takes 8 MB, and nextest ends a test's process
/// without a chance to do it there.
async fn drop_left_over(connection: &mut sqlx::PgConnection, now: uuid::Uuid) -> Result<(), sqlx::Error> {
    let (seconds, _) = now.get_timestamp().map_or((0, 0), |stamp| stamp.to_unix());
    let before = uuid::Timestamp::from_unix(uuid::NoContext, seconds.saturating_sub(LONGEST_TEST), 0);
    // Names hold UUIDv7, so they sort by time.
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT datname::text FROM pg_database AS d WHERE datname LIKE 'test\\_%' AND datname::text COLLATE \"C\" < $1 \
         AND NOT EXISTS (SELECT 1 FROM pg_stat_activity AS a WHERE a.datid = d.oid) ORDER BY random() LIMIT 2",
    )
    .bind(format!("test_{}", uuid::Uuid::new_v7(before).simple()))
    .fetch_all(&mut *connection)
    .await?;
    for name in names {
        // Another test may drop the same one.
        drop(
            sqlx::raw_sql(sqlx::AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name}")))
                .execute(&mut *connection)
                .await,
        );
    }
    Ok(())
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
