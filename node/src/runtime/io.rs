//! What passes between an operator and its guest.

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
};

use bytes::Bytes;
use edgeless_dataflow::{Action, Answer, Destination};
use edgeless_types::message::Message;

/// Shared by the operator and the future of its guest, which run on one thread; so the lock is
/// never waited for.
#[derive(Clone, Default)]
pub(super) struct Io(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    given: Option<Given>,
    actions: Vec<Action>,
    answers: VecDeque<(u64, Answer)>,
    next_token: u64,
    finished: Option<Finished>,
}

/// What the guest is to do next.
pub(super) enum Given {
    /// Handle this.
    Message(Message),
    /// Say goodbye.
    Stop,
}

/// How far the guest came.
#[derive(Debug)]
pub(super) enum Finished {
    /// It is ready for the next message.
    Ready,
    /// It cannot go on.
    Failed(String),
}

impl Io {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the guest something to do.
    pub(super) fn give(&self, given: Given) {
        self.state().given = Some(given);
    }

    /// Gives the guest the answer to its call.
    pub(super) fn give_answer(&self, token: u64, answer: Answer) {
        self.state().answers.push_back((token, answer));
    }

    /// Takes what the guest did and how far it came.
    pub(super) fn take(&self, actions: &mut Vec<Action>) -> Option<Finished> {
        let mut state = self.state();
        actions.append(&mut state.actions);
        state.finished.take()
    }

    /// The guest does something.
    pub(super) fn act(&self, action: Action) {
        self.state().actions.push(action);
    }

    /// The guest is done with what it was given.
    pub(super) fn finish(&self, finished: Finished) {
        self.state().finished = Some(finished);
    }

    /// Waits for what to do next.
    pub(super) async fn given(&self) -> Given {
        poll_fn(|_| match self.state().given.take() {
            Some(given) => Poll::Ready(given),
            None => Poll::Pending,
        })
        .await
    }

    /// Calls and waits for the answer.
    pub(super) async fn call(&self, to: Destination, payload: Bytes) -> Answer {
        let token = {
            let mut state = self.state();
            state.next_token += 1;
            let token = state.next_token;
            state.actions.push(Action::Call(to, payload, token));
            token
        };
        poll_fn(|_| {
            let mut state = self.state();
            while let Some((answered, answer)) = state.answers.pop_front() {
                // An older token is the answer to a call of an event that was cut short.
                if answered == token {
                    return Poll::Ready(answer);
                }
            }
            Poll::Pending
        })
        .await
    }
}
