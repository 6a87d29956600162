//! What all scenarios share: the machine, the mock model, a data directory with assistants and documents.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use tempfile::TempDir;

use crate::api::Api;
use crate::completion::{Dialect, model_request};
use crate::corpus::{Corpus, generate};
use crate::load::Target;
use crate::machine::Machine;
use crate::mock_model::{Behaviour, MockModel};
use crate::process::{Launch, Server};

/// Model of most scenarios: 20 tokens without waiting.
pub(crate) const MODEL: &str = "mock-20-0";
/// Files of the base that the assistant with knowledge has.
const FILES: usize = 200;
const SEED: u64 = 20_260_101;

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Requests of each kind whose first token is timed.
    pub(crate) first_tokens: usize,
    /// Answers per repetition where processor time is counted.
    pub(crate) counted_answers: usize,
    /// Time of one repetition of a load.
    pub(crate) load: Duration,
    /// Time of a load's warm-up.
    pub(crate) warm_up: Duration,
    /// Repetitions.
    pub(crate) repetitions: usize,
    /// Time after a start until memory at rest is read.
    pub(crate) rest: Duration,
    /// Files of 20,000 characters that are ingested.
    pub(crate) ingested_files: usize,
    /// Conversations of the busy inbox.
    pub(crate) conversations: usize,
}

impl Effort {
    /// For figures.
    pub(crate) const FULL: Self = Self {
        first_tokens: 600,
        counted_answers: 2000,
        load: Duration::from_secs(5),
        warm_up: Duration::from_secs(2),
        repetitions: 3,
        rest: Duration::from_secs(3),
        ingested_files: 200,
        conversations: 100_000,
    };
    /// To see that everything works.
    pub(crate) const QUICK: Self = Self {
        first_tokens: 60,
        counted_answers: 300,
        load: Duration::from_secs(1),
        warm_up: Duration::from_millis(300),
        repetitions: 1,
        rest: Duration::from_secs(1),
        ingested_files: 40,
        conversations: 2_000,
    };
}

/// The prepared bench.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) effort: Effort,
    pub(crate) machine: Machine,
    pub(crate) binary: PathBuf,
    pub(crate) mock: MockModel,
    pub(crate) corpus: Corpus,
    /// Assistant without knowledge.
    pub(crate) plain: String,
    /// Assistant with [`Bench::base`].
    pub(crate) informed: String,
    /// Knowledge base with all documents of the corpus.
    pub(crate) base: String,
    /// What the mock model does alone, for the report.
    pub(crate) floor: Mutex<Vec<String>>,
    directory: TempDir,
}

impl Bench {
    /// Starts the mock model and fills a data directory below `work_dir`.
    pub(crate) async fn prepare(binary: &Path, work_dir: &Path, effort: Effort) -> Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("parlance-bench-")
            .tempdir_in(work_dir)
            .with_context(|| format!("making a directory in {}", work_dir.display()))?;
        let mut bench = Self {
            effort,
            machine: Machine::look(directory.path())?,
            binary: binary.to_owned(),
            mock: MockModel::start().await?,
            corpus: generate(SEED, FILES),
            plain: String::new(),
            informed: String::new(),
            base: String::new(),
            floor: Mutex::default(),
            directory,
        };
        let server = bench.start(MODEL).await?;
        let api = Api { address: server.address };
        bench.plain = api.make_chatbot("Bench without knowledge", &[]).await?;
        bench.base = api.make_base("Bench handbook").await?;
        bench.informed = api.make_chatbot("Bench with knowledge", &[&bench.base]).await?;
        let mut uploaded = Vec::with_capacity(FILES);
        for document in &bench.corpus.documents {
            uploaded.push((api.upload(document).await?, document.name.clone()));
        }
        api.add_files(&bench.base, &uploaded).await?;
        api.await_files(&bench.base, FILES, Duration::from_mins(2)).await?;
        server.stop().await?;
        Ok(bench)
    }

    /// Starts the server on the prepared data with this model as its default.
    pub(crate) async fn start(&self, model: &str) -> Result<Server> {
        self.start_in(&self.path("data"), model).await
    }

    /// Starts the server on another data directory.
    pub(crate) async fn start_in(&self, data_dir: &Path, model: &str) -> Result<Server> {
        self.start_on(data_dir, "", model).await
    }

    /// Starts the server on another data directory and database; an empty address is the database in the directory.
    pub(crate) async fn start_on(&self, data_dir: &Path, database_url: &str, model: &str) -> Result<Server> {
        let log = self.path("server.log");
        let (binary, mock) = (&self.binary, self.mock.address);
        Server::start(Launch { binary, data_dir, database_url, log: &log, mock, model }).await
    }

    /// A path in the bench's own directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Completions of an assistant, asked the corpus' questions.
    pub(crate) fn completions(&self, server: &Server, chatbot: &str, model: &str) -> Result<Target> {
        let api = Api { address: server.address };
        let requests: Vec<Bytes> =
            self.corpus.questions.iter().map(|question| api.completion(chatbot, &question.text)).collect();
        Ok(Target {
            address: server.address,
            dialect: Dialect::Server,
            requests: requests.into(),
            expected: answer_bytes(model)?,
        })
    }

    /// The mock model itself.
    pub(crate) fn direct(&self, model: &str) -> Result<Target> {
        Ok(Target {
            address: self.mock.address,
            dialect: Dialect::Model,
            requests: Arc::from([model_request(self.mock.address, model)]),
            expected: answer_bytes(model)?,
        })
    }

    /// Notes what the mock model did alone.
    pub(crate) fn note_floor(&self, line: String) {
        self.floor.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}

fn answer_bytes(model: &str) -> Result<usize> {
    Behaviour::of_model(model).map(|behaviour| behaviour.answer().len()).context("not a name of the mock model")
}
