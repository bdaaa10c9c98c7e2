//! What happens to the book, and what comes of it.

use std::sync::Arc;

use edgeless_types::OrderId;
use smallvec::SmallVec;

use super::{Answer, Ask, Handout, LineId, Outcome, Ticket};
use crate::{
    body::Body, contract::Contract, record::Record, service::ServiceSpec, submission::Submission,
};

/// An order that failed is to be taken up again.
#[derive(Clone, Copy, Debug)]
pub struct Again {
    /// The order.
    pub id: OrderId,
    /// The id of the new one.
    pub new: OrderId,
    /// The one that took it up before, which has come to no good end either; none: nobody did.
    pub after: Option<OrderId>,
    /// Who is answered.
    pub ask: Ask,
}

/// What happens to the book.
#[derive(Debug)]
pub enum Event {
    /// An order comes. With `wait` the answer is its end.
    Submit {
        /// Its id if it is accepted.
        id: OrderId,
        /// What it is.
        submission: Box<Submission>,
        /// Who is answered.
        ask: Ask,
        /// Only at its end.
        wait: bool,
    },
    /// Somebody wants to know how an order is.
    Look {
        /// The order.
        id: OrderId,
        /// Who is answered.
        ask: Ask,
    },
    /// Somebody wants to be told of its end.
    Wait {
        /// The order.
        id: OrderId,
        /// Who is answered.
        ask: Ask,
    },
    /// An order is wanted no more.
    Cancel {
        /// The order.
        id: OrderId,
        /// Why.
        reason: String,
        /// Who is answered.
        ask: Ask,
    },
    /// An order that failed is to be taken up again, as another order.
    Retry(Again),
    /// An order is held up, or goes on.
    Pause {
        /// The order.
        id: OrderId,
        /// It is held up.
        paused: bool,
        /// Who is answered.
        ask: Ask,
    },
    /// A service is held up, or goes on.
    PauseService {
        /// Its name.
        name: Arc<str>,
        /// It is held up.
        paused: bool,
    },
    /// A service is there, or changed; none: it is there no more.
    Service {
        /// Its name.
        name: Arc<str>,
        /// What it is.
        spec: Option<Arc<ServiceSpec>>,
    },
    /// A service is wanted no more; it stays if an active order may need it.
    RemoveService {
        /// Its name.
        name: Arc<str>,
        /// Who is answered.
        ask: Ask,
    },
    /// A client is there, or changed; none: it is there no more.
    Client {
        /// Its name.
        name: Arc<str>,
        /// Its contract.
        contract: Option<Arc<Contract>>,
    },
    /// A line leads to a service now.
    LineOpened {
        /// The line.
        line: LineId,
        /// The service's name.
        service: Arc<str>,
        /// For people: where it leads.
        source: Arc<str>,
        /// So many copies are behind it; none: that is never said, and it takes tasks.
        copies: Option<u32>,
    },
    /// So many copies are behind a line.
    Copies {
        /// The line.
        line: LineId,
        /// How many.
        copies: u32,
    },
    /// Whether a line takes tasks; at first it does.
    Open {
        /// The line.
        line: LineId,
        /// It does.
        open: bool,
    },
    /// A line is lost.
    LineClosed {
        /// The line.
        line: LineId,
    },
    /// A task has come back.
    Outcome {
        /// Over which line.
        line: LineId,
        /// Which.
        ticket: Ticket,
        /// What came of it.
        outcome: Outcome,
    },
    /// All records up to this one are kept.
    Durable {
        /// Its number.
        through: u64,
    },
    /// Whether there is room for new orders; with the reason why not.
    Room {
        /// None: there is.
        full: Option<Arc<str>>,
    },
    /// The log takes nothing for now, and why: nothing is recorded that can wait, nothing is handed out, and nobody's
    /// time is up. None: it takes everything.
    Hold {
        /// Why.
        why: Option<Arc<str>>,
    },
    /// All records up to this one are in the store.
    Applied {
        /// Its number.
        through: u64,
    },
    /// What the store has of an order.
    Loaded {
        /// The order.
        id: OrderId,
        /// The order; none: there is no such order.
        body: Option<Box<Body>>,
    },
    /// The store cannot be read now: nobody knows what it has of an order.
    Unread {
        /// The order.
        id: OrderId,
        /// Why.
        why: String,
    },
    /// The store cannot be read now: nobody knows who used an idempotency key.
    Unfound {
        /// The client.
        client: Arc<str>,
        /// The key.
        key: String,
        /// Why.
        why: String,
    },
    /// What the store has under an idempotency key.
    Found {
        /// The client.
        client: Arc<str>,
        /// The key.
        key: String,
        /// The order and the digest of what was sent.
        found: Option<(OrderId, [u8; 32])>,
    },
    /// Output of an order's end: told, or why it cannot be.
    Delivered {
        /// The order.
        id: OrderId,
        /// Which of its outputs.
        output: u32,
        /// None: it is told.
        problem: Option<String>,
    },
    /// Time has passed.
    Tick,
}

impl Event {
    /// Who is answered, if anybody is.
    pub fn ask(&self) -> Option<Ask> {
        match self {
            Self::Submit { ask, .. }
            | Self::Look { ask, .. }
            | Self::Wait { ask, .. }
            | Self::Cancel { ask, .. }
            | Self::Retry(Again { ask, .. })
            | Self::RemoveService { ask, .. }
            | Self::Pause { ask, .. } => Some(*ask),
            Self::PauseService { .. }
            | Self::Service { .. }
            | Self::Client { .. }
            | Self::LineOpened { .. }
            | Self::Copies { .. }
            | Self::Open { .. }
            | Self::LineClosed { .. }
            | Self::Outcome { .. }
            | Self::Durable { .. }
            | Self::Room { .. }
            | Self::Hold { .. }
            | Self::Applied { .. }
            | Self::Loaded { .. }
            | Self::Unread { .. }
            | Self::Unfound { .. }
            | Self::Found { .. }
            | Self::Delivered { .. }
            | Self::Tick => None,
        }
    }
}

/// What is to be done.
#[derive(Debug)]
pub enum Effect {
    /// A task goes to a line.
    Hand {
        /// The line.
        line: LineId,
        /// The task.
        handout: Handout,
    },
    /// A task that was handed out is wanted no more.
    Withdraw {
        /// The line.
        line: LineId,
        /// The task.
        ticket: Ticket,
    },
    /// Somebody is answered.
    Answer {
        /// Who.
        ask: Ask,
        /// What.
        answer: Answer,
    },
    /// An order is wanted from the store: [`Event::Loaded`].
    Load {
        /// Which.
        id: OrderId,
    },
    /// An idempotency key is looked up: [`Event::Found`].
    Find {
        /// The client.
        client: Arc<str>,
        /// The key.
        key: String,
    },
    /// Something about an order has changed, for those who watch.
    Changed(Arc<Body>),
    /// The end of an order is to be told: [`Event::Delivered`] for each of its outputs.
    Deliver(Arc<Body>),
    /// Tasks wait for a service or will soon, and nobody is behind it: no line leads there, or lines without copies.
    Wanted {
        /// Its name.
        service: Arc<str>,
    },
}

/// What one event came to.
#[derive(Debug, Default)]
pub struct Output {
    /// To be kept, in this order; the first has the number after the last before.
    pub records: Vec<(Record, Told)>,
    /// To be done.
    pub effects: Vec<Effect>,
}

/// What a record is about, for the store.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Told {
    /// Orders that came to their end by it.
    pub ended: SmallVec<[EndedOrder; 1]>,
}

/// An order that came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndedOrder {
    /// Which.
    pub id: OrderId,
    /// How.
    pub code: crate::record::EndCode,
    /// To how many outputs its end is still to be told.
    pub outputs: u32,
}
