//! Who waits for what becomes of a message.

use std::{cell::Cell, rc::Rc};

use edgeless_types::{InstanceId, PhysicalId};
use tokio::sync::oneshot;

use super::slot::Done;
use crate::{
    operator::Answer,
    output::ChannelName,
    port::{Called, PortError},
    track::Waits,
};

/// Who waits for an answer.
pub(super) enum Waiter {
    Operator(PhysicalId, u64),
    Port(Caller),
    /// A port that waits for an acknowledgement, of each of those that its message goes to.
    Delivery(Rc<Cell<Done>>),
}

/// A port that waits for an answer.
pub(super) struct Caller {
    pub(super) done: oneshot::Sender<Called>,
    /// For which instance, on which channel.
    pub(super) from: PhysicalId,
    pub(super) channel: ChannelName,
    /// Where its call went, once it did.
    pub(super) to: Option<InstanceId>,
}

impl Caller {
    /// Says what its call came to; whether that was heard.
    pub(super) fn hears(self, answer: Result<Answer, PortError>) -> bool {
        let Self { done, to, .. } = self;
        done.send(Called { to, answer }).is_ok()
    }
}

impl Waiter {
    pub(super) fn delivery(done: oneshot::Sender<Result<(), PortError>>) -> Self {
        Self::Delivery(Rc::new(Cell::new(Some(done))))
    }
}

impl Waits for Waiter {
    fn is_gone(&self) -> bool {
        match self {
            Self::Operator(..) => false,
            Self::Port(caller) => caller.done.is_closed(),
            Self::Delivery(done) => {
                let waits = done.take();
                let gone = waits.as_ref().is_some_and(|it| it.is_closed());
                done.set(waits);
                gone
            }
        }
    }

    fn went(&mut self, to: Option<InstanceId>) {
        match self {
            Self::Port(caller) => caller.to = to,
            Self::Operator(..) | Self::Delivery(_) => {}
        }
    }

    fn share(&self) -> Option<Self> {
        match self {
            Self::Operator(..) | Self::Port(_) => None,
            Self::Delivery(done) => Some(Self::Delivery(Rc::clone(done))),
        }
    }
}
