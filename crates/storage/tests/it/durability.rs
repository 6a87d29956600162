//! What was acknowledged survives the sudden end of the process.

use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use parlance_domain::kind::UploadId;
use parlance_domain::{Id, Tenant};
use parlance_storage::jobs::NewJob;
use parlance_storage::uploads::Upload;
use parlance_storage::{Db, DbConfig, OpenError, Scope, jobs, uploads};
use sqlx::{Connection, SqliteConnection};

use crate::world::{NOW, World, id};

/// Set for the child: `ADDRESS ORGANISATION`.
const CHILD: &str = "TEST_WRITE_UNTIL_KILLED";
const CYCLES: u64 = 10;
const WRITERS: u64 = 8;

/// The test starts its own program again, which then only writes and is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    #[expect(clippy::disallowed_methods, reason = "how the test tells its child what to do")]
    if let Ok(task) = std::env::var(CHILD) {
        return write_until_killed(&task).await;
    }
    let world = World::new().await;
    let World { db, url, folder, tenant, .. } = world;
    let config = DbConfig { url: url.clone(), migrate_url: None, connections: 4 };
    db.close().await;

    let mut acknowledged: Vec<UploadId> = Vec::new();
    for cycle in 0..CYCLES {
        let child = start_child(&url, tenant);
        acknowledged.extend(kill_after_some_writes(child, &config, cycle).await);
        let db = Db::open(&config).await.unwrap();
        let found = keys(&db, tenant).await;
        for id in &acknowledged {
            assert!(found.contains(&id.to_string()), "cycle {cycle}: {id} was acknowledged and is gone");
        }
        let mut tx = db.read(Scope::System).await.unwrap();
        let jobs = jobs::count(&mut tx).await.unwrap();
        assert_eq!(jobs, found.len() as u64, "cycle {cycle}: each write is whole, upload and job");
        drop(tx);
        db.close().await;
        if let Some(path) = url.strip_prefix("sqlite:") {
            check_integrity(Path::new(path)).await;
        }
    }
    assert!(acknowledged.len() as u64 >= CYCLES, "{} writes", acknowledged.len());
    drop(folder);
}

async fn keys(db: &Db, tenant: Tenant) -> std::collections::HashSet<String> {
    let mut tx = db.read(tenant).await.unwrap();
    let rows = uploads::abandoned(&mut tx, NOW.plus(std::time::Duration::from_secs(1)), 1_000_000).await.unwrap();
    rows.into_iter().map(|(_, key)| key).collect()
}

async fn check_integrity(path: &Path) {
    let mut connection = SqliteConnection::connect(&format!("sqlite:{}", path.display())).await.unwrap();
    let verdict: String = sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut connection).await.unwrap();
    assert_eq!(verdict, "ok");
    let orphans = sqlx::query("PRAGMA foreign_key_check").fetch_all(&mut connection).await.unwrap();
    assert!(orphans.is_empty());
    connection.close().await.unwrap();
}

fn start_child(url: &str, tenant: Tenant) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "durability::nothing_acknowledged_is_lost_when_the_process_is_killed", "--nocapture"])
        .env(CHILD, format!("{url} {}", tenant.organisation()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Kills the child after some of its writes, a different number each time, at whatever it does then.
async fn kill_after_some_writes(mut child: Child, config: &DbConfig, cycle: u64) -> Vec<UploadId> {
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let enough = 1 + (u64::from(std::process::id()) * 31 + cycle * 47) % 150;
    let mut acknowledged = Vec::new();
    let mut line = String::new();
    while (acknowledged.len() as u64) < enough {
        line.clear();
        assert!(output.read_line(&mut line).unwrap() > 0, "the child ended by itself");
        acknowledged.extend(acknowledgement(&line));
    }
    if cycle == 0 && config.url.starts_with("sqlite:") {
        let second = Db::open(config).await;
        assert!(matches!(second, Err(OpenError::InUse(_))), "the child has the file: {second:?}");
    }
    child.kill().unwrap();
    // What it printed before it died counts too; a line that was cut off does not.
    line.clear();
    while output.read_line(&mut line).unwrap() > 0 {
        acknowledged.extend(acknowledgement(&line));
        line.clear();
    }
    child.wait().unwrap();
    acknowledged
}

fn acknowledgement(line: &str) -> Option<UploadId> {
    let (_, text) = line.strip_suffix('\n')?.split_once("stored ")?;
    Id::parse(text)
}

async fn write_until_killed(task: &str) {
    let (url, organisation) = task.split_once(' ').unwrap();
    let tenant = Tenant::authenticated(Id::parse(organisation).unwrap());
    let db = Db::open(&DbConfig { url: url.into(), migrate_url: None, connections: 8 }).await.unwrap();
    let writers = (0..WRITERS).map(|_| {
        let db = db.clone();
        tokio::spawn(async move {
            loop {
                let id: UploadId = id();
                db.write(tenant, move |tx| {
                    Box::pin(async move {
                        let key = id.to_string();
                        let upload =
                            Upload { id, blob_key: key.clone(), filename: "f".into(), size: 1, created_at: NOW };
                        uploads::insert(tx, tenant, &upload, None).await?;
                        let job = NewJob {
                            id: crate::world::id(),
                            kind: "k",
                            unique_key: key,
                            payload: "{}".into(),
                            run_at: NOW,
                        };
                        jobs::enqueue(tx, tenant, &job, NOW).await
                    })
                })
                .await
                .unwrap();
                let mut output = std::io::stdout().lock();
                writeln!(output, "stored {id}").unwrap();
                output.flush().unwrap();
            }
        })
    });
    futures_util::future::join_all(writers).await;
}
