//! A node as it would behave.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use edgeless_types::{
    Backlog, NodeCapabilities, NodeId, PhysicalId, ProviderId, ResourceProvider, RunningInstance,
    Samples, workflow::VertexSpec,
};

use super::BAD;
use crate::domain::{NodeUpdate, Output, Profile, Step, StepKey, StepResult};

#[derive(Default)]
pub(in crate::domain) struct SimulatedNode {
    pub(in crate::domain) nonce: u64,
    pub(super) sequence: u64,
    pub(in crate::domain) leaving: bool,
    /// It refuses every start.
    pub(in crate::domain) unwilling: bool,
    pub(in crate::domain) running: BTreeMap<PhysicalId, RunningInstance>,
    pub(super) outputs: BTreeMap<PhysicalId, Vec<Output>>,
    /// The versions of what runs.
    pub(super) versions: BTreeMap<PhysicalId, String>,
    pub(super) steps: Vec<Step>,
    /// What its instances have saved.
    pub(super) saved: BTreeMap<PhysicalId, Bytes>,
    /// What has not been said yet: instances that ended by themselves, states that were saved.
    pub(super) failures: Vec<(PhysicalId, String)>,
    pub(super) states: Vec<(PhysicalId, Bytes)>,
    /// Its labels are others than at first.
    pub(super) changed: bool,
    /// What waits there for outputs that lead nowhere now.
    pub(in crate::domain) demand: Vec<edgeless_types::Demand>,
    /// What it has measured since it refreshed, and what waits in its inboxes.
    pub(in crate::domain) samples: Option<Arc<Samples>>,
    pub(in crate::domain) backlog: Vec<Backlog>,
}

/// Each of them can bring tasks to functions.
fn provider(node_id: NodeId) -> ResourceProvider {
    ResourceProvider {
        provider_id: ProviderId::new(format!("{node_id}-order-source")),
        class_type: "order-source".to_owned(),
        node_id,
        outputs: vec!["task".to_owned()],
    }
}

impl SimulatedNode {
    /// What it says when it refreshes.
    pub(super) fn update(&mut self, id: NodeId, full: bool) -> NodeUpdate {
        self.sequence += 1;
        let zone = (id.uuid().as_u128() + u128::from(self.changed)) % 2;
        let capabilities = NodeCapabilities {
            num_cores: 1,
            runtimes: vec!["RUST_WASM".to_owned()],
            labels: vec![format!("zone={zone}")],
            ..NodeCapabilities::default()
        };
        let profile = Profile {
            agent_url: format!("http://{id}:1"),
            invocation_url: format!("http://{id}:2"),
            capabilities: Arc::new(capabilities),
            providers: vec![provider(id)],
        };
        NodeUpdate {
            node_id: id,
            nonce: self.nonce,
            sequence: self.sequence,
            refresh_deadline: Duration::from_secs(1),
            profile: full.then_some(profile),
            health: None,
            samples: self.samples.take(),
            running: full.then(|| self.running.values().copied().collect()),
            started: Vec::new(),
            stopped: Vec::new(),
            failures: std::mem::take(&mut self.failures),
            states: match (full, std::mem::take(&mut self.states)) {
                // Whoever asks for all may be another life of ε-ORC.
                (true, _) => self
                    .saved
                    .iter()
                    .map(|(id, it)| (*id, it.clone()))
                    .collect(),
                (false, states) => states,
            },
            demand: self.demand.clone(),
            backlog: self.backlog.clone(),
            leaving: self.leaving,
        }
    }

    /// One of its instances ends by itself.
    pub(super) fn trap(&mut self) {
        if let Some((physical_id, _)) = self.running.pop_first() {
            self.forget(physical_id);
            self.failures.push((physical_id, "a trap".to_owned()));
        }
    }

    /// One of its instances saves its state, which names the vertex.
    pub(super) fn save(&mut self) {
        if let Some((&physical_id, _)) = self.running.last_key_value() {
            self.save_of(physical_id);
        }
    }

    /// That instance saves its state.
    pub(in crate::domain) fn save_of(&mut self, physical_id: PhysicalId) {
        if let Some(it) = self.running.get(&physical_id) {
            let state = Bytes::from(it.logical_id.to_string());
            self.saved.insert(physical_id, state.clone());
            self.states.push((physical_id, state));
        }
    }

    fn forget(&mut self, physical_id: PhysicalId) -> Option<Bytes> {
        self.running.remove(&physical_id);
        self.outputs.remove(&physical_id);
        self.versions.remove(&physical_id);
        self.saved.remove(&physical_id)
    }

    /// It does its next step.
    pub(super) fn obey(&mut self, fail: bool) -> Option<(StepKey, StepResult)> {
        if self.steps.is_empty() {
            return None;
        }
        let step = self.steps.remove(0);
        Some((step.key(), self.apply(step, fail)))
    }

    fn apply(&mut self, step: Step, fail: bool) -> StepResult {
        match step {
            Step::Start { .. } if fail || self.unwilling => StepResult::Failed("no".to_owned()),
            Step::Start {
                instance,
                outputs,
                spec,
                state,
                ..
            } => {
                let of = instance.logical_id.to_string();
                let is_its_own = state.is_none_or(|it| it == of.as_bytes());
                assert!(is_its_own, "the state of another vertex");
                let version = match &*spec {
                    VertexSpec::Function(function) => function.version.as_str(),
                    VertexSpec::Resource(_) => "",
                };
                if version == BAD.to_string() {
                    return StepResult::Failed("a bad version".to_owned());
                }
                let physical_id = instance.physical_id;
                self.running.insert(physical_id, instance);
                self.outputs.insert(physical_id, outputs);
                self.versions.insert(physical_id, version.to_owned());
                StepResult::Done(None)
            }
            Step::Stop {
                physical_id,
                generation,
                ..
            } => match self.running.get(&physical_id) {
                Some(it) if it.generation > generation => StepResult::Failed("older".to_owned()),
                Some(_) | None => StepResult::Done(self.forget(physical_id)),
            },
            Step::Patch {
                physical_id,
                generation,
                outputs,
            } => match self.running.get_mut(&physical_id) {
                Some(it) if it.generation <= generation => {
                    it.generation = generation;
                    self.outputs.insert(physical_id, outputs);
                    StepResult::Done(None)
                }
                Some(_) => StepResult::Failed("older".to_owned()),
                None => StepResult::Failed("not here".to_owned()),
            },
        }
    }
}
