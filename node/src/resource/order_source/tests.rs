//! A source of tasks between an ε-CON that the test plays and a function that does what a task says.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use bytes::Bytes;
use edgeless_dataflow::{Engine, Outputs};
use edgeless_proto::v1::{self, task_outcome::Result as Outcome};
use edgeless_types::{
    Generation, InstanceId,
    message::{Budget, MessageId, Upward, UpwardKind},
};
use tokio::sync::mpsc;
use tonic::Status;

use super::{
    fake_con::{Served, con, con_at, soon},
    *,
};
use crate::resource::testing::{Answering, NODE, configurations, engine, pid, spawn};

struct Case {
    engine: Engine,
    owner: Owner,
    counters: Arc<Counters>,
    streams: mpsc::Receiver<Served>,
}

impl Case {
    /// A source (1) whose channel leads to these; functions (8 and 9) that do what their tasks say.
    async fn new(targets: &[u128], more: &[(&str, &str)]) -> Self {
        let (url, streams) = con().await;
        let engine = engine();
        for number in [8, 9] {
            let obey = |task: Bytes| match task.as_ref() {
                b"none" => Some(Answer::NoReply),
                b"fail" => Some(Answer::Error("function failed".to_owned())),
                b"silence" => None,
                _ => Some(Answer::Reply(task)),
            };
            let factory = Answering::factory(obey);
            spawn(&engine, number, &[], factory).await.unwrap();
        }
        let (owner, counters) = (Owner::default(), Arc::<Counters>::default());
        let settings = [&[("service", "A"), ("url", url.as_str())], more].concat();
        let settings = configurations(&settings);
        let factory = prepare(&settings, owner.clone(), Arc::clone(&counters)).unwrap();
        spawn(&engine, 1, &[(TASK, targets)], factory)
            .await
            .unwrap();
        Self {
            engine,
            owner,
            counters,
            streams,
        }
    }

    /// The next stream, and what the source said first.
    async fn stream(&mut self) -> (Served, v1::FromSource) {
        let mut served = soon(self.streams.recv()).await.unwrap();
        let first = served.next().await.unwrap();
        assert!(first.hello.is_some());
        (served, first)
    }

    /// Tells the source what may be sent to the function 9.
    async fn budget(&self, sequence: u64, budget: Budget) {
        let id = MessageId {
            origin: 2,
            sequence,
        };
        let kind = UpwardKind::Budget(budget);
        let (of, hops) = (pid(9), 1);
        let upward = Upward { id, of, hops, kind };
        self.engine.deliver_upwards(vec![upward]).await;
    }

    async fn patch(&self, targets: &[u128]) {
        let targets = targets.iter().map(|&number| instance(number)).collect();
        let outputs = Outputs::new(vec![(TASK.to_owned(), targets)]);
        self.engine.patch(pid(1), Generation(2), outputs).await;
    }
}

fn instance(number: u128) -> InstanceId {
    InstanceId {
        node_id: NODE,
        physical_id: pid(number),
    }
}

fn reply(text: &'static str) -> Outcome {
    Outcome::Reply(text.into())
}

fn undelivered(text: &str) -> Outcome {
    Outcome::Undelivered(text.to_owned())
}

/// Longer than any test.
const LONG: u32 = 3_600_000;

#[tokio::test]
async fn the_first_message_says_who_serves_what_and_with_how_many_copies() {
    let mut case = Case::new(&[8, 9], &[("max_in_flight", "7")]).await;
    let (_served, first) = case.stream().await;
    let hello = first.hello.unwrap();
    assert_eq!((hello.service.as_str(), hello.max_in_flight), ("A", 7));
    assert_eq!(hello.source, Some(instance(1).into()));
    assert_eq!(hello.host, capabilities::host_name());
    assert_eq!((first.instances, first.open), (Some(2), None));
}

#[tokio::test]
async fn tasks_are_called_and_what_came_of_them_is_told_with_who_had_them() {
    let mut case = Case::new(&[9], &[]).await;
    let (mut served, _) = case.stream().await;
    let tasks = [
        (1, "x", LONG),
        (2, "none", LONG),
        (3, "fail", LONG),
        (4, "silence", 20),
        (5, "y", LONG),
    ];
    served.send(&tasks).await;
    let outcomes = served.outcomes(5).await;
    for outcome in outcomes.values() {
        assert_eq!(outcome.instance, Some(instance(9).into()));
    }
    assert!(outcomes[&4].took_us >= 20_000);
    let results = outcomes.into_values().map(|it| it.result.unwrap());
    let expected = [
        reply("x"),
        Outcome::NoReply(v1::NoReply {}),
        Outcome::Failed("function failed".to_owned()),
        Outcome::TimedOut(v1::TimedOut {}),
        reply("y"),
    ];
    assert_eq!(results.collect::<Vec<_>>(), expected);
    let counters = &case.counters;
    let counted = [&counters.order_tasks, &counters.order_tasks_failed];
    assert_eq!(counted.map(|it| it.load(Relaxed)), [5, 2]);
}

#[tokio::test]
async fn every_task_of_many_has_one_outcome_though_few_messages_carry_them() {
    let mut case = Case::new(&[8, 9], &[("max_in_flight", "20000")]).await;
    let (mut served, _) = case.stream().await;
    for batch in 0..10 {
        let tasks: Vec<_> = (0..1_000)
            .map(|it| (batch * 1_000 + it, "x", LONG))
            .collect();
        served.send(&tasks).await;
    }
    let (mut outcomes, mut messages) = (Vec::new(), 0);
    while outcomes.len() < 10_000 {
        outcomes.extend(served.next().await.unwrap().outcomes);
        messages += 1;
    }
    assert!(messages < 5_000, "{messages}");
    let mut tickets: Vec<_> = outcomes.iter().map(|it| it.ticket).collect();
    tickets.sort_unstable();
    assert_eq!(tickets, (0..10_000).collect::<Vec<_>>());
    for number in [8, 9] {
        let instance = Some(instance(number).into());
        assert!(outcomes.iter().any(|it| it.instance == instance));
    }
}

#[tokio::test]
async fn long_answers_come_in_messages_of_bounded_length() {
    let mut case = Case::new(&[9], &[]).await;
    let (mut served, _) = case.stream().await;
    let task = |ticket| v1::Task {
        ticket,
        payload: vec![7; 100 << 10].into(),
        timeout_ms: LONG,
    };
    served.tell((0..30).map(task).collect(), vec![]).await;
    let mut number = 0;
    while number < 30 {
        let outcomes = served.next().await.unwrap().outcomes;
        assert!(outcomes.len() <= 2, "{}", outcomes.len());
        number += outcomes.len();
    }
}

#[tokio::test]
async fn a_task_waits_for_a_function_that_does_not_run_yet_as_long_as_it_may() {
    let mut case = Case::new(&[], &[]).await;
    let (mut served, first) = case.stream().await;
    assert_eq!(first.instances, Some(0));
    served.send(&[(1, "x", 20)]).await;
    let waiting = undelivered("output `task` leads to a vertex that does not run now");
    assert_eq!(served.results(1).await, [(1, waiting)]);
    served.send(&[(2, "x", LONG)]).await;
    while case.counters.order_tasks.load(Relaxed) < 2 {
        tokio::task::yield_now().await;
    }
    case.patch(&[9]).await;
    let (mut told, mut answered) = (None, None);
    while told.is_none() || answered.is_none() {
        let mut message = served.next().await.unwrap();
        told = told.or(message.instances);
        answered = answered.or(message.outcomes.pop());
    }
    assert_eq!(told, Some(1));
    assert_eq!(answered.unwrap().result, Some(reply("x")));
}

#[tokio::test]
async fn what_cannot_be_taken_is_sent_back_with_the_reason() {
    let mut case = Case::new(&[9], &[("max_in_flight", "2")]).await;
    let (mut served, _) = case.stream().await;
    served
        .send(&[
            (1, "silence", LONG),
            (1, "x", LONG),
            (2, "silence", LONG),
            (3, "x", LONG),
        ])
        .await;
    let expected = [
        (1, undelivered("a task with the ticket 1 is under way")),
        (3, undelivered("2 tasks are under way, as many as may be")),
    ];
    assert_eq!(served.results(2).await, expected);
    served.tell(vec![], vec![1, 2, 99]).await;
    let too_large = v1::Task {
        ticket: 4,
        payload: vec![0; (48 << 20) + 1].into(),
        timeout_ms: LONG,
    };
    served.tell(vec![too_large], vec![]).await;
    let reason = "50331649 bytes are more than the 50331648 a message may have";
    assert_eq!(served.results(1).await, [(4, undelivered(reason))]);
    served.send(&[(5, "x", LONG)]).await;
    assert_eq!(served.results(1).await, [(5, reply("x"))]);
    assert!(!case.owner.is_busy(pid(1)));
}

#[tokio::test]
async fn a_stream_that_breaks_is_opened_anew_and_what_was_under_way_is_given_up() {
    let mut case = Case::new(&[9], &[]).await;
    let (mut served, _) = case.stream().await;
    served.send(&[(1, "silence", LONG), (2, "x", LONG)]).await;
    assert_eq!(served.results(1).await, [(2, reply("x"))]);
    assert!(case.owner.is_busy(pid(1)));
    drop(served);
    for _ in 0..3 {
        let (served, _) = case.stream().await;
        let broken = Status::unavailable("restarting");
        served.to.send(Err(broken)).await.unwrap();
    }
    let (mut served, _) = case.stream().await;
    assert!(!case.owner.is_busy(pid(1)));
    served.send(&[(1, "y", LONG)]).await;
    assert_eq!(served.results(1).await, [(1, reply("y"))]);
}

#[tokio::test]
async fn a_con_that_comes_late_is_found() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let (url, engine) = (format!("http://{address}"), engine());
    let settings = configurations(&[("service", "A"), ("url", &url)]);
    let factory = prepare(&settings, Owner::default(), Arc::default()).unwrap();
    spawn(&engine, 1, &[(TASK, &[])], factory).await.unwrap();
    let mut streams = con_at(tokio::net::TcpListener::bind(address).await.unwrap());
    assert!(soon(streams.recv()).await.is_some());
}

#[tokio::test]
async fn before_it_stops_tasks_under_way_are_answered_and_no_more_are_taken() {
    let mut case = Case::new(&[], &[]).await;
    let (mut served, _) = case.stream().await;
    served.send(&[(1, "x", LONG)]).await;
    while !case.owner.is_busy(pid(1)) {
        tokio::task::yield_now().await;
    }
    let owner = case.owner.clone();
    let idle = tokio::spawn(async move { owner.idle(pid(1)).await });
    assert_eq!(served.next().await.unwrap().open, Some(false));
    served.send(&[(2, "x", LONG)]).await;
    let refused = (2, undelivered("the source is about to end"));
    assert_eq!(served.results(1).await, [refused]);
    assert!(!idle.is_finished());
    case.patch(&[9]).await;
    assert_eq!(served.results(1).await, [(1, reply("x"))]);
    assert_eq!(served.next().await, None, "the stream ends in order");
    soon(idle).await.unwrap();
    drop(served);
    soon(case.engine.stop(pid(1), Duration::ZERO)).await;
    soon(case.owner.finished()).await;
    assert!(case.streams.try_recv().is_err(), "it does not come back");
}

#[tokio::test]
async fn a_source_that_is_stopped_at_once_says_what_it_did_not_do() {
    let mut case = Case::new(&[9], &[]).await;
    let (mut served, _) = case.stream().await;
    served.send(&[(1, "silence", LONG), (2, "x", LONG)]).await;
    assert_eq!(served.results(1).await, [(2, reply("x"))]);
    soon(case.engine.stop(pid(1), Duration::ZERO)).await;
    let ended = (1, undelivered("the instance has ended"));
    assert_eq!(served.results(1).await, [ended]);
    assert_eq!(served.next().await, None);
    drop(served);
    soon(case.owner.finished()).await;
}

#[tokio::test]
async fn without_a_budget_tasks_are_sent_back_until_there_is_one_and_at_the_end_of_the_node() {
    let mut case = Case::new(&[9], &[]).await;
    let (mut served, _) = case.stream().await;
    case.budget(1, Budget::NOTHING).await;
    assert_eq!(served.next().await.unwrap().open, Some(false));
    served.send(&[(1, "x", LONG)]).await;
    let refused = (1, undelivered("the function takes nothing now"));
    assert_eq!(served.results(1).await, [refused]);
    case.budget(2, Budget::default()).await;
    assert_eq!(served.next().await.unwrap().open, Some(true));
    served.send(&[(2, "x", LONG)]).await;
    assert_eq!(served.results(1).await, [(2, reply("x"))]);
    case.engine.announce_shutdown().await;
    assert_eq!(served.next().await.unwrap().open, Some(false));
    assert_eq!(served.next().await, None);
}
