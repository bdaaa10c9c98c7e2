//! Random graphs on one engine: everything comes through, once, in order, within its bounds.

use std::sync::Arc;

use bytes::Bytes;
use edgeless_dataflow::{Drop, Engine, Remote};
use edgeless_types::{
    NodeId,
    message::{Message, Signal},
};
use proptest::prelude::*;

use crate::world::{Plan, Seen, engine, instance, node, plan, settled, simulate, start};

pub(crate) struct Nowhere;

impl Remote for Nowhere {
    fn send(&self, _: usize, _: NodeId, message: Message) -> Result<(), Message> {
        Err(message)
    }

    fn signal(&self, _: usize, _: Signal) {}
}

/// What came of a run.
struct Run {
    seen: Seen,
    engine: Engine,
    settled: bool,
    /// The most that was ever queued at one instance.
    queued: usize,
}

async fn run(plan: &Plan) -> Run {
    let seen = Seen::default();
    let here = node(1);
    let (engine, _) = engine(plan, here, Arc::new(Nowhere));
    let place_of = |vertex: usize| instance(here, vertex + 1);
    for vertex in 0..plan.vertices {
        start(&engine, plan, &seen, vertex, place_of(vertex), place_of).await;
    }
    let last = plan.vertices;
    let entry = start(&engine, plan, &seen, last, place_of(last), place_of).await;
    let messages = plan.messages;
    let sending = tokio::task::spawn_local(async move {
        for number in 0..messages {
            let payload = Bytes::copy_from_slice(&number.to_be_bytes());
            entry.cast("to 0", payload).await.unwrap();
        }
    });
    let mut queued = 0;
    while !sending.is_finished() {
        let views = engine.inspect().await;
        queued = views
            .iter()
            .map(|view| view.queued)
            .fold(queued, usize::max);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let expected: u32 = plan.ways().iter().map(|ways| ways * messages).sum();
    let all_there = || seen.done().values().sum::<u32>() >= expected;
    let settled = settled(std::slice::from_ref(&engine), all_there).await;
    Run {
        seen,
        engine,
        settled,
        queued,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_message_comes_over_every_way_once_and_is_acknowledged(plan in plan(any::<bool>())) {
        let run = simulate(run(&plan));
        prop_assert!(run.settled, "something is left over");
        let done = run.seen.done();
        for (vertex, ways) in plan.ways().into_iter().enumerate() {
            for number in 0..plan.messages {
                let times = done.get(&(vertex, number)).copied().unwrap_or_default();
                prop_assert_eq!(times, ways, "payload {} at vertex {}", number, vertex);
            }
        }
        // Nothing was dropped but what came a second time.
        for (reason, name) in Drop::ALL.into_iter().filter(|(it, _)| *it != Drop::Duplicate) {
            let dropped = run.engine.counters().of(reason).load(std::sync::atomic::Ordering::SeqCst);
            prop_assert_eq!(dropped, 0, "{}", name);
        }
        prop_assert_eq!(run.engine.waiting(), 0, "nothing waits, and something is counted as waiting");
        // From its shard and from others, each within the bound.
        prop_assert!(run.queued <= 2 * plan.inbox, "{} were queued", run.queued);
        if !plan.tracked {
            prop_assert_eq!(run.seen.disorder(), 0);
        }
    }

    #[test]
    fn the_same_seed_is_the_same_run(plan in plan(any::<bool>())) {
        let first = simulate(run(&plan)).seen.trace();
        prop_assert_eq!(first, simulate(run(&plan)).seen.trace());
    }
}
