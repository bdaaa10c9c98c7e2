//! Operators that are made of what they do.

use std::task;

use edgeless_dataflow::{
    Answer, Control, Delivery, Engine, Interests, Operator, Outbox, Outputs, Place, Port, Progress,
    Propagation, Spawn,
};
use edgeless_types::{Generation, InstanceId, message::Message, routing::Routing};
use tokio::sync::mpsc;

use crate::common::id;

type OnMessage = Box<dyn FnMut(Message, &mut task::Context<'_>, &mut Outbox) -> Progress + Send>;
type OnAnswer = Box<dyn FnMut(Answer, &mut Outbox) -> Progress + Send>;
type OnPoll = Box<dyn FnMut(&mut Outbox) -> Progress + Send>;
type OnSignal = Box<dyn FnMut(Control, &mut Outbox) -> Propagation + Send>;

/// An operator that is made of what it does.
pub(crate) struct Made {
    pub(crate) interests: Interests,
    pub(crate) message: OnMessage,
    pub(crate) answer: OnAnswer,
    pub(crate) poll: OnPoll,
    pub(crate) signal: OnSignal,
}

impl Made {
    pub(crate) fn new() -> Self {
        Self {
            interests: Interests::NONE,
            message: Box::new(|_, _, _| Progress::Done),
            answer: Box::new(|_, _| Progress::Done),
            poll: Box::new(|_| Progress::Done),
            signal: Box::new(|_, _| Propagation::Pass),
        }
    }
}

impl Operator for Made {
    fn on_message(
        &mut self,
        message: Message,
        task: &mut task::Context<'_>,
        out: &mut Outbox,
    ) -> Progress {
        (self.message)(message, task, out)
    }
    fn on_answer(
        &mut self,
        _: u64,
        answer: Answer,
        _: &mut task::Context<'_>,
        out: &mut Outbox,
    ) -> Progress {
        (self.answer)(answer, out)
    }
    fn poll(&mut self, _: &mut task::Context<'_>, out: &mut Outbox) -> Progress {
        (self.poll)(out)
    }
    fn interests(&self) -> Interests {
        self.interests
    }
    fn on_signal(&mut self, signal: Control, out: &mut Outbox) -> Propagation {
        (self.signal)(signal, out)
    }
}

/// Starts such an operator; answers its port.
pub(crate) async fn make(
    engine: &Engine,
    number: u128,
    outs: &[(&str, &[u128], Routing)],
    delivery: Delivery,
    made: Made,
) -> Port {
    let channels = outs
        .iter()
        .map(|(name, to, _)| ((*name).to_owned(), to.iter().copied().map(id).collect()));
    let mut outputs = Outputs::new(channels.collect());
    for (name, _, routing) in outs {
        outputs.set_routing(name, routing.clone());
    }
    let (sender, mut ports) = mpsc::channel(1);
    let spawn = Spawn {
        physical_id: id(number).physical_id,
        generation: Generation(1),
        place: Place::Anywhere,
        outputs,
        delivery,
        factory: Box::new(move |context| {
            sender.try_send(context.port).unwrap();
            Ok(Box::new(made))
        }),
    };
    engine.spawn(spawn).await.unwrap();
    ports.recv().await.unwrap()
}

pub(crate) fn to(out: &[u128]) -> Vec<InstanceId> {
    out.iter().copied().map(id).collect()
}

/// No routing in particular.
pub(crate) const ANY: Routing = Routing::LeastOutstanding;
