//! Statements that wait for one another on SQLite, and terms that wait for the end of the transaction.

use parlance_domain::{Error, Result, Tenant};
use parlance_storage::contacts::{self, Contact};
use parlance_storage::conversation_lists::Place;
use parlance_storage::conversation_terms::{self, Terms, Wanted};
use parlance_storage::conversations::{self, Activity};
use parlance_storage::{Db, Tx};

use crate::world::{World, id, later, read, write};
use crate::writer::hold_writer;

async fn is_stored(db: &Db, tenant: Tenant, contact: &Contact) -> bool {
    let mut tx = db.read(tenant).await.unwrap();
    contacts::get(&mut tx, tenant, contact.id).await.unwrap().is_some()
}

#[tokio::test]
async fn what_waits_is_done_before_anything_is_read_and_in_order() {
    let world = World::new().await;
    let all = world.fill().await;
    let (tenant, conversation) = (world.tenant, all.conversation.id);
    let found = write!(world, tenant, tx => async {
        // More than wait at once.
        for unread in 1..=40 {
            let activity = Activity { at: later(unread), unread: unread.cast_signed(), title: "", title_folded: "" };
            conversations::touch(tx, tenant, conversation, &activity).await?;
        }
        conversations::get(tx, tenant, conversation).await
    });
    let found = found.unwrap().unwrap();
    assert_eq!(found.unread_count, all.conversation.unread_count + 820);
    assert_eq!(found.last_message_at, Some(later(40)));
}

#[tokio::test]
async fn a_waiting_statement_that_fails_undoes_its_write_alone() {
    let world = World::new().await;
    let all = world.fill().await;
    let tenant = world.tenant;
    let people: Vec<Contact> = (0..9).map(|_| Contact { id: id(), source_id: None, ..all.contact.clone() }).collect();
    let release = hold_writer(&world).await;
    let writes: Vec<_> = people
        .iter()
        .enumerate()
        .map(|(number, person)| {
            let (db, person) = (world.db.clone(), person.clone());
            let add = async move |tx: &mut Tx| -> Result<()> {
                contacts::add(tx, tenant, &person).await?;
                match number % 3 {
                    0 => Ok(()),
                    // The same once more: the write itself has ended well when this fails.
                    1 => contacts::add(tx, tenant, &person).await,
                    _ => Err(Error::TakenOver),
                }
            };
            tokio::spawn(async move { db.write(tenant, move |tx| Box::pin(async move { add(tx).await })).await })
        })
        .collect();
    tokio::task::yield_now().await;
    release.send(()).unwrap();
    for (number, write) in writes.into_iter().enumerate() {
        let outcome = write.await.unwrap();
        match number % 3 {
            0 => outcome.unwrap(),
            1 => assert!(matches!(outcome, Err(Error::Conflict(_))), "{outcome:?}"),
            _ => assert!(matches!(outcome, Err(Error::TakenOver)), "{outcome:?}"),
        }
        assert_eq!(is_stored(&world.db, tenant, &people[number]).await, number % 3 == 0, "{number}");
    }

    // Alone, without a savepoint.
    let person = Contact { id: id(), ..people[0].clone() };
    for fails in [true, false] {
        let added = person.clone();
        let outcome = write!(world, tenant, tx, added => async {
            contacts::add(tx, tenant, &added).await?;
            if fails { contacts::add(tx, tenant, &added).await } else { Ok(()) }
        });
        assert_eq!(outcome.is_err(), fails);
        assert_eq!(is_stored(&world.db, tenant, &person).await, !fails);
    }
}

#[tokio::test]
async fn terms_are_found_when_their_write_stays_and_not_when_it_fails() {
    let world = World::new().await;
    let all = world.fill().await;
    let (tenant, conversation) = (world.tenant, all.conversation.id);
    let writes = (1..=30).map(|term| {
        let db = world.db.clone();
        let add = async move |tx: &mut Tx| -> Result<()> {
            conversation_terms::add(tx, tenant, conversation, &Terms::from_iter([term])).await?;
            if term % 2 == 0 { Ok(()) } else { Err(Error::TakenOver) }
        };
        tokio::spawn(async move { db.write(tenant, move |tx| Box::pin(async move { add(tx).await })).await })
    });
    futures_util::future::join_all(writes).await;
    for term in 1..=30 {
        let parts = [Terms::from_iter([term])];
        let place = Place { inbox: None, contact: None };
        let wanted = Wanted { parts: &parts, place, from: None, limit: 5 };
        let found = read!(world, tenant, tx => conversation_terms::candidates(tx, tenant, &wanted)).unwrap();
        assert_eq!(found.len(), usize::from(term % 2 == 0), "{term}");
    }

    if world.db.engine_name() == "sqlite" {
        let terms = Terms::from_iter([99]);
        let refused = read!(world, tenant, tx => conversation_terms::add(tx, tenant, conversation, &terms));
        assert!(refused.is_err(), "a connection to read with adds nothing");
        let person = Contact { id: id(), ..all.contact };
        assert!(read!(world, tenant, tx => contacts::add(tx, tenant, &person)).is_err());
    }
}
