//! Asking DNS whose a custom domain is.

use parlance_domain::Tenant;
use parlance_service::App;
use parlance_service::domains::{self, DomainCheck};
use parlance_storage::jobs::Job;

use crate::Outcome;
use crate::runner::Kind;

pub(crate) const KIND: Kind = Kind {
    name: domains::KIND,
    // A check that the machine prevented says nothing of the domain, so there is always another.
    attempts: |_| u32::MAX,
    advice: "",
    run: |app, tenant, job| Box::pin(run(app, tenant, job)),
    wait: |_, _, _, _, _| Box::pin(async { Ok(()) }),
    fail: |app, tenant, job, reason| Box::pin(domains::give_up(app, tenant, job, reason)),
};

async fn run(app: &App, tenant: Tenant, job: &Job) -> Outcome {
    let check = match DomainCheck::of(job) {
        Ok(check) => check,
        Err(error) => return Outcome::Fail(error.to_string()),
    };
    match domains::run(app, tenant, job, check).await {
        Ok(true) => Outcome::Done,
        Ok(false) => Outcome::Obsolete,
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, job = %job.id, "a domain was not checked");
            Outcome::Retry("The domain could not be checked yet.".to_owned())
        }
    }
}
