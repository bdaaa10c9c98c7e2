//! Vertices, replicas, instances and classes.

use std::sync::Arc;

use bytes::Bytes;
use edgeless_types::{
    Generation, InstanceId, LogicalId, NodeId, PhysicalId, Requirements, Timestamp, WaitReason,
    WorkflowId, workflow::VertexSpec,
};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::{
    domain::update::Update,
    plan::{Ask, fleet::KindId},
};

/// The place of a vertex.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::domain) struct VertexKey(pub(super) usize);

/// The place of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::domain) struct ReplicaKey(pub(super) usize);

/// The place of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::domain) struct ClassKey(pub(super) usize);

/// What vertices with equal specifications have in common.
#[derive(Debug)]
pub(in crate::domain) struct Class {
    pub(in crate::domain) spec: Arc<VertexSpec>,
    pub(in crate::domain) requirements: Requirements,
    pub(in crate::domain) kind: KindId,
    pub(in crate::domain) ask: Ask,
    /// The kind with the labels that are preferred, the most of them first.
    pub(in crate::domain) preferred: Vec<KindId>,
    /// The kind with each value of the label by which copies are spread, as far as they came up.
    pub(in crate::domain) zones: FxHashMap<String, KindId>,
    /// Tells its specification from others, in other lives of ε-ORC as well.
    pub(in crate::domain) fingerprint: u64,
    /// Tells what one copy of it is from what others are.
    pub(in crate::domain) of_copy: u64,
    pub(super) users: usize,
}

impl Class {
    /// What a vertex asks for with the copies it has at least.
    pub(in crate::domain) fn least_ask(&self) -> Ask {
        self.ask.times(self.requirements.least_instances())
    }
}

/// Where outputs lead: channels and vertices.
pub(in crate::domain) type Outputs = Box<[(Arc<str>, LogicalId)]>;

/// What is desired.
#[derive(Debug)]
pub(in crate::domain) struct Vertex {
    pub(in crate::domain) logical_id: LogicalId,
    pub(in crate::domain) workflow_id: WorkflowId,
    pub(in crate::domain) class: ClassKey,
    pub(in crate::domain) outputs: Outputs,
    /// The last decision about it.
    pub(in crate::domain) generation: Generation,
    pub(in crate::domain) replicas: SmallVec<[ReplicaKey; 1]>,
    /// An update to its present class that is under way.
    pub(in crate::domain) update: Option<Box<Update>>,
    /// Observers are to be told of it.
    pub(in crate::domain) touched: bool,
}

/// A copy that is to run.
#[derive(Debug)]
pub(in crate::domain) struct Replica {
    pub(in crate::domain) vertex: VertexKey,
    pub(in crate::domain) instance: Option<Instance>,
    /// Why it does not run, and since when.
    pub(in crate::domain) waiting: Option<Box<(Timestamp, WaitReason)>>,
    pub(in crate::domain) extra: Option<Box<Extra>>,
}

/// What few replicas need.
#[derive(Debug, Default)]
pub(in crate::domain) struct Extra {
    /// Not to be placed before.
    pub(in crate::domain) not_before: Timestamp,
    /// Starts that failed in a row.
    pub(in crate::domain) attempts: u32,
    /// Where it is to be placed next, if that was asked for.
    pub(in crate::domain) wanted_node: Option<NodeId>,
    /// Nodes that refused it lately.
    pub(in crate::domain) refused_by: Vec<NodeId>,
    /// What its last instance saved.
    pub(in crate::domain) state: Option<Bytes>,
    /// Copies that it replaces.
    pub(in crate::domain) predecessors: SmallVec<[PhysicalId; 1]>,
    /// It was lost with its node: it is started again in the order of priorities, and not too many at once.
    pub(in crate::domain) lost: bool,
    /// One copy fewer is desired: it goes when it has stopped.
    pub(in crate::domain) superfluous: bool,
}

/// The instance of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::domain) struct Instance {
    pub(in crate::domain) node_id: NodeId,
    pub(in crate::domain) physical_id: PhysicalId,
    pub(in crate::domain) class: ClassKey,
    pub(in crate::domain) phase: Phase,
    pub(in crate::domain) since: Timestamp,
    /// It was started with another specification than that of its class.
    pub(in crate::domain) outdated: bool,
    /// What its node said when it was adopted; none: it was placed in this life.
    pub(in crate::domain) adopted: Option<Generation>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::domain) enum Phase {
    /// The node was asked to start it.
    Starting,
    /// The same, of one that was lost elsewhere.
    Healing,
    /// The node says that it runs.
    Running,
    /// It is to be stopped, and its state to go with the replica, before it starts elsewhere.
    Handing,
}

impl Phase {
    /// Whether the node has not answered its start yet.
    pub(in crate::domain) fn is_starting(self) -> bool {
        matches!(self, Self::Starting | Self::Healing)
    }
}

impl Instance {
    /// Where messages to it go.
    pub(in crate::domain) fn id(&self) -> InstanceId {
        InstanceId {
            node_id: self.node_id,
            physical_id: self.physical_id,
        }
    }
}

impl Replica {
    /// Where messages to it go now.
    pub(in crate::domain) fn running(&self) -> Option<Instance> {
        self.instance.filter(|it| it.phase == Phase::Running)
    }

    pub(in crate::domain) fn extra_mut(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    /// Not to be placed before.
    pub(in crate::domain) fn not_before(&self) -> Timestamp {
        self.extra
            .as_ref()
            .map_or(Timestamp::EPOCH, |it| it.not_before)
    }

    pub(in crate::domain) fn is_superfluous(&self) -> bool {
        self.extra.as_ref().is_some_and(|it| it.superfluous)
    }

    pub(in crate::domain) fn predecessors(&self) -> &[PhysicalId] {
        self.extra.as_ref().map_or(&[], |it| &it.predecessors)
    }
}
