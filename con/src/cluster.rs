//! Which domain runs which workflow: pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use edgeless_types::{NodeId, Presence, Requirements, Timestamp, WorkflowId, workflow::VertexSpec};

use crate::store::WorkflowRecord;

/// What a domain said of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DomainUpdate {
    /// Which domain.
    pub domain_id: String,
    /// Where its ε-ORC is.
    pub orchestrator_url: String,
    /// Its life.
    pub nonce: u64,
    /// Counts its updates.
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

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// ε-ORC of this domain is there, or elsewhere than before.
    Meet {
        /// Which domain.
        domain_id: String,
        /// Where.
        orchestrator_url: String,
    },
    /// The domain is told everything that is desired of it.
    Reconcile(String),
    /// The domain has entered the cluster for the first time.
    Entered(String),
    /// The workflow is in another domain now, or in none; that is to be kept.
    Assigned(WorkflowId),
}

/// Domains and workflows.
#[derive(Debug, Default)]
pub struct Cluster {
    domains: BTreeMap<String, Domain>,
    workflows: BTreeMap<WorkflowId, WorkflowRecord>,
    entered: BTreeSet<String>,
}

impl Cluster {
    /// The cluster as it was kept.
    pub fn new(workflows: Vec<WorkflowRecord>, entered: BTreeSet<String>) -> Self {
        let workflows = workflows
            .into_iter()
            .map(|record| (record.workflow_id, record));
        Self {
            domains: BTreeMap::new(),
            workflows: workflows.collect(),
            entered,
        }
    }

    /// A domain says that it is there. True: it is to reset itself.
    pub fn on_update(&mut self, update: DomainUpdate, now: Timestamp) -> (bool, Vec<Effect>) {
        let domain_id = update.domain_id.clone();
        let mut effects = Vec::new();
        if self.entered.insert(domain_id.clone()) {
            // It is used from its next update on: until then it may still reset itself.
            return (true, vec![Effect::Entered(domain_id)]);
        }
        let known = self.domains.get(&domain_id);
        let same_life = known.is_some_and(|domain| domain.update.nonce == update.nonce);
        if same_life && known.is_some_and(|domain| domain.update.counter >= update.counter) {
            return (false, effects);
        }
        let moved =
            known.is_none_or(|known| known.update.orchestrator_url != update.orchestrator_url);
        if moved || !same_life {
            let orchestrator_url = update.orchestrator_url.clone();
            effects.push(Effect::Meet {
                domain_id: domain_id.clone(),
                orchestrator_url,
            });
        }
        let more = known.is_none_or(|known| known.update.totals != update.totals);
        let deadline = now + update.refresh_deadline;
        self.domains
            .insert(domain_id.clone(), Domain { update, deadline });
        let adopted = if more {
            self.assign_waiting()
        } else {
            Vec::new()
        };
        let changed: BTreeSet<String> = adopted
            .iter()
            .filter_map(|id| {
                self.workflows
                    .get(id)
                    .and_then(|record| record.domain_id.clone())
            })
            .collect();
        effects.extend(adopted.into_iter().map(Effect::Assigned));
        if !same_life {
            effects.push(Effect::Reconcile(domain_id.clone()));
        }
        for other in changed {
            if other != domain_id || same_life {
                effects.push(Effect::Reconcile(other));
            }
        }
        (false, effects)
    }

    /// Time has passed: domains may be lost, and their workflows go elsewhere.
    pub fn on_tick(&mut self, now: Timestamp) -> Vec<Effect> {
        let lost: Vec<String> = self
            .domains
            .iter()
            .filter(|(_, domain)| domain.deadline <= now)
            .map(|(domain_id, _)| domain_id.clone())
            .collect();
        let mut effects = Vec::new();
        for domain_id in &lost {
            tracing::warn!(domain_id, "a domain did not refresh in time: lost");
            self.domains.remove(domain_id);
        }
        if lost.is_empty() || self.domains.is_empty() {
            // Without another domain they stay where they are: their nodes may well run on.
            return effects;
        }
        let stranded: Vec<WorkflowId> = self
            .workflows
            .values()
            .filter(|record| {
                record
                    .domain_id
                    .as_ref()
                    .is_some_and(|id| lost.contains(id))
            })
            .map(|record| record.workflow_id)
            .collect();
        for workflow_id in stranded {
            let Some(record) = self.workflows.get(&workflow_id) else {
                continue;
            };
            let Ok(domain_id) = self.choose(record) else {
                continue;
            };
            if let Some(record) = self.workflows.get_mut(&workflow_id) {
                record.domain_id = Some(domain_id.clone());
            }
            effects.push(Effect::Assigned(workflow_id));
            let reconcile = Effect::Reconcile(domain_id);
            if !effects.contains(&reconcile) {
                effects.push(reconcile);
            }
        }
        // What is kept comes first, then the domains are told.
        effects.sort_by_key(|effect| matches!(effect, Effect::Reconcile(_)));
        effects
    }

    fn assign_waiting(&mut self) -> Vec<WorkflowId> {
        let waiting: Vec<WorkflowId> = self
            .workflows
            .values()
            .filter(|record| record.domain_id.is_none())
            .map(|record| record.workflow_id)
            .collect();
        let mut assigned = Vec::new();
        for workflow_id in waiting {
            let Some(domain_id) = self
                .workflows
                .get(&workflow_id)
                .and_then(|record| self.choose(record).ok())
            else {
                continue;
            };
            if let Some(record) = self.workflows.get_mut(&workflow_id) {
                record.domain_id = Some(domain_id);
                assigned.push(workflow_id);
            }
        }
        assigned
    }

    /// The domain for a workflow: of those that could run it, the one with the most cores per
    /// workflow already there.
    ///
    /// # Errors
    /// Why none could, in words.
    pub fn choose(&self, record: &WorkflowRecord) -> Result<String, String> {
        if self.domains.is_empty() {
            return Err("no domain is registered".to_owned());
        }
        let mut reasons = Vec::new();
        let mut best: Option<(f64, &String)> = None;
        for (domain_id, domain) in &self.domains {
            if let Some(reason) = unmet(record, &domain.update.totals) {
                reasons.push(format!("{domain_id}: {reason}"));
                continue;
            }
            let there = self
                .workflows
                .values()
                .filter(|other| other.domain_id.as_ref() == Some(domain_id))
                .take(10_000)
                .count();
            let room = f64::from(domain.update.totals.num_cores) / (there as f64 + 1.0);
            if best.is_none_or(|(most, _)| room > most) {
                best = Some((room, domain_id));
            }
        }
        best.map(|(_, domain_id)| domain_id.clone())
            .ok_or_else(|| reasons.join("; "))
    }

    /// Adds a workflow.
    pub fn insert(&mut self, record: WorkflowRecord) {
        self.workflows.insert(record.workflow_id, record);
    }

    /// Removes a workflow.
    pub fn remove(&mut self, workflow_id: WorkflowId) -> Option<WorkflowRecord> {
        self.workflows.remove(&workflow_id)
    }

    /// A workflow.
    pub fn workflow(&self, workflow_id: WorkflowId) -> Option<&WorkflowRecord> {
        self.workflows.get(&workflow_id)
    }

    /// All workflows.
    pub fn workflows(&self) -> impl Iterator<Item = &WorkflowRecord> {
        self.workflows.values()
    }

    /// The workflows of a domain.
    pub fn of_domain(&self, domain_id: &str) -> Vec<WorkflowRecord> {
        let there = |record: &&WorkflowRecord| record.domain_id.as_deref() == Some(domain_id);
        self.workflows.values().filter(there).cloned().collect()
    }

    /// All domains.
    pub fn domains(&self) -> &BTreeMap<String, Domain> {
        &self.domains
    }

    /// Moves a workflow to a domain; answers where it was.
    ///
    /// # Errors
    /// The domain is not there or cannot run it.
    pub fn move_to(
        &mut self,
        workflow_id: WorkflowId,
        domain_id: &str,
    ) -> Result<Option<String>, String> {
        let domain = self
            .domains
            .get(domain_id)
            .ok_or_else(|| format!("domain `{domain_id}` is not registered"))?;
        let record = self
            .workflows
            .get_mut(&workflow_id)
            .ok_or_else(|| format!("workflow {workflow_id} is not known"))?;
        if let Some(reason) = unmet(record, &domain.update.totals) {
            return Err(format!("domain `{domain_id}` cannot run it: {reason}"));
        }
        Ok(record.domain_id.replace(domain_id.to_owned()))
    }
}

/// The first thing that a domain lacks for a workflow.
fn unmet(record: &WorkflowRecord, totals: &Totals) -> Option<String> {
    record
        .vertices
        .iter()
        .find_map(|vertex| match &vertex.spec {
            VertexSpec::Resource(resource) => (!totals.classes.contains(&resource.class_type))
                .then(|| format!("no node provides `{}`", resource.class_type)),
            VertexSpec::Function(function) => {
                if !totals.runtimes.contains(&function.function_type) {
                    return Some(format!(
                        "no node has the runtime `{}`",
                        function.function_type
                    ));
                }
                let requirements = Requirements::from_annotations(&function.annotations).ok()?;
                unmet_requirement(&requirements, totals)
                    .map(|reason| format!("function `{}`: {reason}", function.name))
            }
        })
}

fn unmet_requirement(requirements: &Requirements, totals: &Totals) -> Option<String> {
    let Requirements {
        label_match_all,
        node_id_match_any,
        resource_match_all,
        tee,
        tpm,
        max_instances: _,
    } = requirements;
    if let Some(label) = label_match_all
        .iter()
        .find(|label| !totals.labels.contains(*label))
    {
        return Some(format!("no node has the label `{label}`"));
    }
    if !node_id_match_any.is_empty()
        && !node_id_match_any
            .iter()
            .any(|id| totals.node_ids.contains(id))
    {
        return Some("none of the nodes of `node_id_match_any` is there".to_owned());
    }
    let missing = |id: &&edgeless_types::ProviderId| !totals.providers.contains(id.as_str());
    if let Some(provider) = resource_match_all.iter().find(missing) {
        return Some(format!("there is no provider `{provider}`"));
    }
    if *tee == Presence::Required && totals.num_tee == 0 {
        return Some("no node runs in a trusted execution environment".to_owned());
    }
    (*tpm == Presence::Required && totals.num_tpm == 0)
        .then(|| "no node has a trusted platform module".to_owned())
}

#[cfg(test)]
mod tests {
    use edgeless_types::workflow::ResourceSpec;
    use uuid::Uuid;

    use super::*;
    use crate::store::VertexRecord;

    fn update(domain_id: &str, nonce: u64, counter: u64, class: &str) -> DomainUpdate {
        DomainUpdate {
            domain_id: domain_id.to_owned(),
            orchestrator_url: format!("http://{domain_id}:1"),
            nonce,
            counter,
            refresh_deadline: Duration::from_secs(3),
            totals: Totals {
                num_cores: 4,
                classes: [class.to_owned()].into(),
                ..Totals::default()
            },
        }
    }

    fn workflow(domain_id: Option<&str>) -> WorkflowRecord {
        WorkflowRecord {
            workflow_id: WorkflowId::new(Uuid::from_u128(1)),
            name: String::new(),
            accepted: Timestamp::EPOCH,
            domain_id: domain_id.map(str::to_owned),
            vertices: vec![VertexRecord {
                logical_id: edgeless_types::LogicalId::new(Uuid::from_u128(2)),
                spec: VertexSpec::Resource(ResourceSpec {
                    name: "r".to_owned(),
                    class_type: "file-log".to_owned(),
                    configurations: BTreeMap::new(),
                }),
                outputs: OutputMapping::new(),
            }],
        }
    }

    use edgeless_types::workflow::OutputMapping;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_nanos(secs * 1_000_000_000)
    }

    #[test]
    fn only_a_domain_that_enters_for_the_first_time_is_reset() {
        let mut cluster = Cluster::default();
        assert!(cluster.on_update(update("a", 1, 1, "file-log"), at(0)).0);
        assert!(
            cluster.domains().is_empty(),
            "not to be used before it is reset"
        );
        assert!(!cluster.on_update(update("a", 1, 2, "file-log"), at(1)).0);
        let (reset, effects) = cluster.on_update(update("a", 2, 1, "file-log"), at(2));
        assert!(!reset);
        assert!(
            effects.contains(&Effect::Reconcile("a".to_owned())),
            "{effects:?}"
        );
    }

    #[test]
    fn a_waiting_workflow_goes_to_the_first_domain_that_can_run_it() {
        let known = ["a".to_owned(), "b".to_owned()].into();
        let mut cluster = Cluster::new(vec![workflow(None)], known);
        let (_, effects) = cluster.on_update(update("a", 1, 1, "redis"), at(0));
        assert!(!effects.contains(&Effect::Assigned(workflow(None).workflow_id)));
        let (_, effects) = cluster.on_update(update("b", 1, 1, "file-log"), at(0));
        assert!(
            effects.contains(&Effect::Assigned(workflow(None).workflow_id)),
            "{effects:?}"
        );
        assert!(
            effects.contains(&Effect::Reconcile("b".to_owned())),
            "{effects:?}"
        );
    }

    #[test]
    fn workflows_of_a_lost_domain_move_if_they_can_and_the_returning_one_is_told() {
        let known = ["a".to_owned(), "b".to_owned()].into();
        let mut cluster = Cluster::new(vec![workflow(Some("a"))], known);
        cluster.on_update(update("a", 1, 1, "file-log"), at(0));
        assert!(cluster.on_tick(at(10)).is_empty(), "nowhere to go");
        cluster.on_update(update("a", 1, 2, "file-log"), at(10));
        cluster.on_update(update("b", 1, 1, "file-log"), at(12));
        let effects = cluster.on_tick(at(14));
        let id = workflow(None).workflow_id;
        assert_eq!(
            effects,
            [Effect::Assigned(id), Effect::Reconcile("b".to_owned())]
        );
        let (_, effects) = cluster.on_update(update("a", 1, 3, "file-log"), at(15));
        assert!(
            effects.contains(&Effect::Reconcile("a".to_owned())),
            "{effects:?}"
        );
        assert!(cluster.of_domain("a").is_empty());
    }
}
