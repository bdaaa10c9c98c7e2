//! A restart of ε-ORC while functions run: what they have saved is told again, and goes on to their successors.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;

use super::{
    asleep::save,
    operations::{all_nodes, homes, run},
    scaling::{FUNCTION, start, with},
};
use crate::domain::{
    Command, Domain, Effect, Step, VertexRequest,
    simulation::{Simulation, logical_id, settings},
};

/// The function runs, and has saved something that ε-ORC knows.
fn saved() -> Simulation {
    let mut simulation = all_nodes();
    start(&mut simulation, vec![with(FUNCTION, &[])]);
    save(&mut simulation);
    run(&mut simulation);
    simulation
}

/// ε-ORC dies and returns; `journal`: what is desired is known before nodes tell what they run.
fn begin_again(simulation: &mut Simulation, vertices: Vec<VertexRequest>, journal: bool) {
    simulation.domain = Domain::new(settings(77), false);
    simulation.effects.clear();
    if !journal {
        run(simulation);
    }
    let ticket = simulation.ticket();
    simulation.command(Command::Reconcile { vertices, ticket });
    run(simulation);
}

/// What copies of the function began with, in the order of their starts.
fn births(simulation: &Simulation) -> Vec<Option<Bytes>> {
    let starts = simulation.effects.iter().filter_map(|effect| match effect {
        Effect::Step {
            step: Step::Start {
                instance, state, ..
            },
            ..
        } => (instance.logical_id == logical_id(FUNCTION)).then(|| state.clone()),
        _ => None,
    });
    starts.collect()
}

#[test]
fn what_a_copy_saved_before_a_restart_goes_on_when_its_node_is_lost_after_it() {
    let mine = Bytes::from(logical_id(FUNCTION).to_string());
    for journal in [true, false] {
        let mut simulation = saved();
        begin_again(&mut simulation, vec![with(FUNCTION, &[])], journal);
        assert_eq!(births(&simulation), [], "it runs");
        let lost = BTreeSet::from_iter(homes(&simulation, FUNCTION));
        let others = simulation.nodes.keys().filter(|it| !lost.contains(it));
        let others = Vec::from_iter(others.copied());
        for _ in 0..100 {
            for &id in &others {
                simulation.refresh(id, false);
                simulation.deliver_to(id, false);
            }
            simulation.pass(Duration::from_millis(50));
        }
        assert_eq!(births(&simulation), [Some(mine.clone())], "{journal}");
    }
}

#[test]
fn another_version_that_comes_with_a_restart_begins_with_what_the_old_one_saved() {
    let mine = Bytes::from(logical_id(FUNCTION).to_string());
    for journal in [true, false] {
        let mut simulation = saved();
        let newer = with(FUNCTION, &[("init-payload", "2")]);
        begin_again(&mut simulation, vec![newer], journal);
        assert_eq!(births(&simulation), [Some(mine.clone())], "{journal}");
    }
}
