//! Which domain is the best for a workflow: pure.

use std::collections::{BTreeMap, BTreeSet};

use edgeless_types::DomainId;

use super::{
    Cluster, Domain, Effect,
    feasible::{Load, Needs, Room, Verdict},
    totals::{Amounts, Ask, Lookup, Question},
};
use crate::store::WorkflowRecord;

/// Domains whose reasons are named when none could run a workflow.
const REASONS: usize = 20;

/// No domain could run a workflow as far as is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NoDomain {
    /// Why, in words: what each domain lacks.
    pub reason: String,
    /// What must be asked before some of them can be said to lack anything.
    pub open: BTreeMap<DomainId, BTreeSet<Question>>,
}

impl Cluster {
    /// The domain for a workflow: of those that could run it and were not `tried`, the one with the
    /// largest share of its capacity free afterwards. What was assigned since a domain last said
    /// what is free counts as taken.
    ///
    /// # Errors
    /// Why none could.
    pub fn choose(
        &self,
        record: &WorkflowRecord,
        tried: &BTreeSet<DomainId>,
    ) -> Result<DomainId, NoDomain> {
        let needs = Needs::of(record);
        let mut reasons = Vec::new();
        let mut open = BTreeMap::new();
        let mut best: Option<(f64, &DomainId)> = None;
        for (domain_id, domain) in &self.domains {
            if tried.contains(domain_id) {
                continue;
            }
            let assigned = self.assigned(domain_id);
            let available = available(domain, assigned);
            match needs.look(domain_id, domain, self.room(&needs, domain_id, domain)) {
                Verdict::Could => {
                    let share = share_after(domain, available, assigned, needs.load);
                    if best.is_none_or(|(most, _)| share > most) {
                        best = Some((share, domain_id));
                    }
                }
                Verdict::Lacks(reason) => reasons.push(format!("{domain_id}: {reason}")),
                Verdict::Open(questions) => {
                    reasons.push(format!("{domain_id}: it is asked what nodes it has"));
                    open.insert(domain_id.clone(), questions);
                }
            }
        }
        if let Some((_, domain_id)) = best {
            return Ok(domain_id.clone());
        }
        if reasons.is_empty() {
            reasons.push(match self.domains.is_empty() {
                true => "no domain is registered".to_owned(),
                false => "no other domain is registered".to_owned(),
            });
        }
        let more = reasons.len().saturating_sub(REASONS);
        reasons.truncate(REASONS);
        if more > 0 {
            reasons.push(format!("and {more} more domains"));
        }
        let reason = reasons.join("; ");
        Err(NoDomain { reason, open })
    }

    /// Whether a domain could run a workflow.
    ///
    /// # Errors
    /// The domain is not there, or what it lacks, without naming it.
    pub fn could_run(&self, record: &WorkflowRecord, domain_id: &DomainId) -> Result<(), NoDomain> {
        let no = |reason: String| NoDomain {
            reason,
            open: BTreeMap::new(),
        };
        let domain = self.domains.get(domain_id);
        let domain = domain.ok_or_else(|| no("it is not registered".to_owned()))?;
        let needs = Needs::of(record);
        match needs.look(domain_id, domain, self.room(&needs, domain_id, domain)) {
            Verdict::Could => Ok(()),
            Verdict::Lacks(reason) => Err(no(reason)),
            Verdict::Open(questions) => Err(NoDomain {
                reason: "it does not say what nodes it has".to_owned(),
                open: [(domain_id.clone(), questions)].into(),
            }),
        }
    }

    /// What is to be asked so that a choice can be made; what is asked already is not asked again.
    pub fn ask(&mut self, open: BTreeMap<DomainId, BTreeSet<Question>>) -> Vec<Ask> {
        let mut asks = Vec::new();
        for (domain_id, questions) in open {
            let Some(domain) = self.domains.get_mut(&domain_id) else {
                continue;
            };
            let questions = domain.facts.ask(questions);
            if !questions.is_empty() {
                let nonce = domain.nonce;
                asks.push(Ask {
                    domain_id,
                    nonce,
                    questions,
                });
            }
        }
        asks
    }

    /// The same for one that waits for the answers, whoever asks for them as well.
    pub fn ask_now(&self, open: BTreeMap<DomainId, BTreeSet<Question>>) -> Vec<Ask> {
        let ask = |(domain_id, questions): (DomainId, _)| {
            let nonce = self.domains.get(&domain_id)?.nonce;
            Some(Ask {
                domain_id,
                nonce,
                questions,
            })
        };
        open.into_iter().filter_map(ask).collect()
    }

    /// A workflow is about to be put into its domain: what it asks for is not given to others.
    pub fn reserve(&mut self, record: &WorkflowRecord) {
        let load = self.loads.entry(record.domain_id.clone()).or_default();
        *load = load.plus(Load::of(record));
    }

    /// It is put there now, or will not be.
    pub fn release(&mut self, record: &WorkflowRecord) {
        if let Some(load) = self.loads.get_mut(&record.domain_id) {
            *load = load.minus(Load::of(record));
            if *load == Load::default() {
                self.loads.remove(&record.domain_id);
            }
        }
    }

    /// A domain has answered, or could not (`None`): then it is asked again after its next update.
    pub fn on_answer(&mut self, ask: &Ask, answer: Option<Lookup>) -> Vec<Effect> {
        let mut effects = Vec::new();
        let domain = self.domains.get_mut(&ask.domain_id);
        let Some(domain) = domain.filter(|domain| domain.nonce == ask.nonce) else {
            return effects;
        };
        self.look_again |= answer.is_some();
        domain.facts.on_answer(&ask.questions, answer);
        self.place_waiting(None, &mut effects);
        effects
    }

    /// What of a domain's amounts is free and not promised to anything.
    pub fn available(&self, domain_id: &DomainId) -> Amounts {
        let domain = self.domains.get(domain_id);
        domain.map_or_else(Amounts::default, |domain| {
            available(domain, self.assigned(domain_id))
        })
    }

    fn room(&self, needs: &Needs<'_>, domain_id: &DomainId, domain: &Domain) -> Room {
        let assigned = self.assigned(domain_id);
        let lower = |priority| self.ranks.lower(domain_id, priority);
        Room {
            available: available(domain, assigned),
            lower: needs.priority.map_or_else(Amounts::default, lower),
            going: domain.totals.desired.minus(assigned.ask),
        }
    }

    fn assigned(&self, domain_id: &DomainId) -> Load {
        let load = self.loads.get(&Some(domain_id.clone()));
        load.copied().unwrap_or_default()
    }
}

/// What is free, less what was assigned and is not among what the domain says that it was told. What
/// it has not stopped yet although it was taken from it will be free.
fn available(domain: &Domain, assigned: Load) -> Amounts {
    let totals = &domain.totals;
    totals.free.plus(totals.desired).minus(assigned.ask)
}

/// The share of its capacity that is free with one more load: of processor time or memory, whichever
/// is scarcer. It is negative where what asks for nothing counts for more than there is.
#[expect(
    clippy::cast_precision_loss,
    reason = "amounts are compared, not counted"
)]
fn share_after(domain: &Domain, available: Amounts, assigned: Load, load: Load) -> f64 {
    // Of what is assigned the domain counts only what was asked for.
    let silent = assigned.weight.minus(assigned.ask);
    let share = |available: u64, silent: u64, weight: u64, capacity: u64| {
        (available as f64 - silent as f64 - weight as f64) / (capacity.max(1) as f64)
    };
    let capacity = domain.totals.capacity;
    let cpu = share(
        available.cpu_millis,
        silent.cpu_millis,
        load.weight.cpu_millis,
        capacity.cpu_millis,
    );
    let memory = share(
        available.memory_mib,
        silent.memory_mib,
        load.weight.memory_mib,
        capacity.memory_mib,
    );
    cpu.min(memory)
}

#[cfg(test)]
mod tests;
