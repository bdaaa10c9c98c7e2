//! Says in the domains what orders want of services.

use std::{collections::BTreeMap, time::Duration};

use edgeless_types::{DomainId, LogicalId, OrderDemand, WorkflowId};
use tokio::{sync::watch, task::JoinSet};

use super::Controller;

/// What is wanted in one domain.
type Demand = Vec<(LogicalId, OrderDemand)>;

/// A domain that did not take it is told again so much later.
const AGAIN: Duration = Duration::from_secs(1);

/// Tells each domain what orders want there, the latest whenever it has answered: one that does not answer holds up no
/// other.
pub struct Tellers {
    con: Controller,
    latest: BTreeMap<DomainId, watch::Sender<Demand>>,
    tasks: JoinSet<()>,
    /// How many tasks waited for what was told last.
    waiting: BTreeMap<WorkflowId, u64>,
}

impl Tellers {
    /// No domain was told anything.
    pub fn new(con: Controller) -> Self {
        Self {
            con,
            latest: BTreeMap::new(),
            tasks: JoinSet::new(),
            waiting: BTreeMap::new(),
        }
    }

    /// How many tasks waited for the service with this workflow when that was told last.
    pub fn told_waiting(&self, workflow_id: WorkflowId) -> u64 {
        self.waiting.get(&workflow_id).copied().unwrap_or_default()
    }

    /// Nothing was wanted of any domain last time.
    pub fn are_at_rest(&self) -> bool {
        let mut latest = self.latest.values();
        latest.all(|latest| latest.borrow().is_empty())
    }

    /// Tells the domains what orders want of the vertices with this name in these workflows. A domain of which nothing
    /// is wanted any more is told so once.
    pub fn tell(&mut self, vertex: &str, wanted: Vec<(WorkflowId, OrderDemand)>) {
        self.waiting = wanted.iter().map(|(id, it)| (*id, it.waiting)).collect();
        let by_domain = self.con.by_domain(vertex, wanted);
        for (domain_id, latest) in &self.latest {
            if !by_domain.contains_key(domain_id) {
                latest.send_if_modified(|demand| !std::mem::take(demand).is_empty());
            }
        }
        for (domain_id, demand) in by_domain {
            let (con, tasks) = (&self.con, &mut self.tasks);
            let latest = self.latest.entry(domain_id.clone()).or_insert_with(|| {
                let (latest, told) = watch::channel(Demand::new());
                tasks.spawn(con.clone().tell_latest(domain_id, told));
                latest
            });
            latest.send_replace(demand);
        }
    }
}

impl Controller {
    fn by_domain(
        &self,
        vertex: &str,
        wanted: Vec<(WorkflowId, OrderDemand)>,
    ) -> BTreeMap<DomainId, Demand> {
        let mut by_domain = BTreeMap::<DomainId, Demand>::new();
        let state = self.state();
        for (workflow_id, demand) in wanted {
            let Some(record) = state.cluster.workflow(workflow_id) else {
                continue;
            };
            let mut vertices = record.vertices.iter();
            let vertex = vertices.find(|it| it.spec.name() == vertex);
            if let (Some(vertex), Some(domain_id)) = (vertex, &record.domain_id) {
                let demands = by_domain.entry(domain_id.clone()).or_default();
                demands.push((vertex.logical_id, demand));
            }
        }
        by_domain
    }

    async fn tell_latest(self, domain_id: DomainId, mut latest: watch::Receiver<Demand>) {
        while latest.changed().await.is_ok() {
            // One that is not there is told when it is, as long as something is wanted.
            while let Some(link) = self.link(&domain_id) {
                let demand = latest.borrow_and_update().clone();
                let mut client = link.client;
                let Err(reason) = client.tell_demand(demand).await else {
                    break;
                };
                tracing::debug!(%domain_id, reason, "a domain was not told what orders want");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}
