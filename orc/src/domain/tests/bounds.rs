//! Other bounds of how many copies there are: no copy is touched for them.

use std::{collections::BTreeSet, time::Duration};

use edgeless_types::{Backlog, PhysicalId, workflow::VertexSpec};

use super::{
    operations::{all_nodes, homes, run},
    scaling::{FUNCTION, handled, start, waiting, with},
};
use crate::domain::{
    Command, Domain, VertexRequest,
    simulation::{Simulation, logical_id, node_id, request, settings},
};

/// The copies that run.
fn copies(simulation: &Simulation) -> BTreeSet<PhysicalId> {
    let nodes = simulation.nodes.values();
    let all = nodes.flat_map(|it| it.running.iter());
    let mine = all.filter(|(_, it)| it.logical_id == logical_id(FUNCTION));
    mine.map(|(physical_id, _)| *physical_id).collect()
}

/// A function with these annotations, then with those.
fn check(
    before: &[(&str, &str)],
    asked: Option<u32>,
    after: &[(&str, &str)],
    expected: usize,
) -> Simulation {
    let mut simulation = all_nodes();
    start(&mut simulation, vec![with(FUNCTION, before)]);
    if let Some(copies) = asked {
        let logical_id = logical_id(FUNCTION);
        simulation.command(Command::Scale { logical_id, copies });
        run(&mut simulation);
    }
    let old = copies(&simulation);
    start(&mut simulation, vec![with(FUNCTION, after)]);
    let new = copies(&simulation);
    assert_eq!(new.len(), expected, "{before:?} {after:?}");
    let kept = old.intersection(&new).count();
    assert_eq!(kept, old.len().min(expected), "{before:?} {after:?}");
    let logical_id = logical_id(FUNCTION);
    let report = simulation.domain.vertex_report(logical_id).unwrap();
    assert!(report.update.is_none(), "there is nothing to update");
    assert_eq!(report.fingerprint, with(FUNCTION, after).spec.fingerprint());
    simulation
}

#[test]
fn copies_stay_and_their_number_follows() {
    let (one, three) = (("min_instances", "1"), ("min_instances", "3"));
    check(&[], None, &[three], 3);
    check(&[three], None, &[], 1);
    check(&[three], None, &[one, ("scale_policy", "fixed")], 1);
    check(
        &[("min_instances", "2")],
        None,
        &[three, ("max_instances", "4")],
        3,
    );
}

#[test]
fn a_number_that_somebody_asked_for_stays_within_the_bounds() {
    check(&[], Some(3), &[("min_instances", "2")], 3);
    check(&[], Some(2), &[("min_instances", "3")], 3);
    check(&[], Some(3), &[("max_instances", "1")], 1);
}

#[test]
fn a_number_that_a_policy_chose_goes_with_the_policy() {
    let mut simulation = all_nodes();
    let scaled = [("min_instances", "1"), ("max_instances", "4")];
    start(&mut simulation, vec![with(FUNCTION, &scaled)]);
    handled(&mut simulation, FUNCTION, Duration::from_millis(200));
    waiting(&mut simulation, FUNCTION, 400);
    assert_eq!(homes(&simulation, FUNCTION).len(), 4);
    start(&mut simulation, vec![request(FUNCTION, 1)]);
    assert_eq!(homes(&simulation, FUNCTION).len(), 1);
}

#[test]
fn a_copy_is_the_same_after_a_restart_with_other_bounds() {
    let two = [("min_instances", "2")];
    let mut simulation = check(&[], None, &two, 2);
    let before = copies(&simulation);
    simulation.domain = Domain::new(settings(77), false);
    let (vertices, ticket) = (vec![with(FUNCTION, &two)], simulation.ticket());
    simulation.command(Command::Reconcile { vertices, ticket });
    run(&mut simulation);
    assert_eq!(copies(&simulation), before);
}

#[test]
fn copies_that_were_to_go_stay_when_more_are_wanted_again() {
    let mut simulation = all_nodes();
    let most = |most: &str| vec![with(FUNCTION, &[("max_instances", most)])];
    start(&mut simulation, most("4"));
    handled(&mut simulation, FUNCTION, Duration::from_millis(200));
    waiting(&mut simulation, FUNCTION, 400);
    let before = copies(&simulation);
    assert_eq!(before.len(), 4);
    // They are busy, and stay for a while.
    for node in simulation.nodes.values_mut() {
        let backlog = node.running.keys().map(|&physical_id| Backlog {
            physical_id,
            queued: 3,
            in_hand: 1,
            oldest: Duration::from_secs(1),
        });
        node.backlog = backlog.collect();
    }
    for number in 0..4 {
        simulation.refresh(node_id(number), false);
    }
    let (vertices, ticket) = (most("2"), simulation.ticket());
    simulation.command(Command::Start { vertices, ticket });
    let both = [("min_instances", "3"), ("max_instances", "4")];
    start(&mut simulation, vec![with(FUNCTION, &both)]);
    let after = copies(&simulation);
    assert!(after.is_subset(&before), "{before:?} {after:?}");
    assert!(after.len() >= 3, "{after:?}");
}

#[test]
fn other_bounds_during_an_update_leave_what_is_updated() {
    let mut simulation = all_nodes();
    start(
        &mut simulation,
        vec![with(FUNCTION, &[("min_instances", "2")])],
    );
    let old = copies(&simulation);
    let (vertices, ticket) = (vec![version_two("2")], simulation.ticket());
    simulation.command(Command::Start { vertices, ticket });
    for number in (0..4).cycle() {
        simulation.refresh(node_id(number), false);
        simulation.deliver_to(node_id(number), false);
        if !copies(&simulation).is_subset(&old) {
            break;
        }
    }
    let updated = &copies(&simulation) - &old;
    assert_eq!(updated.len(), 1, "one after the other");
    start(&mut simulation, vec![version_two("3")]);
    let after = copies(&simulation);
    assert_eq!(after.len(), 3);
    assert!(updated.is_subset(&after));
    assert!(old.is_disjoint(&after));
}

/// Another version, with so many copies.
fn version_two(copies: &str) -> VertexRequest {
    let mut request = with(FUNCTION, &[("min_instances", copies)]);
    if let VertexSpec::Function(function) = &mut request.spec {
        function.version = "2".to_owned();
    }
    request
}
