//! What limits a workflow is named, told to the mirror, and it alone gets more copies.

use std::{sync::Arc, time::Duration};

use edgeless_types::{Backlog, Sample, SampleKind, Samples, WorkflowId, workflow::VertexSpec};
use uuid::Uuid;

use super::operations::{all_nodes, homes, round, run};
use crate::{
    change::What,
    domain::{
        Command, Domain, Effect, Explanation, VertexRequest,
        simulation::{Simulation, logical_id, request, settings},
    },
    scale::bottleneck::Held,
};

/// The second gets what the first sends.
const FIRST: u128 = 2;
const SECOND: u128 = 3;
/// Events that each copy handles in a round of 50 ms.
const EVENTS: u64 = 5;

fn with(number: u128, annotations: &[(&str, &str)]) -> VertexRequest {
    let mut request = request(number, 1);
    if let VertexSpec::Function(function) = &mut request.spec {
        for (key, value) in annotations {
            let (key, value) = ((*key).to_owned(), (*value).to_owned());
            function.annotations.insert(key, value);
        }
    }
    request
}

fn start(simulation: &mut Simulation, vertices: Vec<VertexRequest>) {
    let ticket = simulation.ticket();
    simulation.command(Command::Start { vertices, ticket });
    run(simulation);
}

/// For so many seconds every copy handles five events in 50 ms, each of which takes so long, and so many wait for it.
fn works(simulation: &mut Simulation, seconds: u32, of: &[(u128, Duration, u64)]) {
    for _ in 0..seconds * 20 {
        let now = simulation.now;
        for node in simulation.nodes.values_mut() {
            let (mut times, mut backlog) = (Vec::new(), Vec::new());
            for (number, took, queued) in of {
                let mine = logical_id(*number);
                let copies = node.running.values().filter(|it| it.logical_id == mine);
                for copy in copies {
                    let sample = |kind, took: Duration| Sample {
                        physical_id: copy.physical_id,
                        kind,
                        timestamp: now,
                        nanos: u64::try_from(took.as_nanos()).unwrap(),
                    };
                    for _ in 0..EVENTS {
                        times.push(sample(SampleKind::FunctionExecutionTime, *took));
                        let way = Duration::from_micros(300);
                        times.push(sample(SampleKind::FunctionTransferTime, way));
                    }
                    if *queued > 0 {
                        backlog.push(Backlog {
                            physical_id: copy.physical_id,
                            queued: *queued,
                            in_hand: 1,
                            oldest: Duration::from_secs(2),
                        });
                    }
                }
            }
            node.samples = Some(Arc::new(Samples {
                times,
                ..Samples::default()
            }));
            node.backlog = backlog;
        }
        round(simulation);
    }
}

fn explain(simulation: &mut Simulation) -> Explanation {
    let workflow_id = WorkflowId::new(Uuid::from_u128(300));
    let now = simulation.now;
    simulation.domain.explain(workflow_id, now).unwrap()
}

/// Names of what was told to limit.
fn told(simulation: &Simulation) -> Vec<Option<String>> {
    let effects = simulation.effects.iter();
    let told = effects.filter_map(|effect| match effect {
        Effect::Change(change) => match &change.what {
            What::Bottleneck(_, found) => Some(found.as_ref()),
            _ => None,
        },
        _ => None,
    });
    told.map(|it| it.filter(|it| it.limits).map(|it| it.name.clone()))
        .collect()
}

const FULL: [(u128, Duration, u64); 2] = [
    (FIRST, Duration::from_millis(1), 60),
    (SECOND, Duration::from_millis(10), 60),
];

#[test]
fn the_function_that_limits_gets_copies_and_the_one_before_it_that_waits_for_it_does_not() {
    let mut simulation = all_nodes();
    let most = [("max_instances", "3")];
    start(
        &mut simulation,
        vec![with(FIRST, &most), with(SECOND, &most)],
    );
    let [first, second] = FULL;
    works(&mut simulation, 2, &[(first.0, first.1, 0), second]);
    works(&mut simulation, 4, &FULL);
    assert_eq!(homes(&simulation, SECOND).len(), 3);
    assert_eq!(
        homes(&simulation, FIRST).len(),
        1,
        "its queue is there for another reason"
    );
    let explained = explain(&mut simulation);
    let found = explained.bottleneck.unwrap();
    assert_eq!(
        (found.name.as_str(), found.limits),
        ("f3", true),
        "{found:?}"
    );
    assert_eq!(found.held.as_deref(), Some("max_instances"));
    assert!(found.action.contains("max_instances"), "{found:?}");
    let stage = explained.stages.iter().find(|it| it.name == "f3").unwrap();
    assert!(stage.decision.as_ref().unwrap().copies > 1);
    let told = told(&simulation);
    assert!(told.contains(&Some("f3".to_owned())), "{told:?}");
}

#[test]
fn a_function_for_which_no_node_has_room_is_told_with_what_is_missing() {
    let mut simulation = all_nodes();
    let greedy = [("cpu_millis", "900"), ("max_instances", "8")];
    start(&mut simulation, vec![with(SECOND, &greedy)]);
    works(&mut simulation, 6, &[FULL[1]]);
    assert_eq!(homes(&simulation, SECOND).len(), 4, "one on each node");
    let found = explain(&mut simulation).bottleneck.unwrap();
    assert_eq!(
        found.held.as_deref(),
        Some(Held::NoRoom.name()),
        "{found:?}"
    );
    assert!(
        found.action.contains("cpu_millis: 4 of 4 nodes"),
        "{found:?}"
    );
}

#[test]
fn a_workflow_without_traffic_is_not_told_of_any_more() {
    let mut simulation = all_nodes();
    start(&mut simulation, vec![with(SECOND, &[])]);
    works(&mut simulation, 6, &[FULL[1]]);
    let found = explain(&mut simulation).bottleneck.unwrap();
    assert_eq!(
        found.held.as_deref(),
        Some(Held::NotScaled.name()),
        "{found:?}"
    );
    for node in simulation.nodes.values_mut() {
        (node.samples, node.backlog) = (None, Vec::new());
    }
    for _ in 0..400 {
        round(&mut simulation);
    }
    assert_eq!(told(&simulation).last(), Some(&None));
    assert_eq!(explain(&mut simulation).bottleneck, None);
    let snapshot = simulation.domain.snapshot(simulation.now);
    let is_told = |what: &What| matches!(what, What::Bottleneck(..));
    assert!(!snapshot.iter().any(|it| is_told(&it.what)));
}

#[test]
fn copies_of_a_scaled_function_that_ran_before_a_restart_are_kept_for_a_while() {
    let mut simulation = all_nodes();
    let most = [("max_instances", "4")];
    start(&mut simulation, vec![with(SECOND, &most)]);
    works(&mut simulation, 6, &[FULL[1]]);
    assert_eq!(homes(&simulation, SECOND).len(), 4);
    for node in simulation.nodes.values_mut() {
        (node.samples, node.backlog) = (None, Vec::new());
    }
    simulation.domain = Domain::new(settings(77), false);
    let ticket = simulation.ticket();
    let vertices = vec![with(SECOND, &most)];
    simulation.command(Command::Reconcile { vertices, ticket });
    run(&mut simulation);
    assert_eq!(
        homes(&simulation, SECOND).len(),
        4,
        "nothing is known of their work"
    );
    for _ in 0..3 * 60 * 20 {
        round(&mut simulation);
    }
    assert_eq!(homes(&simulation, SECOND).len(), 1, "they had none");
}

#[test]
fn why_a_copy_does_not_start_is_explained() {
    let mut simulation = all_nodes();
    let ticket = simulation.ticket();
    let vertices = vec![with(FIRST, &[]), with(SECOND, &[])];
    simulation.command(Command::Start { vertices, ticket });
    // Each node is tried.
    for _ in 0..5 {
        simulation.deliver(true);
    }
    let waiting = |simulation: &mut Simulation| {
        let stages = explain(simulation).stages.into_iter();
        stages.map(|it| it.waiting).collect::<Vec<_>>()
    };
    for reason in waiting(&mut simulation) {
        let reason = reason.unwrap();
        assert!(reason.starts_with("start failed: "), "{reason}");
    }
    run(&mut simulation);
    assert_eq!(waiting(&mut simulation), [None, None]);
}
