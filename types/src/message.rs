//! Messages: what functions, resources and the nodes between them pass to one another.

use std::time::Duration;

use bytes::Bytes;

use crate::{InstanceId, PhysicalId, Timestamp};

/// Names a message on its whole way, over hops and retries; unique across nodes.
///
/// The upper half is drawn once per shard of a node, the lower half counts; what comes of a message that
/// is delivered at least once has an id derived from the id of that message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId {
    /// Drawn at random when the shard starts.
    pub origin: u64,
    /// Counts the messages of the shard.
    pub sequence: u64,
}

/// What is expected of the receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// No answer.
    Cast,
    /// An answer: one of the three below, with the same id.
    Call,
    /// The answer to a call.
    Reply,
    /// The call was handled and has no answer.
    NoReply,
    /// The call failed; the payload says why, as UTF-8 text.
    Error,
}

impl MessageKind {
    /// Whether this ends a call.
    pub const fn is_answer(self) -> bool {
        match self {
            Self::Cast | Self::Call => false,
            Self::Reply | Self::NoReply | Self::Error => true,
        }
    }
}

/// What can be read without touching the payload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// When the message was created; transfer time counts from here.
    pub created: Timestamp,
    /// After this moment the message is not handled any more.
    pub deadline: Option<Timestamp>,
    /// What few messages have.
    pub extra: Option<Box<Extra>>,
}

/// What few messages have; a message without costs nothing for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extra {
    /// Further headers, such as `traceparent` or `content-type`.
    pub headers: Vec<(Header, Bytes)>,
    /// Of a call: the instances that wait for it, from the first caller to its sender.
    pub callers: Callers,
}

/// Instances that each wait for the answer of the next; at most [`MAX_CALLERS`].
pub type Callers = std::sync::Arc<[InstanceId]>;

/// The most instances that may wait for one another in calls.
pub const MAX_CALLERS: usize = 64;

impl Envelope {
    /// The message is of no use after this either.
    pub fn sooner(&mut self, deadline: Option<Timestamp>) {
        self.deadline = match (self.deadline, deadline) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }

    /// Further headers.
    pub fn headers(&self) -> &[(Header, Bytes)] {
        self.extra.as_ref().map_or(&[], |extra| &extra.headers)
    }
}

/// Where a sender keeps a message that is delivered at least once; means nothing to others.
pub type Ticket = std::num::NonZeroU32;

/// The name of a header, lower case.
pub type Header = std::sync::Arc<str>;

/// What is said about one message: what became of it, or that nobody waits for it any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal {
    /// The message it is about.
    pub id: MessageId,
    /// The ticket of that message.
    pub ticket: Ticket,
    /// Who sent that message; of a cancellation: who got it.
    pub to: InstanceId,
    /// What is said.
    pub kind: SignalKind,
}

/// What is said about a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignalKind {
    /// It is handled, and so is all that came of it. Travels against the data.
    Ack,
    /// It is not. Travels against the data.
    Nack(Box<Refusal>),
    /// Nobody waits for it any more: its handling, if it has not begun, need not begin. Travels with the
    /// data, on the edges that what is outstanding remembers.
    Cancel,
}

/// Why a message is not handled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// Why, in words.
    pub reason: String,
    /// Whether trying again is of no use.
    pub permanent: bool,
    /// How long to wait before it is sent again; `None`: whoever sends it decides.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// One that may be better next time.
    pub fn passing(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            ..Self::default()
        }
    }

    /// One that will be the same next time.
    pub fn permanent(reason: impl Into<String>) -> Self {
        Self {
            permanent: true,
            ..Self::passing(reason)
        }
    }
}

/// What an operator tells those who send to it, over all edges that lead to it: it travels against the
/// data until an operator that subscribes to it ends its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upward {
    /// Names it, so that whoever is reached on several ways hears of it once.
    pub id: MessageId,
    /// Whose senders it is for.
    pub of: PhysicalId,
    /// How many more operators it may pass.
    pub hops: u8,
    /// What is told.
    pub kind: UpwardKind,
}

/// What an operator tells those who send to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpwardKind {
    /// How much it takes from now on.
    Budget(Budget),
    /// Something went wrong there; why, in words.
    Error(Box<str>),
}

/// How much may be sent; `None` is no bound. A budget of no messages or no bytes says: nothing now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Messages.
    pub messages: Option<u64>,
    /// Bytes of payload.
    pub bytes: Option<u64>,
    /// Messages per second.
    pub rate: Option<u32>,
}

impl Budget {
    /// Nothing may be sent.
    pub const NOTHING: Self = Self {
        messages: Some(0),
        bytes: Some(0),
        rate: None,
    };

    /// What may be sent where both hold.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        fn least<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
            match (one, other) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            }
        }
        Self {
            messages: least(self.messages, other.messages),
            bytes: least(self.bytes, other.bytes),
            rate: least(self.rate, other.rate),
        }
    }

    /// Whether nothing may be sent.
    pub fn is_nothing(&self) -> bool {
        self.messages == Some(0) || self.bytes == Some(0) || self.rate == Some(0)
    }
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Names it; an answer has the id of its call.
    pub id: MessageId,
    /// Who sent it.
    pub source: InstanceId,
    /// Who gets it.
    pub target: PhysicalId,
    /// What is expected of the receiver.
    pub kind: MessageKind,
    /// Where its sender keeps it until there is a [`Signal`] about it, or the answer to it, which give this
    /// back. None: its sender waits for neither.
    pub ticket: Option<Ticket>,
    /// What can be read without touching the payload.
    pub envelope: Envelope,
    /// Not interpreted, never copied between operators.
    pub payload: Bytes,
}

// Messages are moved a lot; up to this size compilers do it in place.
const _: () = assert!(size_of::<Message>() <= 128);

/// Payload that weighs as much as a message.
pub const WEIGHT_BYTES: usize = 4_096;

impl Message {
    /// How much it counts against the bounds of queues: one, and one more for every full
    /// [`WEIGHT_BYTES`] of its payload. Answers have callers that wait, and count nothing.
    #[inline]
    pub fn weight(&self) -> usize {
        match self.kind.is_answer() {
            true => 0,
            false => 1 + self.payload.len() / WEIGHT_BYTES,
        }
    }

    /// Whether its sender waits for a [`Signal`] about it: what became of a call says its answer.
    pub fn is_tracked(&self) -> bool {
        self.ticket.is_some() && matches!(self.kind, MessageKind::Cast)
    }
}
