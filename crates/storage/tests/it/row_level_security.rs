//! PostgreSQL keeps organisations apart by itself. These tests are of the run with
//! `TEST_DATABASE_URL`, which `make test` always does; on SQLite there is nothing to test.

use parlance_storage::{Db, DbConfig, OpenError, organisations};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::world::{World, postgres_tables, write};

/// Tables without an organisation: of the installation, not of a tenant.
const SHARED: [&str; 3] = ["conversation_terms", "index_watermark", "installation"];

async fn on_postgres() -> Option<World> {
    let world = World::new().await;
    (world.db.engine_name() == "postgres").then_some(world)
}

#[tokio::test]
async fn every_table_with_an_organisation_forces_it() {
    let Some(world) = on_postgres().await else { return };
    let mut connection = world.postgres(None).await;
    let unforced: Vec<String> = sqlx::query_scalar(
        "SELECT c.relname::text FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid \
         WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace AND a.attname = 'org_id' \
         AND NOT (c.relrowsecurity AND c.relforcerowsecurity \
         AND EXISTS (SELECT 1 FROM pg_policy AS p WHERE p.polrelid = c.oid))",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    assert_eq!(unforced, Vec::<String>::new());
    let nullable: Vec<String> = sqlx::query_scalar(
        "SELECT table_name::text FROM information_schema.columns \
         WHERE table_schema = 'public' AND column_name = 'org_id' AND is_nullable = 'YES'",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    assert_eq!(nullable, Vec::<String>::new());
    let without: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_class AS c WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace \
         AND relname NOT LIKE '\\_sqlx%' AND NOT EXISTS \
         (SELECT 1 FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attname = 'org_id') ORDER BY relname",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    assert_eq!(without, SHARED);
}

#[tokio::test]
async fn without_a_setting_there_are_no_rows_and_with_one_only_its_own() {
    let Some(world) = on_postgres().await else { return };
    world.fill().await;
    let second = organisations::User {
        id: crate::world::id(),
        name: "s".into(),
        role: "owner".into(),
        created_at: crate::world::NOW,
    };
    let stranger = world.stranger;
    write!(world, stranger, tx => organisations::insert_user(tx, stranger, &second)).unwrap();

    let mut bare = world.postgres(None).await;
    let mut empty = world.postgres(Some("")).await;
    let own = world.tenant.organisation().to_string();
    let mut scoped = world.postgres(Some(&own)).await;
    let tables = postgres_tables(&mut bare).await;
    assert!(tables.len() >= 20, "{tables:?}");
    for table in tables.iter().filter(|table| !SHARED.contains(&table.as_str())) {
        let count = format!("SELECT count(*) FROM {table}");
        for connection in [&mut bare, &mut empty] {
            let rows: i64 = sqlx::query_scalar(AssertSqlSafe(count.clone())).fetch_one(connection).await.unwrap();
            assert_eq!(rows, 0, "{table} without a setting");
        }
        let organisations: Vec<String> =
            sqlx::query_scalar(AssertSqlSafe(format!("SELECT DISTINCT org_id FROM {table}")))
                .fetch_all(&mut scoped)
                .await
                .unwrap();
        assert_eq!(organisations, std::slice::from_ref(&own), "{table}");
        // Changing what is not visible changes nothing; copying one's own row to another fails.
        let update = format!("UPDATE {table} SET org_id = org_id");
        assert_eq!(sqlx::query(AssertSqlSafe(update)).execute(&mut bare).await.unwrap().rows_affected(), 0, "{table}");
        let foreign = format!("UPDATE {table} SET org_id = '{}'", stranger.organisation());
        let refused = sqlx::query(AssertSqlSafe(foreign)).execute(&mut scoped).await.unwrap_err();
        assert!(refused.to_string().contains("row-level security"), "{table}: {refused}");
    }
}

#[tokio::test]
async fn a_row_cannot_be_added_without_a_setting_or_for_somebody_else() {
    let Some(world) = on_postgres().await else { return };
    for setting in [None, Some(""), Some("0199")] {
        let mut connection = world.postgres(setting).await;
        for table in postgres_tables(&mut connection).await {
            if SHARED.contains(&table.as_str()) {
                continue;
            }
            // Defaults for every other column: the policy is checked before constraints are.
            let insert = format!("INSERT INTO {table} (org_id) VALUES ('{}')", world.tenant.organisation());
            let refused = sqlx::query(AssertSqlSafe(insert)).execute(&mut connection).await.unwrap_err();
            assert!(refused.to_string().contains("row-level security"), "{table}, {setting:?}: {refused}");
        }
    }
}

#[tokio::test]
async fn a_connection_keeps_no_scope_of_its_last_user() {
    let Some(world) = on_postgres().await else { return };
    for _ in 0..20 {
        for (scope, expected) in [(world.tenant, "First"), (world.stranger, "Second")] {
            let mut tx = world.db.read(scope).await.unwrap();
            let seen = organisations::first(&mut tx).await.unwrap().unwrap();
            assert_eq!(seen.name, expected, "the only one in sight");
        }
    }
}

#[tokio::test]
async fn a_superuser_is_refused_before_it_owns_a_table() {
    let Some(world) = on_postgres().await else { return };
    #[expect(clippy::disallowed_methods, reason = "how `make test` tells where its PostgreSQL is")]
    let server = std::env::var("TEST_DATABASE_SUPERUSER_URL").expect("make test sets it beside TEST_DATABASE_URL");
    let mut connection = PgConnection::connect(&server).await.unwrap();
    let name = format!("refused_{}", world.tenant.organisation().uuid().simple());
    sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut connection).await.unwrap();
    let url = server.replacen("/postgres?", &format!("/{name}?"), 1);
    let refused = Db::open(&DbConfig { url: url.clone(), migrate_url: None, connections: 2 }).await.unwrap_err();
    assert!(matches!(&refused, OpenError::Superuser(role) if role == "postgres"), "{refused}");
    assert!(refused.to_string().contains("CREATE ROLE"), "the text says how to make a proper role");
    let mut inside = PgConnection::connect(&url).await.unwrap();
    assert_eq!(postgres_tables(&mut inside).await, Vec::<String>::new());
    inside.close().await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(format!("DROP DATABASE {name}"))).execute(&mut connection).await.unwrap();
}

#[tokio::test]
async fn the_role_that_serves_need_not_own_the_tables() {
    let Some(world) = on_postgres().await else { return };
    #[expect(clippy::disallowed_methods, reason = "how `make test` tells where its PostgreSQL is")]
    let server = std::env::var("TEST_DATABASE_SUPERUSER_URL").expect("make test sets it beside TEST_DATABASE_URL");
    let mut connection = PgConnection::connect(&server).await.unwrap();
    let role = format!("serving_{}", world.tenant.organisation().uuid().simple());
    sqlx::raw_sql(AssertSqlSafe(format!("CREATE ROLE {role} LOGIN"))).execute(&mut connection).await.unwrap();
    let url = world.url.replacen("parlance_test@", &format!("{role}@"), 1);
    let config = DbConfig { url, migrate_url: Some(world.url.clone()), connections: 2 };
    let db = Db::open(&config).await.unwrap();
    let mut tx = db.read(world.tenant).await.unwrap();
    assert_eq!(organisations::first(&mut tx).await.unwrap().unwrap().name, "First");
    drop(tx);
    let with_role = World { db, url: config.url, ..world };
    with_role.fill().await;
    let mut plain = with_role.postgres(Some("*")).await;
    let refused = sqlx::query("ALTER TABLE users DISABLE ROW LEVEL SECURITY").execute(&mut plain).await.unwrap_err();
    assert!(refused.to_string().contains("must be owner"), "{refused}");
}
