//! Lines that lead to the services of the simulation, and what comes of tasks that go over them.

use std::{sync::Arc, time::Duration};

use rand::Rng;

use super::{
    services::{position, reply},
    world::{Coming, World},
};
use crate::{
    body::Body,
    book::{Event, Handout, LineId, Outcome},
};

impl World {
    pub(super) fn open_line(&mut self, service: Arc<str>) {
        self.opened += 1;
        let line = LineId(self.opened);
        self.lines.insert(line, Arc::clone(&service));
        let source = format!("{service}-{}", self.opened).into();
        let says = self.faults && self.chance(30);
        let copies = says.then(|| self.rng.random_range(0..3));
        if copies == Some(0) {
            self.asleep.insert(line);
        }
        self.event(Event::LineOpened {
            line,
            service,
            source,
            copies,
        });
    }

    pub(super) fn set_copies(&mut self, line: LineId, copies: u32) {
        match copies {
            0 => self.asleep.insert(line),
            _ => self.asleep.remove(&line),
        };
        self.event(Event::Copies { line, copies });
    }

    /// Nobody is behind a service, and somebody has to be.
    pub(super) fn want(&mut self, service: Arc<str>) {
        let mut lines = self.lines.iter();
        assert!(!lines.any(|(line, name)| *name == service && !self.asleep.contains(line)));
        let after = self.millis(2_000);
        self.come(after, Coming::Open(service));
    }

    /// Somebody is behind a service that was asleep or off.
    pub(super) fn wake(&mut self, service: Arc<str>) {
        let mut lines = self.lines.iter();
        let asleep = lines.find(|(line, name)| **name == service && self.asleep.contains(line));
        match asleep.map(|(line, _)| *line) {
            Some(line) => self.set_copies(line, 1),
            None => self.open_line(service),
        }
    }

    pub(super) fn deliver(&mut self, body: &Body) {
        self.check_told(body);
        let outputs: Vec<serde_json::Value> =
            serde_json::from_slice(&body.accepted.outputs).unwrap();
        for output in 0..u32::try_from(outputs.len()).unwrap() {
            let problem = self.chance(20).then(|| "nobody there".to_owned());
            let id = body.id;
            let told = Event::Delivered {
                id,
                output,
                problem,
            };
            let after = self.millis(100);
            self.come(after, Coming::Event(told));
        }
    }

    pub(super) fn hand(&mut self, line: LineId, handout: &Handout) {
        self.check_handout(line, handout);
        assert!(
            !self.asleep.contains(&line),
            "nobody is behind it: {handout:?}"
        );
        let body = &self.disk.all[&handout.id];
        let position = position(body, handout);
        let service = Arc::clone(body.service(position));
        self.handed.push((handout.id, handout.ticket));
        let attempt = (self.life, handout.id, position, handout.attempt);
        let first = self.attempts.insert(attempt);
        assert!(first, "the same attempt twice: {handout:?}");
        let spec = self.specs[&service]
            .clone()
            .expect("a service that is there");
        let right = match reply(&service, &spec, handout) {
            Some(payload) => {
                let instance = self.chance(50).then(|| "copy".into());
                Outcome::Reply { payload, instance }
            }
            None => Outcome::Refused("never".to_owned()),
        };
        let (outcome, after) = self.fate(right, handout.timeout);
        let Some(outcome) = outcome else { return };
        if let Outcome::Undelivered(_) = outcome {
            self.attempts.remove(&attempt);
        }
        let twice = self.faults && self.chance(5);
        for _ in 0..=u32::from(twice) {
            let (ticket, outcome) = (handout.ticket, outcome.clone());
            let back = Event::Outcome {
                line,
                ticket,
                outcome,
            };
            self.come(after, Coming::Event(back));
        }
    }

    /// What comes of a task that was handed out, and after how long; none: nobody hears of it.
    fn fate(&mut self, right: Outcome, timeout: Duration) -> (Option<Outcome>, Duration) {
        let quick = self.millis(20);
        if !self.faults {
            return (Some(right), quick);
        }
        match self.rng.random_range(0..100) {
            0..6 => (Some(Outcome::Failed("out of paper".to_owned())), quick),
            6..8 => (Some(Outcome::Refused("not today".to_owned())), quick),
            8..13 => (Some(Outcome::TimedOut), timeout),
            13..17 => (None, quick),
            17..22 => {
                let payload = ["", "[", "7 7"][self.rng.random_range(0..3)].into();
                let instance = None;
                (Some(Outcome::Reply { payload, instance }), quick)
            }
            22..26 => (Some(Outcome::Undelivered("no way".to_owned())), quick),
            26..31 => (Some(right), timeout + Duration::from_secs(5)),
            31..45 => {
                let slow = self.millis(2_000);
                (Some(right), slow)
            }
            _ => (Some(right), quick),
        }
    }
}
