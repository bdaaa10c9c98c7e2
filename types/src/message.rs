//! Messages: what functions, resources and the nodes between them pass to one another.

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
    /// Further headers.
    pub fn headers(&self) -> &[(Header, Bytes)] {
        self.extra.as_ref().map_or(&[], |extra| &extra.headers)
    }
}

/// Where a sender keeps a message that is delivered at least once; means nothing to others.
pub type Ticket = std::num::NonZeroU32;

/// The name of a header, lower case.
pub type Header = std::sync::Arc<str>;

/// What travels against the data: what became of a message that is delivered at least once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal {
    /// The message it is about.
    pub id: MessageId,
    /// The ticket of that message.
    pub ticket: Ticket,
    /// Who sent that message.
    pub to: InstanceId,
    /// What became of it.
    pub kind: SignalKind,
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignalKind {
    /// It is handled, and so is all that came of it.
    Ack,
    /// It is not.
    Nack {
        /// Why, in words.
        reason: String,
        /// Whether trying again is of no use.
        permanent: bool,
    },
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
    /// Where its sender keeps it until there is a [`Signal`] about it, which gives this back. None: its
    /// sender waits for no signal.
    pub ticket: Option<Ticket>,
    /// What can be read without touching the payload.
    pub envelope: Envelope,
    /// Not interpreted, never copied between operators.
    pub payload: Bytes,
}

// Messages are moved a lot; up to this size compilers do it in place.
const _: () = assert!(size_of::<Message>() <= 128);
