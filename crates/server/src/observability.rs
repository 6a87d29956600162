//! Logs and metrics.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::routing::get;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use parlance_service::App;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::layer::{Layered, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::config::Log;

/// Starts logging to standard error, and sending traces where there is a layer for them.
pub(crate) fn start_logging<T>(log: &Log, traces: Option<T>) -> Result<()>
where
    T: Layer<Layered<EnvFilter, Registry>> + Send + Sync,
{
    let filter = EnvFilter::try_new(&log.level).with_context(|| format!("LOG__LEVEL {:?}", log.level))?;
    let lines =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let subscriber = Registry::default().with(filter).with(traces);
    let started = if log.format == "json" {
        subscriber.with(lines.json()).try_init()
    } else {
        subscriber.with(lines.with_target(false)).try_init()
    };
    started.map_err(|error| anyhow::anyhow!("logging could not be started: {error}"))
}

/// Bounds of the histograms in seconds.
const SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0];

/// Time between two drains of the histograms.
const DRAIN_EVERY: Duration = Duration::from_secs(5);

/// Serves `GET /metrics` on a listener of its own. A port that is taken is no reason not to start.
pub(crate) async fn serve_metrics(listen: &str, app: &App) -> Result<()> {
    if listen.is_empty() {
        return Ok(());
    }
    let listener = match TcpListener::bind(listen).await {
        Ok(listener) => listener,
        Err(error) => {
            tracing::warn!(%error, listen, "metrics are not served; set METRICS__LISTEN to a free address or to nothing");
            return Ok(());
        }
    };
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
        .context("metrics")?
        .install_recorder()
        .context("metrics")?;
    let address: SocketAddr = listener.local_addr().context("metrics")?;
    tracing::info!(%address, "serving metrics");
    let router = Router::new().route("/metrics", get(render)).with_state((handle.clone(), app.clone()));
    let stopping = app.stopping.clone();
    tokio::spawn(drain_histograms(handle, stopping.clone()));
    tokio::spawn(async move {
        let served = axum::serve(listener, router).with_graceful_shutdown(stopping.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::warn!(%error, "metrics are no longer served");
        }
    });
    Ok(())
}

/// What is measured is gathered until it is drained; without a scraper that would be for ever.
async fn drain_histograms(handle: PrometheusHandle, stopping: CancellationToken) {
    let mut pause = tokio::time::interval(DRAIN_EVERY);
    while stopping.run_until_cancelled(pause.tick()).await.is_some() {
        handle.run_upkeep();
    }
}

async fn render(axum::extract::State((handle, app)): axum::extract::State<(PrometheusHandle, App)>) -> String {
    let mut text = handle.render();
    let live = app.streams.live();
    text.push_str("# TYPE parlance_answers_live gauge\nparlance_answers_live ");
    text.push_str(&live.to_string());
    text.push('\n');
    text
}
