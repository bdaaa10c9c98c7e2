//! Whoever asks for something is answered.

use super::operations::run;
use crate::domain::simulation::{Happening, Simulation, node_id};

#[test]
fn a_start_is_answered_when_the_copy_it_waits_for_is_not_desired_any_more() {
    let mut simulation = Simulation::new();
    simulation.refresh(node_id(0), true);
    for happening in [
        Happening::Start(3),
        Happening::Scale(3, 2),
        Happening::Deliver,
        Happening::Scale(3, 1),
    ] {
        simulation.happen(&happening);
    }
    run(&mut simulation);
    assert!(simulation.asked.is_empty(), "{:?}", simulation.asked);
}
