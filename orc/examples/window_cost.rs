//! What the window of one function costs, and what looking for the one that limits does: bytes, and nanoseconds per
//! signal, decision and look.
//!
//! `cargo run --release -p edgeless-orc --example window_cost`

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use edgeless_orc::scale::{
    Policy, Settings, Successor, Traffic, View, Window,
    bottleneck::{self, Stage},
    decide,
};
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
    let mut traffic = Traffic::default();
    println!("bytes of the last seconds: {}", size_of::<Traffic>());
    time("handled event of the last seconds", |number| {
        let now = at(number);
        traffic.transferred(0.000_2, now, now);
        traffic.executed(0.005, now, now);
    });
    let stages: Vec<Stage> = (0..10)
        .map(|place| Stage {
            copies: 8,
            slots: 1,
            most: 8,
            is_scaled: true,
            now: traffic.recent(at(TIMES)),
            next: (place < 9).then_some(place + 1).into_iter().collect(),
            ..Stage::default()
        })
        .collect();
    time("look for what limits ten functions", |_| {
        black_box(bottleneck::find(&stages));
    });
}

fn time(what: &str, mut signal: impl FnMut(u32)) {
    let begin = Instant::now();
    (0..TIMES).for_each(&mut signal);
    let each = begin.elapsed().as_nanos() / u128::from(TIMES);
    println!("ns per {what}: {each}");
}
