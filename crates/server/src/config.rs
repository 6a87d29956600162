//! The operator's settings: `config.default.toml`, then a file, then the environment.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};
use toml::{Table, Value};

/// The defaults, which are also the manual.
pub(crate) const DEFAULTS: &str = include_str!("../../../config.default.toml");
const PREFIX: &str = "PARLANCE__";
/// Settings that are secrets: hidden when printed, and readable from a file.
const SECRETS: [(&str, &str); 7] = [
    ("bootstrap", "api_key"),
    ("llm", "api_key"),
    ("embedding", "api_key"),
    ("reranker", "api_key"),
    ("database", "url"),
    ("database", "migrate_url"),
    ("livekit", "api_secret"),
];

macro_rules! section {
    ($(#[$about:meta])* $name:ident { $($(#[$field_about:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$about])*
        #[derive(Clone, Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct $name {
            $($(#[$field_about])* pub(crate) $field: $type,)*
        }
    };
}

section! {
    /// All settings. What each means stands in `config.default.toml`.
    Config {
        server: Server,
        tls: Tls,
        metrics: Metrics,
        log: Log,
        tracing: Tracing,
        database: Database,
        bootstrap: Bootstrap,
        llm: Llm,
        embedding: Embedding,
        reranker: Reranker,
        outbound: Outbound,
        stream: Stream,
        ingestion: Ingestion,
        replies: Replies,
        webhooks: Webhooks,
        domains: Domains,
        livekit: Livekit,
        limits: Limits,
        retention: Retention,
    }
}
section! { Server { listen: String, public_url: String, trusted_proxies: String, } }
section! { Tls {
    acme: bool,
    listen: String,
    directory_url: String,
    directory_ca: PathBuf,
    contact: String,
    domains_per_organisation: u32,
    domains: u32,
    certificate: PathBuf,
    key: PathBuf,
} }
section! { Metrics { listen: String, } }
section! { Log { format: String, level: String, } }
section! { Tracing { otlp_endpoint: String, service_name: String, } }
section! { Database { url: SecretText, migrate_url: SecretText, connections: u32, } }
section! { Bootstrap { api_key: SecretText, } }
section! { Llm { base_url: String, api_key: SecretText, model: String, kind: String, sees_images: bool, } }
section! { Embedding { base_url: String, api_key: SecretText, model: String, dimensions: usize, kind: String, } }
section! { Reranker { kind: String, base_url: String, api_key: SecretText, model: String, } }
section! { Outbound { allow: String, } }
section! { Stream {
    #[serde(deserialize_with = "duration")]
    api_grace: Duration,
    #[serde(deserialize_with = "duration")]
    visitor_grace: Duration,
    #[serde(deserialize_with = "duration")]
    stop_grace: Duration,
    #[serde(deserialize_with = "duration")]
    retention: Duration,
    retention_bytes: usize,
} }
section! { Ingestion {
    workers: usize,
    passage_characters: u32,
    #[serde(deserialize_with = "duration")]
    wall_time: Duration,
    cpu_seconds: u64,
    memory_bytes: u64,
    tesseract: PathBuf,
    attempts: u32,
} }
section! { Replies { workers: usize, } }
section! { Domains { target: String, resolver: String, } }
section! { Livekit { url: String, api_key: String, api_secret: SecretText, } }
section! { Webhooks {
    workers: usize,
    #[serde(deserialize_with = "duration")]
    timeout: Duration,
    #[serde(deserialize_with = "duration")]
    keep: Duration,
} }
section! { Limits {
    upload_bytes: u64,
    organisation_upload_bytes: u64,
    #[serde(deserialize_with = "duration")]
    upload_valid_for: Duration,
    message_characters: usize,
    message_attachments: usize,
    image_bytes: u64,
    #[serde(deserialize_with = "duration")]
    attachment_time: Duration,
    attachment_characters: usize,
    context_characters: usize,
    history_messages: usize,
    concurrent_answers: usize,
    broadcast_contacts: usize,
    connections: usize,
    key_requests_per_second: u32,
    organisation_requests_per_second: u32,
    refused_requests_per_minute: u32,
    visitor_sessions_per_minute: u32,
    visitor_requests_per_minute: u32,
    visitor_answers_per_minute: u32,
    web_chat_answers_per_minute: u32,
    web_chat_replies_per_day: u32,
    web_chat_tokens_per_day: u32,
    #[serde(deserialize_with = "duration")]
    visitor_session: Duration,
} }

section! { Retention {
    #[serde(deserialize_with = "duration")]
    audit_log: Duration,
} }

/// A text that is never shown. Empty means not set.
#[derive(Clone, Debug)]
pub(crate) struct SecretText(SecretString);

impl SecretText {
    /// The text, unless it is empty.
    pub(crate) fn get(&self) -> Option<&str> {
        let text = self.0.expose_secret();
        (!text.is_empty()).then_some(text)
    }

    /// The secret, unless it is empty.
    pub(crate) fn secret(&self) -> Option<SecretString> {
        self.get().map(|_| self.0.clone())
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(SecretString::from(text)))
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is no duration such as \"30s\"")))
}

fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let (number, factor) = if let Some(number) = text.strip_suffix("ms") {
        (number, 1)
    } else if let Some(number) = text.strip_suffix('s') {
        (number, 1000)
    } else if let Some(number) = text.strip_suffix('m') {
        (number, 60_000)
    } else {
        (text.strip_suffix('h')?, 3_600_000)
    };
    number.trim().parse::<u64>().ok()?.checked_mul(factor).map(Duration::from_millis)
}

/// Reads the settings, and the names of variables that look like settings but are none.
/// `environment` is given, so that tests decide what it holds.
pub(crate) fn load(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<(Config, Vec<String>)> {
    let (table, unknown) = merged(file, environment)?;
    let config: Config = Value::Table(table).try_into().context("the settings are wrong")?;
    validate(&config)?;
    Ok((config, unknown))
}

fn merged(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<(Table, Vec<String>)> {
    let mut unknown = Vec::new();
    let mut table: Table = DEFAULTS.parse().context("config.default.toml")?;
    if let Some(path) = file {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let own: Table = text.parse().with_context(|| format!("reading {}", path.display()))?;
        for (section, values) in own {
            let Value::Table(values) = values else { bail!("{}: [{section}] is no section", path.display()) };
            let Some(Value::Table(known)) = table.get_mut(&section) else {
                bail!("{}: there is no section [{section}]; config.default.toml lists them", path.display())
            };
            known.extend(values);
        }
    }
    for (name, text) in environment {
        if let Some(setting) = name.strip_prefix(PREFIX) {
            // One of a newer or older release does no harm, but a mistyped one should be noticed.
            if !apply_variable(&mut table, &name, setting, text)? {
                unknown.push(name);
            }
        }
    }
    Ok((table, unknown))
}

/// Sets the value of a variable. False when there is no such setting.
fn apply_variable(table: &mut Table, name: &str, setting: &str, text: String) -> Result<bool> {
    let lower = setting.to_ascii_lowercase();
    let Some((section, key)) = lower.split_once("__") else { return Ok(false) };
    let (key, text) = match key.strip_suffix("_file") {
        Some(plain) if SECRETS.contains(&(section, plain)) => {
            let content = std::fs::read_to_string(&text).with_context(|| format!("reading the file of {name}"))?;
            (plain, content.trim_end_matches(['\r', '\n']).to_owned())
        }
        _ => (key, text),
    };
    let Some(Value::Table(known)) = table.get_mut(section) else { return Ok(false) };
    let Some(value) = known.get_mut(key) else { return Ok(false) };
    *value = match value {
        Value::Integer(_) => Value::Integer(text.trim().parse().with_context(|| format!("{name} is no whole number"))?),
        Value::Boolean(_) => {
            Value::Boolean(text.trim().parse().with_context(|| format!("{name} is neither true nor false"))?)
        }
        _ => Value::String(text),
    };
    Ok(true)
}

fn validate(config: &Config) -> Result<()> {
    if let Some(key) = config.bootstrap.api_key.get() {
        let plain = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        ensure!(plain && (32..=128).contains(&key.len()), "BOOTSTRAP__API_KEY must match [A-Za-z0-9-]{{32,128}}");
    }
    ensure!(
        config.llm.base_url.is_empty() || !config.llm.model.is_empty(),
        "LLM__BASE_URL is set but LLM__MODEL is not: name the model to use at that endpoint"
    );
    for (section, kind, base_url) in [
        ("LLM", &config.llm.kind, &config.llm.base_url),
        (
            "EMBEDDING",
            &config.embedding.kind,
            if config.embedding.base_url.is_empty() { &config.llm.base_url } else { &config.embedding.base_url },
        ),
    ] {
        ensure!(
            kind == "openai" || !base_url.is_empty(),
            "{section}__KIND is {kind} but {section}__BASE_URL is not set: name the address of that provider"
        );
    }
    ensure!(
        config.reranker.kind.is_empty() || (!config.reranker.base_url.is_empty() && !config.reranker.model.is_empty()),
        "RERANKER__KIND needs RERANKER__BASE_URL and RERANKER__MODEL"
    );
    let livekit = &config.livekit;
    let livekit = [!livekit.url.is_empty(), !livekit.api_key.is_empty(), livekit.api_secret.get().is_some()];
    ensure!(
        livekit.iter().all(|is_set| *is_set == livekit[0]),
        "LIVEKIT__URL, LIVEKIT__API_KEY and LIVEKIT__API_SECRET are set together or not at all"
    );
    ensure!(
        config.tls.certificate.as_os_str().is_empty() == config.tls.key.as_os_str().is_empty(),
        "TLS__CERTIFICATE and TLS__KEY are set together or not at all"
    );
    ensure!(matches!(config.log.format.as_str(), "text" | "json"), "LOG__FORMAT must be text or json");
    ensure!(config.ingestion.passage_characters >= 40, "INGESTION__PASSAGE_CHARACTERS must be at least 40");
    Ok(())
}

/// The settings in force as TOML, with secrets hidden.
pub(crate) fn print(file: Option<&Path>, environment: impl IntoIterator<Item = (String, String)>) -> Result<String> {
    let (mut table, _) = merged(file, environment)?;
    for (section, key) in SECRETS {
        if let Some(Value::String(text)) = table.get_mut(section).and_then(|section| section.get_mut(key))
            && !text.is_empty()
        {
            "********".clone_into(text);
        }
    }
    toml::to_string(&table).context("printing the settings")
}

/// The process's own environment.
pub(crate) fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, value: &str) -> Vec<(String, String)> {
        vec![(name.to_owned(), value.to_owned())]
    }

    #[test]
    fn the_defaults_are_complete_and_every_setting_is_explained() {
        load(None, []).unwrap();
        let lines: Vec<&str> = DEFAULTS.lines().collect();
        for (position, line) in lines.iter().enumerate() {
            if line.contains(" = ") && !line.starts_with('#') {
                assert!(lines[position - 1].starts_with('#'), "no comment above {line:?}");
            }
        }
    }

    #[test]
    fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("own.toml");
        std::fs::write(&file, "[server]\nlisten = \"127.0.0.1:1\"\n[limits]\nhistory_messages = 3\n").unwrap();
        let (config, _) = load(Some(&file), set("PARLANCE__SERVER__LISTEN", "127.0.0.1:2")).unwrap();
        assert_eq!((config.server.listen.as_str(), config.limits.history_messages), ("127.0.0.1:2", 3));
        std::fs::write(&file, "[server]\nlisten_on = \"x\"\n").unwrap();
        assert!(format!("{:#}", load(Some(&file), []).unwrap_err()).contains("listen_on"));
    }

    #[test]
    fn secrets_come_from_files_and_are_never_printed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, "sk-canary\n").unwrap();
        let variables = || set("PARLANCE__LLM__API_KEY_FILE", file.to_str().unwrap());
        assert_eq!(load(None, variables()).unwrap().0.llm.api_key.get(), Some("sk-canary"));
        assert!(!print(None, variables()).unwrap().contains("canary"));
        assert!(!format!("{:?}", load(None, variables()).unwrap()).contains("canary"));
    }

    #[test]
    fn an_address_without_a_model_is_refused_with_what_to_do() {
        let error = load(None, set("PARLANCE__LLM__BASE_URL", "http://127.0.0.1:1/v1")).unwrap_err();
        assert!(error.to_string().contains("LLM__MODEL"));
        assert!(load(None, set("PARLANCE__BOOTSTRAP__API_KEY", "short")).is_err());
        assert!(load(None, set("PARLANCE__STREAM__API_GRACE", "soon")).is_err());
        assert!(load(None, set("PARLANCE__DATABASE__CONNECTIONS", "many")).is_err());
        assert_eq!(load(None, set("PARLANCE__SERVER__LISEN", "x")).unwrap().1, ["PARLANCE__SERVER__LISEN"]);
    }
}
