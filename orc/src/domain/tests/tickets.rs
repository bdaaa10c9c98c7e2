//! Whoever asks for something is answered.

use super::{operations::run, states::annotate};
use crate::domain::{
    Command, Effect, StartOutcome,
    simulation::{Happening, Simulation, node_id, request},
};

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

#[test]
fn an_update_comes_to_an_end_though_one_of_the_copies_finds_no_room() {
    let mut simulation = Simulation::new();
    for number in 0..4 {
        simulation.refresh(node_id(number), true);
    }
    for number in [1, 2, 3] {
        simulation.happen(&Happening::Start(number));
        simulation.happen(&Happening::Scale(number, 3));
    }
    run(&mut simulation);
    // Three times three are one too many, and the first comes last.
    simulation.happen(&Happening::Scale(1, 4));
    simulation.happen(&Happening::Update(1, 2));
    simulation.settle();
    simulation.check_at_rest();
    assert!(simulation.asked.is_empty(), "{:?}", simulation.asked);
}

#[test]
fn a_vertex_that_a_request_names_twice_has_one_outcome() {
    let mut simulation = Simulation::new();
    simulation.refresh(node_id(0), true);
    let ticket = simulation.ticket();
    let vertices = vec![request(3, 1), request(2, 1), request(3, 1)];
    simulation.command(Command::Start { vertices, ticket });
    run(&mut simulation);
    let answers = answers(&simulation);
    assert_eq!(answers.len(), 1);
    let is_running = |it: &StartOutcome| matches!(it, StartOutcome::Running(_, None));
    assert!(answers[0].iter().all(is_running), "{answers:?}");
    assert_eq!(answers[0][0], answers[0][2]);
}

#[test]
fn the_outcome_of_a_start_says_why_not_all_copies_run() {
    let mut simulation = Simulation::new();
    simulation.refresh(node_id(0), true);
    let mut large = request(3, 1);
    annotate(&mut large.spec, "min_instances", "9");
    let (vertices, ticket) = (vec![large], simulation.ticket());
    simulation.command(Command::Start { vertices, ticket });
    run(&mut simulation);
    let answers = answers(&simulation);
    let [StartOutcome::Running(running, Some(reason))] = &answers[0][..] else {
        panic!("{answers:?}");
    };
    assert_eq!(running.len(), 8, "every place is taken");
    assert!(reason.starts_with("no "), "{reason}");
}

/// What came of all that was asked.
fn answers(simulation: &Simulation) -> Vec<Vec<StartOutcome>> {
    let answers = simulation.effects.iter().filter_map(|effect| match effect {
        Effect::Answer { outcomes, .. } => Some(outcomes.clone()),
        _ => None,
    });
    answers.collect()
}
