//! Members and groups.

use parlance_domain::kind::{ChatbotId, GroupId, UserId};
use parlance_domain::{Result, Tenant};
use parlance_storage::groups::{Group, GroupChatbot, GroupMember};
use parlance_storage::members::Member;
use parlance_storage::{Page, Tx, api_keys, groups, members, organisations};

use crate::world::{NOW, World, id, later, read, scopes, write};

fn member(name: &str, role: &str) -> Member {
    Member { id: id(), name: name.into(), email: Some("a@b.example".into()), role: role.into(), created_at: later(1) }
}

#[tokio::test]
async fn members_come_change_and_go() {
    let world = World::new().await;
    let all = world.fill().await;
    let (tenant, new) = (world.tenant, member("New", "member"));
    let row = new.clone();
    write!(world, tenant, tx => members::insert(tx, tenant, &row)).unwrap();
    assert_eq!(read!(world, tenant, tx => members::get(tx, tenant, new.id)).unwrap(), Some(new.clone()));
    let listing = read!(world, tenant, tx => members::list(tx, tenant, Page::ALL)).unwrap();
    assert_eq!((listing.total, listing.rows[0].id, listing.rows[1].id), (2, new.id, all.user.id));
    let changed = Member { name: "Changed".into(), email: None, role: "owner".into(), ..new.clone() };
    let row = changed.clone();
    assert!(write!(world, tenant, tx => members::update(tx, tenant, &row)).unwrap());
    assert_eq!(read!(world, tenant, tx => members::get(tx, tenant, new.id)).unwrap(), Some(changed));
    assert_eq!(write!(world, tenant, tx => members::count_role(tx, tenant, "owner")).unwrap(), 2);

    let (first, key) = (all.user.id, all.key.id);
    assert!(write!(world, tenant, tx => members::remove(tx, tenant, first, later(5))).unwrap());
    assert!(!write!(world, tenant, tx => members::remove(tx, tenant, first, later(6))).unwrap());
    assert!(read!(world, tenant, tx => members::get(tx, tenant, first)).unwrap().is_none());
    assert_eq!(write!(world, tenant, tx => members::count_role(tx, tenant, "owner")).unwrap(), 1);
    assert_eq!(read!(world, tenant, tx => organisations::owner(tx, tenant)).unwrap().unwrap().id, new.id);
    let revoked = read!(world, tenant, tx => api_keys::get(tx, tenant, key)).unwrap().unwrap();
    assert_eq!(revoked.revoked_at, Some(later(5)));
    assert!(write!(world, tenant, tx => api_keys::rename(tx, tenant, key, "Renamed")).unwrap());
    assert_eq!(read!(world, tenant, tx => api_keys::get(tx, tenant, key)).unwrap().unwrap().name, "Renamed");

    // Made good again, it is of somebody who is there, and stays theirs.
    let again = api_keys::ApiKey { id: id(), user_id: new.id, revoked_at: None, ..revoked.clone() };
    write!(world, tenant, tx, again => api_keys::upsert(tx, tenant, &again)).unwrap();
    let good = read!(world, tenant, tx => api_keys::get(tx, tenant, key)).unwrap().unwrap();
    assert_eq!((good.user_id, good.revoked_at), (new.id, None));
    let third = member("Third", "owner");
    let row = third.clone();
    write!(world, tenant, tx => members::insert(tx, tenant, &row)).unwrap();
    let other = api_keys::ApiKey { id: id(), user_id: third.id, ..again };
    write!(world, tenant, tx => api_keys::upsert(tx, tenant, &other)).unwrap();
    assert_eq!(read!(world, tenant, tx => api_keys::get(tx, tenant, key)).unwrap().unwrap().user_id, new.id);

    let own = read!(world, tenant, tx => organisations::get(tx, tenant)).unwrap().unwrap();
    let moved = organisations::Organisation { name: "Moved".into(), time_zone: "Europe/Berlin".into(), ..own };
    write!(world, tenant, tx => organisations::update(tx, tenant, &moved)).unwrap();
    let own = read!(world, tenant, tx => organisations::get(tx, tenant)).unwrap().unwrap();
    assert_eq!((own.name.as_str(), own.time_zone.as_str()), ("Moved", "Europe/Berlin"));
}

/// What [`World::fill`] adds of these: a group with the owner in it and the chatbot linked.
pub(crate) async fn insert(tx: &mut Tx, tenant: Tenant, user: UserId, chatbot: ChatbotId) -> Result<()> {
    let group =
        Group { id: id(), name: "Group".into(), permissions: "models:write".into(), created_at: NOW, updated_at: NOW };
    let joined = GroupMember { id: id(), user_id: user, name: String::new(), created_at: NOW };
    let linked = GroupChatbot { id: id(), chatbot_id: chatbot, name: String::new(), created_at: NOW };
    groups::insert(tx, tenant, &group).await?;
    // The second time changes nothing.
    groups::add_member(tx, tenant, group.id, &joined).await?;
    groups::add_member(tx, tenant, group.id, &GroupMember { id: id(), ..joined.clone() }).await?;
    groups::add_chatbot(tx, tenant, group.id, &linked).await?;
    groups::add_chatbot(tx, tenant, group.id, &GroupChatbot { id: id(), ..linked.clone() }).await
}

/// The group of [`World::fill`].
async fn filled(world: &World) -> Group {
    let groups = read!(world, world.tenant, tx => groups::list(tx, world.tenant, Page::ALL)).unwrap();
    assert_eq!(groups.total, 1);
    groups.rows[0].clone()
}

#[tokio::test]
async fn groups_have_members_and_chatbots() {
    let world = World::new().await;
    let all = world.fill().await;
    let (tenant, user, chatbot) = (world.tenant, all.user.id, all.chatbot.id);
    let group = filled(&world).await;
    let (which, nothing): (GroupId, GroupId) = (group.id, id());
    assert_eq!(read!(world, tenant, tx => groups::get(tx, tenant, which)).unwrap(), Some(group.clone()));
    assert_eq!(read!(world, tenant, tx => groups::permissions_of(tx, tenant, user)).unwrap(), ["models:write"]);
    let members = read!(world, tenant, tx => groups::members(tx, tenant, which, Page::ALL)).unwrap();
    assert_eq!((members.total, members.rows[0].user_id, members.rows[0].name.as_str()), (1, user, "Owner"));
    let one = members.rows[0].clone();
    assert_eq!(read!(world, tenant, tx => groups::member(tx, tenant, which, one.id)).unwrap(), Some(one.clone()));
    assert_eq!(read!(world, tenant, tx => groups::member_of(tx, tenant, which, user)).unwrap(), Some(one.clone()));
    assert!(read!(world, tenant, tx => groups::member(tx, tenant, nothing, one.id)).unwrap().is_none());
    let chatbots = read!(world, tenant, tx => groups::chatbots(tx, tenant, which, Page::ALL)).unwrap();
    assert_eq!((chatbots.total, chatbots.rows[0].chatbot_id), (1, chatbot));
    let link = read!(world, tenant, tx => groups::chatbot_of(tx, tenant, which, chatbot)).unwrap().unwrap();
    assert_eq!(link, chatbots.rows[0]);

    let changed = Group { name: "Changed".into(), permissions: String::new(), updated_at: later(1), ..group };
    let row = changed.clone();
    assert!(write!(world, tenant, tx => groups::update(tx, tenant, &row)).unwrap());
    assert_eq!(read!(world, tenant, tx => groups::get(tx, tenant, which)).unwrap(), Some(changed));
    assert!(!write!(world, tenant, tx => groups::remove_member(tx, tenant, nothing, one.id)).unwrap());
    assert!(write!(world, tenant, tx => groups::remove_member(tx, tenant, which, one.id)).unwrap());
    assert!(write!(world, tenant, tx => groups::remove_chatbot(tx, tenant, which, link.id)).unwrap());
    assert!(!write!(world, tenant, tx => groups::remove_chatbot(tx, tenant, which, link.id)).unwrap());
    assert!(read!(world, tenant, tx => groups::permissions_of(tx, tenant, user)).unwrap().is_empty());
    assert!(write!(world, tenant, tx => groups::delete(tx, tenant, which)).unwrap());
    assert!(!write!(world, tenant, tx => groups::delete(tx, tenant, which)).unwrap());
}

#[tokio::test]
async fn a_stranger_sees_and_changes_nothing_of_members_and_groups() {
    let world = World::new().await;
    let all = world.fill().await;
    let (user, chatbot, key) = (all.user.id, all.chatbot.id, all.key.id);
    let group = filled(&world).await;
    let who = world.stranger;
    let before = world.rows_of(world.tenant).await;
    let joined =
        read!(world, world.tenant, tx => groups::member_of(tx, world.tenant, group.id, user)).unwrap().unwrap();
    for scope in scopes(who) {
        let mut tx = world.db.read(scope).await.unwrap();
        let tx = &mut tx;
        assert_eq!(members::list(tx, who, Page::ALL).await.unwrap().total, 0);
        assert!(members::get(tx, who, user).await.unwrap().is_none());
        assert!(api_keys::get(tx, who, key).await.unwrap().is_none());
        assert_eq!(groups::list(tx, who, Page::ALL).await.unwrap().total, 0);
        assert!(groups::get(tx, who, group.id).await.unwrap().is_none());
        assert_eq!(groups::members(tx, who, group.id, Page::ALL).await.unwrap().total, 0);
        assert_eq!(groups::chatbots(tx, who, group.id, Page::ALL).await.unwrap().total, 0);
        assert!(groups::member_of(tx, who, group.id, user).await.unwrap().is_none());
        assert!(groups::chatbot_of(tx, who, group.id, chatbot).await.unwrap().is_none());
        assert!(groups::permissions_of(tx, who, user).await.unwrap().is_empty());
        let (group, joined) = (group.clone(), joined.clone());
        write!(world, scope, tx => async {
            let taken = Member { id: user, ..member("taken", "owner") };
            assert!(!members::update(tx, who, &taken).await?);
            assert!(!members::remove(tx, who, user, NOW).await?);
            assert_eq!(members::count_role(tx, who, "owner").await?, 0);
            assert!(!api_keys::rename(tx, who, key, "taken").await?);
            assert!(!groups::update(tx, who, &Group { name: "taken".into(), ..group.clone() }).await?);
            assert!(!groups::remove_member(tx, who, group.id, joined.id).await?);
            assert!(!groups::delete(tx, who, group.id).await?);
            groups::add_member(tx, who, group.id, &GroupMember { id: id(), ..joined.clone() }).await
        })
        .unwrap();
        assert_eq!(world.rows_of(world.tenant).await, before);
    }
}
