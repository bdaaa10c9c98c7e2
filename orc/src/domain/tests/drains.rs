//! Draining: it comes to an end, and nothing is left behind.

use super::operations::{all_nodes, round, run};
use crate::domain::simulation::{Happening, Simulation, node_id};

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
