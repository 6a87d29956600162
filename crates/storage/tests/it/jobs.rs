//! The queue: turns, leases and fencing.

use std::collections::HashSet;

use parlance_domain::{Tenant, Timestamp};
use parlance_storage::jobs::{Job, NewJob};
use parlance_storage::{Scope, jobs};

use crate::world::{NOW, World, id, later, read, write};

async fn enqueue(world: &World, tenant: Tenant, key: &str, run_at: Timestamp) {
    let job = NewJob { id: id(), kind: "ingest", unique_key: key.into(), payload: format!("\"{key}\""), run_at };
    write!(world, tenant, tx => jobs::enqueue(tx, tenant, &job, NOW)).unwrap();
}

async fn claim(world: &World, now: Timestamp, leased_until: Timestamp) -> Option<Job> {
    write!(world, Scope::System, tx => jobs::claim(tx, "ingest", now, leased_until)).unwrap()
}

#[tokio::test]
async fn organisations_take_turns() {
    let world = World::new().await;
    for number in 0..4 {
        enqueue(&world, world.tenant, &format!("many-{number}"), NOW).await;
    }
    enqueue(&world, world.stranger, "one", later(1)).await;
    assert_eq!(read!(world, Scope::System, tx => jobs::count(tx)).unwrap(), 5);
    let mut order = Vec::new();
    while let Some(job) = claim(&world, later(2), later(60)).await {
        order.push(job.organisation);
    }
    let (first, second) = (world.tenant.organisation(), world.stranger.organisation());
    assert_eq!(order, [first, second, first, first, first], "the one that waits alone is second, not last");
}

#[tokio::test]
async fn a_job_is_not_due_early_and_its_lease_runs_out() {
    let world = World::new().await;
    assert_eq!(read!(world, Scope::System, tx => jobs::next_due(tx, "ingest")).unwrap(), None);
    enqueue(&world, world.tenant, "a", later(10)).await;
    assert_eq!(read!(world, Scope::System, tx => jobs::next_due(tx, "ingest")).unwrap(), Some(later(10)));
    assert_eq!(claim(&world, later(9), later(60)).await, None);
    let first = claim(&world, later(10), later(60)).await.unwrap();
    assert_eq!((first.attempts, first.generation, first.payload.as_str()), (1, 1, "\"a\""));
    assert_eq!(first.organisation, world.tenant.organisation());
    assert_eq!(read!(world, Scope::System, tx => jobs::next_due(tx, "ingest")).unwrap(), Some(later(60)));
    assert_eq!(claim(&world, later(59), later(99)).await, None, "leased");
    let second = claim(&world, later(60), later(99)).await.unwrap();
    assert_eq!((second.id, second.attempts, second.generation), (first.id, 2, 2));
}

#[tokio::test]
async fn a_worker_that_lost_its_lease_changes_nothing() {
    let world = World::new().await;
    let tenant = world.tenant;
    enqueue(&world, tenant, "a", NOW).await;
    let old = claim(&world, NOW, later(10)).await.unwrap();
    let new = claim(&world, later(10), later(20)).await.unwrap();
    let before = world.rows_of(tenant).await;
    assert!(!read!(world, tenant, tx => jobs::is_held(tx, tenant, &old)).unwrap());
    assert!(!write!(world, tenant, tx, old => jobs::heartbeat(tx, tenant, &old, later(99))).unwrap());
    assert!(!write!(world, tenant, tx, old => jobs::note(tx, tenant, &old, "late")).unwrap());
    assert!(!write!(world, tenant, tx, old => jobs::retry(tx, tenant, &old, "late", NOW)).unwrap());
    assert!(!write!(world, tenant, tx, old => jobs::finish(tx, tenant, &old)).unwrap());
    assert_eq!(world.rows_of(tenant).await, before);

    assert!(read!(world, tenant, tx => jobs::is_held(tx, tenant, &new)).unwrap());
    assert!(write!(world, tenant, tx, new => jobs::heartbeat(tx, tenant, &new, later(30))).unwrap());
    assert_eq!(claim(&world, later(29), later(99)).await, None, "the heartbeat kept it");
    assert!(write!(world, tenant, tx, new => jobs::note(tx, tenant, &new, "\"half\"")).unwrap());
    assert!(write!(world, tenant, tx, new => jobs::retry(tx, tenant, &new, "again", later(40))).unwrap());
    assert_eq!(claim(&world, later(39), later(99)).await, None);
    let third = claim(&world, later(40), later(99)).await.unwrap();
    assert_eq!((third.attempts, third.payload.as_str()), (3, "\"half\""));
    assert!(write!(world, tenant, tx, third => jobs::finish(tx, tenant, &third)).unwrap());
    assert!(!write!(world, tenant, tx, third => jobs::finish(tx, tenant, &third)).unwrap());
    assert_eq!(read!(world, Scope::System, tx => jobs::count(tx)).unwrap(), 0);
}

#[tokio::test]
async fn a_later_job_with_the_same_key_takes_the_place_of_the_earlier() {
    let world = World::new().await;
    let tenant = world.tenant;
    enqueue(&world, tenant, "a", NOW).await;
    let running = claim(&world, NOW, later(60)).await.unwrap();
    let job = NewJob { id: id(), kind: "ingest", unique_key: "a".into(), payload: "2".into(), run_at: later(1) };
    write!(world, tenant, tx => jobs::enqueue(tx, tenant, &job, later(1))).unwrap();
    assert!(!read!(world, tenant, tx => jobs::is_held(tx, tenant, &running)).unwrap());
    let replaced = claim(&world, later(1), later(60)).await.unwrap();
    assert_eq!((replaced.id, replaced.payload.as_str(), replaced.attempts), (running.id, "2", 1));
    write!(world, tenant, tx => jobs::remove(tx, tenant, "a")).unwrap();
    assert!(!read!(world, tenant, tx => jobs::is_held(tx, tenant, &replaced)).unwrap());
}

#[tokio::test]
async fn a_job_that_looks_for_its_work_itself_is_not_taken_from_its_worker() {
    let world = World::new().await;
    let tenant = world.tenant;
    let ask = async |payload: &str, run_at: Timestamp| {
        let job = NewJob { id: id(), kind: "ingest", unique_key: "a".into(), payload: payload.into(), run_at };
        write!(world, tenant, tx => jobs::enqueue_or_advance(tx, tenant, &job, NOW)).unwrap();
    };
    ask("1", later(50)).await;
    ask("2", later(10)).await;
    ask("3", later(90)).await;
    assert_eq!(
        read!(world, Scope::System, tx => jobs::next_due(tx, "ingest")).unwrap(),
        Some(later(10)),
        "the earliest"
    );
    let running = claim(&world, later(10), later(60)).await.unwrap();
    assert_eq!((running.payload.as_str(), running.attempts), ("1", 1));
    ask("4", later(11)).await;
    assert!(read!(world, tenant, tx => jobs::is_held(tx, tenant, &running)).unwrap());
    assert!(write!(world, tenant, tx, running => jobs::go_on(tx, tenant, &running, later(30))).unwrap());
    let again = claim(&world, later(30), later(60)).await.unwrap();
    assert_eq!((again.id, again.attempts), (running.id, 1), "it counts anew");
}

#[tokio::test]
async fn each_kind_has_its_own_queue() {
    let world = World::new().await;
    enqueue(&world, world.tenant, "a", NOW).await;
    let due = |kind: &'static str| {
        let world = &world;
        async move { read!(world, Scope::System, tx => jobs::next_due(tx, kind)).unwrap() }
    };
    assert_eq!((due("ingest").await, due("webhook").await), (Some(NOW), None));
    let other = write!(world, Scope::System, tx => jobs::claim(tx, "webhook", NOW, later(60))).unwrap();
    assert_eq!(other, None);
    assert!(claim(&world, NOW, later(60)).await.is_some());
}

#[tokio::test]
async fn a_worker_that_is_told_to_stop_uses_up_no_attempt() {
    let world = World::new().await;
    let tenant = world.tenant;
    enqueue(&world, tenant, "a", NOW).await;
    for _ in 0..3 {
        let job = claim(&world, NOW, later(60)).await.unwrap();
        assert_eq!(job.attempts, 1);
        assert!(write!(world, tenant, tx, job => jobs::give_back(tx, tenant, &job)).unwrap());
    }
}

#[tokio::test]
async fn the_next_job_is_due_when_it_may_run_or_its_lease_ends() {
    let world = World::new().await;
    enqueue(&world, world.tenant, "a", NOW).await;
    enqueue(&world, world.stranger, "b", later(30)).await;
    let due = async || read!(world, Scope::System, tx => jobs::next_due(tx, "ingest")).unwrap();
    assert_eq!(due().await, Some(NOW));
    claim(&world, NOW, later(60)).await.unwrap();
    assert_eq!(due().await, Some(later(30)));
    claim(&world, later(30), later(50)).await.unwrap();
    assert_eq!(due().await, Some(later(50)));
}

#[tokio::test]
async fn a_restart_takes_every_lease_away() {
    let world = World::new().await;
    let tenant = world.tenant;
    enqueue(&world, tenant, "a", NOW).await;
    enqueue(&world, tenant, "b", later(500)).await;
    let dead = claim(&world, NOW, later(60)).await.unwrap();
    assert_eq!(write!(world, Scope::System, tx => jobs::release_all(tx)).unwrap(), 1);
    assert!(!read!(world, tenant, tx => jobs::is_held(tx, tenant, &dead)).unwrap());
    assert_eq!(claim(&world, NOW, later(60)).await.unwrap().id, dead.id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn six_workers_get_each_job_once() {
    let world = World::new().await;
    for number in 0..30 {
        enqueue(&world, world.tenant, &format!("a-{number}"), NOW).await;
        enqueue(&world, world.stranger, &format!("b-{number}"), NOW).await;
    }
    let workers = (0..6).map(|_| {
        let db = world.db.clone();
        tokio::spawn(async move {
            let mut done = Vec::new();
            loop {
                let claimed =
                    db.write(Scope::System, |tx| Box::pin(jobs::claim(tx, "ingest", NOW, later(60)))).await.unwrap();
                let Some(job) = claimed else { return done };
                let (tenant, id) = (Tenant::authenticated(job.organisation), job.id);
                let finished =
                    db.write(tenant, move |tx| Box::pin(async move { jobs::finish(tx, tenant, &job).await })).await;
                assert!(finished.unwrap(), "nobody else held it");
                done.push(id);
            }
        })
    });
    let done: Vec<_> = futures_util::future::join_all(workers).await.into_iter().flat_map(Result::unwrap).collect();
    assert_eq!(done.len(), 60);
    assert_eq!(done.iter().collect::<HashSet<_>>().len(), 60);
    assert_eq!(read!(world, Scope::System, tx => jobs::count(tx)).unwrap(), 0);
}
