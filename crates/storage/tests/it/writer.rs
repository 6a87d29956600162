//! Writes: all or nothing each, together or alone, whoever waits for them.

use parlance_domain::{Error, Tenant, Timestamp};
use parlance_storage::uploads::{self, Upload};
use parlance_storage::{Db, Scope, Tx};
use tokio::sync::oneshot;

use crate::world::{NOW, World, id, read, write};

fn upload(key: &str) -> Upload {
    Upload { id: id(), blob_key: key.into(), filename: "f".into(), size: 1, created_at: NOW }
}

async fn insert(tx: &mut Tx, tenant: Tenant, key: &str) -> parlance_domain::Result<()> {
    uploads::insert(tx, tenant, &upload(key), None).await
}

async fn stored(db: &Db, tenant: Tenant, key: &str) -> bool {
    let mut tx = db.read(tenant).await.unwrap();
    uploads::by_key(&mut tx, tenant, key).await.unwrap().is_some()
}

async fn count(db: &Db) -> usize {
    let mut tx = db.read(Scope::System).await.unwrap();
    uploads::abandoned(&mut tx, Timestamp::from_millis(i64::MAX), 10_000).await.unwrap().len()
}

/// Makes the writer of SQLite wait, so that what is written meanwhile lands in one commit.
pub(crate) async fn hold_writer(world: &World) -> oneshot::Sender<()> {
    let (release, released) = oneshot::channel::<()>();
    let (report, running) = oneshot::channel::<()>();
    let (db, tenant) = (world.db.clone(), world.tenant);
    tokio::spawn(async move {
        db.write(tenant, move |_tx| {
            Box::pin(async move {
                report.send(()).unwrap();
                drop(released.await);
                Ok(())
            })
        })
        .await
        .unwrap();
    });
    running.await.unwrap();
    release
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_writes_at_once_all_land_and_each_is_visible_when_acknowledged() {
    let world = World::new().await;
    let tenant = world.tenant;
    let writes = (0..200).map(|number| {
        let db = world.db.clone();
        tokio::spawn(async move {
            let key = format!("key-{number}");
            let written = key.clone();
            db.write(tenant, move |tx| Box::pin(async move { insert(tx, tenant, &written).await })).await.unwrap();
            assert!(stored(&db, tenant, &key).await, "{key} was acknowledged");
        })
    });
    for write in futures_util::future::join_all(writes).await {
        write.unwrap();
    }
    assert_eq!(count(&world.db).await, 200);
}

#[tokio::test]
async fn a_failing_write_undoes_itself_alone_in_a_shared_commit() {
    let world = World::new().await;
    let tenant = world.tenant;
    let release = hold_writer(&world).await;
    let writes: Vec<_> = (0..30)
        .map(|number| {
            let db = world.db.clone();
            tokio::spawn(async move {
                db.write(tenant, move |tx| {
                    Box::pin(async move {
                        insert(tx, tenant, &format!("key-{number}")).await?;
                        match number % 3 {
                            0 => Ok(number),
                            1 => Err(Error::Conflict("not this one".into())),
                            _ => panic!("a fault in write {number}"),
                        }
                    })
                })
                .await
            })
        })
        .collect();
    tokio::task::yield_now().await;
    release.send(()).unwrap();
    for (number, write) in writes.into_iter().enumerate() {
        let outcome = write.await.unwrap();
        match number % 3 {
            0 => assert_eq!(outcome.unwrap(), number),
            1 => assert!(matches!(outcome, Err(Error::Conflict(text)) if text == "not this one")),
            _ => assert!(matches!(outcome, Err(Error::Internal { .. }))),
        }
        assert_eq!(stored(&world.db, tenant, &format!("key-{number}")).await, number % 3 == 0, "key-{number}");
    }
}

#[tokio::test]
async fn a_failing_or_panicking_write_alone_is_undone_and_the_next_one_works() {
    let world = World::new().await;
    let tenant = world.tenant;
    let failed = write!(world, tenant, tx => async {
        insert(tx, tenant, "failed").await?;
        Err::<(), _>(Error::Conflict("no".into()))
    });
    assert!(matches!(failed, Err(Error::Conflict(_))));
    let panicked: Result<(), Error> = write!(world, tenant, tx => async {
        insert(tx, tenant, "panicked").await?;
        panic!("a fault");
    });
    assert!(matches!(panicked, Err(Error::Internal { .. })));
    write!(world, tenant, tx => insert(tx, tenant, "next")).unwrap();
    for (key, expected) in [("failed", false), ("panicked", false), ("next", true)] {
        assert_eq!(stored(&world.db, tenant, key).await, expected, "{key}");
    }
}

#[tokio::test]
async fn a_write_whose_statement_fails_is_undone_whole() {
    let world = World::new().await;
    let tenant = world.tenant;
    let twin = upload("b");
    let outcome = write!(world, tenant, tx, twin => async {
        uploads::insert(tx, tenant, &twin, None).await?;
        // The same id again under another key.
        uploads::insert(tx, tenant, &Upload { blob_key: "c".into(), ..twin.clone() }, None).await
    });
    assert!(matches!(outcome, Err(Error::Conflict(_))), "{outcome:?}");
    assert_eq!(count(&world.db).await, 0);
}

#[tokio::test]
async fn a_write_goes_on_when_its_caller_goes_away() {
    let world = World::new().await;
    let tenant = world.tenant;
    let (report, running) = oneshot::channel::<()>();
    let (release, released) = oneshot::channel::<()>();
    let (done, end) = oneshot::channel::<()>();
    let db = world.db.clone();
    let caller = tokio::spawn(async move {
        db.write(tenant, move |tx| {
            Box::pin(async move {
                insert(tx, tenant, "first").await?;
                report.send(()).unwrap();
                drop(released.await);
                insert(tx, tenant, "second").await?;
                done.send(()).unwrap();
                Ok(())
            })
        })
        .await
    });
    running.await.unwrap();
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    release.send(()).unwrap();
    end.await.unwrap();
    world.db.clone().close().await;
    let connection = parlance_storage::DbConfig { url: world.url.clone(), migrate_url: None, connections: 2 };
    drop(world.db);
    let reopened = Db::open(&connection).await.unwrap();
    assert!(stored(&reopened, tenant, "first").await);
    assert!(stored(&reopened, tenant, "second").await);
}

#[tokio::test]
async fn closing_waits_for_writes_that_were_handed_in() {
    let world = World::new().await;
    let tenant = world.tenant;
    let release = hold_writer(&world).await;
    let writes: Vec<_> = (0..100)
        .map(|number| {
            let db = world.db.clone();
            tokio::spawn(async move {
                let write = db.write(tenant, move |tx| {
                    Box::pin(async move { insert(tx, tenant, &format!("key-{number}")).await })
                });
                write.await
            })
        })
        .collect();
    // Every task has run up to its first wait when this one runs again.
    tokio::task::yield_now().await;
    let closing = tokio::spawn(world.db.clone().close());
    tokio::task::yield_now().await;
    release.send(()).unwrap();
    closing.await.unwrap();
    let mut acknowledged = Vec::new();
    for (number, write) in writes.into_iter().enumerate() {
        if write.await.unwrap().is_ok() {
            acknowledged.push(format!("key-{number}"));
        }
    }
    if world.db.engine_name() == "sqlite" {
        assert_eq!(acknowledged.len(), 100);
    }
    let late = world.db.write(tenant, move |tx| Box::pin(async move { insert(tx, tenant, "late").await })).await;
    assert!(late.is_err(), "a closed database takes no write");
    drop(world.db);
    let config = parlance_storage::DbConfig { url: world.url, migrate_url: None, connections: 2 };
    let reopened = Db::open(&config).await.unwrap();
    for key in acknowledged {
        assert!(stored(&reopened, tenant, &key).await, "{key}");
    }
}

#[tokio::test]
async fn a_connection_to_read_with_cannot_write_on_sqlite_and_the_database_is_ready() {
    let world = World::new().await;
    assert!(world.db.is_ready().await);
    let tenant = world.tenant;
    if world.db.engine_name() == "sqlite" {
        assert!(read!(world, tenant, tx => uploads::insert(tx, tenant, &upload("x"), None)).is_err());
        assert_eq!(count(&world.db).await, 0);
    }
    world.db.clone().close().await;
    assert!(!world.db.is_ready().await);
}
