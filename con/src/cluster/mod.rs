//! Which domain runs which workflow: pure.
//!
//! Domains subscribe and may fall silent; workflows are accepted, stopped and moved. Every method
//! answers with the [`Effect`]s that make the world follow. What a domain could not be told is
//! told by the next [`Effect::Reconcile`], so no effect is needed twice.

mod choice;
mod coming;
mod feasible;
mod ranks;
mod totals;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use edgeless_types::{DomainId, Timestamp, WorkflowId};

use crate::store::WorkflowRecord;
pub use choice::NoDomain;
use feasible::Load;
use ranks::Ranks;
use totals::Facts;
pub use totals::{Amounts, Ask, DomainUpdate, Lookup, Question, Totals};

/// How long a domain that has workflows may stay away after ε-CON has started.
const RETURN_GRACE: Duration = Duration::from_secs(30);

/// A domain as ε-CON knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Domain {
    /// Where its ε-ORC is.
    pub orchestrator_url: String,
    /// The life of its ε-ORC.
    pub nonce: u64,
    /// Updates in this life.
    pub counter: u64,
    /// Labels of the domain itself.
    pub labels: BTreeSet<String>,
    /// What it last said of its nodes.
    pub totals: Totals,
    /// When it is lost.
    pub deadline: Timestamp,
    /// The life before, if it was replaced while it was there.
    former: Option<u64>,
    facts: Facts,
}

/// What a domain is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Its update was taken, or is older than another.
    Taken,
    /// It enters the cluster: it is to give up everything it has.
    Reset,
    /// Its totals are not known: it is used once it has said them.
    WantTotals,
    /// Another ε-ORC uses its id; where that is.
    Duplicate(String),
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
    /// The domain is asked; [`Cluster::on_answer`] takes the answer.
    Ask(Ask),
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
    /// Workflows that are about to start in another domain, as they are to be there.
    coming: BTreeMap<WorkflowId, Arc<WorkflowRecord>>,
    /// What those in each place ask for in sum.
    loads: BTreeMap<Option<DomainId>, Load>,
    /// The same by priorities.
    ranks: Ranks,
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
    pub fn on_update(&mut self, update: DomainUpdate, now: Timestamp) -> (Answer, Vec<Effect>) {
        let domain_id = update.domain_id.clone();
        if self.entered.insert(domain_id.clone()) {
            // It is used from its next update on: until then its reset may undo what it is told.
            return (Answer::Reset, vec![Effect::Entered(domain_id)]);
        }
        let known = self.domains.get(&domain_id);
        if let Some(known) = known
            && known.is_another(&update)
        {
            return (
                Answer::Duplicate(known.orchestrator_url.clone()),
                Vec::new(),
            );
        }
        let same_life = known.is_some_and(|known| known.nonce == update.nonce);
        if same_life && known.is_some_and(|known| known.counter >= update.counter) {
            return (Answer::Taken, Vec::new());
        }
        let same_place =
            known.is_some_and(|known| known.orchestrator_url == update.orchestrator_url);
        let before = known.filter(|_| same_life).map(|known| &known.totals);
        let Some(totals) = update.totals.or_else(|| before.cloned()) else {
            return (Answer::WantTotals, Vec::new());
        };
        if before.is_none_or(|before| totals.improves(before)) {
            self.look_again = true;
        }
        self.forget_deadline(&domain_id);
        let deadline = now + update.refresh_deadline;
        self.deadlines.insert((deadline, domain_id.clone()));
        self.lost.remove(&domain_id);
        let known = self.domains.remove(&domain_id);
        let (former, mut facts) = match known {
            Some(known) if same_life => (known.former, known.facts),
            Some(known) => (Some(known.nonce), Facts::default()),
            None => (None, Facts::default()),
        };
        self.look_again |= std::mem::take(&mut facts.ask_again);
        facts.on_membership(totals.membership);
        let domain = Domain {
            orchestrator_url: update.orchestrator_url.clone(),
            nonce: update.nonce,
            counter: update.counter,
            labels: update.labels,
            totals,
            deadline,
            former,
            facts,
        };
        self.domains.insert(domain_id.clone(), domain);
        let mut effects = Vec::new();
        if !same_place {
            effects.push(Effect::Meet {
                domain_id: domain_id.clone(),
                orchestrator_url: update.orchestrator_url,
            });
        }
        let told_all = (!same_life).then_some(&domain_id);
        self.place_waiting(told_all, &mut effects);
        if !same_life {
            effects.push(Effect::Reconcile(domain_id));
        }
        (Answer::Taken, effects)
    }

    /// When [`Cluster::on_tick`] has something to do; none: nothing is to come.
    pub fn next_due(&self) -> Option<Timestamp> {
        let deadline = self.deadlines.first().map(|(deadline, _)| *deadline);
        match self.look_again {
            true => Some(Timestamp::EPOCH),
            false => deadline,
        }
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
        let mut open: BTreeMap<DomainId, BTreeSet<Question>> = BTreeMap::new();
        for workflow_id in candidates {
            let Some(record) = self.workflows.get(&workflow_id) else {
                continue;
            };
            match self.choose(record, &BTreeSet::new()) {
                Ok(domain_id) => {
                    self.assign(workflow_id, Some(domain_id.clone()));
                    placed.entry(domain_id).or_default().push(workflow_id);
                }
                // Those that fit nowhere stay: the nodes of a lost domain may well run on.
                Err(none) => {
                    for (domain_id, questions) in none.open {
                        open.entry(domain_id).or_default().extend(questions);
                    }
                }
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
        effects.extend(self.ask(open).into_iter().map(Effect::Ask));
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
        self.reserve(&record);
        self.ranks.put(&record);
        let there = self.places.entry(place).or_default();
        there.insert(record.workflow_id);
        self.workflows.insert(record.workflow_id, record);
    }

    /// Removes a workflow that is stopped.
    pub fn remove(&mut self, workflow_id: WorkflowId) -> Option<Arc<WorkflowRecord>> {
        let record = self.workflows.remove(&workflow_id)?;
        // What it asked for is free for others.
        self.look_again = true;
        self.release(&record);
        self.ranks.remove(&record);
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
        let look_again = self.look_again;
        let mut record = self.remove(workflow_id)?;
        Arc::make_mut(&mut record).domain_id = domain_id;
        self.put(Arc::clone(&record));
        self.look_again = look_again;
        Some(record)
    }

    /// A workflow has other vertices and stays where it is; `None` when it is not known (any more).
    pub fn update(&mut self, after: &WorkflowRecord) -> Option<Arc<WorkflowRecord>> {
        let domain_id = self.remove(after.workflow_id)?.domain_id.clone();
        let record = Arc::new(WorkflowRecord {
            domain_id,
            ..after.clone()
        });
        self.put(Arc::clone(&record));
        Some(record)
    }

    /// A workflow.
    pub fn workflow(&self, workflow_id: WorkflowId) -> Option<&Arc<WorkflowRecord>> {
        self.workflows.get(&workflow_id)
    }

    /// All workflows.
    pub fn workflows(&self) -> impl ExactSizeIterator<Item = &Arc<WorkflowRecord>> {
        self.workflows.values()
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

impl Domain {
    /// Whether an update comes from another ε-ORC with the same id, and not from this one or the next
    /// life of it. A next life is at the same address, or comes after this one has fallen silent; a
    /// life that was replaced does not return.
    fn is_another(&self, update: &DomainUpdate) -> bool {
        let same_place = self.orchestrator_url == update.orchestrator_url;
        self.nonce != update.nonce && (!same_place || self.former == Some(update.nonce))
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
