//! Which domain runs which workflow: pure.
//!
//! Domains subscribe and may fall silent; workflows are accepted, stopped and moved. Every method
//! answers with the [`Effect`]s that make the world follow. What a domain could not be told is
//! told by the next [`Effect::Reconcile`], so no effect is needed twice.

mod feasible;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use edgeless_types::{DomainId, NodeId, Timestamp, WorkflowId};

use crate::store::WorkflowRecord;
use feasible::Needs;

/// How long a domain that has workflows may stay away after ε-CON has started.
const RETURN_GRACE: Duration = Duration::from_secs(30);

/// What a domain said of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct DomainUpdate {
    /// Which domain.
    pub domain_id: DomainId,
    /// Where its ε-ORC is.
    pub orchestrator_url: String,
    /// Drawn when its ε-ORC started.
    pub nonce: u64,
    /// Counts its updates since then.
    pub counter: u64,
    /// How long it may be silent.
    pub refresh_deadline: Duration,
    /// Totals over its nodes.
    pub totals: Totals,
}

/// Totals over the nodes of a domain.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// Nodes.
    pub num_nodes: u32,
    /// Cores over all nodes.
    pub num_cores: u32,
    /// Memory over all nodes in MiB.
    pub mem_size: u64,
    /// Labels of any node.
    pub labels: BTreeSet<String>,
    /// Nodes in a trusted execution environment.
    pub num_tee: u32,
    /// Nodes with a trusted platform module.
    pub num_tpm: u32,
    /// Runtimes of any node.
    pub runtimes: BTreeSet<String>,
    /// Provider ids of all nodes.
    pub providers: BTreeSet<String>,
    /// Classes of resources that some node provides.
    pub classes: BTreeSet<String>,
    /// All nodes.
    pub node_ids: BTreeSet<NodeId>,
}

/// A domain as ε-CON knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Domain {
    /// The last update.
    pub update: DomainUpdate,
    /// When it is lost.
    pub deadline: Timestamp,
}

/// Whether a domain is to give up everything it has, because it enters the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// It is.
    Yes,
    /// It keeps what it has.
    No,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// ε-ORC of this domain is there, or elsewhere than before.
    Meet {
        /// Which domain.
        domain_id: DomainId,
        /// Where.
        orchestrator_url: String,
    },
    /// The domain enters the cluster for the first time: that is kept.
    Entered(DomainId),
    /// The domain has fallen silent.
    Lost(DomainId),
    /// The workflows are in this domain now; that is kept before anything else is done.
    Assigned(DomainId, Vec<WorkflowId>),
    /// The domain is told everything that is desired of it.
    Reconcile(DomainId),
    /// The domain is to start these workflows.
    Start(DomainId, Vec<WorkflowId>),
}

/// Domains and workflows.
#[derive(Debug, Default)]
pub struct Cluster {
    domains: BTreeMap<DomainId, Domain>,
    deadlines: BTreeSet<(Timestamp, DomainId)>,
    entered: BTreeSet<DomainId>,
    workflows: BTreeMap<WorkflowId, Arc<WorkflowRecord>>,
    /// The same by where they are; under `None` those in stand-by.
    places: BTreeMap<Option<DomainId>, BTreeSet<WorkflowId>>,
    /// Domains that have workflows and are not there.
    lost: BTreeSet<DomainId>,
    /// Some workflow may have a place since the last look.
    look_again: bool,
}

impl Cluster {
    /// The cluster as it was kept. Domains that have workflows are given some time to come back.
    pub fn new(
        workflows: Vec<WorkflowRecord>,
        entered: BTreeSet<DomainId>,
        now: Timestamp,
    ) -> Self {
        let mut cluster = Self {
            entered,
            ..Self::default()
        };
        for record in workflows {
            if let Some(domain_id) = record.domain_id.clone() {
                cluster.deadlines.insert((now + RETURN_GRACE, domain_id));
            }
            cluster.put(Arc::new(record));
        }
        cluster
    }

    /// A domain says that it is there. An update that is not newer than the last changes nothing.
    /// Whether it is to reset itself is answered first; it does so before its next update.
    pub fn on_update(&mut self, update: DomainUpdate, now: Timestamp) -> (Reset, Vec<Effect>) {
        let domain_id = update.domain_id.clone();
        if self.entered.insert(domain_id.clone()) {
            // It is used from its next update on: until then its reset may undo what it is told.
            return (Reset::Yes, vec![Effect::Entered(domain_id)]);
        }
        let known = self.domains.get(&domain_id).map(|domain| &domain.update);
        let same_life = known.is_some_and(|known| known.nonce == update.nonce);
        if same_life && known.is_some_and(|known| known.counter >= update.counter) {
            return (Reset::No, Vec::new());
        }
        let mut effects = Vec::new();
        if known.is_none_or(|known| known.orchestrator_url != update.orchestrator_url) {
            effects.push(Effect::Meet {
                domain_id: domain_id.clone(),
                orchestrator_url: update.orchestrator_url.clone(),
            });
        }
        if known.is_none_or(|known| known.totals != update.totals) {
            self.look_again = true;
        }
        self.forget_deadline(&domain_id);
        let deadline = now + update.refresh_deadline;
        self.deadlines.insert((deadline, domain_id.clone()));
        self.lost.remove(&domain_id);
        let domain = Domain { update, deadline };
        self.domains.insert(domain_id.clone(), domain);
        let told_all = (!same_life).then_some(&domain_id);
        self.place_waiting(told_all, &mut effects);
        if !same_life {
            effects.push(Effect::Reconcile(domain_id));
        }
        (Reset::No, effects)
    }

    /// Time has passed: silent domains are lost, and their workflows go elsewhere if they can.
    pub fn on_tick(&mut self, now: Timestamp) -> Vec<Effect> {
        let mut effects = Vec::new();
        while let Some((deadline, _)) = self.deadlines.first()
            && *deadline <= now
            && let Some((_, domain_id)) = self.deadlines.pop_first()
        {
            self.domains.remove(&domain_id);
            if self.places.contains_key(&Some(domain_id.clone())) {
                self.lost.insert(domain_id.clone());
                self.look_again = true;
            }
            effects.push(Effect::Lost(domain_id));
        }
        self.place_waiting(None, &mut effects);
        effects
    }

    /// Workflows in stand-by and those of lost domains go where they can run. What a domain is
    /// told anyway (`told_all`) needs no start of its own.
    fn place_waiting(&mut self, told_all: Option<&DomainId>, effects: &mut Vec<Effect>) {
        if !std::mem::take(&mut self.look_again) {
            return;
        }
        let of_lost = self.lost.iter().cloned().map(Some);
        let candidates: Vec<WorkflowId> = of_lost
            .chain([None])
            .filter_map(|place| self.places.get(&place))
            .flatten()
            .copied()
            .collect();
        let mut placed: BTreeMap<DomainId, Vec<WorkflowId>> = BTreeMap::new();
        for workflow_id in candidates {
            let Some(record) = self.workflows.get(&workflow_id) else {
                continue;
            };
            // Those that fit nowhere stay: the nodes of a lost domain may well run on.
            if let Ok(domain_id) = self.choose(record, &BTreeSet::new()) {
                self.assign(workflow_id, Some(domain_id.clone()));
                placed.entry(domain_id).or_default().push(workflow_id);
            }
        }
        for (domain_id, workflow_ids) in &placed {
            effects.push(Effect::Assigned(domain_id.clone(), workflow_ids.clone()));
        }
        for (domain_id, workflow_ids) in placed {
            if told_all != Some(&domain_id) {
                effects.push(Effect::Start(domain_id, workflow_ids));
            }
        }
    }

    /// The domain for a workflow: of those that could run it and were not `tried`, the one with
    /// the most cores per workflow already there.
    ///
    /// # Errors
    /// Why none could, in words.
    pub fn choose(
        &self,
        record: &WorkflowRecord,
        tried: &BTreeSet<DomainId>,
    ) -> Result<DomainId, String> {
        if self.domains.is_empty() {
            return Err("no domain is registered".to_owned());
        }
        let needs = Needs::of(record);
        let mut reasons = Vec::new();
        let mut best: Option<(f64, &DomainId)> = None;
        for (domain_id, domain) in &self.domains {
            if tried.contains(domain_id) {
                continue;
            }
            if let Some(reason) = needs.unmet(&domain.update.totals) {
                reasons.push(format!("{domain_id}: {reason}"));
                continue;
            }
            let there = u32::try_from(self.count(domain_id)).unwrap_or(u32::MAX);
            let room = f64::from(domain.update.totals.num_cores) / (f64::from(there) + 1.0);
            if best.is_none_or(|(most, _)| room > most) {
                best = Some((room, domain_id));
            }
        }
        best.map(|(_, domain_id)| domain_id.clone())
            .ok_or_else(|| reasons.join("; "))
    }

    /// Adds a workflow that was accepted, or changes where it is.
    pub fn put(&mut self, record: Arc<WorkflowRecord>) {
        self.remove(record.workflow_id);
        let place = record.domain_id.clone();
        if let Some(domain_id) = &place
            && !self.domains.contains_key(domain_id)
            && !self.deadlines.iter().any(|(_, id)| id == domain_id)
        {
            self.lost.insert(domain_id.clone());
        }
        // It may have been lost, or another may have come, while the workflow was made durable.
        self.look_again = true;
        let there = self.places.entry(place).or_default();
        there.insert(record.workflow_id);
        self.workflows.insert(record.workflow_id, record);
    }

    /// Removes a workflow that is stopped.
    pub fn remove(&mut self, workflow_id: WorkflowId) -> Option<Arc<WorkflowRecord>> {
        let record = self.workflows.remove(&workflow_id)?;
        if let Some(there) = self.places.get_mut(&record.domain_id) {
            there.remove(&workflow_id);
            if there.is_empty() {
                self.places.remove(&record.domain_id);
                if let Some(domain_id) = &record.domain_id {
                    self.lost.remove(domain_id);
                }
            }
        }
        Some(record)
    }

    /// Puts a workflow into another domain; `None` when it is not known (any more).
    pub fn assign(
        &mut self,
        workflow_id: WorkflowId,
        domain_id: Option<DomainId>,
    ) -> Option<Arc<WorkflowRecord>> {
        let mut record = self.remove(workflow_id)?;
        Arc::make_mut(&mut record).domain_id = domain_id;
        let look_again = self.look_again;
        self.put(Arc::clone(&record));
        self.look_again = look_again;
        Some(record)
    }

    /// Whether a domain could run a workflow.
    ///
    /// # Errors
    /// The domain is not there, or what it lacks, in words.
    pub fn could_run(&self, record: &WorkflowRecord, domain_id: &DomainId) -> Result<(), String> {
        let domain = self
            .domains
            .get(domain_id)
            .ok_or_else(|| format!("domain `{domain_id}` is not registered"))?;
        match Needs::of(record).unmet(&domain.update.totals) {
            Some(reason) => Err(format!("domain `{domain_id}` cannot run it: {reason}")),
            None => Ok(()),
        }
    }

    /// A workflow.
    pub fn workflow(&self, workflow_id: WorkflowId) -> Option<&Arc<WorkflowRecord>> {
        self.workflows.get(&workflow_id)
    }

    /// All workflows.
    pub fn workflows(&self) -> impl ExactSizeIterator<Item = &Arc<WorkflowRecord>> {
        self.workflows.values()
    }

    /// Everything that is desired of a domain.
    pub fn desired(&self, domain_id: &DomainId) -> Vec<Arc<WorkflowRecord>> {
        let there = self.places.get(&Some(domain_id.clone()));
        let records = there.into_iter().flatten();
        records
            .filter_map(|workflow_id| self.workflows.get(workflow_id))
            .cloned()
            .collect()
    }

    /// How many workflows are in a domain.
    pub fn count(&self, domain_id: &DomainId) -> usize {
        let there = self.places.get(&Some(domain_id.clone()));
        there.map_or(0, BTreeSet::len)
    }

    /// How many workflows are in no domain.
    pub fn stand_by(&self) -> usize {
        self.places.get(&None).map_or(0, BTreeSet::len)
    }

    /// All domains that are there.
    pub fn domains(&self) -> &BTreeMap<DomainId, Domain> {
        &self.domains
    }

    fn forget_deadline(&mut self, domain_id: &DomainId) {
        match self.domains.get(domain_id) {
            Some(domain) => {
                let deadline = (domain.deadline, domain_id.clone());
                self.deadlines.remove(&deadline);
            }
            // It was expected back; there are as many such as there are domains.
            None => self.deadlines.retain(|(_, expected)| expected != domain_id),
        }
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
