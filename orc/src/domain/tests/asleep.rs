//! Functions without copies: what wakes them, and what they have saved, also through a restart of ε-ORC.

use std::time::Duration;

use bytes::Bytes;

use super::{
    operations::{all_nodes, homes, run},
    scaling::{FUNCTION, handled, minutes, start, with},
};
use crate::domain::{
    Command, Domain, Effect, Step,
    simulation::{Simulation, logical_id, settings},
};

/// A function that sleeps, and who sends to it.
pub(super) fn sleeper() -> Simulation {
    let mut simulation = all_nodes();
    start(
        &mut simulation,
        vec![with(FUNCTION - 1, &[]), with(FUNCTION, &SLEEPY)],
    );
    simulation
}

pub(super) const SLEEPY: [(&str, &str); 3] = [
    ("min_instances", "0"),
    ("max_instances", "1"),
    ("idle_after", "1s"),
];

/// Ten messages wait for it until it runs.
fn wake(simulation: &mut Simulation) {
    wake_one(simulation, FUNCTION - 1, FUNCTION);
}

/// Ten messages of another function wait for one until it runs.
fn wake_one(simulation: &mut Simulation, sender: u128, number: u128) {
    wake_for(simulation, sender, number, 10);
}

/// So many messages of another function wait for one until it runs.
fn wake_for(simulation: &mut Simulation, sender: u128, number: u128, waiting: u64) {
    let sender = logical_id(sender);
    for node in simulation.nodes.values_mut() {
        let senders = node.running.values().filter(|it| it.logical_id == sender);
        let demand = senders.map(|it| edgeless_types::Demand {
            physical_id: it.physical_id,
            channel: "out".to_owned(),
            waiting,
        });
        node.demand = demand.collect();
    }
    while homes(simulation, number).is_empty() {
        super::operations::round(simulation);
    }
    for node in simulation.nodes.values_mut() {
        node.demand.clear();
    }
}

#[test]
fn a_message_that_wakes_a_function_counts_once_as_an_arrival() {
    let mut simulation = sleeper();
    minutes(&mut simulation, 1);
    assert_eq!(homes(&simulation, FUNCTION).len(), 0);
    wake(&mut simulation);
    // The ten that are said to have been handled are those that waited.
    handled(&mut simulation, FUNCTION, Duration::from_millis(1));
    let key = simulation
        .domain
        .model
        .key_of(logical_id(FUNCTION))
        .unwrap();
    let scaled = &simulation.domain.scaled[&key];
    assert_eq!(scaled.arrivals(), 10);
}

#[test]
fn what_a_function_has_saved_is_there_when_it_comes_back_from_zero() {
    let mut simulation = sleeper();
    wake(&mut simulation);
    save(&mut simulation);
    minutes(&mut simulation, 1);
    assert_eq!(homes(&simulation, FUNCTION).len(), 0);
    simulation.effects.clear();
    wake(&mut simulation);
    let mine = Bytes::from(logical_id(FUNCTION).to_string());
    assert_eq!(states(&mut simulation), [Some(mine)]);
}

/// The states that starts of the function took along since the last time.
fn states(simulation: &mut Simulation) -> Vec<Option<Bytes>> {
    let effects = std::mem::take(&mut simulation.effects);
    let state = |effect: Effect| match effect {
        Effect::Step {
            step: Step::Start {
                instance, state, ..
            },
            ..
        } if instance.logical_id == logical_id(FUNCTION) => Some(state),
        _ => None,
    };
    effects.into_iter().filter_map(state).collect()
}

/// Each copy of the function saves something.
pub(super) fn save(simulation: &mut Simulation) {
    for node in simulation.nodes.values_mut() {
        let copies = node.running.values();
        let copies = copies.filter(|it| it.logical_id == logical_id(FUNCTION));
        for physical_id in Vec::from_iter(copies.map(|it| it.physical_id)) {
            node.save_of(physical_id);
        }
    }
}

/// ε-ORC dies and returns, and its journal tells it what it kept.
fn begin_again(simulation: &mut Simulation) {
    simulation.domain = Domain::new(settings(77), false);
    simulation.effects.clear();
    let asleep = simulation.asleep.clone();
    simulation.command(Command::Asleep(asleep));
    let vertices = vec![with(FUNCTION - 1, &[]), with(FUNCTION, &SLEEPY)];
    let ticket = simulation.ticket();
    simulation.command(Command::Reconcile { vertices, ticket });
    run(simulation);
}

#[test]
fn a_function_sleeps_on_through_a_restart_and_has_its_state_when_it_wakes() {
    let mut simulation = sleeper();
    wake(&mut simulation);
    save(&mut simulation);
    minutes(&mut simulation, 1);
    begin_again(&mut simulation);
    minutes(&mut simulation, 1);
    assert_eq!(states(&mut simulation), [], "nobody wants it");
    begin_again(&mut simulation);
    wake(&mut simulation);
    let mine = Bytes::from(logical_id(FUNCTION).to_string());
    assert_eq!(states(&mut simulation), [Some(mine)]);
    assert!(simulation.asleep.is_empty(), "it runs");
    begin_again(&mut simulation);
    assert_eq!(states(&mut simulation), [], "the one that runs is found");
}

#[test]
fn a_function_that_ran_again_before_that_was_kept_is_not_asleep_after_a_restart() {
    let mut simulation = sleeper();
    wake(&mut simulation);
    save(&mut simulation);
    minutes(&mut simulation, 1);
    let asleep = simulation.asleep.clone();
    assert_eq!(asleep.len(), 1);
    wake(&mut simulation);
    simulation.asleep = asleep;
    begin_again(&mut simulation);
    assert_eq!(states(&mut simulation), [], "the one that runs is found");
    minutes(&mut simulation, 1);
    assert_eq!(simulation.asleep.len(), 1, "it has gone since");
}

/// What a function that sleeps sends to, and what it could send to and does not.
const AFTER: u128 = FUNCTION + 1;
const ASIDE: u128 = FUNCTION + 2;

/// Long enough for a start, and shorter than a copy is kept.
fn run_briefly(simulation: &mut Simulation) {
    for _ in 0..4 {
        super::operations::round(simulation);
    }
}

#[test]
fn functions_that_sleep_one_after_the_other_wake_together_if_they_worked_together() {
    let mut simulation = all_nodes();
    let mut function = with(FUNCTION, &SLEEPY);
    let aside = ("aside".to_owned(), logical_id(ASIDE));
    function.outputs.extend([aside]);
    let all = [
        with(FUNCTION - 1, &[]),
        function,
        with(AFTER, &SLEEPY),
        with(ASIDE, &SLEEPY),
    ];
    start(&mut simulation, all.into());
    minutes(&mut simulation, 1);
    let awake =
        |simulation: &Simulation| [FUNCTION, AFTER, ASIDE].map(|it| homes(simulation, it).len());
    assert_eq!(awake(&simulation), [0, 0, 0]);
    wake(&mut simulation);
    run_briefly(&mut simulation);
    assert_eq!(awake(&simulation), [1, 0, 0], "nothing is known of them");
    wake_one(&mut simulation, FUNCTION, AFTER);
    handled(&mut simulation, AFTER, Duration::from_millis(1));
    minutes(&mut simulation, 1);
    assert_eq!(awake(&simulation), [0, 0, 0]);
    wake(&mut simulation);
    run_briefly(&mut simulation);
    assert_eq!(awake(&simulation), [1, 1, 0]);
    minutes(&mut simulation, 2);
    assert_eq!(awake(&simulation), [0, 0, 0], "it was for nothing");
}

#[test]
fn another_version_of_a_function_that_sleeps_starts_nothing() {
    let mut simulation = sleeper();
    minutes(&mut simulation, 1);
    simulation.effects.clear();
    let newer = [&SLEEPY[..], &[("init-payload", "2")]].concat();
    start(&mut simulation, vec![with(FUNCTION, &newer)]);
    assert_eq!(states(&mut simulation), []);
}

#[test]
fn what_comes_while_the_last_copy_goes_keeps_it_with_its_state() {
    for most in ["1", "4"] {
        let mut simulation = all_nodes();
        let function = [&SLEEPY[..], &[("max_instances", most)]].concat();
        start(
            &mut simulation,
            vec![with(FUNCTION - 1, &[]), with(FUNCTION, &function)],
        );
        minutes(&mut simulation, 1);
        // Whenever it comes.
        for rounds in 0..60 {
            wake_for(&mut simulation, FUNCTION - 1, FUNCTION, 1);
            save(&mut simulation);
            simulation.effects.clear();
            for _ in 0..rounds {
                super::operations::round(&mut simulation);
            }
            wake_for(&mut simulation, FUNCTION - 1, FUNCTION, 1);
            let mine = Bytes::from(logical_id(FUNCTION).to_string());
            for state in states(&mut simulation) {
                assert_eq!(state, Some(mine.clone()), "after {rounds} rounds");
            }
            assert_eq!(homes(&simulation, FUNCTION).len(), 1);
        }
    }
}

#[test]
fn who_was_woken_for_what_does_not_come_is_woken_once() {
    let mut simulation = all_nodes();
    let all = [
        with(FUNCTION - 1, &[]),
        with(FUNCTION, &SLEEPY),
        with(AFTER, &SLEEPY),
    ];
    start(&mut simulation, all.into());
    wake(&mut simulation);
    wake_one(&mut simulation, FUNCTION, AFTER);
    handled(&mut simulation, AFTER, Duration::from_millis(1));
    minutes(&mut simulation, 1);
    simulation.effects.clear();
    wake(&mut simulation);
    minutes(&mut simulation, 1);
    let started = |it: &&Effect| match it {
        Effect::Step {
            step: Step::Start { instance, .. },
            ..
        } => instance.logical_id == logical_id(AFTER),
        _ => false,
    };
    assert_eq!(simulation.effects.iter().filter(started).count(), 1);
}

#[test]
fn a_function_is_not_put_to_sleep_before_it_has_run_once() {
    let mut simulation = all_nodes();
    let ticket = simulation.ticket();
    let vertices = vec![with(FUNCTION, &SLEEPY)];
    simulation.command(Command::Start { vertices, ticket });
    let key = simulation.domain.model.key_of(logical_id(FUNCTION));
    let key = key.unwrap();
    for _ in 0..30 {
        // No node has begun with it, and it is idle for longer than it may be.
        simulation.pass(Duration::from_millis(100));
        assert_eq!(simulation.domain.copies_of(key), 1);
    }
    assert_eq!(simulation.domain.scaled[&key].last_decision(), None);
    run(&mut simulation);
    minutes(&mut simulation, 1);
    assert_eq!(homes(&simulation, FUNCTION).len(), 0);
    let decision = simulation.domain.scaled[&key].last_decision();
    assert_eq!(decision.map(|it| (it.before, it.copies)), Some((1, 0)));
}
