//! What is kept of an order: changes, in the order in which they happened.
//!
//! A record of the log is one [`Record`]: changes that are kept together or not at all. A row of the store is the same
//! message with all changes of one order, so that a row grows by appending to it. Protobuf, so that later versions
//! read what earlier ones wrote.

use bytes::Bytes;
use edgeless_types::{OrderId, Timestamp};
use prost::Message;

use crate::json::Json;

/// Changes that are kept together, or all changes of one order.
#[derive(Clone, PartialEq, Message)]
pub struct Record {
    /// In the order in which they happened.
    #[prost(message, repeated, tag = "1")]
    pub changes: Vec<Change>,
}

/// One change of one order.
#[derive(Clone, PartialEq, Message)]
pub struct Change {
    /// The first half of the order's id.
    #[prost(fixed64, tag = "1")]
    pub high: u64,
    /// The second half.
    #[prost(fixed64, tag = "2")]
    pub low: u64,
    /// When, in nanoseconds since the epoch.
    #[prost(fixed64, tag = "3")]
    pub at: u64,
    /// What has changed. None: written by a later version.
    #[prost(oneof = "What", tags = "4, 5, 6, 7, 8, 9, 10, 11, 12")]
    pub what: Option<What>,
}

/// What has changed.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum What {
    /// It was accepted.
    #[prost(message, tag = "4")]
    Accepted(Box<Accepted>),
    /// A task has given its result.
    #[prost(message, tag = "5")]
    Done(Done),
    /// A task was handed out in vain.
    #[prost(message, tag = "6")]
    Missed(Missed),
    /// It has come to its end, other than by its last task.
    #[prost(message, tag = "7")]
    Ended(Ended),
    /// It is held up, or goes on.
    #[prost(message, tag = "8")]
    Paused(Paused),
    /// A task has given rise to other orders.
    #[prost(message, tag = "9")]
    Spawned(Spawned),
    /// One of those has come to its end.
    #[prost(message, tag = "10")]
    Joined(Joined),
    /// Its end was delivered where the contract says, or cannot be.
    #[prost(message, tag = "11")]
    Delivered(Delivered),
    /// It failed, and was taken up again.
    #[prost(message, tag = "12")]
    Retried(Retried),
}

/// An order as it was accepted.
#[derive(Clone, PartialEq, Message)]
pub struct Accepted {
    /// Who sent it.
    #[prost(string, tag = "1")]
    pub client: String,
    /// Its list of tasks, JSON.
    #[prost(bytes = "bytes", tag = "2")]
    pub tasks: Bytes,
    /// Which messages its services get.
    #[prost(enumeration = "ModeCode", tag = "3")]
    pub mode: i32,
    /// What it is about, JSON.
    #[prost(bytes = "bytes", tag = "4")]
    pub input: Bytes,
    /// What its client noted, JSON; empty: nothing.
    #[prost(bytes = "bytes", tag = "5")]
    pub metadata: Bytes,
    /// The idempotency key; empty: none.
    #[prost(string, tag = "6")]
    pub key: String,
    /// SHA-256 of what was sent with the key.
    #[prost(bytes = "bytes", tag = "7")]
    pub digest: Bytes,
    /// Nanoseconds since the epoch; 0: none.
    #[prost(fixed64, tag = "8")]
    pub deadline: u64,
    /// Not begun before, nanoseconds since the epoch; 0: at once.
    #[prost(fixed64, tag = "9")]
    pub not_before: u64,
    /// 0 to 9; the greater goes first.
    #[prost(uint32, tag = "10")]
    pub priority: u32,
    /// Where its end is told besides, JSON; empty: nowhere.
    #[prost(bytes = "bytes", tag = "11")]
    pub outputs: Bytes,
    /// The order whose task gave rise to it.
    #[prost(message, optional, tag = "12")]
    pub parent: Option<Parent>,
    /// The failed order that it takes up again, 16 bytes; empty: none.
    #[prost(bytes = "bytes", tag = "13")]
    pub retry_of: Bytes,
    /// What that order had done already.
    #[prost(message, repeated, tag = "14")]
    pub carried: Vec<Done>,
}

/// The order and the task that gave rise to another order.
#[derive(Clone, PartialEq, Message)]
pub struct Parent {
    /// The first half of its id.
    #[prost(fixed64, tag = "1")]
    pub high: u64,
    /// The second half.
    #[prost(fixed64, tag = "2")]
    pub low: u64,
    /// The position of its task.
    #[prost(uint32, tag = "3")]
    pub position: u32,
    /// The services at work on it and on those before it, which it may not call on again.
    #[prost(string, repeated, tag = "4")]
    pub services: Vec<String>,
}

/// A result.
#[derive(Clone, PartialEq, Message)]
pub struct Done {
    /// Which task; with [`UNDO`] the one that takes it back.
    #[prost(uint32, tag = "1")]
    pub position: u32,
    /// Counts from 1.
    #[prost(uint32, tag = "2")]
    pub attempt: u32,
    /// Who did it.
    #[prost(string, tag = "3")]
    pub instance: String,
    /// When it was handed out, nanoseconds since the epoch.
    #[prost(fixed64, tag = "4")]
    pub handed: u64,
    /// JSON.
    #[prost(bytes = "bytes", tag = "5")]
    pub result: Bytes,
}

/// An attempt in vain.
#[derive(Clone, PartialEq, Message)]
pub struct Missed {
    /// Which task; with [`UNDO`] the one that takes it back.
    #[prost(uint32, tag = "1")]
    pub position: u32,
    /// Counts from 1.
    #[prost(uint32, tag = "2")]
    pub attempt: u32,
    /// Who tried.
    #[prost(string, tag = "3")]
    pub instance: String,
    /// When it was handed out, nanoseconds since the epoch.
    #[prost(fixed64, tag = "4")]
    pub handed: u64,
    /// What went wrong.
    #[prost(enumeration = "MissCode", tag = "5")]
    pub kind: i32,
    /// The same in words.
    #[prost(string, tag = "6")]
    pub reason: String,
    /// When it is tried again, nanoseconds since the epoch; 0: never.
    #[prost(fixed64, tag = "7")]
    pub again: u64,
}

/// An end that no result has brought.
#[derive(Clone, PartialEq, Message)]
pub struct Ended {
    /// Which.
    #[prost(enumeration = "EndCode", tag = "1")]
    pub end: i32,
    /// Why.
    #[prost(string, tag = "2")]
    pub reason: String,
    /// Tasks that were done are taken back first: this is not the end yet.
    #[prost(bool, tag = "3")]
    pub undoing: bool,
}

/// Held up, or going on.
#[derive(Clone, PartialEq, Message)]
pub struct Paused {
    /// Held up.
    #[prost(bool, tag = "1")]
    pub paused: bool,
}

/// What a task has given rise to.
#[derive(Clone, PartialEq, Message)]
pub struct Spawned {
    /// What the task said besides.
    #[prost(message, optional, tag = "1")]
    pub done: Option<Done>,
    /// The ids of the orders, 16 bytes each.
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub orders: Vec<Bytes>,
}

/// The end of one that it waited for.
#[derive(Clone, PartialEq, Message)]
pub struct Joined {
    /// The task that gave rise to it.
    #[prost(uint32, tag = "1")]
    pub position: u32,
    /// Its id.
    #[prost(bytes = "bytes", tag = "2")]
    pub order: Bytes,
    /// How it ended.
    #[prost(enumeration = "EndCode", tag = "3")]
    pub end: i32,
    /// Its result, JSON, if it has one.
    #[prost(bytes = "bytes", tag = "4")]
    pub result: Bytes,
}

/// What came of telling an end.
#[derive(Clone, PartialEq, Message)]
pub struct Delivered {
    /// Which of the outputs.
    #[prost(uint32, tag = "1")]
    pub output: u32,
    /// Empty: it was delivered. Else why it cannot be.
    #[prost(string, tag = "2")]
    pub problem: String,
}

/// What takes a failed order up again.
#[derive(Clone, PartialEq, Message)]
pub struct Retried {
    /// The id of the other order, 16 bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub order: Bytes,
}

/// Which messages services get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum ModeCode {
    /// The list of tasks and what is done of it.
    Slip = 0,
    /// All that was done so far.
    Trace = 1,
}

/// What went wrong with an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum MissCode {
    /// The service said so.
    Failed = 0,
    /// The service said so, and that it will never be otherwise.
    Refused = 1,
    /// No answer in time.
    TimedOut = 2,
    /// An answer that makes no sense.
    Nonsense = 3,
    /// Whoever had it is gone: nobody knows how far it came.
    Lost = 4,
    /// It did not reach the service.
    Undelivered = 5,
}

/// The end of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum EndCode {
    /// All tasks are done.
    Completed = 0,
    /// A task failed for good.
    Failed = 1,
    /// Its client wanted it no more.
    Cancelled = 2,
    /// Its deadline has passed.
    Expired = 3,
}

/// Set in the position of a task that takes another one back.
pub const UNDO: u32 = 0x8000;

impl Change {
    /// Says that something about an order has changed.
    pub fn new(id: OrderId, at: Timestamp, what: What) -> Self {
        let (high, low) = id.to_pair();
        let (at, what) = (at.as_nanos(), Some(what));
        Self {
            high,
            low,
            at,
            what,
        }
    }

    /// The order.
    pub fn id(&self) -> OrderId {
        OrderId::from_pair((self.high, self.low))
    }

    /// When.
    pub fn at(&self) -> Timestamp {
        Timestamp::from_nanos(self.at)
    }
}

impl Record {
    /// A record of one change.
    pub fn of(change: Change) -> Self {
        Self {
            changes: vec![change],
        }
    }
}

/// The 16 bytes of an id.
pub fn id_bytes(id: OrderId) -> Bytes {
    Bytes::copy_from_slice(id.uuid().as_bytes())
}

/// The id of such bytes; none: they are not 16.
pub fn id_of(bytes: &[u8]) -> Option<OrderId> {
    uuid::Uuid::from_slice(bytes).ok().map(OrderId::new)
}

/// A moment that may be absent.
pub fn moment(nanos: u64) -> Option<Timestamp> {
    (nanos != 0).then(|| Timestamp::from_nanos(nanos))
}

/// The other way.
pub fn nanos(moment: Option<Timestamp>) -> u64 {
    moment.map_or(0, Timestamp::as_nanos)
}

/// A value that was checked when it was taken.
pub fn kept(bytes: &Bytes) -> Json {
    Json::kept(bytes.clone())
}
