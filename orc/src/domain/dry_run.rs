//! Dry runs: where vertices would go if they were started now. Nothing of it is left afterwards.
//!
//! The vertices are desired and placed one after the other as a start does, so that what the first of them
//! asks for is not there for the next. Then everything is taken back in the reverse order.

use edgeless_types::{NodeId, PhysicalId, Timestamp, WaitReason};
use uuid::Uuid;

use super::{
    Domain, VertexRequest,
    model::{ClassKey, Instance, Phase, ReplicaKey, VertexKey},
};
use crate::plan::{Ask, fleet::Choice};

/// Where a vertex would go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WouldGo {
    /// One node for each copy that finds one, in the order in which the copies are placed.
    pub nodes: Vec<NodeId>,
    /// Why a copy would find none, one line for each reason, with how many nodes it excluded. Empty: all
    /// copies find one.
    pub excluded: Vec<String>,
}

/// What is to be taken back.
#[derive(Clone, Copy, Debug)]
enum Undo {
    Vertex(VertexKey, ClassKey),
    Replica(ReplicaKey),
    Taken(NodeId, Ask),
    /// One of lower priority made room.
    MadeRoom(ReplicaKey, Instance, Ask),
}

impl Domain {
    /// Where vertices would go if they were started at `now`, in their order. A vertex that is desired already
    /// stays where it is. The domain is afterwards as it was, and its next choices are the same.
    pub fn dry_run(&mut self, vertices: Vec<VertexRequest>, now: Timestamp) -> Vec<WouldGo> {
        let rng = self.rng.clone();
        let trial = self.fleet.begin_trial();
        let mut undo = Vec::new();
        let desired: Vec<Result<VertexKey, WouldGo>> = vertices
            .into_iter()
            .map(|request| self.try_desire(request, now, &mut undo))
            .collect();
        let place = |desired| match desired {
            Ok(key) => self.try_place(key, now, &mut undo),
            Err(known) => known,
        };
        let answer = desired.into_iter().map(place).collect();
        while let Some(last) = undo.pop() {
            self.take_back(last);
        }
        self.fleet.end_trial(&trial);
        self.rng = rng;
        answer
    }

    fn try_desire(
        &mut self,
        request: VertexRequest,
        now: Timestamp,
        undo: &mut Vec<Undo>,
    ) -> Result<VertexKey, WouldGo> {
        if let Some(key) = self.model.key_of(request.logical_id) {
            return Err(self.stays(key));
        }
        let class = self.model.enter_class(request.spec, &mut self.fleet);
        let class = class.map_err(|error| WouldGo {
            nodes: Vec::new(),
            excluded: vec![error.to_string()],
        })?;
        let (logical_id, workflow_id) = (request.logical_id, request.workflow_id);
        let outputs = &request.outputs;
        let key = self
            .model
            .insert_vertex(logical_id, workflow_id, class, outputs);
        undo.push(Undo::Vertex(key, class));
        for _ in 0..self.model.class(class).requirements.least_instances() {
            let replica = self.model.add_replica(key, now);
            undo.push(Undo::Replica(replica));
        }
        Ok(key)
    }

    /// Where a vertex is that is desired already, or why it is nowhere.
    fn stays(&self, key: VertexKey) -> WouldGo {
        let mut stays = WouldGo::default();
        for &replica in &self.model.vertex(key).replicas {
            let replica = self.model.replica(replica);
            match (replica.instance, replica.waiting.as_deref()) {
                (Some(instance), _) => stays.nodes.push(instance.node_id),
                (None, Some((_, WaitReason::NoFeasibleNode { excluded }))) => {
                    stays.excluded = said(excluded.clone());
                }
                (None, Some((_, reason))) => stays.excluded = vec![reason.to_string()],
                (None, None) => {}
            }
        }
        stays
    }

    fn try_place(&mut self, key: VertexKey, now: Timestamp, undo: &mut Vec<Undo>) -> WouldGo {
        let class = self.model.vertex(key).class;
        let (kind, ask) = (self.model.class(class).kind, self.model.class(class).ask);
        let mut goes = WouldGo::default();
        for replica in self.model.vertex(key).replicas.clone() {
            let node_id = match self.choose(replica, None) {
                Choice::Node(node_id) => Some(node_id),
                Choice::Busy | Choice::Nowhere => self.try_to_make_room(replica, undo),
            };
            let Some(node_id) = node_id else {
                goes.excluded = said(self.fleet.excluded(kind, ask));
                continue;
            };
            self.fleet.take(node_id, ask);
            undo.push(Undo::Taken(node_id, ask));
            self.model.replica_mut(replica).instance = Some(Instance {
                node_id,
                physical_id: PhysicalId::new(Uuid::nil()),
                class,
                phase: Phase::Starting,
                since: now,
                outdated: false,
                adopted: None,
            });
            goes.nodes.push(node_id);
        }
        goes
    }

    /// The node on which those of lower priority would make room.
    fn try_to_make_room(&mut self, key: ReplicaKey, undo: &mut Vec<Undo>) -> Option<NodeId> {
        let leaving = self.who_makes_room(key)?;
        for (replica, instance) in leaving.replicas {
            let ask = self.model.class_of(replica).ask;
            undo.push(Undo::MadeRoom(replica, instance, ask));
            self.fleet.unreserve(leaving.node_id, ask);
            let handing = Instance {
                phase: Phase::Handing,
                ..instance
            };
            self.model.replica_mut(replica).instance = Some(handing);
        }
        Some(leaving.node_id)
    }

    fn take_back(&mut self, done: Undo) {
        match done {
            Undo::Vertex(key, class) => {
                self.model.remove_vertex(key);
                self.model.leave_class(class, &mut self.fleet);
            }
            Undo::Replica(key) => {
                self.model.remove_replica(key);
            }
            Undo::Taken(node_id, ask) => self.fleet.give_back(node_id, ask),
            Undo::MadeRoom(key, instance, ask) => {
                self.fleet.reserve(instance.node_id, ask);
                self.model.replica_mut(key).instance = Some(instance);
            }
        }
    }
}

/// Why nothing fits; where nothing is excluded there is nothing.
fn said(excluded: Vec<String>) -> Vec<String> {
    if !excluded.is_empty() {
        return excluded;
    }
    vec![WaitReason::NoFeasibleNode { excluded }.to_string()]
}
