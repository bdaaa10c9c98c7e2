//! Random events against the invariants of a domain, and single cases.

mod asleep;
mod beside;
mod bottlenecks;
mod bounds;
mod drains;
mod dry_run;
mod late;
mod operations;
mod overfull;
mod replaced;
mod restarts;
mod scaling;
mod states;
mod tickets;

use std::collections::BTreeSet;

use edgeless_types::{Generation, PhysicalId, RunningInstance, WorkflowId};
use proptest::prelude::*;
use uuid::Uuid;

use super::{
    Command,
    simulation::{Happening, Simulation, happening, logical_id, node_id, request},
};

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_all_that_is_desired_runs_once_in_the_end(
        happenings in prop::collection::vec(happening(), 1..120)
    ) {
        let mut simulation = Simulation::new();
        for happening in happenings {
            simulation.happen(&happening);
        }
        simulation.settle();
        simulation.check_at_rest();
    }

    #[test]
    fn the_same_events_and_seeds_have_the_same_effects(
        happenings in prop::collection::vec(happening(), 1..120)
    ) {
        let [first, second] = [(); 2].map(|()| {
            let mut simulation = Simulation::new();
            for happening in &happenings {
                simulation.happen(happening);
            }
            simulation.effects
        });
        prop_assert_eq!(first, second);
    }
}

/// Two nodes report copies of one vertex to an ε-ORC that has just returned, as a partition may
/// leave them behind.
fn check_adoption(first: u64, second: u64, survivor: u128) {
    let mut simulation = Simulation::new();
    simulation.happen(&Happening::Start(0));
    simulation.restart_domain();
    for (number, generation) in [(0, first), (1, second)] {
        let running = RunningInstance {
            physical_id: PhysicalId::new(Uuid::from_u128(900 + number)),
            logical_id: logical_id(0),
            workflow_id: WorkflowId::new(Uuid::from_u128(300)),
            generation: Generation(generation),
            fingerprint: 0,
        };
        let node = simulation.nodes.get_mut(&node_id(number)).unwrap();
        node.running.insert(running.physical_id, running);
        simulation.refresh(node_id(number), true);
    }
    simulation.settle();
    simulation.check_at_rest();
    let kept = &simulation.nodes[&node_id(survivor)].running;
    assert_eq!(kept.len(), 1, "generations {first} and {second}");
}

#[test]
fn of_two_copies_the_newer_is_adopted_whichever_is_reported_first() {
    check_adoption(5, 9, 1);
    check_adoption(9, 5, 0);
    check_adoption(1_000_000, 5, 0);
}

#[test]
fn a_copy_that_returns_after_its_vertex_was_placed_anew_is_stopped() {
    let mut simulation = Simulation::new();
    simulation.happen(&Happening::Start(0));
    simulation.restart_domain();
    simulation.refresh(node_id(0), true);
    for _ in 0..4 {
        simulation.pass(std::time::Duration::from_millis(500));
        simulation.refresh(node_id(0), false);
        simulation.deliver(false);
    }
    let running = RunningInstance {
        physical_id: PhysicalId::new(Uuid::from_u128(900)),
        logical_id: logical_id(0),
        workflow_id: WorkflowId::new(Uuid::from_u128(300)),
        generation: Generation(1_000),
        fingerprint: 0,
    };
    let node = simulation.nodes.get_mut(&node_id(1)).unwrap();
    node.running.insert(running.physical_id, running);
    simulation.refresh(node_id(1), true);
    simulation.settle();
    simulation.check_at_rest();
    assert_eq!(simulation.nodes[&node_id(0)].running.len(), 1);
}

#[test]
fn of_two_processes_with_one_id_the_older_gives_way_until_the_other_is_gone() {
    let mut simulation = Simulation::new();
    simulation.refresh(node_id(0), true);
    let set_nonce = |simulation: &mut Simulation, nonce| {
        simulation.nodes.get_mut(&node_id(0)).unwrap().nonce = nonce;
    };
    set_nonce(&mut simulation, 2);
    assert!(!simulation.refresh(node_id(0), true).duplicate);
    set_nonce(&mut simulation, 0);
    assert!(simulation.refresh(node_id(0), true).duplicate);
    set_nonce(&mut simulation, 2);
    assert!(!simulation.refresh(node_id(0), false).duplicate);
    // It is gone for good, and its deadline is over.
    simulation.pass(std::time::Duration::from_secs(2));
    set_nonce(&mut simulation, 0);
    assert!(!simulation.refresh(node_id(0), true).duplicate);
}

#[test]
fn a_node_that_is_let_go_is_not_there_any_more() {
    let mut simulation = Simulation::new();
    simulation.refresh(node_id(0), true);
    simulation.happen(&Happening::Leave(0));
    let node = node_id(0);
    let known = |simulation: &Simulation| simulation.domain.nodes.contains_key(&node);
    assert!(!known(&simulation), "it had nothing: it went at once");
}

#[test]
fn a_start_that_fails_is_tried_at_once_on_every_node_that_has_not_refused_it() {
    let mut simulation = Simulation::new();
    for number in 0..4 {
        simulation.refresh(node_id(number), true);
    }
    for number in 0..3 {
        let node = simulation.nodes.get_mut(&node_id(number)).unwrap();
        node.unwilling = true;
    }
    simulation.happen(&Happening::Start(0));
    for _ in 0..8 {
        simulation.deliver(false);
    }
    // No time has passed.
    assert_eq!(simulation.nodes[&node_id(3)].running.len(), 1);
}

/// ε-ORC returned with its journal; later ε-CON says what it desires, before or after the nodes have reported.
fn check_second_reconciliation(has_reported: bool) {
    let mut simulation = Simulation::new();
    for number in 0..4 {
        simulation.refresh(node_id(number), true);
    }
    for number in 0..3 {
        simulation.happen(&Happening::Start(number));
    }
    simulation.settle();
    let running = |simulation: &Simulation| -> BTreeSet<PhysicalId> {
        let nodes = simulation.nodes.values();
        nodes
            .flat_map(|node| node.running.keys().copied())
            .collect()
    };
    let before = running(&simulation);
    assert_eq!(before.len(), 3);

    simulation.restart_domain();
    let reconcile = |simulation: &mut Simulation| {
        // Something new was submitted meanwhile.
        simulation.desire(3);
        let desired = simulation.desired.iter();
        let vertices = desired.map(|(&number, it)| request(number, it.version));
        let vertices = vertices.collect();
        let ticket = simulation.ticket();
        simulation.command(Command::Reconcile { vertices, ticket });
    };
    if !has_reported {
        reconcile(&mut simulation);
    }
    for number in 0..4 {
        simulation.refresh(node_id(number), true);
    }
    if has_reported {
        reconcile(&mut simulation);
    }
    for _ in 0..8 {
        simulation.deliver(false);
    }
    // No time has passed.
    let now = running(&simulation);
    assert!(now.is_superset(&before), "nothing is restarted");
    assert_eq!(now.len(), 4, "what is new does not wait for the grace");
    simulation.settle();
    simulation.check_at_rest();
    assert_eq!(running(&simulation), now);
}

#[test]
fn what_the_controller_says_after_the_journal_restarts_nothing_and_waits_for_nothing() {
    check_second_reconciliation(false);
    check_second_reconciliation(true);
}

#[test]
fn a_node_that_was_cordoned_before_a_restart_takes_nothing_new_when_it_comes() {
    let mut simulation = Simulation::new();
    simulation.refresh(node_id(0), true);
    simulation.happen(&Happening::Cordon(0));
    simulation.restart_domain();
    simulation.refresh(node_id(0), true);
    simulation.happen(&Happening::Start(0));
    assert!(simulation.domain.node_reports()[0].cordoned);
    simulation.deliver(false);
    assert!(simulation.nodes[&node_id(0)].running.is_empty());
    simulation.settle();
    simulation.check_at_rest();
}
