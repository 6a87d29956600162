//! Passages that are known show nothing that the database would not.

use parlance_domain::kind::OrganisationId;
use parlance_storage::passages::Passage;

use super::*;
use crate::around::Around;

impl World {
    async fn known(&self, tenant: Tenant, ids: &[PassageId]) -> Vec<Passage> {
        let mut tx = self.app.db.read(tenant).await.unwrap();
        let found = self.app.known_passages.searchable(&mut tx, tenant, ids).await.unwrap();
        let mut found: Vec<Passage> = found.into_iter().map(|(passage, _terms)| passage).collect();
        found.sort_by_key(|passage| passage.content.id);
        let mut stored = passages::searchable(&mut tx, tenant, ids).await.unwrap();
        stored.sort_by_key(|passage| passage.content.id);
        assert_eq!(found, stored, "as the database has them");
        found
    }
}

#[tokio::test]
async fn known_passages_are_as_the_database_has_them() {
    let world = World::new().await;
    let (app, tenant) = (&world.app, world.tenant);
    let (file, ids) = world.published(3).await;
    assert_eq!(world.known(tenant, &ids[..2]).await.len(), 2);
    let again = world.known(tenant, &ids).await;
    assert_eq!(again.len(), 3, "known ones and one that is read");

    // Each is the same piece of memory from then on.
    let same = world.known(tenant, &ids).await;
    assert!(again.iter().zip(&same).all(|(one, other)| Arc::ptr_eq(&one.content, &other.content)));

    // What is told of the file is not remembered.
    let (id, now) = (file.id, app.now());
    let renamed = ("b.txt", "b.txt");
    app.db
        .write(tenant, move |tx| Box::pin(async move { files::describe(tx, tenant, id, renamed, None, now).await }))
        .await
        .unwrap();
    assert_eq!(world.known(tenant, &ids).await[0].file.filename, "b.txt");

    // Citations are counted where they are known.
    let cited = vec![ids[0], ids[2]];
    let counted = cited.clone();
    app.db
        .write(tenant, move |tx| Box::pin(async move { passages::count_hits(tx, tenant, &counted).await }))
        .await
        .unwrap();
    app.known_passages.count_hits(&cited);
    let hits: Vec<i64> = world.known(tenant, &ids).await.iter().map(|passage| passage.hits_count).collect();
    assert_eq!(hits, [1, 0, 1]);

    // Another organisation that knows the ids is shown nothing.
    let stranger: OrganisationId = app.new_id();
    assert!(world.known(Tenant::authenticated(stranger), &ids).await.is_empty());
}

#[tokio::test]
async fn known_passages_are_gone_with_their_generation_file_and_base() {
    let world = World::new().await;
    let (app, tenant) = (&world.app, world.tenant);
    let (replaced, old) = world.published(1).await;
    let (deleted, gone) = world.published(1).await;
    let (_kept, kept) = world.published(1).await;
    let all = [old[0], gone[0], kept[0]];
    assert_eq!(world.known(tenant, &all).await.len(), 3);

    let new = world.passage(0, "newer");
    let (base, id, new_id, now) = (world.base, replaced.id, new.id, app.now());
    app.db
        .write(tenant, move |tx| {
            Box::pin(async move {
                let generation = files::begin_generation(tx, tenant, id, replaced.parser_id, now).await?.unwrap();
                passages::insert(tx, tenant, (base, id, generation), &[new], now).await?;
                files::publish(tx, tenant, id, (generation, None), now).await
            })
        })
        .await
        .unwrap();
    let found = world.known(tenant, &[all.as_slice(), &[new_id]].concat()).await;
    assert_eq!(found.len(), 3);
    assert!(found.iter().all(|passage| passage.content.id != old[0]));

    crate::files::delete(app, tenant, Place::Base(base), vec![deleted.id]).await.unwrap();
    assert_eq!(world.known(tenant, &all).await.len(), 1);
    app.db
        .write(tenant, move |tx| Box::pin(async move { knowledge_bases::mark_deleting(tx, tenant, base, now).await }))
        .await
        .unwrap();
    assert!(world.known(tenant, &all).await.is_empty());
}

#[tokio::test]
async fn sentences_around_a_passage_are_those_of_the_window() {
    let world = World::new().await;
    let (app, tenant) = (&world.app, world.tenant);
    let (_file, ids) = world.published(3).await;
    let found = world.known(tenant, &ids).await;
    let wanted = [(&found[0], 1), (&found[1], 2)];
    let hello = || "hello".to_owned();
    for _ in 0..2 {
        let mut tx = app.db.read(tenant).await.unwrap();
        let around = app.known_passages.around(&mut tx, tenant, &wanted).await.unwrap();
        assert_eq!(around.len(), 2);
        assert_eq!(*around[&ids[0]], Around { before: String::new(), after: hello() });
        assert_eq!(*around[&ids[1]], Around { before: hello(), after: hello() });
    }
}
