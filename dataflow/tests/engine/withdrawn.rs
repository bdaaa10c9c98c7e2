//! What is yet to be sent, and nobody waits for.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use bytes::Bytes;
use edgeless_dataflow::{Delivery, Engine, Policy, Port, PortError, Progress};

use crate::{
    common::{engine, id, relay, until},
    listener::{sent, tracked},
    made::{ANY, Made, make},
};

/// A source whose channel `out` leads to no instance, and `other` to one.
async fn source(engine: &Engine, delivery: Delivery) -> Port {
    let outs = [("out", &[][..], ANY), ("other", &[3], ANY)];
    make(engine, 1, &outs, delivery, Made::new()).await
}

async fn no_demand(engine: &Engine) {
    let none = async {
        while !engine.demand().await.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(20), none).await;
    assert!(in_time.is_ok(), "there is demand for what nobody waits for");
}

#[tokio::test]
async fn calls_that_have_ended_are_no_demand_and_hold_up_nobody() {
    let engine = engine(1, 4);
    let (other, _) = relay(&engine, 3, None).await;
    let port = source(&engine, Delivery::default()).await;
    for _ in 0..10 {
        let short = Duration::from_millis(2);
        let outcome = port.call("out", Bytes::new(), short).await;
        assert_eq!(outcome, Err(PortError::Waiting("out".to_owned())));
    }
    port.cast("other", Bytes::new()).await.unwrap();
    until("the other has it", || other.load(SeqCst) == 1).await;
    no_demand(&engine).await;
}

#[tokio::test]
async fn a_delivery_that_nobody_waits_for_is_no_demand_and_an_instance_can_drain() {
    let engine = engine(1, 4);
    let port = source(&engine, tracked()).await;
    let short = Duration::from_millis(20);
    let outcome = tokio::time::timeout(short, port.deliver("out", sent("1"))).await;
    assert!(outcome.is_err());
    no_demand(&engine).await;
    engine
        .stop(id(1).physical_id, Duration::from_hours(1))
        .await;
}

#[tokio::test]
async fn what_is_held_past_its_deadline_holds_up_nobody() {
    let engine = engine(1, 4);
    let (other, _) = relay(&engine, 3, None).await;
    let delivery = Delivery {
        deadline: Some(Duration::from_millis(5)),
        ..Delivery::default()
    };
    let port = source(&engine, delivery).await;
    for _ in 0..20 {
        port.cast("out", Bytes::new()).await.unwrap();
    }
    port.cast("other", Bytes::new()).await.unwrap();
    until("the other has it", || other.load(SeqCst) == 1).await;
}

#[tokio::test]
async fn a_way_that_is_held_is_not_taken_when_another_was_enough() {
    let engine = engine(1, 4);
    let (other, _) = relay(&engine, 3, None).await;
    let delivery = Delivery {
        policy: Policy::Any,
        ..Delivery::at_least_once(["held", "other"])
    };
    let mut made = Made::new();
    made.message = Box::new(|message, _, out| {
        out.cast("held", message.payload.clone());
        out.cast("other", message.payload);
        Progress::Done
    });
    let outs = [("held", &[][..], ANY), ("other", &[3], ANY)];
    make(&engine, 2, &outs, delivery, made).await;
    let out = [("out", &[2][..], ANY)];
    let port = make(&engine, 1, &out, tracked(), Made::new()).await;
    for _ in 0..20 {
        assert_eq!(port.deliver("out", sent("1")).await, Ok(()));
    }
    assert_eq!(other.load(SeqCst), 20);
    no_demand(&engine).await;
}
