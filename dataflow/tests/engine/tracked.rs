//! Delivery at least once: acknowledgements along the whole way, and what is lost is sent again.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use edgeless_dataflow::{Action, Delivery, Drop, Engine, Outputs, Port, Progress};
use edgeless_types::{Generation, InstanceId};

use crate::{
    common::{does, does_tracked, engine, id, until},
    listener::{pass, tracked},
    made::{ANY, Made, make},
};

/// Passes everything on, tracked; fails each event as often as it is told to.
async fn relay(engine: &Engine, number: u128, to: InstanceId, failures: Arc<AtomicU64>) -> Port {
    let out = [("out", vec![to])];
    does_tracked(engine, number, &out, &["out"], move |message, _, out| {
        let left = failures.load(SeqCst);
        if left > 0 {
            failures.store(left - 1, SeqCst);
            out.push(Action::Fault("not yet".to_owned()));
        } else {
            out.cast("out", message.payload);
        }
        Progress::Done
    })
    .await
}

/// Counts how often each payload comes.
async fn sink(engine: &Engine, number: u128) -> Arc<Mutex<BTreeMap<Bytes, u32>>> {
    let seen = Arc::<Mutex<BTreeMap<Bytes, u32>>>::default();
    let for_operator = Arc::clone(&seen);
    does(engine, number, &[], move |message, _, _| {
        *for_operator
            .lock()
            .unwrap()
            .entry(message.payload)
            .or_default() += 1;
        Progress::Done
    })
    .await;
    seen
}

/// Sends numbers, tracked; waits until nothing of it is outstanding, which a drain tells.
async fn send(engine: &Engine, number: u128, to: InstanceId, events: u32) {
    let out = [("out", vec![to])];
    let port = does_tracked(engine, number, &out, &["out"], |_, _, _| Progress::Done).await;
    for value in 0..events {
        let payload = Bytes::copy_from_slice(&value.to_be_bytes());
        port.cast("out", payload).await.unwrap();
    }
}

fn none() -> Arc<AtomicU64> {
    Arc::default()
}

#[tokio::test]
async fn a_source_is_idle_only_when_all_is_acknowledged_at_the_end_of_the_way() {
    let engine = engine(2, 64);
    let seen = sink(&engine, 9).await;
    relay(&engine, 3, id(9), none()).await;
    relay(&engine, 2, id(3), none()).await;
    send(&engine, 1, id(2), 1_000).await;
    // A drain ends when nothing is outstanding; an hour would be up only if something were lost.
    engine
        .stop(id(1).physical_id, Duration::from_hours(1))
        .await;
    let seen = seen.lock().unwrap();
    assert_eq!((seen.len(), seen.values().max()), (1_000, Some(&1)));
    assert_eq!(engine.counters().of(Drop::Refused).load(SeqCst), 0);
}

#[tokio::test]
async fn what_fails_is_sent_again_and_given_up_after_some_attempts() {
    let engine = engine(1, 64);
    let seen = sink(&engine, 9).await;
    let failures = Arc::new(AtomicU64::new(3));
    relay(&engine, 2, id(9), Arc::clone(&failures)).await;
    send(&engine, 1, id(2), 1).await;
    until("it comes at last", || seen.lock().unwrap().len() == 1).await;
    assert!(engine.counters().redelivered.load(SeqCst) >= 3);

    failures.store(1_000, SeqCst);
    send(&engine, 3, id(2), 1).await;
    let refused = engine.counters().of(Drop::Refused);
    until("it is given up", || refused.load(SeqCst) == 1).await;
    engine
        .stop(id(3).physical_id, Duration::from_hours(1))
        .await;
}

#[tokio::test]
async fn what_an_instance_had_when_it_ended_goes_to_its_successor() {
    let engine = engine(2, 16);
    let seen = sink(&engine, 9).await;
    // It takes everything and never finishes anything.
    does(&engine, 2, &[], |_, _, _| Progress::Busy).await;
    send(&engine, 1, id(2), 10).await;
    relay(&engine, 3, id(9), none()).await;
    let outputs = Outputs::new(vec![("out".to_owned(), vec![id(3)])]);
    engine
        .patch(id(1).physical_id, Generation(2), outputs)
        .await;
    engine.stop(id(2).physical_id, Duration::ZERO).await;
    engine
        .stop(id(1).physical_id, Duration::from_hours(1))
        .await;
    assert_eq!(seen.lock().unwrap().len(), 10);
}

#[tokio::test]
async fn a_channel_that_leads_nowhere_is_no_reason_to_try_again() {
    let engine = engine(1, 16);
    does_tracked(&engine, 1, &[], &["out"], |_, _, _| Progress::Done)
        .await
        .cast("out", Bytes::new())
        .await
        .unwrap_err();
    let refused = engine.counters().of(Drop::Refused);
    until("it is given up", || refused.load(SeqCst) == 1).await;
}

#[tokio::test]
async fn what_is_passed_around_a_circle_is_not_taken_for_what_came_before() {
    let engine = engine(2, 16);
    let rounds = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&rounds);
    let mut there = Made::new();
    there.message = Box::new(|message, _, out| pass(message, out));
    make(&engine, 1, &[("out", &[2], ANY)], tracked(), there).await;
    let mut back = Made::new();
    back.message = Box::new(move |message, _, out| match counted.fetch_add(1, SeqCst) {
        ..9 => pass(message, out),
        _ => Progress::Done,
    });
    let port = make(&engine, 2, &[("out", &[1], ANY)], Delivery::default(), back).await;
    port.cast("out", Bytes::new()).await.unwrap();
    until("ten rounds", || rounds.load(SeqCst) == 10).await;
}
