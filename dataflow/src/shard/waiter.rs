//! Who waits for what becomes of a message.

use std::{cell::Cell, rc::Rc};

use edgeless_types::PhysicalId;
use tokio::sync::oneshot;

use super::slot::Done;
use crate::{operator::Answer, output::ChannelName, port::PortError, track::Waits};

/// Who waits for an answer.
pub(super) enum Waiter {
    Operator(PhysicalId, u64),
    /// The caller, for which instance, on which channel.
    Port(
        oneshot::Sender<Result<Answer, PortError>>,
        PhysicalId,
        ChannelName,
    ),
    /// A port that waits for an acknowledgement, of each of those that its message goes to.
    Delivery(Rc<Cell<Done>>),
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
            Self::Port(done, ..) => done.is_closed(),
            Self::Delivery(done) => {
                let waits = done.take();
                let gone = waits.as_ref().is_some_and(|it| it.is_closed());
                done.set(waits);
                gone
            }
        }
    }

    fn share(&self) -> Option<Self> {
        match self {
            Self::Operator(..) | Self::Port(..) => None,
            Self::Delivery(done) => Some(Self::Delivery(Rc::clone(done))),
        }
    }
}
