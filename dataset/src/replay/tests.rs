//! Policies over simulated time: calm, never stopping work, cold chains.

use std::time::Duration;

use edgeless_orc::scale::{Policy, Settings};
use proptest::prelude::*;

use super::*;
use crate::synth::{Arrival, Contract, Function, Handled, Pattern, synth};

fn setup(policy: Policy, start: f64, seed: u64) -> Setup {
    let start_time = Duration::from_secs_f64(start);
    Setup {
        settings: Settings {
            policy,
            start_time,
            ..Settings::default()
        },
        start_time,
        capacity: 1_000,
        seed,
    }
}

/// One order at each moment, through a chain of functions that take half a second each.
fn trace(times: impl IntoIterator<Item = f64>, chain: usize, lasts: f64) -> Trace {
    let function = |place: usize| Function {
        name: format!("f{place}"),
        service: 0.5,
        variation: 0.0,
    };
    let arrivals = times.into_iter().map(|at| Arrival { at, contract: 0 });
    Trace {
        functions: (0..chain).map(function).collect(),
        contracts: vec![Contract {
            name: "c".to_owned(),
            chain: (0..chain).collect(),
        }],
        arrivals: arrivals.collect(),
        lasts,
        handled: Handled::default(),
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let trace = synth(Pattern::OnOff, 1, 0.5);
    let once = || run(&trace, setup(Policy::Predictive, 2.0, 7));
    assert_eq!(once(), once());
}

#[test]
fn copies_that_are_ready_at_once_are_no_matter() {
    for policy in Policy::ALL {
        for pattern in Pattern::ALL {
            let trace = synth(pattern, 1, 0.2);
            let outcome = run(&trace, setup(policy, 0.0, 1));
            assert_eq!(outcome.waits.len(), trace.arrivals.len());
            assert!(outcome.waits.iter().all(|it| *it >= 0.0));
        }
    }
}

#[test]
fn all_orders_are_done_under_every_policy_and_no_copy_with_work_is_stopped() {
    for policy in Policy::ALL {
        for pattern in Pattern::ALL {
            let trace = synth(pattern, 2, 0.3);
            // The simulator itself asserts that work is never stopped.
            let outcome = run(&trace, setup(policy, 0.5, 2));
            assert_eq!(outcome.waits.len(), trace.arrivals.len());
            assert!(outcome.instance_seconds >= outcome.work);
        }
    }
}

#[test]
fn constant_load_settles() {
    for (policy, rate) in [
        (Policy::Predictive, 8.0),
        (Policy::Predictive, 1.0),
        (Policy::Queue, 8.0),
    ] {
        let times = (0..4_800)
            .map(|number| f64::from(number) / rate)
            .take_while(|at| *at < 600.0);
        let all: Vec<f64> = times.collect();
        let early: Vec<f64> = all.iter().copied().take_while(|at| *at < 150.0).collect();
        let long = run(&trace(all, 1, 600.0), setup(policy, 2.0, 1));
        let short = run(&trace(early, 1, 150.0), setup(policy, 2.0, 1));
        assert_eq!(
            long.starts, short.starts,
            "{policy:?} at {rate}/s starts none later"
        );
    }
}

#[test]
fn square_waves_start_and_stop_once_per_edge() {
    // Two minutes at 8/s, two at 1/s: four copies more or less at each edge.
    let rate = |at: f64| {
        if ((at / 120.0) as u64).is_multiple_of(2) {
            8.0
        } else {
            1.0
        }
    };
    let (mut times, mut at) = (Vec::new(), 0.0);
    while at < 1_200.0 {
        times.push(at);
        at += 1.0 / rate(at);
    }
    let trace = trace(times, 1, 1_200.0);
    let outcome = run(&trace, setup(Policy::Predictive, 2.0, 1));
    let constant = outcome.instance_seconds / 1_200.0;
    assert_eq!(outcome.flaps, 0, "{outcome:?}");
    // Five waves between one or two copies and at most six; the first also has what waited for it.
    assert!(
        outcome.starts <= 5 * 5 + 4 && outcome.stops <= outcome.starts,
        "{outcome:?}"
    );
    assert!(constant < 8.0, "{outcome:?}");
}

#[test]
fn a_cold_chain_waits_for_one_start_not_for_one_each() {
    for start in [0.02, 2.0, 10.0] {
        for chain in 1..=6 {
            let trace = trace([10.0], chain, 120.0);
            let wait = |policy| run(&trace, setup(policy, start, 1)).wait(0.99);
            let ours = wait(Policy::Predictive);
            assert!(ours < 1.25 * start, "{chain} at {start}: {ours}");
            if chain > 1 {
                let knative = wait(Policy::Concurrency);
                assert!(knative > 0.8 * start * chain as f64, "{knative}");
            }
        }
    }
}

#[test]
fn what_was_started_for_nothing_comes_to_rest() {
    let trace = trace([10.0], 3, 3_600.0);
    for policy in [Policy::Predictive, Policy::Queue, Policy::Concurrency] {
        let outcome = run(&trace, setup(policy, 2.0, 1));
        assert_eq!(outcome.starts, outcome.stops, "{policy:?}");
        // Asked for while something runs, and not for the rest of the hour.
        assert!(
            outcome.decisions < 1_000,
            "{policy:?}: {}",
            outcome.decisions
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn nodes_are_never_overfilled(seed in 0..1_000_u64, capacity in 1..8_u32, policy in 0..4_usize) {
        let trace = synth(Pattern::OnOff, seed, 0.05);
        let few = Setup { capacity, ..setup(Policy::ALL[policy], 0.2, seed) };
        let fits = policy != 0 || capacity >= 2;
        if fits && capacity >= 2 {
            let outcome = run(&trace, few);
            let lasts = trace.lasts + outcome.waits.last().copied().unwrap_or_default() + 120.0;
            prop_assert!(outcome.instance_seconds <= f64::from(capacity) * lasts);
        }
    }
}
