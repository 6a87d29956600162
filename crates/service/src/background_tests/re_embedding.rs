//! Another embedding model for a base with more files than one write begins.

use std::collections::BTreeMap;

use super::*;
use crate::re_embedding::{self, ReEmbedding, Step};

/// Files of the base: two slices and a half.
const FILES: usize = 250;

impl World {
    /// Searchable files with vectors of `model`, all added at the same moment.
    async fn embedded_files(&self, count: usize, model: ModelId) -> Vec<File> {
        let now = self.app.now();
        let rows: Vec<File> = (0..count)
            .map(|number| File {
                id: self.app.new_id(),
                organisation: self.tenant.organisation(),
                knowledge_base_id: self.base,
                filename: format!("{number}.txt"),
                filename_folded: format!("{number}.txt"),
                file_type: "txt".into(),
                size: 5,
                blob_key: format!("media/{number}.txt"),
                status: "done".into(),
                stage: String::new(),
                progress_done: 0,
                progress_total: 0,
                failure: None,
                parser_id: crate::files::PARSER,
                embedding_model_id: Some(model),
                generation: 1,
                next_generation: 1,
                characters: 5,
                passages_count: 1,
                raw_metadata: None,
                created_at: now,
                updated_at: now,
            })
            .collect();
        let (tenant, stored) = (self.tenant, rows.clone());
        self.app
            .db
            .write(tenant, move |tx| {
                Box::pin(async move {
                    for file in &stored {
                        files::insert(tx, tenant, file).await?;
                    }
                    Ok(())
                })
            })
            .await
            .unwrap();
        rows
    }

    /// What a request that chooses another model does.
    async fn choose(&self, model: ModelId) {
        let (app, tenant, base) = (self.app.clone(), self.tenant, self.base);
        self.app
            .db
            .write(tenant, move |tx| {
                Box::pin(async move {
                    let mut row = knowledge_bases::get(tx, tenant, base).await?.unwrap();
                    row.embedding_model_id = Some(model);
                    knowledge_bases::update(tx, tenant, &row).await?;
                    re_embedding::enqueue(tx, &app, tenant, base).await
                })
            })
            .await
            .unwrap();
    }

    async fn claim_re_embedding(&self) -> Option<(Job, ReEmbedding)> {
        let now = self.app.now();
        let until = now.plus(Duration::from_mins(1));
        let claimed = self.app.db.write(Scope::System, move |tx| {
            Box::pin(async move { jobs::claim(tx, re_embedding::KIND, now, until).await })
        });
        let job = claimed.await.unwrap()?;
        let work = ReEmbedding::of(&job).unwrap();
        Some((job, work))
    }

    async fn step(&self, (job, work): &(Job, ReEmbedding)) -> Step {
        re_embedding::step(&self.app, self.tenant, job, *work).await.unwrap()
    }

    /// Runs the job that waits to its end.
    async fn finish_re_embedding(&self) {
        let (job, work) = self.claim_re_embedding().await.unwrap();
        assert!(re_embedding::run(&self.app, self.tenant, &job, work).await.unwrap());
    }

    /// How many of these files wait for each generation. What is searchable is what it was.
    async fn next_generations(&self, of: &[File]) -> BTreeMap<i64, usize> {
        let mut tx = self.app.db.read(self.tenant).await.unwrap();
        let mut counts = BTreeMap::new();
        for file in of {
            let found = files::find(&mut tx, self.tenant, file.id).await.unwrap().unwrap();
            assert_eq!((found.generation, found.embedding_model_id), (1, file.embedding_model_id));
            *counts.entry(found.next_generation).or_default() += 1;
        }
        counts
    }

    async fn jobs(&self) -> u64 {
        let mut tx = self.app.db.read(Scope::System).await.unwrap();
        jobs::count(&mut tx).await.unwrap()
    }
}

#[tokio::test]
async fn another_model_begins_the_files_in_slices_and_a_crash_repeats_none() {
    let world = World::new().await;
    let (before, chosen): (ModelId, ModelId) = (world.app.new_id(), world.app.new_id());
    let made = world.embedded_files(FILES, before).await;
    let made_already = world.embedded_files(1, chosen).await;
    world.choose(chosen).await;
    assert_eq!((world.next_generations(&made).await, world.jobs().await), (BTreeMap::from([(1, FILES)]), 1));

    let first = world.claim_re_embedding().await.unwrap();
    assert!(matches!(world.step(&first).await, Step::More(_)));
    assert_eq!(world.next_generations(&made).await, BTreeMap::from([(1, 150), (2, 100)]));
    // Killed here; the lease ends, and another worker goes on.
    world.clock.advance(Duration::from_secs(61));
    let second = world.claim_re_embedding().await.unwrap();
    assert_eq!(world.step(&first).await, Step::Lost, "who lost the job begins nothing");
    let Step::More(rest) = world.step(&second).await else { panic!("there are more") };
    assert_eq!(world.next_generations(&made).await, BTreeMap::from([(1, 50), (2, 200)]));
    assert_eq!(world.step(&(second.0, rest)).await, Step::Done);
    assert_eq!(world.next_generations(&made).await, BTreeMap::from([(2, FILES)]), "each once");
    assert_eq!(world.next_generations(&made_already).await, BTreeMap::from([(1, 1)]));
    assert!(world.claim_re_embedding().await.is_none());
    assert_eq!(world.jobs().await, FILES as u64, "one for each file, and none for the base");
}

#[tokio::test]
async fn a_model_chosen_meanwhile_begins_again_with_the_first_file() {
    let world = World::new().await;
    let (before, second, third): (ModelId, ModelId, ModelId) =
        (world.app.new_id(), world.app.new_id(), world.app.new_id());
    let made = world.embedded_files(FILES, before).await;
    world.choose(second).await;
    let running = world.claim_re_embedding().await.unwrap();
    let Step::More(rest) = world.step(&running).await else { panic!("there are more") };
    world.choose(third).await;
    assert_eq!(world.step(&(running.0, rest)).await, Step::Lost);
    world.finish_re_embedding().await;
    assert_eq!(world.next_generations(&made).await, BTreeMap::from([(2, 150), (3, 100)]));
    assert_eq!(world.jobs().await, FILES as u64);
}

#[tokio::test]
async fn a_model_that_is_taken_back_makes_only_what_was_begun_anew() {
    let world = World::new().await;
    let (before, other): (ModelId, ModelId) = (world.app.new_id(), world.app.new_id());
    let made = world.embedded_files(FILES, before).await;
    world.choose(other).await;
    let running = world.claim_re_embedding().await.unwrap();
    world.step(&running).await;
    world.choose(before).await;
    world.finish_re_embedding().await;
    assert_eq!(world.next_generations(&made).await, BTreeMap::from([(1, 150), (3, 100)]));
}

#[tokio::test]
async fn a_base_that_is_deleted_meanwhile_begins_no_file() {
    let world = World::new().await;
    world.embedded_files(3, world.app.new_id()).await;
    world.choose(world.app.new_id()).await;
    crate::knowledge_bases::delete(&world.app, world.tenant, world.base).await.unwrap();
    world.finish_re_embedding().await;
    assert_eq!(world.jobs().await, 1, "the deletion alone");
}
