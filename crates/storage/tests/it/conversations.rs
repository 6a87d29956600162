//! Contacts, conversations, messages and records.

use parlance_domain::kind::MessageId;
use parlance_storage::conversation_terms::Terms;
use parlance_storage::conversations::Activity;
use parlance_storage::messages::{Ending, Message, Partial};
use parlance_storage::records::Record;
use parlance_storage::{Scope, contacts, conversations, messages, records};

use crate::world::{NOW, World, id, later, read, write};

static NO_TERMS: Terms = Terms::NONE;

#[tokio::test]
async fn a_contact_is_found_by_id_and_by_source() {
    let world = World::new().await;
    let all = world.fill().await;
    let tenant = world.tenant;
    let (inbox, contact) = (all.inbox.id, all.contact.id);
    assert_eq!(read!(world, tenant, tx => contacts::get(tx, tenant, contact)).unwrap(), Some(all.contact.clone()));
    let found = read!(world, tenant, tx => contacts::by_source(tx, tenant, inbox, "visitor-1")).unwrap();
    assert_eq!(found, Some(all.contact.clone()));
    assert!(read!(world, tenant, tx => contacts::by_source(tx, tenant, inbox, "visitor-2")).unwrap().is_none());
    assert!(read!(world, tenant, tx => contacts::by_source(tx, tenant, id(), "visitor-1")).unwrap().is_none());
    let twin = contacts::Contact { id: id(), ..all.contact.clone() };
    assert!(
        write!(world, tenant, tx => contacts::insert(tx, tenant, &twin, inbox)).is_err(),
        "a source is one contact"
    );
    for _ in 0..2 {
        let nameless = contacts::Contact { id: id(), source_id: None, ..all.contact.clone() };
        write!(world, tenant, tx => contacts::insert(tx, tenant, &nameless, inbox)).unwrap();
    }
    let other = contacts::Contact { id: id(), source_id: None, ..all.contact.clone() };
    write!(world, tenant, tx, other => contacts::insert(tx, tenant, &other, inbox)).unwrap();
    let stranger = other.id;
    let taken = write!(world, tenant, tx => contacts::join(tx, tenant, stranger, (inbox, Some("visitor-1")), NOW));
    assert!(matches!(taken, Err(parlance_domain::Error::Conflict(_))), "{taken:?}");
    write!(world, tenant, tx => contacts::join(tx, tenant, stranger, (inbox, Some("visitor-2")), NOW)).unwrap();
    let joined = read!(world, tenant, tx => contacts::by_source(tx, tenant, inbox, "visitor-2")).unwrap();
    assert_eq!(joined.map(|contact| contact.id), Some(stranger));
}

#[tokio::test]
async fn a_conversation_belongs_to_its_assistant_and_keeps_its_first_title() {
    let world = World::new().await;
    let all = world.fill().await;
    let tenant = world.tenant;
    let (chatbot, conversation) = (all.chatbot.id, all.conversation.id);
    let found = async || {
        read!(world, tenant, tx => conversations::of_chatbot(tx, tenant, chatbot, conversation)).unwrap().unwrap()
    };
    assert_eq!(found().await, (all.conversation.clone(), "Visitor".to_owned()));
    let got = read!(world, tenant, tx => conversations::get(tx, tenant, conversation)).unwrap();
    assert_eq!(got, Some(all.conversation.clone()));
    let other = id();
    assert!(read!(world, tenant, tx => conversations::of_chatbot(tx, tenant, other, conversation)).unwrap().is_none());
    assert!(read!(world, tenant, tx => conversations::exists(tx, tenant, conversation)).unwrap());
    assert!(!read!(world, tenant, tx => conversations::exists(tx, tenant, id())).unwrap());
    for (title, seconds) in [("first", 1), ("second", 2)] {
        let activity = Activity { at: later(seconds), unread: 1, title, title_folded: title };
        write!(world, tenant, tx => conversations::touch(tx, tenant, conversation, &activity)).unwrap();
    }
    let (touched, _) = found().await;
    assert_eq!((touched.title.as_str(), touched.title_folded.as_str()), ("first", "first"));
    assert_eq!((touched.last_message_at, touched.last_activity_at), (Some(later(2)), later(2)));
    assert_eq!(touched.unread_count, 2);
}

#[tokio::test]
async fn an_answer_ends_once() {
    let world = World::new().await;
    let all = world.fill().await;
    let tenant = world.tenant;
    let (conversation, answer) = (all.conversation.id, all.answer.id);
    let get = async |message: MessageId| read!(world, tenant, tx => messages::get(tx, tenant, message)).unwrap();
    assert_eq!(get(all.question.id).await, Some(all.question.clone()));
    assert_eq!(get(id()).await, None);
    let history = async |limit| read!(world, tenant, tx => messages::history(tx, tenant, conversation, limit)).unwrap();
    assert_eq!(history(10).await, std::slice::from_ref(&all.question), "what is being made is not history");

    let partial = move |content: &str| Partial { tenant, id: answer, content: content.to_owned() };
    write!(world, tenant, tx => messages::save_partials(tx, &[partial("一")], later(2))).unwrap();
    assert_eq!(get(answer).await.unwrap().content, "一");
    let done = Ending { state: "done", content: "一年。", citations: "[1]", error: None, terms: &NO_TERMS };
    let place = (conversation, answer);
    write!(world, tenant, tx => messages::end(tx, tenant, place, &done, later(3))).unwrap();
    let error = Ending { state: "error", content: "", citations: "[]", error: Some("late"), terms: &NO_TERMS };
    write!(world, tenant, tx => messages::end(tx, tenant, place, &error, later(4))).unwrap();
    assert!(!write!(world, tenant, tx => messages::interrupt(tx, tenant, answer, later(4))).unwrap());
    write!(world, tenant, tx => messages::save_partials(tx, &[partial("late")], later(4))).unwrap();
    let ended = Message { state: "done".into(), content: "一年。".into(), citations: "[1]".into(), ..all.answer };
    assert_eq!(get(answer).await, Some(ended.clone()));
    assert_eq!(history(10).await, [all.question, ended.clone()], "oldest first");
    assert_eq!(history(1).await, [ended], "the last ones");
}

#[tokio::test]
async fn what_a_dead_process_left_is_interrupted() {
    let world = World::new().await;
    let all = world.fill().await;
    let tenant = world.tenant;
    let answer = all.answer.id;
    let partial = Partial { tenant, id: answer, content: "so far".to_owned() };
    write!(world, tenant, tx => messages::save_partials(tx, &[partial], later(2))).unwrap();
    let left = read!(world, Scope::System, tx => messages::interrupted(tx)).unwrap();
    assert_eq!(left, [(tenant.organisation(), answer)]);
    let unfinished = read!(world, tenant, tx => messages::unfinished(tx, tenant, answer)).unwrap().unwrap();
    assert_eq!(unfinished.question.as_deref(), Some(all.question.content.as_str()));
    assert_eq!((unfinished.chatbot_id, unfinished.content.as_str()), (Some(all.chatbot.id), "so far"));
    assert_eq!((unfinished.contact_name, unfinished.updated_at), (all.contact.name, later(2)));
    assert!(write!(world, tenant, tx => messages::interrupt(tx, tenant, answer, later(3))).unwrap());
    assert_eq!(read!(world, tenant, tx => messages::unfinished(tx, tenant, answer)).unwrap(), None);
    assert!(read!(world, Scope::System, tx => messages::interrupted(tx)).unwrap().is_empty());
    let message = read!(world, tenant, tx => messages::get(tx, tenant, answer)).unwrap().unwrap();
    assert_eq!((message.state.as_str(), message.content.as_str()), ("error", "so far"));
    assert_eq!(message.error.as_deref(), Some("interrupted"));
    let plain = Message { id: id(), created_at: NOW, ..message };
    write!(world, tenant, tx, plain => messages::insert(tx, tenant, &plain, &Terms::NONE)).unwrap();
    assert_eq!(read!(world, tenant, tx => messages::get(tx, tenant, plain.id)).unwrap(), Some(plain));
}

#[tokio::test]
async fn an_answer_has_one_record() {
    let world = World::new().await;
    let all = world.fill().await;
    let tenant = world.tenant;
    let second = Record { id: id(), output_message: "again".into(), ..all.record.clone() };
    write!(world, tenant, tx => records::insert(tx, tenant, &second)).unwrap();
    let answer = all.answer.id;
    assert_eq!(read!(world, tenant, tx => records::of_message(tx, tenant, answer)).unwrap(), Some(all.record));
    assert!(read!(world, tenant, tx => records::of_message(tx, tenant, id())).unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_several_times_at_once_is_made_once() {
    let world = World::new().await;
    let all = world.fill().await;
    let (tenant, inbox) = (world.tenant, all.inbox.id);
    let racing = (0..12).map(|_| {
        let db = world.db.clone();
        let contact = contacts::Contact { id: id(), source_id: Some("visitor-9".into()), ..all.contact.clone() };
        tokio::spawn(async move {
            db.write(tenant, move |tx| {
                Box::pin(async move {
                    match contacts::claim_source(tx, tenant, inbox, "visitor-9").await? {
                        Some(known) => Ok(known.id),
                        None => contacts::insert(tx, tenant, &contact, inbox).await.map(|()| contact.id),
                    }
                })
            })
            .await
        })
    });
    let mut made = Vec::new();
    for racer in futures_util::future::join_all(racing).await {
        made.push(racer.unwrap().unwrap());
    }
    made.dedup();
    assert_eq!(made.len(), 1, "{made:?}");
    assert!(write!(world, tenant, tx => contacts::claim_source(tx, tenant, inbox, "visitor-8")).unwrap().is_none());
}
