//! What the engine needs from its node.

use std::{sync::Arc, time::Duration};

use edgeless_types::{
    InstanceId, NodeId, Timestamp,
    message::{Message, Signal, Upward},
};

/// Reads the wall clock; an argument, so that tests have their own.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Settings of the engine.
#[derive(Clone)]
pub struct EngineConfig {
    /// The node it runs on.
    pub node_id: NodeId,
    /// How many shards; at least 1.
    pub shards: usize,
    /// How much an inbox takes before its senders wait, by [`Message::weight`]; the last message may go
    /// over it. This holds for messages of its shard and for those of others, each.
    pub inbox: usize,
    /// How much may wait in the inboxes of a group ([`Place::With`](crate::Place::With)) before ports of
    /// the group wait.
    pub workflow: usize,
    /// How much may wait in all inboxes before the ports of all groups wait that have their part of it
    /// waiting, which is this divided by the number of groups. So it may be twice as much at the very most.
    pub node: usize,
    /// How far a message is handed on within one turn, from operator to operator of a shard without a
    /// queue between; 0: never. [`HOPS`] is a good choice.
    pub hops: usize,
    /// How long a call waits for its answer.
    pub call_timeout: Duration,
    /// How long full inboxes that wait for one another in a circle may be stuck, each at four times
    /// its bound, before messages between them are dropped, and counted. Circles over several nodes
    /// are not seen as such: what waits for another node is dropped after [`FAR_TIMES`] this long.
    /// Whoever merely waits for a slow instance waits as long as that takes.
    pub park_timeout: Duration,
    /// After this long without an acknowledgement a message that is delivered at least once is sent
    /// again. What is known to be lost is sent again at once.
    pub ack_timeout: Duration,
    /// How often a message that is delivered at least once may be refused for a passing reason before it is
    /// given up; the pauses between double up to 2.56 s. [`ATTEMPTS`] is half a minute.
    pub attempts: u32,
    /// Samples kept per shard between two refreshes; more are summarised.
    pub samples: usize,
    /// The wall clock.
    pub clock: Clock,
    /// Seed of all choices.
    pub seed: u64,
}

/// How far messages are handed on, unless there is a reason: a chain longer than this lets others
/// have their turn.
pub const HOPS: usize = 64;
/// How much may wait in the inboxes of a workflow, unless there is a reason: as much as 64 MiB.
pub const WORKFLOW: usize = 16_384;
/// How much may wait in the inboxes of a node, unless there is a reason: as much as 256 MiB.
pub const NODE: usize = 65_536;
/// How often a message may be refused, unless there is a reason: what is away for some seconds, such as a
/// server or an orchestrator that restarts, costs nothing.
pub const ATTEMPTS: u32 = 18;
/// How many times longer a message may wait for a way to another node than for a circle here.
pub const FAR_TIMES: u32 = 24;

/// The way to other nodes.
pub trait Remote: Send + Sync {
    /// Sends a message to a node on behalf of a shard; gives it back when the link is full.
    ///
    /// # Errors
    /// The message, to be tried again later.
    #[expect(
        clippy::result_large_err,
        reason = "the message itself comes back, unboxed"
    )]
    fn send(&self, shard: usize, node_id: NodeId, message: Message) -> Result<(), Message>;

    /// How much waits for an instance of another node or is under way to it from a shard, by weight
    /// ([`Message::weight`]), as far as that is known.
    fn waiting(&self, shard: usize, instance: InstanceId) -> usize {
        let _ = (shard, instance);
        0
    }

    /// Sends a signal to the node of the instance it is for. It may be lost.
    fn signal(&self, shard: usize, signal: Signal);

    /// Tells all nodes that send messages to this one what an instance of this one says to those who
    /// send to it. It may be lost.
    fn upward(&self, shard: usize, upward: &Upward) {
        let _ = (shard, upward);
    }
}
