//! Why a number of copies was decided: typed, and shown in words and numbers.

use std::fmt;

/// Why. Times are in seconds, rates in events per second, loads in busy copies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reason {
    /// The policy is `fixed`.
    Fixed,
    /// Nothing runs, waits or is expected.
    AtRest,
    /// Work waits and nothing runs.
    FirstWork {
        /// Events that wait.
        queued: u32,
    },
    /// What arrives needs them.
    Load {
        /// Arrivals per second.
        rate: f32,
        /// How long one is handled, in seconds.
        service: f32,
        /// Busy copies on average.
        load: f32,
    },
    /// What waits needs them.
    Backlog {
        /// Events that wait.
        queued: u32,
        /// In how many seconds those that run would have drained it.
        drain: f32,
        /// In how many seconds it is to be drained.
        within: f32,
    },
    /// Orders on their way here need them.
    Expected {
        /// Tasks on their way.
        tasks: u32,
        /// Seconds within which they are due.
        within: f32,
    },
    /// Arrivals come at regular intervals, and the next are near.
    Prewarm {
        /// Seconds until they are expected; negative: they are late.
        due: f32,
        /// The interval in seconds.
        period: f32,
    },
    /// Fewer would do, but more were needed a short while ago.
    Held {
        /// Copies that would do now.
        needed: u32,
        /// For how many seconds a peak counts.
        hold: f32,
    },
    /// Nothing to do, and kept in case something comes.
    KeptAlive {
        /// Seconds without work.
        idle: f32,
        /// For how many it is kept.
        keep: f32,
    },
    /// Nothing to do for long enough.
    Idle {
        /// Seconds without work.
        idle: f32,
        /// For how many it was kept.
        keep: f32,
    },
    /// The algorithm of Knative over its stable window.
    Stable {
        /// Mean concurrency over the window.
        concurrency: f32,
        /// Wanted per copy.
        target: f32,
    },
    /// The algorithm of Knative in its panic mode.
    Panic {
        /// Mean concurrency over the short window.
        concurrency: f32,
        /// Wanted per copy.
        target: f32,
    },
    /// More are not started, since a later function is the bottleneck.
    NextLimits {
        /// Copies that would be wanted otherwise.
        wanted: u32,
    },
    /// `min_instances` holds.
    AtLeast {
        /// Copies that would be wanted otherwise.
        wanted: u32,
        /// The bound.
        least: u32,
    },
    /// `max_instances` holds.
    AtMost {
        /// Copies that would be wanted otherwise.
        wanted: u32,
        /// The bound.
        most: u32,
    },
    /// Fewer would do, but these ran before ε-ORC started, and what they had to do is not known.
    Found {
        /// Copies that would do.
        needed: u32,
    },
    /// Nodes that may take it are full, or there is none.
    NoRoom {
        /// Copies that would be wanted otherwise.
        wanted: u32,
        /// Copies that nodes can take.
        possible: u32,
    },
}

impl Reason {
    /// The kind alone, as the datasets name it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Fixed => "fixed",
            Self::AtRest => "at_rest",
            Self::FirstWork { .. } => "first_work",
            Self::Load { .. } => "load",
            Self::Backlog { .. } => "backlog",
            Self::Expected { .. } => "expected",
            Self::Prewarm { .. } => "prewarm",
            Self::Held { .. } => "held",
            Self::KeptAlive { .. } => "kept_alive",
            Self::Idle { .. } => "idle",
            Self::Stable { .. } => "stable",
            Self::Panic { .. } => "panic",
            Self::NextLimits { .. } => "next_limits",
            Self::AtLeast { .. } => "at_least",
            Self::AtMost { .. } => "at_most",
            Self::Found { .. } => "found",
            Self::NoRoom { .. } => "no_room",
        }
    }
}

impl fmt::Display for Reason {
    #[expect(clippy::too_many_lines, reason = "one text for each kind")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed => write!(f, "the number is fixed"),
            Self::AtRest => write!(f, "nothing arrives and nothing waits"),
            Self::FirstWork { queued } => write!(f, "{queued} wait and nothing runs"),
            Self::Load {
                rate,
                service,
                load,
            } => write!(
                f,
                "{rate:.1}/s arrive and take {service:.3} s each: a load of {load:.1} copies"
            ),
            Self::Backlog {
                queued,
                drain,
                within,
            } => write!(
                f,
                "{queued} wait: drained in {drain:.2} s by those that run, to be drained in {within:.2} s"
            ),
            Self::Expected { tasks, within } => {
                write!(f, "{tasks} tasks of orders arrive within {within:.1} s")
            }
            Self::Prewarm { due, period } => {
                write!(f, "work comes every {period:.1} s, next in {due:.1} s")
            }
            Self::Held { needed, hold } => {
                write!(
                    f,
                    "{needed} would do now, more were needed in the last {hold:.0} s"
                )
            }
            Self::KeptAlive { idle, keep } => {
                write!(f, "idle for {idle:.1} s, kept for {keep:.1} s")
            }
            Self::Idle { idle, keep } => {
                write!(
                    f,
                    "idle for {idle:.1} s, longer than the {keep:.1} s it is kept"
                )
            }
            Self::Stable {
                concurrency,
                target,
            } => {
                write!(
                    f,
                    "mean concurrency {concurrency:.1} over 60 s, {target:.1} wanted per copy"
                )
            }
            Self::Panic {
                concurrency,
                target,
            } => {
                write!(
                    f,
                    "mean concurrency {concurrency:.1} over 6 s, {target:.1} wanted per copy (panic)"
                )
            }
            Self::NextLimits { wanted } => {
                write!(f, "{wanted} wanted, but a later function is the bottleneck")
            }
            Self::AtLeast { wanted, least } => {
                write!(f, "{wanted} would do, `min_instances` is {least}")
            }
            Self::AtMost { wanted, most } => {
                write!(f, "{wanted} wanted, `max_instances` is {most}")
            }
            Self::Found { needed } => {
                write!(f, "{needed} would do now, more ran before ε-ORC started")
            }
            Self::NoRoom { wanted, possible } => {
                write!(f, "{wanted} wanted, feasible nodes can take {possible}")
            }
        }
    }
}
