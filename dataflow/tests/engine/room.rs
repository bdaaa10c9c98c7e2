//! Bounds on what waits: of an inbox, of a workflow, of the node.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use edgeless_dataflow::{Engine, Place, Port, Progress};

use crate::common::{Door, bounded_engine, does_at, id, until};

/// Casts as long as they are taken soon; how many were.
async fn fill(port: &Port, payload: &Bytes) -> u64 {
    let mut taken = 0;
    while let Ok(sent) =
        tokio::time::timeout(Duration::from_millis(20), port.cast("out", payload.clone())).await
    {
        sent.unwrap();
        taken += 1;
    }
    taken
}

/// A source and a sink of a group that is stuck until the door is opened; what the sink has handled.
async fn stuck(engine: &Engine, number: u128, place: Place) -> (Port, Door, Arc<AtomicU64>) {
    let (door, handled) = (Door::default(), Arc::<AtomicU64>::default());
    let (for_sink, counter) = (door.clone(), Arc::clone(&handled));
    does_at(engine, number, place, &[], move |_, task, _| {
        counter.fetch_add(1, SeqCst);
        for_sink.pass(task)
    })
    .await;
    let out = [("out", vec![id(number)])];
    let port = does_at(engine, number + 1, place, &out, |_, _, _| Progress::Done).await;
    (port, door, handled)
}

#[tokio::test]
async fn large_messages_fill_an_inbox_sooner() {
    for shards in [1, 2] {
        let engine = bounded_engine(shards, (64, 100_000, 100_000), Duration::from_hours(1));
        let large = Bytes::from(vec![0; 10 * 4_096]);
        let (port, ..) = stuck(&engine, 1, Place::Anywhere).await;
        // One is being handled, six are in the inbox (11 each: the last goes over 64), one is parked.
        assert_eq!(fill(&port, &large).await, 1 + 6);
        let (port, ..) = stuck(&engine, 3, Place::Anywhere).await;
        assert_eq!(fill(&port, &Bytes::new()).await, 1 + 64);
    }
}

#[tokio::test]
async fn a_workflow_at_its_bound_holds_up_its_own_sources_only() {
    for shards in [1, 2] {
        let engine = bounded_engine(shards, (64, 20, 100_000), Duration::from_hours(1));
        let (port, door, handled) = stuck(&engine, 1, Place::With(1)).await;
        let taken = fill(&port, &Bytes::new()).await;
        // The shards tell one another once a turn.
        assert!((21..64).contains(&taken), "{taken}");
        let (other, other_door, other_handled) = stuck(&engine, 3, Place::With(2)).await;
        other_door.open();
        for _ in 0..100 {
            other.cast("out", Bytes::new()).await.unwrap();
        }
        until("others go on", || other_handled.load(SeqCst) == 100).await;
        let waits = tokio::spawn(async move { port.cast("out", Bytes::new()).await });
        door.open();
        assert_eq!(waits.await.unwrap(), Ok(()));
        until("all are handled", || handled.load(SeqCst) > taken).await;
    }
}

#[tokio::test]
async fn a_node_at_its_bound_holds_up_who_has_its_part_and_a_stopped_instance_frees_it() {
    let engine = bounded_engine(2, (64, 100_000, 20), Duration::from_hours(1));
    let (port, ..) = stuck(&engine, 1, Place::With(1)).await;
    fill(&port, &Bytes::new()).await;
    let (other, door, handled) = stuck(&engine, 3, Place::With(2)).await;
    // Half of it is for each of two; one is being handled.
    let taken = fill(&other, &Bytes::new()).await;
    assert!((11..40).contains(&taken), "{taken}");
    assert_eq!(fill(&other, &Bytes::new()).await, 0);
    // Those that timed out were not sent, as nobody waited for them any more.
    engine.stop(id(1).physical_id, Duration::ZERO).await;
    other.cast("out", Bytes::new()).await.unwrap();
    door.open();
    until("all are handled", || handled.load(SeqCst) == taken + 1).await;
}
