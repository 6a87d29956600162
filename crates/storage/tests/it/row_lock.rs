//! Changes that are made of what a row holds.

use std::sync::Arc;

use parlance_domain::kind::GroupId;
use parlance_storage::row_lock::{self, Row};
use parlance_storage::{chatbots, groups};
use tokio::task::JoinSet;

use crate::world::{NOW, World, id, write};

#[tokio::test]
async fn every_kind_of_row_can_be_held() {
    let world = World::new().await;
    let all = world.fill().await;
    let tenant = world.tenant;
    let group: GroupId = id();
    let row = groups::Group {
        id: group,
        name: "Support".to_owned(),
        permissions: String::new(),
        created_at: NOW,
        updated_at: NOW,
    };
    write!(world, tenant, tx => groups::insert(tx, tenant, &row)).unwrap();
    let rows = [
        Row::Chatbot(all.chatbot.id),
        Row::Contact(all.contact.id),
        Row::Faq(all.faq.id),
        Row::File(all.file.id),
        Row::Group(group),
        Row::Inbox(all.inbox.id),
        Row::KnowledgeBase(all.base.id),
        Row::Label(all.label.id),
        Row::Member(all.user.id),
        Row::Organisation,
        Row::Provider(all.provider.id),
        Row::Tool(all.tool.id),
        Row::WebChat(all.web_chat.id),
        // What is not there is for the read to find out.
        Row::Chatbot(id()),
    ];
    for row in rows {
        write!(world, tenant, tx => row_lock::lock(tx, tenant, row)).unwrap_or_else(|error| panic!("{row:?}: {error}"));
    }
}

#[tokio::test]
async fn changes_of_the_same_row_see_each_other() {
    let world = Arc::new(World::new().await);
    let all = world.fill().await;
    let (tenant, chatbot) = (world.tenant, all.chatbot.id);
    let mut changes = JoinSet::new();
    for number in 0..10 {
        let db = world.db.clone();
        changes.spawn(async move {
            db.write(tenant, move |tx| {
                Box::pin(async move {
                    row_lock::lock(tx, tenant, Row::Chatbot(chatbot)).await?;
                    let mut row = chatbots::get(tx, tenant, chatbot).await?.unwrap();
                    // Time for the others to read what is about to be replaced.
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                    row.instructions = format!("{}[{number}]", row.instructions);
                    chatbots::update(tx, tenant, &row).await
                })
            })
            .await
            .unwrap();
        });
    }
    while let Some(changed) = changes.join_next().await {
        changed.unwrap();
    }
    let mut tx = world.db.read(tenant).await.unwrap();
    let instructions = chatbots::get(&mut tx, tenant, chatbot).await.unwrap().unwrap().instructions;
    for number in 0..10 {
        assert!(instructions.contains(&format!("[{number}]")), "{number} is missing in {instructions}");
    }
}
