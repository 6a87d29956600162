//! Removing what a deleted file or knowledge base holds.

use parlance_domain::Tenant;
use parlance_service::App;
use parlance_service::deletion::{self, Deletion};
use parlance_storage::jobs::Job;

use crate::Outcome;
use crate::runner::Kind;

pub(crate) const KIND: Kind = Kind {
    name: deletion::KIND,
    // Nobody sees what is left and could ask again, so it is tried until it works.
    attempts: |_| u32::MAX,
    advice: "",
    run: |app, tenant, job| Box::pin(run(app, tenant, job)),
    wait: |_, _, _, _, _| Box::pin(async { Ok(()) }),
    fail: |app, tenant, job, reason| Box::pin(deletion::give_up(app, tenant, job, reason)),
};

async fn run(app: &App, tenant: Tenant, job: &Job) -> Outcome {
    let work = match Deletion::of(job) {
        Ok(work) => work,
        Err(error) => return Outcome::Fail(error.to_string()),
    };
    match deletion::run(app, tenant, job, work).await {
        Ok(true) => Outcome::Done,
        Ok(false) => Outcome::Obsolete,
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, job = %job.id, "a deletion was interrupted");
            Outcome::Retry("What was deleted could not be removed yet.".to_owned())
        }
    }
}
