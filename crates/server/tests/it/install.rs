//! An installation in a temporary folder, and the program running on it.

use std::fs::OpenOptions;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::client::Client;

/// A start or a stop that takes longer has failed.
const PATIENCE: Duration = Duration::from_mins(1);

/// Settings and data of one installation. Its files go when it is dropped.
pub(crate) struct Install {
    folder: TempDir,
    /// Address of its PostgreSQL database; `None` means SQLite in the data folder.
    postgres: Option<String>,
    variables: Vec<(String, String)>,
}

impl Install {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = parlance_storage::testing::database_url(folder.path()).await;
        let postgres = url.starts_with("postgres").then_some(url);
        let install = Self { folder, postgres, variables: Vec::new() };
        install.set("METRICS__LISTEN", "")
    }

    /// With one more setting, without its prefix.
    pub(crate) fn set(mut self, setting: &str, value: impl Into<String>) -> Self {
        self.variables.push((format!("PARLANCE__{setting}"), value.into()));
        self
    }

    pub(crate) fn is_sqlite(&self) -> bool {
        self.postgres.is_none()
    }

    /// Address of the database.
    pub(crate) fn database_url(&self) -> String {
        let sqlite = || format!("sqlite:{}", self.data().join("parlance.db").display());
        self.postgres.clone().unwrap_or_else(sqlite)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("server.log")).unwrap()
    }

    pub(crate) fn first_start_text(&self) -> String {
        std::fs::read_to_string(self.data().join("first-start.txt")).unwrap()
    }

    /// The program with this installation's settings and nothing else of ours in its environment.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_parlance"));
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("PARLANCE__")) {
                command.env_remove(name);
            }
        }
        command.env_remove("OPENAI_API_KEY").env_remove("TEST_DATABASE_URL");
        if let Some(url) = &self.postgres {
            command.env("PARLANCE__DATABASE__URL", url);
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.folder.path()).args(arguments).arg("--data-dir").arg(self.data());
        command.stdin(Stdio::null());
        command
    }

    /// Runs a subcommand to its end. One that goes on serving is killed and has no exit code.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // What these commands print fits into a pipe, except the description of the API.
        if arguments.first() == Some(&"serve") {
            let began = Instant::now();
            while child.try_wait().unwrap().is_none() {
                if began.elapsed() > PATIENCE / 4 {
                    child.kill().unwrap();
                }
                wait_a_moment();
            }
        }
        child.wait_with_output().unwrap()
    }

    /// Starts the server and waits until it is ready.
    pub(crate) async fn start(&self) -> Server {
        let log = self.folder.path().join("server.log");
        for _ in 0..5 {
            let port = free_port();
            let stderr = OpenOptions::new().create(true).append(true).open(&log).unwrap();
            let listen = format!("127.0.0.1:{port}");
            let child = self.command(&["serve", "--listen", &listen]).stdout(Stdio::null()).stderr(stderr).spawn();
            let mut server = Server { child: child.unwrap(), url: format!("http://{listen}") };
            if server.is_ready().await {
                return server;
            }
            // Another process may have been faster at the port.
            let text = std::fs::read_to_string(&log).unwrap();
            assert!(text.contains("set SERVER__LISTEN"), "the server did not start:\n{text}");
        }
        panic!("no free port was found");
    }

    /// A client with the owner's key, for a server that runs on this installation.
    pub(crate) fn client(&self, server: &Server) -> Client {
        Client::from_first_start(&self.first_start_text(), &server.url)
    }
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A running server. It is killed when it is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
}

impl Server {
    async fn is_ready(&mut self) -> bool {
        let http = crate::client::http();
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            let answer = http.get(format!("{}/readyz", self.url)).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the server is not ready after {PATIENCE:?}");
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Asks it to stop.
    pub(crate) fn terminate(&self) {
        kill_process(self.pid(), Signal::TERM).unwrap();
    }

    /// Waits for its end.
    pub(crate) async fn ended(mut self) -> ExitStatus {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the server has not ended after {PATIENCE:?}");
    }

    /// Stops it as an operator does.
    pub(crate) async fn stop(self) {
        self.terminate();
        assert!(self.ended().await.success());
    }

    /// Takes it down without a word.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Resident memory in bytes.
    pub(crate) fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        kilobytes * 1024
    }

    /// Processes it has started and not yet seen end.
    pub(crate) fn children(&self) -> usize {
        let parent = self.child.id().to_string();
        let stats = std::fs::read_dir("/proc").unwrap().flatten();
        let stats = stats.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
        stats
            .filter(|line| {
                let after_name = line.rsplit(") ").next().unwrap_or_default();
                after_name.split(' ').nth(1) == Some(&parent)
            })
            .count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// For code that is not async.
fn wait_a_moment() {
    #[expect(clippy::disallowed_methods, reason = "no runtime is held up: the test has nothing else to do")]
    std::thread::sleep(Duration::from_millis(5));
}
