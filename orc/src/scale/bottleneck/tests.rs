//! Causes made on purpose are named, and nothing is named that is none.

use std::{collections::VecDeque, time::Duration};

use edgeless_types::Timestamp;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::*;
use crate::scale::Traffic;

/// Messages that fit into an inbox.
const INBOX: usize = 64;
/// Seconds in which all is well, and those within which what is wrong is to be named.
const WELL: u64 = 30;
const NAMED: u64 = 5;

/// A function of a line of them.
struct Function {
    /// Mean seconds of a handling.
    service: f64,
    /// Seconds of the way to it, and the least between two messages.
    way: f64,
    gap: f64,
    copies: usize,
    most: u32,
    room: u32,
    on_way: VecDeque<(f64, f64)>,
    inbox: VecDeque<f64>,
    /// Until when each copy handles something; its output waits for room.
    busy: Vec<(Option<f64>, bool)>,
    sent: f64,
    traffic: Traffic,
}

impl Function {
    fn new(service: f64) -> Self {
        Self {
            service,
            way: 0.0005,
            gap: 0.0,
            copies: 1,
            most: 8,
            room: 4,
            on_way: VecDeque::new(),
            inbox: VecDeque::new(),
            busy: Vec::new(),
            sent: 0.0,
            traffic: Traffic::default(),
        }
    }

    /// Whether another message can be sent to it.
    fn takes(&self, now: f64) -> bool {
        let there = self.on_way.len() + self.inbox.len();
        there < INBOX && now >= self.sent + self.gap
    }

    fn send(&mut self, now: f64) {
        self.on_way.push_back((now + self.way, now));
        self.sent = now;
    }
}

fn at(seconds: f64) -> Timestamp {
    Timestamp::from_unix(Duration::from_secs_f64(1_000_000.0 + seconds))
}

/// A line of functions, and messages that arrive at the first of them by chance.
struct Line {
    functions: Vec<Function>,
    rate: f64,
    rng: StdRng,
    now: f64,
}

impl Line {
    fn new(services: &[f64], rate: f64, seed: u64) -> Self {
        Self {
            functions: services.iter().map(|it| Function::new(*it)).collect(),
            rate,
            rng: StdRng::seed_from_u64(seed),
            now: 0.0,
        }
    }

    fn step(&mut self, step: f64) {
        self.now += step;
        let now = self.now;
        if self.rng.random::<f64>() < self.rate * step {
            self.functions[0].inbox.push_back(now);
        }
        for place in 0..self.functions.len() {
            let function = &mut self.functions[place];
            while function.on_way.front().is_some_and(|it| it.0 <= now) {
                let sent = function.on_way.pop_front().unwrap().1;
                function.inbox.push_back(sent);
            }
            function.busy.resize(function.copies, (None, false));
            for copy in 0..function.copies {
                let (until, holds) = self.functions[place].busy[copy];
                let mut state = (until, holds);
                if until.is_some_and(|it| it <= now) {
                    state = (None, true);
                }
                if state.1 {
                    match self.functions.get_mut(place + 1) {
                        Some(next) if !next.takes(now) => {}
                        Some(next) => {
                            next.send(now);
                            state.1 = false;
                        }
                        None => state.1 = false,
                    }
                }
                let function = &mut self.functions[place];
                if state == (None, false)
                    && let Some(created) = function.inbox.pop_front()
                {
                    let took = function.service * self.rng.random_range(0.5..1.5);
                    function
                        .traffic
                        .transferred(now - created, at(now), at(now));
                    function
                        .traffic
                        .executed(took, at(now + took), at(now + took));
                    state.0 = Some(now + took);
                }
                function.busy[copy] = state;
            }
        }
    }

    fn seconds(&mut self, seconds: u64) {
        for _ in 0..seconds {
            let until = self.now + 1.0;
            while self.now < until {
                self.step(0.0005);
            }
            let now = self.now;
            for function in &mut self.functions {
                let queued = u32::try_from(function.inbox.len()).unwrap();
                let oldest = function.inbox.front().map_or(0.0, |it| now - it);
                function.traffic.waits(queued, oldest, at(now));
            }
        }
    }

    fn found(&mut self) -> (Option<Finding>, Vec<Stage>) {
        let now = at(self.now);
        let last = self.functions.len() - 1;
        let stages = self.functions.iter_mut().enumerate();
        let stages = stages.map(|(place, it)| Stage {
            is_near: false,
            copies: u32::try_from(it.copies).unwrap(),
            starting: 0,
            slots: 1,
            most: it.most,
            room: it.room,
            is_scaled: true,
            now: it.traffic.recent(now),
            lately: 0.0,
            started: 0.0,
            processors: 0.0,
            next: if place < last {
                vec![place + 1]
            } else {
                vec![]
            },
        });
        let stages: Vec<Stage> = stages.collect();
        (find(&stages), stages)
    }
}

/// What is done to a line, and what is to be found then.
type Wrong = (
    &'static str,
    fn(&mut Line),
    usize,
    &'static [Cause],
    Option<Held>,
);

const SLOW: &[Cause] = &[Cause::Execution];
const WRONG: [Wrong; 5] = [
    (
        "slow A",
        |line| line.functions[0].service *= 12.0,
        0,
        SLOW,
        None,
    ),
    (
        "slow B",
        |line| line.functions[1].service *= 12.0,
        1,
        SLOW,
        None,
    ),
    (
        "slow link",
        |line| {
            line.functions[1].way = 0.08;
            line.functions[1].gap = 2.0 / line.rate;
        },
        1,
        &[Cause::Transfer],
        None,
    ),
    (
        "full node",
        |line| {
            line.rate *= 8.0;
            line.functions[0].room = 0;
        },
        0,
        &[Cause::Rate],
        Some(Held::NoRoom),
    ),
    (
        "as many copies as it may have",
        |line| {
            line.functions[1].service *= 12.0;
            line.functions[1].most = 1;
        },
        1,
        SLOW,
        Some(Held::AtMost),
    ),
];

/// Twenty cases: five things that can be wrong, at four loads each.
#[test]
fn what_limits_is_named_within_five_seconds_in_each_of_twenty_cases() {
    let mut wrong = Vec::new();
    for (name, inject, stage, causes, held) in WRONG {
        for (seed, (rate, third)) in [(20.0, 0.5), (40.0, 1.0), (60.0, 0.2), (30.0, 0.7)]
            .into_iter()
            .enumerate()
        {
            // The first two are a fifth busy.
            let service = 0.2 / rate;
            let services = [service, service, service * third];
            let mut line = Line::new(&services, rate, seed as u64);
            line.seconds(WELL);
            let (before, stages) = line.found();
            if before.is_some_and(|it| it.limits) {
                wrong.push(format!("{name} at {rate}: before: {before:?} {stages:?}"));
            }
            inject(&mut line);
            line.seconds(NAMED);
            let (found, stages) = line.found();
            let is_right = found.is_some_and(|it| {
                it.limits && it.stage == stage && causes.contains(&it.cause) && it.held == held
            });
            if !is_right {
                let why = found.map(|it| Why(&it, &stages[it.stage]).to_string());
                wrong.push(format!("{name} at {rate}: {found:?} {why:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_slow_way_that_holds_nobody_up_is_where_time_goes() {
    let mut line = Line::new(&[0.002, 0.002], 20.0, 1);
    line.functions[1].way = 0.05;
    line.seconds(20);
    let (found, stages) = line.found();
    let found = found.unwrap();
    assert_eq!(
        (found.stage, found.cause, found.limits),
        (1, Cause::Transfer, false)
    );
    let why = Why(&found, &stages[1]).to_string();
    assert!(why.starts_with("nothing limits;"), "{why}");
    assert!(Action(&found, &stages[1]).to_string().contains("nearer"));
}

#[test]
fn a_queue_that_shrinks_is_what_limits_and_neither_rate_nor_handling() {
    let mut line = Line::new(&[0.02], 20.0, 3);
    line.seconds(WELL);
    let now = line.now;
    line.functions[0].inbox.extend((0..800).map(|_| now));
    line.seconds(NAMED);
    let (found, _) = line.found();
    let found = found.unwrap();
    assert_eq!((found.cause, found.limits), (Cause::Queue, true));
}

#[test]
fn a_function_that_is_called_is_named_and_not_the_one_that_waits_for_its_answer() {
    let stage = |copies, service, transfer, queued, next| Stage {
        copies,
        slots: 1,
        most: 8,
        room: 4,
        is_scaled: true,
        now: Recent {
            rate: 10.0,
            service: Some(service),
            transfer: Some(transfer),
            queued,
            most_queued: queued,
            growth: if queued > 10 { 20.0 } else { 0.0 },
            oldest: 0.2,
            usual: None,
        },
        next,
        ..Stage::default()
    };
    // Four copies of the first wait for the one of the second most of their time.
    let caller = stage(4, 0.4, 5.0, 90, vec![1]);
    let stages = [caller, stage(1, 0.1, 0.28, 3, vec![])];
    let found = find(&stages).unwrap();
    assert_eq!((found.stage, found.limits), (1, true));
}

#[test]
fn no_way_is_named_to_a_function_on_the_node_of_all_who_send_to_it() {
    let stage = |queued, oldest, transfer, next| Stage {
        copies: 1,
        slots: 1,
        now: Recent {
            rate: 10.0,
            service: Some(0.001),
            transfer: Some(transfer),
            queued,
            most_queued: queued,
            oldest,
            ..Recent::default()
        },
        next,
        ..Stage::default()
    };
    let mut stages = [stage(90, 2.0, 2.0, vec![1]), stage(0, 0.0, 0.2, vec![])];
    let found = find(&stages).unwrap();
    assert_eq!((found.stage, found.cause), (1, Cause::Transfer));
    stages[1].is_near = true;
    assert_ne!(
        find(&stages).map(|it| (it.limits, it.stage)),
        Some((true, 1))
    );
}

#[test]
fn nothing_is_found_where_nothing_happens_and_resources_limit_nothing() {
    assert_eq!(find(&[]), None);
    assert_eq!(find(&[Stage::default(), Stage::default()]), None);
    let mut line = Line::new(&[0.05], 60.0, 1);
    line.seconds(20);
    let (found, mut stages) = line.found();
    assert!(found.unwrap().limits);
    stages[0].slots = 0;
    assert!(!find(&stages).unwrap().limits);
}

#[test]
fn work_for_a_function_without_copies_is_told_with_what_keeps_it() {
    let waits = Recent {
        queued: 3,
        oldest: 2.0,
        growth: 1.0,
        ..Recent::default()
    };
    let mut stage = Stage {
        slots: 1,
        most: 4,
        room: 4,
        is_scaled: true,
        now: waits,
        ..Stage::default()
    };
    let found = find(std::slice::from_ref(&stage)).unwrap();
    assert_eq!(
        (found.cause, found.limits, found.held),
        (Cause::Queue, true, None)
    );
    assert_eq!(Why(&found, &stage).to_string(), "3 wait and no copy runs");
    stage.room = 0;
    let found = find(std::slice::from_ref(&stage)).unwrap();
    assert_eq!(found.held, Some(Held::NoRoom));
}

#[test]
fn in_a_circle_somebody_is_named() {
    let mut line = Line::new(&[0.05, 0.05], 60.0, 1);
    line.seconds(20);
    let (_, mut stages) = line.found();
    for (place, stage) in stages.iter_mut().enumerate() {
        stage.next = vec![1 - place];
        (stage.now.queued, stage.now.oldest) = (5, 3.0);
    }
    assert!(find(&stages).unwrap().limits);
}
