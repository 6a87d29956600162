//! Contacts of visitors who never wrote anything.

use parlance_storage::attachments::{self, Attachment};
use parlance_storage::contacts::{self, Contact};
use parlance_storage::conversation_terms::Terms;
use parlance_storage::conversations::{self, Conversation};
use parlance_storage::messages::{self, Message};
use parlance_storage::silent_contacts;
use parlance_storage::uploads::{self, Upload};

use crate::world::{NOW, Things, World, id, later, read, write};

const NAME: &str = "Nobody";

fn contact(all: &Things) -> Contact {
    let name = NAME.to_owned();
    Contact { id: id(), name_folded: name.clone(), name, source_id: None, ..all.contact.clone() }
}

/// Adds the contact with an empty conversation.
async fn visited(world: &World, all: &Things, contact: &Contact) -> Conversation {
    let (tenant, inbox) = (world.tenant, all.inbox.id);
    let conversation = Conversation { id: id(), contact_id: contact.id, ..all.conversation.clone() };
    let (row, begun) = (contact.clone(), conversation.clone());
    write!(world, tenant, tx => async {
        contacts::insert(tx, tenant, &row, inbox).await?;
        conversations::insert(tx, tenant, &begun, &Terms::NONE).await
    })
    .unwrap();
    conversation
}

async fn is_removed(world: &World, contact: &Contact) -> bool {
    let (tenant, who) = (world.tenant, contact.id);
    let removed = write!(world, tenant, tx => silent_contacts::remove(tx, tenant, who, NAME)).unwrap();
    let is_there = read!(world, tenant, tx => contacts::get(tx, tenant, who)).unwrap().is_some();
    assert_ne!(removed, is_there);
    removed
}

#[tokio::test]
async fn a_contact_who_never_wrote_goes_with_their_conversations_and_files() {
    let world = World::new().await;
    let all = world.fill().await;
    let tenant = world.tenant;
    let silent = contact(&all);
    let conversation = visited(&world, &all, &silent).await;
    let upload = Upload {
        id: id(),
        blob_key: "media/unsent.png".into(),
        filename: "unsent.png".into(),
        size: 3,
        created_at: NOW,
    };
    let attachment = Attachment {
        id: id(),
        conversation_id: Some(conversation.id),
        blob_key: upload.blob_key.clone(),
        ..all.attachment.clone()
    };
    let (row, attached) = (upload.clone(), attachment.clone());
    write!(world, tenant, tx => async {
        uploads::insert(tx, tenant, &row, None).await?;
        uploads::mark_used(tx, tenant, &row.blob_key, NOW).await?;
        attachments::insert(tx, tenant, &attached).await
    })
    .unwrap();
    let shown = read!(world, tenant, tx => uploads::shown_by(tx, tenant, &upload.blob_key)).unwrap();
    assert_eq!((shown.file, shown.attachment), (false, true));

    assert!(is_removed(&world, &silent).await);
    assert!(read!(world, tenant, tx => conversations::get(tx, tenant, conversation.id)).unwrap().is_none());
    assert!(read!(world, tenant, tx => attachments::get(tx, tenant, attachment.id)).unwrap().is_none());
    let released = read!(world, tenant, tx => uploads::by_key(tx, tenant, &upload.blob_key)).unwrap();
    assert!(released.is_none(), "the sweeper has its bytes now");
    assert!(!write!(world, tenant, tx => silent_contacts::remove(tx, tenant, silent.id, NAME)).unwrap(), "once");
}

#[tokio::test]
async fn whoever_wrote_or_is_known_stays() {
    let world = World::new().await;
    let all = world.fill().await;
    let tenant = world.tenant;
    for known in [
        Contact { name: "Ada".into(), ..contact(&all) },
        Contact { source_id: Some("a-1".into()), ..contact(&all) },
        Contact { email: Some("a@b.example".into()), ..contact(&all) },
        Contact { phone_number: Some("1".into()), ..contact(&all) },
        Contact { avatar: Some("https://a.example/a.png".into()), ..contact(&all) },
        Contact { query_metadata: Some("{}".into()), ..contact(&all) },
        Contact { updated_at: later(1), ..contact(&all) },
    ] {
        visited(&world, &all, &known).await;
        assert!(!is_removed(&world, &known).await, "{known:?}");
    }
    let wrote = contact(&all);
    let conversation = visited(&world, &all, &wrote).await;
    let message = Message { id: id(), conversation_id: conversation.id, ..all.answer.clone() };
    write!(world, tenant, tx => messages::insert(tx, tenant, &message, &Terms::NONE)).unwrap();
    assert!(!is_removed(&world, &wrote).await, "somebody wrote to them");
    assert!(read!(world, tenant, tx => conversations::get(tx, tenant, conversation.id)).unwrap().is_some());
}
