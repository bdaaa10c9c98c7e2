//! Copies that are replaced: they are never forgotten, and never more than is desired.

use std::{collections::BTreeSet, time::Duration};

use edgeless_types::PhysicalId;

use super::operations::{all_nodes, run};
use crate::domain::simulation::{Happening, Simulation, logical_id, node_id};

/// What observers are told of the copies of a vertex.
fn shown(simulation: &Simulation, number: u128) -> Vec<PhysicalId> {
    let shown = simulation.domain.active_instance(logical_id(number));
    let copies = shown.into_iter().flat_map(|it| it.instances);
    copies.map(|it| it.physical_id).collect()
}

/// Whatever happens, all is well in the end.
fn check(simulation: &mut Simulation, happenings: &[Happening]) {
    for happening in happenings {
        simulation.happen(happening);
    }
    simulation.settle();
    simulation.check_at_rest();
}

#[test]
fn a_copy_that_gives_way_to_its_successor_has_stopped_before_that_starts() {
    let mut simulation = Simulation::new();
    simulation.refresh(node_id(0), true);
    let happenings = [
        Happening::Start(0),
        Happening::Deliver,
        Happening::Start(1),
        // There is no room for both versions.
        Happening::Update(0, 2),
        // But now there is, while the old one has not stopped yet.
        Happening::Fail,
        Happening::Stop(0),
    ];
    check(&mut simulation, &happenings);
    run(&mut simulation);
}

#[test]
fn copies_that_are_going_do_not_come_back_with_a_new_version() {
    let mut simulation = all_nodes();
    simulation.happen(&Happening::Start(3));
    simulation.happen(&Happening::Scale(3, 3));
    run(&mut simulation);
    check(
        &mut simulation,
        &[Happening::Scale(3, 1), Happening::Update(3, 2)],
    );
}

#[test]
fn senders_do_not_send_to_a_copy_that_went_while_its_successor_started() {
    let mut simulation = all_nodes();
    for number in [2, 3] {
        simulation.happen(&Happening::Start(number));
    }
    simulation.happen(&Happening::Scale(3, 2));
    run(&mut simulation);
    simulation.happen(&Happening::Update(3, 2));
    simulation.happen(&Happening::Scale(3, 1));
    for _ in 0..8 {
        simulation.deliver(false);
    }
    let nodes = simulation.nodes.values();
    let running: BTreeSet<PhysicalId> = nodes.flat_map(|it| it.running.keys().copied()).collect();
    for led in simulation.leads_to(3) {
        assert!(running.contains(&led), "it runs");
    }
}

#[test]
fn the_old_copy_goes_on_when_its_successor_is_lost_and_finds_no_other_room() {
    let mut simulation = Simulation::new();
    simulation.refresh(node_id(0), true);
    for number in [2, 3] {
        simulation.happen(&Happening::Start(number));
        simulation.deliver(false);
    }
    let before = shown(&simulation, 3);
    simulation.refresh(node_id(1), true);
    simulation.happen(&Happening::Update(3, 2));
    for _ in 0..30 {
        simulation.pass(Duration::from_millis(100));
        simulation.refresh(node_id(0), false);
        let node = simulation.nodes.get_mut(&node_id(1)).unwrap();
        assert!(node.running.is_empty(), "the other one does not answer");
        simulation.deliver_to(node_id(0), false);
    }
    let after = shown(&simulation, 3);
    assert_eq!(after.len(), 1);
    assert_ne!(after, before, "the new version has its place");
}

#[test]
fn of_two_copies_that_are_replaced_the_one_goes_on_that_was_not_told_to_go() {
    let mut simulation = all_nodes();
    simulation.happen(&Happening::Start(3));
    run(&mut simulation);
    let first = shown(&simulation, 3);
    simulation.happen(&Happening::Update(3, 2));
    simulation.deliver(false);
    let second = shown(&simulation, 3);
    assert_ne!(first, second);
    simulation.happen(&Happening::Update(3, 9));
    for _ in 0..4 {
        simulation.deliver(false);
    }
    assert_eq!(shown(&simulation, 3), second);
    simulation.settle();
    simulation.check_at_rest();
}

#[test]
fn a_new_version_that_fails_is_given_up_after_a_restart_as_well_and_the_copy_is_kept() {
    let mut simulation = all_nodes();
    simulation.happen(&Happening::Start(3));
    run(&mut simulation);
    let before = shown(&simulation, 3);
    simulation.desired.get_mut(&3).unwrap().version = 2;
    simulation.restart_domain();
    for node in simulation.nodes.values_mut() {
        node.unwilling = true;
    }
    let mut tries = 0;
    for number in 0..4 {
        simulation.refresh(node_id(number), true);
    }
    for _ in 0..100 {
        for number in 0..4 {
            simulation.refresh(node_id(number), false);
            tries += simulation.starts_under_way(node_id(number)).len();
        }
        simulation.deliver(false);
        simulation.pass(Duration::from_millis(50));
    }
    assert_eq!(shown(&simulation, 3), before);
    assert_eq!(tries, 3);
    // Asked for again, it is tried again.
    for node in simulation.nodes.values_mut() {
        node.unwilling = false;
    }
    simulation.happen(&Happening::Start(3));
    simulation.settle();
    simulation.check_at_rest();
}

#[test]
fn a_copy_that_is_reported_while_its_vertex_gets_another_version_goes_on_when_that_fails() {
    let mut simulation = all_nodes();
    simulation.happen(&Happening::Start(3));
    run(&mut simulation);
    let before = shown(&simulation, 3);
    simulation.restart_domain();
    simulation.happen(&Happening::Update(3, 9));
    for number in 0..4 {
        simulation.refresh(node_id(number), true);
    }
    run(&mut simulation);
    assert_eq!(simulation.refused.len(), 1, "{:?}", simulation.refused);
    assert_eq!(shown(&simulation, 3), before);
    simulation.settle();
    simulation.check_at_rest();
}

#[test]
fn copies_that_were_asked_for_during_an_update_stay_when_the_old_version_comes_back() {
    let mut simulation = all_nodes();
    simulation.happen(&Happening::Start(3));
    run(&mut simulation);
    check(
        &mut simulation,
        &[Happening::Update(3, 9), Happening::Scale(3, 2)],
    );
}
