//! Numbers of copies follow what is to do, within their bounds, and nothing that works is stopped.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use edgeless_types::{
    Backlog, OrderDemand, PhysicalId, Sample, SampleKind, Samples, Timestamp, workflow::VertexSpec,
};

use super::{
    asleep::{SLEEPY, sleeper},
    operations::{all_nodes, homes, run},
};
use crate::{
    change::What,
    domain::{
        Command, Effect, VertexRequest,
        simulation::{Simulation, logical_id, request},
    },
    scale::{
        Priors,
        priors::{Prior, Times},
    },
};

/// May be multiplied, in the workflow of the others.
pub(super) const FUNCTION: u128 = 3;
const OTHER: u128 = 5;

pub(super) fn with(number: u128, annotations: &[(&str, &str)]) -> VertexRequest {
    let mut request = request(number, 1);
    if let VertexSpec::Function(function) = &mut request.spec {
        for (key, value) in annotations {
            let (key, value) = ((*key).to_owned(), (*value).to_owned());
            function.annotations.insert(key, value);
        }
    }
    request
}

pub(super) fn start(simulation: &mut Simulation, vertices: Vec<VertexRequest>) {
    let ticket = simulation.ticket();
    simulation.command(Command::Start { vertices, ticket });
    run(simulation);
}

/// Each copy says that it has handled something, which took so long.
pub(super) fn handled(simulation: &mut Simulation, number: u128, took: Duration) {
    let mine = logical_id(number);
    for node in simulation.nodes.values_mut() {
        let copies = node.running.values().filter(|it| it.logical_id == mine);
        let times = copies.flat_map(|it| {
            (0..10).map(|_| Sample {
                physical_id: it.physical_id,
                kind: SampleKind::FunctionExecutionTime,
                timestamp: Timestamp::EPOCH,
                nanos: u64::try_from(took.as_nanos()).unwrap(),
            })
        });
        let times: Vec<Sample> = times.collect();
        node.samples = (!times.is_empty()).then(|| {
            Arc::new(Samples {
                times,
                ..Samples::default()
            })
        });
    }
    run(simulation);
}

/// So many tasks of orders wait for a function.
pub(super) fn waiting(simulation: &mut Simulation, number: u128, tasks: u64) {
    let demand = OrderDemand {
        tasks_to_do: tasks,
        waiting: tasks,
        in_flight: tasks.min(1),
        oldest_waiting_s: 1.0,
        came_per_second: 0.0,
        done_per_second: 0.0,
        took_ms: 200.0,
    };
    let demand = BTreeMap::from([(logical_id(number), demand)]);
    simulation.domain.tell_demand(demand);
    run(simulation);
}

pub(super) fn minutes(simulation: &mut Simulation, minutes: u32) {
    for _ in 0..minutes * 20 {
        run(simulation);
    }
}

#[test]
fn a_bottleneck_gets_more_copies_and_nobody_else_and_they_go_when_it_is_over() {
    let mut simulation = all_nodes();
    let both = [FUNCTION, OTHER].map(|it| with(it, &[("max_instances", "4")]));
    start(&mut simulation, both.into());
    handled(&mut simulation, FUNCTION, Duration::from_millis(200));
    handled(&mut simulation, OTHER, Duration::from_millis(200));
    waiting(&mut simulation, FUNCTION, 400);
    assert_eq!(homes(&simulation, FUNCTION).len(), 4);
    assert_eq!(homes(&simulation, OTHER).len(), 1);
    waiting(&mut simulation, FUNCTION, 0);
    minutes(&mut simulation, 5);
    assert_eq!(homes(&simulation, FUNCTION).len(), 1);
    let told = simulation.effects.iter().filter_map(|effect| match effect {
        Effect::Change(change) => match &change.what {
            What::Scaling(decision) => Some((decision.before, decision.copies)),
            _ => None,
        },
        _ => None,
    });
    let told: Vec<_> = told.collect();
    assert!(told.contains(&(1, 4)), "{told:?}");
    assert_eq!(told.last().unwrap().1, 1, "{told:?}");
}

#[test]
fn a_function_with_one_copy_at_most_is_never_multiplied() {
    let mut simulation = all_nodes();
    let one = with(
        FUNCTION,
        &[("max_instances", "1"), ("scale_policy", "predictive")],
    );
    start(&mut simulation, vec![one]);
    handled(&mut simulation, FUNCTION, Duration::from_millis(200));
    waiting(&mut simulation, FUNCTION, 10_000);
    assert_eq!(homes(&simulation, FUNCTION).len(), 1);
}

#[test]
fn a_copy_with_something_to_do_is_not_stopped() {
    let mut simulation = all_nodes();
    start(
        &mut simulation,
        vec![with(FUNCTION, &[("max_instances", "4")])],
    );
    handled(&mut simulation, FUNCTION, Duration::from_millis(200));
    waiting(&mut simulation, FUNCTION, 400);
    let mine = logical_id(FUNCTION);
    let copies = |simulation: &Simulation| -> Vec<PhysicalId> {
        let nodes = simulation.nodes.values();
        let all = nodes.flat_map(|node| node.running.values());
        let mine = all.filter(|it| it.logical_id == mine);
        mine.map(|it| it.physical_id).collect()
    };
    let busy = copies(&simulation);
    assert_eq!(busy.len(), 4);
    for node in simulation.nodes.values_mut() {
        let backlog = node.running.keys().map(|&physical_id| Backlog {
            physical_id,
            queued: 0,
            in_hand: 1,
            oldest: Duration::ZERO,
        });
        node.backlog = backlog.collect();
    }
    waiting(&mut simulation, FUNCTION, 0);
    minutes(&mut simulation, 5);
    assert_eq!(copies(&simulation), busy, "all have something to do");
    for node in simulation.nodes.values_mut() {
        node.backlog.clear();
    }
    minutes(&mut simulation, 5);
    assert_eq!(copies(&simulation).len(), 1);
}

#[test]
fn what_is_known_of_a_class_counts_for_the_first_decision_about_a_function() {
    let reason = |class_id: &str| {
        let mut simulation = all_nodes();
        simulation.domain.priors = Priors::new([Prior {
            id: class_id.to_owned(),
            service: Some(Times {
                count: 1_000,
                mean: 7.0,
                variation: 0.1,
                p50: 7.0,
                p95: 8.0,
                p99: 9.0,
            }),
            ..Prior::default()
        }]);
        start(
            &mut simulation,
            vec![with(FUNCTION, &[("max_instances", "4")])],
        );
        waiting(&mut simulation, FUNCTION, 5);
        let mut reasons = simulation.effects.iter().filter_map(|effect| match effect {
            Effect::Change(change) => match &change.what {
                What::Scaling(decision) => Some(decision.reason.clone()),
                _ => None,
            },
            _ => None,
        });
        reasons.next().unwrap()
    };
    let (known, unknown) = (reason("f"), reason("another"));
    assert!(known.contains("5 wait, no longer than 0.250 s"), "{known}");
    assert!(
        unknown.contains("5 wait, no longer than 0.075 s"),
        "{unknown}"
    );
}

#[test]
fn a_copy_that_gets_work_after_it_was_chosen_to_go_works_on_until_it_has_none() {
    let mut simulation = all_nodes();
    start(
        &mut simulation,
        vec![with(FUNCTION, &[("max_instances", "4")])],
    );
    handled(&mut simulation, FUNCTION, Duration::from_millis(200));
    waiting(&mut simulation, FUNCTION, 400);
    assert_eq!(homes(&simulation, FUNCTION).len(), 4);
    simulation.domain.tell_demand(BTreeMap::new());
    let logical_id = logical_id(FUNCTION);
    let copies = |simulation: &Simulation| {
        let key = simulation.domain.model.key_of(logical_id).unwrap();
        simulation.domain.copies_of(key)
    };
    while copies(&simulation) > 1 {
        super::operations::round(&mut simulation);
    }
    assert_eq!(
        homes(&simulation, FUNCTION).len(),
        4,
        "they go when nobody sends to them"
    );
    let in_hand = |simulation: &mut Simulation, in_hand: u64| {
        for node in simulation.nodes.values_mut() {
            let all = node
                .running
                .values()
                .filter(|it| it.logical_id == logical_id);
            let backlog = all.map(|it| Backlog {
                physical_id: it.physical_id,
                queued: 0,
                in_hand,
                oldest: Duration::ZERO,
            });
            node.backlog = backlog.filter(|it| it.in_hand > 0).collect();
        }
    };
    in_hand(&mut simulation, 1);
    run(&mut simulation);
    assert_eq!(homes(&simulation, FUNCTION).len(), 4);
    in_hand(&mut simulation, 0);
    run(&mut simulation);
    assert_eq!(homes(&simulation, FUNCTION).len(), 1);
}

#[test]
fn another_version_has_its_own_bounds_and_one_that_sleeps_is_another_at_once() {
    let mut simulation = all_nodes();
    let most = |most| vec![with(FUNCTION, &[("max_instances", most)])];
    start(&mut simulation, most("2"));
    handled(&mut simulation, FUNCTION, Duration::from_millis(200));
    waiting(&mut simulation, FUNCTION, 400);
    assert_eq!(homes(&simulation, FUNCTION).len(), 2);
    start(&mut simulation, most("4"));
    waiting(&mut simulation, FUNCTION, 401);
    assert_eq!(homes(&simulation, FUNCTION).len(), 4);
    start(&mut simulation, most("1"));
    waiting(&mut simulation, FUNCTION, 400);
    assert_eq!(homes(&simulation, FUNCTION).len(), 1);

    let mut simulation = sleeper();
    minutes(&mut simulation, 1);
    let newer = [&SLEEPY[..], &[("init-payload", "2")]].concat();
    start(&mut simulation, vec![with(FUNCTION, &newer)]);
    assert_eq!(homes(&simulation, FUNCTION).len(), 0);
    let key = simulation.domain.model.key_of(logical_id(FUNCTION));
    let vertex = simulation.domain.model.vertex(key.unwrap());
    assert!(vertex.update.is_none());
}
