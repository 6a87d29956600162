//! Replying to one stored message.

use parlance_domain::Tenant;
use parlance_service::App;
use parlance_service::reply::{self, Stop};
use parlance_storage::jobs::Job;

use crate::Outcome;
use crate::runner::Kind;

pub(crate) const KIND: Kind = Kind {
    name: reply::KIND,
    // A server that is killed again and again takes the reply of the moment with it each time.
    attempts: |_| 20,
    advice: "Send the message again.",
    run: |app, tenant, job| Box::pin(run(app, tenant, job)),
    // Nothing tells people that a reply waits: it looks like an answer that takes long.
    wait: |_, _, _, _, _| Box::pin(async { Ok(()) }),
    fail: |app, tenant, job, reason| Box::pin(reply::fail(app, tenant, job, reason)),
};

async fn run(app: &App, tenant: Tenant, job: &Job) -> Outcome {
    match Box::pin(reply::run(app, tenant, job)).await {
        Ok(()) => Outcome::Done,
        Err(Stop::Retry(reason)) => Outcome::Retry(reason),
        Err(Stop::Obsolete) => Outcome::Obsolete,
    }
}
