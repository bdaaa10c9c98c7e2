//! Load carried by simulated daemons: nothing is lost, copies follow the load, and runs can be repeated.

use edgeless_orc::scale::{Policy, Settings};

use super::*;
use crate::synth::{Arrival, Contract, Function, Handled, Pattern, synth};

fn setup(policy: Policy, least: u32) -> Setup {
    Setup {
        settings: Settings {
            policy,
            min_instances: least,
            max_instances: 16,
            idle_after: Duration::from_secs(10),
            ..Settings::default()
        },
        start_time: Duration::from_millis(500),
        capacity: u32::MAX,
        seed: 3,
    }
}

fn daemons(entry: Entry, chance: u64) -> Daemons {
    Daemons {
        nodes: 3,
        refresh: Duration::from_secs(1),
        entry,
        chance,
    }
}

/// Orders to a function that takes a second, evenly over that time.
fn evenly(orders: u32, seconds: f64) -> Trace {
    let at = |order| f64::from(order) * seconds / f64::from(orders);
    Trace {
        functions: vec![Function {
            name: "f".to_owned(),
            service: 1.0,
            variation: 0.0,
        }],
        contracts: vec![Contract {
            name: "c".to_owned(),
            chain: vec![0],
        }],
        arrivals: (0..orders)
            .map(|order| Arrival {
                at: at(order),
                contract: 0,
            })
            .collect(),
        lasts: seconds + 40.0,
        handled: Handled::default(),
    }
}

#[test]
fn the_same_seeds_give_the_same_run_and_another_chance_gives_another() {
    let trace = synth(Pattern::Step, 1, 0.02);
    let once = |chance| {
        let daemons = daemons(Entry::Orders, chance);
        run(&trace, setup(Policy::Predictive, 1), daemons)
    };
    assert_eq!(once(7), once(7));
    assert_ne!(once(7).outcome, once(8).outcome);
}

#[test]
fn all_orders_are_done_under_every_policy() {
    for entry in [Entry::Orders, Entry::Http] {
        for policy in Policy::ALL {
            for pattern in [Pattern::Steady, Pattern::OnOff, Pattern::Cron] {
                let trace = synth(pattern, 2, 0.05);
                let least = u32::from(entry == Entry::Orders);
                let run = run(&trace, setup(policy, least), daemons(entry, 2));
                assert_eq!(run.outcome.waits.len(), trace.arrivals.len());
                let negative = run.outcome.waits.iter().filter(|it| **it < -1e-6);
                assert_eq!(negative.count(), 0, "{entry:?} {policy:?}");
            }
        }
    }
}

#[test]
fn copies_follow_the_load_and_go_when_it_is_over() {
    let trace = evenly(400, 100.0);
    for entry in [Entry::Orders, Entry::Http] {
        let Run { copies, outcome } = run(&trace, setup(Policy::Predictive, 1), daemons(entry, 1));
        let most = copies[0].iter().map(|it| it.1).max();
        assert!(
            most.is_some_and(|most| (4..=16).contains(&most)),
            "{copies:?}"
        );
        assert_eq!(copies[0].last().map(|it| it.1), Some(1), "{entry:?}");
        assert!(outcome.instance_seconds >= outcome.work);
    }
}

#[test]
fn a_queue_that_grows_is_told_before_the_next_refresh() {
    let trace = evenly(100, 10.0);
    for (entry, chance) in [Entry::Orders, Entry::Http]
        .into_iter()
        .flat_map(|entry| (0..10).map(move |chance| (entry, chance)))
    {
        let daemons = Daemons {
            refresh: Duration::from_secs(60),
            ..daemons(entry, chance)
        };
        let run = run(&trace, setup(Policy::Predictive, 1), daemons);
        // What is told with the next refresh or look alone comes half a second later or not at all.
        let more = run.copies[0].iter().find(|it| it.1 > 1);
        assert!(more.is_some_and(|it| it.0 < 1.5), "{entry:?} {more:?}");
    }
}

#[test]
fn rare_reports_are_no_silence() {
    let mut trace = evenly(200, 100.0);
    (trace.functions[0].service, trace.lasts) = (0.02, 200.0);
    for chance in 0..10 {
        let mut setup = setup(Policy::Predictive, 0);
        setup.settings.idle_after = Duration::from_secs(2);
        let daemons = Daemons {
            refresh: Duration::from_secs(10),
            ..daemons(Entry::Http, chance)
        };
        let Run { copies, outcome } = run(&trace, setup, daemons);
        assert_eq!(copies[0].last().map(|it| it.1), Some(0), "{copies:?}");
        // To zero before the load, perhaps, and up with it; to zero after it.
        assert!(outcome.decisions <= 3, "{outcome:?}");
    }
}

#[test]
fn what_waits_for_a_function_without_copies_starts_one() {
    let mut trace = evenly(1, 30.0);
    // The copy with which it begins is gone by then.
    (trace.arrivals[0].at, trace.lasts) = (30.0, 150.0);
    let setup = setup(Policy::Predictive, 0);
    // Nodes say at once that something waits, not with the next refresh.
    let daemons = Daemons {
        refresh: Duration::from_secs(10),
        ..daemons(Entry::Http, 1)
    };
    let run = run(&trace, setup, daemons);
    let wait = run.outcome.wait(1.0);
    // The start alone takes 400 to 600 ms.
    assert!((0.4..0.7).contains(&wait), "{wait}");
    assert_eq!(run.copies[0].last().map(|it| it.1), Some(0));
}

#[test]
fn the_bill_is_that_of_the_time_in_question() {
    assert_eq!(bill(&[(-5.0, 2), (3.0, 4), (8.0, 0)], 10.0), 6.0 + 20.0);
    assert_eq!(bill(&[(3.0, 4)], 10.0), 28.0);
    assert_eq!(bill(&[(12.0, 4)], 10.0), 0.0);
}
