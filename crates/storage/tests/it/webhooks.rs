//! The outbox, its attempts, and the state of endpoints.

use parlance_storage::conversation_terms::Terms;
use parlance_storage::webhooks::{Attempt, Delivery, Endpoint, Standing};
use parlance_storage::{Page, Scope, messages, webhooks};

use crate::world::{NOW, World, id, later, read, write};

#[tokio::test]
async fn secrets_follow_each_other() {
    let world = World::new().await;
    let all = world.fill().await;
    let (tenant, chatbot) = (world.tenant, all.chatbot.id);
    let endpoint = async || read!(world, tenant, tx => webhooks::endpoint(tx, tenant, chatbot)).unwrap().unwrap();
    assert_eq!((endpoint().await.secret_sealed, endpoint().await.previous_secret_sealed), (Some(vec![1, 2]), None));
    write!(world, tenant, tx => webhooks::set_secret(tx, tenant, chatbot, (&[3], later(9)), later(1))).unwrap();
    let rotated = Endpoint {
        secret_sealed: Some(vec![3]),
        previous_secret_sealed: Some(vec![1, 2]),
        previous_until: Some(later(9)),
        ..Endpoint::default()
    };
    assert_eq!(endpoint().await, rotated);
    assert_eq!(read!(world, tenant, tx => webhooks::endpoint(tx, tenant, id())).unwrap(), None);
}

#[tokio::test]
async fn an_endpoint_remembers_its_first_failure_until_it_works() {
    let world = World::new().await;
    let all = world.fill().await;
    let (tenant, chatbot) = (world.tenant, all.chatbot.id);
    for seconds in [1, 2] {
        let since = write!(world, tenant, tx => webhooks::note_failure(tx, tenant, chatbot, later(seconds))).unwrap();
        assert_eq!(since, later(1));
    }
    for (reason, seconds) in [("first", 3), ("second", 4)] {
        write!(world, tenant, tx => webhooks::disable(tx, tenant, chatbot, reason, later(seconds))).unwrap();
    }
    let endpoint = async || read!(world, tenant, tx => webhooks::endpoint(tx, tenant, chatbot)).unwrap().unwrap();
    let disabled = endpoint().await;
    assert_eq!((disabled.disabled_at, disabled.disabled_reason.as_deref()), (Some(later(3)), Some("first")));
    write!(world, tenant, tx => webhooks::enable(tx, tenant, chatbot)).unwrap();
    let enabled = endpoint().await;
    assert_eq!((enabled.failing_since, enabled.disabled_at, enabled.disabled_reason), (None, None, None));
    assert!(enabled.secret_sealed.is_some());
}

#[tokio::test]
async fn deliveries_wait_for_their_time() {
    let world = World::new().await;
    let all = world.fill().await;
    let (tenant, chatbot, first) = (world.tenant, all.chatbot.id, all.delivery.id);
    let second = messages::Message { id: id(), ..all.answer.clone() };
    let later_one = Delivery { id: id(), message_id: second.id, next_attempt_at: later(10), ..all.delivery.clone() };
    write!(world, tenant, tx, later_one => async {
        messages::insert(tx, tenant, &second, &Terms::NONE).await?;
        webhooks::insert(tx, tenant, &later_one).await?;
        // A message has one delivery at most.
        webhooks::insert(tx, tenant, &Delivery { id: id(), ..later_one.clone() }).await
    })
    .unwrap();
    let due = async |seconds, limit| {
        let due = read!(world, tenant, tx => webhooks::due(tx, tenant, chatbot, later(seconds), limit)).unwrap();
        due.into_iter().map(|delivery| delivery.id).collect::<Vec<_>>()
    };
    assert_eq!(due(9, 10).await, [first]);
    assert_eq!(due(10, 10).await, [first, later_one.id]);
    assert_eq!(due(10, 1).await, [first]);
    let next = async || read!(world, tenant, tx => webhooks::next_due(tx, tenant, chatbot)).unwrap();
    assert_eq!(next().await, Some(NOW));
    let failed = Standing { status: "pending", attempts: 1, next_attempt_at: later(20) };
    write!(world, tenant, tx => webhooks::set_standing(tx, tenant, first, failed)).unwrap();
    assert_eq!(next().await, Some(later(10)));
    write!(world, tenant, tx => webhooks::advance(tx, tenant, chatbot, later(5))).unwrap();
    assert_eq!(due(5, 10).await.len(), 2);
    let other = later_one.id;
    for delivery in [first, other] {
        let done = Standing { status: "succeeded", attempts: 2, next_attempt_at: later(20) };
        write!(world, tenant, tx => webhooks::set_standing(tx, tenant, delivery, done)).unwrap();
    }
    assert_eq!(next().await, None);
    assert!(write!(world, tenant, tx => webhooks::ask_again(tx, tenant, first, later(30))).unwrap());
    let asked = read!(world, tenant, tx => webhooks::get(tx, tenant, first)).unwrap().unwrap();
    assert_eq!((asked.status.as_str(), asked.attempts, asked.is_redelivery), ("pending", 0, true));
    assert_eq!(asked.next_attempt_at, later(30));

    // Only what ended is forgotten, with its attempts.
    assert_eq!(write!(world, Scope::System, tx => webhooks::forget(tx, NOW, 10)).unwrap(), 0);
    assert_eq!(write!(world, Scope::System, tx => webhooks::forget(tx, later(1), 10)).unwrap(), 1);
    assert!(read!(world, tenant, tx => webhooks::get(tx, tenant, other)).unwrap().is_none());
    assert!(read!(world, tenant, tx => webhooks::get(tx, tenant, first)).unwrap().is_some());
}

#[tokio::test]
async fn attempts_are_told_with_what_they_sent() {
    let world = World::new().await;
    let all = world.fill().await;
    let (tenant, chatbot) = (world.tenant, all.chatbot.id);
    let second =
        Attempt { id: id(), status_code: None, response: "no".into(), created_at: later(1), ..all.attempt.clone() };
    write!(world, tenant, tx, second => webhooks::insert_attempt(tx, tenant, &second)).unwrap();
    let listing = read!(world, tenant, tx => webhooks::attempts(tx, tenant, chatbot, Page::ALL)).unwrap();
    assert_eq!(listing.total, 2);
    let newest = &listing.rows[0];
    assert_eq!((&newest.attempt, &newest.body, newest.message_id), (&second, &all.delivery.body, all.answer.id));
    let one = read!(world, tenant, tx => webhooks::attempt(tx, tenant, chatbot, second.id)).unwrap();
    assert_eq!(one.as_ref(), Some(newest));
    assert!(read!(world, tenant, tx => webhooks::attempt(tx, tenant, id(), second.id)).unwrap().is_none());
}
