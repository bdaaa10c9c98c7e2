//! Which function limits a workflow, why, and what helps: pure.
//!
//! A function limits when its copies are busy nearly all the time, or work waits for it although what comes after it
//! keeps up. One that waits for the next one to take its output does not: times of handling are without such waiting, as
//! with DS2 (Kalavri et al., OSDI 2018), and of several that are busy the one whose queue grows, then the one furthest
//! down the graph, is named, as Numaflow does with its back-pressure. Where nothing limits, the function at which an
//! event spends most of its time is named, and that it limits nothing.

mod text;

use super::{staffing::ceil, traffic::Recent};
pub use text::{Action, Why};

/// Copies that are busy for more than this share of the time limit.
const BUSY: f64 = 0.85;
/// Those less busy that have something waiting wait for something else.
const HELD_BACK: f64 = 0.6;
/// Shares that are no further apart are taken for equal.
const EQUAL: f64 = 0.1;
/// A rate or time is another than usual if it is this many times as much.
const MORE: f64 = 1.5;
/// A time of handling is long if it is so many times that of the others in the graph.
const LONG: f64 = 3.0;
/// A queue grows if each second this share of what is handled comes on top.
const GROWS: f64 = 0.1;
/// Seconds on the way that are worth naming.
const FAR: f64 = 0.002;
/// Seconds that work waits before it counts as waiting.
const PATIENCE: f64 = 0.5;
/// The share of busy copies that is aimed at.
const TARGET: f64 = 0.7;

/// Why a function is slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// More arrives than its copies can handle.
    Rate,
    /// What waits came earlier: its copies handle what arrives now.
    Queue,
    /// Its handling takes long.
    Execution,
    /// Messages are long on their way to it.
    Transfer,
}

impl Cause {
    /// As it is written: `rate`, `queue`, `execution` or `transfer`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Queue => "queue",
            Self::Execution => "execution",
            Self::Transfer => "transfer",
        }
    }
}

/// What keeps a function from having more copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Held {
    /// It has as many as it may.
    AtMost,
    /// No node takes another one.
    NoRoom,
    /// Nobody said that it may be multiplied.
    NotScaled,
}

impl Held {
    /// As it is written: `max_instances`, `no_room` or `not_scaled`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AtMost => "max_instances",
            Self::NoRoom => "no_room",
            Self::NotScaled => "not_scaled",
        }
    }
}

/// A function of a workflow as it is now.
#[derive(Clone, Debug, Default)]
pub struct Stage {
    /// Copies that can take work, those included that handle something.
    pub copies: u32,
    /// Copies that there were on average while `now` was seen; those that began a moment ago count little.
    pub lately: f64,
    /// Copies that start.
    pub starting: u32,
    /// Events that a copy handles at once, at least 1; 0: nobody knows, as of resources, which limit nothing.
    pub slots: u32,
    /// Copies it may have.
    pub most: u32,
    /// More copies that nodes can take.
    pub room: u32,
    /// Whether a policy decides about its copies.
    pub is_scaled: bool,
    /// What it does.
    pub now: Recent,
    /// Seconds that its copies took to start, if none ran a short while ago: events have waited for that.
    pub started: f64,
    /// The share of the processors of a node it is on that is busy, of the busiest one.
    pub processors: f64,
    /// Where its outputs lead: places in the list of stages.
    pub next: Vec<usize>,
    /// It is on one node with all who send to it: no link is between them, and what takes long there is
    /// the node.
    pub is_near: bool,
}

/// The function that is named, of those of a workflow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Finding {
    /// Its place in the list of stages.
    pub stage: usize,
    /// Why.
    pub cause: Cause,
    /// Whether the workflow would do more if this function did; else it is only where time goes.
    pub limits: bool,
    /// What keeps it from having more copies, if it needs them.
    pub held: Option<Held>,
    /// Copies that would be enough.
    pub wanted: u32,
}

impl Stage {
    fn slots(&self) -> f64 {
        f64::from(self.copies.max(1)) * f64::from(self.slots)
    }

    /// The share of its copies that is busy.
    pub fn busy(&self) -> f64 {
        let service = self.now.service.unwrap_or(0.0);
        match self.slots {
            0 => 0.0,
            _ => {
                let ran = match self.lately > 0.0 {
                    true => (self.lately / f64::from(self.copies.max(1))).min(1.0),
                    false => 1.0,
                };
                (self.now.rate * service / (self.slots() * ran)).min(1.0)
            }
        }
    }

    /// Events that arrive per second: those that are handled, and those by which the queue grows or shrinks.
    fn offered(&self) -> f64 {
        (self.now.rate + self.now.growth).max(0.0)
    }

    /// Seconds that an event waits for a copy: from what waits, and from chance.
    fn wait(&self) -> f64 {
        let service = self.now.service.unwrap_or(0.0);
        let queue = f64::from(self.now.most_queued) * service / self.slots().max(1.0);
        let busy = self.busy().min(0.95);
        let started = self.started;
        queue.max(service * busy / (1.0 - busy)).max(started)
    }

    /// Seconds of the way to it, without waiting for a copy.
    fn way(&self) -> f64 {
        (self.now.transfer.unwrap_or(0.0) - 2.0 * self.wait()).max(0.0)
    }

    /// Whether work waits, and more than for the moment.
    fn is_waited_for(&self) -> bool {
        let patience = PATIENCE.max(3.0 * self.now.service.unwrap_or(0.0));
        let grows = self.now.growth > GROWS * self.now.rate;
        self.now.queued > 0 && (grows || self.now.oldest > patience)
    }

    /// Whether it is what limits, if nobody after it is.
    fn is_full(&self) -> bool {
        let (busy, waits) = (self.busy(), self.is_waited_for());
        // Nothing was handled yet, and something waits: it is with the first ones, or has no copy.
        let stands = waits && (self.now.service.is_none() || self.copies == 0);
        self.slots > 0 && (busy >= BUSY || (waits && busy >= HELD_BACK) || stands)
    }

    /// Whether its handling may be the time in which it waits for the answer of another.
    fn may_call(&self, place: usize, other: &Self) -> bool {
        let answered = other.now.transfer.unwrap_or(0.0) + other.now.service.unwrap_or(0.0);
        self.next.contains(&place) && self.now.service.is_some_and(|it| it >= answered)
    }

    /// Whether messages to it are longer on their way than anything else they do here.
    fn is_far(&self) -> bool {
        let way = self.way();
        !self.is_near && way > FAR && way > self.now.service.unwrap_or(0.0) + self.wait()
    }

    fn wanted(&self) -> u32 {
        let load = self.offered() * self.now.service.unwrap_or(0.0);
        let wanted = ceil(load / TARGET / f64::from(self.slots.max(1)));
        wanted.max(self.copies.saturating_add(1))
    }

    fn held(&self) -> Option<Held> {
        let copies = self.copies.saturating_add(self.starting);
        if copies == 0 && self.room == 0 {
            Some(Held::NoRoom)
        } else if copies == 0 {
            None
        } else if !self.is_scaled {
            Some(Held::NotScaled)
        } else if copies >= self.most {
            Some(Held::AtMost)
        } else if self.room == 0 {
            Some(Held::NoRoom)
        } else {
            None
        }
    }
}

/// What limits a workflow, or where most of the time of its events goes; none: nothing happens.
pub fn find(stages: &[Stage]) -> Option<Finding> {
    limit(stages).or_else(|| slowest(stages))
}

fn limit(stages: &[Stage]) -> Option<Finding> {
    let full = |at: &usize| stages[*at].is_full();
    let full: Vec<usize> = (0..stages.len()).filter(full).collect();
    let most = full.iter().map(|&at| stages[at].busy()).fold(0.0, f64::max);
    let as_busy = |at: &usize| stages[*at].busy() >= most - EQUAL || stages[*at].copies == 0;
    let mut named: Vec<usize> = full.into_iter().filter(as_busy).collect();
    let waited: Vec<usize> = named
        .iter()
        .copied()
        .filter(|&at| stages[at].is_waited_for())
        .collect();
    if !waited.is_empty() {
        let calls = |from: usize, to: usize| stages[from].may_call(to, &stages[to]);
        named.retain(|&at| waited.contains(&at) || waited.iter().any(|&from| calls(from, at)));
    }
    let last = named.iter().copied().find(|&at| {
        let after = after(stages, at);
        // In a circle everybody is after everybody.
        let goes_on =
            |other: usize| after.contains(&other) && !self::after(stages, other).contains(&at);
        !named.iter().any(|&other| other != at && goes_on(other))
    });
    if let Some(at) = last {
        // Its output may be what does not get away.
        let far = far_after(stages, at).filter(|_| stages[at].busy() < BUSY);
        if let Some(far) = far {
            return Some(transfer(far, true));
        }
        let cause = cause(stages, at);
        return Some(Finding {
            stage: at,
            cause,
            limits: true,
            held: stages[at].held(),
            wanted: stages[at].wanted(),
        });
    }
    // Work waits, and its copies are not busy: they wait to get rid of their output.
    let waits = |at: &usize| stages[*at].slots > 0 && stages[*at].is_waited_for();
    let held_back = (0..stages.len()).filter(waits);
    let far = held_back.filter_map(|at| far_after(stages, at)).next();
    far.map(|far| transfer(far, true))
}

fn transfer(stage: usize, limits: bool) -> Finding {
    Finding {
        stage,
        cause: Cause::Transfer,
        limits,
        held: None,
        wanted: 0,
    }
}

/// The stage after one to which messages are longest on their way.
fn far_after(stages: &[Stage], at: usize) -> Option<usize> {
    let next = stages[at].next.iter().copied();
    let far = next.filter(|&it| stages[it].is_far());
    far.max_by(|&a, &b| stages[a].way().total_cmp(&stages[b].way()))
}

/// All stages that can be reached from one.
fn after(stages: &[Stage], at: usize) -> Vec<usize> {
    let mut found = Vec::new();
    let mut open = stages[at].next.clone();
    while let Some(next) = open.pop() {
        if !found.contains(&next) {
            found.push(next);
            open.extend(&stages[next].next);
        }
    }
    found
}

fn cause(stages: &[Stage], at: usize) -> Cause {
    let stage = &stages[at];
    let Some(service) = stage.now.service else {
        return match stage.copies {
            0 => Cause::Queue,
            _ => Cause::Execution,
        };
    };
    if let Some([rate, usual, _]) = stage.now.usual {
        if service > MORE * usual {
            return Cause::Execution;
        }
        if stage.offered() > MORE * rate {
            return Cause::Rate;
        }
    }
    if stage.now.queued > 0 && stage.now.growth < 0.0 {
        return Cause::Queue;
    }
    let others = stages.iter().enumerate().filter(|(other, _)| *other != at);
    let others: Vec<f64> = others.filter_map(|(_, it)| it.now.service).collect();
    let longest = others.iter().copied().fold(0.0, f64::max);
    match !others.is_empty() && service > LONG * longest {
        true => Cause::Execution,
        false => Cause::Rate,
    }
}

/// Where most of the time of an event goes.
fn slowest(stages: &[Stage]) -> Option<Finding> {
    let parts = stages
        .iter()
        .enumerate()
        .filter(|(_, it)| it.now.rate > 0.0);
    let parts = parts.flat_map(|(at, stage)| {
        let service = stage.now.service.unwrap_or(0.0);
        [
            (at, Cause::Execution, service),
            (at, Cause::Queue, stage.wait()),
            (at, Cause::Transfer, stage.way()),
        ]
    });
    let (stage, cause, seconds) = parts.max_by(|a, b| a.2.total_cmp(&b.2))?;
    (seconds > 0.0).then_some(Finding {
        stage,
        cause,
        limits: false,
        held: None,
        wanted: 0,
    })
}

#[cfg(test)]
mod tests;
