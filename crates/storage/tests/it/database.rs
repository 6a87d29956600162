//! A database with two organisations, and what runs one function on it.

use std::collections::BTreeMap;
use std::time::Duration;

use parlance_domain::{Id, IdKind, Ids, Tenant, Timestamp};
use parlance_storage::organisations::Organisation;
use parlance_storage::{Db, DbConfig, Scope, organisations, testing};
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};

/// Runs one storage function in a write of its own. Names after the scope are cloned into it.
macro_rules! write {
    ($world:expr, $scope:expr, $tx:ident $(, $kept:ident)* => $run:expr) => {{
        $(let $kept = $kept.clone();)*
        $world.db.write($scope, move |$tx| Box::pin(async move { $run.await })).await
    }};
}
pub(crate) use write;

/// Runs one storage function on a connection to read with.
macro_rules! read {
    ($world:expr, $scope:expr, $tx:ident => $run:expr) => {{
        let mut connection = $world.db.read($scope).await.unwrap();
        let $tx = &mut connection;
        $run.await
    }};
}
pub(crate) use read;

/// The time at which everything in a [`World`] was made.
pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// [`NOW`] plus seconds.
pub(crate) fn later(seconds: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(seconds))
}

/// A new id.
pub(crate) fn id<K: IdKind>() -> Id<K> {
    Ids.next(NOW)
}

/// Row texts by table.
pub(crate) type Dump = BTreeMap<String, Vec<String>>;

pub(crate) struct World {
    pub(crate) db: Db,
    /// Address of the database, for connections that are not the product's.
    pub(crate) url: String,
    pub(crate) folder: tempfile::TempDir,
    /// Has one of everything in [`crate::world::Things`].
    pub(crate) tenant: Tenant,
    /// Has nothing.
    pub(crate) stranger: Tenant,
}

impl World {
    /// A migrated database with two empty organisations.
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = testing::database_url(folder.path()).await;
        let db = Db::open(&DbConfig { url: url.clone(), migrate_url: None, connections: 8 }).await.unwrap();
        let mut tenants = Vec::new();
        for (name, created_at) in [("First", NOW), ("Second", later(1))] {
            let organisation =
                Organisation { id: id(), name: name.into(), time_zone: "Asia/Taipei".into(), created_at };
            let tenant = Tenant::authenticated(organisation.id);
            db.write(tenant, move |tx| Box::pin(async move { organisations::insert(tx, &organisation).await }))
                .await
                .unwrap();
            tenants.push(tenant);
        }
        Self { db, url, folder, tenant: tenants[0], stranger: tenants[1] }
    }

    /// Every row of every table that names the organisation, as text.
    pub(crate) async fn rows_of(&self, tenant: Tenant) -> Dump {
        let organisation = tenant.organisation().to_string();
        let mut dump = self.dump().await;
        for rows in dump.values_mut() {
            rows.retain(|row| row.contains(&organisation));
        }
        dump.retain(|_, rows| !rows.is_empty());
        dump
    }

    async fn dump(&self) -> Dump {
        let mut dump = Dump::new();
        if let Some(path) = self.url.strip_prefix("sqlite:") {
            let mut connection = SqliteConnection::connect(&format!("sqlite:{path}?mode=ro")).await.unwrap();
            let tables: Vec<String> = sqlx::query_scalar(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '\\_sqlx%' ESCAPE '\\' \
                 AND name <> 'conversation_terms'",
            )
            .fetch_all(&mut connection)
            .await
            .unwrap();
            for table in tables {
                let columns: Vec<String> =
                    sqlx::query_scalar("SELECT 'quote(' || name || ')' FROM pragma_table_info($1)")
                        .bind(&table)
                        .fetch_all(&mut connection)
                        .await
                        .unwrap();
                let sql = format!("SELECT {} AS line FROM {table} ORDER BY line", columns.join(" || '|' || "));
                let rows = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&mut connection).await.unwrap();
                dump.insert(table, rows);
            }
        } else {
            let mut connection = self.postgres(Some("*")).await;
            for table in postgres_tables(&mut connection).await {
                let sql = format!("SELECT t::text FROM {table} AS t ORDER BY 1");
                let rows = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&mut connection).await.unwrap();
                dump.insert(table, rows);
            }
        }
        dump
    }

    /// A connection of its own, with the scope setting given.
    pub(crate) async fn postgres(&self, setting: Option<&str>) -> PgConnection {
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        if let Some(setting) = setting {
            sqlx::query("SELECT set_config('parlance.organisation', $1, FALSE)")
                .bind(setting)
                .execute(&mut connection)
                .await
                .unwrap();
        }
        connection
    }
}

/// Names of the product's tables.
pub(crate) async fn postgres_tables(connection: &mut PgConnection) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT relname::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace \
         AND relname NOT LIKE '\\_sqlx%' ORDER BY relname",
    )
    .fetch_all(connection)
    .await
    .unwrap()
}

/// Either scope a function may run in, so that the statements' own predicates are tested too.
pub(crate) fn scopes(tenant: Tenant) -> [Scope; 2] {
    [Scope::Tenant(tenant), Scope::System]
}
