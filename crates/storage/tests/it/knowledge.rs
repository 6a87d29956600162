//! Knowledge bases, files, passages and what the index has to learn.

use parlance_storage::files::{self, Progress};
use parlance_storage::index_changes::{self, IndexChange};
use parlance_storage::knowledge_bases::{Filter, KnowledgeBase};
use parlance_storage::{Page, Scope, chatbots, knowledge_bases, passages};

use crate::world::{NOW, World, id, later, passage, read, write};

#[tokio::test]
async fn a_base_is_made_changed_listed_and_removed() {
    let world = World::new().await;
    let all = world.fill().await;
    let tenant = world.tenant;
    let base = all.base.id;
    assert_eq!(read!(world, tenant, tx => knowledge_bases::get(tx, tenant, base)).unwrap(), Some(all.base.clone()));
    let asked = [id(), base];
    let counts = read!(world, tenant, tx => knowledge_bases::files_counts(tx, tenant, &asked)).unwrap();
    assert_eq!(counts, [(base, 1)]);

    let changed = KnowledgeBase {
        name: "New".into(),
        name_folded: "new_".into(),
        description: "d".into(),
        embedding_model_id: None,
        reranker_model_id: all.base.embedding_model_id,
        retrieved_chunks: 3,
        sentence_window_size: 0,
        enable_hyde: true,
        similarity_cutoff: 0.1 + 0.2,
        enable_rerank: false,
        updated_at: later(2),
        ..all.base.clone()
    };
    write!(world, tenant, tx, changed => knowledge_bases::update(tx, tenant, &changed)).unwrap();
    assert_eq!(read!(world, tenant, tx => knowledge_bases::get(tx, tenant, base)).unwrap(), Some(changed.clone()));

    let other = KnowledgeBase { id: id(), created_at: later(1), ..all.base.clone() };
    write!(world, tenant, tx, other => knowledge_bases::insert(tx, tenant, &other)).unwrap();
    assert_eq!(read!(world, tenant, tx => knowledge_bases::all(tx, tenant)).unwrap(), [changed.clone(), other.clone()]);
    let list = async |filter: Filter| {
        read!(world, tenant, tx => knowledge_bases::list(tx, tenant, &filter, Page::ALL)).unwrap().rows
    };
    assert_eq!(list(Filter::default()).await, [other.clone(), changed.clone()]);
    assert_eq!(list(Filter { name_folded: Some("w_".into()), ..Filter::default() }).await, vec![changed.clone()]);
    let model = all.base.embedding_model_id;
    assert_eq!(list(Filter { embedding_model: model, ..Filter::default() }).await, [other]);
    assert_eq!(list(Filter { reranker_model: model, ..Filter::default() }).await, [changed]);

    assert!(write!(world, tenant, tx => knowledge_bases::delete(tx, tenant, base)).unwrap());
    assert!(!write!(world, tenant, tx => knowledge_bases::delete(tx, tenant, base)).unwrap());
    let file = all.file.id;
    assert!(read!(world, tenant, tx => files::find(tx, tenant, file)).unwrap().is_none(), "its files go with it");
    let rest = read!(world, tenant, tx => passages::of_generation(tx, tenant, (file, 1), 0, 9)).unwrap();
    assert!(rest.is_empty(), "and their passages");
}

#[tokio::test]
async fn a_new_generation_replaces_the_old_one_in_one_step() {
    let world = World::new().await;
    let all = world.fill().await;
    let tenant = world.tenant;
    let (base, file) = (all.base.id, all.file.id);
    let find = async || read!(world, tenant, tx => files::find(tx, tenant, file)).unwrap().unwrap();
    let first = find().await;
    assert_eq!((first.status.as_str(), first.generation, first.passages_count, first.characters), ("done", 1, 3, 12));
    assert_eq!(first.organisation, tenant.organisation());

    let parser = id();
    let generation = write!(world, tenant, tx => files::begin_generation(tx, tenant, file, parser, later(1))).unwrap();
    assert_eq!(generation, Some(2));
    let begun = find().await;
    assert_eq!((begun.status.as_str(), begun.stage.as_str(), begun.generation), ("initial", "waiting", 1));
    assert_eq!(begun.parser_id, parser);

    let half = Progress { stage: "parsing", done: 1, total: 2 };
    assert!(write!(world, tenant, tx => files::progress(tx, tenant, file, 2, half, later(2))).unwrap());
    assert!(!write!(world, tenant, tx => files::progress(tx, tenant, file, 1, half, later(2))).unwrap());
    assert!(write!(world, tenant, tx => files::wait(tx, tenant, file, 2, "again soon", later(2))).unwrap());
    assert!(!write!(world, tenant, tx => files::wait(tx, tenant, file, 1, "not now", later(2))).unwrap());
    let waiting = read!(world, tenant, tx => files::find(tx, tenant, file)).unwrap().unwrap();
    assert_eq!(waiting.failure.as_deref(), Some("again soon"));
    let running = find().await;
    assert_eq!((running.status.as_str(), running.stage.as_str()), ("processing", "parsing"));
    assert_eq!((running.progress_done, running.progress_total, running.updated_at), (1, 2, later(2)));

    let rows: Vec<_> = (0..450).map(|ordinal| passage(ordinal, "四個字的")).collect();
    let new = rows[7].id;
    write!(world, tenant, tx => passages::insert(tx, tenant, (base, file, 2), &rows, later(2))).unwrap();
    assert!(read!(world, tenant, tx => passages::get(tx, tenant, new)).unwrap().is_none(), "not searchable yet");
    assert!(!write!(world, tenant, tx => files::publish(tx, tenant, file, (1, None), later(3))).unwrap());
    let model = Some(id());
    assert!(write!(world, tenant, tx => files::publish(tx, tenant, file, (2, model), later(3))).unwrap());
    assert_eq!(find().await.embedding_model_id, model, "of what can be found");
    let published = find().await;
    assert_eq!((published.status.as_str(), published.generation), ("done", 2));
    assert_eq!((published.passages_count, published.characters), (450, 1800));
    assert!(read!(world, tenant, tx => passages::get(tx, tenant, new)).unwrap().is_some());
    let old = all.passages[0].id;
    assert!(read!(world, tenant, tx => passages::get(tx, tenant, old)).unwrap().is_none());
    let older = async |limit| write!(world, tenant, tx => passages::delete_older(tx, tenant, file, 2, limit)).unwrap();
    assert_eq!((older(2).await, older(2).await, older(2).await), (2, 1, 0), "in slices");
    let rest = read!(world, tenant, tx => passages::of_generation(tx, tenant, (file, 1), 0, 9)).unwrap();
    assert!(rest.is_empty());
    let of_second =
        async |limit| write!(world, tenant, tx => passages::delete_generation(tx, tenant, file, 2, limit)).unwrap();
    assert_eq!((of_second(400).await, of_second(400).await), (400, 50));
    assert_eq!(read!(world, tenant, tx => passages::list(tx, tenant, file, Page::ALL)).unwrap().total, 0);

    write!(world, tenant, tx => files::begin_generation(tx, tenant, file, parser, later(4))).unwrap();
    assert!(!write!(world, tenant, tx => files::fail(tx, tenant, file, 2, "late", later(5))).unwrap());
    assert!(write!(world, tenant, tx => files::fail(tx, tenant, file, 3, "no text", later(5))).unwrap());
    let failed = find().await;
    assert_eq!((failed.status.as_str(), failed.failure.as_deref(), failed.generation), ("failed", Some("no text"), 2));
    let missing = id();
    assert_eq!(write!(world, tenant, tx => files::begin_generation(tx, tenant, missing, parser, NOW)).unwrap(), None);
}

#[tokio::test]
async fn files_are_listed_described_and_removed() {
    let world = World::new().await;
    let all = world.fill().await;
    let tenant = world.tenant;
    let (base, file) = (all.base.id, all.file.id);
    let second = files::File {
        id: id(),
        filename: "notes.txt".into(),
        filename_folded: "notes.txt".into(),
        file_type: "txt".into(),
        created_at: later(1),
        organisation: tenant.organisation(),
        ..all.file.clone()
    };
    write!(world, tenant, tx, second => files::insert(tx, tenant, &second)).unwrap();
    let list = async |filter: files::Filter| {
        let listing = read!(world, tenant, tx => files::list(tx, tenant, &[base], &filter, Page::ALL)).unwrap();
        assert_eq!(listing.total, listing.rows.len() as u64);
        listing.rows.into_iter().map(|file| file.id).collect::<Vec<_>>()
    };
    assert_eq!(list(files::Filter::default()).await, [second.id, file]);
    let by_name = files::Filter { filename_folded: Some("e_1".into()), ..files::Filter::default() };
    assert_eq!(list(by_name).await, [file]);
    let by_status = files::Filter { status: Some("initial".into()), ..files::Filter::default() };
    assert_eq!(list(by_status).await, [second.id]);
    let by_type = files::Filter { file_type: Some("pdf".into()), ..files::Filter::default() };
    assert_eq!(list(by_type).await, [file]);

    let stored = read!(world, tenant, tx => files::get(tx, tenant, base, second.id)).unwrap();
    assert_eq!(stored, Some(second.clone()));
    assert!(read!(world, tenant, tx => files::get(tx, tenant, id(), second.id)).unwrap().is_none(), "another base");
    write!(world, tenant, tx => files::describe(tx, tenant, file, ("B.pdf", "b.pdf"), Some("{\"x\": 1}"), later(4)))
        .unwrap();
    let described = read!(world, tenant, tx => files::find(tx, tenant, file)).unwrap().unwrap();
    assert_eq!((described.filename.as_str(), described.raw_metadata.as_deref()), ("B.pdf", Some("{\"x\": 1}")));

    let searchable = read!(world, Scope::System, tx => files::searchable(tx)).unwrap();
    let expected = files::Searchable {
        organisation: tenant.organisation(),
        knowledge_base_id: base,
        id: file,
        generation: 1,
        embedding_model_id: None,
    };
    assert_eq!(searchable, [expected]);
    let removed = write!(world, tenant, tx => files::delete(tx, tenant, file)).unwrap();
    assert_eq!(removed, Some((base, all.file.blob_key)));
    assert_eq!(write!(world, tenant, tx => files::delete(tx, tenant, file)).unwrap(), None);
}

#[tokio::test]
async fn files_without_the_vectors_of_a_model_are_walked_through_in_parts() {
    let world = World::new().await;
    let all = world.fill().await;
    let (tenant, base) = (world.tenant, all.base.id);
    let (model, other) = (id(), id());
    // The last two came at the same time.
    let rows = [(5, "done", Some(model)), (6, "done", Some(other)), (7, "done", None), (7, "processing", Some(model))]
        .map(|(seconds, status, embedding_model_id)| files::File {
            id: id(),
            status: status.into(),
            embedding_model_id,
            created_at: later(seconds),
            organisation: tenant.organisation(),
            ..all.file.clone()
        });
    for row in rows.clone() {
        write!(world, tenant, tx, row => files::insert(tx, tenant, &row)).unwrap();
    }
    write!(world, tenant, tx => files::delete(tx, tenant, all.file.id)).unwrap();
    let walk = async |model: Option<_>| {
        let (mut after, mut seen) = (None, Vec::new());
        loop {
            let part = read!(world, tenant, tx => files::not_made_with(tx, tenant, base, model, (after, 1))).unwrap();
            let Some(last) = part.last() else { return seen };
            after = Some(*last);
            seen.extend(part.into_iter().map(|(_, file)| file));
        }
    };
    let mut same_time = [rows[2].id, rows[3].id];
    same_time.sort_unstable();
    assert_eq!(walk(Some(model)).await, [rows[1].id, same_time[0], same_time[1]]);
    assert_eq!(walk(Some(other)).await, [rows[0].id, same_time[0], same_time[1]]);
    assert_eq!(walk(None).await, [rows[0].id, rows[1].id, rows[3].id]);
}

#[tokio::test]
async fn what_is_being_deleted_is_there_for_nobody() {
    let world = World::new().await;
    let all = world.fill().await;
    let tenant = world.tenant;
    let (base, file, bot) = (all.base.id, all.file.id, all.chatbot.id);
    let passages_of_file: Vec<_> = all.passages.iter().map(|passage| passage.id).collect();
    let shown = async || {
        let mut tx = world.db.read(tenant).await.unwrap();
        let tx = &mut tx;
        let filter = files::Filter::default();
        [
            files::get(tx, tenant, base, file).await.unwrap().iter().count(),
            files::find(tx, tenant, file).await.unwrap().iter().count(),
            files::list(tx, tenant, &[base], &filter, Page::ALL).await.unwrap().rows.len(),
            files::not_made_with(tx, tenant, base, Some(id()), (None, 9)).await.unwrap().len(),
            passages::files(tx, tenant, &[file]).await.unwrap().len(),
            passages::searchable(tx, tenant, &passages_of_file).await.unwrap().len(),
            passages::list(tx, tenant, file, Page::ALL).await.unwrap().rows.len(),
        ]
    };
    let bases_shown = async || {
        let mut tx = world.db.read(tenant).await.unwrap();
        let tx = &mut tx;
        [
            knowledge_bases::get(tx, tenant, base).await.unwrap().iter().count(),
            knowledge_bases::all(tx, tenant).await.unwrap().len(),
            knowledge_bases::existing_of(tx, tenant, &[base]).await.unwrap().len(),
            knowledge_bases::list(tx, tenant, &Filter::default(), Page::ALL).await.unwrap().rows.len(),
            knowledge_bases::of_chatbot(tx, tenant, bot).await.unwrap().len(),
            chatbots::knowledge_bases(tx, tenant, bot).await.unwrap().len(),
        ]
    };
    assert_eq!((shown().await, bases_shown().await), ([1, 1, 1, 1, 1, 3, 3], [1; 6]));

    // A base hides its files, which are untouched.
    assert!(write!(world, tenant, tx => knowledge_bases::mark_deleting(tx, tenant, base, later(1))).unwrap());
    assert!(!write!(world, tenant, tx => knowledge_bases::mark_deleting(tx, tenant, base, later(1))).unwrap());
    assert_eq!((shown().await, bases_shown().await), ([0; 7], [0; 6]));
    write!(world, tenant, tx => chatbots::set_knowledge_bases(tx, tenant, bot, &[base])).unwrap();
    write!(world, tenant, tx => knowledge_bases::set_chatbots(tx, tenant, base, &[bot])).unwrap();
    assert!(read!(world, tenant, tx => knowledge_bases::chatbots(tx, tenant, &[base])).unwrap().is_empty());

    // A file, for which nobody works any more.
    let world = World::new().await;
    let all = world.fill().await;
    let (tenant, base, file) = (world.tenant, all.base.id, all.file.id);
    let mark = async || write!(world, tenant, tx => files::mark_deleting(tx, tenant, file, later(1))).unwrap();
    assert_eq!((mark().await, mark().await), (Some(base), None));
    assert!(read!(world, tenant, tx => knowledge_bases::files_counts(tx, tenant, &[base])).unwrap().is_empty());
    assert!(read!(world, tenant, tx => files::find(tx, tenant, file)).unwrap().is_none());
    let ids = [all.passages[0].id];
    assert!(read!(world, tenant, tx => passages::searchable(tx, tenant, &ids)).unwrap().is_empty());
    let of_passages = read!(world, tenant, tx => passages::files(tx, tenant, &[file])).unwrap();
    assert_eq!(
        of_passages.iter().map(|file| file.generation).collect::<Vec<_>>(),
        [0],
        "no passage is of this generation"
    );
    assert!(read!(world, Scope::System, tx => files::searchable(tx)).unwrap().is_empty());
    let parser = id();
    assert_eq!(write!(world, tenant, tx => files::begin_generation(tx, tenant, file, parser, NOW)).unwrap(), None);
    assert!(!write!(world, tenant, tx => files::publish(tx, tenant, file, (1, None), later(3))).unwrap());
    assert!(!write!(world, tenant, tx => files::fail(tx, tenant, file, 1, "late", later(3))).unwrap());
    assert_eq!(read!(world, tenant, tx => files::oldest_of_base(tx, tenant, base, 9)).unwrap(), [file]);
    assert!(read!(world, tenant, tx => files::oldest_of_base(tx, tenant, base, 0)).unwrap().is_empty());
}

#[tokio::test]
async fn passages_with_their_neighbours_vectors_and_hits() {
    let world = World::new().await;
    let all = world.fill().await;
    let tenant = world.tenant;
    let ids: Vec<_> = all.passages.iter().map(|passage| passage.id).collect();
    let file = all.file.id;
    let middle = read!(world, tenant, tx => passages::get(tx, tenant, ids[1])).unwrap().unwrap();
    assert_eq!((middle.content.text.as_str(), middle.content.characters, middle.content.ordinal), ("保固一年", 4, 1));
    assert_eq!((middle.content.start_offset, middle.content.end_offset, middle.content.page), (10, 14, Some(1)));
    assert_eq!((middle.file.filename.as_str(), middle.hits_count), ("Guide_1.PDF", 0));

    let files = read!(world, tenant, tx => passages::files(tx, tenant, &[file, id()])).unwrap();
    assert_eq!(files.as_slice(), std::slice::from_ref(&middle.file));

    let middles = [&middle];
    let mut around = read!(world, tenant, tx => passages::neighbours(tx, tenant, &middles)).unwrap();
    around.sort_by_key(|(_, ordinal, _)| *ordinal);
    assert_eq!(around.iter().map(|(of, ordinal, _)| (*of, *ordinal)).collect::<Vec<_>>(), [(file, 0), (file, 2)]);
    assert!(read!(world, tenant, tx => passages::neighbours(tx, tenant, &[])).unwrap().is_empty());
    let asked = [ids[0], ids[2], id()];
    assert_eq!(read!(world, tenant, tx => passages::searchable(tx, tenant, &asked)).unwrap().len(), 2);
    assert!(read!(world, tenant, tx => passages::searchable(tx, tenant, &[])).unwrap().is_empty());
    let page = Page { offset: 1, limit: 1 };
    let listing = read!(world, tenant, tx => passages::list(tx, tenant, file, page)).unwrap();
    assert_eq!((listing.total, listing.rows), (3, vec![middle]));

    let vectors = vec![(ids[1], vec![1, 2, 3, 4])];
    write!(world, tenant, tx => passages::set_vectors(tx, tenant, &vectors)).unwrap();
    let indexed = read!(world, tenant, tx => passages::of_generation(tx, tenant, (file, 1), 1, 9)).unwrap();
    assert_eq!(indexed.iter().map(|passage| passage.ordinal).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(indexed[0].vector.as_deref(), Some([1, 2, 3, 4].as_slice()));
    assert_eq!(indexed[1].vector, None);
    let model = id();
    let of_model =
        async |model, ids: Vec<_>| read!(world, tenant, tx => passages::vectors(tx, tenant, model, &ids)).unwrap();
    assert!(of_model(model, ids.clone()).await.is_empty(), "of another model");
    write!(world, tenant, tx => files::publish(tx, tenant, file, (1, Some(model)), NOW)).unwrap();
    assert_eq!(of_model(model, ids.clone()).await, [(ids[1], vec![1, 2, 3, 4])]);
    assert!(of_model(model, vec![ids[0]]).await.is_empty() && of_model(model, Vec::new()).await.is_empty());
    assert_eq!(read!(world, tenant, tx => passages::count_generation(tx, tenant, file, 1)).unwrap(), (3, 1));
    let bare = read!(world, tenant, tx => passages::without_vector(tx, tenant, (file, 1), 9)).unwrap();
    assert_eq!(bare.iter().map(|passage| passage.ordinal).collect::<Vec<_>>(), [0, 2]);

    let cited = [ids[2], ids[1], ids[2]];
    write!(world, tenant, tx => passages::count_hits(tx, tenant, &cited)).unwrap();
    write!(world, tenant, tx => passages::count_hits(tx, tenant, &[])).unwrap();
    let listing = read!(world, tenant, tx => passages::list(tx, tenant, file, Page::ALL)).unwrap();
    assert_eq!(listing.rows.iter().map(|passage| passage.hits_count).collect::<Vec<_>>(), [0, 1, 2]);
}

#[tokio::test]
async fn a_filter_longer_than_any_name_finds_nothing() {
    let world = World::new().await;
    let all = world.fill().await;
    let (tenant, base) = (world.tenant, all.base.id);
    for length in [256, 4590, 4591, 60_000] {
        let folded = Some("x".repeat(length));
        let filter = Filter { name_folded: folded.clone(), ..Filter::default() };
        assert_eq!(read!(world, tenant, tx => knowledge_bases::list(tx, tenant, &filter, Page::ALL)).unwrap().total, 0);
        let filter = files::Filter { filename_folded: folded.clone(), ..files::Filter::default() };
        assert_eq!(read!(world, tenant, tx => files::list(tx, tenant, &[base], &filter, Page::ALL)).unwrap().total, 0);
        let filter = chatbots::Filter { name_folded: folded, ..chatbots::Filter::default() };
        assert_eq!(read!(world, tenant, tx => chatbots::list(tx, tenant, &filter, Page::ALL)).unwrap().total, 0);
    }
}

#[tokio::test]
async fn what_a_rebuild_queued_is_not_queued_twice() {
    let world = World::new().await;
    let all = world.fill().await;
    let tenant = world.tenant;
    let published = IndexChange { organisation: tenant.organisation(), ..all.change };
    let newer = IndexChange { id: id(), generation: 2, ..published.clone() };
    let removal = IndexChange { id: id(), kind: index_changes::REMOVE.into(), ..published.clone() };
    for change in [newer.clone(), removal.clone()] {
        write!(world, tenant, tx => index_changes::insert(tx, tenant, &change)).unwrap();
    }
    assert_eq!(write!(world, Scope::System, tx => index_changes::delete_repeated(tx)).unwrap(), 1);
    assert_eq!(read!(world, Scope::System, tx => index_changes::pending(tx, 10)).unwrap(), [newer, removal]);
}

#[tokio::test]
async fn the_index_learns_changes_in_order() {
    let world = World::new().await;
    let all = world.fill().await;
    let tenant = world.tenant;
    let first = IndexChange { organisation: tenant.organisation(), ..all.change };
    let second =
        IndexChange { id: parlance_domain::Ids.next(later(1)), kind: index_changes::REMOVE.into(), ..first.clone() };
    write!(world, tenant, tx, second => index_changes::insert(tx, tenant, &second)).unwrap();
    let pending = read!(world, Scope::System, tx => index_changes::pending(tx, 10)).unwrap();
    assert_eq!(pending, [first.clone(), second.clone()]);
    write!(world, Scope::System, tx => index_changes::count_attempt(tx, first.id)).unwrap();
    let oldest = read!(world, Scope::System, tx => index_changes::pending(tx, 1)).unwrap();
    assert_eq!(oldest, [IndexChange { attempts: 1, ..first.clone() }]);
    write!(world, Scope::System, tx => index_changes::delete(tx, first.id)).unwrap();
    assert_eq!(read!(world, Scope::System, tx => index_changes::pending(tx, 10)).unwrap(), [second]);

    assert_eq!(read!(world, Scope::System, tx => index_changes::watermark(tx, "words")).unwrap(), None);
    for batch in [7, 8] {
        write!(world, Scope::System, tx => index_changes::set_watermark(tx, "words", batch)).unwrap();
        assert_eq!(read!(world, Scope::System, tx => index_changes::watermark(tx, "words")).unwrap(), Some(batch));
    }
}
