//! Ports that have to wait.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use edgeless_dataflow::{Action, Delivery, Engine, Outputs, Port, PortError, Progress};
use edgeless_types::{Generation, message::Budget};

use crate::{
    common::{engine, id, relay, until},
    listener::tracked,
    made::{ANY, Made, make},
};

/// A source whose sink takes nothing, and the port of the sink.
async fn bound(engine: &Engine) -> (Port, Port) {
    let (_, sink) = relay(engine, 2, None).await;
    let (_, source) = relay(engine, 1, Some(vec![id(2)])).await;
    sink.act(Action::Budget(Budget::NOTHING)).await.unwrap();
    // What is sent before it hears of that is sent.
    let short = Duration::from_millis(20);
    while tokio::time::timeout(short, source.cast("out", Bytes::new()))
        .await
        .is_ok()
    {}
    (source, sink)
}

#[tokio::test]
async fn a_call_that_may_not_be_sent_ends_in_time() {
    let engine = engine(2, 16);
    let (source, _) = bound(&engine).await;
    let calls = [30, 10, 20].map(|millis| {
        let source = source.clone();
        let timeout = Duration::from_millis(millis);
        tokio::spawn(async move { source.call("out", Bytes::new(), timeout).await })
    });
    for call in calls {
        let outcome = tokio::time::timeout(Duration::from_secs(20), call).await;
        assert_eq!(outcome.unwrap().unwrap(), Err(PortError::Deadline));
    }
}

/// A payload that says when it is not kept any more.
struct Payload(Arc<AtomicU64>);

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        b"payload"
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

#[tokio::test]
async fn what_nobody_waits_to_send_any_more_is_not_kept() {
    let engine = engine(1, 16);
    let (source, _) = bound(&engine).await;
    let dropped = Arc::new(AtomicU64::new(0));
    for number in 0..1_000 {
        let payload = Bytes::from_owner(Payload(Arc::clone(&dropped)));
        let source = source.clone();
        let cast = tokio::spawn(async move { source.cast("out", payload).await });
        if number % 100 == 0 {
            tokio::task::yield_now().await;
            engine.inspect().await;
        }
        tokio::task::yield_now().await;
        cast.abort();
    }
    until("most are gone", || dropped.load(SeqCst) > 450).await;
}

#[tokio::test]
async fn a_budget_of_one_that_nothing_leads_to_any_more_binds_nobody() {
    for shards in [1, 2] {
        let engine = engine(shards, 16);
        // The budget comes over the one between as well.
        let (_, before) = relay(&engine, 4, Some(vec![id(1)])).await;
        let (source, _) = bound(&engine).await;
        let (next, _) = relay(&engine, 3, None).await;
        let outputs = Outputs::new(vec![("out".to_owned(), vec![id(3)])]);
        let one = id(1).physical_id;
        engine.patch(one, Generation(2), outputs).await;
        engine.stop(id(2).physical_id, Duration::ZERO).await;
        let casts = async {
            source.cast("out", Bytes::new()).await.unwrap();
            before.cast("out", Bytes::new()).await.unwrap();
        };
        let in_time = tokio::time::timeout(Duration::from_secs(20), casts);
        in_time.await.unwrap();
        until("they come", || next.load(SeqCst) >= 2).await;
    }
}

#[tokio::test]
async fn a_source_waits_while_much_of_what_it_sent_is_not_acknowledged() {
    let engine = engine(2, 16);
    let taken = Arc::new(Mutex::new(Vec::new()));
    let takes = Arc::clone(&taken);
    let mut made = Made::new();
    made.message = Box::new(move |message, _, _| {
        takes.lock().unwrap().push(message.id);
        Progress::Taken
    });
    let sink = make(&engine, 2, &[], Delivery::default(), made).await;
    let out = [("out", &[2][..], ANY)];
    let source = make(&engine, 1, &out, tracked(), Made::new()).await;
    let short = Duration::from_millis(20);
    let mut sent = 0;
    while tokio::time::timeout(short, source.cast("out", Bytes::new()))
        .await
        .is_ok()
    {
        sent += 1;
    }
    assert_eq!(sent, 4 * 16);
    let waits = tokio::spawn(async move { source.cast("out", Bytes::new()).await });
    until("all are taken", || taken.lock().unwrap().len() == sent).await;
    let first = taken.lock().unwrap()[0];
    sink.act(Action::Acknowledge(first)).await.unwrap();
    assert_eq!(waits.await.unwrap(), Ok(()));
}

#[tokio::test]
async fn the_port_of_a_paused_instance_waits_until_it_is_resumed() {
    let engine = engine(2, 16);
    let (handled, _) = relay(&engine, 2, None).await;
    let (_, source) = relay(&engine, 1, Some(vec![id(2)])).await;
    assert!(engine.pause(id(1).physical_id, true).await);
    let cast = tokio::spawn({
        let source = source.clone();
        async move { source.cast("out", Bytes::new()).await }
    });
    let short = source.call("out", Bytes::new(), Duration::from_millis(20));
    assert_eq!(short.await, Err(PortError::Deadline));
    assert!(!cast.is_finished());
    assert!(engine.pause(id(1).physical_id, false).await);
    assert_eq!(cast.await.unwrap(), Ok(()));
    until("it is handled", || handled.load(SeqCst) == 1).await;
}

#[tokio::test]
async fn a_source_with_several_sinks_keeps_to_all_their_budgets() {
    let engine = engine(2, 16);
    let (_, slow) = relay(&engine, 2, None).await;
    let (_, swift) = relay(&engine, 3, None).await;
    let (_, source) = relay(&engine, 1, Some(vec![id(2), id(3)])).await;
    let budget = |sink: &Port, budget| {
        let sink = sink.clone();
        async move { sink.act(Action::Budget(budget)).await.unwrap() }
    };
    let cast = || source.cast("out", Bytes::new());
    let soon = Duration::from_millis(20);
    budget(&slow, Budget::NOTHING).await;
    while tokio::time::timeout(soon, cast()).await.is_ok() {}
    budget(&swift, Budget::default()).await;
    assert!(tokio::time::timeout(soon, cast()).await.is_err());
    budget(&slow, Budget::default()).await;
    assert_eq!(cast().await, Ok(()));
}
