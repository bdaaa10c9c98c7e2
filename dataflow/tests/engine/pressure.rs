//! Where there is no room: slow instances, circles, channels that lead nowhere yet.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use edgeless_dataflow::{Drop, Outputs, Progress};
use edgeless_types::Generation;

use crate::common::{Door, does, engine, flood, id, patient_engine, relay, until};

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
async fn a_chain_back_and_forth_between_shards_loses_nothing_under_load() {
    let engine = engine(2, 16);
    // Spawned in turn, so that neighbours are on different shards.
    let (last, _) = relay(&engine, 7, None).await;
    for number in (3..7).rev() {
        relay(&engine, number, Some(vec![id(number + 1)])).await;
    }
    does(&engine, 2, &[("out", vec![id(3)])], |message, _, out| {
        for _ in 0..100 {
            out.cast("out", message.payload.clone());
        }
        Progress::Done
    })
    .await;
    let (_, port) = relay(&engine, 1, Some(vec![id(2)])).await;
    flood(port, "out", 2_000).await.unwrap();
    until("all arrive", || last.load(SeqCst) == 200_000).await;
    assert_eq!(engine.counters().of(Drop::Parked).load(SeqCst), 0);
}

#[tokio::test]
async fn a_slow_instance_slows_its_senders_holds_up_nobody_else_and_loses_nothing() {
    let engine = engine(2, 4);
    let (door, seen) = (Door::default(), Arc::new(AtomicU64::new(0)));
    let (for_slow, counted) = (door.clone(), Arc::clone(&seen));
    does(&engine, 1, &[], move |_, task, _| {
        counted.fetch_add(1, SeqCst);
        for_slow.pass(task)
    })
    .await;
    // Near: on the shard of the slow one. Far: on the other.
    let (_, far) = relay(&engine, 2, Some(vec![id(1)])).await;
    let (_, near) = relay(&engine, 3, Some(vec![id(1)])).await;
    let (_, other) = relay(&engine, 4, Some(vec![id(5)])).await;
    let (swift, _) = relay(&engine, 5, None).await;
    let floods = [flood(near, "out", 100), flood(far, "out", 100)];
    until("it is stuck", || door.is_reached()).await;
    flood(other, "out", 1_000).await.unwrap();
    until("the others go on", || swift.load(SeqCst) == 1_000).await;
    assert!(floods.iter().all(|flood| !flood.is_finished()));
    door.open();
    for flood in floods {
        flood.await.unwrap();
    }
    until("all arrive", || seen.load(SeqCst) == 200).await;
    assert_eq!(engine.counters().of(Drop::Parked).load(SeqCst), 0);
}

#[tokio::test]
async fn a_circle_that_is_full_goes_on_turning_and_loses_nothing() {
    let engine = engine(2, 16);
    let (turns, port) = relay(&engine, 1, Some(vec![id(2)])).await;
    relay(&engine, 2, Some(vec![id(3)])).await;
    relay(&engine, 3, Some(vec![id(1)])).await;
    // More than the three inboxes have room for, less than four times that.
    flood(port, "out", 100).await.unwrap();
    let seen = turns.load(SeqCst);
    until("it turns", || turns.load(SeqCst) > seen + 1_000).await;
    assert_eq!(engine.counters().of(Drop::Parked).load(SeqCst), 0);
}

#[tokio::test]
async fn what_a_channel_holds_delays_no_other_channel_and_comes_in_order() {
    let engine = engine(2, 16);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (other, _) = relay(&engine, 3, None).await;
    let into = Arc::clone(&seen);
    does(&engine, 2, &[], move |message, _, _| {
        into.lock().unwrap().push(message.payload);
        Progress::Done
    })
    .await;
    let outs = [("out", vec![]), ("other", vec![id(3)])];
    let port = does(&engine, 1, &outs, |_, _, _| Progress::Done).await;
    flood(port.clone(), "out", 16).await.unwrap();
    flood(port.clone(), "other", 1).await.unwrap();
    until("the other channel goes on", || other.load(SeqCst) == 1).await;
    // One more than is held; it waits.
    let over = flood(port.clone(), "out", 1);
    let outputs = Outputs::new(vec![("out".to_owned(), vec![id(2)])]);
    let one = id(1).physical_id;
    engine.patch(one, Generation(2), outputs).await;
    over.await.unwrap();
    until("all arrive", || seen.lock().unwrap().len() == 17).await;
    let seen = seen.lock().unwrap();
    let wanted: Vec<u32> = (0..16).chain([0]).collect();
    let got = seen
        .iter()
        .map(|it| u32::from_be_bytes(it[..].try_into().unwrap()));
    assert_eq!(got.collect::<Vec<_>>(), wanted);
}

#[tokio::test]
async fn a_sender_goes_on_as_soon_as_there_is_room_on_its_own_shard() {
    // Nothing but the room itself may wake the sender.
    let engine = patient_engine(1, 16, Duration::from_secs(3_600));
    let (count, _) = relay(&engine, 2, None).await;
    let burst = does(&engine, 1, &[("out", vec![id(2)])], |_, _, out| {
        for _ in 0..1_000 {
            out.cast("out", Bytes::new());
        }
        Progress::Done
    })
    .await;
    burst.cast("self", Bytes::new()).await.unwrap();
    until("all arrive", || count.load(SeqCst) == 1_000).await;
}
