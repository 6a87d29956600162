//! What somebody sees whose groups limit them, by every function that looks something up for a caller.

use std::collections::HashSet;

use parlance_domain::kind::{GroupId, UserId};
use parlance_domain::{Reach, Tenant};
use parlance_storage::conversation_lists::{self, Place};
use parlance_storage::groups::{GroupChatbot, GroupMember};
use parlance_storage::{
    Page, Tx, attachments, chatbots, contacts, conversations, files, groups, inboxes, knowledge_bases, labels,
    message_lists, messages, web_chats,
};

use crate::world::{NOW, Things, World, id, later, read, scopes, write};

fn limited(tenant: Tenant, user: UserId) -> Tenant {
    tenant.within(Some(Reach { user, chatbots: 0 }))
}

/// How many of the things `who` finds, of [`FOUND`] that there are.
async fn found(tx: &mut Tx, who: Tenant, all: &Things) -> usize {
    let conversation = all.conversation.id;
    let everywhere = Place::default();
    let group = group_of(tx, who).await;
    let in_inbox = contacts::Filter { inboxes: Some(vec![all.inbox.id]), ..Default::default() };
    let founds = [
        chatbots::get(tx, who, all.chatbot.id).await.unwrap().is_some(),
        chatbots::list(tx, who, &chatbots::Filter::default(), Page::ALL).await.unwrap().total == 1,
        !chatbots::list(tx, who, &chatbots::Filter::default(), Page::ALL).await.unwrap().rows.is_empty(),
        web_chats::get(tx, who, all.web_chat.id).await.unwrap().is_some(),
        !web_chats::list(tx, who, &web_chats::Filter { access_type: Some("api".into()), ..Default::default() })
            .await
            .unwrap()
            .is_empty(),
        inboxes::get(tx, who, all.inbox.id).await.unwrap().is_some(),
        inboxes::shown(tx, who, all.inbox.id).await.unwrap().is_some(),
        inboxes::list(tx, who, &inboxes::Filter::default(), Page::ALL).await.unwrap().total == 1,
        !inboxes::list(tx, who, &inboxes::Filter::default(), Page::ALL).await.unwrap().rows.is_empty(),
        inboxes::of_web_chat(tx, who, all.web_chat.id).await.unwrap().is_some(),
        conversations::get(tx, who, conversation).await.unwrap().is_some(),
        conversations::exists(tx, who, conversation).await.unwrap(),
        conversations::latest_of_contact(tx, who, all.contact.id, None).await.unwrap().is_some(),
        !conversation_lists::walk(tx, who, everywhere, None, 9).await.unwrap().is_empty(),
        conversation_lists::one(tx, who, conversation).await.unwrap().is_some(),
        !conversation_lists::some(tx, who, &[conversation]).await.unwrap().rows.is_empty(),
        messages::get(tx, who, all.answer.id).await.unwrap().is_some(),
        message_lists::one(tx, who, all.answer.id).await.unwrap().is_some(),
        message_lists::destination(tx, who, conversation, None).await.unwrap().is_some(),
        attachments::get(tx, who, all.attachment.id).await.unwrap().is_some(),
        attachments::list(tx, who, Page::ALL).await.unwrap().total == 1,
        !attachments::list(tx, who, Page::ALL).await.unwrap().rows.is_empty(),
        knowledge_bases::get(tx, who, all.base.id).await.unwrap().is_some(),
        knowledge_bases::list(tx, who, &knowledge_bases::Filter::default(), Page::ALL).await.unwrap().total == 1,
        !knowledge_bases::chatbots(tx, who, &[all.base.id]).await.unwrap().is_empty(),
        knowledge_bases::existing_of(tx, who, &[all.base.id, id()]).await.unwrap() == HashSet::from([all.base.id]),
        chatbots::existing_of(tx, who, &[id(), all.chatbot.id]).await.unwrap() == HashSet::from([all.chatbot.id]),
        files::get(tx, who, all.base.id, all.file.id).await.unwrap().is_some(),
        files::find(tx, who, all.file.id).await.unwrap().is_some(),
        labels::get(tx, who, all.base.id, all.label.id).await.unwrap().is_some(),
        !contacts::inboxes(tx, who, &[all.contact.id]).await.unwrap().is_empty(),
        contacts::list(tx, who, &in_inbox, Page::ALL).await.unwrap().total == 1,
        groups::chatbots(tx, who, group, Page::ALL).await.unwrap().total == 1,
    ];
    assert_eq!(founds.len(), FOUND);
    founds.iter().filter(|found| **found).count()
}

const FOUND: usize = 33;

async fn group_of(tx: &mut Tx, who: Tenant) -> GroupId {
    groups::list(tx, who, Page::ALL).await.unwrap().rows[0].id
}

#[tokio::test]
async fn who_is_limited_finds_what_belongs_to_their_chatbots() {
    let world = World::new().await;
    let all = world.fill().await;
    let tenant = world.tenant;
    for scope in scopes(tenant) {
        let mut tx = world.db.read(scope).await.unwrap();
        assert_eq!(found(&mut tx, tenant, &all).await, FOUND, "without a limit");
        assert_eq!(found(&mut tx, limited(tenant, all.user.id), &all).await, FOUND, "the chatbot of their group");
        assert_eq!(found(&mut tx, limited(tenant, id()), &all).await, 0, "a limit without chatbots");
    }
    // A base of no chatbot is everybody's, an inbox of none is nobody's who is limited.
    write!(world, tenant, tx, all => async {
        knowledge_bases::set_chatbots(tx, tenant, all.base.id, &[]).await?;
        inboxes::update(tx, tenant, &inboxes::Inbox { chatbot_id: None, ..all.inbox.clone() }).await
    })
    .unwrap();
    let stranger = limited(tenant, id());
    assert!(read!(world, tenant, tx => knowledge_bases::get(tx, stranger, all.base.id)).unwrap().is_some());
    assert!(read!(world, tenant, tx => files::find(tx, stranger, all.file.id)).unwrap().is_some());
    let own = limited(tenant, all.user.id);
    assert!(read!(world, tenant, tx => inboxes::get(tx, own, all.inbox.id)).unwrap().is_none());
    assert!(read!(world, tenant, tx => conversations::get(tx, own, all.conversation.id)).unwrap().is_none());
}

#[tokio::test]
async fn who_is_limited_changes_nothing_beyond() {
    let world = World::new().await;
    let all = world.fill().await;
    let tenant = world.tenant;
    let before = world.rows_of(tenant).await;
    let who = limited(tenant, id());
    let kept = all.clone();
    write!(world, tenant, tx, kept => async {
        let conversation = kept.conversation.id;
        assert!(!chatbots::delete(tx, who, kept.chatbot.id).await?);
        assert!(!web_chats::set_identity_secret(tx, who, kept.web_chat.id, &[9], later(9)).await?);
        assert!(!conversations::read(tx, who, conversation, later(9)).await?);
        assert!(!conversations::set_auto_reply(tx, who, conversation, !kept.conversation.auto_reply_enabled).await?);
        assert!(!conversations::set_group_mention(tx, who, conversation, true).await?);
        assert!(attachments::delete(tx, who, kept.attachment.id).await?.is_none());
        assert!(!knowledge_bases::mark_deleting(tx, who, kept.base.id, later(9)).await?);
        assert!(!labels::delete(tx, who, kept.base.id, kept.label.id).await?);
        // Links to chatbots that they do not see stay.
        knowledge_bases::set_chatbots(tx, who, kept.base.id, &[]).await
    })
    .unwrap();
    assert_eq!(world.rows_of(tenant).await, before);
    // Deleting a base that they see parts it from all.
    let own = limited(tenant, all.user.id);
    let base = all.base.id;
    assert!(write!(world, tenant, tx => knowledge_bases::mark_deleting(tx, own, base, later(9))).unwrap());
    assert!(read!(world, tenant, tx => knowledge_bases::chatbots(tx, tenant, &[base])).unwrap().is_empty());
}

#[tokio::test]
async fn a_group_limits_until_its_last_chatbot_is_taken_from_it() {
    let world = World::new().await;
    let all = world.fill().await;
    let (tenant, user, chatbot) = (world.tenant, all.user.id, all.chatbot.id);
    let reached = async || read!(world, tenant, tx => groups::chatbots_of(tx, tenant, user)).unwrap();
    assert_eq!(reached().await, Some(vec![chatbot]));
    assert_eq!(read!(world, tenant, tx => groups::chatbots_of(tx, tenant, id())).unwrap(), None);
    let stranger = world.stranger;
    assert_eq!(read!(world, stranger, tx => groups::chatbots_of(tx, stranger, user)).unwrap(), None);

    // A second group without chatbots changes nothing, with the same one neither.
    let first = read!(world, tenant, tx => groups::list(tx, tenant, Page::ALL)).unwrap().rows[0].clone();
    let second = groups::Group { id: id(), name: "Second".into(), ..first.clone() };
    let (row, which) = (second.clone(), second.id);
    let joined = GroupMember { id: id(), user_id: user, name: String::new(), created_at: NOW };
    write!(world, tenant, tx => async {
        groups::insert(tx, tenant, &row).await?;
        groups::add_member(tx, tenant, which, &joined).await
    })
    .unwrap();
    assert_eq!(reached().await, Some(vec![chatbot]));
    let linked = GroupChatbot { id: id(), chatbot_id: chatbot, name: String::new(), created_at: NOW };
    let link = linked.id;
    write!(world, tenant, tx => groups::add_chatbot(tx, tenant, which, &linked)).unwrap();
    assert_eq!(reached().await, Some(vec![chatbot]));
    assert!(write!(world, tenant, tx => groups::remove_chatbot(tx, tenant, which, link)).unwrap());
    assert_eq!(reached().await, Some(vec![chatbot]));

    // The chatbot is gone; the limit is not.
    assert!(write!(world, tenant, tx => chatbots::delete(tx, tenant, chatbot)).unwrap());
    assert_eq!(reached().await, Some(Vec::new()));
    // An unknown chatbot makes no limit.
    let nothing = GroupChatbot { id: id(), chatbot_id: id(), name: String::new(), created_at: NOW };
    write!(world, tenant, tx => groups::add_chatbot(tx, tenant, which, &nothing)).unwrap();
    let which = first.id;
    assert!(write!(world, tenant, tx => groups::delete(tx, tenant, which)).unwrap());
    assert_eq!(reached().await, None);
}
