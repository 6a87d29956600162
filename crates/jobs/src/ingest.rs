//! Ingesting one file.

use parlance_domain::Tenant;
use parlance_service::App;
use parlance_service::ingest::{self, Stop};
use parlance_storage::jobs::Job;

use crate::Outcome;
use crate::runner::Kind;

pub(crate) const KIND: Kind = Kind {
    name: ingest::KIND,
    attempts: |app| app.settings.ingest_attempts,
    advice: "Reparse the file to try again.",
    run: |app, tenant, job| Box::pin(run(app, tenant, job)),
    wait: |app, tenant, job, reason, pause| Box::pin(ingest::wait(app, tenant, job, reason, pause)),
    fail: |app, tenant, job, reason| Box::pin(ingest::fail(app, tenant, job, reason)),
};

async fn run(app: &App, tenant: Tenant, job: &Job) -> Outcome {
    match ingest::run(app, tenant, job).await {
        Ok(()) => Outcome::Done,
        Err(Stop::Retry(reason)) => Outcome::Retry(reason),
        Err(Stop::Fail(reason)) => Outcome::Fail(reason),
        Err(Stop::Obsolete) => Outcome::Obsolete,
    }
}
