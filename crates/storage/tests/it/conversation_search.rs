//! Lists of conversations and of their messages, and the index of terms.

use parlance_domain::kind::{ConversationId, MessageId};
use parlance_storage::conversation_lists::{self, Place, Position};
use parlance_storage::conversation_terms::{self, Terms, Wanted};
use parlance_storage::conversations::Conversation;
use parlance_storage::message_lists::{self, Feedback};
use parlance_storage::messages::Message;
use parlance_storage::{conversations, messages};

use crate::world::{NOW, Things, World, id, later, read, scopes, write};

fn terms(numbers: &[i32]) -> Terms {
    numbers.iter().copied().collect()
}

/// Conversations of the first inbox, one a second, with the terms 1 and 100 plus their number.
async fn conversations_of(world: &World, all: &Things, count: i32) -> Vec<ConversationId> {
    let mut ids = Vec::new();
    for number in 0..count {
        let at = later(u64::try_from(number).unwrap() + 10);
        let one = Conversation { id: id(), last_activity_at: at, ..all.conversation.clone() };
        ids.push(one.id);
        let tenant = world.tenant;
        let own = terms(&[1, 100 + number]);
        write!(world, tenant, tx => conversations::insert(tx, tenant, &one, &own)).unwrap();
    }
    ids.reverse();
    ids
}

#[tokio::test]
async fn lists_go_forth_and_back() {
    let world = World::new().await;
    let all = world.fill().await;
    let tenant = world.tenant;
    let ids = conversations_of(&world, &all, 5).await;
    for place in [
        Place::default(),
        Place { inbox: Some(all.inbox.id), contact: None },
        Place { inbox: Some(all.inbox.id), contact: Some(all.contact.id) },
        Place { inbox: None, contact: Some(all.contact.id) },
    ] {
        let page = async |from| {
            let walked = read!(world, tenant, tx => conversation_lists::walk(tx, tenant, place, from, 2)).unwrap();
            assert_eq!(walked[0].name_folded, all.contact.name_folded);
            walked
        };
        let first = page(None).await;
        assert_eq!(first.iter().map(|row| row.id).collect::<Vec<_>>(), ids[..2]);
        let last = &first[1];
        let from = Position { at: last.last_activity_at, id: last.id, is_back: false };
        let second = page(Some(from)).await;
        assert_eq!(second.iter().map(|row| row.id).collect::<Vec<_>>(), ids[2..4]);
        let third = &second[0];
        let back = page(Some(Position { at: third.last_activity_at, id: third.id, is_back: true })).await;
        assert_eq!(back.iter().map(|row| row.id).collect::<Vec<_>>(), [ids[1], ids[0]]);
    }
    let elsewhere = Place { inbox: Some(id()), contact: None };
    assert!(read!(world, tenant, tx => conversation_lists::walk(tx, tenant, elsewhere, None, 9)).unwrap().is_empty());
    let shown = read!(world, tenant, tx => conversation_lists::one(tx, tenant, all.conversation.id)).unwrap().unwrap();
    assert_eq!((shown.contact_name, shown.inbox_name), (all.contact.name.clone(), all.inbox.name.clone()));
    assert_eq!(shown.last_id, Some(all.question.id), "what is being made is not shown");
    assert_eq!(shown.time_zone, "Asia/Taipei");
    let some = read!(world, tenant, tx => conversation_lists::some(tx, tenant, &[ids[0], id(), ids[3]])).unwrap();
    assert_eq!(some.rows.iter().map(|row| row.conversation.id).collect::<Vec<_>>(), [ids[0], ids[3]]);
    assert!(some.is_cut, "one of them is not there");
}

#[tokio::test]
async fn what_is_shown_ends_where_the_texts_are_too_long_for_a_page() {
    let world = World::new().await;
    let all = world.fill().await;
    let tenant = world.tenant;
    let ids = conversations_of(&world, &all, 4).await;
    for (conversation, megabytes) in [(ids[0], 1), (ids[1], 10), (ids[2], 7), (ids[3], 0)] {
        let content = "文".repeat((megabytes << 20) / 3);
        let question = Message { id: id(), conversation_id: conversation, content, ..all.question.clone() };
        write!(world, tenant, tx => messages::insert(tx, tenant, &question, &terms(&[]))).unwrap();
    }
    let shown = async |ids: &[ConversationId]| {
        let part = read!(world, tenant, tx => conversation_lists::some(tx, tenant, ids)).unwrap();
        (part.rows.iter().map(|row| row.conversation.id).collect::<Vec<_>>(), part.is_cut)
    };
    assert_eq!(shown(&ids).await, (ids[..2].to_vec(), true), "11 of 16 MiB, and 7 more do not fit");
    assert_eq!(shown(&ids[2..]).await, (ids[2..].to_vec(), false));
    let others = [ids[3], ids[2], ids[0]];
    assert_eq!(shown(&others).await, (others.to_vec(), false), "in the order that is asked for");
    assert_eq!(shown(&[]).await, (Vec::new(), false));
}

#[tokio::test]
async fn a_conversation_is_read_and_taken_over() {
    let world = World::new().await;
    let all = world.fill().await;
    let tenant = world.tenant;
    let (conversation, inbox) = (all.conversation.id, all.inbox.id);
    let one = async || read!(world, tenant, tx => conversations::get(tx, tenant, conversation)).unwrap().unwrap();
    let unread = async || read!(world, tenant, tx => conversation_lists::unread(tx, tenant, &[id(), inbox])).unwrap();
    let activity = conversations::Activity { at: later(5), unread: 2, title: "", title_folded: "" };
    write!(world, tenant, tx => conversations::touch(tx, tenant, conversation, &activity)).unwrap();
    assert_eq!(unread().await, [(inbox, 1)]);
    assert!(write!(world, tenant, tx => conversations::read(tx, tenant, conversation, later(6))).unwrap());
    assert_eq!((one().await.unread_count, one().await.last_read_at), (0, Some(later(6))));
    assert_eq!(unread().await, [(inbox, 0)]);
    for is_enabled in [false, true] {
        assert!(
            write!(world, tenant, tx => conversations::set_auto_reply(tx, tenant, conversation, is_enabled)).unwrap()
        );
        assert!(
            write!(world, tenant, tx => conversations::set_group_mention(tx, tenant, conversation, is_enabled))
                .unwrap()
        );
        assert_eq!((one().await.auto_reply_enabled, one().await.enable_group_mention), (is_enabled, is_enabled));
    }
    for scope in scopes(world.stranger) {
        let who = world.stranger;
        assert!(!write!(world, scope, tx => conversations::read(tx, who, conversation, NOW)).unwrap());
        assert!(!write!(world, scope, tx => conversations::set_auto_reply(tx, who, conversation, false)).unwrap());
        assert!(!write!(world, scope, tx => conversations::set_group_mention(tx, who, conversation, false)).unwrap());
        assert_eq!(read!(world, scope, tx => conversation_lists::one(tx, who, conversation)).unwrap(), None);
        assert!(read!(world, scope, tx => conversation_lists::unread(tx, who, &[inbox])).unwrap().is_empty());
        let place = Place::default();
        assert!(read!(world, scope, tx => conversation_lists::walk(tx, who, place, None, 9)).unwrap().is_empty());
        let some = read!(world, scope, tx => conversation_lists::some(tx, who, &[conversation])).unwrap();
        assert!(some.rows.is_empty());
    }
}

#[tokio::test]
async fn terms_name_the_conversations_they_were_added_to() {
    let world = World::new().await;
    let all = world.fill().await;
    let tenant = world.tenant;
    let ids = conversations_of(&world, &all, 5).await;
    let find = async |who, scope, parts: Vec<Terms>, from| {
        let wanted = Wanted { parts: &parts, place: Place::default(), from, limit: 10 };
        let found = read!(world, scope, tx => conversation_terms::candidates(tx, who, &wanted)).unwrap();
        found.into_iter().map(|found| found.id).collect::<Vec<_>>()
    };
    let own = async |parts| find(tenant, tenant.into(), parts, None).await;
    assert_eq!(own(vec![terms(&[1])]).await, ids, "newest first");
    assert_eq!(own(vec![terms(&[1, 103])]).await, [ids[1]]);
    assert_eq!(own(vec![terms(&[1]), terms(&[103])]).await, [ids[1]]);
    assert_eq!(own(vec![terms(&[7])]).await, []);
    assert_eq!(own(vec![Terms::NONE]).await, []);
    assert_eq!(own(Vec::new()).await, []);
    let third = Position { at: later(12), id: ids[2], is_back: false };
    assert_eq!(find(tenant, tenant.into(), vec![terms(&[1])], Some(third)).await, ids[3..]);
    let back = Position { is_back: true, ..third };
    assert_eq!(find(tenant, tenant.into(), vec![terms(&[1])], Some(back)).await, [ids[1], ids[0]]);

    // A conversation grows, in parts that have to be found together.
    let (conversation, contact) = (ids[4], all.contact.id);
    write!(world, tenant, tx => conversation_terms::add(tx, tenant, conversation, &terms(&[7, -8]))).unwrap();
    write!(world, tenant, tx => conversation_terms::add(tx, tenant, conversation, &terms(&[9]))).unwrap();
    assert_eq!(own(vec![terms(&[-8]), terms(&[9])]).await, [conversation]);
    write!(world, tenant, tx => conversation_terms::add_of_contact(tx, tenant, contact, &terms(&[12]))).unwrap();
    assert_eq!(own(vec![terms(&[12])]).await.len(), 6);

    // A stranger adds nothing to what is not theirs and is given none of it.
    for scope in scopes(world.stranger) {
        let who = world.stranger;
        write!(world, scope, tx => conversation_terms::add(tx, who, conversation, &terms(&[13]))).unwrap();
        write!(world, scope, tx => conversation_terms::add_of_contact(tx, who, contact, &terms(&[13]))).unwrap();
        assert_eq!(find(who, scope, vec![terms(&[1])], None).await, []);
    }
    assert_eq!(own(vec![terms(&[13])]).await, []);
}

#[tokio::test]
async fn messages_are_listed_with_their_senders() {
    let world = World::new().await;
    let all = world.fill().await;
    let tenant = world.tenant;
    let conversation = all.conversation.id;
    for number in 0..3 {
        let at = later(20 + number);
        let more = Message { id: id(), content: format!("{number}"), created_at: at, ..all.question.clone() };
        write!(world, tenant, tx => messages::insert(tx, tenant, &more, &Terms::NONE)).unwrap();
    }
    let page = async |from| {
        let part = read!(world, tenant, tx => message_lists::page(tx, tenant, conversation, from, 2)).unwrap();
        assert!(!part.is_cut);
        part.rows
    };
    let texts = |page: &[message_lists::Sent]| {
        page.iter().map(|sent| sent.message.content.clone()).collect::<Vec<_>>().join(" ")
    };
    let first = page(None).await;
    assert_eq!(texts(&first), "2 1");
    assert_eq!(first[0].contact_name.as_ref(), Some(&all.contact.name));
    assert_eq!((first[0].owner_id, first[0].inbox_id), (all.contact.id, all.inbox.id));
    let at = |sent: &message_lists::Sent, is_back| {
        Some(message_lists::Position { at: sent.message.created_at, id: sent.message.id, is_back })
    };
    assert_eq!(texts(&page(at(&first[1], false)).await).split(' ').next(), Some("0"));
    assert_eq!(texts(&page(at(&first[1], true)).await), "2");
    assert_eq!(read!(world, tenant, tx => message_lists::total(tx, tenant, conversation)).unwrap(), 5);
    let mut looked_at = 0;
    read!(world, tenant, tx => message_lists::look_at_texts(tx, tenant, &[conversation], |of, _| {
        assert_eq!(of, conversation);
        looked_at += 1;
        looked_at < 4
    }))
    .unwrap();
    assert_eq!(looked_at, 4, "until it is told to stop");

    let answer = all.answer.id;
    let one = async |of: MessageId| read!(world, tenant, tx => message_lists::one(tx, tenant, of)).unwrap();
    assert_eq!(one(answer).await.unwrap().chatbot_name.as_ref(), Some(&all.chatbot.name));
    let first_feedback = id();
    for (feedback_id, kind) in [(first_feedback, "like"), (id(), "dislike")] {
        let feedback = Feedback { id: feedback_id, kind, suggestion: "more" };
        assert!(
            write!(world, tenant, tx => message_lists::set_feedback(tx, tenant, answer, &feedback, later(3))).unwrap()
        );
    }
    let judged = one(answer).await.unwrap().message;
    assert_eq!((judged.feedback_id, judged.feedback_at), (Some(first_feedback), Some(later(3))));
    assert_eq!(
        (judged.feedback_type.as_deref(), judged.feedback_suggestion.as_deref()),
        (Some("dislike"), Some("more"))
    );
    let question = all.question.id;
    assert!(!write!(world, tenant, tx => message_lists::clear_feedback(tx, tenant, question)).unwrap());
    for scope in scopes(world.stranger) {
        let who = world.stranger;
        let taken = Feedback { id: id(), kind: "like", suggestion: "" };
        assert!(!write!(world, scope, tx => message_lists::set_feedback(tx, who, answer, &taken, NOW)).unwrap());
        assert!(!write!(world, scope, tx => message_lists::clear_feedback(tx, who, answer)).unwrap());
        assert_eq!(read!(world, scope, tx => message_lists::one(tx, who, answer)).unwrap(), None);
        assert_eq!(read!(world, scope, tx => message_lists::total(tx, who, conversation)).unwrap(), 0);
        assert!(
            read!(world, scope, tx => message_lists::page(tx, who, conversation, None, 9)).unwrap().rows.is_empty()
        );
        assert_eq!(read!(world, scope, tx => message_lists::destination(tx, who, conversation, None)).unwrap(), None);
        read!(world, scope, tx => message_lists::look_at_texts(tx, who, &[conversation], |_, text| panic!("{text}")))
            .unwrap();
    }
    assert!(write!(world, tenant, tx => message_lists::clear_feedback(tx, tenant, answer)).unwrap());
    assert_eq!(one(answer).await.unwrap().message.feedback_id, None);
    let there = read!(world, tenant, tx => message_lists::destination(tx, tenant, conversation, None)).unwrap();
    let there = there.unwrap();
    assert_eq!((there.contact_id, there.chatbot_id), (all.contact.id, Some(all.chatbot.id)));
    assert_eq!((there.contact_name, there.user_name), (all.contact.name, None));
}
