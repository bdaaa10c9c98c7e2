//! A guest as an operator of the engine.

use std::{future::Future, pin::Pin, task};

use bytes::Bytes;
use edgeless_dataflow::{Answer, Operator, Outbox, Progress};
use edgeless_types::message::Message;

use super::{
    guest::{self, Birth},
    io::{Finished, Given, Io},
    kind::Kind,
    ticker::Ticker,
};

/// Hands messages to the one future in which the guest lives.
pub(super) struct GuestOperator {
    io: Io,
    life: Pin<Box<dyn Future<Output = ()>>>,
    ticker: Ticker,
    actions: Vec<edgeless_dataflow::Action>,
}

impl GuestOperator {
    pub(super) fn new<K: Kind>(birth: Birth<K>) -> Self {
        let io = Io::default();
        let ticker = birth.machine.ticker.clone();
        let life = Box::pin(guest::run(birth, io.clone()));
        Self {
            io,
            life,
            ticker,
            actions: Vec::new(),
        }
    }

    fn go_on(&mut self, task: &mut task::Context<'_>, out: &mut Outbox) -> Progress {
        // A life that is over has said why; it is not polled again, as the instance ends.
        let over = self.life.as_mut().poll(task).is_ready();
        let finished = self.io.take(&mut self.actions);
        out.append(&mut self.actions);
        match finished {
            Some(Finished::Ready) => Progress::Done,
            Some(Finished::Failed(text)) => Progress::Failed(text),
            None if over => Progress::Failed("the guest has ended".to_owned()),
            None => Progress::Busy,
        }
    }
}

impl Operator for GuestOperator {
    fn start(&mut self, task: &mut task::Context<'_>, out: &mut Outbox) -> Progress {
        self.go_on(task, out)
    }

    fn on_message(
        &mut self,
        message: Message,
        task: &mut task::Context<'_>,
        out: &mut Outbox,
    ) -> Progress {
        self.io.give(Given::Message(message));
        self.go_on(task, out)
    }

    fn on_answer(
        &mut self,
        token: u64,
        answer: Answer,
        task: &mut task::Context<'_>,
        out: &mut Outbox,
    ) -> Progress {
        self.io.give_answer(token, answer);
        self.go_on(task, out)
    }

    fn poll(&mut self, task: &mut task::Context<'_>, out: &mut Outbox) -> Progress {
        // Others may have had their turn for so long that the ticker sleeps.
        self.ticker.touch();
        self.go_on(task, out)
    }

    fn stop(&mut self, out: &mut Outbox) -> Option<Bytes> {
        self.io.give(Given::Stop);
        let mut task = task::Context::from_waker(task::Waker::noop());
        // One poll: a goodbye that wants to wait for something is cut short.
        let progress = self.go_on(&mut task, out);
        tracing::debug!(?progress, "the guest was told to stop");
        None
    }
}
