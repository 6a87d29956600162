//! Bringing a schema up to date, never down, and never without a way back.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{PgPool, SqlitePool};

use crate::OpenError;

static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");

/// The newest schema version this program knows.
fn known_version(migrator: &Migrator) -> i64 {
    migrator.iter().map(|migration| migration.version).max().unwrap_or_default()
}

/// The newest schema of SQLite that this program knows.
pub(crate) fn known_sqlite_version() -> i64 {
    known_version(&SQLITE)
}

/// Refuses a newer schema, snapshots an older one, applies what is missing.
pub(crate) async fn sqlite(pool: &SqlitePool, path: &Path) -> Result<(), OpenError> {
    migrate_sqlite(&SQLITE, pool, path).await
}

async fn migrate_sqlite(migrator: &Migrator, pool: &SqlitePool, path: &Path) -> Result<(), OpenError> {
    let has_history: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_master WHERE name = '_sqlx_migrations'")
        .fetch_one(pool)
        .await?;
    if has_history > 0 {
        let found: i64 =
            sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM _sqlx_migrations").fetch_one(pool).await?;
        if !needs_migration(migrator, found)? {
            return Ok(());
        }
        let snapshot = save_snapshot(pool, path, found).await?;
        tracing::info!(snapshot = %snapshot.display(), "saved a copy of the database before its migration");
    }
    migrator.run(pool).await?;
    Ok(())
}

/// Copies the database to a file beside it that is named after its schema version. The last copy of
/// a version stands; it appears under its name only when all of it is on disk.
async fn save_snapshot(pool: &SqlitePool, path: &Path, version: i64) -> Result<PathBuf, OpenError> {
    let snapshot = path.with_extension(format!("schema-{version}.db"));
    let unfinished = path.with_extension(format!("schema-{version}.unfinished"));
    match tokio::fs::remove_file(&unfinished).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(OpenError::File(unfinished, error)),
        _ => {}
    }
    sqlx::query("VACUUM INTO $1").bind(unfinished.to_string_lossy().into_owned()).execute(pool).await?;
    let publish = async {
        tokio::fs::File::open(&unfinished).await?.sync_all().await?;
        tokio::fs::rename(&unfinished, &snapshot).await?;
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            tokio::fs::File::open(folder).await?.sync_all().await?;
        }
        Ok(())
    };
    publish.await.map_err(|error| OpenError::File(snapshot.clone(), error))?;
    Ok(snapshot)
}

/// As [`sqlite`], but the way back is the operator's own backup: a server cannot copy a PostgreSQL
/// database. Grants the serving role what it needs when it is another one.
pub(crate) async fn postgres(migrate_url: &str, serve_url: &str) -> Result<(), OpenError> {
    // Row-level security binds the owner of the tables too: a migration that changes rows must see
    // those of every organisation.
    let options = PgConnectOptions::from_str(migrate_url)?.options([("parlance.organisation", "*")]);
    let pool: PgPool = PgPoolOptions::new().max_connections(2).connect_with(options).await?;
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
        let options = PgConnectOptions::from_str(serve_url)?;
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

#[cfg(test)]
mod tests {
    use sqlx::migrate::{Migration, MigrationType};
    use sqlx::sqlite::SqliteConnectOptions;
    use sqlx::{Connection, SqlSafeStr, SqliteConnection};

    use super::*;

    fn release(statements: &[&'static str]) -> Migrator {
        let migrations = (1..).zip(statements).map(|(version, sql)| {
            Migration::new(version, "step".into(), MigrationType::Simple, sql.into_sql_str(), false)
        });
        Migrator::with_migrations(migrations.collect())
    }

    async fn pool(path: &Path) -> SqlitePool {
        SqlitePool::connect_with(SqliteConnectOptions::new().filename(path).create_if_missing(true)).await.unwrap()
    }

    async fn columns(path: &Path) -> Vec<String> {
        let mut connection = SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(path)).await.unwrap();
        sqlx::query_scalar("SELECT name FROM pragma_table_info('notes') ORDER BY cid")
            .fetch_all(&mut connection)
            .await
            .unwrap()
    }

    const FIRST: &str = "CREATE TABLE notes (text TEXT NOT NULL)";
    const SECOND: &str = "ALTER TABLE notes ADD COLUMN page BIGINT";

    #[tokio::test]
    async fn a_copy_of_the_old_schema_is_saved_before_its_migration() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("parlance.db");
        let snapshot = folder.path().join("parlance.schema-1.db");
        let pool = pool(&path).await;

        migrate_sqlite(&release(&[FIRST]), &pool, &path).await.unwrap();
        sqlx::query("INSERT INTO notes VALUES ('kept')").execute(&pool).await.unwrap();
        assert!(!snapshot.exists(), "an empty database has nothing to save");
        migrate_sqlite(&release(&[FIRST]), &pool, &path).await.unwrap();
        assert!(!snapshot.exists(), "nothing was migrated");

        // What a crash in the middle of an earlier copy leaves.
        std::fs::write(folder.path().join("parlance.schema-1.unfinished"), b"half").unwrap();
        migrate_sqlite(&release(&[FIRST, SECOND]), &pool, &path).await.unwrap();
        assert_eq!(columns(&path).await, ["text", "page"]);
        assert_eq!(columns(&snapshot).await, ["text"]);
        let mut old = SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(&snapshot)).await.unwrap();
        let text: String = sqlx::query_scalar("SELECT text FROM notes").fetch_one(&mut old).await.unwrap();
        assert_eq!(text, "kept");
    }

    #[tokio::test]
    async fn what_was_uploaded_before_it_was_counted_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("parlance.db");
        let pool = pool(&path).await;
        let first = Migrator::with_migrations(SQLITE.iter().take(1).cloned().collect());
        migrate_sqlite(&first, &pool, &path).await.unwrap();
        let old = "INSERT INTO organisations VALUES ('one', 'One', 'UTC', 1), ('two', 'Two', 'UTC', 2); \
                   INSERT INTO uploads (id, org_id, blob_key, filename, size, used_at, created_at) VALUES \
                   ('a', 'one', 'a', 'a', 3, 5, 5), ('b', 'one', 'b', 'b', 4, NULL, 6), ('c', 'one', 'c', 'c', 8, NULL, 0)";
        sqlx::raw_sql(old).execute(&pool).await.unwrap();
        migrate_sqlite(&SQLITE, &pool, &path).await.unwrap();
        let counted: Vec<(String, i64)> =
            sqlx::query_as("SELECT org_id, stored_bytes FROM organisation_storage").fetch_all(&pool).await.unwrap();
        assert_eq!(counted, [("one".to_owned(), 7)]);
    }

    #[tokio::test]
    async fn a_failed_migration_changes_nothing_and_the_next_try_saves_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("parlance.db");
        let snapshot = folder.path().join("parlance.schema-1.db");
        let pool = pool(&path).await;
        migrate_sqlite(&release(&[FIRST]), &pool, &path).await.unwrap();

        let broken = release(&[FIRST, "ALTER TABLE notes ADD COLUMN page BIGINT; SELECT no_such_function()"]);
        assert!(matches!(migrate_sqlite(&broken, &pool, &path).await, Err(OpenError::Migrate(_))));
        assert_eq!(columns(&path).await, ["text"]);

        // The old release goes on, and what it writes is in the copy of the next try.
        sqlx::query("INSERT INTO notes VALUES ('later')").execute(&pool).await.unwrap();
        migrate_sqlite(&release(&[FIRST, SECOND]), &pool, &path).await.unwrap();
        let mut old = SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(&snapshot)).await.unwrap();
        let texts: Vec<String> = sqlx::query_scalar("SELECT text FROM notes").fetch_all(&mut old).await.unwrap();
        assert_eq!(texts, ["later"]);
    }

    #[tokio::test]
    async fn domains_of_the_first_schema_stay_and_may_be_claimed_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("parlance.db");
        // What the domains belong to is not looked at here.
        let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true).foreign_keys(false);
        let pool = SqlitePool::connect_with(options).await.unwrap();
        let first = SQLITE.iter().filter(|migration| migration.version == 1).cloned().collect();
        migrate_sqlite(&Migrator::with_migrations(first), &pool, &path).await.unwrap();
        let insert = "INSERT INTO custom_domains (id, org_id, web_chat_id, domain, status, token, verified_at, created_at) \
                      VALUES ($1, 'o', $1, 'chat.example.com', $2, 'token', 5, 4)";
        let add = async |id: &str, status: &str| sqlx::query(insert).bind(id).bind(status).execute(&pool).await;
        add("a", "verified").await.unwrap();
        assert!(add("b", "pending").await.is_err());

        migrate_sqlite(&SQLITE, &pool, &path).await.unwrap();
        let kept: (String, String, i64) =
            sqlx::query_as("SELECT id, status, verified_at FROM custom_domains").fetch_one(&pool).await.unwrap();
        assert_eq!(kept, ("a".to_owned(), "verified".to_owned(), 5));
        add("b", "pending").await.unwrap();
        assert!(add("c", "verified").await.is_err());
    }

    #[tokio::test]
    async fn an_older_release_refuses_a_newer_schema() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("parlance.db");
        let pool = pool(&path).await;
        migrate_sqlite(&release(&[FIRST, SECOND]), &pool, &path).await.unwrap();
        let refused = migrate_sqlite(&release(&[FIRST]), &pool, &path).await;
        assert!(matches!(refused, Err(OpenError::Newer { found: 2, known: 1 })), "{refused:?}");
    }
}
