//! The `parlance` program: settings, wiring, subcommands.

mod backup;
mod config;
mod connections;
mod first_start;
mod keys;
mod observability;
mod serve;
mod tls;
mod traces;
mod wiring;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use crate::config::Config;

// Of the allocators compared it held least under load and gave most back; docs/ARCHITECTURE.md has the figures.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The hidden subcommand under which the program parses one document for itself, boxed.
pub(crate) const PARSE_DOCUMENT: &str = "parse-document";

/// Assistants that answer from an organisation's own documents.
#[derive(Debug, Parser)]
#[command(name = "parlance", version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    place: Place,
}

/// Threads for files and searches. Each keeps some memory, so there are not the runtime's usual 512.
const MAX_BLOCKING_THREADS: usize = 32;

/// Where settings and data are.
#[derive(Clone, Debug, clap::Args)]
struct Place {
    /// Folder of everything that is stored.
    #[arg(long, global = true, default_value = "data")]
    data_dir: PathBuf,
    /// Address and port to listen on.
    #[arg(long, global = true)]
    listen: Option<String>,
    /// File with settings that differ from config.default.toml.
    #[arg(long, global = true)]
    config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve (the default).
    Serve,
    /// Bring the database's schema up to date and stop.
    Migrate,
    /// Print the API's description.
    Openapi,
    /// Look at the settings.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Manage API keys. On SQLite the server must not be running.
    Key {
        #[command(subcommand)]
        command: keys::KeyCommand,
    },
    /// Back up everything into a new folder, also while the server runs (SQLite).
    Backup(backup::BackupArguments),
    /// Restore a backup into an empty data folder (SQLite).
    Restore(backup::RestoreArguments),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print the settings in force, without secrets.
    Print,
}

fn main() -> ExitCode {
    // Before anything else: the child that parses a document starts nothing it does not need.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == PARSE_DOCUMENT) {
        return parlance_ingestion::parse_child();
    }
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "the last word of a command-line program")]
fn report(error: &anyhow::Error) {
    eprintln!("parlance: {error:#}");
}

#[expect(clippy::print_stdout, reason = "what the command was asked to print")]
fn print(text: &str) {
    print!("{text}");
}

fn run(arguments: Arguments) -> Result<()> {
    let Arguments { command, place } = arguments;
    let command = command.unwrap_or(Command::Serve);
    if matches!(command, Command::Openapi) {
        print(&parlance_http::openapi_json());
        return Ok(());
    }
    if let Command::Config { command: ConfigCommand::Print } = command {
        print(&config::print(place.config.as_deref(), config::environment())?);
        return Ok(());
    }
    let (mut config, unknown) = config::load(place.config.as_deref(), config::environment())?;
    if let Some(listen) = &place.listen {
        config.server.listen.clone_from(listen);
    }
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_installed| anyhow::anyhow!("a TLS provider is installed already"))?;
    observability::start_logging(&config.log, traces::layer(&config.tracing)?)?;
    for name in unknown {
        tracing::warn!("there is no setting {name}; config.default.toml lists them");
    }
    prepare_data_dir(&place.data_dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .max_blocking_threads(MAX_BLOCKING_THREADS)
        .enable_all()
        .build()
        .context("starting the runtime")?;
    traces::start(runtime.handle().clone());
    runtime.block_on(async {
        let done = dispatch(command, &config, &place).await;
        traces::stop().await;
        done
    })
}

async fn dispatch(command: Command, config: &Config, place: &Place) -> Result<()> {
    match command {
        Command::Serve => Box::pin(serve::serve(config, &place.data_dir)).await,
        Command::Migrate => {
            let db = wiring::open_database(config, &place.data_dir).await?;
            db.close().await;
            tracing::info!("the schema is up to date");
            Ok(())
        }
        Command::Key { command } => {
            let text = Box::pin(keys::run(config, &place.data_dir, command)).await?;
            print(&text);
            Ok(())
        }
        Command::Backup(arguments) => {
            let text = Box::pin(backup::make(config, &place.data_dir, arguments)).await?;
            print(&text);
            Ok(())
        }
        Command::Restore(arguments) => {
            let text = backup::restore(config, &place.data_dir, arguments).await?;
            print(&text);
            Ok(())
        }
        Command::Openapi | Command::Config { .. } => Ok(()),
    }
}

/// Makes the data folder, readable by its owner only.
fn prepare_data_dir(path: &std::path::Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("making the data folder {}", path.display()))
}
