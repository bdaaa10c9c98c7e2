//! Copies over time under loads of simple shapes: constant ones, and square waves.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap},
};

use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::*;

/// A function: how long it takes to handle one event, and to start a copy, in seconds.
#[derive(Clone, Copy, Debug)]
struct Shape {
    service: f64,
    start: f64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Done,
    Ready(u64),
    Decide,
}

/// One function with copies that handle one event each.
struct Play {
    shape: Shape,
    settings: Settings,
    window: Window,
    now: f64,
    idle: u32,
    busy: u32,
    queue: u32,
    wanted: u32,
    asks: f64,
    starting: BTreeSet<u64>,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    number: u64,
    /// The number of copies, at each moment at which it changed.
    copies: Vec<(f64, u32)>,
}

impl Play {
    /// The number of copies over time, of a function that gets events at these moments, in order.
    fn run(shape: Shape, arrivals: &[f64], lasts: f64) -> Vec<(f64, u32)> {
        Self::by(Policy::Predictive, shape, arrivals, lasts)
    }

    fn by(policy: Policy, shape: Shape, arrivals: &[f64], lasts: f64) -> Vec<(f64, u32)> {
        let mut play = Self {
            shape,
            settings: Settings {
                policy,
                max_instances: 1_000,
                start_time: Duration::from_secs_f64(shape.start),
                ..Settings::default()
            },
            window: Window::default(),
            now: 0.0,
            idle: 0,
            busy: 0,
            queue: 0,
            wanted: 0,
            asks: f64::INFINITY,
            starting: BTreeSet::new(),
            events: BinaryHeap::new(),
            number: 0,
            copies: vec![(0.0, 0)],
        };
        let mut arrivals = arrivals.iter().copied().peekable();
        loop {
            let event = play
                .events
                .peek()
                .map_or(f64::INFINITY, |it| seconds(it.0.0));
            let arrival = arrivals.peek().copied().unwrap_or(f64::INFINITY);
            play.now = event.min(arrival);
            if play.now > lasts {
                return play.copies;
            }
            if arrival < event {
                arrivals.next();
                play.window.arrived(1, at(play.now));
                play.queue += 1;
                play.serve();
                if play.queue > 0 {
                    play.decide();
                } else {
                    play.look();
                }
            } else if let Some(Reverse((_, _, event))) = play.events.pop() {
                play.on_event(event);
            }
            play.note();
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Done => {
                (self.busy, self.idle) = (self.busy - 1, self.idle + 1);
                let took = Duration::from_secs_f64(self.shape.service);
                self.window.executed(took);
                self.serve();
                self.shrink();
                self.look();
            }
            Event::Ready(number) => {
                if self.starting.remove(&number) {
                    self.idle += 1;
                    let took = Duration::from_secs_f64(self.shape.start);
                    self.window.started(took);
                    self.serve();
                    self.decide();
                }
            }
            Event::Decide if self.asks <= self.now + 1e-9 => self.decide(),
            Event::Decide => {}
        }
    }

    fn push(&mut self, after: f64, event: Event) {
        self.number += 1;
        let at = ((self.now + after) * 1e9) as u64;
        self.events.push(Reverse((at, self.number, event)));
    }

    fn serve(&mut self) {
        while self.idle > 0 && self.queue > 0 {
            self.queue -= 1;
            (self.idle, self.busy) = (self.idle - 1, self.busy + 1);
            self.push(self.shape.service, Event::Done);
        }
    }

    fn view(&self) -> View {
        View {
            ready: self.idle + self.busy,
            starting: self.starting.len() as u32,
            busy: self.busy,
            queued: self.queue,
            in_flight: self.busy,
            room: 1_000,
            slots: 1,
            successor: Successor::Free,
        }
    }

    fn look(&mut self) {
        let view = self.view();
        self.window.observe(&view, at(self.now));
    }

    fn decide(&mut self) {
        let view = self.view();
        let decision = decide(&self.settings, &mut self.window, &view, at(self.now));
        self.wanted = decision.copies;
        let asks = decision.next.map(|next| next.since(at(0.0)).as_secs_f64());
        self.asks = asks.map_or(f64::INFINITY, |it| it.max(self.now + 1e-3));
        if self.asks.is_finite() {
            self.push(self.asks - self.now, Event::Decide);
        }
        for _ in view.copies()..decision.copies {
            self.number += 1;
            self.starting.insert(self.number);
            self.push(self.shape.start, Event::Ready(self.number));
        }
        self.shrink();
    }

    /// Copies with work in them stay.
    fn shrink(&mut self) {
        while self.view().copies() > self.wanted && self.queue == 0 {
            if self.starting.pop_last().is_none() {
                if self.idle == 0 {
                    return;
                }
                self.idle -= 1;
            }
        }
    }

    fn note(&mut self) {
        let copies = self.view().copies();
        if self.copies.last().is_some_and(|last| last.1 != copies) {
            self.copies.push((self.now, copies));
        }
    }
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

/// Even arrivals: for each part so many seconds of so many busy copies.
fn even(service: f64, parts: impl IntoIterator<Item = (f64, f64)>) -> Vec<f64> {
    let (mut arrivals, mut from) = (Vec::new(), 1.0);
    for (lasts, load) in parts {
        let count = (lasts * load / service).floor() as u32;
        arrivals.extend((0..count).map(|place| from + f64::from(place) * service / load));
        from += lasts;
    }
    arrivals
}

/// The numbers of copies from one moment to another, the one at its begin first.
fn between(copies: &[(f64, u32)], from: f64, until: f64) -> Vec<u32> {
    let before = copies.iter().rev().find(|it| it.0 <= from);
    let changes = copies.iter().filter(|it| it.0 > from && it.0 <= until);
    before.into_iter().chain(changes).map(|it| it.1).collect()
}

/// How often these numbers begin to rise, and how often to fall.
fn runs(numbers: &[u32]) -> (u32, u32) {
    let (mut rises, mut falls, mut last) = (0, 0, 0);
    for pair in numbers.windows(2) {
        let way = if pair[1] > pair[0] { 1 } else { -1 };
        rises += u32::from(way == 1 && last != 1);
        falls += u32::from(way == -1 && last != -1);
        last = way;
    }
    (rises, falls)
}

/// Loads in busy copies from 0.05 to 50, as many small ones as large ones.
fn loads() -> impl Strategy<Value = f64> {
    (0.05_f64.ln()..50.0_f64.ln()).prop_map(f64::exp)
}

fn shapes() -> impl Strategy<Value = Shape> {
    let starts = prop_oneof![Just(0.02), Just(2.0), Just(10.0), 0.01..12.0_f64];
    let services = (0.02_f64.ln()..1.0_f64.ln()).prop_map(f64::exp);
    (services, starts).prop_map(|(service, start)| Shape { service, start })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// As it is known of the rule of Numaflow, for whoever chooses it.
    #[test]
    fn even_load_leads_queue_to_a_number_that_stays(shape in shapes(), load in 0.5..40.0_f64) {
        let copies = Play::by(Policy::Queue, shape, &even(shape.service, [(300.0, load)]), 300.0);
        let late = between(&copies, 150.0 + 10.0 * shape.start, 300.0);
        prop_assert!(late.len() <= 3, "{:?} {:?}", late, &copies);
    }

    /// Arrivals by chance: once the load is known, the number of copies changes 75 times at most
    /// in ten minutes, where a start takes two seconds or more.
    #[test]
    fn load_by_chance_leads_to_few_changes(
        seed in any::<u64>(),
        start in 2.0..10.0_f64,
        service in 0.1..1.0_f64,
        load in 0.5..20.0_f64,
    ) {
        let mut rng = SmallRng::seed_from_u64(seed);
        let (mut arrivals, mut now) = (Vec::new(), 1.0);
        while now < 720.0 {
            now -= service / load * (1.0 - rng.random::<f64>()).ln();
            arrivals.push(now);
        }
        let copies = Play::run(Shape { service, start }, &arrivals, 720.0);
        let changes = between(&copies, 120.0, 720.0).len() - 1;
        prop_assert!(changes <= 75, "{} changes: {:?}", changes, &copies);
    }

    /// Up to what arrives and what has waited for the first copies, down when that is handled, and no more.
    #[test]
    fn even_load_leads_to_a_number_that_stays(shape in shapes(), load in loads()) {
        let lasts = 400.0;
        let copies = Play::run(shape, &even(shape.service, [(lasts, load)]), lasts);
        let settled = 60.0 + 10.0 * shape.start;
        let all = between(&copies, 0.0, lasts);
        prop_assert_eq!(runs(&all).0, 1, "{:?}", &copies);
        prop_assert!(runs(&all).1 <= 1, "{:?}", &copies);
        let late = between(&copies, settled, lasts);
        prop_assert!(late.len() <= 2, "{:?} {:?}", late, &copies);
        prop_assert!(f64::from(late[0]) >= load.floor(), "{:?}", &copies);
    }

    /// After each edge at most one rise and one fall.
    #[test]
    fn square_waves_are_followed_without_oscillation(
        shape in shapes(),
        low in prop_oneof![Just(0.0), loads()],
        high in loads(),
        half in 20.0..200.0_f64,
    ) {
        // Events that come alone are left to the rule for idle copies: twenty a second at least.
        let least = if low > 0.0 { low.min(high) } else { high };
        let shape = Shape { service: shape.service.min(0.05 * least), ..shape };
        let waves = (0..10).map(|place| (half, if place % 2 == 0 { high } else { low }));
        let lasts = 1.0 + 10.0 * half;
        let copies = Play::run(shape, &even(shape.service, waves), lasts);
        for edge in 0..10 {
            let from = 1.0 + f64::from(edge) * half - 1e-6;
            let numbers = between(&copies, from, from + half);
            let (rises, falls) = runs(&numbers);
            prop_assert!(rises <= 1 && falls <= 1, "edge {}: {:?}, all {:?}", edge, numbers, &copies);
        }
    }
}
