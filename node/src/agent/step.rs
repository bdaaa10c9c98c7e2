//! What an ε-ORC asks of a node, and what comes of it.

use std::time::Duration;

use bytes::Bytes;
use edgeless_types::{
    CodeDigest, Generation, InstanceId, LogicalId, PhysicalId, RunningInstance,
    workflow::VertexSpec,
};

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Run an instance.
    Start(Box<Start>),
    /// End an instance.
    Stop(Stop),
    /// Lead the outputs of an instance elsewhere.
    Patch(Patch),
}

/// Run an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// Which one.
    pub instance: RunningInstance,
    /// What it runs.
    pub spec: VertexSpec,
    /// Where its outputs lead.
    pub outputs: Vec<Output>,
    /// What its predecessor saved.
    pub state: Option<Bytes>,
}

/// End an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// Which one.
    pub physical_id: PhysicalId,
    /// The decision to end it.
    pub generation: Generation,
    /// How long it may handle what is queued.
    pub drain: Duration,
}

/// Lead the outputs of an instance elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Which one.
    pub physical_id: PhysicalId,
    /// The decision.
    pub generation: Generation,
    /// All its outputs; those left out lead nowhere afterwards.
    pub outputs: Vec<Output>,
}

/// A channel and where it leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The channel.
    pub channel: String,
    /// The vertex it leads to.
    pub logical_id: LogicalId,
    /// The running copies of that vertex. None: casts are held until a patch names one.
    pub instances: Vec<InstanceId>,
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done, or already so. Of a stop: what the instance last saved.
    Done {
        /// The saved state.
        state: Option<Bytes>,
    },
    /// The code is not here.
    MissingCode(CodeDigest),
    /// It is under way, and takes long: whoever tries the step again hears what becomes of it.
    Working,
    /// Refused or failed, and why.
    Failed(String),
}

impl Outcome {
    /// Done, without a state.
    pub const DONE: Self = Self::Done { state: None };
}

impl Step {
    /// Whether both may be under way at once: steps of one kind do not depend on one another,
    /// but a patch names what a start before it brought up, and a stop comes after that patch.
    pub(super) fn goes_with(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    /// How long an instance that it ends may handle what is queued.
    pub(super) fn drain(&self) -> Duration {
        match self {
            Self::Stop(stop) => stop.drain,
            Self::Start(_) | Self::Patch(_) => Duration::ZERO,
        }
    }
}
