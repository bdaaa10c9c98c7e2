//! How many copies of a function should run: policies over a window of signals.
//!
//! Pure: a [`Window`] takes the signals of one function, a [`View`] says what is true now, and
//! [`decide`] gives the number of copies with the reason and the moment to ask again. Starting and
//! stopping copies, and choosing nodes, is left to the domain and its planner; copies with work in
//! them are never stopped by whoever carries a decision out.

pub mod bottleneck;
mod concurrency;
mod expected;
mod fixed;
mod gaps;
mod late;
mod predictive;
pub mod priors;
mod queue;
mod rate;
pub mod reason;
mod staffing;
mod times;
pub mod traffic;
pub mod window;

use std::time::Duration;

use edgeless_types::Timestamp;

pub use edgeless_types::scaling::{self as settings, Policy, Settings, SettingsError, Target};
pub use priors::Priors;
pub use reason::Reason;
pub use traffic::Traffic;
pub use window::{Demand, Window};

/// Whether a later function of the graph limits this one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Successor {
    /// They keep up, or there is none.
    #[default]
    Free,
    /// One is the bottleneck: more copies here would only lengthen its queue.
    Stuck,
}

/// What is true of a function at the moment of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Copies that can take work, busy ones included.
    pub ready: u32,
    /// Copies that were asked for and are not ready yet.
    pub starting: u32,
    /// Copies of `ready` that have work in them.
    pub busy: u32,
    /// Events that wait for a copy.
    pub queued: u32,
    /// Events that are being handled.
    pub in_flight: u32,
    /// More copies than run and start, which feasible nodes can still take.
    pub room: u32,
    /// Events that one copy handles at once, at least 1.
    pub slots: u32,
    /// What comes next in the graph.
    pub successor: Successor,
}

impl View {
    /// Copies that run or start.
    pub fn copies(&self) -> u32 {
        self.ready.saturating_add(self.starting)
    }
}

/// How many copies there should be, and why.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decision {
    /// Copies that should run or be starting; within the bounds of the settings. Those who carry it
    /// out stop idle copies only.
    pub copies: u32,
    /// The reason of the policy in words and numbers, by its `Display`.
    pub why: Reason,
    /// Why it is another number than the policy wanted; none: it is not.
    pub bound: Option<Reason>,
    /// When to ask again if no event comes before; none: not before the next event.
    ///
    /// Events that ask at once: work for which no copy is free, an order announced
    /// ([`Window::expect`]), a copy that became ready or was lost.
    pub next: Option<Timestamp>,
}

impl Decision {
    /// Why, in words and numbers.
    pub fn reason(&self) -> String {
        match &self.bound {
            None => self.why.to_string(),
            // What the policy would do without is no reason for what is done.
            Some(bound @ Reason::AtLeast { .. }) => bound.to_string(),
            Some(bound) => format!("{}; {bound}", self.why),
        }
    }
}

/// Decides how many copies of a function there should be.
///
/// The same settings, signals and view give the same decision. The answer lies between the bounds of
/// the settings, and is not above what nodes can take.
pub fn decide(settings: &Settings, window: &mut Window, view: &View, now: Timestamp) -> Decision {
    window.observe(view, now);
    let wish = match settings.policy {
        Policy::Fixed => fixed::decide(settings, view),
        Policy::Concurrency => concurrency::decide(settings, window, view, now),
        Policy::Queue => queue::decide(settings, window, view, now),
        Policy::Predictive => predictive::decide(settings, window, view, now),
    };
    let mut decision = bounded(wish, settings, view);
    if decision.copies == 0 && view.copies() > 0 && decision.next.is_none() {
        // Once more when they are gone, so that it comes to rest.
        decision.next = Some(now + REST);
    }
    if decision.copies == 0 && view.copies() == 0 && decision.next.is_none() {
        window.rest(now);
    }
    decision
}

/// When a task that arrives at `due` will have been handled, as far as is known at `now`: what the next
/// function of its order is told by [`Window::expect`].
///
/// Without copies one is started at once, so that a chain of cold functions waits for one start.
pub fn leaves(
    settings: &Settings,
    window: &Window,
    view: &View,
    due: Timestamp,
    now: Timestamp,
) -> Timestamp {
    let start = window.start_time();
    let start = start.unwrap_or(settings.start_time.as_secs_f64());
    let service = window.service().unwrap_or(UNKNOWN_SERVICE);
    let slots = f64::from(view.ready) * f64::from(view.slots.max(1));
    let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or_default();
    let begins = match view.ready {
        0 => due.max(now + seconds(start)),
        ready if view.busy < ready => due,
        _ => due.max(now + seconds(f64::from(view.queued) * service / slots)),
    };
    begins + seconds(service)
}

/// After it has stopped a function is looked at once more.
const REST: Duration = Duration::from_secs(60);
/// Seconds of handling that are assumed before the first is measured.
const UNKNOWN_SERVICE: f64 = 0.1;

/// The wish within the bounds of the settings and of the nodes; the reason says which bound held.
fn bounded(wish: Decision, settings: &Settings, view: &View) -> Decision {
    let wanted = wish.copies;
    let possible = view.copies().saturating_add(view.room);
    let (copies, bound) = if wanted < settings.min_instances {
        let least = settings.min_instances;
        (least, Some(Reason::AtLeast { wanted, least }))
    } else if wanted > settings.max_instances {
        let most = settings.max_instances;
        (most, Some(Reason::AtMost { wanted, most }))
    } else {
        (wanted, None)
    };
    let (copies, bound) = match copies > possible && copies > view.copies() {
        true => {
            let wanted = copies;
            let bound = Reason::NoRoom { wanted, possible };
            (possible.max(settings.min_instances), Some(bound))
        }
        false => (copies, bound),
    };
    Decision {
        copies,
        bound,
        ..wish
    }
}

#[cfg(test)]
mod tests;
