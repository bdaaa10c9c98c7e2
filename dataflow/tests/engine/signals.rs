//! Signals: who hears them, how far they travel, and what they stop.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use edgeless_dataflow::{
    Action, Answer, Control, Delivery, Drop, Interests, Outbox, Outputs, Place, Policy, Port,
    PortError, Progress, Propagation, Spawn,
};
use edgeless_types::{
    Generation,
    message::{Budget, Message},
};

use tokio::sync::mpsc;

use crate::{
    common::{Door, does, does_tracked, engine, id, relay, until},
    listener::{Asks, Heard, Listener, listens, pass, refuses, sent, tracked},
};

#[tokio::test]
async fn a_port_can_wait_until_its_message_is_handled_at_the_end_of_the_way() {
    for shards in [1, 2] {
        let engine = engine(shards, 16);
        let door = Door::default();
        let for_operator = door.clone();
        does(&engine, 3, &[], move |_, task, _| for_operator.pass(task)).await;
        let out = [("out", vec![id(3)])];
        does_tracked(&engine, 2, &out, &["out"], |message, _, out| {
            out.cast("out", message.payload);
            Progress::Done
        })
        .await;
        let out = [("out", vec![id(2)])];
        let port = does_tracked(&engine, 1, &out, &["out"], |_, _, _| Progress::Done).await;
        let delivery = tokio::spawn({
            let port = port.clone();
            async move { port.deliver("out", sent("1")).await }
        });
        until("it is at the end", || door.is_reached()).await;
        assert!(!delivery.is_finished());
        door.open();
        assert_eq!(delivery.await.unwrap(), Ok(()));
        refuses(&engine, 9).await;
        let out = vec![("out".to_owned(), vec![id(9)])];
        let outputs = Outputs::new(out);
        engine
            .patch(id(2).physical_id, Generation(2), outputs)
            .await;
        let refused = port.deliver("out", sent("2")).await;
        assert_eq!(refused, Err(PortError::Failed("never".to_owned())));
    }
}

#[tokio::test]
async fn a_call_whose_caller_has_gone_is_not_handled() {
    for shards in [1, 2] {
        let engine = engine(shards, 16);
        let door = Door::default();
        let for_operator = door.clone();
        let handled = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&handled);
        does(&engine, 2, &[], move |_, task, _| {
            counter.fetch_add(1, SeqCst);
            for_operator.pass(task)
        })
        .await;
        let (_, port) = relay(&engine, 1, Some(vec![id(2)])).await;
        port.cast("out", sent("stuck")).await.unwrap();
        until("it is stuck", || door.is_reached()).await;
        let call = port.call("out", sent("gone"), Duration::from_hours(1));
        assert!(soon(call).await.is_err(), "the caller gives up");
        let cancelled = engine.counters().of(Drop::Cancelled);
        until("the call is gone", || cancelled.load(SeqCst) == 1).await;
        door.open();
        port.cast("out", sent("next")).await.unwrap();
        until("the next is handled", || handled.load(SeqCst) == 2).await;
    }
}

#[tokio::test]
async fn what_is_late_is_cancelled_where_it_waits_and_where_it_is_handled() {
    let engine = engine(2, 16);
    let takes = |_: Message, _: &mut Outbox| Progress::Taken;
    let way = (Interests::CANCEL, Propagation::Pass);
    let (heard, _) = listens(&engine, 3, vec![], Delivery::default(), way, takes).await;
    let out = [("out", vec![id(3)])];
    does_tracked(&engine, 2, &out, &["out"], |message, _, out| {
        out.cast("out", message.payload);
        Progress::Done
    })
    .await;
    let late = Delivery {
        deadline: Some(Duration::from_millis(30)),
        ..tracked()
    };
    let way = (Interests::NONE, Propagation::Pass);
    let (_, port) = listens(&engine, 1, vec![id(2)], late, way, pass).await;
    let outcome = port.deliver("out", sent("1")).await;
    assert_eq!(
        outcome,
        Err(PortError::Failed("past its deadline".to_owned()))
    );
    until("who takes long learns it", || {
        matches!(heard.lock().unwrap()[..], [Control::Cancel(_)])
    })
    .await;
}

#[tokio::test]
async fn a_batch_acknowledges_all_it_came_of_when_it_is_acknowledged() {
    let engine = engine(2, 64);
    let door = Door::default();
    let for_operator = door.clone();
    let batches = Arc::new(Mutex::new(Vec::new()));
    let for_sink = Arc::clone(&batches);
    does(&engine, 3, &[], move |message, task, _| {
        for_sink.lock().unwrap().push(message.payload);
        for_operator.pass(task)
    })
    .await;
    let mut taken = Vec::new();
    let mut joined = Vec::new();
    let way = (Interests::NONE, Propagation::Pass);
    listens(
        &engine,
        2,
        vec![id(3)],
        tracked(),
        way,
        move |message, out| {
            taken.push(message.id);
            joined.extend_from_slice(&message.payload);
            if taken.len() == 3 {
                let payload = Bytes::from(std::mem::take(&mut joined));
                let of = std::mem::take(&mut taken).into();
                out.push(Action::Batch(Port::channel("out"), payload, of));
            }
            Progress::Taken
        },
    )
    .await;
    let (_, port) = listens(&engine, 1, vec![id(2)], tracked(), way_of_none(), pass).await;
    let deliveries: Vec<_> = ["a", "b", "c"]
        .into_iter()
        .map(|text| {
            let port = port.clone();
            tokio::spawn(async move { port.deliver("out", sent(text)).await })
        })
        .collect();
    until("the batch is there", || door.is_reached()).await;
    assert!(deliveries.iter().all(|it| !it.is_finished()));
    door.open();
    for delivery in deliveries {
        assert_eq!(delivery.await.unwrap(), Ok(()));
    }
    let batches = batches.lock().unwrap();
    assert_eq!((batches.len(), batches[0].len()), (1, 3));
}

fn way_of_none() -> (Interests, Propagation) {
    (Interests::NONE, Propagation::Pass)
}

#[tokio::test]
async fn one_of_several_ways_is_enough_for_any_and_the_others_are_cancelled() {
    let engine = engine(2, 16);
    let takes = |_: Message, _: &mut Outbox| Progress::Taken;
    let way = (Interests::CANCEL, Propagation::Pass);
    let (heard, _) = listens(&engine, 3, vec![], Delivery::default(), way, takes).await;
    does(&engine, 4, &[], |_, _, _| Progress::Done).await;
    let delivery = Delivery {
        policy: Policy::Any,
        ..tracked()
    };
    let out = vec![("out".to_owned(), vec![id(3), id(4)])];
    let mut outputs = Outputs::new(out);
    outputs.set_routing("out", edgeless_types::routing::Routing::Broadcast);
    let spawn = Spawn {
        physical_id: id(2).physical_id,
        generation: Generation(1),
        place: Place::Anywhere,
        outputs,
        delivery,
        factory: Box::new(|_| {
            Ok(Box::new(Listener {
                interests: Interests::NONE,
                heard: Heard::default(),
                says: Propagation::Pass,
                does: |message: Message, out: &mut Outbox| {
                    out.cast("out", message.payload);
                    Progress::Done
                },
            }))
        }),
    };
    engine.spawn(spawn).await.unwrap();
    let (_, port) = listens(&engine, 1, vec![id(2)], tracked(), way_of_none(), pass).await;
    assert_eq!(port.deliver("out", sent("1")).await, Ok(()));
    until("the slow way is cancelled", || {
        heard.lock().unwrap().len() == 1
    })
    .await;
}

#[tokio::test]
async fn who_subscribes_to_refusals_may_take_over() {
    let engine = engine(2, 16);
    refuses(&engine, 3).await;
    let way = (Interests::NACK, Propagation::Stop);
    let (heard, _) = listens(&engine, 2, vec![id(3)], tracked(), way, |message, out| {
        out.cast("out", message.payload);
        Progress::Done
    })
    .await;
    let (_, port) = listens(&engine, 1, vec![id(2)], tracked(), way_of_none(), pass).await;
    assert_eq!(port.deliver("out", sent("1")).await, Ok(()));
    let heard = heard.lock().unwrap();
    let [Control::Nack(_, refusal)] = &heard[..] else {
        panic!("{heard:?}");
    };
    assert_eq!(
        (refusal.reason.as_str(), refusal.permanent),
        ("never", true)
    );
}

#[tokio::test]
async fn a_budget_travels_to_the_source_whose_port_waits() {
    for shards in [1, 2] {
        let engine = engine(shards, 16);
        let handled = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&handled);
        let (_, sink) = listens(&engine, 3, vec![], tracked(), way_of_none(), move |_, _| {
            counter.fetch_add(1, SeqCst);
            Progress::Done
        })
        .await;
        let middle = (Interests::BUDGET, Propagation::Pass);
        let (heard, _) = listens(&engine, 2, vec![id(3)], tracked(), middle, pass).await;
        let (_, port) = listens(&engine, 1, vec![id(2)], tracked(), way_of_none(), pass).await;
        sink.act(Action::Budget(Budget::NOTHING)).await.unwrap();
        until("the middle hears it", || heard.lock().unwrap().len() == 1).await;
        let budget = Budget {
            messages: Some(2),
            ..Budget::default()
        };
        // What is sent before the budget has come to the source is sent: it may come a little later.
        while soon(port.cast("out", sent("1"))).await.is_ok() {}
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let port = port.clone();
                tokio::spawn(async move { port.cast("out", sent("2")).await })
            })
            .collect();
        sink.act(Action::Budget(budget)).await.unwrap();
        until("two may go", || {
            waiting.iter().filter(|it| it.is_finished()).count() == 2
        })
        .await;
        sink.act(Action::Budget(Budget::default())).await.unwrap();
        for cast in waiting {
            assert_eq!(cast.await.unwrap(), Ok(()));
        }
        assert_eq!(heard.lock().unwrap().len(), 3);
    }
}

/// What a future has soon, if anything.
async fn soon<T>(future: impl Future<Output = T>) -> Result<T, tokio::time::error::Elapsed> {
    tokio::time::timeout(Duration::from_millis(20), future).await
}

#[tokio::test]
async fn an_error_is_heard_by_the_nearest_who_listens_and_stops_there() {
    let engine = engine(2, 16);
    does(&engine, 4, &[], |_, _, out| {
        out.push(Action::Fault("broken".to_owned()));
        Progress::Done
    })
    .await;
    relay(&engine, 3, Some(vec![id(4)])).await;
    let nearest = (Interests::ERROR, Propagation::Stop);
    let (heard, _) = listens(&engine, 2, vec![id(3)], Delivery::default(), nearest, pass).await;
    let farther = (Interests::ERROR, Propagation::Pass);
    let none = Delivery::default();
    let (not_heard, port) = listens(&engine, 1, vec![id(2)], none, farther, pass).await;
    port.cast("out", sent("1")).await.unwrap();
    until("the nearest hears it", || !heard.lock().unwrap().is_empty()).await;
    assert_eq!(heard.lock().unwrap()[..], [Control::Error("broken".into())]);
    assert!(not_heard.lock().unwrap().is_empty());
}

#[tokio::test]
async fn timers_configurations_and_the_end_of_the_node_come_to_who_subscribes() {
    let engine = engine(2, 16);
    let all = Interests::TIMER
        .and(Interests::CONFIGURE)
        .and(Interests::SHUTDOWN);
    let none = Delivery::default();
    let way = (all, Propagation::Stop);
    let (heard, port) = listens(&engine, 1, vec![], none, way, pass).await;
    let timer = Action::Timer(Duration::from_millis(1), 7);
    port.act(timer).await.unwrap();
    until("the timer", || heard.lock().unwrap().len() == 1).await;
    let config = sent("faster");
    let told = engine.configure(id(1).physical_id, config.clone()).await;
    assert_eq!(told, Some(Propagation::Stop));
    engine.announce_shutdown().await;
    until("the end", || heard.lock().unwrap().len() == 3).await;
    let expected = [
        Control::Timer(7),
        Control::Configure(config),
        Control::Shutdown,
    ];
    assert_eq!(heard.lock().unwrap()[..], expected);
    let (_, _) = relay(&engine, 2, None).await;
    assert_eq!(engine.configure(id(2).physical_id, sent("")).await, None);
    assert_eq!(engine.configure(id(3).physical_id, sent("")).await, None);
}

#[tokio::test]
async fn an_operator_whose_call_is_not_answered_learns_it_though_nothing_else_happens() {
    let engine = engine(1, 16);
    does(&engine, 3, &[], |_, _, _| Progress::Done).await;
    let (told, mut answers) = mpsc::channel(1);
    let spawn = Spawn {
        physical_id: id(2).physical_id,
        generation: Generation(1),
        place: Place::Anywhere,
        outputs: Outputs::new(vec![("out".to_owned(), vec![id(3)])]),
        delivery: Delivery {
            deadline: Some(Duration::from_millis(20)),
            ..Delivery::default()
        },
        factory: Box::new(|_| Ok(Box::new(Asks(told)))),
    };
    engine.spawn(spawn).await.unwrap();
    let (_, port) = relay(&engine, 1, Some(vec![id(2)])).await;
    port.cast("out", sent("1")).await.unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(20), answers.recv()).await;
    let late = Answer::Error("no answer in time".to_owned());
    assert_eq!(answer, Ok(Some(late)));
}
