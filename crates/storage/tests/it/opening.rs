//! Opening: what is refused, what is kept, what is copied.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parlance_storage::organisations::User;
use parlance_storage::snapshot::{self, DatabaseCopy};
use parlance_storage::uploads::{self, Upload};
use parlance_storage::{Db, DbConfig, OpenError, Scope, organisations, testing};
use sqlx::{Connection, PgConnection, SqliteConnection};

use crate::world::{NOW, World, id, read, write};

fn config(url: &str) -> DbConfig {
    DbConfig { url: url.into(), migrate_url: None, connections: 2 }
}

#[tokio::test]
async fn an_unknown_address_is_refused_without_its_secrets() {
    let error = Db::open(&config("mysql://root:hunter2@host/db")).await.unwrap_err();
    assert!(matches!(&error, OpenError::Url(scheme) if scheme == "mysql"), "{error}");
    assert!(!error.to_string().contains("hunter2"));
}

#[tokio::test]
async fn data_is_there_after_opening_again_and_a_second_opening_is_refused_on_sqlite() {
    let world = World::new().await;
    if world.db.engine_name() == "sqlite" {
        let second = Db::open(&config(&world.url)).await;
        assert!(matches!(second, Err(OpenError::InUse(_))), "{second:?}");
    } else {
        Db::open(&config(&world.url)).await.unwrap().close().await;
    }
    world.db.clone().close().await;
    let World { url, folder, tenant, db, .. } = world;
    drop(db);
    let db = Db::open(&config(&url)).await.unwrap();
    let mut tx = db.read(tenant).await.unwrap();
    assert_eq!(organisations::get(&mut tx, tenant).await.unwrap().unwrap().name, "First");
    drop((tx, folder));
}

#[tokio::test]
async fn a_schema_of_a_newer_release_is_refused() {
    let world = World::new().await;
    let World { url, folder, db, .. } = world;
    let is_sqlite = db.engine_name() == "sqlite";
    db.close().await;
    let insert = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                  SELECT 9999, 'from the future', success, checksum, 0 FROM _sqlx_migrations LIMIT 1";
    if is_sqlite {
        let mut connection = SqliteConnection::connect(&url).await.unwrap();
        sqlx::query(insert).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    } else {
        let mut connection = PgConnection::connect(&url).await.unwrap();
        sqlx::query(insert).execute(&mut connection).await.unwrap();
    }
    let error = Db::open(&config(&url)).await.unwrap_err();
    assert!(matches!(error, OpenError::Newer { found: 9999, .. }), "{error}");
    assert!(error.to_string().contains("snapshot"), "the text says what to do: {error}");
    drop(folder);
}

#[tokio::test]
async fn a_database_of_a_test_is_new_and_empty() {
    let folder = tempfile::tempdir().unwrap();
    let db = testing::open(folder.path()).await;
    let mut tx = db.read(Scope::System).await.unwrap();
    assert!(organisations::first(&mut tx).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_during_writes_has_all_that_were_acknowledged_before() {
    let world = World::new().await;
    if world.db.engine_name() == "postgres" {
        return;
    }
    let tenant = world.tenant;
    let acknowledged = Arc::new(AtomicU64::new(0));
    let (db, counter) = (world.db.clone(), Arc::clone(&acknowledged));
    let writing = tokio::spawn(async move {
        loop {
            let user = User { id: id(), name: "u".into(), role: "member".into(), created_at: NOW };
            let written = db
                .write(tenant, move |tx| Box::pin(async move { organisations::insert_user(tx, tenant, &user).await }));
            written.await.unwrap();
            counter.fetch_add(1, Ordering::SeqCst);
        }
    });
    let mut before = 0;
    for round in 1..=3_u64 {
        while acknowledged.load(Ordering::SeqCst) < round * 20 {
            tokio::task::yield_now().await;
        }
        before = acknowledged.load(Ordering::SeqCst);
        world.db.snapshot(&world.folder.path().join(format!("copy-{round}.db"))).await.unwrap();
    }
    writing.abort();
    let copy = format!("sqlite:{}", world.folder.path().join("copy-3.db").display());
    let mut connection = SqliteConnection::connect(&copy).await.unwrap();
    let found: i64 = sqlx::query_scalar("SELECT count(*) FROM users").fetch_one(&mut connection).await.unwrap();
    assert!(u64::try_from(found).unwrap() >= before, "{found} of {before}");
    let verdict: String = sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut connection).await.unwrap();
    assert_eq!(verdict, "ok");
}

#[tokio::test]
async fn a_snapshot_is_a_whole_database() {
    let world = World::new().await;
    world.fill().await;
    let target = world.folder.path().join("copy.db");
    let snapshot = world.db.snapshot(&target).await;
    if world.db.engine_name() == "postgres" {
        assert!(snapshot.unwrap_err().to_string().contains("pg_dump"));
        return;
    }
    snapshot.unwrap();
    assert!(world.db.snapshot(&target).await.is_err(), "never over a file");
    let original = world.rows_of(world.tenant).await;
    let db = Db::open(&config(&format!("sqlite:{}", target.display()))).await.unwrap();
    let copy = World { db, url: format!("sqlite:{}", target.display()), ..world };
    assert_eq!(copy.rows_of(copy.tenant).await, original);
    let name = read!(copy, copy.tenant, tx => organisations::get(tx, copy.tenant)).unwrap().unwrap().name;
    assert_eq!(name, "First");
}

#[tokio::test]
async fn a_backup_copies_what_another_process_writes_to() {
    let world = World::new().await;
    if world.db.engine_name() == "postgres" {
        return;
    }
    let all = world.fill().await;
    let (database, target) = (world.folder.path().join("parlance.db"), world.folder.path().join("copy.db"));
    assert!(database.exists(), "the name of the test's database");
    let writing = async {
        for number in 0..200 {
            let name = format!("attachments/{number:03}.txt");
            let upload = Upload { id: id(), blob_key: name, ..all.upload.clone() };
            write!(world, world.tenant, tx, upload => uploads::insert(tx, world.tenant, &upload, None)).unwrap();
        }
    };
    let (copied, ()) = tokio::join!(snapshot::copy_in_use(&database, &target), writing);
    copied.unwrap();
    assert!(snapshot::copy_in_use(&database, &target).await.is_err(), "never over a file");
    assert!(snapshot::copy_in_use(&target.with_extension("none"), &target).await.is_err(), "never a new database");

    let mut copy = DatabaseCopy::open(&target).await.unwrap();
    assert_eq!(copy.schema().await.unwrap(), snapshot::known_schema());
    let (mut keys, mut after) = (Vec::new(), String::new());
    loop {
        let slice = copy.blob_keys(&after).await.unwrap();
        let Some(last) = slice.last() else { break };
        after.clone_from(last);
        keys.extend(slice);
    }
    copy.close().await.unwrap();
    let of_before = [&all.upload.blob_key, &all.file.blob_key, &all.attachment.blob_key];
    assert!(of_before.iter().all(|key| keys.contains(key)), "{keys:?}");
    assert!(keys.is_sorted());
}
