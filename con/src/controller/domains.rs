//! Domains: how they are, what they say, and what the cluster decides about them.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use edgeless_proto::v1;
use edgeless_types::{DomainId, LogicalId, WorkflowId};

use super::{Controller, Inner, now};
use crate::{
    cluster::{Answer, DomainUpdate, Effect},
    orc_client::OrcClient,
    problem::Refusal,
    status::{self, DomainStatus, NodeStatus, VertexStatus},
    store::{WorkflowRecord, Write},
    worker::{Desired, Link},
};

impl Controller {
    /// All domains.
    pub fn domains(&self) -> Vec<DomainStatus> {
        let state = self.state();
        let domains = state.cluster.domains().keys();
        domains
            .filter_map(|domain_id| status::of_domain(&state.cluster, domain_id))
            .collect()
    }

    /// One domain.
    ///
    /// # Errors
    /// It is not known.
    pub fn domain(&self, domain_id: &DomainId) -> Result<DomainStatus, Refusal> {
        let state = self.state();
        status::of_domain(&state.cluster, domain_id).ok_or_else(|| unknown_domain(domain_id))
    }

    /// The nodes of a domain, as it says.
    ///
    /// # Errors
    /// The domain is not known or does not answer.
    pub async fn nodes(&self, domain_id: &DomainId) -> Result<Vec<NodeStatus>, Refusal> {
        let mut client = self.known_link(domain_id)?.client;
        let nodes = client.nodes().await.map_err(Refusal::Unreachable)?;
        Ok(nodes.into_iter().filter_map(status::of_node).collect())
    }

    /// The vertices of a domain, as it says.
    ///
    /// # Errors
    /// The domain is not known or does not answer.
    pub async fn instances(&self, domain_id: &DomainId) -> Result<Vec<VertexStatus>, Refusal> {
        let mut client = self.known_link(domain_id)?.client;
        let seen = client.look(&[]).await.map_err(Refusal::Unreachable)?;
        let mut all: Vec<_> = seen.into_values().filter_map(status::of_vertex).collect();
        all.sort_by_key(|vertex| vertex.logical_id);
        Ok(all)
    }

    fn known_link(&self, domain_id: &DomainId) -> Result<Link, Refusal> {
        let link = self.link(domain_id);
        link.ok_or_else(|| unknown_domain(domain_id))
    }

    /// What a domain says about vertices; about all when none is named.
    pub(super) async fn look(
        &self,
        domain_id: &DomainId,
        logical_ids: &[LogicalId],
    ) -> Result<HashMap<LogicalId, v1::VertexStatus>, String> {
        let link = self.link(domain_id);
        let mut link = link.ok_or("its domain is not registered")?;
        link.client.look(logical_ids).await
    }

    /// A domain says that it is there; what it is answered.
    pub async fn on_domain(&self, update: DomainUpdate) -> Answer {
        let (answer, effects) = self.state().cluster.on_update(update, now());
        self.carry_out(effects).await;
        answer
    }

    /// Time has passed; after how long that has to be said again, if nothing else happens.
    pub async fn on_tick(&self) -> Option<Duration> {
        let at = now();
        let (effects, expired) = {
            let mut state = self.state();
            (state.cluster.on_tick(at), state.keys.expire(at))
        };
        self.carry_out(effects).await;
        if !expired.is_empty() {
            self.keep(expired.into_iter().map(Write::KeyGone).collect())
                .await;
        }
        self.observe();
        let due = self.state().cluster.next_due();
        due.map(|due| due.since(now()))
    }

    /// What is to be kept is kept first; then the domains are told, without waiting for them.
    pub(super) async fn carry_out(&self, effects: Vec<Effect>) {
        let mut writes = Vec::new();
        for effect in &effects {
            match effect {
                Effect::Entered(domain_id) => {
                    tracing::info!(%domain_id, "a domain enters the cluster: it is reset");
                    writes.push(Write::Domain(domain_id.clone()));
                }
                Effect::Assigned(domain_id, workflow_ids) => {
                    let number = workflow_ids.len();
                    tracing::info!(%domain_id, number, "workflows go to a domain");
                    self.0.metrics.moved(number);
                    let moved = workflow_ids.iter().copied();
                    writes.extend(moved.map(|id| Write::Moved(id, domain_id.clone())));
                }
                Effect::Lost(domain_id) => {
                    tracing::warn!(%domain_id, "a domain did not refresh in time: it is lost");
                }
                Effect::Meet { .. } | Effect::Reconcile(_) | Effect::Start(..) | Effect::Ask(_) => {
                }
            }
        }
        if !writes.is_empty() {
            self.keep(writes).await;
        }
        for effect in effects {
            match effect {
                Effect::Meet {
                    domain_id,
                    orchestrator_url,
                } => self.meet(domain_id, &orchestrator_url),
                Effect::Reconcile(domain_id) => {
                    if let Some(link) = self.link(&domain_id) {
                        link.reconcile();
                    }
                }
                Effect::Start(domain_id, workflow_ids) => {
                    self.start_later(&domain_id, &workflow_ids);
                }
                Effect::Ask(ask) => self.ask_later(ask),
                Effect::Entered(_) | Effect::Assigned(..) | Effect::Lost(_) => {}
            }
        }
    }

    pub(super) async fn keep(&self, writes: Vec<Write>) {
        if let Err(error) = self.0.store.write(writes).await {
            tracing::error!(%error, "a decision is not kept; after a restart it is made anew");
        }
    }

    /// Starts workflows that were moved; what their domain could not be told it is told later. An order
    /// may have waited so long that its workflow was stopped or moved on meanwhile.
    fn start_later(&self, domain_id: &DomainId, workflow_ids: &[WorkflowId]) {
        let Some(link) = self.link(domain_id) else {
            return;
        };
        let records: Vec<_> = {
            let state = self.state();
            let known = |id: &WorkflowId| state.cluster.workflow(*id).cloned();
            workflow_ids.iter().filter_map(known).collect()
        };
        let con = self.clone();
        self.0.tasks.spawn(async move {
            let starts = records.into_iter().map(async |record| {
                match link.start(Arc::clone(&record)).await {
                    // It may have been stopped or moved on meanwhile.
                    Ok(_) => {
                        con.withdraw_unless_current(&record).await;
                    }
                    Err(reason) => tracing::debug!(reason, "a moved workflow is started later"),
                }
            });
            futures_util::future::join_all(starts).await;
        });
    }

    /// Makes a worker for a domain that is new or elsewhere than before.
    fn meet(&self, domain_id: DomainId, url: &str) {
        let known = self.link(&domain_id);
        if known.is_some_and(|known| known.url == url) {
            return;
        }
        let client = match OrcClient::new(url, self.0.code.clone(), self.0.epochs.clone()) {
            Ok(client) => client,
            Err(error) => {
                tracing::warn!(%domain_id, url, %error, "a domain's address is of no use");
                return;
            }
        };
        tracing::info!(%domain_id, url, "a domain is there");
        let desired = Arc::new(OfDomain(Arc::downgrade(&self.0), domain_id.clone()));
        let shutdown = self.0.shutdown.clone();
        let (link, worker) = Link::new(url.to_owned(), client, desired, shutdown);
        self.0.tasks.spawn(worker);
        // The worker of the address before ends with the last that holds its link.
        link.reconcile();
        self.state().links.insert(domain_id, link);
    }
}

/// What is desired of a domain, for its worker. The worker must not keep its owner.
struct OfDomain(Weak<Inner>, DomainId);

impl Desired for OfDomain {
    fn all(&self) -> Vec<Arc<WorkflowRecord>> {
        match self.0.upgrade() {
            Some(inner) => Controller(inner).state().cluster.desired(&self.1),
            None => Vec::new(),
        }
    }

    fn now(&self, record: &Arc<WorkflowRecord>) -> Option<Arc<WorkflowRecord>> {
        let con = Controller(self.0.upgrade()?);
        let state = con.state();
        state.cluster.as_desired(record, &self.1)
    }

    fn has(&self, workflow_id: WorkflowId) -> bool {
        let Some(con) = self.0.upgrade().map(Controller) else {
            return false;
        };
        let state = con.state();
        state.cluster.is_desired(workflow_id, &self.1)
    }
}

fn unknown_domain(domain_id: &DomainId) -> Refusal {
    Refusal::Unknown {
        what: "domain",
        id: domain_id.to_string(),
    }
}
