//! Delivering the webhooks of one endpoint.

use parlance_domain::Tenant;
use parlance_service::App;
use parlance_service::webhook_delivery;
use parlance_storage::jobs::Job;

use crate::Outcome;
use crate::runner::Kind;

pub(crate) const KIND: Kind = Kind {
    name: webhook_delivery::KIND,
    // Attempts are counted with each delivery; the job itself is never given up.
    attempts: |_| u32::MAX,
    advice: "",
    run: |app, tenant, job| Box::pin(run(app, tenant, job)),
    wait: |_, _, _, _, _| Box::pin(async { Ok(()) }),
    fail: |_, _, _, _| Box::pin(async { Ok(()) }),
};

async fn run(app: &App, tenant: Tenant, job: &Job) -> Outcome {
    match webhook_delivery::run(app, tenant, job).await {
        Ok(true) => Outcome::Done,
        Ok(false) => Outcome::Obsolete,
        Err(error) => Outcome::Retry(error.to_string()),
    }
}
