//! What is desired by now and not on disk yet, by vertex: a later change of a vertex takes the place of an earlier one,
//! so that what waits for a full disk is bounded by the domain. Pure.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use bytes::Bytes;
use edgeless_types::{
    CodeDigest, LogicalId, NodeId, WorkflowId,
    workflow::{OutputMapping, VertexSpec},
};

use super::Kept;
use crate::domain::VertexRequest;

/// A spec as it is kept, once for all vertices that have it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Spec {
    /// SHA-256 of `json`.
    pub(super) digest: CodeDigest,
    pub(super) json: Vec<u8>,
}

impl Spec {
    pub(super) fn of(spec: &VertexSpec) -> Self {
        let json = serde_json::to_vec(spec).expect("a spec has string keys and serialises");
        let digest = CodeDigest::of(&json);
        Self { digest, json }
    }
}

/// A desired vertex as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) workflow_id: WorkflowId,
    pub(super) spec: Arc<Spec>,
    pub(super) outputs: OutputMapping,
}

/// What has become of a vertex.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It is desired.
    Is(Row),
    /// Its outputs lead elsewhere, if it is desired.
    Outputs(OutputMapping),
    /// It is not desired any more.
    Gone,
}

/// Whether a node takes something new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// It does.
    Open,
    /// It does not.
    Cordoned,
    /// It does not, and what is there goes elsewhere.
    Drained,
}

/// Whether a vertex that may be without copies has any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sleep {
    /// It has none, and its last one has saved this.
    Asleep(Option<Bytes>),
    /// It has.
    Awake,
}

/// What is to be changed of what is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Whether all vertices that are not named here are gone.
    pub(super) anew: bool,
    pub(super) vertices: BTreeMap<LogicalId, Change>,
    /// Whether these vertices have copies, as far as they are desired.
    pub(super) sleeps: BTreeMap<LogicalId, Sleep>,
    /// Whether these nodes take something new.
    pub(super) gates: BTreeMap<NodeId, Gate>,
}

impl Difference {
    /// These vertices are desired as well.
    pub fn start(requests: &[VertexRequest]) -> Self {
        // The vertices of a request share few specs, and neighbours most often.
        let mut specs: HashMap<CodeDigest, Arc<Spec>> = HashMap::new();
        let row = |request: &VertexRequest| {
            let spec = Spec::of(&request.spec);
            let spec = specs.entry(spec.digest).or_insert_with(|| Arc::new(spec));
            let row = Row {
                workflow_id: request.workflow_id,
                spec: Arc::clone(spec),
                outputs: request.outputs.clone(),
            };
            (request.logical_id, Change::Is(row))
        };
        Self {
            vertices: requests.iter().map(row).collect(),
            ..Self::default()
        }
    }

    /// Exactly these vertices are desired.
    pub fn reconcile(requests: &[VertexRequest]) -> Self {
        Self {
            anew: true,
            ..Self::start(requests)
        }
    }

    /// Nothing is desired.
    pub fn reset() -> Self {
        Self::reconcile(&[])
    }

    /// These vertices are not desired any more.
    pub fn stop(logical_ids: &[LogicalId]) -> Self {
        Self {
            vertices: logical_ids.iter().map(|&id| (id, Change::Gone)).collect(),
            // What it has saved goes with it, also where it is desired once more.
            sleeps: logical_ids.iter().map(|&id| (id, Sleep::Awake)).collect(),
            ..Self::default()
        }
    }

    /// The outputs of these vertices lead elsewhere.
    pub fn patch(patches: &[(LogicalId, OutputMapping)]) -> Self {
        let patches = patches.iter().cloned();
        Self {
            vertices: patches
                .map(|(id, outputs)| (id, Change::Outputs(outputs)))
                .collect(),
            ..Self::default()
        }
    }

    /// A vertex has no copies any more; its last one has saved this.
    pub fn asleep(logical_id: LogicalId, state: Option<Bytes>) -> Self {
        Self::sleep(logical_id, Sleep::Asleep(state))
    }

    /// A vertex that had no copies has one again.
    pub fn awake(logical_id: LogicalId) -> Self {
        Self::sleep(logical_id, Sleep::Awake)
    }

    fn sleep(logical_id: LogicalId, sleep: Sleep) -> Self {
        Self {
            sleeps: BTreeMap::from([(logical_id, sleep)]),
            ..Self::default()
        }
    }

    /// A node takes nothing new, or does so again.
    pub fn cordon(node_id: NodeId, cordoned: bool) -> Self {
        match cordoned {
            true => Self::gate(node_id, Gate::Cordoned),
            false => Self::gate(node_id, Gate::Open),
        }
    }

    /// A node takes nothing new, and what is there goes elsewhere.
    pub fn drain(node_id: NodeId) -> Self {
        Self::gate(node_id, Gate::Drained)
    }

    fn gate(node_id: NodeId, gate: Gate) -> Self {
        Self {
            gates: BTreeMap::from([(node_id, gate)]),
            ..Self::default()
        }
    }

    /// Whether there is nothing to be changed.
    pub fn is_empty(&self) -> bool {
        !self.anew && self.vertices.is_empty() && self.sleeps.is_empty() && self.gates.is_empty()
    }

    /// What is kept once this is written as well; the vertices are in the order of their ids.
    pub fn apply(&self, kept: &mut Kept) {
        let before = std::mem::take(&mut kept.vertices).into_iter();
        let before = before.filter(|_| !self.anew);
        let mut all: BTreeMap<_, _> = before.map(|it| (it.logical_id, it)).collect();
        for (&logical_id, change) in &self.vertices {
            match change {
                Change::Is(row) => {
                    let request = VertexRequest {
                        logical_id,
                        workflow_id: row.workflow_id,
                        spec: serde_json::from_slice(&row.spec.json)
                            .expect("it was written of a spec"),
                        outputs: row.outputs.clone(),
                    };
                    all.insert(logical_id, request);
                }
                Change::Outputs(outputs) => {
                    if let Some(request) = all.get_mut(&logical_id) {
                        request.outputs.clone_from(outputs);
                    }
                }
                Change::Gone => {
                    all.remove(&logical_id);
                }
            }
        }
        for (&logical_id, sleep) in &self.sleeps {
            match sleep {
                Sleep::Asleep(state) => kept.asleep.insert(logical_id, state.clone()),
                Sleep::Awake => kept.asleep.remove(&logical_id),
            };
        }
        kept.asleep.retain(|id, _| all.contains_key(id));
        kept.vertices = all.into_values().collect();
        kept.told |= self.anew || !self.vertices.is_empty();
        for (&node_id, &gate) in &self.gates {
            if gate == Gate::Open {
                kept.cordoned.remove(&node_id);
                kept.drained.remove(&node_id);
            } else {
                kept.cordoned.insert(node_id);
            }
            if gate == Gate::Drained {
                kept.drained.insert(node_id);
            }
        }
    }

    /// Adds what came later.
    pub fn then(&mut self, later: Self) {
        if later.anew {
            self.anew = true;
            self.sleeps.retain(|id, _| later.vertices.contains_key(id));
            self.vertices = later.vertices;
        } else {
            for (logical_id, change) in later.vertices {
                self.then_vertex(logical_id, change);
            }
        }
        self.sleeps.extend(later.sleeps);
        for (node_id, gate) in later.gates {
            let before = self.gates.get(&node_id);
            // A cordon does not end a drain.
            if (before, gate) != (Some(&Gate::Drained), Gate::Cordoned) {
                self.gates.insert(node_id, gate);
            }
        }
    }

    fn then_vertex(&mut self, logical_id: LogicalId, change: Change) {
        let Change::Outputs(outputs) = change else {
            self.vertices.insert(logical_id, change);
            return;
        };
        match self.vertices.get_mut(&logical_id) {
            Some(Change::Is(row)) => row.outputs = outputs,
            Some(Change::Outputs(before)) => *before = outputs,
            Some(Change::Gone) => {}
            // After a reset it is gone as well.
            None if self.anew => {}
            None => {
                self.vertices.insert(logical_id, Change::Outputs(outputs));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{id, vertex};
    use super::*;

    fn joined(parts: &[Difference]) -> Difference {
        let mut all = Difference::default();
        for part in parts {
            all.then(part.clone());
        }
        all
    }

    #[test]
    fn a_later_change_of_a_vertex_takes_the_place_of_the_earlier_one() {
        let start = Difference::start(&[vertex(1), vertex(2)]);
        let outputs = OutputMapping::from([("other".to_owned(), id(9))]);
        let patch = Difference::patch(&[(id(1), outputs.clone())]);
        let stop = Difference::stop(&[id(2)]);
        let mut patched = vertex(1);
        patched.outputs = outputs;
        let mut expected = Difference::start(&[patched]);
        expected.then(stop.clone());
        assert_eq!(
            joined(&[start.clone(), patch.clone(), stop.clone()]),
            expected
        );
        assert_eq!(
            joined(&[stop.clone(), Difference::patch(&[(id(2), [].into())])]),
            stop,
            "what is gone has no outputs"
        );
        assert_eq!(
            joined(&[start, patch.clone(), Difference::reset(), patch]),
            Difference::reset()
        );
    }

    #[test]
    fn vertices_of_a_request_share_their_specs() {
        let Difference { vertices, .. } = Difference::start(&[vertex(1), vertex(2)]);
        let specs: Vec<_> = vertices
            .values()
            .map(|change| match change {
                Change::Is(row) => &row.spec,
                Change::Outputs(_) | Change::Gone => panic!("it is started"),
            })
            .collect();
        assert!(Arc::ptr_eq(specs[0], specs[1]));
    }
}
