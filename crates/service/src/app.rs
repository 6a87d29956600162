//! The parts of the running product, wired once and passed to everything.

use std::sync::Arc;

use parlance_domain::{Clock, Ids, Timestamp};
use parlance_ingestion::BoxedParser;
use parlance_outbound::Outbound;
use parlance_retrieval::{TextIndex, VectorIndex};
use parlance_storage::Db;
use parlance_storage::blobs::Blobs;
use parlance_storage::secrets::MasterKey;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::authenticate::KeyCache;
use crate::display::Displays;
use crate::events::Events;
use crate::known_passages::KnownPassages;
use crate::links::LinkSigner;
use crate::models::Catalogue;
use crate::open_streams::OpenStreams;
use crate::rate_limit::RateLimits;
use crate::settings::Settings;
use crate::streams::{Retention, Streams};
use crate::turn_plan::TurnPlans;
use crate::visitor_tokens::VisitorTokens;

/// What an [`App`] is made of.
#[derive(Debug)]
pub struct Parts {
    /// The database.
    pub db: Db,
    /// The bytes of files.
    pub blobs: Blobs,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Seals secrets and derives signing keys.
    pub master_key: MasterKey,
    /// The models.
    pub catalogue: Catalogue,
    /// Reads documents of knowledge bases.
    pub parser: BoxedParser,
    /// Reads documents that are attached to messages, so that no answer waits for ingestion.
    pub attachment_parser: BoxedParser,
    /// Calls addresses that organisations choose, and refuses private ones.
    pub outbound: Outbound,
    /// Finds passages by words.
    pub text_index: TextIndex,
    /// Finds passages by meaning.
    pub vector_index: VectorIndex,
    /// What the operator decided.
    pub settings: Settings,
    /// How long finished answers can be followed again.
    pub retention: Retention,
}

/// The running product. Cheap to clone.
#[derive(Clone, Debug)]
pub struct App {
    inner: Arc<Inner>,
}

/// Contents of an [`App`], which derefs to it.
#[derive(Debug)]
pub struct Inner {
    /// The database.
    pub db: Db,
    /// The bytes of files.
    pub blobs: Blobs,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Makes ids.
    pub ids: Ids,
    /// Seals secrets and derives signing keys.
    pub master_key: MasterKey,
    /// The models.
    pub catalogue: Catalogue,
    /// Reads documents of knowledge bases.
    pub parser: BoxedParser,
    /// Reads documents that are attached to messages, so that no answer waits for ingestion.
    pub attachment_parser: BoxedParser,
    /// Calls addresses that organisations choose, and refuses private ones.
    pub outbound: Outbound,
    /// Finds passages by words.
    pub text_index: Arc<TextIndex>,
    /// Finds passages by meaning.
    pub vector_index: Arc<VectorIndex>,
    /// What the operator decided.
    pub settings: Settings,
    /// Answers that are being made.
    pub streams: Streams,
    /// Pages that are open.
    pub events: Events,
    /// Signs links to files and upload forms.
    pub links: LinkSigner,
    /// API keys seen a moment ago.
    pub keys: KeyCache,
    /// Credentials that open streams depend on.
    pub open_streams: OpenStreams,
    /// Tokens of visitors, and those seen a moment ago.
    pub visitors: VisitorTokens,
    /// What visitors of web chats are shown, read a moment ago.
    pub displays: Displays,
    /// How often whom has asked lately.
    pub rate_limits: RateLimits,
    /// What turns need to know, read a moment ago.
    pub plans: TurnPlans,
    /// Passages that were found a moment ago.
    pub known_passages: KnownPassages,
    /// Places for answers that are made at the same time.
    pub answer_slots: Arc<Semaphore>,
    /// Places for searches that run at the same time. They are bound to the processor, so more of
    /// them would only take more threads, each with memory of its own.
    pub search_slots: Semaphore,
    /// Tasks that the stop waits for.
    pub tasks: TaskTracker,
    /// Fires when the server stops.
    pub stopping: CancellationToken,
    /// Rings when a job was enqueued.
    pub job_bell: Notify,
    /// Rings when the index has something to learn.
    pub index_bell: Notify,
}

fn search_slots() -> usize {
    2 * std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

impl App {
    /// Wires the parts together.
    pub fn new(parts: Parts) -> parlance_domain::Result<Self> {
        let tasks = TaskTracker::new();
        let links = LinkSigner::new(&parts.master_key, parts.settings.public_url.clone())?;
        Ok(Self {
            inner: Arc::new(Inner {
                streams: Streams::new(parts.retention, tasks.clone()),
                answer_slots: Arc::new(Semaphore::new(parts.settings.max_concurrent_answers)),
                search_slots: Semaphore::new(search_slots()),
                events: Events::default(),
                links,
                keys: KeyCache::default(),
                open_streams: OpenStreams::default(),
                visitors: VisitorTokens::new(&parts.master_key)?,
                displays: Displays::default(),
                rate_limits: RateLimits::default(),
                plans: TurnPlans::default(),
                known_passages: KnownPassages::default(),
                db: parts.db,
                blobs: parts.blobs,
                clock: parts.clock,
                ids: Ids,
                master_key: parts.master_key,
                catalogue: parts.catalogue,
                parser: parts.parser,
                attachment_parser: parts.attachment_parser,
                outbound: parts.outbound,
                text_index: Arc::new(parts.text_index),
                vector_index: Arc::new(parts.vector_index),
                settings: parts.settings,
                tasks,
                stopping: CancellationToken::new(),
                job_bell: Notify::new(),
                index_bell: Notify::new(),
            }),
        })
    }

    /// The wall-clock time now.
    pub fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// A new id.
    pub fn new_id<K: parlance_domain::IdKind>(&self) -> parlance_domain::Id<K> {
        let id = self.inner.ids.next(self.now());
        parlance_storage::request_scope::note_made(id.uuid());
        id
    }
}

impl std::ops::Deref for App {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.inner
    }
}
