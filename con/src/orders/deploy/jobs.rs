//! What is being done about services at the same time, each at most once: a domain that does not answer holds up its own
//! services only.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::future::BoxFuture;
use rustc_hash::FxHashMap;
use tokio::task::{Id, JoinSet};

use super::unstarted::Unstarted;
use crate::problem::Refusal;

type Outcome = Result<(), Refusal>;
type Job = BoxFuture<'static, Outcome>;

/// What is being done, and what could not be.
#[derive(Default)]
pub(super) struct Jobs {
    tasks: JoinSet<Outcome>,
    /// About which service each of them is.
    names: FxHashMap<Id, Arc<str>>,
    /// Services about which something is being done, and what is to be done after that.
    busy: BTreeMap<Arc<str>, Option<Job>>,
    unstarted: Unstarted,
}

impl Jobs {
    /// Does something about a service, unless something is being done about it.
    pub(super) fn begin(
        &mut self,
        name: Arc<str>,
        job: impl Future<Output = Outcome> + Send + 'static,
    ) {
        if !self.busy.contains_key(&name) {
            self.spawn(name, Box::pin(job));
        }
    }

    /// Does something about a service, at once or after what is being done about it; of several that wait for that
    /// the last one only.
    pub(super) fn begin_or_follow(
        &mut self,
        name: Arc<str>,
        job: impl Future<Output = Outcome> + Send + 'static,
    ) {
        match self.busy.get_mut(&name) {
            Some(after) => *after = Some(Box::pin(job)),
            None => self.spawn(name, Box::pin(job)),
        }
    }

    fn spawn(&mut self, name: Arc<str>, job: Job) {
        let task = self.tasks.spawn(job);
        self.names.insert(task.id(), Arc::clone(&name));
        self.busy.insert(name, None);
    }

    /// Waits until one is done; for ever without any.
    pub(super) async fn one_done(&mut self) {
        let (id, outcome) = match self.tasks.join_next_with_id().await {
            Some(Ok((id, outcome))) => (id, Some(outcome)),
            Some(Err(error)) => {
                tracing::error!(%error, "what was done about a service broke");
                (error.id(), None)
            }
            None => std::future::pending().await,
        };
        let Some(name) = self.names.remove(&id) else {
            return;
        };
        if let Some(outcome) = outcome {
            self.unstarted.follow(&name, outcome);
        }
        if let Some(after) = self.busy.remove(&name).flatten() {
            self.spawn(name, after);
        }
    }

    /// Nothing is being done.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Waits until all are done; what was to follow them is not.
    pub(super) async fn end(mut self) {
        for after in self.busy.values_mut() {
            *after = None;
        }
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
    use std::sync::atomic::{AtomicU32, Ordering};

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

    #[tokio::test]
    async fn what_comes_while_something_is_being_done_follows_it_once() {
        let done = Arc::new(AtomicU32::new(0));
        let count = || {
            let done = Arc::clone(&done);
            async move {
                done.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
        };
        let mut jobs = Jobs::default();
        let (go, gone) = tokio::sync::oneshot::channel();
        jobs.begin("A".into(), gone.map(|_: Result<(), _>| Ok(())));
        jobs.begin_or_follow("A".into(), count());
        jobs.begin_or_follow("A".into(), count());
        jobs.begin("A".into(), count());
        assert!(jobs.one_done().now_or_never().is_none());
        go.send(()).unwrap();
        jobs.one_done().await;
        assert!(!jobs.is_empty());
        jobs.one_done().await;
        assert!(jobs.is_empty());
        assert_eq!(done.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn one_that_breaks_holds_up_nothing_that_comes_after_it() {
        let mut jobs = Jobs::default();
        jobs.begin("A".into(), async { panic!("on purpose") });
        let refused = Refusal::Conflict("no".to_owned());
        jobs.begin_or_follow("A".into(), async { Err(refused) });
        jobs.one_done().await;
        jobs.one_done().await;
        assert_eq!(jobs.unstarted().names(), [Arc::from("A")]);
        assert!(jobs.busy.is_empty() && jobs.names.is_empty());
    }
}
