//! What tests of resources share: an engine, and a function whose behaviour is in its request.

use std::{collections::BTreeMap, sync::Arc, task, time::Duration};

use bytes::Bytes;
use edgeless_dataflow::{
    Answer, CallRef, Delivery, Engine, EngineConfig, Factory, Operator, Outbox, Outputs, Progress,
    Remote, Spawn,
};
use edgeless_types::{
    Generation, InstanceId, NodeId, PhysicalId,
    message::{Message, MessageKind},
};
use uuid::Uuid;

struct NoPeers;

impl Remote for NoPeers {
    fn send(&self, _: usize, _: NodeId, message: Message) -> Result<(), Message> {
        Err(message)
    }

    fn signal(&self, _: usize, _: edgeless_types::message::Signal) {}
}

pub(crate) const NODE: NodeId = NodeId::new(Uuid::from_u128(1));

pub(crate) fn engine() -> Engine {
    let config = EngineConfig {
        node_id: NODE,
        shards: 2,
        inbox: 16,
        hops: edgeless_dataflow::HOPS,
        workflow: edgeless_dataflow::WORKFLOW,
        node: edgeless_dataflow::NODE,
        call_timeout: Duration::from_secs(30),
        park_timeout: Duration::from_secs(1),
        ack_timeout: Duration::from_secs(15),
        attempts: edgeless_dataflow::ATTEMPTS,
        samples: 100,
        clock: Arc::new(edgeless_daemon::wall_clock),
        seed: 1,
    };
    Engine::start(config, Arc::new(NoPeers)).unwrap()
}

pub(crate) fn pid(id: u128) -> PhysicalId {
    PhysicalId::new(Uuid::from_u128(id))
}

/// Starts an instance whose outputs each lead to instances on this node.
pub(crate) async fn spawn(
    engine: &Engine,
    id: u128,
    outputs: &[(&str, &[u128])],
    factory: Factory,
) -> Result<(), String> {
    let lead = |&(channel, ids): &(&str, &[u128])| {
        let instances = ids.iter().map(|&id| InstanceId {
            node_id: NODE,
            physical_id: pid(id),
        });
        (channel.to_owned(), instances.collect())
    };
    let spawn = Spawn {
        physical_id: pid(id),
        generation: Generation(1),
        place: edgeless_dataflow::Place::Anywhere,
        outputs: Outputs::new(outputs.iter().map(lead).collect()),
        delivery: Delivery::default(),
        factory,
    };
    engine.spawn(spawn).await.map_err(|error| error.to_string())
}

pub(crate) fn configurations(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|&(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// Answers a call with what the closure makes of its payload; `None` is never answered.
pub(crate) struct Answering<F>(pub(crate) F);

impl<F: Fn(Bytes) -> Option<Answer> + Send + 'static> Answering<F> {
    pub(crate) fn factory(answer: F) -> Factory {
        Box::new(move |_| Ok(Box::new(Self(answer))))
    }
}

impl<F: Fn(Bytes) -> Option<Answer>> Operator for Answering<F> {
    fn on_message(
        &mut self,
        message: Message,
        _: &mut task::Context<'_>,
        out: &mut Outbox,
    ) -> Progress {
        let call = CallRef::of(&message);
        let kind = message.kind;
        if let Some(answer) = (self.0)(message.payload)
            && kind == MessageKind::Call
        {
            out.answer(call, answer);
        }
        Progress::Done
    }
}
