//! What a first start tells its operator: the key and what to do with it.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use parlance_service::first_start::FirstStart;
use url::Url;

const TEXT: &str = include_str!("first_start/welcome.txt");
const SCRIPT: &str = include_str!("first_start/ask_a_document.py");
const HINT: &str = "\n\
    OPENAI_API_KEY is set but no model is chosen, so the built-in model answers. To use OpenAI,\n\
    start again with PARLANCE__LLM__MODEL set to the name of a model.\n";

/// The text of a first start, on its way to the operator.
pub(crate) struct Welcome<'a> {
    url: &'a Url,
    file: PathBuf,
    has_unused_openai_key: bool,
}

impl<'a> Welcome<'a> {
    /// Will be kept in `first-start.txt` in the data folder.
    pub(crate) fn new(url: &'a Url, data: &Path, has_unused_openai_key: bool) -> Self {
        Self { url, file: data.join("first-start.txt"), has_unused_openai_key }
    }

    /// Writes the text to its file, durably and readable by its owner only.
    pub(crate) fn keep(&self, made: &FirstStart) -> std::io::Result<()> {
        // One of an earlier attempt may have other permissions.
        match std::fs::remove_file(&self.file) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.file)?;
        file.write_all(self.text(made).as_bytes())?;
        file.sync_all()?;
        match self.file.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    }

    /// Shows the text on standard error if that is a terminal, and removes the file; else says where
    /// the file is: a key does not belong into a log.
    pub(crate) fn show(&self, made: &FirstStart) -> Result<()> {
        let mut stderr = std::io::stderr();
        if stderr.is_terminal() {
            stderr.write_all(self.text(made).as_bytes()).context("showing the first-start text")?;
            return std::fs::remove_file(&self.file).with_context(|| format!("removing {}", self.file.display()));
        }
        tracing::info!(file = %self.file.display(), "first start: the API key and what to do with it are in this file");
        Ok(())
    }

    fn text(&self, made: &FirstStart) -> String {
        let mut text = render(self.url, made);
        if self.has_unused_openai_key {
            text.push_str(HINT);
        }
        text
    }
}

fn render(url: &Url, made: &FirstStart) -> String {
    let fill = |text: &str| {
        text.replace("{URL}", url.as_str().trim_end_matches('/'))
            .replace("{KEY}", &made.api_key)
            .replace("{CHATBOT}", &made.chatbot.to_string())
            .replace("{KNOWLEDGE_BASE}", &made.knowledge_base.to_string())
    };
    fill(TEXT).replace("{SCRIPT}", fill(SCRIPT).trim_end())
}
