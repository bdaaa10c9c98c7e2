//! The one owner of what ε-CON knows: accepts, stops, moves and shows workflows.
//!
//! Everything accepted is on disk before it is acknowledged. Which domain runs what is decided by
//! the pure [`Cluster`]; the domains are told by their [`crate::worker`]s. A request is carried
//! through even if its client goes away in the middle. `accept` takes workflows, `workflows`
//! stops, moves and shows them, `update` changes them, which `follow` sees to its end, `dry_run` only asks; `demand` says what orders want of services; `registry` has functions and their code, `domains` the domains, `nodes` operations on nodes,
//! `keys` idempotency.

mod accept;
mod choice;
mod demand;
mod domains;
mod dry_run;
mod follow;
mod keys;
mod nodes;
mod registry;
mod update;
mod workflows;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use edgeless_daemon::{code::CodeStore, status::Readiness};
use edgeless_types::{CodeDigest, DomainId, Timestamp, WorkflowId};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    check::{Known, RegisteredClass},
    cluster::Cluster,
    epoch::Epochs,
    metrics::Metrics,
    problem::Refusal,
    store::{FunctionRecord, Kept, Store},
    worker::Link,
};
#[cfg(test)]
pub(crate) use accept::new_record;
pub use accept::{Outcome, Wait, judge};
pub use demand::Tellers;
use keys::Keys;
pub use nodes::Operation;

/// The time: no step of the wall clock moves it, so no domain is lost by one.
fn now() -> Timestamp {
    edgeless_daemon::wall_clock()
}

/// Asks the owner; cheap to clone.
#[derive(Clone)]
pub struct Controller(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    store: Store,
    code: CodeStore,
    epochs: Epochs,
    metrics: Metrics,
    readiness: Readiness,
    /// Requests being carried through, and workers.
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

/// Never locked across an await.
struct State {
    cluster: Cluster,
    functions: BTreeMap<(String, String), FunctionRecord>,
    keys: Keys,
    links: BTreeMap<DomainId, Link>,
    /// Workflows that are being put into a domain or updated. Either may end with a stop: were two at once, the stop
    /// of one could come after the start of the other.
    changing: BTreeSet<WorkflowId>,
}

impl Controller {
    /// The owner of what was kept, in a life that is greater than all before.
    pub fn new(
        kept: Kept,
        life: u64,
        store: Store,
        code: CodeStore,
        metrics: Metrics,
        readiness: Readiness,
        shutdown: CancellationToken,
    ) -> Self {
        let by_name = |record: FunctionRecord| {
            let name = (record.id.clone(), record.version.clone());
            (name, record)
        };
        let state = State {
            cluster: Cluster::new(kept.workflows, kept.domains, now()),
            functions: kept.functions.into_iter().map(by_name).collect(),
            keys: Keys::new(kept.keys),
            links: BTreeMap::new(),
            changing: BTreeSet::new(),
        };
        let con = Self(Arc::new(Inner {
            state: Mutex::new(state),
            store,
            code,
            epochs: Epochs::new(life),
            metrics,
            readiness,
            tasks: TaskTracker::new(),
            shutdown,
        }));
        con.observe();
        con.follow_all();
        con
    }

    /// The life of this ε-CON.
    pub fn life(&self) -> u64 {
        self.0.epochs.life()
    }

    /// Waits for requests that are being carried through and for workers, after shutdown; then
    /// lets go of the store.
    pub async fn end(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
        self.0.store.close().await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn link(&self, domain_id: &DomainId) -> Option<Link> {
        self.state().links.get(domain_id).cloned()
    }

    /// Does something to its end, whether or not its client waits for it.
    async fn carry_through<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Refusal>> + Send + 'static,
    ) -> Result<T, Refusal> {
        let done = self.0.tasks.spawn(work).await;
        done.unwrap_or_else(|error| {
            tracing::error!(%error, "a request was not carried through");
            Err(Refusal::Ending)
        })
    }

    /// Shows in `/readyz` and `/metrics` how things are.
    fn observe(&self) {
        let (domains, workflows, stand_by) = {
            let state = self.state();
            let cluster = &state.cluster;
            let numbers = (cluster.domains().len(), cluster.workflows().len());
            (numbers.0, numbers.1, cluster.stand_by())
        };
        self.0.metrics.show(domains, workflows, stand_by);
        if domains > 0 {
            self.0.readiness.restore("domains");
        } else if self
            .0
            .readiness
            .degrade("domains", "no domain is registered")
        {
            tracing::warn!("no domain is registered: workflows cannot run yet");
        }
    }
}

/// What is known of code and classes; each look is short.
impl Known for Inner {
    fn class(&self, id: &str, version: &str) -> Option<RegisteredClass> {
        let name = (id.to_owned(), version.to_owned());
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let record = state.functions.get(&name)?;
        Some(RegisteredClass {
            function_type: record.function_type.clone(),
            code: record.code,
            outputs: record.outputs.clone(),
        })
    }

    fn has_code(&self, digest: CodeDigest) -> bool {
        self.code.has(digest)
    }
}

fn unknown_workflow(workflow_id: WorkflowId) -> Refusal {
    Refusal::Unknown {
        what: "workflow",
        id: workflow_id.to_string(),
    }
}
