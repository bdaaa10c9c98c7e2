//! What an operator does when it is told a signal.

use std::{
    sync::{Arc, Mutex, atomic::Ordering::SeqCst},
    time::Duration,
};

use edgeless_dataflow::{Action, Delivery, Interests, Progress, Propagation};

use crate::{
    common::{engine, id, relay, until},
    listener::sent,
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
