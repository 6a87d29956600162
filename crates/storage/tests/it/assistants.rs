//! Assistants, their knowledge bases, web chats and inboxes.

use parlance_storage::chatbots::{Chatbot, Filter, ListedChatbot};
use parlance_storage::knowledge_bases::KnowledgeBase;
use parlance_storage::{Page, chatbots, inboxes, knowledge_bases, web_chats};

use crate::world::{World, id, later, read, write};

#[tokio::test]
async fn an_assistant_is_made_changed_listed_and_removed() {
    let world = World::new().await;
    let all = world.fill().await;
    let tenant = world.tenant;
    let chatbot = all.chatbot.id;
    assert_eq!(read!(world, tenant, tx => chatbots::get(tx, tenant, chatbot)).unwrap(), Some(all.chatbot.clone()));

    let changed = Chatbot {
        name: "Second name".into(),
        name_folded: "second name".into(),
        model_id: None,
        instructions: String::new(),
        retrieved_chunks: Some(4),
        webhook_url: Some("https://hooks.example/".into()),
        reply_mode: "agent".into(),
        enable_evaluation: false,
        settings: "{\"a\": 1}".into(),
        updated_at: later(3),
        ..all.chatbot.clone()
    };
    write!(world, tenant, tx, changed => chatbots::update(tx, tenant, &changed)).unwrap();
    assert_eq!(read!(world, tenant, tx => chatbots::get(tx, tenant, chatbot)).unwrap(), Some(changed.clone()));

    let other = Chatbot { id: id(), name_folded: "100%".into(), created_at: later(1), ..all.chatbot.clone() };
    write!(world, tenant, tx, other => chatbots::insert(tx, tenant, &other)).unwrap();
    let list = async |filter: Filter, page: Page| {
        read!(world, tenant, tx => chatbots::list(tx, tenant, &filter, page)).unwrap()
    };
    let [other, changed] = [other, changed].map(|chatbot| ListedChatbot {
        id: chatbot.id,
        name: chatbot.name,
        model_id: chatbot.model_id,
        reply_mode: chatbot.reply_mode,
        updated_at: chatbot.updated_at,
    });
    let everything = list(Filter::default(), Page::ALL).await;
    assert_eq!(everything.rows, [other.clone(), changed.clone()], "newest first");
    let second = list(Filter::default(), Page { offset: 1, limit: 1 }).await;
    assert_eq!((second.rows, second.total), (vec![changed.clone()], 2));
    let by_name = Filter { name_folded: Some("cond na".into()), ..Filter::default() };
    assert_eq!(list(by_name, Page::ALL).await.rows, vec![changed.clone()]);
    let by_sign = Filter { name_folded: Some("%".into()), ..Filter::default() };
    assert_eq!(list(by_sign, Page::ALL).await.rows, vec![other.clone()], "signs mean themselves");
    let by_model = Filter { model: all.chatbot.model_id, ..Filter::default() };
    assert_eq!(list(by_model, Page::ALL).await.rows, [other]);
    let by_mode = Filter { reply_mode: Some("agent".into()), ..Filter::default() };
    assert_eq!(list(by_mode, Page::ALL).await.rows, [changed]);

    assert!(write!(world, tenant, tx => chatbots::delete(tx, tenant, chatbot)).unwrap());
    assert!(!write!(world, tenant, tx => chatbots::delete(tx, tenant, chatbot)).unwrap());
    assert!(read!(world, tenant, tx => web_chats::of_api(tx, tenant, chatbot)).unwrap().is_none());
}

#[tokio::test]
async fn assistants_and_bases_are_linked_from_both_sides() {
    let world = World::new().await;
    let all = world.fill().await;
    let tenant = world.tenant;
    let (chatbot, base) = (all.chatbot.id, all.base.id);
    let second_base = KnowledgeBase { id: id(), name: "Second".into(), created_at: later(1), ..all.base.clone() };
    write!(world, tenant, tx, second_base => knowledge_bases::insert(tx, tenant, &second_base)).unwrap();
    let bases_of = async || {
        let named = read!(world, tenant, tx => chatbots::knowledge_bases(tx, tenant, chatbot)).unwrap();
        let whole = read!(world, tenant, tx => knowledge_bases::of_chatbot(tx, tenant, chatbot)).unwrap();
        assert_eq!(whole.iter().map(|base| (base.id, base.name.clone())).collect::<Vec<_>>(), named);
        named
    };
    assert_eq!(bases_of().await, [(base, "Handbook 100%".to_owned())]);
    let both = [second_base.id, base, base];
    write!(world, tenant, tx => chatbots::set_knowledge_bases(tx, tenant, chatbot, &both)).unwrap();
    assert_eq!(bases_of().await.len(), 2);

    write!(world, tenant, tx => knowledge_bases::set_chatbots(tx, tenant, base, &[])).unwrap();
    assert_eq!(bases_of().await, [(second_base.id, "Second".to_owned())]);
    write!(world, tenant, tx => knowledge_bases::set_chatbots(tx, tenant, base, &[chatbot])).unwrap();
    let both = [second_base.id, id(), base];
    let mut chatbots_of = read!(world, tenant, tx => knowledge_bases::chatbots(tx, tenant, &both)).unwrap();
    chatbots_of.sort_unstable_by_key(|(of, ..)| *of != base);
    assert_eq!(chatbots_of, [base, second_base.id].map(|of| (of, chatbot, "Ähnlich".to_owned())));
}

#[tokio::test]
async fn the_hidden_web_chat_of_an_assistant_and_its_inbox() {
    let world = World::new().await;
    let all = world.fill().await;
    let tenant = world.tenant;
    let page = web_chats::WebChat { id: id(), access_type: "web".into(), ..all.web_chat.clone() };
    write!(world, tenant, tx => web_chats::insert(tx, tenant, &page)).unwrap();
    let chatbot = all.chatbot.id;
    let hidden = read!(world, tenant, tx => web_chats::of_api(tx, tenant, chatbot)).unwrap();
    assert_eq!(hidden, Some(all.web_chat.clone()));
    let hidden = read!(world, tenant, tx => web_chats::of_api_by_chatbot(tx, tenant)).unwrap();
    assert_eq!(hidden, [(chatbot, all.web_chat.id)]);

    assert_eq!(read!(world, tenant, tx => inboxes::of_api(tx, tenant, chatbot)).unwrap(), Some(all.inbox.clone()));
    let line = inboxes::Inbox { id: id(), channel_type: "line".into(), web_chat_id: None, ..all.inbox };
    write!(world, tenant, tx => inboxes::insert(tx, tenant, &line)).unwrap();
    assert!(read!(world, tenant, tx => inboxes::of_api(tx, tenant, id())).unwrap().is_none());
}
