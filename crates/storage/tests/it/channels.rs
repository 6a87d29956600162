//! Inboxes and the contacts who write to them.

use parlance_domain::{Error, Tenant};
use parlance_storage::contacts::{Contact, Filter};
use parlance_storage::conversation_terms::Terms;
use parlance_storage::conversations::{Activity, Conversation};
use parlance_storage::inboxes::{self, Inbox, MOST_UNREAD, Order};
use parlance_storage::{Page, contacts, conversations, web_chats};

use crate::world::{NOW, World, id, later, read, write};

#[tokio::test]
async fn inboxes() {
    let world = World::new().await;
    let all = world.fill().await;
    let tenant = world.tenant;
    let first = all.inbox.id;
    assert_eq!(read!(world, tenant, tx => inboxes::get(tx, tenant, first)).unwrap(), Some(all.inbox.clone()));
    let of_page = read!(world, tenant, tx => inboxes::of_web_chat(tx, tenant, all.web_chat.id)).unwrap();
    assert_eq!(of_page, Some(all.inbox.clone()));
    let second = Inbox {
        id: id(),
        name: "B 100%".into(),
        name_folded: "b 100%".into(),
        channel_type: "line".into(),
        web_chat_id: None,
        chatbot_id: None,
        created_at: later(1),
        ..all.inbox.clone()
    };
    write!(world, tenant, tx, second => inboxes::insert(tx, tenant, &second)).unwrap();
    let names = async |filter: inboxes::Filter, page: Page| {
        let listing = read!(world, tenant, tx => inboxes::list(tx, tenant, &filter, page)).unwrap();
        (listing.total, listing.rows.into_iter().map(|row| row.inbox.name).collect::<Vec<_>>())
    };
    let any = inboxes::Filter::default;
    assert_eq!(names(any(), Page::ALL).await, (2, vec!["B 100%".into(), "API".into()]));
    assert_eq!(names(any(), Page { offset: 1, limit: 1 }).await, (2, vec!["API".into()]));
    for (order, expected) in [
        (Order::Oldest, "API"),
        (Order::Name, "API"),
        (Order::NameFromEnd, "B 100%"),
        (Order::MostRecent, "B 100%"),
        (Order::LeastRecent, "API"),
    ] {
        let recent = Inbox { updated_at: later(5), ..second.clone() };
        assert!(write!(world, tenant, tx => inboxes::update(tx, tenant, &recent)).unwrap());
        assert_eq!(names(inboxes::Filter { order, ..any() }, Page::ALL).await.1[0], expected, "{order:?}");
    }
    let only = async |filter| names(filter, Page::ALL).await.1;
    assert_eq!(only(inboxes::Filter { channel_type: Some("line".into()), ..any() }).await, ["B 100%"]);
    assert_eq!(only(inboxes::Filter { chatbot: Some(all.chatbot.id), ..any() }).await, ["API"]);
    assert_eq!(only(inboxes::Filter { name_folded: Some("%".into()), ..any() }).await, ["B 100%"]);
    assert!(only(inboxes::Filter { name_folded: Some("x".repeat(10_000)), ..any() }).await.is_empty());

    let changed = Inbox {
        name: "New".into(),
        name_folded: "new".into(),
        auto_reply_schedules: "[1]".into(),
        query_metadata: Some("{}".into()),
        sign_auth: Some("{\"a\":1}".into()),
        updated_at: later(9),
        ..all.inbox.clone()
    };
    assert!(write!(world, tenant, tx, changed => inboxes::update(tx, tenant, &changed)).unwrap());
    let shown = async || read!(world, tenant, tx => inboxes::shown(tx, tenant, first)).unwrap();
    let found = shown().await.unwrap();
    assert_eq!((found.inbox, found.unread_conversations), (changed, 0));
    assert_eq!((found.web_chat_name.as_deref(), found.access_type.as_deref()), (Some("API"), Some("api")));

    let conversation = all.conversation.id;
    let activity = Activity { at: later(1), unread: 3, title: "", title_folded: "" };
    write!(world, tenant, tx => conversations::touch(tx, tenant, conversation, &activity)).unwrap();
    assert_eq!(shown().await.unwrap().unread_conversations, 1, "conversations are counted, not messages");
    let more: Vec<Conversation> =
        (0..MOST_UNREAD).map(|_| Conversation { id: id(), unread_count: 1, ..all.conversation.clone() }).collect();
    write!(world, tenant, tx, more => async {
        for conversation in &more {
            conversations::insert(tx, tenant, conversation, &Terms::NONE).await?;
        }
        Ok(())
    })
    .unwrap();
    assert_eq!(shown().await.unwrap().unread_conversations, i64::from(MOST_UNREAD));

    assert!(write!(world, tenant, tx => inboxes::delete(tx, tenant, first, later(9))).unwrap());
    assert!(!write!(world, tenant, tx => inboxes::delete(tx, tenant, first, later(9))).unwrap());
    assert!(shown().await.is_none());
    assert!(read!(world, tenant, tx => inboxes::get(tx, tenant, first)).unwrap().is_none());
    assert_eq!(names(any(), Page::ALL).await, (1, vec!["B 100%".into()]));
    let kept = read!(world, tenant, tx => conversations::get(tx, tenant, conversation)).unwrap();
    assert!(kept.is_some(), "conversations stay");
    assert!(read!(world, tenant, tx => web_chats::of_api(tx, tenant, all.chatbot.id)).unwrap().is_some());
}

#[tokio::test]
async fn contacts_are_changed_listed_and_hidden() {
    let world = World::new().await;
    let all = world.fill().await;
    let tenant = world.tenant;
    let (inbox, first) = (all.inbox.id, all.contact.id);
    let second = Contact {
        id: id(),
        name: "陳小姐".into(),
        name_folded: "陈小姐".into(),
        email: Some("Chen@Example.TW".into()),
        phone_number: Some("+886 912".into()),
        source_id: Some("Crm_42".into()),
        created_at: later(1),
        ..all.contact.clone()
    };
    write!(world, tenant, tx, second => contacts::insert(tx, tenant, &second, inbox)).unwrap();
    let line = Inbox { id: id(), name: "Line".into(), web_chat_id: None, ..all.inbox.clone() };
    write!(world, tenant, tx, line => inboxes::insert(tx, tenant, &line)).unwrap();
    let (another, who) = (line.id, second.id);
    write!(world, tenant, tx => contacts::join(tx, tenant, who, (another, Some("Crm_42")), later(2))).unwrap();

    let alone = Contact { id: id(), name: "Alone".into(), ..second.clone() };
    write!(world, tenant, tx, alone => contacts::add(tx, tenant, &alone)).unwrap();
    let of_alone = read!(world, tenant, tx => contacts::inboxes(tx, tenant, &[alone.id])).unwrap();
    assert!(of_alone.is_empty());
    let alone = alone.id;
    assert!(write!(world, tenant, tx => contacts::delete(tx, tenant, alone, later(1))).unwrap());

    let list = async |filter: Filter, page: Page| {
        let listing = read!(world, tenant, tx => contacts::list(tx, tenant, &filter, page)).unwrap();
        (listing.total, listing.rows)
    };
    let keyword = |word: &str| Filter { keyword: Some((word.into(), word.into())), ..Filter::default() };
    let both = (2, vec![second.clone(), all.contact.clone()]);
    assert_eq!(list(Filter::default(), Page::ALL).await, both);
    assert_eq!(list(Filter::default(), Page { offset: 1, limit: 1 }).await, (2, vec![all.contact.clone()]));
    for word in ["陈小", "chen@example", "+886", "crm_42"] {
        assert_eq!(list(keyword(word), Page::ALL).await, (1, vec![second.clone()]), "{word}");
    }
    for word in ["%", "crm-42", "2\n+"] {
        assert_eq!(list(keyword(word), Page::ALL).await.0, 0, "{word}");
    }
    assert_eq!(list(keyword(&"x".repeat(10_000)), Page::ALL).await.0, 0);
    let of = |inboxes: &[_]| Filter { inboxes: Some(inboxes.to_vec()), ..Filter::default() };
    assert_eq!(list(of(&[inbox, another]), Page::ALL).await, both);
    assert_eq!(list(of(&[another]), Page::ALL).await.1, std::slice::from_ref(&second));
    assert_eq!(list(of(&[]), Page::ALL).await.0, 0, "none of the inboxes is none of the contacts");
    assert_eq!(list(of(&vec![inbox; 501]), Page::ALL).await.0, 0);

    let ids = [first, who];
    let places = async || read!(world, tenant, tx => contacts::inboxes(tx, tenant, &ids)).unwrap();
    let expected = [(first, inbox, "API"), (who, inbox, "API"), (who, another, "Line")];
    let mut found = places().await;
    found.sort_by_key(|(contact, inbox, _)| (*contact, *inbox));
    assert_eq!(found, expected.map(|(contact, inbox, name)| (contact, inbox, name.to_owned())));
    let members =
        async |inbox, limit| read!(world, tenant, tx => contacts::of_inbox(tx, tenant, inbox, limit)).unwrap();
    assert_eq!((members(inbox, 10).await, members(inbox, 1).await), (vec![first, who], vec![first]));
    write!(world, tenant, tx => contacts::leave(tx, tenant, who, another)).unwrap();
    assert!(members(another, 10).await.is_empty());
    assert!(write!(world, tenant, tx => inboxes::delete(tx, tenant, another, NOW)).unwrap());
    assert_eq!(places().await.len(), 2);

    let changed = Contact { name: "Ms Chen".into(), email: None, updated_at: later(5), ..second.clone() };
    assert!(write!(world, tenant, tx, changed => contacts::update(tx, tenant, &changed, &Terms::NONE)).unwrap());
    assert_eq!(read!(world, tenant, tx => contacts::get(tx, tenant, who)).unwrap(), Some(changed.clone()));
    assert_eq!(list(keyword("chen@example"), Page::ALL).await.0, 0);

    let latest = async |inbox| {
        let found = read!(world, tenant, tx => conversations::latest_of_contact(tx, tenant, first, inbox));
        found.unwrap().map(|conversation| conversation.id)
    };
    let newer = Conversation { id: id(), last_activity_at: later(7), ..all.conversation.clone() };
    write!(world, tenant, tx, newer => conversations::insert(tx, tenant, &newer, &Terms::NONE)).unwrap();
    assert_eq!((latest(None).await, latest(Some(inbox)).await), (Some(newer.id), Some(newer.id)));
    assert_eq!(latest(Some(another)).await, None);

    assert!(write!(world, tenant, tx => contacts::delete(tx, tenant, who, later(6))).unwrap());
    assert!(!write!(world, tenant, tx => contacts::delete(tx, tenant, who, later(6))).unwrap());
    assert!(!write!(world, tenant, tx, changed => contacts::update(tx, tenant, &changed, &Terms::NONE)).unwrap());
    assert!(read!(world, tenant, tx => contacts::get(tx, tenant, who)).unwrap().is_none());
    assert_eq!(list(Filter::default(), Page::ALL).await.1, std::slice::from_ref(&all.contact));
    assert_eq!(members(inbox, 10).await, [first]);
    let again = Contact { id: id(), ..second.clone() };
    write!(world, tenant, tx, again => contacts::insert(tx, tenant, &again, inbox)).unwrap();
    let refused = write!(world, tenant, tx => contacts::insert(tx, tenant, &Contact { id: id(), ..second }, inbox));
    assert!(matches!(refused, Err(Error::Conflict(_))), "{refused:?}");
}

#[tokio::test]
async fn who_is_known_elsewhere_joins_an_inbox_under_a_name_that_is_free() {
    let world = World::new().await;
    let all = world.fill().await;
    let tenant = world.tenant;
    let other = Inbox { id: id(), name: "Other".into(), web_chat_id: None, ..all.inbox.clone() };
    write!(world, tenant, tx, other => inboxes::insert(tx, tenant, &other)).unwrap();
    let (inbox, first) = (other.id, all.contact.id);
    let add = async |name: &str| {
        let contact = Contact { id: id(), name: name.into(), source_id: None, ..all.contact.clone() };
        write!(world, tenant, tx, contact => contacts::add(tx, tenant, &contact)).unwrap();
        contact.id
    };
    let (second, gone) = (add("Second").await, add("Gone").await);
    assert!(write!(world, tenant, tx => contacts::delete(tx, tenant, gone, NOW)).unwrap());
    let come = async |who: Tenant, contact, source_id: Option<&'static str>| {
        write!(world, who, tx => contacts::join_too(tx, who, contact, (inbox, source_id), later(3))).unwrap();
    };
    let members = async || read!(world, tenant, tx => contacts::of_inbox(tx, tenant, inbox, 10)).unwrap();
    let called = async |source_id: &str| {
        let found = read!(world, tenant, tx => contacts::by_source(tx, tenant, inbox, source_id)).unwrap();
        found.map(|contact| contact.id)
    };
    come(world.stranger, first, Some("crm-1")).await;
    come(tenant, gone, Some("crm-1")).await;
    assert!(members().await.is_empty(), "neither a stranger's nor a deleted one");
    come(tenant, first, Some("crm-1")).await;
    come(tenant, second, Some("crm-1")).await;
    assert_eq!((members().await.len(), called("crm-1").await), (2, Some(first)));
    come(tenant, first, Some("crm-2")).await;
    assert_eq!((members().await.len(), called("crm-2").await), (2, None), "it stays as it was");
}
