//! The engine as resources and functions see it: casts, calls, holds, backpressure, stops.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    task,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use edgeless_dataflow::{
    Answer, CallRef, Drop, Engine, EngineConfig, Operator, Outbox, Outputs, Port, PortError,
    Progress, Remote, Spawn,
};
use edgeless_types::{
    Generation, InstanceId, NodeId, PhysicalId, Timestamp,
    message::{Message, MessageKind},
};
use tokio::sync::mpsc;
use uuid::Uuid;

struct NoRemote;

impl Remote for NoRemote {
    fn send(&self, _: usize, _: NodeId, message: Message) -> Result<(), Message> {
        Err(message)
    }
}

fn engine(shards: usize, inbox: usize) -> Engine {
    let clock = || Timestamp::from_unix(SystemTime::now().duration_since(UNIX_EPOCH).unwrap());
    let config = EngineConfig {
        node_id: NodeId::new(Uuid::nil()),
        shards,
        inbox,
        call_timeout: Duration::from_secs(5),
        park_timeout: Duration::from_millis(50),
        samples: 1_000,
        clock: Arc::new(clock),
        seed: 7,
    };
    Engine::start(config, Arc::new(NoRemote)).unwrap()
}

fn id(number: u128) -> InstanceId {
    InstanceId {
        node_id: NodeId::new(Uuid::nil()),
        physical_id: PhysicalId::new(Uuid::from_u128(number)),
    }
}

/// Passes casts on to `out`, counts them, and answers calls with their own payload.
struct Relay(Arc<AtomicU64>);

impl Operator for Relay {
    fn start(&mut self, _: &mut task::Context<'_>, _: &mut Outbox) -> Progress {
        Progress::Done
    }

    fn on_message(
        &mut self,
        message: Message,
        _: &mut task::Context<'_>,
        out: &mut Outbox,
    ) -> Progress {
        self.0.fetch_add(1, SeqCst);
        if message.kind == MessageKind::Call {
            out.answer(CallRef::of(&message), Answer::Reply(message.payload));
        } else {
            out.cast("out", message.payload);
        }
        Progress::Done
    }

    fn on_answer(
        &mut self,
        _: u64,
        _: Answer,
        _: &mut task::Context<'_>,
        _: &mut Outbox,
    ) -> Progress {
        Progress::Done
    }

    fn poll(&mut self, _: &mut task::Context<'_>, _: &mut Outbox) -> Progress {
        Progress::Done
    }

    fn stop(&mut self, _: &mut Outbox) -> Option<Bytes> {
        Some(Bytes::from_static(b"state"))
    }
}

/// Starts a relay; answers its counter and its port.
async fn relay(
    engine: &Engine,
    number: u128,
    out: Option<Vec<InstanceId>>,
) -> (Arc<AtomicU64>, Port) {
    let count = Arc::new(AtomicU64::new(0));
    let (sender, mut ports) = mpsc::channel(1);
    let for_operator = Arc::clone(&count);
    let spawn = Spawn {
        physical_id: id(number).physical_id,
        generation: Generation(1),
        outputs: Outputs::new(out.map(|to| ("out".to_owned(), to)).into_iter().collect()),
        factory: Box::new(move |context| {
            sender.try_send(context.port).unwrap();
            Ok(Box::new(Relay(for_operator)))
        }),
    };
    engine.spawn(spawn).await.unwrap();
    (count, ports.recv().await.unwrap())
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    assert!(
        tokio::time::timeout(Duration::from_secs(20), wait)
            .await
            .is_ok(),
        "{what}"
    );
}

#[tokio::test]
async fn casts_flow_down_a_chain_over_shards_and_are_measured() {
    let engine = engine(2, 16);
    let (last, _) = relay(&engine, 3, None).await;
    let (_, _) = relay(&engine, 2, Some(vec![id(3)])).await;
    let (_, port) = relay(&engine, 1, Some(vec![id(2)])).await;
    for _ in 0..1_000 {
        port.cast("out", Bytes::from_static(b"x")).await.unwrap();
    }
    until("all arrive", || last.load(SeqCst) == 1_000).await;
    let samples = engine.drain_samples().await;
    let summarised: u64 = samples.summaries.iter().map(|summary| summary.count).sum();
    assert_eq!(samples.times.len() as u64 + summarised, 4_000);
    assert_eq!(engine.counters().of(Drop::Unmapped).load(SeqCst), 1_000);
}

#[tokio::test]
async fn calls_are_answered_or_say_why_not() {
    let engine = engine(2, 16);
    relay(&engine, 2, None).await;
    let (_, port) = relay(&engine, 1, Some(vec![id(2)])).await;
    let second = Duration::from_secs(1);
    let answer = port.call("out", Bytes::from_static(b"5"), second).await;
    assert_eq!(answer, Ok(Some(Bytes::from_static(b"5"))));
    let answer = port.call("nowhere", Bytes::new(), second).await;
    assert_eq!(answer, Err(PortError::Unmapped("nowhere".to_owned())));

    let outputs = Outputs::new(vec![("out".to_owned(), vec![id(9)])]);
    engine
        .patch(id(1).physical_id, Generation(2), outputs)
        .await;
    let answer = port.call("out", Bytes::new(), second).await;
    assert!(matches!(answer, Err(PortError::Failed(_))), "{answer:?}");
}

#[tokio::test]
async fn a_channel_without_an_instance_holds_until_a_patch_and_old_patches_change_nothing() {
    let engine = engine(1, 16);
    let (last, _) = relay(&engine, 2, None).await;
    let (_, port) = relay(&engine, 1, Some(vec![])).await;
    let held = tokio::spawn({
        let port = port.clone();
        async move { port.cast("out", Bytes::new()).await }
    });
    until("it waits", || !held.is_finished()).await;
    let to = |instances| Outputs::new(vec![("out".to_owned(), instances)]);
    engine
        .patch(id(1).physical_id, Generation(0), to(vec![id(9)]))
        .await;
    engine
        .patch(id(1).physical_id, Generation(2), to(vec![id(2)]))
        .await;
    held.await.unwrap().unwrap();
    until("it arrives", || last.load(SeqCst) == 1).await;
}

#[tokio::test]
async fn a_cycle_of_full_inboxes_does_not_deadlock_and_counts_what_it_drops() {
    let engine = engine(1, 2);
    let (first, port) = relay(&engine, 1, Some(vec![id(2), id(1)])).await;
    relay(&engine, 2, Some(vec![id(1), id(1)])).await;
    let flood = tokio::spawn(async move {
        for _ in 0..100 {
            if port.cast("out", Bytes::new()).await.is_err() {
                return;
            }
        }
    });
    until("the flood ends", || flood.is_finished()).await;
    let seen = first.load(SeqCst);
    until("it still moves", || first.load(SeqCst) > seen).await;
}

#[tokio::test]
async fn a_stop_handles_what_is_queued_and_returns_the_state() {
    let engine = engine(1, 1_000);
    let (last, _) = relay(&engine, 2, None).await;
    let (_, port) = relay(&engine, 1, Some(vec![id(2)])).await;
    for _ in 0..500 {
        port.cast("out", Bytes::new()).await.unwrap();
    }
    let state = engine.stop(id(2).physical_id, Duration::from_secs(5)).await;
    assert_eq!(state, Some(Bytes::from_static(b"state")));
    assert_eq!(last.load(SeqCst), 500);
    assert_eq!(engine.stop(id(2).physical_id, Duration::ZERO).await, None);
}
