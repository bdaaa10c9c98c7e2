//! What the window of one function costs: bytes, and nanoseconds per signal and decision.
//!
//! `cargo run --release -p edgeless-orc --example window_cost`

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use edgeless_orc::scale::{Policy, Settings, Successor, View, Window, decide};
use edgeless_types::Timestamp;

/// Signals of each kind.
const TIMES: u32 = 2_000_000;

fn main() {
    let mut window = Window::default();
    println!("bytes at rest: {}", window.bytes());
    let begin = Timestamp::from_unix(Duration::from_secs(1_000_000_000));
    // A thousand a second, as for a busy function.
    let at = |number: u32| begin + Duration::from_millis(u64::from(number));
    let view = |number: u32| View {
        ready: 8,
        starting: 0,
        busy: 6,
        queued: number % 3,
        in_flight: 6,
        room: 100,
        slots: 1,
        successor: Successor::Free,
    };
    time("arrival", |number| window.arrived(1, at(number)));
    println!("bytes of an active one: {}", window.bytes());
    time("execution time", |number| {
        window.executed(Duration::from_micros(u64::from(number % 5_000)));
    });
    time("transfer time", |number| {
        window.transferred(Duration::from_micros(u64::from(number % 900)));
    });
    time("expected task", |number| window.expect(1, at(number)));
    for policy in Policy::ALL {
        let settings = Settings {
            policy,
            ..Settings::default()
        };
        let mut window = window.clone();
        time(policy.name(), |number| {
            black_box(decide(
                &settings,
                &mut window,
                &view(number),
                at(TIMES + number),
            ));
        });
    }
}

fn time(what: &str, mut signal: impl FnMut(u32)) {
    let begin = Instant::now();
    (0..TIMES).for_each(&mut signal);
    let each = begin.elapsed().as_nanos() / u128::from(TIMES);
    println!("ns per {what}: {each}");
}
