//! What a first start tells its operator: the key and what to do with it.

use std::io::{IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use parlance_service::first_start::FirstStart;
use url::Url;

const TEXT: &str = include_str!("first_start/welcome.txt");
const SCRIPT: &str = include_str!("first_start/ask_a_document.py");
const HINT: &str = "\n\
    OPENAI_API_KEY is set but no model is chosen, so the built-in model answers. To use OpenAI,\n\
    start again with PARLANCE__LLM__MODEL set to the name of a model.\n";

/// Shows the text on standard error if that is a terminal, else writes it to `first-start.txt` in
/// the data folder, readable by its owner only: a key does not belong into a log.
pub(crate) fn show(url: &Url, data: &Path, made: &FirstStart, has_unused_openai_key: bool) -> Result<()> {
    let mut text = render(url, made);
    if has_unused_openai_key {
        text.push_str(HINT);
    }
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() {
        return stderr.write_all(text.as_bytes()).context("showing the first-start text");
    }
    let path = data.join("first-start.txt");
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("writing {}", path.display()))?;
    tracing::info!(file = %path.display(), "first start: the API key and what to do with it are in this file");
    Ok(())
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
