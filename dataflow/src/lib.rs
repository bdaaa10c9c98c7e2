//! The engine: operators on shards that pass messages.
//!
//! Everything that runs on a node, function or resource, is an [`Operator`]. Each shard is one
//! thread with one loop that owns its operators, their bounded inboxes, timers and open calls;
//! between operators of one shard there is neither lock nor hop. What crosses shards goes through
//! bounded channels in batches; what crosses nodes goes through a [`Remote`].
//!
//! A full inbox parks its sender, and so on back to the source, whose [`Port`] waits. The bound is that
//! of the target alone, also between shards and nodes: one that is slow holds up those who send to it
//! and nobody else. Full inboxes that wait for one another in a circle go over their bound, up to
//! four times; only then is a message dropped. Nothing is dropped without a counter ([`Counters`]).

mod budget;
mod config;
mod control;
mod counters;
mod directory;
mod engine;
mod gate;
pub mod graph;
mod load;
mod look;
mod names;
mod operator;
mod output;
mod port;
mod sample;
mod seen;
mod shard;
mod shared;
mod spawn;
mod stats;
mod tap;
mod timers;
mod track;

pub use config::{ATTEMPTS, Clock, EngineConfig, FAR_TIMES, HOPS, NODE, Remote, WORKFLOW};
pub use control::{Control, Interests, Propagation};
pub use counters::{Counters, Drop, Faults};
pub use directory::Place;
pub use engine::{Engine, ShardRun};
pub use operator::{Action, Answer, CallRef, Destination, Operator, Outbox, Progress};
pub use output::{ChannelName, Outputs};
pub use port::{Called, Handled, Port, PortError};
pub use shard::FAR_PAYLOAD;
pub use spawn::{Delivery, Factory, Failure, Spawn, SpawnContext, SpawnError};
pub use stats::{ChannelView, EdgeView, OperatorView, Phase, Times};
pub use tap::{Direction, TapPlan, Tapped};
pub use track::Policy;
