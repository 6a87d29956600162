//! What a test decides about its app.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parlance_domain::{Clock, ManualClock, SystemClock};
use parlance_ingestion::{BoxedParser, BoxedParserConfig, ParseLimits};
use parlance_llm::{CallPolicy, ChatModel, EmbeddingModel, Models, RerankModel};
use parlance_outbound::{AllowList, Limits, Outbound};
use parlance_retrieval::{TextIndex, VectorIndex};
use parlance_service::models::Catalogue;
use parlance_service::settings::Settings;
use parlance_service::streams::Retention;
use parlance_service::{App, Parts};
use parlance_storage::blobs::Blobs;
use parlance_storage::secrets::MasterKey;
use parlance_storage::testing;
use tempfile::TempDir;
use tokio::net::TcpListener;
use url::Url;

use crate::TestApp;
use crate::parser_program;

type SettingsChange = Box<dyn FnOnce(&mut Settings) + Send>;

/// An app to be. Without more, it has the built-in model alone, the system's clock and the
/// product's own settings.
pub struct Builder {
    chat: Option<Arc<dyn ChatModel>>,
    embeddings: Vec<(String, Arc<dyn EmbeddingModel>)>,
    rerank: Option<Arc<dyn RerankModel>>,
    clock: Arc<dyn Clock>,
    settings: Vec<SettingsChange>,
    retention: Retention,
    allow: String,
    reads_knowledge: bool,
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Builder").field("retention", &self.retention).finish_non_exhaustive()
    }
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            chat: None,
            embeddings: Vec::new(),
            rerank: None,
            clock: Arc::new(SystemClock),
            settings: Vec::new(),
            retention: Retention { time: Duration::from_mins(10), bytes: 64 << 20 },
            allow: String::new(),
            reads_knowledge: true,
        }
    }
}

impl Builder {
    /// The model that answers, named `scripted`. The test keeps a clone to read its requests.
    #[must_use]
    pub fn chat(mut self, model: &Arc<impl ChatModel + 'static>) -> Self {
        self.chat = Some(Arc::clone(model) as _);
        self
    }

    /// Adds an embedding model; the last one is the default.
    #[must_use]
    pub fn embedding(mut self, name: &str, model: &Arc<impl EmbeddingModel + 'static>) -> Self {
        self.embeddings.push((name.to_owned(), Arc::clone(model) as _));
        self
    }

    /// The rerank model, named `scripted`.
    #[must_use]
    pub fn rerank(mut self, model: &Arc<impl RerankModel + 'static>) -> Self {
        self.rerank = Some(Arc::clone(model) as _);
        self
    }

    /// A clock that the test moves.
    #[must_use]
    pub fn clock(mut self, clock: &Arc<ManualClock>) -> Self {
        self.clock = Arc::clone(clock) as _;
        self
    }

    /// Changes the settings.
    #[must_use]
    pub fn settings(mut self, change: impl FnOnce(&mut Settings) + Send + 'static) -> Self {
        self.settings.push(Box::new(change));
        self
    }

    /// How long answers can be followed again from memory.
    #[must_use]
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// Private addresses that organisations may call, as in `OUTBOUND__ALLOW`.
    #[must_use]
    pub fn allow(mut self, allow: &str) -> Self {
        allow.clone_into(&mut self.allow);
        self
    }

    /// Lets no document of a knowledge base be read; attachments are read all the same.
    #[must_use]
    pub fn without_reading_knowledge(mut self) -> Self {
        self.reads_knowledge = false;
        self
    }

    /// Starts the app.
    ///
    /// # Panics
    /// When that is not possible.
    #[expect(clippy::expect_used, reason = "a test cannot go on without its app")]
    pub async fn start(self) -> TestApp {
        // Another test of the process may have done it.
        let _already_installed = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("the address");
        let url = Url::parse(&format!("http://{address}/")).expect("the address of the server");
        let app = self.app(&folder, url.clone()).await;
        TestApp::serve(folder, app, url, listener).await
    }

    #[expect(clippy::expect_used, reason = "a test cannot go on without its app")]
    async fn app(self, folder: &TempDir, url: Url) -> App {
        let path = folder.path();
        let mut settings = Settings::new(url);
        for change in self.settings {
            change(&mut settings);
        }
        let allow: AllowList = self.allow.parse().expect("a list of addresses");
        let limits = Limits::default();
        let outbound = Outbound::new(allow, limits).expect("a client");
        let factory = Models::new(
            Outbound::operator(limits).expect("a client"),
            outbound.clone(),
            CallPolicy::default(),
            Arc::clone(&self.clock),
        );
        let mut catalogue = Catalogue::new(factory, &[]).expect("the models");
        if let Some(chat) = self.chat {
            catalogue.prefer_chat("scripted", chat);
        }
        for (name, model) in self.embeddings {
            catalogue.prefer_embedding(&name, model);
        }
        if let Some(rerank) = self.rerank {
            catalogue.prefer_rerank("scripted", rerank);
        }
        App::new(Parts {
            db: testing::open(path).await,
            blobs: Blobs::open(&path.join("blobs")).await.expect("the blob folder"),
            clock: self.clock,
            master_key: MasterKey::load_or_create(&path.join("master.key")).expect("a master key"),
            catalogue,
            parser: parser(if self.reads_knowledge { parser_program::path() } else { "/bin/false".into() }),
            attachment_parser: parser(parser_program::path()),
            outbound,
            text_index: TextIndex::open(&path.join("index/text")).expect("the text index").index,
            vector_index: VectorIndex::open(&path.join("index/vectors")).expect("the vector index").index,
            settings,
            retention: self.retention,
        })
        .expect("an app")
    }
}

fn parser(executable: PathBuf) -> BoxedParser {
    BoxedParser::new(BoxedParserConfig {
        executable,
        arguments: Vec::new(),
        limits: ParseLimits::default(),
        concurrency: 2,
    })
}
