//! From settings to a running [`App`].

use std::fs::{File, TryLockError};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use parlance_domain::SystemClock;
use parlance_ingestion::{BoxedParser, BoxedParserConfig, ParseLimits};
use parlance_llm::{CallPolicy, Endpoint, Models, Origin, ProviderKind};
use parlance_outbound::{AllowList, Limits as OutboundLimits, Outbound};
use parlance_retrieval::{TextIndex, VectorIndex};
use parlance_service::client_address::TrustedProxies;
use parlance_service::domains::DomainSettings;
use parlance_service::models::{Catalogue, ConfiguredModel, ModelRole};
use parlance_service::rate_limit::Rate;
use parlance_service::settings::Settings;
use parlance_service::streams::Retention;
use parlance_service::voice::LiveKit;
use parlance_service::{App, Parts, indexer};
use parlance_storage::blobs::Blobs;
use parlance_storage::secrets::MasterKey;
use parlance_storage::{Db, DbConfig};
use secrecy::SecretString;
use url::Url;

use crate::config::Config;

/// Attached documents that are read at the same time.
const ATTACHMENTS_AT_ONCE: usize = 2;

/// Keeps other servers away from the data directory while it is held: the search index belongs to one
/// process, wherever the database is.
pub(crate) fn hold_data_dir(data: &Path) -> Result<File> {
    let path = data.join("lock");
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .with_context(|| format!("opening {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!(
            "another parlance process uses {}; stop it first, or give this one its own --data-dir",
            data.display()
        ),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("locking {}", path.display())),
    }
}

/// Opens everything in the data directory and wires it together.
pub(crate) async fn build(config: &Config, data: &Path, openai_key: Option<String>) -> Result<App> {
    let db = open_database(config, data).await?;
    let blobs = Blobs::open(&data.join("blobs")).await.context("opening the blob folder")?;
    let key_path = data.join("master.key");
    let master_key = MasterKey::load_or_create(&key_path).with_context(|| format!("reading {}", key_path.display()))?;
    let (text_index, vector_index, must_rebuild) = open_indexes(&db, &data.join("index")).await?;
    let outbound_limits = OutboundLimits::default();
    let allow: AllowList = config.outbound.allow.parse().context("OUTBOUND__ALLOW")?;
    let clock = Arc::new(SystemClock);
    let outbound = Outbound::new(allow, outbound_limits)?;
    let factory = Models::new(
        Outbound::operator(outbound_limits)?,
        outbound.clone(),
        CallPolicy::default(),
        Arc::clone(&clock) as _,
    );
    let catalogue =
        Catalogue::new(factory, &configured_models(config, openai_key)?).context("the configured models")?;
    let limits = ParseLimits {
        wall: config.ingestion.wall_time,
        cpu_seconds: config.ingestion.cpu_seconds,
        address_space_bytes: config.ingestion.memory_bytes,
        ..ParseLimits::default()
    };
    let parser = |limits, concurrency| {
        BoxedParser::new(BoxedParserConfig {
            // The running program itself, also after its file was replaced by an upgrade.
            executable: "/proc/self/exe".into(),
            arguments: vec![crate::PARSE_DOCUMENT.into()],
            limits,
            concurrency,
        })
    };
    let of_attachments = ParseLimits { wall: config.limits.attachment_time, ..limits };
    let app = App::new(Parts {
        db,
        blobs,
        clock,
        master_key,
        catalogue,
        parser: parser(limits, config.ingestion.workers),
        attachment_parser: parser(of_attachments, ATTACHMENTS_AT_ONCE),
        outbound,
        text_index,
        vector_index,
        settings: settings(config)?,
        retention: Retention { time: config.stream.retention, bytes: config.stream.retention_bytes },
    })?;
    if must_rebuild {
        let files = indexer::rebuild(&app).await?;
        tracing::warn!(files, "the search index did not fit the database and is being rebuilt from it");
    }
    Ok(app)
}

/// Address of the database of the settings.
pub(crate) fn database_url(config: &Config, data: &Path) -> String {
    let sqlite = || format!("sqlite:{}", data.join("parlance.db").display());
    config.database.url.get().map_or_else(sqlite, str::to_owned)
}

/// Opens the database of the settings.
pub(crate) async fn open_database(config: &Config, data: &Path) -> Result<Db> {
    let url = database_url(config, data);
    let migrate_url = config.database.migrate_url.get().map(str::to_owned);
    Ok(Db::open(&DbConfig { url, migrate_url, connections: config.database.connections }).await?)
}

/// Opens the search indexes; ones that do not fit the database are emptied.
async fn open_indexes(db: &Db, folder: &Path) -> Result<(TextIndex, VectorIndex, bool)> {
    let (text_folder, vector_folder) = (folder.join("text"), folder.join("vectors"));
    let text = TextIndex::open(&text_folder).context("opening the full-text index")?;
    let vectors = VectorIndex::open(&vector_folder).context("opening the vector index")?;
    for (moved_to, reason) in text.moved_aside.iter().chain(&vectors.moved_aside) {
        tracing::warn!(reason, moved_to = %moved_to.display(), "an unusable search index was moved aside");
    }
    if !indexer::needs_rebuild(db, [text.watermark, vectors.watermark]).await? {
        return Ok((text.index, vectors.index, false));
    }
    drop((text, vectors));
    std::fs::remove_dir_all(folder).context("emptying the search indexes")?;
    let text = TextIndex::open(&text_folder).context("opening the full-text index")?;
    let vectors = VectorIndex::open(&vector_folder).context("opening the vector index")?;
    Ok((text.index, vectors.index, true))
}

fn settings(config: &Config) -> Result<Settings> {
    let limits = &config.limits;
    let tesseract = &config.ingestion.tesseract;
    Ok(Settings {
        trusted_proxies: TrustedProxies::parse(&config.server.trusted_proxies)
            .map_err(|entry| anyhow::anyhow!("SERVER__TRUSTED_PROXIES: {entry:?} is no address or address block"))?,
        key_rate: Rate::per_second(limits.key_requests_per_second),
        organisation_rate: Rate::per_second(limits.organisation_requests_per_second),
        refused_rate: Rate::per_minute(limits.refused_requests_per_minute),
        session_rate: Rate::per_minute(limits.visitor_sessions_per_minute),
        visitor_rate: Rate::per_minute(limits.visitor_requests_per_minute),
        visitor_answer_rate: Rate::per_minute(limits.visitor_answers_per_minute),
        web_chat_answer_rate: Rate::per_minute(limits.web_chat_answers_per_minute),
        web_chat_daily_replies: limits.web_chat_replies_per_day.into(),
        web_chat_daily_tokens: limits.web_chat_tokens_per_day.into(),
        visitor_session: limits.visitor_session,
        audit_retention: config.retention.audit_log,
        api_grace: config.stream.api_grace,
        visitor_grace: config.stream.visitor_grace,
        stop_grace: config.stream.stop_grace,
        max_upload_bytes: limits.upload_bytes,
        organisation_upload_bytes: limits.organisation_upload_bytes,
        upload_valid_for: limits.upload_valid_for,
        passage_characters: config.ingestion.passage_characters,
        max_message_characters: limits.message_characters,
        max_attachments: limits.message_attachments,
        max_image_bytes: limits.image_bytes,
        attachment_time: limits.attachment_time,
        attachment_characters: limits.attachment_characters,
        context_characters: limits.context_characters,
        history_messages: limits.history_messages,
        max_concurrent_answers: limits.concurrent_answers,
        max_broadcast_contacts: limits.broadcast_contacts,
        tesseract: (!tesseract.as_os_str().is_empty()).then(|| tesseract.clone()),
        ingest_attempts: config.ingestion.attempts,
        reply_workers: config.replies.workers,
        webhook_workers: config.webhooks.workers,
        webhook_timeout: config.webhooks.timeout,
        webhooks_kept_for: config.webhooks.keep,
        domains: domain_settings(config)?,
        livekit: config.livekit.api_secret.secret().map(|api_secret| LiveKit {
            url: config.livekit.url.clone(),
            api_key: config.livekit.api_key.clone(),
            api_secret,
        }),
        ..Settings::new(public_url(config)?)
    })
}

fn domain_settings(config: &Config) -> Result<DomainSettings> {
    let resolver = &config.domains.resolver;
    let resolver = if resolver.is_empty() {
        None
    } else {
        Some(resolver.parse().context("DOMAINS__RESOLVER must be an address and a port, such as 10.0.0.2:53")?)
    };
    Ok(DomainSettings { target: config.domains.target.clone(), resolver })
}

/// The start of every link.
pub(crate) fn public_url(config: &Config) -> Result<Url> {
    if !config.server.public_url.is_empty() {
        let url = Url::parse(&config.server.public_url).context("SERVER__PUBLIC_URL")?;
        anyhow::ensure!(matches!(url.scheme(), "http" | "https"), "SERVER__PUBLIC_URL must be an http or https URL");
        return Ok(url);
    }
    let shown = match config.server.listen.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_unspecified() => format!("127.0.0.1:{}", address.port()),
        _ => config.server.listen.clone(),
    };
    Url::parse(&format!("http://{shown}")).context("SERVER__LISTEN must be an address and a port")
}

fn configured_models(config: &Config, openai_key: Option<String>) -> Result<Vec<ConfiguredModel>> {
    let mut models = Vec::new();
    let default_url = "https://api.openai.com/v1";
    let llm_url = if config.llm.base_url.is_empty() { default_url } else { &config.llm.base_url };
    // The bare variable is for OpenAI and what speaks its protocol; other providers never get it.
    let bare_key = openai_key.filter(|_| config.llm.kind == "openai").map(SecretString::from);
    let llm_key = config.llm.api_key.secret().or(bare_key);
    if !config.llm.model.is_empty() {
        models.push(ConfiguredModel {
            role: ModelRole::Chat,
            endpoint: endpoint("LLM", &config.llm.kind, llm_url, llm_key.clone())?,
            name: config.llm.model.clone(),
            dimensions: None,
            sees_images: config.llm.sees_images,
        });
    }
    let embedding = &config.embedding;
    if !embedding.model.is_empty() {
        let own = !embedding.base_url.is_empty();
        let url = if own { embedding.base_url.as_str() } else { llm_url };
        // A key is only sent to the host it was given for.
        let key = embedding.api_key.secret().or(if own { None } else { llm_key });
        models.push(ConfiguredModel {
            role: ModelRole::Embedding,
            endpoint: endpoint("EMBEDDING", &embedding.kind, url, key)?,
            name: embedding.model.clone(),
            dimensions: (embedding.dimensions > 0).then_some(embedding.dimensions),
            sees_images: false,
        });
    }
    let reranker = &config.reranker;
    if !reranker.kind.is_empty() {
        models.push(ConfiguredModel {
            role: ModelRole::Rerank,
            endpoint: endpoint("RERANKER", &reranker.kind, &reranker.base_url, reranker.api_key.secret())?,
            name: reranker.model.clone(),
            dimensions: None,
            sees_images: false,
        });
    }
    Ok(models)
}

fn endpoint(section: &str, kind: &str, url: &str, api_key: Option<SecretString>) -> Result<Endpoint> {
    let kind = ProviderKind::parse(kind).with_context(|| format!("{section}__KIND: there is no {kind:?}"))?;
    let base_url = Url::parse(url).with_context(|| format!("{section}__BASE_URL"))?;
    Ok(Endpoint { kind, base_url, api_key, origin: Origin::Operator })
}
