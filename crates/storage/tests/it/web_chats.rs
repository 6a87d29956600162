//! Web chats with what belongs to them: origins, files, domains, visitors' sessions, usage.

use parlance_domain::kind::{ChatbotId, ContactId, CustomDomainId, MessageId, WebChatId};
use parlance_domain::{Result, Tenant, Visitor};
use parlance_storage::custom_domains::CustomDomain;
use parlance_storage::inboxes::Inbox;
use parlance_storage::visitor_sessions::{Footing, LiveSession, VisitorSession};
use parlance_storage::web_chat_usage::Usage;
use parlance_storage::web_chats::{Details, Filter, WebChat};
use parlance_storage::{
    Scope, Tx, chatbots, conversations, custom_domains, domain_checks, domain_claims, inboxes, uploads,
    visitor_sessions, web_chat_reservations, web_chat_usage, web_chats,
};

use crate::world::{NOW, Things, World, id, later, read, scopes, write};

/// The hidden web chat of the world's assistant.
pub(crate) fn hidden(id: WebChatId, chatbot: ChatbotId) -> WebChat {
    WebChat {
        id,
        chatbot_id: chatbot,
        name: "API".into(),
        access_type: "api".into(),
        settings: "{}".into(),
        is_active: true,
        daily_reply_limit: None,
        daily_token_limit: None,
        created_at: NOW,
        updated_at: NOW,
    }
}

/// A page with an inbox of its own, beside the hidden web chat of the world.
async fn page(world: &World, all: &Things) -> (WebChat, Inbox) {
    let tenant = world.tenant;
    let page = WebChat {
        id: id(),
        name: "Page".into(),
        access_type: "web".into(),
        settings: "{\"a\":1}".into(),
        daily_reply_limit: Some(7),
        created_at: later(5),
        updated_at: later(5),
        ..all.web_chat.clone()
    };
    let inbox = Inbox { id: id(), web_chat_id: Some(page.id), name: "Page".into(), ..all.inbox.clone() };
    let rows = (page.clone(), inbox.clone());
    write!(world, tenant, tx, rows => async {
        web_chats::insert(tx, tenant, &rows.0).await?;
        inboxes::insert(tx, tenant, &rows.1).await
    })
    .unwrap();
    (page, inbox)
}

/// What a web chat has beside its row: one row in each of its tables.
pub(crate) async fn fill(tx: &mut Tx, tenant: Tenant, web_chat: WebChatId, contact: ContactId) -> Result<()> {
    visitor_sessions::insert(tx, tenant, &session(web_chat, contact, false)).await?;
    custom_domains::insert(tx, tenant, &domain(web_chat, "world.example.com")).await?;
    web_chats::set_origins(tx, tenant, web_chat, &["https://world.example".to_owned()]).await?;
    web_chats::set_files(tx, tenant, web_chat, &["media/world.png".to_owned()]).await?;
    web_chat_reservations::insert(tx, tenant, id(), (web_chat, "2026-11-19")).await?;
    web_chat_usage::add(tx, tenant, web_chat, "2026-11-19", Usage { replies: 1, tokens: 2 }).await.map(drop)
}

fn domain(web_chat: WebChatId, name: &str) -> CustomDomain {
    CustomDomain {
        id: id::<parlance_domain::kind::CustomDomain>() as CustomDomainId,
        web_chat_id: web_chat,
        domain: name.into(),
        status: "pending".into(),
        token: "token".into(),
        checked_at: Some(later(1)),
        verified_at: None,
        failure: Some("not there".into()),
        created_at: NOW,
    }
}

fn session(web_chat: WebChatId, contact: ContactId, is_identified: bool) -> VisitorSession {
    VisitorSession {
        id: id(),
        web_chat_id: web_chat,
        contact_id: contact,
        is_identified,
        created_at: NOW,
        expires_at: later(60),
    }
}

#[tokio::test]
async fn a_web_chat_is_made_changed_listed_and_removed() {
    let world = World::new().await;
    let all = world.fill().await;
    let tenant = world.tenant;
    let (mut page, inbox) = page(&world, &all).await;
    let page_id = page.id;
    let get = async || read!(world, tenant, tx => web_chats::get(tx, tenant, page_id)).unwrap();
    let expected = Details {
        web_chat: page.clone(),
        inbox_id: Some(inbox.id),
        inbox_name: Some("Page".into()),
        sign_auth: None,
        domain_id: None,
        domain: None,
        domain_status: None,
        domain_token: None,
        domain_failure: None,
    };
    assert_eq!(get().await, Some(expected.clone()));
    assert_eq!(read!(world, tenant, tx => web_chats::get(tx, tenant, id())).unwrap(), None);
    let public = async |id| read!(world, Scope::System, tx => web_chats::public(tx, id)).unwrap();
    assert_eq!(public(page_id).await, Some((tenant.organisation(), expected)));
    assert_eq!(public(all.web_chat.id).await, None, "hidden");

    page.name = "Other".into();
    page.is_active = false;
    page.access_type = "admin".into();
    page.daily_reply_limit = None;
    page.daily_token_limit = Some(9);
    write!(world, tenant, tx, page => web_chats::update(tx, tenant, &page)).unwrap();
    let bot = all.chatbot.id;
    let sign_auth = Some("{\"way\":1}");
    write!(world, tenant, tx => web_chats::update_inbox(tx, tenant, page_id, (bot, sign_auth), later(9))).unwrap();
    let named = domain(page_id, "chat.example.com");
    assert!(write!(world, tenant, tx, named => custom_domains::insert(tx, tenant, &named)).unwrap());
    let details = get().await.unwrap();
    assert_eq!((details.web_chat, details.sign_auth.as_deref()), (page.clone(), sign_auth));
    assert_eq!((details.domain_id, details.domain.as_deref()), (Some(named.id), Some("chat.example.com")));

    let list = async |access_type: Option<&str>, chatbot| {
        let filter = Filter { access_type: access_type.map(Into::into), chatbot };
        let listed = read!(world, tenant, tx => web_chats::list(tx, tenant, &filter)).unwrap();
        listed.into_iter().map(|details| details.web_chat.id).collect::<Vec<_>>()
    };
    assert_eq!(list(None, None).await, [page_id]);
    assert_eq!(list(Some("api"), Some(bot)).await, [all.web_chat.id]);
    assert!(list(Some("web"), None).await.is_empty());
    assert!(list(None, Some(id())).await.is_empty());

    let hidden = all.web_chat.id;
    assert!(!write!(world, tenant, tx => web_chats::delete(tx, tenant, hidden)).unwrap());
    assert!(write!(world, tenant, tx => web_chats::delete(tx, tenant, page_id)).unwrap());
    assert!(!write!(world, tenant, tx => web_chats::delete(tx, tenant, page_id)).unwrap());
    assert_eq!(get().await, None);
    assert!(read!(world, tenant, tx => conversations::get(tx, tenant, all.conversation.id)).unwrap().is_some());
}

#[tokio::test]
async fn origins_files_and_secret_of_a_web_chat() {
    let world = World::new().await;
    let all = world.fill().await;
    let tenant = world.tenant;
    let (page, _) = page(&world, &all).await;
    let page_id = page.id;
    let known = async |origin: &str| read!(world, Scope::System, tx => web_chats::is_origin_known(tx, origin)).unwrap();
    let origins = ["https://a.example".to_owned(), "http://b.example:81".to_owned()];
    for _ in 0..2 {
        write!(world, tenant, tx, origins => web_chats::set_origins(tx, tenant, page_id, &origins)).unwrap();
    }
    let mut named = domain(page_id, "chat.example.com");
    write!(world, tenant, tx, named => custom_domains::insert(tx, tenant, &named)).unwrap();
    assert!(known("https://a.example").await && known("http://b.example:81").await);
    for foreign in ["https://a.example.evil.example", "http://a.example", "https://chat.example.com", "null", ""] {
        assert!(!known(foreign).await, "{foreign}");
    }
    write!(world, tenant, tx => custom_domains::delete_of_web_chat(tx, tenant, page_id)).unwrap();
    named.status = "verified".into();
    write!(world, tenant, tx, named => custom_domains::insert(tx, tenant, &named)).unwrap();
    assert!(known("https://chat.example.com").await && !known("http://chat.example.com").await);
    assert_eq!(read!(world, tenant, tx => custom_domains::of_web_chat(tx, tenant, page_id)).unwrap(), Some(named));
    let closed = WebChat { is_active: false, ..page.clone() };
    write!(world, tenant, tx => web_chats::update(tx, tenant, &closed)).unwrap();
    assert!(!known("https://a.example").await && !known("https://chat.example.com").await, "closed");

    // What a page shows is kept.
    let upload = uploads::Upload { id: id(), blob_key: "media/logo.png".into(), ..all.upload.clone() };
    let key = [upload.blob_key.clone()];
    write!(world, tenant, tx => uploads::insert(tx, tenant, &upload, None)).unwrap();
    write!(world, tenant, tx, key => web_chats::set_files(tx, tenant, page_id, &key)).unwrap();
    assert!(!write!(world, tenant, tx, key => uploads::delete_abandoned(tx, tenant, &key[0])).unwrap());
    write!(world, tenant, tx, key => uploads::release(tx, tenant, &key[0])).unwrap();
    assert_eq!(read!(world, tenant, tx => uploads::by_key(tx, tenant, &key[0])).unwrap().unwrap().created_at, NOW);
    let bot = all.chatbot.id;
    let shown = read!(world, tenant, tx => web_chats::files_of_chatbot(tx, tenant, bot)).unwrap();
    assert_eq!(shown.iter().filter(|shown| **shown == key[0]).count(), 1, "{shown:?}");
    write!(world, tenant, tx => web_chats::set_files(tx, tenant, page_id, &[])).unwrap();
    assert!(write!(world, tenant, tx, key => uploads::delete_abandoned(tx, tenant, &key[0])).unwrap());

    let secret = async || read!(world, tenant, tx => web_chats::identity_secret(tx, tenant, page_id)).unwrap();
    assert_eq!(secret().await, None);
    let sealed = vec![0_u8, 1, 255];
    assert!(write!(world, tenant, tx => web_chats::set_identity_secret(tx, tenant, page_id, &sealed, NOW)).unwrap());
    assert_eq!(secret().await, Some(vec![0, 1, 255]));
}

#[tokio::test]
async fn a_domain_shows_the_page_of_its_web_chat_while_it_is_verified() {
    let world = World::new().await;
    let all = world.fill().await;
    let tenant = world.tenant;
    let named = domain(all.web_chat.id, "pages.example.com");
    write!(world, tenant, tx, named => async {
        custom_domains::delete_of_web_chat(tx, tenant, named.web_chat_id).await?;
        custom_domains::insert(tx, tenant, &named).await
    })
    .unwrap();
    let at = async |name: &str| read!(world, Scope::System, tx => domain_checks::web_chat_at(tx, name)).unwrap();
    let record = async |who: Tenant, status: &str, failure: Option<&str>, now| {
        let (id, outcome) = (named.id, (status.to_owned(), failure.map(str::to_owned)));
        write!(world, who, tx, outcome => async {
            domain_checks::record(tx, who, id, (&outcome.0, outcome.1.as_deref()), now).await
        })
        .unwrap()
    };
    let known = async || read!(world, tenant, tx => domain_checks::get(tx, tenant, named.id)).unwrap().unwrap();
    assert!(record(tenant, "pending", Some("nothing there"), later(1)).await);
    assert_eq!((known().await.failure.as_deref(), known().await.checked_at), (Some("nothing there"), Some(later(1))));
    assert_eq!((at("pages.example.com").await, known().await.verified_at), (None, None));
    assert!(!record(world.stranger, "verified", None, later(2)).await);
    assert!(record(tenant, "verified", None, later(2)).await && record(tenant, "verified", None, later(3)).await);
    assert_eq!((known().await.verified_at, known().await.failure), (Some(later(2)), None), "the first time");
    assert_eq!(at("pages.example.com").await, Some(named.web_chat_id));
    assert_eq!(at("other.example.com").await, None);
    let verified = async |each, all| read!(world, Scope::System, tx => domain_checks::verified(tx, each, all)).unwrap();
    assert_eq!(verified(20, 20).await, ["pages.example.com"]);
    assert!(verified(0, 20).await.is_empty() && verified(20, 0).await.is_empty());
    let idle = WebChat { is_active: false, ..all.web_chat.clone() };
    write!(world, tenant, tx, idle => web_chats::update(tx, tenant, &idle)).unwrap();
    assert_eq!(at("pages.example.com").await, None, "it is not in use");
    assert!(record(tenant, "failed", None, later(4)).await);
    assert!(verified(20, 20).await.is_empty());
}

#[tokio::test]
async fn a_domain_is_claimed_by_many_and_belongs_to_one_web_chat_of_all_organisations() {
    let world = World::new().await;
    let all = world.fill().await;
    let tenant = world.tenant;
    let (page, _) = page(&world, &all).await;
    let other = WebChat { id: id(), ..page.clone() };
    let row = other.clone();
    write!(world, tenant, tx => web_chats::insert(tx, tenant, &row)).unwrap();
    let (first, second) = (domain(page.id, "chat.example.com"), domain(other.id, "chat.example.com"));
    let rivals = async |own| {
        let rivals = read!(world, Scope::System, tx => domain_claims::rivals(tx, "chat.example.com", own)).unwrap();
        (rivals.claims, rivals.verified)
    };
    let (winner, loser) = (first.id, second.id);
    assert!(write!(world, tenant, tx => custom_domains::insert(tx, tenant, &first)).unwrap());
    assert_eq!((rivals(None).await, rivals(Some(winner)).await), ((1, 0), (0, 0)));
    assert!(write!(world, tenant, tx => custom_domains::insert(tx, tenant, &second)).unwrap());
    let again = domain(other.id, "other.example.com");
    assert!(!write!(world, tenant, tx => custom_domains::insert(tx, tenant, &again)).unwrap(), "one each");
    assert_eq!((rivals(None).await, rivals(Some(winner)).await), ((2, 0), (1, 0)));

    let prove = async |id| {
        let proved = write!(world, tenant, tx => domain_checks::record(tx, tenant, id, ("verified", None), later(1)));
        proved.map_err(|error| matches!(error, parlance_domain::Error::Conflict(_)))
    };
    assert_eq!(prove(winner).await, Ok(true));
    assert_eq!(prove(loser).await, Err(true), "one is proved already");
    assert_eq!((rivals(Some(loser)).await, rivals(Some(winner)).await), ((1, 1), (1, 0)));
    let end = async || write!(world, Scope::System, tx => domain_claims::end_others(tx, "chat.example.com", winner, "late", later(2)));
    assert_eq!((end().await.unwrap(), end().await.unwrap()), (1, 0));
    let known = async |id| read!(world, tenant, tx => domain_checks::get(tx, tenant, id)).unwrap().unwrap();
    let lost = known(loser).await;
    assert_eq!(
        (lost.status.as_str(), lost.failure.as_deref(), lost.checked_at),
        ("failed", Some("late"), Some(later(2)))
    );
    assert_eq!(known(winner).await.status, "verified");
}

#[tokio::test]
async fn a_session_lives_while_everything_it_stands_for_does() {
    let world = World::new().await;
    let all = world.fill().await;
    let tenant = world.tenant;
    let (page, inbox) = page(&world, &all).await;
    let (page_id, contact) = (page.id, all.contact.id);
    let (anonymous, identified) = (session(page.id, contact, false), session(page.id, contact, true));
    let hidden = session(all.web_chat.id, contact, false);
    let ids = (anonymous.id, identified.id, hidden.id);
    write!(world, tenant, tx => async {
        visitor_sessions::insert(tx, tenant, &anonymous).await?;
        visitor_sessions::insert(tx, tenant, &identified).await?;
        visitor_sessions::insert(tx, tenant, &hidden).await
    })
    .unwrap();
    let live = async |id| read!(world, Scope::System, tx => visitor_sessions::live(tx, id)).unwrap();
    let expected = LiveSession {
        organisation: tenant.organisation(),
        web_chat_id: page.id,
        inbox_id: inbox.id,
        contact_id: contact,
        expires_at: later(60),
        footing: Footing { is_identified: false, access_type: "web".into(), settings: page.settings.clone() },
    };
    assert_eq!(live(ids.0).await, Some(expected.clone()));
    assert_eq!(live(id()).await, None);
    let visitor = Visitor { web_chat: page.id, inbox: inbox.id, contact };
    let footing = async |now| read!(world, tenant, tx => visitor_sessions::footing(tx, tenant, visitor, now)).unwrap();
    assert_eq!(footing(later(1)).await, Some(Footing { is_identified: true, ..expected.footing }), "the best one");
    assert_eq!(footing(later(3600)).await, None);
    assert_eq!(live(ids.2).await, None, "the hidden web chat has no visitors");
    let renew = async |id, end, proved, lets_unknown_in| {
        write!(world, tenant, tx => visitor_sessions::renew(tx, tenant, (id, end), proved, lets_unknown_in)).unwrap()
    };
    assert!(renew(ids.0, later(90), false, true).await);
    assert_eq!(live(ids.0).await.unwrap().expires_at, later(90));
    assert!(!renew(ids.0, later(95), false, false).await, "of an unknown visitor, who is not let in any more");
    assert!(renew(ids.1, later(60), false, false).await);
    assert!(renew(ids.2, later(60), true, false).await);
    assert_eq!(live(ids.0).await.unwrap().expires_at, later(90));

    let closed = WebChat { is_active: false, ..page.clone() };
    write!(world, tenant, tx => web_chats::update(tx, tenant, &closed)).unwrap();
    assert_eq!(live(ids.0).await, None);
    write!(world, tenant, tx => web_chats::update(tx, tenant, &page)).unwrap();
    assert!(live(ids.1).await.is_some());
    assert_eq!(
        write!(world, tenant, tx => visitor_sessions::revoke_identified(tx, tenant, page_id, later(1))).unwrap(),
        1
    );
    assert!(!footing(later(1)).await.unwrap().is_identified);
    assert!(live(ids.1).await.is_none() && live(ids.0).await.is_some());
    assert!(!renew(ids.1, later(99), true, true).await);
    let revoked =
        write!(world, tenant, tx => visitor_sessions::revoke_of_contact(tx, tenant, contact, later(1))).unwrap();
    assert_eq!((revoked, live(ids.0).await), (3, None));
    let forget =
        async |before, limit| write!(world, Scope::System, tx => visitor_sessions::forget(tx, before, limit)).unwrap();
    let ended = (tenant.organisation(), contact);
    assert_eq!(forget(later(61), 2).await, [ended; 2], "a slice");
    assert_eq!(forget(later(61), 2).await, [ended]);
    assert_eq!(forget(later(91), 2).await, [ended]);
    assert_eq!(forget(later(91), 2).await, []);

    let latest = read!(world, tenant, tx => visitor_sessions::latest_conversation(
        tx, tenant, all.inbox.id, all.contact.id));
    assert_eq!(latest.unwrap(), Some(all.conversation.id));
    let none = read!(world, tenant, tx => visitor_sessions::latest_conversation(tx, tenant, inbox.id, contact));
    assert_eq!(none.unwrap(), None);
}

#[tokio::test]
async fn usage_of_a_day_adds_up() {
    let world = World::new().await;
    let all = world.fill().await;
    let (tenant, page) = (world.tenant, all.web_chat.id);
    let used = |replies, tokens| Usage { replies, tokens };
    let add = async |day: &'static str, more: Usage| {
        write!(world, tenant, tx => web_chat_usage::add(tx, tenant, page, day, more)).unwrap()
    };
    let of = async |day: &str| read!(world, tenant, tx => web_chat_usage::of_day(tx, tenant, page, day)).unwrap();
    assert_eq!(of("2026-11-20").await, used(0, 0));
    assert_eq!(add("2026-11-20", used(1, 500)).await, Some(used(1, 500)));
    assert_eq!(add("2026-11-20", used(1, -100)).await, Some(used(2, 400)));
    assert_eq!(add("2026-11-21", used(1, 1)).await, Some(used(1, 1)));
    assert_eq!(of("2026-11-20").await, used(2, 400));
    let nowhere = write!(world, tenant, tx => web_chat_usage::add(tx, tenant, id(), "2026-11-20", used(1, 1)));
    assert_eq!(nowhere.unwrap(), None);
    assert_eq!(write!(world, Scope::System, tx => web_chat_usage::forget(tx, "2026-11-21")).unwrap(), 2);
    assert_eq!((of("2026-11-20").await, of("2026-11-21").await), (used(0, 0), used(1, 1)));
}

#[tokio::test]
async fn what_was_set_aside_for_an_answer_is_taken_back_once() {
    let world = World::new().await;
    let all = world.fill().await;
    let (tenant, page, answer) = (world.tenant, all.web_chat.id, id::<parlance_domain::kind::Message>());
    let note = async |answer: MessageId, page: WebChatId| write!(world, tenant, tx => web_chat_reservations::insert(tx, tenant, answer, (page, "2026-11-20")));
    let take =
        async |answer: MessageId| write!(world, tenant, tx => web_chat_reservations::take(tx, tenant, answer)).unwrap();
    note(answer, page).await.unwrap();
    assert!(matches!(note(answer, page).await, Err(parlance_domain::Error::Conflict(_))));
    assert_eq!(take(answer).await, Some((page, "2026-11-20".to_owned())));
    assert_eq!(take(answer).await, None);
    note(answer, id()).await.unwrap();
    assert_eq!(take(answer).await, None, "no such web chat");
    note(answer, page).await.unwrap();
    // Beside it is the one of the world, of the day before.
    assert_eq!(write!(world, Scope::System, tx => web_chat_reservations::forget(tx, "2026-11-20")).unwrap(), 1);
    assert_eq!(write!(world, Scope::System, tx => web_chat_reservations::forget(tx, "2026-11-21")).unwrap(), 1);
    assert_eq!(take(answer).await, None);
}

#[tokio::test]
async fn a_stranger_sees_and_changes_nothing_of_a_web_chat() {
    let world = World::new().await;
    let all = world.fill().await;
    let (tenant, who) = (world.tenant, world.stranger);
    let (page, inbox) = page(&world, &all).await;
    let (page_id, contact, bot) = (page.id, all.contact.id, all.chatbot.id);
    let (own, named) = (session(page.id, contact, true), domain(page.id, "chat.example.com"));
    let answer: MessageId = id();
    let rows = (own.clone(), named.clone());
    write!(world, tenant, tx => async {
        visitor_sessions::insert(tx, tenant, &rows.0).await?;
        custom_domains::insert(tx, tenant, &rows.1).await?;
        web_chats::set_origins(tx, tenant, page_id, &["https://a.example".to_owned()]).await?;
        web_chats::set_files(tx, tenant, page_id, &["media/logo.png".to_owned()]).await?;
        web_chats::set_identity_secret(tx, tenant, page_id, &[1], NOW).await?;
        web_chat_reservations::insert(tx, tenant, answer, (page_id, "2026-11-20")).await?;
        web_chat_usage::add(tx, tenant, page_id, "2026-11-20", Usage { replies: 1, tokens: 2 }).await
    })
    .unwrap();
    let before = world.rows_of(tenant).await;
    for table in [
        "visitor_sessions",
        "custom_domains",
        "web_chat_origins",
        "web_chat_files",
        "web_chat_usage",
        "web_chat_reservations",
    ] {
        assert_eq!(before[table].len(), 2, "{table}");
    }
    for scope in scopes(who) {
        let mut connection = world.db.read(scope).await.unwrap();
        let tx = &mut connection;
        assert!(web_chats::get(tx, who, page_id).await.unwrap().is_none());
        assert!(web_chats::list(tx, who, &Filter::default()).await.unwrap().is_empty());
        assert!(web_chats::identity_secret(tx, who, page_id).await.unwrap().is_none());
        assert!(web_chats::files_of_chatbot(tx, who, bot).await.unwrap().is_empty());
        assert!(custom_domains::of_web_chat(tx, who, page_id).await.unwrap().is_none());
        assert!(visitor_sessions::latest_conversation(tx, who, inbox.id, contact).await.unwrap().is_none());
        let visitor = Visitor { web_chat: page_id, inbox: inbox.id, contact };
        assert!(visitor_sessions::footing(tx, who, visitor, NOW).await.unwrap().is_none());
        assert_eq!(web_chat_usage::of_day(tx, who, page_id, "2026-11-20").await.unwrap(), Usage::default());
        drop(connection);
        let (own, named, page) = (own.clone(), named.clone(), page.clone());
        write!(world, scope, tx => async {
            web_chats::update(tx, who, &WebChat { name: "taken".into(), ..page }).await?;
            web_chats::update_inbox(tx, who, page_id, (bot, Some("taken")), NOW).await?;
            web_chats::set_origins(tx, who, page_id, &["https://evil.example".to_owned()]).await?;
            web_chats::set_files(tx, who, page_id, &["media/evil.png".to_owned()]).await?;
            assert!(!web_chats::set_identity_secret(tx, who, page_id, &[2], NOW).await?);
            assert!(!custom_domains::insert(tx, who, &CustomDomain { id: id(), ..named }).await?);
            custom_domains::delete_of_web_chat(tx, who, page_id).await?;
            visitor_sessions::insert(tx, who, &VisitorSession { id: id(), ..own.clone() }).await?;
            assert!(!visitor_sessions::renew(tx, who, (own.id, later(99)), true, true).await?);
            assert_eq!(visitor_sessions::revoke_identified(tx, who, page_id, NOW).await?, 0);
            assert_eq!(visitor_sessions::revoke_of_contact(tx, who, contact, NOW).await?, 0);
            web_chat_reservations::insert(tx, who, id(), (page_id, "2026-11-20")).await?;
            assert_eq!(web_chat_reservations::take(tx, who, answer).await?, None);
            let used = Usage { replies: 1, tokens: 2 };
            assert_eq!(web_chat_usage::add(tx, who, page_id, "2026-11-20", used).await?, None);
            assert!(!web_chats::delete(tx, who, page_id).await?);
            assert!(!chatbots::delete(tx, who, bot).await?);
            Ok(())
        })
        .unwrap();
        assert_eq!(world.rows_of(tenant).await, before);
    }
}
