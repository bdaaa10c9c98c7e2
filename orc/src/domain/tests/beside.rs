//! What brings tasks to a function is placed beside it, and follows it.

use edgeless_types::{
    NodeId, WorkflowId,
    intent::Intent,
    workflow::{ResourceSpec, VertexSpec},
};
use uuid::Uuid;

use super::operations::{all_nodes, homes, run};
use crate::domain::{
    Command, VertexRequest,
    simulation::{Simulation, logical_id, node_id, request},
};

const FUNCTION: u128 = 3;
const SOURCE: u128 = 10;

fn source() -> VertexRequest {
    VertexRequest {
        logical_id: logical_id(SOURCE),
        workflow_id: WorkflowId::new(Uuid::from_u128(300)),
        spec: VertexSpec::Resource(ResourceSpec {
            name: "source".to_owned(),
            class_type: "order-source".to_owned(),
            configurations: Default::default(),
        }),
        outputs: [("task".to_owned(), logical_id(FUNCTION))].into(),
    }
}

fn start(simulation: &mut Simulation, vertices: Vec<VertexRequest>) {
    let ticket = simulation.ticket();
    simulation.command(Command::Start { vertices, ticket });
}

fn home(simulation: &Simulation, number: u128) -> NodeId {
    let homes = homes(simulation, number);
    assert_eq!(homes.len(), 1, "one copy runs");
    homes[0]
}

#[test]
fn what_brings_tasks_to_a_function_is_placed_beside_it_whichever_comes_first() {
    for function_first in [true, false] {
        // Nodes are drawn: by chance, both would be on one of the four.
        for before in 0..4 {
            let mut simulation = all_nodes();
            let others = [0, 1, 2, 5].into_iter().take(before);
            start(&mut simulation, others.map(|it| request(it, 1)).collect());
            let mut parts = [request(FUNCTION, 1), source()];
            if !function_first {
                parts.reverse();
            }
            for part in parts {
                start(&mut simulation, vec![part]);
                run(&mut simulation);
            }
            let [function, source] = [FUNCTION, SOURCE].map(|it| home(&simulation, it));
            assert_eq!(function, source, "function first: {function_first}");
        }
    }
}

#[test]
fn a_source_follows_its_function_to_another_node() {
    let mut simulation = all_nodes();
    start(&mut simulation, vec![request(FUNCTION, 1)]);
    start(&mut simulation, vec![source()]);
    run(&mut simulation);
    let before = home(&simulation, FUNCTION);
    let other = (0..4).map(node_id).find(|it| *it != before).unwrap();
    let taken = simulation.intent(Intent::Migrate {
        logical_id: logical_id(FUNCTION),
        node_id: other,
    });
    assert!(taken);
    run(&mut simulation);
    assert_eq!(home(&simulation, FUNCTION), other);
    assert_eq!(home(&simulation, SOURCE), other);
}

#[test]
fn of_several_copies_only_the_first_is_placed_beside_the_source() {
    let mut simulation = all_nodes();
    start(&mut simulation, vec![request(FUNCTION, 1)]);
    start(&mut simulation, vec![source()]);
    let (logical_id, copies) = (logical_id(FUNCTION), 3);
    simulation.command(Command::Scale { logical_id, copies });
    run(&mut simulation);
    let homes = homes(&simulation, FUNCTION);
    let mut apart = homes.clone();
    apart.sort_unstable();
    apart.dedup();
    assert_eq!((homes.len(), apart.len()), (3, 3), "they are spread");
    assert!(homes.contains(&home(&simulation, SOURCE)));
}
