//! Instances that are to be started, and why one does not start or goes on no more.

use std::{task::Waker, time::Duration};

use edgeless_types::{Generation, InstanceId, PhysicalId};

use crate::{directory::Place, operator::Operator, output::Outputs, port::Port, track::Policy};

/// Makes an operator on its shard; the operator itself need not be `Send`.
pub type Factory = Box<dyn FnOnce(SpawnContext) -> Result<Box<dyn Operator>, String> + Send>;

/// What an operator may keep from its making.
pub struct SpawnContext {
    /// Its own ids.
    pub me: InstanceId,
    /// Lets it be polled.
    pub waker: Waker,
    /// Sends on its behalf.
    pub port: Port,
}

/// An instance to be started.
pub struct Spawn {
    /// Its id.
    pub physical_id: PhysicalId,
    /// The decision it comes from.
    pub generation: Generation,
    /// The shard it runs on.
    pub place: Place,
    /// Where its channels lead.
    pub outputs: Outputs,
    /// How what it sends is delivered.
    pub delivery: Delivery,
    /// Makes its operator.
    pub factory: Factory,
}

/// How what an instance sends is delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// The channels on which messages are delivered at least once.
    pub tracked: Vec<String>,
    /// When a message that messages on them came of counts as handled.
    pub policy: Policy,
    /// What it sends is of no use after this long; what comes of that neither.
    pub deadline: Option<Duration>,
}

impl Delivery {
    /// At least once on these channels.
    pub fn at_least_once(channels: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            tracked: channels.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }
}

/// Why an instance did not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpawnError {
    /// It says so itself.
    #[error("{0}")]
    Failed(String),
    /// The engine has ended.
    #[error("the engine has ended")]
    Ended,
}

/// An instance that ended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which one.
    pub physical_id: PhysicalId,
    /// Why.
    pub message: String,
}
