//! Copies that are replaced: they are never forgotten, and never more than is desired.

use super::operations::run;
use crate::domain::simulation::{Happening, Simulation, node_id};

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
