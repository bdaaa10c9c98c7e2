//! Messages for functions with several instances.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering::SeqCst},
};

use bytes::Bytes;
use edgeless_dataflow::{Delivery, Engine, Outputs, Place, Port, Progress, Spawn};
use edgeless_types::{Generation, routing::Routing};
use tokio::sync::mpsc;

use crate::common::{Door, NoOp, does, engine, flood, id, until};

/// Starts a sender whose channel `out` leads to several instances.
async fn sender(engine: &Engine, routing: Routing, to: &[u128], tracked: &[&str]) -> Port {
    let targets = to.iter().copied().map(id).collect();
    let mut outputs = Outputs::new(vec![("out".to_owned(), targets)]);
    outputs.set_routing("out", routing);
    let (give, mut take) = mpsc::channel(1);
    let spawn = Spawn {
        physical_id: id(100).physical_id,
        generation: Generation(1),
        place: Place::Anywhere,
        outputs,
        delivery: Delivery::at_least_once(tracked.iter().copied()),
        factory: Box::new(move |context| {
            give.try_send(context.port).unwrap();
            Ok(Box::new(NoOp))
        }),
    };
    engine.spawn(spawn).await.unwrap();
    take.recv().await.unwrap()
}

async fn counter(engine: &Engine, number: u128) -> Arc<AtomicU64> {
    let count = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&count);
    does(engine, number, &[], move |_, _, _| {
        counted.fetch_add(1, SeqCst);
        Progress::Done
    })
    .await;
    count
}

#[tokio::test]
async fn who_is_stuck_gets_no_more_while_others_have_time() {
    let engine = engine(2, 64);
    let door = Door::default();
    let for_operator = door.clone();
    does(&engine, 1, &[], move |_, task, _| for_operator.pass(task)).await;
    let swift = counter(&engine, 2).await;
    let port = sender(&engine, Routing::LeastOutstanding, &[1, 2], &[]).await;
    // More than fits before the one that is stuck: everything else goes to the other.
    flood(port, "out", 1_000).await.unwrap();
    until("the swift one has nearly all", || swift.load(SeqCst) > 900).await;
    door.open();
}

#[tokio::test]
async fn a_broadcast_comes_to_everyone_and_a_patch_keeps_the_routing() {
    let engine = engine(2, 64);
    let (first, second) = (counter(&engine, 1).await, counter(&engine, 2).await);
    let port = sender(&engine, Routing::Broadcast, &[1, 2], &["out"]).await;
    flood(port.clone(), "out", 500).await.unwrap();
    until("both have all", || {
        first.load(SeqCst) == 500 && second.load(SeqCst) == 500
    })
    .await;
    let third = counter(&engine, 3).await;
    let outputs = Outputs::new(vec![("out".to_owned(), [2, 3].map(id).into())]);
    engine
        .patch(id(100).physical_id, Generation(2), outputs)
        .await;
    flood(port, "out", 500).await.unwrap();
    until("the new one has what came after", || {
        third.load(SeqCst) == 500 && second.load(SeqCst) == 1_000
    })
    .await;
    assert_eq!(first.load(SeqCst), 500);
    loop {
        let views = engine.inspect().await;
        if views.iter().all(|view| view.outstanding == 0) {
            break;
        }
    }
}

#[tokio::test]
async fn messages_of_one_key_stay_in_order_in_their_lane() {
    let engine = engine(2, 64);
    let seen = Arc::new(Mutex::new(Vec::new()));
    for number in 1..=3 {
        let seen = Arc::clone(&seen);
        does(&engine, number, &[], move |message, _, _| {
            seen.lock().unwrap().push((number, message.payload));
            Progress::Done
        })
        .await;
    }
    let key = Routing::Hash(edgeless_types::routing::HashKey::Payload);
    let port = sender(&engine, key, &[1, 2, 3], &[]).await;
    for round in 0..300_u32 {
        let payload = Bytes::from((round % 30).to_string());
        port.cast("out", payload).await.unwrap();
    }
    until("all are there", || seen.lock().unwrap().len() == 300).await;
    let seen = seen.lock().unwrap();
    for key in 0..30_u32 {
        let payload = Bytes::from(key.to_string());
        let mut lanes = seen.iter().filter(|(_, it)| *it == payload);
        let first = lanes.next().unwrap().0;
        assert!(lanes.all(|&(lane, _)| lane == first));
    }
}
