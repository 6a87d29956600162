//! Making the vectors of a base's FAQs.

use parlance_domain::{Result, Tenant};
use parlance_service::App;
use parlance_service::faq_vectors;
use parlance_service::ingest::Stop;
use parlance_storage::jobs::{self, Job};

use crate::Outcome;
use crate::runner::Kind;

pub(crate) const KIND: Kind = Kind {
    name: faq_vectors::KIND,
    attempts: |app| app.settings.ingest_attempts,
    advice: "The FAQs are found by their words; change one to try again.",
    run: |app, tenant, job| Box::pin(run(app, tenant, job)),
    // Nobody sees an FAQ wait: its words are searchable meanwhile.
    wait: |_, _, _, _, _| Box::pin(std::future::ready(Ok(()))),
    fail: |app, tenant, job, reason| Box::pin(fail(app, tenant, job, reason)),
};

async fn run(app: &App, tenant: Tenant, job: &Job) -> Outcome {
    match faq_vectors::run(app, tenant, job).await {
        Ok(()) => Outcome::Done,
        Err(Stop::Retry(reason)) => Outcome::Retry(reason),
        Err(Stop::Fail(reason)) => Outcome::Fail(reason),
        Err(Stop::Obsolete) => Outcome::Obsolete,
    }
}

async fn fail(app: &App, tenant: Tenant, job: &Job, reason: String) -> Result<()> {
    tracing::warn!(job = %job.id, reason, "FAQs stay without vectors");
    let job = job.clone();
    app.db.write(tenant, move |tx| Box::pin(async move { jobs::finish(tx, tenant, &job).await })).await.map(drop)
}
