//! Histories of the order book from one seed each: clients, services that fail in every way, a log that loses what it
//! has not kept, a store that lags behind, crashes, and a clock that jumps.
//!
//! A history has a time of faults; then all is well, and everything must come to its end. What has to hold is checked
//! all along. `SEEDS=5000` plays so many, `FIRST=100` begins elsewhere than at 0, `SEED=123` with the test `replay`
//! plays one and tells it all. Equal seeds give equal histories.
//!
//! `world` is what there is, `disk` the log and the store, `lines` and `services` what services do, `acts` what happens, `watch`
//! and `check` what has to hold.

mod acts;
mod check;
mod disk;
mod lines;
mod services;
mod watch;
mod world;

use std::{
    num::NonZero,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
};

use serde_json::json;

use self::world::World;

/// What takes some 30 s in a debug build.
const SEEDS: u64 = 2_000;
/// More things than this happen in no history that comes to its end.
const LONGEST: u32 = 50_000;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{name} must be a number, not `{text}`")))
}

/// Plays a history; what was recorded in it.
fn play(seed: u64, loud: bool) -> String {
    let mut world = World::new(seed, loud);
    let mut steps = 0;
    while world.step() {
        steps += 1;
        assert!(steps < LONGEST, "it does not come to its end");
    }
    world.check_all();
    format!("{:?}", world.disk.log)
}

/// Those of the seeds whose histories break something; played on all cores.
fn broken(first: u64, seeds: u64) -> Vec<u64> {
    let next = AtomicU64::new(first);
    let play_some = || {
        let next = || Some(next.fetch_add(1, Relaxed)).filter(|seed| *seed < first + seeds);
        let breaks = |seed: &u64| {
            let played = catch_unwind(AssertUnwindSafe(|| drop(play(*seed, false))));
            if played.is_err() {
                eprintln!(
                    "seed {seed} fails; replay: SEED={seed} cargo test -p edgeless-orders replay -- --nocapture"
                );
            }
            played.is_err()
        };
        std::iter::from_fn(next).filter(breaks).collect::<Vec<_>>()
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let mut all: Vec<u64> = thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(play_some)).collect();
        let joined = running.into_iter().map(|it| it.join());
        joined
            .flat_map(|broken| broken.expect("a history catches its panics"))
            .collect()
    });
    all.sort_unstable();
    all
}

#[test]
fn whatever_happens_every_order_comes_to_one_end_and_the_right_one() {
    let (first, seeds) = (
        number("FIRST").unwrap_or(0),
        number("SEEDS").unwrap_or(SEEDS),
    );
    let broken = broken(first, seeds);
    assert!(
        broken.is_empty(),
        "{} of {seeds} seeds fail: {broken:?}",
        broken.len()
    );
}

#[test]
fn replay() {
    if let Some(seed) = number("SEED") {
        play(seed, true);
    }
}

#[test]
fn equal_seeds_give_equal_histories() {
    for seed in 0..3 {
        assert_eq!(play(seed, false), play(seed, false), "seed {seed}");
    }
}

#[test]
fn a_client_with_many_orders_does_not_starve_another() {
    for seed in 0..20 {
        let mut world = World::new(seed, false);
        world.acts = 0;
        world.faults = false;
        let mut ids = Vec::new();
        for (client, orders) in [("", 200), ("Y", 3)] {
            for input in 0..orders {
                let mut document = json!({"input": input, "tasks": ["S"]});
                if !client.is_empty() {
                    document["client"] = json!(client);
                }
                world.send(&document);
            }
        }
        while world.step() {}
        for row in world.disk.all.values() {
            ids.push((row.accepted.client.clone(), row.id));
        }
        let few = ids.iter().filter(|(client, _)| client == "Y");
        let last = few.map(|(_, id)| world.handed.iter().position(|(other, _)| other == id));
        let last = last.max().flatten();
        assert!(
            last.is_some_and(|last| last < 20),
            "handed out at last: {last:?}"
        );
        assert_eq!(ids.len(), 203);
        world.check_all();
    }
}
