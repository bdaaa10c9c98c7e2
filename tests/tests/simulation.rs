//! Plays histories of the whole control plane and checks what must hold; see `edgeless_tests::sim`.
//!
//! `SEEDS=5000` plays so many, `FIRST=100` begins elsewhere than at 0, `SEED=123` with the test `replay`
//! plays one and shows its last 60 events, or `EVENTS=1000` of them.

use std::{
    num::NonZero,
    ops::Range,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
};

use edgeless_tests::sim::{Broken, Sabotage, play, play_and_show};

/// What takes some 90 s in a debug build on two cores.
const SEEDS: u64 = 2_500;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} must be a number, not `{text}`")),
    )
}

/// Those of the seeds whose histories break an invariant, in order; played on all cores.
fn play_all(seeds: Range<u64>) -> Vec<Broken> {
    let next = AtomicU64::new(seeds.start);
    let play_some = || {
        let next = || Some(next.fetch_add(1, Relaxed)).filter(|seed| *seed < seeds.end);
        std::iter::from_fn(next)
            .filter_map(|seed| play(seed, None).err().map(|it| *it))
            .collect::<Vec<_>>()
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let mut all: Vec<_> = thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(play_some)).collect();
        let joined = running.into_iter().map(|it| it.join());
        joined
            .flat_map(|broken| broken.expect("a history catches its panics"))
            .collect()
    });
    all.sort_by_key(|broken| broken.seed);
    all
}

#[test]
fn whatever_happens_the_control_plane_comes_to_what_is_desired() {
    let first = number("FIRST").unwrap_or(0);
    let seeds = number("SEEDS").unwrap_or(SEEDS);
    let all_broken = play_all(first..first + seeds);
    for (index, broken) in all_broken.iter().enumerate() {
        match index {
            0 => eprintln!("{broken}"),
            _ => eprintln!("seed {}: {}", broken.seed, broken.invariant),
        }
    }
    let failing: Vec<_> = all_broken.iter().map(|broken| broken.seed).collect();
    assert!(
        failing.is_empty(),
        "{} of {seeds} seeds fail: {failing:?}",
        failing.len()
    );
}

#[test]
fn replay() {
    let Some(seed) = number("SEED") else {
        return;
    };
    let shown = number("EVENTS").and_then(|it| it.try_into().ok());
    match play_and_show(seed, None, shown.unwrap_or(60)) {
        Ok(events) => eprintln!("seed {seed} holds, {events} events"),
        Err(broken) => panic!("{broken}"),
    }
}

#[test]
fn equal_seeds_give_equal_histories() {
    for seed in 0..5 {
        assert_eq!(play(seed, None), play(seed, None), "seed {seed}");
    }
}

#[test]
fn every_sabotage_is_noticed() {
    for sabotage in [
        Sabotage::NodeIgnoresGenerations,
        Sabotage::StraysStay,
        Sabotage::CordonsAreForgotten,
        Sabotage::NothingIsScaled,
        Sabotage::NobodyRests,
        Sabotage::OrdersAreNotFenced,
        Sabotage::StatesAreForgotten,
        Sabotage::StopsAreNotRepeated,
        Sabotage::LivesFollowTheClock,
        Sabotage::AcknowledgesBeforeDisk,
        Sabotage::JournalForgetsCordons,
        Sabotage::MirrorForgetsDeletes,
    ] {
        let noticed = (0..500).find(|&seed| play(seed, Some(sabotage)).is_err());
        assert!(noticed.is_some(), "{sabotage:?} goes unnoticed");
    }
}
