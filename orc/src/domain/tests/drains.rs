//! Draining: it comes to an end, and nothing is left behind.

use std::time::Duration;

use edgeless_types::NodeId;

use super::{
    late::{BEGIN, copy, domain, update, vertex},
    operations::{all_nodes, homes, round, run},
};
use crate::domain::{
    Command, Ticket,
    simulation::{Happening, Simulation, node_id, settings},
};

/// A node that wants to leave may do so in the end.
fn check_leaves(simulation: &mut Simulation, number: u128) {
    simulation.happen(&Happening::Leave(number));
    let mut leaves = || {
        round(simulation);
        simulation.refresh(node_id(number), false).may_leave
    };
    assert!((0..60).any(|_| leaves()), "it may leave");
}

#[test]
fn a_node_whose_copies_have_not_started_yet_may_leave() {
    let mut simulation = all_nodes();
    simulation.happen(&Happening::Start(4));
    run(&mut simulation);
    simulation.happen(&Happening::Scale(4, 3));
    let starts = |number: &u128| !simulation.starts_under_way(node_id(*number)).is_empty();
    let number = (0..4).find(starts).unwrap();
    check_leaves(&mut simulation, number);
}

#[test]
fn a_node_may_leave_though_another_copy_of_what_it_has_finds_no_room() {
    let mut simulation = Simulation::new();
    simulation.refresh(node_id(0), true);
    simulation.happen(&Happening::Start(4));
    simulation.happen(&Happening::Scale(4, 3));
    for _ in 0..4 {
        simulation.deliver(false);
    }
    assert_eq!(simulation.nodes[&node_id(0)].running.len(), 2);
    simulation.happen(&Happening::Leave(0));
    let mut leaves = || {
        simulation.pass(Duration::from_millis(100));
        simulation.refresh(node_id(0), false).may_leave
    };
    assert!((0..40).any(|_| leaves()), "nothing of it can be moved");
}

#[test]
fn what_a_leaving_node_has_is_moved_after_a_restart_as_well() {
    let mut simulation = Simulation::new();
    simulation.refresh(node_id(0), true);
    simulation.happen(&Happening::Start(3));
    simulation.deliver(false);
    simulation.refresh(node_id(1), true);
    simulation.nodes.get_mut(&node_id(0)).unwrap().leaving = true;
    simulation.restart_domain();
    simulation.refresh(node_id(1), true);
    assert!(
        !simulation.refresh(node_id(0), true).may_leave,
        "it has something that another node can take"
    );
    let mut leaves = || {
        simulation.deliver(false);
        simulation.pass(Duration::from_millis(100));
        simulation.refresh(node_id(1), false);
        simulation.refresh(node_id(0), false).may_leave
    };
    assert!((0..40).any(|_| leaves()), "it may leave");
    assert!(simulation.nodes[&node_id(0)].running.is_empty());
}

#[test]
fn a_node_does_not_leave_before_it_is_known_what_is_desired() {
    let mut domain = domain(false);
    domain.on_node_update(update(1, 1, Some(Vec::new())), BEGIN);
    let mut leaving = update(0, 1, Some(vec![copy(7)]));
    leaving.leaving = true;
    let (reply, _) = domain.on_node_update(leaving, BEGIN);
    assert!(!reply.may_leave, "what it has may be desired");
    let (vertices, ticket) = (vec![vertex()], Ticket(1));
    domain.on_command(Command::Reconcile { vertices, ticket }, BEGIN);
    let mut leaving = update(0, 2, None);
    leaving.leaving = true;
    let (reply, _) = domain.on_node_update(leaving, BEGIN);
    assert!(!reply.may_leave, "it is being moved");
}

#[test]
fn a_node_that_stays_after_all_is_not_drained_any_more() {
    let mut simulation = all_nodes();
    simulation.happen(&Happening::Start(3));
    run(&mut simulation);
    let home = homes(&simulation, 3)[0];
    simulation.nodes.get_mut(&home).unwrap().leaving = true;
    assert!(!simulation.refresh(home, false).may_leave);
    simulation.nodes.get_mut(&home).unwrap().leaving = false;
    simulation.refresh(home, false);
    assert!(simulation.domain.drains.is_empty());
    simulation.settle();
    simulation.check_at_rest();
}

#[test]
fn a_drain_goes_on_after_a_restart_and_when_its_node_comes_back() {
    for restarts_node in [false, true] {
        let mut simulation = Simulation::new();
        simulation.refresh(node_id(0), true);
        simulation.happen(&Happening::Start(3));
        simulation.deliver(false);
        // There is no other node yet.
        simulation.happen(&Happening::Drain(0));
        match restarts_node {
            true => simulation.happen(&Happening::Restart(0)),
            false => simulation.restart_domain(),
        }
        for number in 0..4 {
            simulation.refresh(node_id(number), true);
        }
        let reports = simulation.domain.node_reports();
        assert!(reports[0].closed.as_ref().unwrap().starts_with("drain"));
        run(&mut simulation);
        let home = homes(&simulation, 3);
        assert_eq!(home.len(), 1);
        assert_ne!(home[0], node_id(0), "it has moved");
        let reports = simulation.domain.node_reports();
        assert_eq!(reports[0].closed.as_deref(), Some("drained"));
        simulation.happen(&Happening::Uncordon(0));
        simulation.restart_domain();
        simulation.refresh(node_id(0), true);
        assert!(simulation.domain.drains.is_empty(), "it is over");
    }
}

#[test]
fn a_node_that_is_cordoned_and_stays_after_all_is_not_drained_any_more() {
    let mut simulation = all_nodes();
    simulation.happen(&Happening::Cordon(0));
    let leaves = |simulation: &mut Simulation, leaving: bool| {
        simulation.nodes.get_mut(&node_id(0)).unwrap().leaving = leaving;
        simulation.refresh(node_id(0), false);
    };
    simulation.happen(&Happening::Start(3));
    run(&mut simulation);
    leaves(&mut simulation, true);
    leaves(&mut simulation, false);
    assert!(simulation.domain.drains.is_empty());
}

#[test]
fn instances_move_by_themselves_though_a_node_has_been_drained() {
    let mut settings = settings(0);
    settings.rebalancing.every = Duration::from_secs(1);
    let mut simulation = Simulation::with(settings);
    for number in [0, 3] {
        simulation.refresh(node_id(number), true);
    }
    simulation.happen(&Happening::Drain(3));
    for number in [2, 3] {
        simulation.happen(&Happening::Start(number));
    }
    run(&mut simulation);
    let moved = [2, 3].map(|number| homes(&simulation, number));
    assert_ne!(moved[0], moved[1]);
}

#[test]
fn what_is_on_its_way_stays_after_all_when_every_other_node_is_drained_meanwhile() {
    let mut simulation = all_nodes();
    simulation.happen(&Happening::Start(3));
    run(&mut simulation);
    let before = homes(&simulation, 3);
    // As `node drain A B C D` asks: one after the other, with no time between them.
    let number = |id: NodeId| id.uuid().as_u128() - node_id(0).uuid().as_u128();
    let first = number(before[0]);
    for number in std::iter::once(first).chain((0..4).filter(|it| *it != first)) {
        simulation.happen(&Happening::Drain(number));
    }
    for _ in 0..60 {
        round(&mut simulation);
        assert_eq!(homes(&simulation, 3), before, "it runs all the time");
    }
    let number = (first + 1) % 4;
    simulation.happen(&Happening::Uncordon(number));
    run(&mut simulation);
    assert_eq!(
        homes(&simulation, 3),
        [node_id(number)],
        "it is tried again"
    );
    simulation.settle();
    simulation.check_at_rest();
}
