//! Replies that are owed.

use parlance_storage::conversation_terms::Terms;
use parlance_storage::messages::Message;
use parlance_storage::replies::{Place, Reply};
use parlance_storage::{Scope, conversations, messages, replies};

use crate::world::{NOW, Things, World, id, later, read, write};

fn later_message(all: &Things, seconds: u64) -> Message {
    Message { id: id(), content: format!("{seconds}"), created_at: later(seconds), ..all.question.clone() }
}

#[tokio::test]
async fn messages_wait_in_the_order_they_came() {
    let world = World::new().await;
    let all = world.fill().await;
    let (tenant, conversation) = (world.tenant, all.conversation.id);
    let second = later_message(&all, 5);
    let owed = Reply {
        message_id: second.id,
        conversation_id: conversation,
        answer_id: id(),
        is_waiting: true,
        created_at: later(5),
    };
    assert!(!write!(world, tenant, tx, owed => replies::insert(tx, tenant, &owed)).unwrap(), "no such message");
    write!(world, tenant, tx, second => messages::insert(tx, tenant, &second, &Terms::NONE)).unwrap();
    assert!(write!(world, tenant, tx => replies::lock(tx, tenant, conversation)).unwrap());
    assert!(write!(world, tenant, tx, owed => replies::insert(tx, tenant, &owed)).unwrap());
    let again = Reply { answer_id: id(), ..owed.clone() };
    assert!(!write!(world, tenant, tx => replies::insert(tx, tenant, &again)).unwrap(), "it is owed once");
    let message = second.id;
    assert_eq!(read!(world, tenant, tx => replies::get(tx, tenant, message)).unwrap(), Some(owed));
    let next = async || read!(world, tenant, tx => replies::next(tx, tenant, conversation)).unwrap();
    let first = all.question.id;
    assert_eq!(next().await, Some(first));
    assert!(write!(world, tenant, tx => replies::finish(tx, tenant, first)).unwrap());
    assert!(!write!(world, tenant, tx => replies::finish(tx, tenant, first)).unwrap());
    assert_eq!(next().await, Some(second.id));
    assert!(!read!(world, tenant, tx => replies::get(tx, tenant, first)).unwrap().unwrap().is_waiting);
    let elsewhere = Some(Place {
        chatbot_id: Some(all.chatbot.id),
        inbox_id: all.inbox.id,
        auto_reply_enabled: true,
        auto_reply_schedules: all.inbox.auto_reply_schedules.clone(),
        contact_id: all.contact.id,
        contact_name: "Visitor".into(),
        access_type: Some("api".into()),
    });
    assert_eq!(read!(world, tenant, tx => replies::place(tx, tenant, conversation)).unwrap(), elsewhere);
    assert!(read!(world, tenant, tx => conversations::exists(tx, tenant, conversation)).unwrap());
}

#[tokio::test]
async fn an_answer_begins_anew_in_its_place_and_is_left_to_its_job() {
    let world = World::new().await;
    let all = world.fill().await;
    let (tenant, conversation) = (world.tenant, all.conversation.id);
    let answer = Message { id: all.reply.answer_id, created_at: later(3), ..all.answer.clone() };
    write!(world, tenant, tx, answer => replies::begin_answer(tx, tenant, &answer)).unwrap();
    let row = answer.id;
    let half = messages::Partial { tenant, id: row, content: "half".into() };
    write!(world, tenant, tx => messages::save_partials(tx, &[half], later(4))).unwrap();
    let unfinished = read!(world, Scope::System, tx => messages::interrupted(tx)).unwrap();
    assert_eq!(unfinished, [(tenant.organisation(), all.answer.id)], "the reply is made again, so it is not over");
    write!(world, tenant, tx, answer => replies::begin_answer(tx, tenant, &answer)).unwrap();
    let begun = read!(world, tenant, tx => messages::get(tx, tenant, row)).unwrap().unwrap();
    assert_eq!((begun.state.as_str(), begun.content.as_str(), begun.created_at), ("generating", "", later(3)));

    // What is told to the model: neither the message itself, nor what came after it.
    let question = all.question.id;
    let before = later_message(&all, 0);
    write!(world, tenant, tx, before => messages::insert(tx, tenant, &before, &Terms::NONE)).unwrap();
    let history = read!(world, tenant, tx => replies::history(tx, tenant, conversation, 10)).unwrap();
    assert_eq!(history.iter().map(|message| message.id).collect::<Vec<_>>(), [before.id]);
    write!(world, tenant, tx => replies::finish(tx, tenant, question)).unwrap();
    let unfinished = read!(world, Scope::System, tx => messages::interrupted(tx)).unwrap();
    assert_eq!(unfinished.len(), 2);
    let history = read!(world, tenant, tx => replies::history(tx, tenant, conversation, 10)).unwrap();
    assert_eq!(history.len(), 2);
    assert_eq!(begun.conversation_id, conversation);
    assert!(begun.created_at > NOW);
}
