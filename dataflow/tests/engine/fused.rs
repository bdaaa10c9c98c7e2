//! Messages that are handed on without a queue between, and instances that pause.

use std::{
    sync::{Arc, Mutex, atomic::Ordering::SeqCst},
    time::Duration,
};

use bytes::Bytes;
use edgeless_dataflow::{Phase, Progress};

use crate::common::{does, engine, flood, id, relay, until};

#[tokio::test]
async fn what_is_handed_on_keeps_its_order_with_what_is_queued() {
    let engine = engine(1, 1_024);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let for_sink = Arc::clone(&seen);
    does(&engine, 9, &[], move |message, _, _| {
        for_sink.lock().unwrap().push(message.payload[0]);
        Progress::Done
    })
    .await;
    let pass = |message, out: &mut edgeless_dataflow::Outbox| {
        out.pass(message);
        Progress::Done
    };
    does(
        &engine,
        2,
        &[("out", vec![id(9)])],
        move |message, _, out| pass(message, out),
    )
    .await;
    // The first of a burst is handed on, the others are queued.
    let burst = does(&engine, 1, &[("out", vec![id(2)])], |_, _, out| {
        for number in 0..100_u8 {
            out.cast("out", Bytes::copy_from_slice(&[number]));
        }
        Progress::Done
    })
    .await;
    burst.cast("self", Bytes::new()).await.unwrap();
    until("all are there", || seen.lock().unwrap().len() == 100).await;
    assert!(seen.lock().unwrap().is_sorted());
}

#[tokio::test]
async fn what_is_passed_on_keeps_its_id_and_what_came_of_it_counts() {
    let engine = engine(1, 64);
    let ids = Arc::new(Mutex::new(Vec::new()));
    for (me, next) in [(3, None), (2, Some(3)), (1, Some(2))] {
        let ids = Arc::clone(&ids);
        let outs: Vec<_> = next.map(|to| ("out", vec![id(to)])).into_iter().collect();
        does(&engine, me, &outs, move |message, _, out| {
            ids.lock().unwrap().push(message.id);
            out.pass(message);
            Progress::Done
        })
        .await;
    }
    let (_, port) = relay(&engine, 7, Some(vec![id(1)])).await;
    port.cast("out", Bytes::new()).await.unwrap();
    until("it came through", || ids.lock().unwrap().len() == 3).await;
    let ids = std::mem::take(&mut *ids.lock().unwrap());
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let views = engine.inspect().await;
    let last = views.iter().find(|it| it.physical_id == id(3).physical_id);
    let last = last.unwrap();
    assert_eq!((last.phase, last.execution.count), (Phase::Running, 1));
    assert_eq!(last.edges[0].source, Some(id(2).physical_id));
    let first = views.iter().find(|it| it.physical_id == id(1).physical_id);
    assert_eq!(first.unwrap().channels[0].targets, [(id(2), 1)]);
}

#[tokio::test]
async fn a_ring_of_instances_lets_others_have_their_turn() {
    let engine = engine(1, 64);
    for (me, next) in [(1, 2), (2, 1)] {
        relay(&engine, me, Some(vec![id(next)])).await;
    }
    let (_, ring) = relay(&engine, 3, Some(vec![id(1)])).await;
    let (count, other) = relay(&engine, 4, None).await;
    // It goes around for ever.
    ring.cast("out", Bytes::new()).await.unwrap();
    for _ in 0..10 {
        other.cast("self", Bytes::new()).await.unwrap();
    }
    until("the other has handled its own", || count.load(SeqCst) == 10).await;
}

#[tokio::test]
async fn a_paused_instance_keeps_what_fits_and_its_senders_wait() {
    let engine = engine(1, 8);
    let (count, _) = relay(&engine, 1, None).await;
    let (_, port) = relay(&engine, 2, Some(vec![id(1)])).await;
    assert!(engine.pause(id(1).physical_id, true).await);
    assert!(!engine.pause(id(99).physical_id, true).await);
    let flood = flood(port, "out", 100);
    let view = async || {
        let views = engine.inspect().await;
        views
            .into_iter()
            .find(|it| it.physical_id == id(1).physical_id)
            .unwrap()
    };
    while view().await.queued < 8 {
        tokio::task::yield_now().await;
    }
    assert_eq!(view().await.phase, Phase::Paused);
    assert!(!flood.is_finished());
    assert_eq!(count.load(SeqCst), 0);
    assert!(engine.pause(id(1).physical_id, false).await);
    flood.await.unwrap();
    until("all are handled", || count.load(SeqCst) == 100).await;
    // Whatever is queued is handled before a paused instance stops, as long as there is time.
    assert!(engine.pause(id(1).physical_id, true).await);
    let stopped = engine.stop(id(1).physical_id, Duration::from_millis(10));
    assert!(stopped.await.is_some());
}
