//! What a domain is told, and what it wants to be done.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use edgeless_types::{
    Backlog, CodeDigest, Demand, Generation, InstanceId, LogicalId, NodeCapabilities, NodeHealth,
    NodeId, PhysicalId, ResourceProvider, RunningInstance, Samples, WorkflowId,
    workflow::{OutputMapping, VertexSpec},
};

use crate::change::Change;

/// Names a start that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What a domain is told beside the updates of its nodes.
#[derive(Clone, Debug)]
pub enum Command {
    /// Desire these vertices as well.
    Start {
        /// Which.
        vertices: Vec<VertexRequest>,
        /// Answered when each has come to something.
        ticket: Ticket,
    },
    /// Do not desire these any more.
    Stop(Vec<LogicalId>),
    /// Lead outputs elsewhere.
    Patch(Vec<(LogicalId, OutputMapping)>),
    /// Desire so many copies of a vertex, as far as its annotations allow.
    Scale {
        /// Which.
        logical_id: LogicalId,
        /// How many.
        copies: u32,
    },
    /// Desire exactly these vertices.
    Reconcile {
        /// Which.
        vertices: Vec<VertexRequest>,
        /// Answered when each has come to something.
        ticket: Ticket,
    },
    /// Desire nothing.
    Reset,
    /// Before any node has come: these take nothing new.
    Cordoned(Vec<NodeId>),
    /// Before any node has come: from these, which are cordoned, everything goes elsewhere.
    Drained(Vec<NodeId>),
    /// Before it is said what is desired: these of it have no copies, and their last ones have saved this.
    Asleep(BTreeMap<LogicalId, Option<Bytes>>),
    /// A step has come to something.
    Outcome {
        /// The node that was asked.
        node_id: NodeId,
        /// Which step.
        key: StepKey,
        /// What it came to.
        result: StepResult,
    },
    /// Time has passed.
    Tick,
}

/// A vertex that is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VertexRequest {
    /// Its id.
    pub logical_id: LogicalId,
    /// Its workflow.
    pub workflow_id: WorkflowId,
    /// What it is.
    pub spec: VertexSpec,
    /// Where its outputs lead.
    pub outputs: OutputMapping,
}

/// What a start came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartOutcome {
    /// It runs, and why some copies do not.
    Running(Vec<InstanceId>, Option<String>),
    /// It is desired, and waits; why.
    Waiting(String),
    /// It is not desired: the vertex itself is wrong.
    Refused(String),
}

/// A registration or its refresh.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeUpdate {
    /// Which node.
    pub node_id: NodeId,
    /// Its life.
    pub nonce: u64,
    /// Counts its updates.
    pub sequence: u64,
    /// How long it may be silent.
    pub refresh_deadline: Duration,
    /// What it is; absent when that did not change.
    pub profile: Option<Profile>,
    /// How it is.
    pub health: Option<NodeHealth>,
    /// What it measured.
    pub samples: Option<Arc<Samples>>,
    /// All that runs there; absent when it need not be said.
    pub running: Option<Vec<RunningInstance>>,
    /// What steps have started there since the last update, and runs.
    pub started: Vec<RunningInstance>,
    /// What steps have stopped there since the last update.
    pub stopped: Vec<PhysicalId>,
    /// What ended by itself, and why.
    pub failures: Vec<(PhysicalId, String)>,
    /// State that was saved.
    pub states: Vec<(PhysicalId, Bytes)>,
    /// What waits there for outputs that lead to no instance.
    pub demand: Vec<Demand>,
    /// What waits there in inboxes.
    pub backlog: Vec<Backlog>,
    /// It goes.
    pub leaving: bool,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Where it takes steps.
    pub agent_url: String,
    /// Where it takes messages.
    pub invocation_url: String,
    /// What it can do.
    pub capabilities: Arc<NodeCapabilities>,
    /// What it provides.
    pub providers: Vec<ResourceProvider>,
}

/// The answer to an update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeUpdateReply {
    /// Profile and running set are wanted at once.
    pub want_full: bool,
    /// Nothing is left there that can be moved.
    pub may_leave: bool,
    /// Another process with this id took its place meanwhile: nothing was taken from this one.
    pub duplicate: bool,
}

/// Why something cannot be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such vertex.
    #[error("vertex {0} is not known in this domain")]
    UnknownVertex(LogicalId),
    /// No such node.
    #[error("node {0} is not known in this domain")]
    UnknownNode(NodeId),
    /// The strategy is to keep nodes full.
    #[error("the strategy BinPack keeps nodes as full as it can: there is nothing to rebalance")]
    KeptFull,
    /// The node lacks something.
    #[error("node {node_id} is not feasible: {requirement}")]
    Infeasible {
        /// Which node.
        node_id: NodeId,
        /// What it does not meet.
        requirement: String,
    },
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// A node is asked for a step. Steps of one node keep their order.
    Step {
        /// Which node.
        node_id: NodeId,
        /// The step.
        step: Step,
    },
    /// A node is gone: steps that wait for it are void.
    Forget(NodeId),
    /// A node is there: where it takes steps.
    Meet {
        /// Which node.
        node_id: NodeId,
        /// Where.
        agent_url: String,
    },
    /// A start is answered.
    Answer {
        /// Which.
        ticket: Ticket,
        /// In the order of its vertices.
        outcomes: Vec<StartOutcome>,
    },
    /// A vertex has no copies any more.
    Asleep {
        /// Which.
        logical_id: LogicalId,
        /// What its last one has saved.
        state: Option<Bytes>,
    },
    /// A copy of a vertex that had none runs.
    Awake(LogicalId),
    /// Mirror and datasets are told.
    Change(Change),
}

/// One action of a node.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Start an instance.
    Start {
        /// Which.
        instance: RunningInstance,
        /// What it is.
        spec: Arc<VertexSpec>,
        /// Where its outputs lead.
        outputs: Vec<Output>,
        /// What its predecessor saved.
        state: Option<Bytes>,
        /// The code it needs.
        code: Option<CodeDigest>,
    },
    /// Stop an instance.
    Stop {
        /// Which.
        physical_id: PhysicalId,
        /// The decision.
        generation: Generation,
        /// How long it may drain.
        drain: Duration,
    },
    /// Lead the outputs of an instance elsewhere.
    Patch {
        /// Which.
        physical_id: PhysicalId,
        /// The decision.
        generation: Generation,
        /// All outputs.
        outputs: Vec<Output>,
    },
}

/// A channel and where it leads now, with the addresses of the nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The channel.
    pub channel: Arc<str>,
    /// The vertex.
    pub logical_id: LogicalId,
    /// Its instances, and where their nodes take messages; none: hold.
    pub instances: Vec<(InstanceId, Arc<str>)>,
}

/// Names a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StepKey {
    /// Of starting.
    Start(PhysicalId),
    /// Of stopping.
    Stop(PhysicalId),
    /// Of patching.
    Patch(PhysicalId),
}

impl StepKey {
    /// The instance it is about.
    pub fn physical_id(self) -> PhysicalId {
        match self {
            Self::Start(physical_id) | Self::Stop(physical_id) | Self::Patch(physical_id) => {
                physical_id
            }
        }
    }
}

impl Step {
    /// Its name.
    pub fn key(&self) -> StepKey {
        match self {
            Self::Start { instance, .. } => StepKey::Start(instance.physical_id),
            Self::Stop { physical_id, .. } => StepKey::Stop(*physical_id),
            Self::Patch { physical_id, .. } => StepKey::Patch(*physical_id),
        }
    }
}

/// What a step came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepResult {
    /// Done; of a stop, the state that was saved.
    Done(Option<Bytes>),
    /// Refused, failed, or the node did not answer.
    Failed(String),
}
