//! `order-source`: takes tasks of a service from ε-CON and calls the function on `task` with each.
//!
//! The operator only listens to signals; what ε-CON sends is taken by a task ([`stream`]) on the thread of
//! the same shard, so that a message goes from the socket to the function and back without waking another.

mod calls;
#[cfg(test)]
mod fake_con;
mod stream;
#[cfg(test)]
mod tests;

use std::{sync::Arc, task};

use edgeless_dataflow::{
    Action, Answer, CallRef, Control, Factory, Interests, Operator, Outbox, Outputs, Progress,
    Propagation, SpawnContext,
};
use edgeless_types::{
    message::{Message, MessageKind},
    resource::{
        Configurations,
        order_source::{Settings, TASK},
    },
};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::Endpoint;

use self::stream::Source;
use super::{
    Counters,
    mailbox::{Entry, Owner},
};
use crate::{capabilities, words::in_words};

/// Prepares an instance; ε-CON is sought when it runs, for as long as it takes.
///
/// # Errors
/// A setting is wrong; in words.
pub(super) fn prepare(
    configurations: &Configurations,
    owner: Owner,
    counters: Arc<Counters>,
) -> Result<Factory, String> {
    let settings = Settings::read(configurations).map_err(|problem| problem.to_string())?;
    let endpoint = Endpoint::from_shared(settings.url.clone());
    let endpoint = endpoint.map_err(|error| format!("setting `url`: {}", in_words(error)))?;
    let host = capabilities::host_name();
    Ok(Box::new(move |context: SpawnContext| {
        let entry = owner.enter(context.me.physical_id);
        let (state, told) = watch::channel(State {
            open: true,
            instances: 0,
        });
        let stopped = CancellationToken::new();
        let source = Source {
            settings,
            endpoint,
            host,
            port: context.port,
            counters,
            open: Arc::clone(entry.open()),
            state: told,
        };
        // A factory is called on the thread of its shard.
        owner.spawn(source.run(stopped.clone()));
        Ok(Box::new(OrderSource {
            entry,
            state,
            _stopped: stopped.drop_guard(),
        }))
    }))
}

/// What ε-CON is told of whenever it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    /// Whether the function takes anything.
    open: bool,
    /// Copies of the function to which the channel leads.
    instances: usize,
}

struct OrderSource {
    entry: Entry,
    state: watch::Sender<State>,
    _stopped: DropGuard,
}

impl OrderSource {
    fn set(&self, change: impl FnOnce(&mut State)) {
        self.state.send_if_modified(|state| {
            let before = *state;
            change(state);
            *state != before
        });
    }
}

impl Drop for OrderSource {
    fn drop(&mut self) {
        self.entry.open().closing().cancel();
    }
}

impl Operator for OrderSource {
    fn on_message(
        &mut self,
        message: Message,
        _: &mut task::Context<'_>,
        out: &mut Outbox,
    ) -> Progress {
        if message.kind == MessageKind::Call {
            let refusal = Answer::Error("order-source takes no calls".to_owned());
            out.answer(CallRef::of(&message), refusal);
        }
        out.push(Action::Fault("order-source takes no messages".to_owned()));
        Progress::Done
    }

    fn leads_to(&mut self, outputs: &Outputs) {
        let instances = outputs.number(TASK);
        self.set(|state| state.instances = instances);
    }

    fn interests(&self) -> Interests {
        Interests::BUDGET.and(Interests::SHUTDOWN)
    }

    /// Without a budget, tasks are sent back at once instead of waiting; a budget with bounds is kept by the
    /// port.
    fn on_signal(&mut self, signal: Control, _: &mut Outbox) -> Propagation {
        match signal {
            Control::Budget(budget) => {
                let open = !budget.is_nothing();
                self.set(|state| state.open = open);
                match open {
                    true => Propagation::Pass,
                    false => Propagation::Stop,
                }
            }
            Control::Shutdown => {
                self.entry.open().closing().cancel();
                Propagation::Stop
            }
            Control::Ack(_)
            | Control::Nack(..)
            | Control::Cancel(_)
            | Control::Timer(_)
            | Control::Error(_)
            | Control::Configure(_) => Propagation::Pass,
        }
    }
}
