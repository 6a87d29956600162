//! Bringing a schema up to date, never down, and never without a way back.

use std::path::Path;

use sqlx::migrate::Migrator;
use sqlx::postgres::PgPoolOptions;
use sqlx::{PgPool, SqlitePool};

use crate::OpenError;

static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");

/// The newest schema version this program knows.
fn known_version(migrator: &Migrator) -> i64 {
    migrator.iter().map(|migration| migration.version).max().unwrap_or_default()
}

/// Refuses a newer schema, snapshots an older one, applies what is missing.
pub(crate) async fn sqlite(pool: &SqlitePool, path: &Path) -> Result<(), OpenError> {
    let has_history: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_master WHERE name = '_sqlx_migrations'")
        .fetch_one(pool)
        .await?;
    if has_history > 0 {
        let found: i64 =
            sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM _sqlx_migrations").fetch_one(pool).await?;
        if !needs_migration(&SQLITE, found)? {
            return Ok(());
        }
        let snapshot = path.with_extension(format!("before-schema-{}.db", known_version(&SQLITE)));
        if !snapshot.exists() {
            sqlx::query("VACUUM INTO $1").bind(snapshot.to_string_lossy().into_owned()).execute(pool).await?;
            tracing::info!(snapshot = %snapshot.display(), "saved a copy of the database before its migration");
        }
    }
    SQLITE.run(pool).await?;
    Ok(())
}

/// As [`sqlite`], but the way back is the operator's own backup: a server cannot copy a PostgreSQL
/// database. Grants the serving role what it needs when it is another one.
pub(crate) async fn postgres(migrate_url: &str, serve_url: &str) -> Result<(), OpenError> {
    let pool: PgPool = PgPoolOptions::new().max_connections(2).connect(migrate_url).await?;
    let has_history: bool =
        sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL").fetch_one(&pool).await?;
    let mut pending = true;
    if has_history {
        let found: i64 =
            sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM _sqlx_migrations").fetch_one(&pool).await?;
        pending = needs_migration(&POSTGRES, found)?;
    }
    if pending {
        POSTGRES.run(&pool).await?;
    }
    if migrate_url != serve_url {
        let options: sqlx::postgres::PgConnectOptions = serve_url.parse()?;
        // Role names cannot be parameters; quote_ident makes it one identifier.
        let grants: Vec<String> = sqlx::query_scalar(
            "SELECT format(statement, quote_ident($1)) FROM (VALUES \
             ('GRANT USAGE ON SCHEMA public TO %s'), \
             ('GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO %s')) AS grants (statement)",
        )
        .bind(options.get_username())
        .fetch_all(&pool)
        .await?;
        for grant in grants {
            sqlx::raw_sql(sqlx::AssertSqlSafe(grant)).execute(&pool).await?;
        }
    }
    pool.close().await;
    Ok(())
}

/// Whether migrations are missing, or an error when the schema is from a newer release.
fn needs_migration(migrator: &Migrator, found: i64) -> Result<bool, OpenError> {
    let known = known_version(migrator);
    if found > known {
        return Err(OpenError::Newer { found, known });
    }
    Ok(found < known)
}
