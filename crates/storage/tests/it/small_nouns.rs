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
    let refused = write!(world, tenant, tx => uploads::insert(tx, tenant, &again, None));
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
    // Until the sweeper comes nobody can name it any more.
    assert!(!write!(world, tenant, tx, key => uploads::mark_used(tx, tenant, &key, later(1))).unwrap());
    assert!(read!(world, tenant, tx => uploads::by_key(tx, tenant, &key)).unwrap().is_none());
    assert!(read!(world, tenant, tx => uploads::by_id(tx, tenant, upload)).unwrap().is_none());

    let loose = Upload { id: id(), blob_key: "loose".into(), filename: "a".into(), size: 1, created_at: NOW };
    write!(world, tenant, tx => uploads::insert(tx, tenant, &loose, None)).unwrap();
    assert!(write!(world, tenant, tx => uploads::delete_abandoned(tx, tenant, "loose")).unwrap());
    assert!(!write!(world, tenant, tx => uploads::delete_abandoned(tx, tenant, "loose")).unwrap());
}

fn sized(key: &str, size: i64) -> Upload {
    Upload { id: id(), blob_key: key.into(), filename: "f".into(), size, created_at: NOW }
}

#[tokio::test]
async fn bytes_are_counted_from_the_upload_to_its_release_or_removal() {
    let world = World::new().await;
    let (tenant, stranger) = (world.tenant, world.stranger);
    let stored = async || read!(world, tenant, tx => uploads::stored_bytes(tx, tenant)).unwrap();
    let put = async |key: &str, size, quota| {
        let upload = sized(key, size);
        write!(world, tenant, tx => uploads::insert(tx, tenant, &upload, quota))
    };
    let full = |result| matches!(result, Err(Error::QuotaExceeded { limit: 10 }));
    assert_eq!(stored().await, 0);
    assert!(full(put("a", 11, Some(10)).await), "also the first one");
    put("a", 4, Some(10)).await.unwrap();
    put("b", 6, Some(10)).await.unwrap();
    assert!(full(put("c", 1, Some(10)).await));
    put("c", 0, Some(10)).await.unwrap();
    assert!(matches!(put("a", 1, Some(10)).await, Err(Error::Conflict(_))), "told before the quota is");
    assert_eq!(stored().await, 10);
    put("d", 90, None).await.unwrap();
    assert_eq!(stored().await, 100);
    let theirs = sized("theirs", 7);
    write!(world, stranger, tx, theirs => uploads::insert(tx, stranger, &theirs, Some(10))).unwrap();
    assert_eq!(read!(world, stranger, tx => uploads::stored_bytes(tx, stranger)).unwrap(), 7);

    // What was released once is taken off once.
    for _ in 0..2 {
        write!(world, tenant, tx => uploads::release(tx, tenant, "d")).unwrap();
        assert_eq!(stored().await, 10);
    }
    for (key, left) in [("d", 10), ("a", 6), ("a", 6)] {
        write!(world, tenant, tx => uploads::delete_abandoned(tx, tenant, key)).unwrap();
        assert_eq!(stored().await, left, "{key}");
    }
    put("e", 4, Some(10)).await.unwrap();
    assert!(full(put("f", 1, Some(10)).await));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_at_the_same_time_are_together_within_the_quota() {
    let world = World::new().await;
    let tenant = world.tenant;
    let racing = (0..24).map(|number| {
        let (db, upload) = (world.db.clone(), sized(&format!("racer-{number}"), 10));
        tokio::spawn(async move {
            db.write(tenant, move |tx| {
                let upload = upload.clone();
                Box::pin(async move { uploads::insert(tx, tenant, &upload, Some(75)).await })
            })
            .await
        })
    });
    let mut kept = 0;
    for racer in futures_util::future::join_all(racing).await {
        match racer.unwrap() {
            Ok(()) => kept += 1,
            Err(error) => assert!(matches!(error, Error::QuotaExceeded { limit: 75 }), "{error}"),
        }
    }
    assert_eq!(kept, 7);
    assert_eq!(read!(world, tenant, tx => uploads::stored_bytes(tx, tenant)).unwrap(), 70);
    let rows = read!(world, Scope::System, tx => uploads::abandoned(tx, later(1), 100)).unwrap();
    assert_eq!(rows.len(), 7, "nothing of the others is left");
}
