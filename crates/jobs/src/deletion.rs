//! Removing what a deleted file or knowledge base holds.

use parlance_service::deletion::{self, Deletion};

use crate::runner::{Kind, give_up, in_slices};

pub(crate) const KIND: Kind = Kind {
    name: deletion::KIND,
    // Nobody sees what is left and could ask again, so it is tried until it works.
    attempts: |_| u32::MAX,
    advice: "",
    run: |app, tenant, job| {
        let run = async move |work| deletion::run(app, tenant, job, work).await;
        Box::pin(in_slices(job, Deletion::of(job), run, "What was deleted could not be removed yet."))
    },
    wait: |_, _, _, _, _| Box::pin(async { Ok(()) }),
    fail: |app, tenant, job, reason| {
        Box::pin(give_up(app, tenant, job, (reason, "what it was to remove stays hidden")))
    },
};
