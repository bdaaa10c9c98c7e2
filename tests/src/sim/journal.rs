//! The journal of ε-ORC, as `orc/src/journal/keeper.rs` writes it: one commit at a time, what comes meanwhile goes
//! together into the next, and what the disk refuses is tried again with pauses. A crash keeps all of the commit under
//! way or nothing.

use std::time::Duration;

use edgeless_orc::{
    domain::Ticket,
    journal::{Difference, Kept},
};
use edgeless_types::intent::Intent;

use super::{
    con::Caller,
    net::{Context, Place, Reply, Timer},
};

/// Bounds of the pause after a commit that failed.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// Who waits for a commit.
pub(super) enum Waiting {
    Start(Ticket),
    Answer(Caller, Reply),
    Intent(Caller, Intent),
    /// The subscription waits until the domain is reset.
    Reset,
}

/// What is to be kept, and who waits for it.
type Part = (Difference, Vec<Waiting>);

pub(super) struct Journal {
    place: Place,
    /// What is on disk.
    pub(super) kept: Kept,
    next: Part,
    under_way: Option<Part>,
    failures: u32,
    rests: bool,
}

impl Journal {
    pub(super) fn new(place: Place) -> Self {
        Self {
            place,
            kept: Kept::default(),
            next: Part::default(),
            under_way: None,
            failures: 0,
            rests: false,
        }
    }

    pub(super) fn crash(&mut self, context: &mut Context) {
        self.next = Part::default();
        (self.failures, self.rests) = (0, false);
        if let Some((difference, _)) = self.under_way.take()
            && context.chance(0.5)
        {
            difference.apply(&mut self.kept);
        }
    }

    pub(super) fn keep(&mut self, difference: Difference, waiting: Waiting) {
        self.next.0.then(difference);
        self.next.1.push(waiting);
    }

    pub(super) fn keep_quietly(&mut self, difference: Difference) {
        self.next.0.then(difference);
    }

    /// Begins a commit if there is something to be kept and none is under way.
    pub(super) fn hand_over(&mut self, context: &mut Context) {
        if self.under_way.is_some() || self.next.0.is_empty() || self.rests {
            return;
        }
        self.under_way = Some(std::mem::take(&mut self.next));
        let most = if context.chance(0.05) {
            800_000
        } else {
            20_000
        };
        let time = context.micros(500, most);
        context.timer(time, self.place, Timer::Synced);
    }

    /// The disk has had its pause.
    pub(super) fn on_pause(&mut self) {
        self.rests = false;
    }

    /// The commit under way has come to something: whether it is kept, and who waited for it.
    pub(super) fn on_written(&mut self, context: &mut Context) -> (bool, Vec<Waiting>) {
        let Some((mut difference, waiting)) = self.under_way.take() else {
            return (true, Vec::new());
        };
        if !context.chance(context.weather.failing / 4.0) {
            difference.apply(&mut self.kept);
            self.failures = 0;
            return (true, waiting);
        }
        let (later, _) = &mut self.next;
        difference.then(std::mem::take(later));
        self.next.0 = difference;
        let pause = (PAUSES.0 * 2_u32.pow(self.failures.min(8))).min(PAUSES.1);
        (self.failures, self.rests) = (self.failures + 1, true);
        context.timer(pause, self.place, Timer::Disk);
        (false, waiting)
    }
}
