//! Messages that go to all of several instances.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use bytes::Bytes;
use edgeless_dataflow::{
    Action, Delivery, Interests, Outputs, Port, PortError, Progress, Propagation,
};
use edgeless_types::{Generation, routing::Routing};

use crate::{
    common::{Door, does, engine, id, relay, until},
    listener::{listens, pass, refuses, sent, tracked},
    made::{Made, make, to},
};

#[tokio::test]
async fn what_is_passed_on_comes_to_everyone() {
    for shards in [1, 2] {
        let engine = engine(shards, 16);
        let (first, _) = relay(&engine, 3, None).await;
        let (second, _) = relay(&engine, 4, None).await;
        let mut made = Made::new();
        made.message = Box::new(|message, _, out| pass(message, out));
        let out = [("out", &[3, 4][..], Routing::Broadcast)];
        make(&engine, 2, &out, Delivery::default(), made).await;
        let (_, port) = relay(&engine, 1, Some(to(&[2]))).await;
        port.cast("out", sent("1")).await.unwrap();
        until("both have it", || {
            (first.load(SeqCst), second.load(SeqCst)) == (1, 1)
        })
        .await;
    }
}

#[tokio::test]
async fn a_batch_comes_to_everyone_and_speaks_for_what_it_came_of() {
    let engine = engine(2, 16);
    let (first, _) = relay(&engine, 3, None).await;
    let (second, _) = relay(&engine, 4, None).await;
    let mut made = Made::new();
    made.message = Box::new(|message, _, out| {
        let of = [message.id].into();
        out.push(Action::Batch(Port::channel("out"), message.payload, of));
        Progress::Taken
    });
    let out = [("out", &[3, 4][..], Routing::Broadcast)];
    make(&engine, 2, &out, tracked(), made).await;
    let none = (Interests::NONE, Propagation::Pass);
    let (_, port) = listens(&engine, 1, to(&[2]), tracked(), none, pass).await;
    assert_eq!(port.deliver("out", sent("1")).await, Ok(()));
    assert_eq!((first.load(SeqCst), second.load(SeqCst)), (1, 1));
}

#[tokio::test]
async fn a_port_waits_until_everyone_has_handled_it_and_learns_that_one_has_not() {
    let engine = engine(2, 16);
    let door = Door::default();
    let slow = door.clone();
    does(&engine, 3, &[], move |_, task, _| slow.pass(task)).await;
    let (swift, _) = relay(&engine, 4, None).await;
    let out = [("out", &[3, 4][..], Routing::Broadcast)];
    let port = make(&engine, 1, &out, tracked(), Made::new()).await;
    let delivery = tokio::spawn({
        let port = port.clone();
        async move { port.deliver("out", sent("1")).await }
    });
    until("one has handled it", || {
        door.is_reached() && swift.load(SeqCst) == 1
    })
    .await;
    // Whatever was said about it has come now.
    while !engine.inspect().await.iter().any(|it| it.outstanding == 1) {}
    assert!(!delivery.is_finished());
    door.open();
    assert_eq!(delivery.await.unwrap(), Ok(()));
    refuses(&engine, 5).await;
    let outputs = Outputs::new(vec![("out".to_owned(), to(&[4, 5]))]);
    engine
        .patch(id(1).physical_id, Generation(2), outputs)
        .await;
    let never = PortError::Failed("never".to_owned());
    assert_eq!(port.deliver("out", sent("1")).await, Err(never));
}

#[tokio::test]
async fn what_was_held_comes_to_everyone() {
    let engine = engine(2, 16);
    let (first, _) = relay(&engine, 3, None).await;
    let (second, _) = relay(&engine, 4, None).await;
    let out = [("out", &[][..], Routing::Broadcast)];
    let port = make(&engine, 1, &out, tracked(), Made::new()).await;
    port.cast("out", Bytes::new()).await.unwrap();
    let outputs = Outputs::new(vec![("out".to_owned(), to(&[3, 4]))]);
    engine
        .patch(id(1).physical_id, Generation(2), outputs)
        .await;
    until("both have it", || {
        (first.load(SeqCst), second.load(SeqCst)) == (1, 1)
    })
    .await;
}

#[tokio::test]
async fn what_the_only_one_has_not_handled_goes_to_its_successor() {
    let engine = engine(2, 16);
    let door = Door::default();
    let never = door.clone();
    does(&engine, 2, &[], move |_, task, _| never.pass(task)).await;
    let (next, _) = relay(&engine, 3, None).await;
    let out = [("out", &[2][..], Routing::Broadcast)];
    let port = make(&engine, 1, &out, tracked(), Made::new()).await;
    let delivery = tokio::spawn(async move { port.deliver("out", sent("1")).await });
    until("it is stuck", || door.is_reached()).await;
    let outputs = Outputs::new(vec![("out".to_owned(), to(&[3]))]);
    engine
        .patch(id(1).physical_id, Generation(2), outputs)
        .await;
    engine.stop(id(2).physical_id, Duration::ZERO).await;
    assert_eq!(delivery.await.unwrap(), Ok(()));
    assert_eq!(next.load(SeqCst), 1);
}
