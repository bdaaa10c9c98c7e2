//! Dry runs say what a start does, and leave nothing behind.

use edgeless_types::{LogicalId, Timestamp, WorkflowId};
use proptest::prelude::*;
use uuid::Uuid;

use crate::{
    domain::{
        Command, StrategyKind, VertexRequest, WouldGo,
        simulation::{Happening, Simulation, happening, node_id, request, settings},
    },
    plan::Ask,
};

const STRATEGIES: [StrategyKind; 6] = [
    StrategyKind::Random,
    StrategyKind::RoundRobin,
    StrategyKind::LeastLoaded,
    StrategyKind::BinPack,
    StrategyKind::Spread,
    StrategyKind::Affine,
];

fn simulation(strategy: StrategyKind) -> Simulation {
    let mut settings = settings(0);
    settings.strategy = strategy;
    Simulation::with(settings)
}

fn joined(strategy: StrategyKind, nodes: u128) -> Simulation {
    let mut simulation = simulation(strategy);
    for number in 0..nodes {
        simulation.refresh(node_id(number), true);
    }
    simulation
}

/// A workflow with vertices that are not desired yet; some are of specifications that others have as well.
fn workflow(numbers: impl IntoIterator<Item = u128>) -> Vec<VertexRequest> {
    let other = |(place, number): (u128, u128)| VertexRequest {
        logical_id: LogicalId::new(Uuid::from_u128(700 + place)),
        workflow_id: WorkflowId::new(Uuid::from_u128(701)),
        outputs: [("out".to_owned(), LogicalId::new(Uuid::from_u128(700)))].into(),
        ..request(number, if place % 2 == 0 { 1 } else { 7 })
    };
    (0..).zip(numbers).map(other).collect()
}

/// All that can be seen of a domain, and what of each node is free.
fn seen(simulation: &Simulation) -> impl PartialEq + std::fmt::Debug + use<> {
    let domain = &simulation.domain;
    let nodes = domain.node_reports();
    let free: Vec<Option<(Ask, Ask)>> = nodes
        .iter()
        .map(|node| domain.fleet.amounts(node.node_id))
        .collect();
    let steps: Vec<_> = (0..4)
        .map(|number| simulation.starts_under_way(node_id(number)))
        .collect();
    let snapshot = domain.snapshot(Timestamp::EPOCH);
    (snapshot, domain.numbers(), nodes, free, steps)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_tried_between_what_happens_everything_happens_as_without(
        happenings in prop::collection::vec(happening(), 1..80),
        numbers in prop::collection::vec(0_u128..6, 1..6),
        strategy in prop::sample::select(&STRATEGIES[..]),
    ) {
        let (mut tried, mut untried) = (simulation(strategy), simulation(strategy));
        for happening in happenings {
            let vertices = workflow(numbers.iter().copied());
            let first = tried.domain.dry_run(vertices.clone(), Timestamp::EPOCH);
            let again = tried.domain.dry_run(vertices, Timestamp::EPOCH);
            prop_assert_eq!(first, again);
            tried.happen(&happening);
            untried.happen(&happening);
            prop_assert_eq!(seen(&tried), seen(&untried));
        }
    }

    #[test]
    fn a_start_goes_where_the_dry_run_said(
        numbers in prop::collection::vec(0_u128..6, 1..8),
        strategy in prop::sample::select(&STRATEGIES[..]),
    ) {
        let mut simulation = joined(strategy, 4);
        let vertices = workflow(numbers.iter().copied().filter(|number| *number != 5));
        let would = simulation.domain.dry_run(vertices.clone(), Timestamp::EPOCH);
        let ticket = simulation.ticket();
        simulation.command(Command::Start { vertices: vertices.clone(), ticket });
        for (vertex, would) in vertices.iter().zip(would) {
            let key = simulation.domain.model.key_of(vertex.logical_id).unwrap();
            let replicas = simulation.domain.model.vertex(key).replicas.iter();
            let went = replicas.filter_map(|&it| simulation.domain.model.replica(it).instance);
            let went: Vec<_> = went.map(|it| it.node_id).collect();
            prop_assert_eq!(went, would.nodes);
        }
    }
}

#[test]
fn what_the_first_asks_for_is_not_there_for_the_next() {
    let mut simulation = joined(StrategyKind::RoundRobin, 1);
    let would = simulation
        .domain
        .dry_run(workflow([3, 3, 3]), Timestamp::EPOCH);
    let here = WouldGo {
        nodes: vec![node_id(0)],
        excluded: vec![],
    };
    let nowhere = WouldGo {
        nodes: vec![],
        excluded: vec!["cpu_millis: 1 of 1 nodes".to_owned()],
    };
    assert_eq!(would, [here.clone(), here, nowhere]);
}

#[test]
fn a_higher_priority_would_make_room_and_only_as_long_as_there_is_somebody_to_leave() {
    let mut simulation = joined(StrategyKind::RoundRobin, 1);
    simulation.happen(&Happening::Start(3));
    simulation.happen(&Happening::Scale(3, 2));
    let would = simulation
        .domain
        .dry_run(workflow([5, 5, 5]), Timestamp::EPOCH);
    let found: Vec<usize> = would.iter().map(|goes| goes.nodes.len()).collect();
    assert_eq!(found, [1, 1, 0], "{would:?}");
}

#[test]
fn without_nodes_the_answer_says_so() {
    let mut simulation = joined(StrategyKind::RoundRobin, 0);
    let would = simulation.domain.dry_run(workflow([3]), Timestamp::EPOCH);
    assert_eq!(would[0].excluded, ["no node is registered"]);
}
