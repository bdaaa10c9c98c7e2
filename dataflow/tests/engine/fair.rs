//! Nobody keeps a shard for itself.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use bytes::Bytes;
use edgeless_dataflow::{Action, Delivery, Engine, Interests, Outbox, Port, Progress, Propagation};
use edgeless_types::message::Budget;

use crate::{
    common::{engine, id, relay, until},
    listener::{sent, tracked},
    made::{ANY, Made, make},
};

/// Lets an operator begin; others can start, and handle what comes, and it can be stopped.
async fn others_go_on(engine: &Engine, port: &Port) {
    port.cast("self", Bytes::new()).await.unwrap();
    let (count, _) = relay(engine, 11, None).await;
    let (_, other) = relay(engine, 12, Some(vec![id(11)])).await;
    other.cast("out", Bytes::new()).await.unwrap();
    until("others go on", || count.load(SeqCst) == 1).await;
    let stubborn = port.instance().physical_id;
    engine.stop(stubborn, Duration::ZERO).await;
}

#[tokio::test]
async fn who_calls_in_vain_over_and_over_starves_nobody() {
    let engine = engine(1, 16);
    let again = |out: &mut Outbox| {
        out.push(Action::Call(Port::channel("nowhere"), Bytes::new(), 1));
        Progress::Busy
    };
    let mut made = Made::new();
    made.message = Box::new(move |_, _, out| again(out));
    made.answer = Box::new(move |_, out| again(out));
    let port = make(&engine, 1, &[], Delivery::default(), made).await;
    others_go_on(&engine, &port).await;
}

#[tokio::test]
async fn who_answers_refusals_with_what_is_refused_starves_nobody() {
    let engine = engine(1, 16);
    let mut made = Made::new();
    made.interests = Interests::NACK;
    made.message = Box::new(|_, _, out| {
        out.cast("out", sent("1"));
        Progress::Done
    });
    made.signal = Box::new(|_, out| {
        out.cast("out", sent("2"));
        Propagation::Stop
    });
    let port = make(&engine, 1, &[("out", &[99], ANY)], tracked(), made).await;
    others_go_on(&engine, &port).await;
}

#[tokio::test]
async fn who_sets_a_timer_of_no_time_over_and_over_starves_nobody() {
    let engine = engine(1, 16);
    let mut made = Made::new();
    made.interests = Interests::TIMER;
    made.message = Box::new(|_, _, out| {
        out.push(Action::Timer(Duration::ZERO, 1));
        Progress::Done
    });
    made.signal = Box::new(|_, out| {
        out.push(Action::Timer(Duration::ZERO, 1));
        Propagation::Stop
    });
    let port = make(&engine, 1, &[], Delivery::default(), made).await;
    others_go_on(&engine, &port).await;
}

#[tokio::test]
async fn who_answers_budgets_with_budgets_in_a_circle_starves_nobody() {
    for shards in [1, 2] {
        let engine = engine(shards, 16);
        let mut made = Made::new();
        made.interests = Interests::BUDGET;
        made.message = Box::new(|_, _, out| {
            out.push(Action::Budget(Budget::default()));
            Progress::Done
        });
        made.signal = Box::new(|_, out| {
            out.push(Action::Budget(Budget::default()));
            Propagation::Pass
        });
        let out = [("out", &[2][..], ANY)];
        let port = make(&engine, 1, &out, Delivery::default(), made).await;
        relay(&engine, 2, Some(vec![id(1)])).await;
        others_go_on(&engine, &port).await;
    }
}
