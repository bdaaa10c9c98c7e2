//! Casts, calls, stops.

use std::{collections::BTreeSet, sync::atomic::Ordering::SeqCst, task::Context, time::Duration};

use bytes::Bytes;
use edgeless_dataflow::{
    Action, Answer, CallRef, Called, Delivery, Drop, Handled, Operator, Outbox, Outputs, Place,
    Port, PortError, Progress, Spawn,
};
use edgeless_types::{Generation, message::Message};

use crate::common::{Door, does, engine, id, relay, until};

#[tokio::test]
async fn casts_flow_down_a_chain_over_shards_and_are_measured() {
    let engine = engine(2, 16);
    let (last, _) = relay(&engine, 3, None).await;
    let (_, _) = relay(&engine, 2, Some(vec![id(3)])).await;
    let (_, port) = relay(&engine, 1, Some(vec![id(2)])).await;
    for _ in 0..1_000 {
        port.cast("out", Bytes::from_static(b"x")).await.unwrap();
    }
    until("all arrive", || last.load(SeqCst) == 1_000).await;
    let samples = engine.drain_samples().await;
    let summarised: u64 = samples.summaries.iter().map(|summary| summary.count).sum();
    assert_eq!(samples.times.len() as u64 + summarised, 4_000);
    assert_eq!(engine.counters().of(Drop::Unmapped).load(SeqCst), 1_000);
}

#[tokio::test]
async fn calls_are_answered_or_say_why_not() {
    let engine = engine(2, 16);
    relay(&engine, 2, None).await;
    let (_, port) = relay(&engine, 1, Some(vec![id(2)])).await;
    let second = Duration::from_secs(1);
    let answer = port.call("out", Bytes::from_static(b"5"), second).await;
    assert_eq!(answer, Ok(Some(Bytes::from_static(b"5"))));
    let answer = port.call("nowhere", Bytes::new(), second).await;
    assert_eq!(answer, Err(PortError::Unmapped("nowhere".to_owned())));

    let outputs = Outputs::new(vec![("out".to_owned(), vec![id(9)])]);
    engine
        .patch(id(1).physical_id, Generation(2), outputs)
        .await;
    let answer = port.call("out", Bytes::new(), second).await;
    assert!(matches!(answer, Err(PortError::Failed(_))), "{answer:?}");
}

#[tokio::test]
async fn a_call_says_which_of_several_instances_it_went_to_also_when_no_answer_comes() {
    let engine = engine(2, 16);
    relay(&engine, 2, None).await;
    let name = |message: Message| Answer::Reply(message.target.to_string().into());
    for number in [3, 4] {
        does(&engine, number, &[], move |message, _, out| {
            out.answer(CallRef::of(&message), name(message));
            Progress::Done
        })
        .await;
    }
    does(&engine, 5, &[], |_, _, _| Progress::Done).await;
    let outs = [
        ("both", vec![id(3), id(4)]),
        ("silent", vec![id(5)]),
        ("none", vec![]),
    ];
    let port = does(&engine, 1, &outs, |_, _, _| Progress::Done).await;
    let long = Duration::from_secs(20);
    let mut called = BTreeSet::new();
    while called.len() < 2 {
        let asked = port.ask("both", Bytes::new(), long).await;
        let to = asked.to.unwrap();
        let answer = Answer::Reply(to.physical_id.to_string().into());
        assert_eq!(asked.answer, Ok(answer));
        called.insert(to.physical_id);
    }
    let short = Duration::from_millis(10);
    for (channel, to, error) in [
        ("silent", Some(id(5)), PortError::Deadline),
        ("none", None, PortError::Waiting("none".to_owned())),
        ("other", None, PortError::Unmapped("other".to_owned())),
    ] {
        let answer = Err(error);
        let asked = port.ask(channel, Bytes::new(), short).await;
        assert_eq!(asked, Called { to, answer }, "{channel}");
    }
}

/// Says to how many instances its channel `out` leads.
struct Told(tokio::sync::mpsc::Sender<usize>);

impl Operator for Told {
    fn on_message(&mut self, _: Message, _: &mut Context<'_>, _: &mut Outbox) -> Progress {
        Progress::Done
    }

    fn leads_to(&mut self, outputs: &Outputs) {
        self.0.try_send(outputs.number("out")).unwrap();
    }
}

#[tokio::test]
async fn an_operator_learns_where_its_channels_lead_and_whenever_that_changes() {
    let engine = engine(1, 16);
    let to = |instances| Outputs::new(vec![("out".to_owned(), instances)]);
    let (give, mut numbers) = tokio::sync::mpsc::channel(8);
    let spawn = Spawn {
        physical_id: id(1).physical_id,
        generation: Generation(2),
        place: Place::Anywhere,
        outputs: to(vec![]),
        delivery: Delivery::default(),
        factory: Box::new(move |_| Ok(Box::new(Told(give)))),
    };
    engine.spawn(spawn).await.unwrap();
    assert_eq!(numbers.recv().await, Some(0));
    let patch = async |generation, instances| {
        let generation = Generation(generation);
        engine
            .patch(id(1).physical_id, generation, to(instances))
            .await;
    };
    patch(1, vec![id(9)]).await;
    patch(3, vec![id(2), id(3)]).await;
    assert_eq!(numbers.recv().await, Some(2));
}

#[tokio::test]
async fn a_channel_without_an_instance_holds_until_a_patch_and_old_patches_change_nothing() {
    let engine = engine(1, 16);
    let (last, _) = relay(&engine, 2, None).await;
    let (_, port) = relay(&engine, 1, Some(vec![])).await;
    let held = tokio::spawn({
        let port = port.clone();
        async move { port.cast("out", Bytes::new()).await }
    });
    until("it waits", || !held.is_finished()).await;
    let to = |instances| Outputs::new(vec![("out".to_owned(), instances)]);
    engine
        .patch(id(1).physical_id, Generation(0), to(vec![id(9)]))
        .await;
    engine
        .patch(id(1).physical_id, Generation(2), to(vec![id(2)]))
        .await;
    held.await.unwrap().unwrap();
    until("it arrives", || last.load(SeqCst) == 1).await;
}

#[tokio::test]
async fn a_stop_handles_what_is_queued_and_returns_the_state() {
    let engine = engine(1, 1_000);
    let (last, _) = relay(&engine, 2, None).await;
    let (_, port) = relay(&engine, 1, Some(vec![id(2)])).await;
    for _ in 0..500 {
        port.cast("out", Bytes::new()).await.unwrap();
    }
    let state = engine.stop(id(2).physical_id, Duration::from_secs(5)).await;
    assert_eq!(state, Some(Bytes::from_static(b"state")));
    assert_eq!(last.load(SeqCst), 500);
    assert_eq!(engine.stop(id(2).physical_id, Duration::ZERO).await, None);
}

#[tokio::test]
async fn a_call_that_is_being_handled_is_answered_when_its_instance_ends() {
    let engine = engine(2, 16);
    let door = Door::default();
    let for_slow = door.clone();
    does(&engine, 1, &[], move |_, task, _| for_slow.pass(task)).await;
    let (_, port) = relay(&engine, 2, Some(vec![id(1)])).await;
    let calling = tokio::spawn(async move {
        let timeout = Duration::from_secs(60);
        port.call("out", Bytes::new(), timeout).await
    });
    until("it is taken", || door.is_reached()).await;
    engine.stop(id(1).physical_id, Duration::ZERO).await;
    let stopped = PortError::Failed("the instance has stopped".to_owned());
    assert_eq!(calling.await.unwrap(), Err(stopped));
}

#[tokio::test]
async fn a_call_is_answered_once_when_its_instance_answers_and_then_fails() {
    let engine = engine(1, 16);
    does(&engine, 1, &[], |message, _, out| {
        let error = Answer::Error("first".to_owned());
        out.answer(CallRef::of(&message), error);
        Progress::Failed("second".to_owned())
    })
    .await;
    let (_, port) = relay(&engine, 2, Some(vec![id(1)])).await;
    let answer = port.call("out", Bytes::new(), Duration::from_secs(5)).await;
    assert_eq!(answer, Err(PortError::Failed("first".to_owned())));
    until("it has failed", || !engine.drain_failures().is_empty()).await;
    assert_eq!(engine.counters().of(Drop::LateAnswer).load(SeqCst), 0);
}

#[tokio::test]
async fn a_call_that_ended_with_a_fault_is_answered_when_its_instance_ends() {
    let engine = engine(1, 16);
    does(&engine, 1, &[], |_, _, out| {
        out.push(Action::Fault("first".to_owned()));
        Progress::Failed("second".to_owned())
    })
    .await;
    let (_, port) = relay(&engine, 2, Some(vec![id(1)])).await;
    let answer = port.call("out", Bytes::new(), Duration::from_hours(1));
    let answer = tokio::time::timeout(Duration::from_secs(20), answer).await;
    let second = PortError::Failed("second".to_owned());
    assert_eq!(answer, Ok(Err(second)));
}

#[tokio::test]
async fn a_fault_is_a_log_entry_instead_of_an_execution_time() {
    let engine = engine(1, 16);
    does(&engine, 1, &[], |_, _, out| {
        out.push(Action::Fault("why".to_owned()));
        Progress::Done
    })
    .await;
    let (_, port) = relay(&engine, 2, Some(vec![id(1)])).await;
    port.cast("out", Bytes::new()).await.unwrap();
    let faults = &engine.counters().faults;
    until("it was handled", || faults.load(SeqCst) == 1).await;
    let samples = engine.drain_samples().await;
    let logged: Vec<_> = samples
        .logs
        .iter()
        .map(|it| (&*it.target, &*it.value))
        .collect();
    assert_eq!(logged, [("fault", "why")]);
    assert!(samples.times.is_empty());
}

#[tokio::test]
async fn what_a_task_took_over_is_measured_when_the_task_says_so() {
    let engine = engine(1, 16);
    let taker = does(&engine, 1, &[], |_, _, _| Progress::Taken).await;
    let (_, port) = relay(&engine, 2, Some(vec![id(1)])).await;
    port.cast("out", Bytes::new()).await.unwrap();
    let now = engine.now();
    assert!(engine.drain_samples().await.times.is_empty());
    let handled = Handled {
        source: id(2).physical_id,
        created: now,
        begin: now,
        tracked: None,
        error: None,
    };
    taker.handled(vec![handled]).await.unwrap();
    let samples = engine.drain_samples().await;
    assert_eq!(samples.times.len(), 2, "one transfer, one execution");
    assert_eq!(samples.times[0].physical_id, id(1).physical_id);
}

#[tokio::test]
async fn what_an_instance_was_at_and_what_it_delayed_is_counted_when_it_ends() {
    let engine = engine(1, 16);
    let begun = Door::default();
    let for_operator = begun.clone();
    does(&engine, 2, &[], move |_, task, out| {
        let to = Port::channel("out");
        out.push(Action::Delayed(Duration::from_millis(20), to, Bytes::new()));
        for_operator.pass(task)
    })
    .await;
    let (_, port) = relay(&engine, 1, Some(vec![id(2)])).await;
    port.cast("out", Bytes::new()).await.unwrap();
    until("it is begun", || begun.is_reached()).await;
    engine.stop(id(2).physical_id, Duration::ZERO).await;
    let stopped = engine.counters().of(Drop::Stopped);
    until("both are counted", || stopped.load(SeqCst) == 2).await;
}
