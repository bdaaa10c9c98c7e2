//! Nodes that have more than they have room for.

use std::{sync::Arc, time::Duration};

use edgeless_types::{PhysicalId, RunningInstance, workflow::VertexSpec};
use uuid::Uuid;

use super::late::{BEGIN, copy, domain, update, vertex};
use crate::domain::{
    Command, Domain, Effect, Step, StepResult, Ticket, VertexRequest,
    simulation::{logical_id, node_id},
};

/// The function that asks for 600 thousandths of a core, with this number and priority.
fn asking(number: u128, priority: i32) -> VertexRequest {
    let mut request = vertex();
    request.logical_id = logical_id(number);
    if let VertexSpec::Function(function) = &mut request.spec {
        function.annotations = [("cpu_millis", "600"), ("priority", &priority.to_string())]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
    }
    request
}

fn running(number: u128) -> RunningInstance {
    RunningInstance {
        physical_id: PhysicalId::new(Uuid::from_u128(100 + number)),
        logical_id: logical_id(number),
        ..copy(0)
    }
}

/// A domain whose first node, of one core, has two such functions after a restart of ε-ORC.
fn overfull() -> Domain {
    let mut domain = domain(false);
    let (vertices, ticket) = (vec![asking(0, 1), asking(1, 0)], Ticket(1));
    domain.on_command(Command::Reconcile { vertices, ticket }, BEGIN);
    let both = vec![running(0), running(1)];
    domain.on_node_update(update(0, 1, Some(both)), BEGIN);
    assert_eq!(domain.numbers().overfull, 1);
    domain
}

/// What is stopped and started within some seconds, by the number of the vertex.
fn moves(domain: &mut Domain) -> Vec<String> {
    let mut seen = Vec::new();
    for second in 1..10 {
        let now = BEGIN + Duration::from_secs(second);
        let mut effects = domain.on_command(Command::Tick, now);
        while let Some(effect) = effects.pop() {
            let Effect::Step { node_id: at, step } = effect else {
                continue;
            };
            match &step {
                Step::Stop { physical_id, .. } => {
                    let which = [0, 1].map(running);
                    let which = which.iter().position(|it| it.physical_id == *physical_id);
                    seen.push(format!("stop {which:?}"));
                }
                Step::Start { instance, .. } => {
                    let which = [0, 1].map(logical_id);
                    let which = which.iter().position(|it| *it == instance.logical_id);
                    seen.push(format!("start {which:?} on {}", at == node_id(1)));
                }
                Step::Patch { .. } => {}
            }
            let outcome = Command::Outcome {
                node_id: at,
                key: step.key(),
                result: StepResult::Done(None),
            };
            effects.extend(domain.on_command(outcome, now));
        }
    }
    seen
}

#[test]
fn the_least_priority_leaves_a_node_that_has_no_room_for_it() {
    let mut domain = overfull();
    domain.on_node_update(update(1, 1, Some(Vec::new())), BEGIN);
    assert_eq!(
        moves(&mut domain),
        ["stop Some(1)", "start Some(1) on true"]
    );
    assert_eq!(domain.numbers().overfull, 0);
}

#[test]
fn who_takes_nothing_of_what_is_short_does_not_go() {
    let mut small = asking(2, -1);
    if let VertexSpec::Function(function) = &mut small.spec {
        function.annotations.remove("cpu_millis");
        function
            .annotations
            .insert("memory_mib".to_owned(), "1".to_owned());
    }
    let mut domain = domain(false);
    let (vertices, ticket) = (vec![asking(0, 1), asking(1, 0), small], Ticket(1));
    domain.on_command(Command::Reconcile { vertices, ticket }, BEGIN);
    let all = [0, 1, 2].map(running).to_vec();
    domain.on_node_update(update(0, 1, Some(all)), BEGIN);
    domain.on_node_update(update(1, 1, Some(Vec::new())), BEGIN);
    assert_eq!(
        moves(&mut domain),
        ["stop Some(1)", "start Some(1) on true"]
    );
}

#[test]
fn what_fits_nowhere_else_stays_and_is_reported() {
    let mut domain = overfull();
    let mut small = update(1, 1, Some(Vec::new()));
    if let Some(profile) = &mut small.profile {
        Arc::make_mut(&mut profile.capabilities).runtimes.clear();
    }
    domain.on_node_update(small, BEGIN);
    assert!(moves(&mut domain).is_empty());
    assert_eq!(domain.numbers().overfull, 1);
}
