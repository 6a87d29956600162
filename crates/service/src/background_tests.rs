//! What happens without anybody waiting for it: indexing, sweeping, and putting in order what a crash
//! left. With a real database, real indexes and a clock that stands still.

mod known_passages;
mod re_embedding;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parlance_domain::kind::{KnowledgeBaseId, ModelId, PassageId};
use parlance_domain::{Error, Ids, ManualClock, Principal, PrincipalKind, Scopes, Tenant, Timestamp};
use parlance_ingestion::{BoxedParser, BoxedParserConfig, ParseLimits};
use parlance_llm::{CallPolicy, Models};
use parlance_outbound::{AllowList, Limits, Outbound};
use parlance_retrieval::{TextIndex, VectorIndex};
use parlance_storage::blobs::Blobs;
use parlance_storage::files::File;
use parlance_storage::index_changes::{self, IndexChange, PUT};
use parlance_storage::jobs::Job;
use parlance_storage::knowledge_bases::KnowledgeBase;
use parlance_storage::messages::Partial;
use parlance_storage::organisations::Organisation;
use parlance_storage::passages::{self, NewPassage};
use parlance_storage::secrets::MasterKey;
use parlance_storage::web_chat_usage::{self, Usage};
use parlance_storage::{Scope, files, jobs, knowledge_bases, messages, organisations, records, testing};
use url::Url;

use crate::chatbots::ChatbotDraft;
use crate::conversation_turn::{self, Channel, Question};
use crate::deletion::{Deletion, Step};
use crate::files::NewFile;
use crate::models::Catalogue;
use crate::place::Place;
use crate::settings::Settings;
use crate::streams::Retention;
use crate::uploads::UploadRequest;
use crate::web_chats::WebChatDraft;
use crate::{App, Parts, deletion, indexer, ingest, spending, uploads};

struct World {
    app: App,
    clock: Arc<ManualClock>,
    tenant: Tenant,
    base: KnowledgeBaseId,
    folder: tempfile::TempDir,
}

fn parts(db: parlance_storage::Db, blobs: Blobs, folder: &Path, clock: &Arc<ManualClock>) -> Parts {
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
    let limits = Limits::default();
    let outbound = (Outbound::operator(limits).unwrap(), Outbound::new(AllowList::default(), limits).unwrap());
    let guarded = outbound.1.clone();
    let factory = Models::new(outbound.0, outbound.1, CallPolicy::default(), Arc::clone(clock) as _);
    Parts {
        db,
        blobs,
        clock: Arc::clone(clock) as _,
        master_key: MasterKey::load_or_create(&folder.join("master.key")).unwrap(),
        catalogue: Catalogue::new(factory, &[]).unwrap(),
        parser: parser(),
        attachment_parser: parser(),
        outbound: guarded,
        text_index: TextIndex::open(&folder.join("text")).unwrap().index,
        vector_index: VectorIndex::open(&folder.join("vectors")).unwrap().index,
        settings: Settings::new(Url::parse("http://127.0.0.1:8080").unwrap()),
        retention: Retention { time: Duration::from_mins(1), bytes: 1 << 20 },
    }
}

/// A parser that reads nothing.
fn parser() -> BoxedParser {
    BoxedParser::new(BoxedParserConfig {
        executable: "/bin/false".into(),
        arguments: Vec::new(),
        limits: ParseLimits::default(),
        concurrency: 1,
    })
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::starting_at(Timestamp::from_millis(1_800_000_000_000)));
        let db = testing::open(folder.path()).await;
        let blobs = Blobs::open(&folder.path().join("blobs")).await.unwrap();
        let app = App::new(parts(db, blobs, folder.path(), &clock)).unwrap();
        let now = app.now();
        let organisation =
            Organisation { id: app.new_id(), name: "One".into(), time_zone: "UTC".into(), created_at: now };
        let tenant = Tenant::authenticated(organisation.id);
        let base = KnowledgeBase {
            id: app.new_id(),
            name: "Base".into(),
            name_folded: "base".into(),
            description: String::new(),
            embedding_model_id: None,
            reranker_model_id: None,
            retrieved_chunks: 8,
            sentence_window_size: 0,
            enable_hyde: false,
            similarity_cutoff: 0.0,
            enable_rerank: false,
            created_at: now,
            updated_at: now,
        };
        let base_id = base.id;
        app.db
            .write(tenant, move |tx| {
                Box::pin(async move {
                    organisations::insert(tx, &organisation).await?;
                    knowledge_bases::insert(tx, tenant, &base).await
                })
            })
            .await
            .unwrap();
        Self { app, clock, tenant, base: base_id, folder }
    }

    /// Uploads bytes through a form; the form can be posted again.
    async fn post(&self, form: &uploads::UploadForm, bytes: &[u8]) -> parlance_domain::Result<()> {
        let mut receiving = uploads::receive(&self.app, &form.key, &form.policy, &form.signature).await?;
        receiving.write(bytes).await?;
        receiving.finish(&self.app).await.map(drop)
    }

    async fn form(&self) -> uploads::UploadForm {
        let request = UploadRequest { filename: "a.txt".into(), model_name: "chatbot-file".into(), file_size: 5 };
        uploads::presign(&self.app, &self.principal(), &request).await.unwrap()
    }

    fn principal(&self) -> Principal {
        let key = PrincipalKind::ApiKey(self.app.new_id());
        Principal { tenant: self.tenant, user: None, kind: key, scopes: Scopes::all() }
    }

    async fn create_file(&self, form: &uploads::UploadForm) -> parlance_domain::Result<Vec<File>> {
        let new = NewFile { file: form.key.clone(), filename: None, raw_metadata: None, labels: Vec::new() };
        let made = crate::files::create(&self.app, &self.principal(), self.base, vec![new]).await?;
        Ok(made.into_iter().map(|file| file.item).collect())
    }

    /// A passage of five characters.
    fn passage(&self, ordinal: i64, text: &str) -> NewPassage {
        let id = self.app.new_id();
        NewPassage { id, ordinal, text: text.into(), heading: None, page: None, start: 0, end: 5 }
    }

    /// A file with one passage that waits to be indexed with this vector.
    async fn file_with_vector(&self, model: ModelId, vector: &[f32]) -> File {
        let form = self.form().await;
        self.post(&form, b"hello").await.unwrap();
        let file = self.create_file(&form).await.unwrap().pop().unwrap();
        let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
        let passage = self.passage(0, "hello");
        let change = IndexChange {
            id: self.app.new_id(),
            organisation: self.tenant.organisation(),
            kind: PUT.into(),
            knowledge_base_id: self.base,
            file_id: Some(file.id),
            faq_id: None,
            generation: 1,
            embedding_model_id: Some(model),
            attempts: 0,
            created_at: self.app.now(),
        };
        let (tenant, base, id, now) = (self.tenant, self.base, file.id, self.app.now());
        self.app
            .db
            .write(tenant, move |tx| {
                Box::pin(async move {
                    let vectors = [(passage.id, bytes)];
                    passages::insert(tx, tenant, (base, id, 1), &[passage], now).await?;
                    passages::set_vectors(tx, tenant, &vectors).await?;
                    index_changes::insert(tx, tenant, &change).await
                })
            })
            .await
            .unwrap();
        file
    }

    async fn found(&self, file: &File) -> File {
        let mut tx = self.app.db.read(self.tenant).await.unwrap();
        files::find(&mut tx, self.tenant, file.id).await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn a_vector_that_does_not_fit_fails_its_own_file_only() {
    let world = World::new().await;
    let model: ModelId = Ids.next(world.app.now());
    let mut good = vec![world.file_with_vector(model, &[1.0, 0.0, 0.5]).await];
    let bad = world.file_with_vector(model, &[1.0, 0.0]).await;
    for _ in 0..3 {
        good.push(world.file_with_vector(model, &[0.0, 1.0, 0.5]).await);
    }
    for _ in 0..20 {
        drop(indexer::carry_over(&world.app).await);
    }
    assert_eq!(indexer::carry_over(&world.app).await.unwrap(), 0, "nothing is left");
    for file in &good {
        let file = world.found(file).await;
        assert_eq!((file.status.as_str(), file.generation, file.embedding_model_id), ("done", 1, Some(model)));
    }
    let bad = world.found(&bad).await;
    assert_eq!((bad.status.as_str(), bad.generation), ("failed", 0));
    assert!(bad.failure.unwrap().contains("2 numbers"));
    assert_eq!(world.app.vector_index.count().unwrap(), 4);
    assert_eq!(world.app.text_index.health().unwrap().passages, 4);
}

#[tokio::test]
async fn a_rebuild_takes_the_model_that_made_the_vectors() {
    let world = World::new().await;
    let model: ModelId = Ids.next(world.app.now());
    let file = world.file_with_vector(model, &[1.0, 0.0]).await;
    assert_eq!(indexer::carry_over(&world.app).await.unwrap(), 1);
    assert_eq!(indexer::rebuild(&world.app).await.unwrap(), 1);
    assert_eq!(indexer::rebuild(&world.app).await.unwrap(), 1);
    let mut tx = world.app.db.read(Scope::System).await.unwrap();
    let pending = index_changes::pending(&mut tx, 10).await.unwrap();
    assert_eq!(pending.len(), 1, "the second rebuild takes the place of the first");
    assert_eq!((pending[0].file_id, pending[0].embedding_model_id), (Some(file.id), Some(model)));
    let known = [Some(0), Some(1), None, Some(7)].map(|watermark| (watermark, watermark != Some(7)));
    for (watermark, fits) in known {
        let rebuild = indexer::needs_rebuild(&world.app.db, [Some(0), watermark]).await.unwrap();
        assert_eq!(rebuild, !fits, "{watermark:?}");
    }
}

#[tokio::test]
async fn an_upload_form_takes_bytes_once() {
    let world = World::new().await;
    let form = world.form().await;
    world.post(&form, b"first").await.unwrap();
    let again = world.post(&form, b"later").await;
    assert!(matches!(again, Err(Error::Conflict(_))), "{again:?}");
    assert_eq!(world.app.blobs.read(&form.key, 9).await.unwrap().unwrap(), b"first");
}

#[tokio::test]
async fn an_upload_that_was_swept_is_an_unknown_one() {
    let world = World::new().await;
    let form = world.form().await;
    world.post(&form, b"first").await.unwrap();
    world.clock.advance(Duration::from_hours(25));
    assert_eq!(uploads::sweep(&world.app).await.unwrap(), 1);
    let refused = world.create_file(&form).await;
    assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    assert!(world.app.blobs.read(&form.key, 9).await.unwrap().is_none());
}

#[tokio::test]
async fn old_bytes_that_nothing_knows_are_removed() {
    let world = World::new().await;
    let stored = world.folder.path().join("blobs/files/media");
    std::fs::create_dir_all(&stored).unwrap();
    let set = |name: &str, millis: u64| {
        let file = std::fs::File::create(stored.join(name)).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + Duration::from_millis(millis)).unwrap();
    };
    set("old", 1_000);
    set("new", u64::try_from(world.app.now().millis()).unwrap() - 1_000);
    assert_eq!(uploads::sweep_unknown_bytes(&world.app).await.unwrap(), 0, "is it the right database?");
    let form = world.form().await;
    world.post(&form, b"first").await.unwrap();
    world.create_file(&form).await.unwrap();
    world.clock.advance(Duration::from_hours(1));
    assert_eq!(uploads::sweep_unknown_bytes(&world.app).await.unwrap(), 1);
    assert!(!stored.join("old").exists() && stored.join("new").exists());
    assert!(world.app.blobs.read(&form.key, 9).await.unwrap().is_some());
}

#[tokio::test]
async fn an_answer_that_a_crash_ended_leaves_a_record() {
    let world = World::new().await;
    let (app, tenant) = (&world.app, world.tenant);
    let draft = ChatbotDraft { name: Some("Bot".into()), ..ChatbotDraft::default() };
    let (bot, _) = crate::chatbots::create(app, tenant, draft).await.unwrap();
    let draft = WebChatDraft { daily_reply_limit: Some(Some(5)), scopes: Scopes::all(), ..WebChatDraft::default() };
    let page = crate::web_chats::create(app, tenant, draft).await.unwrap();
    let inbox = page.inbox.as_ref().unwrap().0;
    let channel = Some(Channel { inbox, visitor: None });
    let question = Question { content: "幾點開門？".into(), channel, ..Question::default() };
    let open = async |inbox| {
        let place = (bot.chatbot.id, inbox);
        let mut ready = conversation_turn::resolve(app, tenant, place, &question).await.unwrap();
        ready.allowance = spending::allowance(app, tenant, &page.web_chat).await.unwrap();
        conversation_turn::open(app, tenant, (place, ready), &question).await
    };
    let used = async || {
        let mut tx = app.db.read(tenant).await.unwrap();
        let (day, _) = spending::day_at(app.now(), "UTC");
        web_chat_usage::of_day(&mut tx, tenant, page.web_chat.id, &day).await.unwrap()
    };
    open(app.new_id()).await.unwrap_err();
    assert_eq!(used().await, Usage::default(), "a question that was not stored is not counted");
    let turn = open(inbox).await.unwrap();
    assert_eq!(used().await, Usage { replies: 1, tokens: 8_000 });
    world.clock.advance(Duration::from_secs(2));
    let (message, now) = (turn.answer, app.now());
    let partial = Partial { tenant, id: message, content: "早上".to_owned() };
    app.db
        .write(tenant, move |tx| Box::pin(async move { messages::save_partials(tx, &[partial], now).await }))
        .await
        .unwrap();
    assert_eq!(crate::interrupted::end_interrupted(app).await.unwrap(), 1);
    assert_eq!(crate::interrupted::end_interrupted(app).await.unwrap(), 0);
    assert_eq!(used().await, Usage::default());
    let mut tx = app.db.read(tenant).await.unwrap();
    let record = records::of_message(&mut tx, tenant, message).await.unwrap().unwrap();
    assert_eq!((record.input_message.as_str(), record.output_message.as_str()), ("幾點開門？", ""));
    assert_eq!((record.error.as_deref(), record.chatbot_id), (Some("interrupted"), bot.chatbot.id));
    assert_eq!((record.conversation_id, record.reply_millis), (turn.conversation, 1_999));
    assert_eq!(record.channel, "web");
    let message = messages::get(&mut tx, tenant, message).await.unwrap().unwrap();
    assert_eq!((message.state.as_str(), message.content.as_str()), ("error", "早上"));
}

#[tokio::test]
async fn a_worker_that_lost_its_job_does_not_touch_the_file() {
    let world = World::new().await;
    let (app, tenant) = (&world.app, world.tenant);
    let form = world.form().await;
    world.post(&form, b"hello").await.unwrap();
    let file = world.create_file(&form).await.unwrap().pop().unwrap();
    let claim = async |now: Timestamp| {
        let until = now.plus(Duration::from_mins(1));
        let claimed = app
            .db
            .write(Scope::System, move |tx| Box::pin(async move { jobs::claim(tx, ingest::KIND, now, until).await }))
            .await;
        claimed.unwrap().unwrap()
    };
    let lost = claim(app.now()).await;
    let held = claim(app.now().plus(Duration::from_secs(61))).await;
    ingest::wait(app, tenant, &lost, "late", Duration::ZERO).await.unwrap();
    ingest::fail(app, tenant, &lost, "late".into()).await.unwrap();
    assert_eq!(world.found(&file).await.failure, None);
    ingest::wait(app, tenant, &held, "busy", Duration::from_secs(4)).await.unwrap();
    assert_eq!(world.found(&file).await.failure.as_deref(), Some("busy The next attempt is in about 4 s."));
    ingest::fail(app, tenant, &held, "no text".into()).await.unwrap();
    let failed = world.found(&file).await;
    assert_eq!((failed.status.as_str(), failed.failure.as_deref()), ("failed", Some("no text")));
}

impl World {
    /// A published file with this many passages in as few bytes as can be.
    async fn published(&self, passages: i64) -> (File, Vec<PassageId>) {
        let form = self.form().await;
        self.post(&form, b"hello").await.unwrap();
        let file = self.create_file(&form).await.unwrap().pop().unwrap();
        let rows: Vec<_> = (0..passages).map(|ordinal| self.passage(ordinal, "hello")).collect();
        let ids = rows.iter().map(|row| row.id).collect();
        let (tenant, base, id, now) = (self.tenant, self.base, file.id, self.app.now());
        self.app
            .db
            .write(tenant, move |tx| {
                Box::pin(async move {
                    jobs::remove(tx, tenant, &ingest::unique_key(id)).await?;
                    passages::insert(tx, tenant, (base, id, 1), &rows, now).await?;
                    files::publish(tx, tenant, id, (1, None), now).await
                })
            })
            .await
            .unwrap();
        (file, ids)
    }

    async fn claim(&self) -> Option<Job> {
        let now = self.app.now();
        let until = now.plus(Duration::from_mins(1));
        let claimed = self.app.db.write(Scope::System, move |tx| {
            Box::pin(async move { jobs::claim(tx, crate::deletion::KIND, now, until).await })
        });
        claimed.await.unwrap()
    }

    /// Passages of files, whether anybody can see them or not.
    async fn stored(&self, of: &[&File]) -> u64 {
        let mut tx = self.app.db.read(self.tenant).await.unwrap();
        let mut stored = 0;
        for file in of {
            stored += passages::count_generation(&mut tx, self.tenant, file.id, 1).await.unwrap().0;
        }
        stored
    }

    /// Runs the deletion that waits, and dies after each third write. Gives the passages that each
    /// write removed.
    async fn delete_with_crashes(&self, of: &[&File]) -> Vec<u64> {
        let mut removed = Vec::new();
        while let Some(job) = self.claim().await {
            let work = Deletion::of(&job).unwrap();
            for _ in 0..3 {
                let before = self.stored(of).await;
                let step = deletion::step(&self.app, self.tenant, &job, work).await.unwrap();
                removed.push(before - self.stored(of).await);
                if step != Step::More {
                    assert_eq!(step, Step::Done);
                    break;
                }
            }
            self.clock.advance(Duration::from_secs(61));
            assert!(removed.len() < 100, "it ends");
        }
        removed
    }
}

#[tokio::test]
async fn a_large_file_is_deleted_in_slices_and_a_crash_loses_none() {
    let world = World::new().await;
    let (app, tenant) = (&world.app, world.tenant);
    let (file, ids) = world.published(20_000).await;
    let (kept, kept_ids) = world.published(3).await;
    crate::files::delete(app, tenant, Place::Base(world.base), vec![file.id]).await.unwrap();
    assert_eq!(world.stored(&[&file]).await, 20_000, "the request removes nothing itself");
    {
        let mut tx = app.db.read(tenant).await.unwrap();
        assert!(passages::searchable(&mut tx, tenant, &ids[..500]).await.unwrap().is_empty());
        assert_eq!(passages::searchable(&mut tx, tenant, &kept_ids).await.unwrap().len(), 3);
        let counts = knowledge_bases::files_counts(&mut tx, tenant, &[world.base]).await.unwrap();
        assert_eq!(counts, [(world.base, 1)]);
        let pending = index_changes::pending(&mut tx, 10).await.unwrap();
        assert_eq!(
            pending.iter().map(|change| (change.kind.as_str(), change.file_id)).collect::<Vec<_>>(),
            [("remove", Some(file.id))]
        );
    }
    let again = crate::files::delete(app, tenant, Place::Base(world.base), vec![file.id]).await;
    assert!(matches!(again, Err(Error::NotFound(_))), "{again:?}");
    let shown = crate::files::get(app, tenant, Place::Base(world.base), file.id).await;
    assert!(matches!(shown, Err(Error::NotFound(_))), "{shown:?}");

    let removed = world.delete_with_crashes(&[&file]).await;
    assert_eq!(removed, [vec![2_000; 10], vec![0]].concat());
    let mut tx = app.db.read(tenant).await.unwrap();
    assert_eq!(files::oldest_of_base(&mut tx, tenant, world.base, 9).await.unwrap(), [kept.id]);
    drop(tx);
    assert_eq!(uploads::sweep(app).await.unwrap(), 1, "its bytes are free");
    assert_eq!(world.stored(&[&kept]).await, 3);
}

#[tokio::test]
async fn a_base_is_deleted_in_slices_with_all_its_files() {
    let world = World::new().await;
    let (app, tenant) = (&world.app, world.tenant);
    let (large, _) = world.published(4_500).await;
    let (small, ids) = world.published(700).await;
    let (other, _) = world.published(2).await;
    // One of them is being deleted already when its base is.
    crate::files::delete(app, tenant, Place::Base(world.base), vec![small.id]).await.unwrap();
    crate::knowledge_bases::delete(app, tenant, world.base).await.unwrap();
    let gone = crate::knowledge_bases::get(app, tenant, world.base).await;
    assert!(matches!(gone, Err(Error::NotFound(_))), "{gone:?}");
    {
        let mut tx = app.db.read(tenant).await.unwrap();
        assert!(files::find(&mut tx, tenant, large.id).await.unwrap().is_none());
        assert!(passages::searchable(&mut tx, tenant, &ids).await.unwrap().is_empty());
    }
    let files_of_base = [&large, &small, &other];
    let removed = world.delete_with_crashes(&files_of_base).await;
    assert!(removed.iter().all(|count| *count <= 2_000), "{removed:?}");
    assert_eq!(removed.iter().sum::<u64>(), 5_202);
    let mut tx = app.db.read(Scope::System).await.unwrap();
    assert!(files::oldest_of_base(&mut tx, tenant, world.base, 9).await.unwrap().is_empty());
    let mut told: Vec<_> = index_changes::pending(&mut tx, 10).await.unwrap().iter().map(|c| c.file_id).collect();
    told.sort_unstable();
    let mut expected = files_of_base.map(|file| Some(file.id));
    expected.sort_unstable();
    assert_eq!(told, expected, "the indexes are told of each file once");
    drop(tx);
    assert_eq!(uploads::sweep(app).await.unwrap(), 3);
}
