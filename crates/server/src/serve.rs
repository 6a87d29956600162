//! `parlance serve`: start, serve, stop.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use parlance_service::first_start::FirstStart;
use parlance_service::{App, indexer, interrupted, partial_answers};
use parlance_storage::Scope;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::Config;
use crate::tls::Https;
use crate::{connections, first_start, observability, tls, wiring};

/// Everything has ended this long after the time that running answers get, whatever happens.
const STOP_MARGIN: Duration = Duration::from_secs(9);

/// Serves until a signal, then ends what runs.
pub(crate) async fn serve(config: &Config, data: &Path) -> Result<()> {
    raise_file_limit();
    let openai_key = crate::config::environment()
        .find(|(name, value)| name == "OPENAI_API_KEY" && !value.is_empty())
        .map(|(_, value)| value);
    let has_unused_key = openai_key.is_some() && config.llm.model.is_empty();
    let listener = TcpListener::bind(&config.server.listen).await.with_context(|| {
        format!("listening on {}; set SERVER__LISTEN or --listen to a free address", config.server.listen)
    })?;
    let _held = wiring::hold_data_dir(data)?;
    let url = wiring::public_url(config)?;
    let mut https = tls::listen(config, data, &url).await?;
    let app = wiring::build(config, data, openai_key).await?;
    recover(&app).await?;
    observability::serve_metrics(&config.metrics.listen, &app).await?;
    let welcome = first_start::Welcome::new(&url, data, has_unused_key);
    let keep = |made: &FirstStart| {
        welcome.keep(made).map_err(|error| parlance_domain::Error::internal("writing first-start.txt", error))
    };
    let made = parlance_service::first_start::prepare(&app, config.bootstrap.api_key.get(), keep).await?;
    start_background_work(config, &app);
    if let Some(https) = &mut https {
        https.start(&app);
    }
    tracing::info!(%url, database = app.db.engine_name(), "serving");
    if let Some(made) = made {
        welcome.show(&made)?;
    }
    tokio::spawn(stop_on_signal(app.clone()));
    serve_until_stopped(listener, https, &app, config.limits.connections).await
}

/// Puts in order what an earlier process left behind.
async fn recover(app: &App) -> Result<()> {
    let ended = interrupted::end_interrupted(app).await?;
    if app.db.engine_name() == "sqlite" {
        // This process is the only one, so nobody else holds a job.
        let released = app
            .db
            .write(Scope::System, |tx| Box::pin(async move { parlance_storage::jobs::release_all(tx).await }))
            .await?;
        if released > 0 || ended > 0 {
            tracing::info!(jobs = released, answers = ended, "resumed after an unclean stop");
        }
    }
    Ok(())
}

fn start_background_work(config: &Config, app: &App) {
    let workers = config.ingestion.workers.max(1) * 2;
    let (indexing, working, saving, sweeping) = (app.clone(), app.clone(), app.clone(), app.clone());
    app.tasks.spawn(async move { indexer::run(&indexing).await });
    app.tasks.spawn(async move { parlance_jobs::run(&working, workers).await });
    app.tasks.spawn(async move { parlance_jobs::sweep_uploads(&sweeping).await });
    // Runs to the very end: answers go on while the server stops.
    tokio::spawn(async move { partial_answers::save_partial_answers(&saving).await });
}

async fn stop_on_signal(app: App) {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals cannot be received; the server will not stop cleanly");
        return std::future::pending().await;
    };
    let any = async |terminate: &mut tokio::signal::unix::Signal, interrupt: &mut tokio::signal::unix::Signal| {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    any(&mut terminate, &mut interrupt).await;
    tracing::info!("stopping; a second signal stops at once");
    app.stopping.cancel();
    let deadline = app.settings.stop_grace + STOP_MARGIN;
    tokio::spawn(async move {
        tokio::select! {
            () = any(&mut terminate, &mut interrupt) => tracing::warn!("stopped at once"),
            () = tokio::time::sleep(deadline) => tracing::warn!("stopped at the deadline"),
        }
        std::process::exit(0);
    });
}

/// Serves until the signal, and on while what runs comes to its end: readiness says 503 and new
/// questions are turned away, which a closed port could not.
async fn serve_until_stopped(
    listener: TcpListener,
    https: Option<Https>,
    app: &App,
    max_connections: usize,
) -> Result<()> {
    let service = parlance_http::serve_both_forms(parlance_http::router(app.clone()));
    let ended = || async {
        app.stopping.cancelled().await;
        app.tasks.close();
        app.tasks.wait().await;
    };
    let places = connections::places(max_connections);
    let plain = (listener, std::convert::identity);
    let plain = connections::serve(plain, service.clone(), Arc::clone(&places), ended());
    if let Some(Https { listener, handshakes, .. }) = https {
        let secure = (listener, move |stream| handshakes.begin(stream));
        tokio::join!(plain, connections::serve(secure, service, places, ended()));
    } else {
        plain.await;
    }
    // What the last requests began.
    app.tasks.wait().await;
    app.db.clone().close().await;
    tracing::info!("stopped");
    Ok(())
}

/// Each stream is a file; the default soft limit of 1024 is for programs that use `select`.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
}
