//! What goes with requests that write: idempotency keys and lines of the audit log, alone and as part
//! of the writes of a request.

use std::sync::Arc;

use parlance_domain::kind::{ChatbotId, MessageId, UserId};
use parlance_domain::{Error, Result, Tenant, Timestamp};
use parlance_storage::audit::{AuditEntry, Filter};
use parlance_storage::idempotency::{Answer, Claim};
use parlance_storage::request_scope::{self, AuditLine, RequestScope, Writer};
use parlance_storage::{Page, Scope, Tx, audit, chatbots, idempotency};
use uuid::Uuid;

use crate::world::{NOW, Things, World, id, later, read, scopes, write};

/// The idempotency key that [`World::fill`] takes.
const IDEMPOTENCY_KEY: &str = "repeat-me";

/// What [`World::fill`] adds of these.
pub(crate) async fn insert(tx: &mut Tx, tenant: Tenant, user: UserId, chatbot: ChatbotId) -> Result<()> {
    idempotency::mark(tx, tenant, &claim(IDEMPOTENCY_KEY, "first", NOW), "", None).await?;
    audit::insert(tx, tenant, &entry(user, chatbot)).await
}

fn entry(user: UserId, chatbot: ChatbotId) -> AuditEntry {
    AuditEntry {
        id: id(),
        user_id: Some(user),
        credential_id: "key".into(),
        method: "POST".into(),
        operation: "chatbots/".into(),
        object_id: Some(chatbot.to_string()),
        status: 201,
        request_id: "request".into(),
        address: "127.0.0.1".into(),
        created_at: NOW,
    }
}

#[tokio::test]
async fn a_stranger_sees_and_changes_nothing_of_them() {
    let world = World::new().await;
    world.fill().await;
    let (who, before) = (world.stranger, world.rows_of(world.tenant).await);
    let stored =
        read!(world, world.tenant, tx => audit::list(tx, world.tenant, &Filter::default(), Page::ALL)).unwrap();
    let stored = stored.rows[0].clone();
    for (number, scope) in scopes(who).into_iter().enumerate() {
        assert_eq!(read!(world, scope, tx => audit::list(tx, who, &Filter::default(), Page::ALL)).unwrap().total, 0);
        let seen = read!(world, scope, tx => idempotency::find(tx, who, IDEMPOTENCY_KEY, NOW)).unwrap();
        assert_eq!(seen.map(|row| row.attempt), (number > 0).then(|| "stranger".to_owned()));
        let entry = stored.clone();
        write!(world, scope, tx => audit::set_status(tx, who, entry.id, 500)).unwrap();
        let entry = AuditEntry { status: 500, ..stored.clone() };
        drop(write!(world, scope, tx => audit::insert(tx, who, &entry)));
        // The same key is one of the stranger's own.
        let claim = claim(IDEMPOTENCY_KEY, "stranger", NOW);
        let answer = Answer { status: 200, content_type: "text".into(), body_sealed: vec![1] };
        let marked = claim.clone();
        write!(world, scope, tx => idempotency::mark(tx, who, &marked, "taken", None)).unwrap();
        write!(world, scope, tx => idempotency::finish(tx, who, &claim, &answer)).unwrap();
        assert_eq!(world.rows_of(world.tenant).await, before);
    }
}

fn claim(key: &str, attempt: &str, at: Timestamp) -> Claim {
    Claim {
        key: key.to_owned(),
        attempt: attempt.to_owned(),
        request_hash: "hash".to_owned(),
        created_at: at,
        forgotten_before: at.minus(std::time::Duration::from_secs(100)),
    }
}

#[tokio::test]
async fn one_attempt_has_a_key_until_it_is_forgotten() {
    let world = World::new().await;
    world.fill().await;
    let tenant = world.tenant;
    let find = async |since| read!(world, tenant, tx => idempotency::find(tx, tenant, IDEMPOTENCY_KEY, since)).unwrap();
    let first = find(NOW).await.unwrap();
    assert_eq!((first.attempt.as_str(), first.made.as_str(), first.status), ("first", "", None));
    assert!(find(later(1)).await.is_none(), "too old");

    let message: MessageId = id();
    let own = claim(IDEMPOTENCY_KEY, "first", NOW);
    let noting = own.clone();
    write!(world, tenant, tx => idempotency::mark(tx, tenant, &noting, "a b", Some(message))).unwrap();
    let other = claim(IDEMPOTENCY_KEY, "second", later(50));
    let refused = other.clone();
    let refused = write!(world, tenant, tx => idempotency::mark(tx, tenant, &refused, "c", None));
    assert!(matches!(refused, Err(Error::Conflict(_))), "{refused:?}");
    let answer = Answer { status: 201, content_type: "application/json".into(), body_sealed: vec![0, 255] };
    let (late, body) = (other.clone(), answer.clone());
    let refused = write!(world, tenant, tx => idempotency::finish(tx, tenant, &late, &body));
    assert!(matches!(refused, Err(Error::Conflict(_))), "{refused:?}");
    let body = answer.clone();
    write!(world, tenant, tx => idempotency::finish(tx, tenant, &own, &body)).unwrap();
    let finished = find(NOW).await.unwrap();
    assert_eq!((finished.attempt.as_str(), finished.made.as_str()), ("first", "a b"));
    assert_eq!((finished.status, finished.body_sealed), (Some(201), Some(vec![0, 255])));
    assert_eq!(finished.answer_message_id, Some(message));

    // A row that counts no more gives way, also where the sweep has not come by.
    let next = claim(IDEMPOTENCY_KEY, "third", later(101));
    let marked = next.clone();
    write!(world, tenant, tx => idempotency::mark(tx, tenant, &marked, "d", None)).unwrap();
    let third = find(later(101)).await.unwrap();
    assert_eq!((third.attempt.as_str(), third.made.as_str(), third.status), ("third", "d", None));
    assert_eq!((third.answer_message_id, third.body_sealed), (None, None));
    // Without an effect the answer takes the key.
    let fresh = claim("fresh", "fourth", later(101));
    write!(world, tenant, tx => idempotency::finish(tx, tenant, &fresh, &answer)).unwrap();
    let fresh = read!(world, tenant, tx => idempotency::find(tx, tenant, "fresh", NOW)).unwrap().unwrap();
    assert_eq!(fresh.status, Some(201));
    assert_eq!(write!(world, Scope::System, tx => idempotency::forget(tx, later(101))).unwrap(), 0);
    assert_eq!(write!(world, Scope::System, tx => idempotency::forget(tx, later(102))).unwrap(), 2);
}

#[tokio::test]
async fn the_audit_log_is_listed_by_what_happened() {
    let world = World::new().await;
    let all = world.fill().await;
    let tenant = world.tenant;
    let stored = read!(world, tenant, tx => audit::list(tx, tenant, &Filter::default(), Page::ALL)).unwrap();
    let first = stored.rows[0].clone();
    assert_eq!(first, AuditEntry { id: first.id, ..entry(all.user.id, all.chatbot.id) });
    let second = AuditEntry {
        id: id(),
        user_id: None,
        method: "DELETE".into(),
        operation: "chatbots/{id}/".into(),
        object_id: None,
        created_at: later(10),
        ..first.clone()
    };
    for _ in 0..2 {
        let entry = second.clone();
        write!(world, tenant, tx => audit::insert(tx, tenant, &entry)).unwrap();
    }
    let list = async |filter: Filter| {
        let listing = read!(world, tenant, tx => audit::list(tx, tenant, &filter, Page::ALL)).unwrap();
        assert_eq!(listing.total, listing.rows.len() as u64);
        listing.rows
    };
    assert_eq!(list(Filter::default()).await, [second.clone(), first.clone()]);
    assert_eq!(list(Filter { user: Some(all.user.id), ..Filter::default() }).await, std::slice::from_ref(&first));
    assert_eq!(
        list(Filter { method: Some("DELETE".into()), ..Filter::default() }).await,
        std::slice::from_ref(&second)
    );
    let operation = Filter { operation: Some("chatbots/".into()), ..Filter::default() };
    assert_eq!(list(operation).await, std::slice::from_ref(&first));
    let object = Filter { object: Some(all.chatbot.id.to_string()), ..Filter::default() };
    assert_eq!(list(object).await, std::slice::from_ref(&first));
    assert_eq!(list(Filter { since: Some(later(10)), ..Filter::default() }).await, std::slice::from_ref(&second));
    assert_eq!(list(Filter { until: Some(later(10)), ..Filter::default() }).await, std::slice::from_ref(&first));
    let changed = second.id;
    write!(world, tenant, tx => audit::set_status(tx, tenant, changed, 503)).unwrap();
    assert_eq!(list(Filter::default()).await[0].status, 503);
    assert_eq!(write!(world, Scope::System, tx => audit::forget(tx, later(10), 10)).unwrap(), 1);
    assert_eq!(write!(world, Scope::System, tx => audit::forget(tx, later(11), 0)).unwrap(), 0);
    assert_eq!(write!(world, Scope::System, tx => audit::forget(tx, later(11), 10)).unwrap(), 1);
}

struct Request {
    scope: Arc<RequestScope>,
    line: AuditLine,
}

fn request(tenant: Tenant, key: Option<&str>) -> Request {
    let line = AuditLine {
        id: id(),
        method: "POST",
        operation: "chatbots/".into(),
        object_id: None,
        status: 201,
        request_id: "request".into(),
        address: "127.0.0.1".into(),
        created_at: NOW,
    };
    let scope = RequestScope::new(Some(line.clone()));
    if let Some(key) = key {
        scope.claim(claim(key, &line.id.to_string(), NOW));
    }
    scope.identify(Writer { tenant, user: None, credential: Uuid::nil(), is_audited: true });
    Request { scope, line }
}

/// Makes a chatbot as a handler would. Gives its id.
async fn make(world: &World, tenant: Tenant) -> Result<Uuid> {
    let chatbot = chatbots::Chatbot { id: id(), model_id: None, ..Things::new().chatbot };
    request_scope::note_made(chatbot.id.uuid());
    let made = chatbot.id.uuid();
    write!(world, tenant, tx => chatbots::insert(tx, tenant, &chatbot)).map(|()| made)
}

async fn rows(world: &World) -> (u64, u64, u64) {
    let tenant = world.tenant;
    let chatbots = read!(world, tenant, tx => chatbots::list(tx, tenant, &chatbots::Filter::default(), Page::ALL));
    let entries = read!(world, tenant, tx => audit::list(tx, tenant, &Filter::default(), Page::ALL)).unwrap();
    let key = read!(world, tenant, tx => idempotency::find(tx, tenant, "key", NOW)).unwrap();
    (chatbots.unwrap().total, entries.total, u64::from(key.is_some()))
}

#[tokio::test]
async fn rows_of_a_request_stand_and_fall_with_its_effect() {
    let world = World::new().await;
    let tenant = world.tenant;
    let first = request(tenant, Some("key"));
    let made = first.scope.run(make(&world, tenant)).await.unwrap();
    assert_eq!(rows(&world).await, (1, 1, 1));
    assert_eq!(first.scope.effects(), 1);
    let key = read!(world, tenant, tx => idempotency::find(tx, tenant, "key", NOW)).unwrap().unwrap();
    assert_eq!((key.made, key.attempt), (made.to_string(), first.line.id.to_string()));
    let entries = read!(world, tenant, tx => audit::list(tx, tenant, &Filter::default(), Page::ALL)).unwrap();
    assert_eq!(entries.rows[0].object_id, Some(made.to_string()));

    // A second effect of the same request, in a task of its own.
    let another = first.scope.run(async {
        let carried = request_scope::carried(make(&world, tenant));
        carried.await
    });
    let another = another.await.unwrap();
    let key = read!(world, tenant, tx => idempotency::find(tx, tenant, "key", NOW)).unwrap().unwrap();
    assert_eq!(key.made, format!("{made} {another}"));
    assert_eq!(rows(&world).await, (2, 1, 1));

    // Another attempt with the key has no effect at all.
    let second = request(tenant, Some("key"));
    let refused = second.scope.run(make(&world, tenant)).await;
    assert!(matches!(refused, Err(Error::Conflict(_))), "{refused:?}");
    assert_eq!(second.scope.effects(), 0);
    assert_eq!(rows(&world).await, (2, 1, 1));

    // An effect that fails takes its rows with it.
    let third = request(tenant, None);
    let chatbot = Things::new().chatbot;
    let failing = third.scope.run(async {
        write!(world, tenant, tx, chatbot => async {
            chatbots::insert(tx, tenant, &chatbot).await?;
            Err::<(), _>(Error::bug("it failed"))
        })
    });
    assert!(failing.await.is_err());
    assert_eq!(rows(&world).await, (2, 1, 1));

    // Writes for somebody else are not the request's.
    let fourth = request(world.stranger, None);
    fourth.scope.run(make(&world, tenant)).await.unwrap();
    assert_eq!(rows(&world).await, (3, 1, 1));
}

#[tokio::test]
async fn of_many_attempts_at_once_one_has_an_effect() {
    let world = World::new().await;
    let tenant = world.tenant;
    let attempts = (0..8).map(|_| async {
        let request = request(tenant, Some("key"));
        request.scope.run(make(&world, tenant)).await.is_ok()
    });
    let outcomes = futures_util::future::join_all(attempts).await;
    assert_eq!(outcomes.iter().filter(|is_ok| **is_ok).count(), 1);
    assert_eq!(rows(&world).await, (1, 1, 1));
}
