//! Plays histories of the whole control plane and checks what must hold; see `edgeless_tests::sim`.
//!
//! `SEEDS=5000` plays so many, `FIRST=100` begins elsewhere than at 0, `SEED=123` with the test `replay`
//! plays one and shows its last 60 events, or `EVENTS=1000` of them.

use edgeless_tests::sim::{Sabotage, play, play_and_show};

/// What takes some 30 s in a debug build.
const SEEDS: u64 = 500;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} must be a number, not `{text}`")),
    )
}

#[test]
fn whatever_happens_the_control_plane_comes_to_what_is_desired() {
    let first = number("FIRST").unwrap_or(0);
    let seeds = number("SEEDS").unwrap_or(SEEDS);
    let mut failing = Vec::new();
    for seed in first..first + seeds {
        if let Err(broken) = play(seed, None) {
            if failing.is_empty() {
                eprintln!("{broken}");
            } else {
                eprintln!("seed {seed}: {}", broken.invariant);
            }
            failing.push(seed);
        }
    }
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
        Sabotage::OrdersAreNotFenced,
        Sabotage::StatesAreForgotten,
        Sabotage::AcknowledgesBeforeDisk,
        Sabotage::JournalForgetsCordons,
        Sabotage::MirrorForgetsDeletes,
    ] {
        let noticed = (0..200).find(|&seed| play(seed, Some(sabotage)).is_err());
        assert!(noticed.is_some(), "{sabotage:?} goes unnoticed");
    }
}
