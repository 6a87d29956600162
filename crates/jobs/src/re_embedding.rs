//! Giving the files of a base the vectors of another model.

use parlance_domain::Tenant;
use parlance_service::App;
use parlance_service::re_embedding::{self, ReEmbedding};
use parlance_storage::jobs::Job;

use crate::Outcome;
use crate::runner::Kind;

pub(crate) const KIND: Kind = Kind {
    name: re_embedding::KIND,
    // The base has its new model already, so nobody would ask again: it is tried until it works.
    attempts: |_| u32::MAX,
    advice: "",
    run: |app, tenant, job| Box::pin(run(app, tenant, job)),
    // The files are searchable as they were.
    wait: |_, _, _, _, _| Box::pin(async { Ok(()) }),
    fail: |app, tenant, job, reason| Box::pin(re_embedding::give_up(app, tenant, job, reason)),
};

async fn run(app: &App, tenant: Tenant, job: &Job) -> Outcome {
    let work = match ReEmbedding::of(job) {
        Ok(work) => work,
        Err(error) => return Outcome::Fail(error.to_string()),
    };
    match re_embedding::run(app, tenant, job, work).await {
        Ok(true) => Outcome::Done,
        Ok(false) => Outcome::Obsolete,
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, job = %job.id, "re-embedding was interrupted");
            Outcome::Retry("The files of a knowledge base could not be queued yet.".to_owned())
        }
    }
}
