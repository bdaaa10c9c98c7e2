//! Priorities, spreading, draining, updates, flapping nodes.

use std::{collections::BTreeSet, time::Duration};

use edgeless_types::{NodeId, workflow::VertexSpec};

use crate::domain::{
    Command, Flapping,
    simulation::{Happening, Simulation, logical_id, node_id, request, settings},
};

const NODES: std::ops::Range<u128> = 0..4;

pub(super) fn all_nodes() -> Simulation {
    joined(Simulation::new())
}

fn joined(mut simulation: Simulation) -> Simulation {
    for number in NODES {
        simulation.refresh(node_id(number), true);
    }
    simulation
}

/// The nodes on which copies of a vertex run.
pub(super) fn homes(simulation: &Simulation, number: u128) -> Vec<NodeId> {
    let lid = logical_id(number);
    let nodes = simulation.nodes.iter();
    let of_node = nodes.flat_map(|(&id, node)| node.running.values().map(move |it| (id, it)));
    let mine = of_node.filter(|(_, it)| it.logical_id == lid);
    mine.map(|(id, _)| id).collect()
}

/// A little time in which all nodes refresh and do their steps.
pub(super) fn round(simulation: &mut Simulation) {
    for number in NODES {
        simulation.refresh(node_id(number), false);
    }
    simulation.deliver(false);
    simulation.pass(Duration::from_millis(50));
}

pub(super) fn run(simulation: &mut Simulation) {
    for _ in 0..60 {
        round(simulation);
    }
}

#[test]
fn copies_are_spread_over_the_values_of_a_label() {
    let mut simulation = all_nodes();
    simulation.happen(&Happening::Start(4));
    run(&mut simulation);
    let zones: BTreeSet<u128> = homes(&simulation, 4)
        .iter()
        .map(|id| id.uuid().as_u128() % 2)
        .collect();
    assert_eq!(zones.len(), 2);
}

#[test]
fn what_is_preferred_is_had_where_there_is_room_and_no_requirement_elsewhere() {
    let mut simulation = all_nodes();
    for number in [0, 1, 2] {
        simulation.happen(&Happening::Start(number));
        run(&mut simulation);
    }
    let [first, near, far] = [0, 1, 2].map(|number| homes(&simulation, number));
    assert_eq!(first[0].uuid().as_u128() % 2, 0, "label_prefer");
    assert_eq!(first, near, "affinity_with");
    assert_ne!(first, far, "anti_affinity_with");
}

#[test]
fn a_higher_priority_takes_the_place_of_a_lower_one_and_no_more_than_that() {
    let mut simulation = all_nodes();
    for number in [1, 2, 3] {
        simulation.happen(&Happening::Start(number));
        simulation.happen(&Happening::Scale(number, 3));
    }
    run(&mut simulation);
    let before = [1, 2, 3].map(|number| homes(&simulation, number).len());
    assert_eq!(before.iter().sum::<usize>(), 8, "every place is taken");
    simulation.happen(&Happening::Start(5));
    run(&mut simulation);
    assert_eq!(homes(&simulation, 5).len(), 1);
    let after = [1, 2, 3].map(|number| homes(&simulation, number).len());
    assert_eq!(after[0], before[0] - 1, "the lowest made room");
    assert_eq!(after[1..], before[1..]);
    simulation.settle();
    simulation.check_at_rest();
}

#[test]
fn a_drained_node_is_empty_in_the_end_and_several_copies_never_all_move_at_once() {
    let mut simulation = all_nodes();
    simulation.happen(&Happening::Start(3));
    simulation.happen(&Happening::Start(4));
    run(&mut simulation);
    let drained = homes(&simulation, 4)[0];
    let number = drained.uuid().as_u128() - node_id(0).uuid().as_u128();
    simulation.happen(&Happening::Drain(number));
    for _ in 0..60 {
        round(&mut simulation);
        assert!(
            homes(&simulation, 4).len() >= 2,
            "`min_instances` run all the time"
        );
    }
    assert!(simulation.nodes[&drained].running.is_empty());
    assert_eq!(homes(&simulation, 3).len(), 1);
    simulation.settle();
    simulation.check_at_rest();
}

#[test]
fn a_new_version_runs_before_the_old_one_goes() {
    let mut simulation = all_nodes();
    simulation.happen(&Happening::Start(3));
    run(&mut simulation);
    simulation.happen(&Happening::Update(3, 2));
    for _ in 0..60 {
        round(&mut simulation);
        assert!(
            !homes(&simulation, 3).is_empty(),
            "one of them runs all the time"
        );
    }
    simulation.settle();
    simulation.check_at_rest();
}

#[test]
fn a_version_that_fails_is_taken_back_and_the_reason_is_told() {
    let mut simulation = all_nodes();
    simulation.happen(&Happening::Start(3));
    run(&mut simulation);
    let before = homes(&simulation, 3);
    simulation.happen(&Happening::Update(3, 9));
    for _ in 0..60 {
        round(&mut simulation);
        assert_eq!(homes(&simulation, 3), before, "the old one is not touched");
    }
    assert_eq!(simulation.refused.len(), 1);
    assert!(
        simulation.refused[0].contains("a bad version"),
        "{:?}",
        simulation.refused
    );
    simulation.settle();
    simulation.check_at_rest();
}

/// How many copies are updated, why it cannot go on, why it was given up.
fn progress(
    simulation: &Simulation,
    number: u128,
) -> Option<(u32, Option<String>, Option<String>)> {
    let report = simulation.domain.vertex_report(logical_id(number)).unwrap();
    let update = report.update;
    update.map(|it| (it.updated, it.waiting, it.given_up))
}

#[test]
fn whoever_looks_sees_how_far_an_update_is_and_why_it_was_given_up() {
    let mut simulation = all_nodes();
    simulation.happen(&Happening::Start(4));
    run(&mut simulation);
    let fingerprint = |simulation: &Simulation| {
        let report = simulation.domain.vertex_report(logical_id(4)).unwrap();
        report.fingerprint
    };
    assert_eq!(progress(&simulation, 4), None);
    simulation.happen(&Happening::Update(4, 2));
    assert_eq!(fingerprint(&simulation), request(4, 2).spec.fingerprint());
    let mut seen = BTreeSet::from([progress(&simulation, 4)]);
    for _ in 0..60 {
        for number in NODES {
            simulation.deliver_to(node_id(number), false);
            seen.insert(progress(&simulation, 4));
        }
        round(&mut simulation);
    }
    let expected = [None, Some((0, None, None)), Some((1, None, None))];
    assert_eq!(seen, BTreeSet::from(expected));

    let (vertices, ticket) = (vec![request(4, 9)], simulation.ticket());
    simulation.command(Command::Start { vertices, ticket });
    run(&mut simulation);
    assert_eq!(fingerprint(&simulation), request(4, 2).spec.fingerprint());
    let (_, _, given_up) = progress(&simulation, 4).unwrap();
    assert!(given_up.unwrap().contains("a bad version"));
    // Said again what it is, nothing is to be told any more.
    let (vertices, ticket) = (vec![request(4, 2)], simulation.ticket());
    simulation.command(Command::Start { vertices, ticket });
    assert_eq!(progress(&simulation, 4), None);
}

#[test]
fn an_update_that_helps_what_found_no_node_is_not_told_why_it_waited() {
    let mut simulation = all_nodes();
    let somewhere = |zone: Option<&str>| {
        let mut request = request(3, 1);
        if let (VertexSpec::Function(function), Some(zone)) = (&mut request.spec, zone) {
            let annotations = &mut function.annotations;
            annotations.insert("label_match_all".to_owned(), zone.to_owned());
        }
        request
    };
    for zone in [Some("zone=nowhere"), None] {
        let (vertices, ticket) = (vec![somewhere(zone)], simulation.ticket());
        let told = simulation.refused.len();
        simulation.command(Command::Start { vertices, ticket });
        if zone.is_none() {
            let reports = simulation.domain.vertex_report(logical_id(3)).unwrap();
            let update = reports.update.and_then(|it| it.waiting);
            assert_eq!(update, None, "it is not known yet");
        }
        run(&mut simulation);
        assert_eq!(simulation.refused.len(), told);
    }
    assert_eq!(homes(&simulation, 3).len(), 1);
}

#[test]
fn an_update_that_finds_no_room_says_so_until_it_goes_on() {
    let mut simulation = Simulation::new();
    simulation.refresh(node_id(0), true);
    simulation.happen(&Happening::Start(3));
    simulation.deliver(false);
    let mut large = request(3, 2);
    if let VertexSpec::Function(function) = &mut large.spec {
        let annotation = ("label_match_all".to_owned(), "zone=1".to_owned());
        function.annotations.extend([annotation]);
    }
    let (vertices, ticket) = (vec![large], simulation.ticket());
    simulation.command(Command::Start { vertices, ticket });
    let (updated, waiting, given_up) = progress(&simulation, 3).unwrap();
    assert_eq!((updated, given_up), (0, None));
    assert!(waiting.unwrap().contains("label_match_all"));
    simulation.refresh(node_id(1), true);
    run(&mut simulation);
    assert_eq!(progress(&simulation, 3), None, "it has finished");
}

/// A node that has come and gone too often.
fn flapping_node() -> Simulation {
    let mut settings = settings(0);
    settings.flapping = Flapping {
        times: 3,
        within: Duration::from_secs(60),
        rest: Duration::from_secs(20),
    };
    let mut simulation = Simulation::with(settings);
    for _ in 0..3 {
        simulation.refresh(node_id(0), true);
        simulation.pass(Duration::from_secs(2));
    }
    simulation.refresh(node_id(0), true);
    simulation
}

fn closed(simulation: &Simulation) -> Option<String> {
    simulation.domain.node_reports()[0].closed.clone()
}

#[test]
fn a_node_that_flaps_says_how_long_it_rests_and_can_be_freed_by_hand() {
    let mut simulation = flapping_node();
    let rests = "came and went too often, rests for another 20 s";
    assert_eq!(closed(&simulation).as_deref(), Some(rests));
    simulation.happen(&Happening::Uncordon(0));
    assert_eq!(closed(&simulation), None);
    assert_eq!(simulation.domain.numbers().flapping, 0);
    // Its absences are forgotten: one more is not too many.
    simulation.pass(Duration::from_secs(2));
    simulation.refresh(node_id(0), true);
    assert_eq!(closed(&simulation), None);
    simulation.happen(&Happening::Start(3));
    simulation.deliver(false);
    assert_eq!(homes(&simulation, 3), [node_id(0)]);
}

#[test]
fn a_node_that_comes_and_goes_gets_nothing_new_until_it_has_rested() {
    let mut simulation = flapping_node();
    simulation.happen(&Happening::Start(3));
    let mut rested = 0;
    while homes(&simulation, 3).is_empty() {
        simulation.refresh(node_id(0), false);
        simulation.deliver(false);
        simulation.pass(Duration::from_millis(500));
        rested += 1;
        assert!(rested < 100, "it has rested");
    }
    assert!(rested >= 39, "{rested} half seconds");
}

#[test]
fn of_what_was_lost_the_highest_priority_starts_first_and_nobody_is_crushed() {
    let mut simulation = all_nodes();
    for number in NODES.skip(1) {
        simulation.happen(&Happening::Cordon(number));
    }
    // Both places of the first node, then the node is gone.
    for number in [1, 5] {
        simulation.happen(&Happening::Start(number));
    }
    run(&mut simulation);
    assert_eq!(simulation.nodes[&node_id(0)].running.len(), 2);
    for number in NODES.skip(2) {
        simulation
            .nodes
            .get_mut(&node_id(number))
            .unwrap()
            .unwilling = true;
    }
    simulation.happen(&Happening::Uncordon(1));
    simulation
        .nodes
        .get_mut(&node_id(0))
        .unwrap()
        .running
        .clear();
    for _ in 0..4 {
        for number in NODES.skip(1) {
            simulation.refresh(node_id(number), false);
        }
        simulation.pass(Duration::from_millis(400));
    }
    let steps = simulation.starts_under_way(node_id(1));
    assert_eq!(steps, [logical_id(5)], "one at a time, the highest first");
}

#[test]
fn instances_move_to_nodes_that_are_emptier_until_it_does_not_pay_any_more() {
    let mut simulation = Simulation::new();
    simulation.refresh(node_id(0), true);
    for number in [2, 3] {
        simulation.happen(&Happening::Start(number));
    }
    for _ in 0..10 {
        simulation.deliver(false);
    }
    assert_eq!(simulation.nodes[&node_id(0)].running.len(), 2);
    let mut simulation = joined(simulation);
    simulation.happen(&Happening::Rebalance);
    run(&mut simulation);
    let moved = [2, 3].map(|number| homes(&simulation, number)[0]);
    assert_ne!(moved[0], moved[1]);
    simulation.happen(&Happening::Rebalance);
    run(&mut simulation);
    assert_eq!(
        [2, 3].map(|number| homes(&simulation, number)[0]),
        moved,
        "no further"
    );
}

/// Vertex 3 is started with so many copies at least, or updated to them.
fn start_copies(simulation: &mut Simulation, version: u8, least: &str) {
    let mut request = request(3, version);
    if let VertexSpec::Function(function) = &mut request.spec {
        let annotations = &mut function.annotations;
        annotations.insert("min_instances".to_owned(), least.to_owned());
    }
    let (vertices, ticket) = (vec![request], simulation.ticket());
    simulation.command(Command::Start { vertices, ticket });
    run(simulation);
}

#[test]
fn an_update_to_fewer_copies_leaves_no_more_of_them_unless_somebody_asked_for_more() {
    let mut simulation = all_nodes();
    start_copies(&mut simulation, 1, "3");
    assert_eq!(homes(&simulation, 3).len(), 3);
    start_copies(&mut simulation, 1, "2");
    assert_eq!(homes(&simulation, 3).len(), 2);
    start_copies(&mut simulation, 9, "1");
    assert_eq!(
        homes(&simulation, 3).len(),
        2,
        "a bad version changes nothing"
    );
    start_copies(&mut simulation, 2, "1");
    assert_eq!(homes(&simulation, 3).len(), 1);

    let (logical_id, copies) = (logical_id(3), 3);
    simulation.command(Command::Scale { logical_id, copies });
    run(&mut simulation);
    start_copies(&mut simulation, 3, "2");
    assert_eq!(homes(&simulation, 3).len(), 3);
}
