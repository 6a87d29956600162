//! What open pages that come back have missed.

use parlance_domain::kind::{ConversationId, MessageId};
use parlance_domain::{Tenant, Timestamp};
use parlance_storage::conversation_terms::Terms;
use parlance_storage::conversations::{Activity, Conversation};
use parlance_storage::messages::{Ending, Message};
use parlance_storage::missed_messages::{self, AT_ONCE, Settled};
use parlance_storage::{conversations, messages};

use crate::world::{NOW, Things, World, id, later, read, scopes, write};

static NO_TERMS: Terms = Terms::NONE;

/// Another conversation of the inbox, without messages.
async fn another(world: &World, all: &Things, at: Timestamp) -> ConversationId {
    let one = Conversation { id: id(), last_activity_at: at, ..all.conversation.clone() };
    let (tenant, made) = (world.tenant, one.id);
    write!(world, tenant, tx => conversations::insert(tx, tenant, &one, &NO_TERMS)).unwrap();
    made
}

/// Stores a message as the product does.
async fn say(world: &World, all: &Things, conversation_id: ConversationId, at: Timestamp) -> Settled {
    let message = Message { id: id(), conversation_id, created_at: at, ..all.question.clone() };
    let (tenant, stored) = (world.tenant, Settled { at, id: message.id });
    touch(world, conversation_id, at).await;
    write!(world, tenant, tx => messages::insert(tx, tenant, &message, &NO_TERMS)).unwrap();
    stored
}

async fn touch(world: &World, conversation: ConversationId, at: Timestamp) {
    let tenant = world.tenant;
    let activity = Activity { at, unread: 0, title: "", title_folded: "" };
    write!(world, tenant, tx => conversations::touch(tx, tenant, conversation, &activity)).unwrap();
}

async fn of_conversation(world: &World, all: &Things, since: Timestamp, most: usize) -> Option<Vec<Settled>> {
    let (tenant, conversation) = (world.tenant, all.conversation.id);
    read!(world, tenant, tx => missed_messages::in_conversation(tx, tenant, conversation, since, most)).unwrap()
}

async fn of_inbox(world: &World, all: &Things, since: Timestamp, most: usize) -> Option<Vec<Settled>> {
    let (tenant, inbox) = (world.tenant, all.inbox.id);
    read!(world, tenant, tx => missed_messages::in_inbox(tx, tenant, inbox, since, most)).unwrap()
}

#[tokio::test]
async fn what_settled_since_is_found_in_its_order() {
    let world = World::new().await;
    let all = world.fill().await;
    let first = Settled { at: NOW, id: all.question.id };
    let other = another(&world, &all, later(30)).await;
    // Two of one moment, and one that is seen late with an earlier time.
    let (b, a) = (say(&world, &all, all.conversation.id, later(30)).await, say(&world, &all, other, later(30)).await);
    let c = say(&world, &all, other, later(40)).await;
    let late = say(&world, &all, other, later(25)).await;
    assert_eq!(of_conversation(&world, &all, NOW, 9).await, Some(vec![first, b]), "not what is being made");
    assert_eq!(of_conversation(&world, &all, later(30), 9).await, Some(vec![b]), "of the moment itself too");
    assert_eq!(of_conversation(&world, &all, later(31), 9).await, Some(vec![]));
    let mut same = [a, b];
    same.sort_unstable();
    assert_eq!(of_inbox(&world, &all, NOW, 9).await, Some(vec![first, late, same[0], same[1], c]));
    assert_eq!(of_inbox(&world, &all, later(26), 9).await, Some(vec![same[0], same[1], c]));
    // The late one has not set the conversation's last activity back.
    assert_eq!(of_inbox(&world, &all, later(35), 9).await, Some(vec![c]));

    let tenant = world.tenant;
    let messages = read!(world, tenant, tx => missed_messages::read(tx, tenant, &[c, late, b])).unwrap();
    let told: Vec<_> = messages.iter().map(|(at, sent)| Settled { at: *at, id: sent.message.id }).collect();
    assert_eq!(told, [late, b, c]);
    assert_eq!(messages[1].1.contact_name.as_ref(), Some(&all.contact.name));
    let being_made = Settled { at: later(1), id: all.answer.id };
    let gone = Settled { at: later(1), id: id() };
    assert_eq!(read!(world, tenant, tx => missed_messages::read(tx, tenant, &[being_made, gone])).unwrap(), []);
    assert_eq!(read!(world, tenant, tx => missed_messages::read(tx, tenant, &[])).unwrap(), []);
    for scope in scopes(world.stranger) {
        let (who, conversation, inbox) = (world.stranger, all.conversation.id, all.inbox.id);
        let none = Some(Vec::new());
        let found = read!(world, scope, tx => missed_messages::in_conversation(tx, who, conversation, NOW, 9));
        assert_eq!(found.unwrap(), none);
        assert_eq!(read!(world, scope, tx => missed_messages::in_inbox(tx, who, inbox, NOW, 9)).unwrap(), none);
        assert_eq!(read!(world, scope, tx => missed_messages::read(tx, who, &[first, b])).unwrap(), []);
    }
}

#[tokio::test]
async fn answers_settle_when_they_end() {
    let world = World::new().await;
    let all = world.fill().await;
    let (tenant, answer) = (world.tenant, all.answer.id);
    let other = another(&world, &all, later(2)).await;
    let begin = async || {
        let made = Message { id: id(), conversation_id: other, created_at: later(2), ..all.answer.clone() };
        let made_id: MessageId = made.id;
        write!(world, tenant, tx => messages::insert(tx, tenant, &made, &NO_TERMS)).unwrap();
        made_id
    };
    let (cut_off, never) = (begin().await, begin().await);
    let done = Ending { state: "done", content: "一年。", citations: "[]", error: None, terms: &NO_TERMS };
    touch(&world, all.conversation.id, later(50)).await;
    write!(world, tenant, tx => messages::end(tx, tenant, (all.conversation.id, answer), &done, later(50))).unwrap();
    // Those that a dead process left end long after anything else happened there.
    assert!(write!(world, tenant, tx => messages::interrupt(tx, tenant, cut_off, later(60))).unwrap());
    let ended = [Settled { at: later(50), id: answer }, Settled { at: later(60), id: cut_off }];
    assert_eq!(of_conversation(&world, &all, later(2), 9).await, Some(ended[..1].to_vec()));
    assert_eq!(of_inbox(&world, &all, later(2), 9).await, Some(ended.to_vec()));
    assert_eq!(of_inbox(&world, &all, later(55), 9).await, Some(ended[1..].to_vec()));

    // One that has ended is no activity any more.
    assert!(!write!(world, tenant, tx => messages::interrupt(tx, tenant, cut_off, later(70))).unwrap());
    let place = read!(world, tenant, tx => conversations::get(tx, tenant, other)).unwrap().unwrap();
    assert_eq!((place.last_message_at, place.last_activity_at), (Some(later(60)), later(60)));
    assert!(write!(world, tenant, tx => messages::interrupt(tx, tenant, never, later(55))).unwrap());
    let place = read!(world, tenant, tx => conversations::get(tx, tenant, other)).unwrap().unwrap();
    assert_eq!((place.last_message_at, place.last_activity_at), (Some(later(60)), later(60)));
}

#[tokio::test]
async fn too_much_is_not_looked_at() {
    let world = World::new().await;
    let all = world.fill().await;
    let mut said = Vec::new();
    for number in 0..4 {
        said.push(say(&world, &all, all.conversation.id, later(10 + number)).await);
    }
    assert_eq!(of_conversation(&world, &all, later(10), 4).await, Some(said.clone()));
    assert_eq!(of_conversation(&world, &all, later(10), 3).await, None);
    assert_eq!(of_conversation(&world, &all, later(11), 3).await, Some(said[1..].to_vec()));
    assert_eq!(of_inbox(&world, &all, later(10), 4).await, Some(said.clone()));
    assert_eq!(of_inbox(&world, &all, later(10), 3).await, None);
    // Conversations that were only begun are looked into as well.
    for number in 0..4 {
        another(&world, &all, later(20 + number)).await;
    }
    assert_eq!(of_inbox(&world, &all, later(13), 5).await, Some(said[3..].to_vec()));
    assert_eq!(of_inbox(&world, &all, later(13), 4).await, None);
    assert_eq!(of_inbox(&world, &all, later(14), 4).await, Some(vec![]));
    // What is read together has a bound as well.
    let many: Vec<Settled> = (0..AT_ONCE).map(|_| said[0]).chain([said[1]]).collect();
    let tenant: Tenant = world.tenant;
    assert_eq!(read!(world, tenant, tx => missed_messages::read(tx, tenant, &many)).unwrap().len(), 1);
}
