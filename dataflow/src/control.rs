//! Signals that an operator may subscribe to, and how far they travel.
//!
//! A signal starts at the subscriber nearest to where it comes from and travels against the data; each
//! subscriber may stop it. Operators that do not subscribe are passed, and cost nothing.

use bytes::Bytes;
use edgeless_types::message::{Budget, MessageId, Refusal};

/// The signals that an operator wants; they can be joined: `Interests::ACK.and(Interests::NACK)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interests(u8);

impl Interests {
    /// No signal.
    pub const NONE: Self = Self(0);
    /// A tracked message it sent is acknowledged ([`Control::Ack`]).
    pub const ACK: Self = Self(1);
    /// A tracked message it sent is refused ([`Control::Nack`]).
    pub const NACK: Self = Self(1 << 1);
    /// What it is handling is needed no more ([`Control::Cancel`]).
    pub const CANCEL: Self = Self(1 << 2);
    /// How much may be sent from now on ([`Control::Budget`]).
    pub const BUDGET: Self = Self(1 << 3);
    /// A timer it has set ([`Control::Timer`]).
    pub const TIMER: Self = Self(1 << 4);
    /// An operator that it leads to has had an error ([`Control::Error`]).
    pub const ERROR: Self = Self(1 << 5);
    /// It is to be configured anew ([`Control::Configure`]).
    pub const CONFIGURE: Self = Self(1 << 6);
    /// The node is about to end ([`Control::Shutdown`]).
    pub const SHUTDOWN: Self = Self(1 << 7);

    /// These and others.
    #[must_use]
    pub const fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Whether all of those are among these.
    pub const fn has(self, those: Self) -> bool {
        self.0 & those.0 == those.0
    }
}

/// A signal, as an operator is told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// ACK: a tracked message of this operator is handled, and all that came of it. Stopped, it does not
    /// count for the messages it came of: these are open until the operator acknowledges them itself
    /// ([`Action::Acknowledge`](crate::Action::Acknowledge)) or they are sent again.
    Ack(MessageId),
    /// NACK: a tracked message of this operator was refused. Stopped, the operator takes over, and the
    /// message is settled; passed, it is sent again or given up, and then what it came of fails.
    Nack(MessageId, Refusal),
    /// CAN: a message that this operator is handling, or has taken, is needed no more.
    Cancel(MessageId),
    /// REB: how much the operators that this one leads to take from now on. Passed beyond the first
    /// operator, it is kept by the engine: its port waits.
    Budget(Budget),
    /// TMR: the timer with this number has run out.
    Timer(u64),
    /// ERR: an operator that this one leads to has had an error; why, in words.
    Error(Box<str>),
    /// CFG: a new configuration, as this kind of operator reads it. Stopped, it is in force.
    Configure(Bytes),
    /// KIL: the node is about to end; sources take in no more.
    Shutdown,
}

/// Whether a signal travels on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// It travels on against the data.
    Pass,
    /// It ends here.
    Stop,
    /// It ends here, as it cannot be followed; why, in words.
    Refuse(String),
}
