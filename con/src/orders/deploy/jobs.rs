//! What is being done about services at the same time, each at most once: a domain that does not answer holds up its own
//! services only.

use std::{collections::BTreeSet, sync::Arc};

use tokio::task::JoinSet;

use super::unstarted::Unstarted;
use crate::problem::Refusal;

/// What is being done, and what could not be.
#[derive(Default)]
pub(super) struct Jobs {
    tasks: JoinSet<(Arc<str>, Result<(), Refusal>)>,
    busy: BTreeSet<Arc<str>>,
    unstarted: Unstarted,
}

impl Jobs {
    /// Does something about a service, unless something is being done about it.
    pub(super) fn begin(
        &mut self,
        name: Arc<str>,
        job: impl Future<Output = Result<(), Refusal>> + Send + 'static,
    ) {
        if self.busy.insert(Arc::clone(&name)) {
            self.tasks.spawn(async move { (name, job.await) });
        }
    }

    /// Waits until one is done; for ever without any.
    pub(super) async fn one_done(&mut self) {
        match self.tasks.join_next().await {
            Some(Ok((name, outcome))) => {
                self.busy.remove(&name);
                self.unstarted.follow(&name, outcome);
            }
            Some(Err(error)) => tracing::error!(%error, "what was done about a service broke"),
            None => std::future::pending().await,
        }
    }

    /// Waits until all are done.
    pub(super) async fn end(mut self) {
        while !self.tasks.is_empty() {
            self.one_done().await;
        }
    }

    /// Services that could not be started.
    pub(super) fn unstarted(&self) -> &Unstarted {
        &self.unstarted
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn one_that_hangs_holds_up_no_other_and_is_not_done_twice() {
        let mut jobs = Jobs::default();
        jobs.begin("A".into(), std::future::pending());
        let refused = Refusal::Conflict("no".to_owned());
        jobs.begin("B".into(), async { Err(refused) });
        jobs.one_done().await;
        assert_eq!(jobs.unstarted().names(), [Arc::from("B")]);
        jobs.begin("A".into(), async { Ok(()) });
        assert!(jobs.one_done().now_or_never().is_none());
        jobs.begin("B".into(), async { Ok(()) });
        jobs.one_done().await;
        assert!(jobs.unstarted().is_empty());
    }
}
