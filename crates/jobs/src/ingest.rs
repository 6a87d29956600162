//! Ingesting one file.

use parlance_domain::Tenant;
use parlance_service::App;
use parlance_service::ingest::{self, Stop};
use parlance_storage::jobs::Job;

use crate::Outcome;

pub(crate) async fn run(app: &App, tenant: Tenant, job: &Job) -> Outcome {
    match ingest::run(app, tenant, job).await {
        Ok(()) => Outcome::Done,
        Err(Stop::Retry(reason)) => Outcome::Retry(reason),
        Err(Stop::Fail(reason)) => Outcome::Fail(reason),
        Err(Stop::Obsolete) => Outcome::Obsolete,
    }
}
