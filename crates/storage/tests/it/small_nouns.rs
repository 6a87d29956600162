//! Attachments and uploads.

use parlance_domain::Error;
use parlance_domain::kind::ConversationId;
use parlance_storage::uploads::Upload;
use parlance_storage::{Page, Scope, attachments, files, uploads};

use crate::world::{NOW, World, id, later, read, write};

#[tokio::test]
async fn attachments() {
    let world = World::new().await;
    let all = world.fill().await;
    let tenant = world.tenant;
    let loose = attachments::Attachment {
        id: id(),
        conversation_id: None::<ConversationId>,
        created_at: later(1),
        ..all.attachment.clone()
    };
    write!(world, tenant, tx, loose => attachments::insert(tx, tenant, &loose)).unwrap();
    let first = all.attachment.id;
    assert_eq!(read!(world, tenant, tx => attachments::get(tx, tenant, first)).unwrap(), Some(all.attachment.clone()));
    let listing = read!(world, tenant, tx => attachments::list(tx, tenant, Page::ALL)).unwrap();
    assert_eq!((listing.total, listing.rows), (2, vec![loose, all.attachment.clone()]));
    let deleted = write!(world, tenant, tx => attachments::delete(tx, tenant, first)).unwrap();
    assert_eq!(deleted, Some(all.attachment.blob_key));
    assert_eq!(write!(world, tenant, tx => attachments::delete(tx, tenant, first)).unwrap(), None);
}

#[tokio::test]
async fn an_upload_is_kept_while_something_refers_to_it() {
    let world = World::new().await;
    let all = world.fill().await;
    let tenant = world.tenant;
    let key = all.upload.blob_key.clone();
    let again = Upload { id: id(), size: 99, ..all.upload.clone() };
    let refused = write!(world, tenant, tx => uploads::insert(tx, tenant, &again));
    assert!(matches!(refused, Err(Error::Conflict(_))), "{refused:?}");
    assert_eq!(read!(world, tenant, tx => uploads::by_key(tx, tenant, &key)).unwrap().unwrap().size, all.upload.size);
    assert!(read!(world, tenant, tx => uploads::by_key(tx, tenant, "other")).unwrap().is_none());
    let upload = all.upload.id;
    assert_eq!(read!(world, tenant, tx => uploads::by_id(tx, tenant, upload)).unwrap().unwrap().blob_key, key);

    let abandoned = async |before| read!(world, Scope::System, tx => uploads::abandoned(tx, before, 10)).unwrap();
    assert!(abandoned(NOW).await.is_empty(), "not old enough");
    assert_eq!(abandoned(later(1)).await, [(tenant.organisation(), key.clone())]);
    assert!(write!(world, tenant, tx, key => uploads::mark_used(tx, tenant, &key, later(1))).unwrap());
    assert!(!write!(world, tenant, tx => uploads::mark_used(tx, tenant, "other", later(1))).unwrap());
    assert_eq!(read!(world, Scope::System, tx => uploads::some_used(tx, 5)).unwrap(), std::slice::from_ref(&key));
    let keys = [key.clone(), "other".to_owned()];
    assert_eq!(read!(world, Scope::System, tx => uploads::known(tx, &keys)).unwrap(), std::slice::from_ref(&key));
    assert!(abandoned(later(1)).await.is_empty());
    assert!(!write!(world, tenant, tx, key => uploads::delete_abandoned(tx, tenant, &key)).unwrap());
    write!(world, tenant, tx, key => uploads::release(tx, tenant, &key)).unwrap();
    assert!(abandoned(later(1)).await.is_empty(), "a file still shows it");
    let file = all.file.id;
    write!(world, tenant, tx => files::delete(tx, tenant, file)).unwrap();
    write!(world, tenant, tx, key => uploads::release(tx, tenant, &key)).unwrap();
    assert_eq!(abandoned(NOW).await, [(tenant.organisation(), key.clone())], "released, so at once");

    let loose = Upload { id: id(), blob_key: "loose".into(), filename: "a".into(), size: 1, created_at: NOW };
    write!(world, tenant, tx => uploads::insert(tx, tenant, &loose)).unwrap();
    assert!(write!(world, tenant, tx => uploads::delete_abandoned(tx, tenant, "loose")).unwrap());
    assert!(!write!(world, tenant, tx => uploads::delete_abandoned(tx, tenant, "loose")).unwrap());
}
