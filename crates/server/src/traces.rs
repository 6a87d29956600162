//! Traces for a collector, by OTLP over HTTP. Off unless an address is set.

use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use bytes::Bytes;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use parlance_outbound::{Limits, Outbound};
use tokio::runtime::Handle;
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::registry::LookupSpan;

use crate::config::Tracing;

/// Time for handing over the last spans at a stop.
const LAST_EXPORT: Duration = Duration::from_secs(2);

static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();
/// The exporter works on a thread of its own, so it has to be told where requests run.
static RUNTIME: OnceLock<Handle> = OnceLock::new();

/// The layer that turns spans into traces, if an address is set.
pub(crate) fn layer<S>(settings: &Tracing) -> Result<Option<OpenTelemetryLayer<S, opentelemetry_sdk::trace::Tracer>>>
where
    S: tracing::Subscriber + for<'span> LookupSpan<'span>,
{
    if settings.otlp_endpoint.is_empty() {
        return Ok(None);
    }
    let client = Client(Outbound::operator(Limits::default()).context("TRACING__OTLP_ENDPOINT")?);
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(&settings.otlp_endpoint)
        .build()
        .context("TRACING__OTLP_ENDPOINT")?;
    let resource = Resource::builder().with_service_name(settings.service_name.clone()).build();
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
    let tracer = provider.tracer("parlance");
    drop(PROVIDER.set(provider));
    Ok(Some(OpenTelemetryLayer::new(tracer)))
}

/// Tells the exporter which runtime carries its requests.
pub(crate) fn start(runtime: Handle) {
    drop(RUNTIME.set(runtime));
}

/// Hands over what is left.
pub(crate) async fn stop() {
    let Some(provider) = PROVIDER.get() else { return };
    let stopped = tokio::task::spawn_blocking(|| provider.shutdown_with_timeout(LAST_EXPORT)).await;
    if let Ok(Err(error)) = stopped {
        tracing::warn!(%error, "the last traces were not handed over");
    }
}

/// The operator's HTTP client in the exporter's form.
#[derive(Debug)]
struct Client(Outbound);

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let runtime = RUNTIME.get().ok_or("the runtime has not started")?;
        let outbound = self.0.clone();
        let sending = runtime.spawn(async move {
            let response = outbound.send(parlance_outbound::Request::try_from(request)?).await?;
            let status = response.status();
            let mut answer = Response::new(response.bytes().await?);
            *answer.status_mut() = status;
            Ok::<_, HttpError>(answer)
        });
        sending.await?
    }
}
