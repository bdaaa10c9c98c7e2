//! Running copies of vertices, as nodes report them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{LogicalId, PhysicalId, WorkflowId};

/// The longest state that is kept for an instance, in bytes: a function that saves more fails.
pub const STATE_BYTES: usize = 1 << 20;

/// Counts the decisions about one logical instance; an older one never overrides a newer one.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// The generation after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One running copy, as its node reports it; enough for a restarted ε-ORC to adopt it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RunningInstance {
    /// Which copy it is.
    pub physical_id: PhysicalId,
    /// The vertex it is a copy of.
    pub logical_id: LogicalId,
    /// The workflow of the vertex.
    pub workflow_id: WorkflowId,
    /// The decision by which it was started.
    pub generation: Generation,
    /// Tells what it was started as from what other copies are, see
    /// [`crate::workflow::VertexSpec::copy_fingerprint`]; 0: not known.
    pub fingerprint: u64,
}

/// What waits at an instance for an output that leads to no instance now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Whose output.
    pub physical_id: PhysicalId,
    /// The output.
    pub channel: String,
    /// Messages; large ones count as several.
    pub waiting: u64,
}

/// What orders want of a function that is a service, as ε-CON knows from the lists of tasks of all active orders.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OrderDemand {
    /// Tasks of active orders that are not done, also those whose turn has not come.
    pub tasks_to_do: u64,
    /// Tasks that could be handed out.
    pub waiting: u64,
    /// Tasks that are handed out.
    pub in_flight: u64,
    /// The age of the oldest order with a task that waits, in seconds.
    pub oldest_waiting_s: f64,
    /// Tasks a second that came, over the last ten seconds.
    pub came_per_second: f64,
    /// Tasks a second that were done.
    pub done_per_second: f64,
    /// How long a task takes from being handed out to its result, in milliseconds.
    pub took_ms: f64,
}

/// Why a desired instance does not run (yet).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum WaitReason {
    /// No registered node meets the requirements.
    NoFeasibleNode {
        /// How many nodes each requirement excluded, such as `label_match_all: 3 of 5 nodes`.
        excluded: Vec<String>,
    },
    /// A node was asked to start it and has not answered yet.
    Starting,
    /// The node refused or failed; it is tried again.
    Failed {
        /// What the node said.
        message: String,
    },
}

impl fmt::Display for WaitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFeasibleNode { excluded } if excluded.is_empty() => {
                f.write_str("no node is registered")
            }
            Self::NoFeasibleNode { excluded } => {
                write!(f, "no feasible node ({})", excluded.join(", "))
            }
            Self::Starting => f.write_str("starting"),
            Self::Failed { message } => write!(f, "start failed: {message}"),
        }
    }
}
