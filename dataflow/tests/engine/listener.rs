//! Operators that listen to signals.

use std::{
    sync::{Arc, Mutex},
    task,
};

use bytes::Bytes;
use edgeless_dataflow::{
    Action, Answer, Control, Delivery, Engine, Interests, Operator, Outbox, Outputs, Place, Port,
    Progress, Propagation, Spawn,
};
use edgeless_types::{
    Generation, InstanceId,
    message::{Message, Refusal},
};
use tokio::sync::mpsc;

use crate::common::{does, id};

/// What an operator hears, and what it says to that.
pub(crate) type Heard = Arc<Mutex<Vec<Control>>>;

pub(crate) struct Listener<F> {
    pub(crate) interests: Interests,
    pub(crate) heard: Heard,
    pub(crate) says: Propagation,
    pub(crate) does: F,
}

impl<F> Operator for Listener<F>
where
    F: FnMut(Message, &mut Outbox) -> Progress,
{
    fn on_message(
        &mut self,
        message: Message,
        _: &mut task::Context<'_>,
        out: &mut Outbox,
    ) -> Progress {
        (self.does)(message, out)
    }

    fn interests(&self) -> Interests {
        self.interests
    }

    fn on_signal(&mut self, signal: Control, _: &mut Outbox) -> Propagation {
        self.heard.lock().unwrap().push(signal);
        self.says.clone()
    }
}

/// Starts an operator that listens.
pub(crate) async fn listens<F>(
    engine: &Engine,
    number: u128,
    out: Vec<InstanceId>,
    delivery: Delivery,
    (interests, says): (Interests, Propagation),
    does: F,
) -> (Heard, Port)
where
    F: FnMut(Message, &mut Outbox) -> Progress + Send + 'static,
{
    let heard = Heard::default();
    let for_operator = Arc::clone(&heard);
    let (sender, mut ports) = mpsc::channel(1);
    let spawn = Spawn {
        physical_id: id(number).physical_id,
        generation: Generation(1),
        place: Place::Anywhere,
        outputs: Outputs::new(vec![("out".to_owned(), out)]),
        delivery,
        factory: Box::new(move |context| {
            sender.try_send(context.port).unwrap();
            Ok(Box::new(Listener {
                interests,
                heard: for_operator,
                says,
                does,
            }))
        }),
    };
    engine.spawn(spawn).await.unwrap();
    (heard, ports.recv().await.unwrap())
}

pub(crate) fn pass(message: Message, out: &mut Outbox) -> Progress {
    out.pass(message);
    Progress::Done
}

pub(crate) fn sent(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

pub(crate) fn tracked() -> Delivery {
    Delivery::at_least_once(["out"])
}

/// A sink that refuses everything for good.
pub(crate) async fn refuses(engine: &Engine, number: u128) {
    does(engine, number, &[], |message, _, out| {
        out.push(Action::Refuse(message.id, Refusal::permanent("never")));
        Progress::Done
    })
    .await;
}

/// Asks on its output when it gets a message, and shows what it is told.
pub(crate) struct Asks(pub(crate) mpsc::Sender<Answer>);

impl Operator for Asks {
    fn on_message(
        &mut self,
        message: Message,
        _: &mut task::Context<'_>,
        out: &mut Outbox,
    ) -> Progress {
        out.push(Action::Call(Port::channel("out"), message.payload, 1));
        Progress::Busy
    }

    fn on_answer(
        &mut self,
        _: u64,
        answer: Answer,
        _: &mut task::Context<'_>,
        _: &mut Outbox,
    ) -> Progress {
        self.0.try_send(answer).unwrap();
        Progress::Done
    }

    fn poll(&mut self, _: &mut task::Context<'_>, _: &mut Outbox) -> Progress {
        Progress::Busy
    }
}
