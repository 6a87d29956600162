//! Both migration folders make the same schema. Of the run with `TEST_DATABASE_URL`, which
//! `make test` always does, because it needs both engines.

use std::collections::{BTreeMap, BTreeSet};

use parlance_storage::{Db, DbConfig};
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};

use crate::world::{World, postgres_tables};

/// What a table promises.
#[derive(Debug, Default, PartialEq, Eq)]
struct Table {
    /// Name to type and whether it may be null, in PostgreSQL's words.
    columns: BTreeMap<String, (String, bool)>,
    primary_key: Vec<String>,
    /// Columns of each unique index, with its condition.
    unique: BTreeSet<(Vec<String>, bool)>,
    /// Columns of each other index, with whether it has a condition.
    indexes: BTreeSet<(Vec<String>, bool)>,
    /// Column, table and column it refers to, and what a removal there does here.
    foreign_keys: BTreeSet<(String, String, String, String)>,
}

/// The table of docs/DATABASES.md.
fn in_postgres(sqlite_type: &str) -> &str {
    match sqlite_type {
        "TEXT" => "text",
        "BIGINT" => "bigint",
        "BOOLEAN" => "boolean",
        "BLOB" => "bytea",
        "DOUBLE PRECISION" => "double precision",
        other => panic!("{other} is not a portable type"),
    }
}

#[tokio::test]
async fn both_engines_have_the_same_schema() {
    let world = World::new().await;
    if world.db.engine_name() == "sqlite" {
        return;
    }
    let path = world.folder.path().join("parity.db");
    let url = format!("sqlite:{}", path.display());
    Db::open(&DbConfig { url: url.clone(), migrate_url: None, connections: 1 }).await.unwrap().close().await;
    let sqlite = sqlite_schema(&mut SqliteConnection::connect(&url).await.unwrap()).await;
    let postgres = postgres_schema(&mut world.postgres(None).await).await;
    assert!(sqlite.len() >= 20, "{:?}", sqlite.keys());
    assert_eq!(sqlite.keys().collect::<Vec<_>>(), postgres.keys().collect::<Vec<_>>());
    for (name, table) in &sqlite {
        assert_eq!(table, &postgres[name], "table {name}: SQLite left, PostgreSQL right");
    }
}

#[tokio::test]
async fn text_sorts_by_its_bytes_on_postgres() {
    let world = World::new().await;
    if world.db.engine_name() == "sqlite" {
        return;
    }
    let localised: Vec<String> = sqlx::query_scalar(
        "SELECT format('%s.%s', c.relname, a.attname) FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid \
         WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace AND c.relname NOT LIKE '\\_sqlx%' \
         AND a.attnum > 0 AND a.atttypid = 'text'::regtype AND a.attcollation <> '\"C\"'::regcollation",
    )
    .fetch_all(&mut world.postgres(None).await)
    .await
    .unwrap();
    assert_eq!(localised, Vec::<String>::new());
}

async fn sqlite_schema(connection: &mut SqliteConnection) -> BTreeMap<String, Table> {
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '\\_sqlx%' ESCAPE '\\' \
         AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT LIKE 'conversation\\_terms%' ESCAPE '\\'",
    )
    .fetch_all(&mut *connection)
    .await
    .unwrap();
    let mut schema = BTreeMap::new();
    for name in names {
        let mut table = Table::default();
        let columns: Vec<(String, String, bool, i64)> =
            sqlx::query_as("SELECT name, type, \"notnull\", pk FROM pragma_table_info($1) ORDER BY pk")
                .bind(&name)
                .fetch_all(&mut *connection)
                .await
                .unwrap();
        for (column, kind, not_null, key) in columns {
            if key > 0 {
                table.primary_key.push(column.clone());
            }
            table.columns.insert(column, (in_postgres(&kind).to_owned(), !not_null));
        }
        let indexes: Vec<(String, bool, String, bool)> =
            sqlx::query_as("SELECT name, \"unique\", origin, partial FROM pragma_index_list($1)")
                .bind(&name)
                .fetch_all(&mut *connection)
                .await
                .unwrap();
        for (index, unique, origin, partial) in indexes {
            let columns: Vec<String> = sqlx::query_scalar("SELECT name FROM pragma_index_info($1) ORDER BY seqno")
                .bind(&index)
                .fetch_all(&mut *connection)
                .await
                .unwrap();
            match (origin.as_str(), unique) {
                ("pk", _) => {}
                (_, true) => drop(table.unique.insert((columns, partial))),
                (_, false) => drop(table.indexes.insert((columns, partial))),
            }
        }
        table.foreign_keys =
            sqlx::query_as("SELECT \"from\", \"table\", \"to\", on_delete FROM pragma_foreign_key_list($1)")
                .bind(&name)
                .fetch_all(&mut *connection)
                .await
                .unwrap()
                .into_iter()
                .collect();
        schema.insert(name, table);
    }
    schema
}

async fn postgres_schema(connection: &mut PgConnection) -> BTreeMap<String, Table> {
    let mut schema = BTreeMap::new();
    // Each engine keeps these terms in its own way.
    let tables = postgres_tables(connection).await.into_iter().filter(|name| name != "conversation_terms");
    for name in tables {
        let columns: Vec<(String, String, bool)> = sqlx::query_as(
            "SELECT attname::text, format_type(atttypid, atttypmod), NOT attnotnull FROM pg_attribute \
             WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped",
        )
        .bind(&name)
        .fetch_all(&mut *connection)
        .await
        .unwrap();
        let mut table = Table {
            columns: columns.into_iter().map(|(column, kind, nullable)| (column, (kind, nullable))).collect(),
            ..Table::default()
        };
        let indexes: Vec<(Vec<String>, bool, bool, bool)> = sqlx::query_as(
            "SELECT ARRAY(SELECT a.attname::text FROM unnest(i.indkey) WITH ORDINALITY AS k (number, place) \
             JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.number ORDER BY k.place), \
             i.indisunique, i.indisprimary, i.indpred IS NOT NULL FROM pg_index AS i WHERE i.indrelid = $1::regclass",
        )
        .bind(&name)
        .fetch_all(&mut *connection)
        .await
        .unwrap();
        for (columns, unique, primary, partial) in indexes {
            match (primary, unique) {
                (true, _) => table.primary_key = columns,
                (_, true) => drop(table.unique.insert((columns, partial))),
                (_, false) => drop(table.indexes.insert((columns, partial))),
            }
        }
        let keys: Vec<(String, String, String, String)> = sqlx::query_as(AssertSqlSafe(
            "SELECT a.attname::text, c.confrelid::regclass::text, f.attname::text, \
             CASE c.confdeltype WHEN 'c' THEN 'CASCADE' WHEN 'n' THEN 'SET NULL' WHEN 'a' THEN 'NO ACTION' \
             ELSE c.confdeltype::text END \
             FROM pg_constraint AS c \
             JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1] \
             JOIN pg_attribute AS f ON f.attrelid = c.confrelid AND f.attnum = c.confkey[1] \
             WHERE c.contype = 'f' AND c.conrelid = $1::regclass",
        ))
        .bind(&name)
        .fetch_all(&mut *connection)
        .await
        .unwrap();
        table.foreign_keys = keys.into_iter().collect();
        schema.insert(name, table);
    }
    schema
}
