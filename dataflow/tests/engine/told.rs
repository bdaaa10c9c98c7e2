//! What an operator does when it is told a signal.

use std::{
    sync::{Arc, Mutex, atomic::Ordering::SeqCst},
    time::Duration,
};

use edgeless_dataflow::{Action, Delivery, Drop, Interests, Port, Progress, Propagation};

use edgeless_types::message::MessageId;

use crate::{
    common::{engine, id, relay, until},
    listener::{sent, tracked},
    made::{ANY, Made, make},
};

/// A short while.
const SOON: Duration = Duration::from_millis(5);

#[tokio::test]
async fn it_may_pass_on_what_it_has_taken() {
    let engine = engine(1, 16);
    let (passed, _) = relay(&engine, 3, None).await;
    let kept = Arc::new(Mutex::new(None));
    let keeps = Arc::clone(&kept);
    let mut made = Made::new();
    made.interests = Interests::TIMER;
    made.message = Box::new(move |message, _, out| {
        *keeps.lock().unwrap() = Some(message);
        out.push(Action::Timer(SOON, 1));
        Progress::Taken
    });
    made.signal = Box::new(move |_, out| {
        out.pass(kept.lock().unwrap().take().unwrap());
        Propagation::Stop
    });
    make(&engine, 2, &[("out", &[3], ANY)], Delivery::default(), made).await;
    let (_, port) = relay(&engine, 1, Some(vec![id(2)])).await;
    port.cast("out", sent("1")).await.unwrap();
    until("it is passed", || passed.load(SeqCst) == 1).await;
}

#[tokio::test]
async fn it_may_acknowledge_what_it_is_at_and_send_what_comes_of_it_later() {
    let engine = engine(1, 16);
    let (count, _) = relay(&engine, 3, None).await;
    let at = Arc::new(Mutex::new((MessageId::default(), None)));
    let (begins, ends, goes_on) = (Arc::clone(&at), Arc::clone(&at), at);
    let mut made = Made::new();
    made.interests = Interests::TIMER;
    made.message = Box::new(move |message, task, out| {
        *begins.lock().unwrap() = (message.id, Some(task.waker().clone()));
        out.push(Action::Timer(SOON, 1));
        Progress::Busy
    });
    made.signal = Box::new(move |_, out| {
        let mut at = ends.lock().unwrap();
        out.push(Action::Acknowledge(at.0));
        at.1.take().unwrap().wake();
        Propagation::Stop
    });
    made.poll = Box::new(move |out| {
        if goes_on.lock().unwrap().1.is_some() {
            return Progress::Busy;
        }
        out.cast("out", sent("what came of it"));
        Progress::Done
    });
    make(&engine, 2, &[("out", &[3], ANY)], tracked(), made).await;
    let out = [("out", &[2][..], ANY)];
    let port = make(&engine, 1, &out, tracked(), Made::new()).await;
    assert_eq!(port.deliver("out", sent("1")).await, Ok(()));
    until("what came of it is there", || count.load(SeqCst) == 1).await;
}

#[tokio::test]
async fn of_timers_there_are_only_so_many() {
    let engine = engine(1, 16);
    let (_, port) = relay(&engine, 1, None).await;
    for number in 0..1_000 {
        let timer = Action::Timer(Duration::from_hours(1), number);
        port.act(timer).await.unwrap();
    }
    let dropped = engine.counters().of(Drop::Timers);
    until("the rest is dropped", || {
        dropped.load(SeqCst) == 1_000 - 16 * 16
    })
    .await;
}

#[tokio::test]
async fn what_one_has_delayed_does_not_disturb_the_next_of_its_name() {
    let engine = engine(1, 16);
    let (count, _) = relay(&engine, 2, None).await;
    for _ in 0..2 {
        let (_, port) = relay(&engine, 1, Some(vec![id(2)])).await;
        let delayed = Action::Delayed(SOON, Port::channel("out"), sent("1"));
        port.act(delayed).await.unwrap();
        engine.stop(id(1).physical_id, Duration::ZERO).await;
    }
    let (_, port) = relay(&engine, 1, Some(vec![id(2)])).await;
    let delayed = Action::Delayed(4 * SOON, Port::channel("out"), sent("1"));
    port.act(delayed).await.unwrap();
    until("it goes on", || count.load(SeqCst) >= 1).await;
}
