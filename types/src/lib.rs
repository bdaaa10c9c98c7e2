//! The vocabulary of the control plane: ids, units, workflows, requirements, messages.
//!
//! Nothing here does IO, waits or reads a clock. Every other crate imports this one; this one
//! imports none of ours. Wire formats (gRPC, REST) live at the edges and convert into these types.

mod backlog;
mod capability;
pub mod delivery;
mod digest;
mod domain_requirement;
mod epoch;
mod health;
mod id;
mod instance;
pub mod intent;
pub mod message;
pub mod mirror;
mod requirement;
pub mod resource;
pub mod routing;
mod sample;
pub mod scaling;
mod secs;
mod time;
pub mod workflow;

pub use backlog::{BACKLOG_LOOK, Backlog, has_doubled, has_grown};
pub use capability::{NodeCapabilities, ResourceProvider};
pub use digest::{CodeDigest, DigestError};
pub use domain_requirement::{DOMAIN_LABEL_MATCH_ALL, DOMAIN_MATCH_ANY, DomainRequirements};
pub use epoch::Epoch;
pub use health::NodeHealth;
pub use id::{
    DomainId, InstanceId, LogicalId, NodeId, OrderId, PhysicalId, ProviderId, WorkflowId,
};
pub use instance::{Demand, Generation, OrderDemand, RunningInstance, STATE_BYTES, WaitReason};
pub use requirement::{Presence, RequirementError, Requirements};
pub use sample::{LogEntry, Sample, SampleKind, SampleSummary, Samples};
pub use secs::Secs;
pub use time::{ParseTimestampError, Timestamp};
