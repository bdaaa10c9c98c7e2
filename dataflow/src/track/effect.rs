//! What follows from signals and time.

use edgeless_types::{
    PhysicalId,
    message::{Message, MessageId, Refusal, Signal, Ticket},
};

use super::{Need, Parents};
use crate::counters::Drop;

/// What is to be done after a signal, or as time has passed.
#[derive(Debug, PartialEq)]
pub(crate) enum Effect<W> {
    /// Tell a sender, or whoever got a message that is cancelled.
    Signal(Signal),
    /// Send a message of an instance once more, on a channel of that number.
    Again(PhysicalId, usize, Box<Message>),
    /// So many messages of an instance are outstanding no more.
    Settled(PhysicalId, usize),
    /// A message of an instance is not to be sent, if it is yet to be: nobody waits for it, or, where this
    /// says so, it is sent anew.
    Withdraw(PhysicalId, MessageId, bool),
    /// A message is given up that nobody upstream waits for; why.
    GivenUp(Drop),
    /// Whoever waits for a message learns what became of it.
    Ended(Box<W>, Outcome),
    /// An instance that asked for it is told that its message is acknowledged; it may stop that from
    /// counting for what the message came of.
    Acknowledged(PhysicalId, MessageId, Need, Parents),
    /// An instance that asked for it is told that its message is refused; it may take over. The ticket
    /// names the message as long as it may be tried again.
    Refused(PhysicalId, MessageId, Ticket, Box<Refusal>),
}

/// What became of a message that somebody waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is handled, and all that came of it.
    Handled,
    /// It is given up; why.
    Refused(String),
    /// Its time is over.
    Late,
}
