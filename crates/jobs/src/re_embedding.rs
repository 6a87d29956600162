//! Giving the files of a base the vectors of another model.

use parlance_service::re_embedding::{self, ReEmbedding};

use crate::runner::{Kind, give_up, in_slices};

pub(crate) const KIND: Kind = Kind {
    name: re_embedding::KIND,
    // The base has its new model already, so nobody would ask again: it is tried until it works.
    attempts: |_| u32::MAX,
    advice: "",
    run: |app, tenant, job| {
        let run = async move |work| re_embedding::run(app, tenant, job, work).await;
        Box::pin(in_slices(job, ReEmbedding::of(job), run, "The files of a knowledge base could not be queued yet."))
    },
    // The files are searchable as they were.
    wait: |_, _, _, _, _| Box::pin(async { Ok(()) }),
    fail: |app, tenant, job, reason| {
        Box::pin(give_up(
            app,
            tenant,
            job,
            (reason, "its files keep the vectors of their model from before; reparse them"),
        ))
    },
};
