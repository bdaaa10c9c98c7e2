//! Why a number of copies was decided: typed, and shown in words and numbers.

use std::fmt;

/// Which rate of arrivals a load is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Basis {
    /// The one that was measured.
    #[default]
    Measured,
    /// The highest that the measured one may be by chance: nothing is given up before that is unlikely.
    AtMost,
    /// That of past bursts, as one has begun.
    Burst,
}

/// Why there are more copies than are busy on average, or fewer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Margin {
    /// There are not, but for whole numbers.
    #[default]
    None,
    /// No larger share of them is to be busy.
    Share(f32),
    /// One in a hundred waits no longer than so many seconds.
    Wait(f32),
    /// They start so fast that the rest starts when it is needed.
    Later,
    /// How long one is handled is not measured yet: one copy until it is.
    Unmeasured,
}

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
        /// Which rate it is.
        basis: Basis,
        /// What makes the number of copies of the load.
        margin: Margin,
    },
    /// So many are handled at once, where a copy starts at once.
    Busy {
        /// Events that were handled at once.
        in_flight: u32,
        /// Events that wait.
        queued: u32,
        /// Events on their way here that are due before a copy could start.
        expected: u32,
        /// For how many seconds an event waits for a copy that becomes free.
        patience: f32,
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
    /// What is on its way here needs them: tasks of orders, or what a function before sends on.
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
        /// Events that come then.
        batch: f32,
    },
    /// Fewer would do, but more were needed a short while ago.
    Held {
        /// Copies that would do now.
        needed: u32,
        /// Copies that were needed.
        most: u32,
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
            Self::Busy { .. } => "busy",
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

impl fmt::Display for Margin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::Share(share) => write!(f, ", of which {:.0} % may be busy", 100.0 * share),
            Self::Wait(wait) => write!(f, "; one in a hundred may wait {wait:.3} s"),
            Self::Later => write!(f, "; others start when they are needed"),
            Self::Unmeasured => write!(f, "; not measured yet, so no more than one"),
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
                basis,
                margin,
            } => {
                let arrive = match basis {
                    Basis::Measured => "arrive",
                    Basis::AtMost => "at most arrive",
                    Basis::Burst => "arrived in past bursts, as one begins,",
                };
                write!(
                    f,
                    "{rate:.1}/s {arrive} and take {service:.3} s each: a load of {load:.1} copies{margin}"
                )
            }
            Self::Busy {
                in_flight,
                queued,
                expected,
                patience,
            } => {
                write!(f, "{in_flight} at once")?;
                if *queued > 0 {
                    write!(
                        f,
                        ", {queued} wait, no longer than {patience:.3} s for one that becomes free"
                    )?;
                }
                match expected {
                    0 => Ok(()),
                    _ => write!(f, ", {expected} are on their way here"),
                }
            }
            Self::Backlog {
                queued,
                drain,
                within,
            } => write!(
                f,
                "{queued} wait: drained in {drain:.2} s by those that run, to be drained in {within:.2} s"
            ),
            Self::Expected { tasks, within } => {
                write!(f, "{tasks} on their way here, due within {within:.1} s")
            }
            Self::Prewarm { due, period, batch } => {
                write!(f, "work comes every {period:.1} s, ")?;
                match *due >= 0.0 {
                    true => write!(f, "next in {due:.1} s")?,
                    false => write!(f, "late by {:.1} s", -due)?,
                }
                write!(f, ", about {batch:.0} at a time")
            }
            Self::Held { needed, most, hold } => {
                write!(
                    f,
                    "{needed} would do now, {most} were needed in the last {hold:.1} s"
                )
            }
            Self::KeptAlive { idle, keep } => {
                write!(f, "without work for {idle:.1} s, kept for {keep:.1} s")
            }
            Self::Idle { idle, keep } => {
                write!(
                    f,
                    "without work for {idle:.1} s, and kept for no more than {keep:.1} s"
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_has_the_numbers_from_which_the_copies_follow() {
        let load = |basis, margin| Reason::Load {
            rate: 12.5,
            service: 0.2,
            load: 2.5,
            basis,
            margin,
        };
        let busy = |queued, expected| Reason::Busy {
            in_flight: 4,
            queued,
            expected,
            patience: 0.15,
        };
        let texts = [
            (
                load(Basis::Measured, Margin::Share(0.7)),
                "12.5/s arrive and take 0.200 s each: a load of 2.5 copies, of which 70 % may be busy",
            ),
            (
                load(Basis::AtMost, Margin::Wait(0.25)),
                "12.5/s at most arrive and take 0.200 s each: a load of 2.5 copies; one in a hundred may wait 0.250 s",
            ),
            (
                load(Basis::Burst, Margin::Later),
                "12.5/s arrived in past bursts, as one begins, and take 0.200 s each: a load of 2.5 copies; \
                 others start when they are needed",
            ),
            (busy(0, 0), "4 at once"),
            (
                busy(7, 2),
                "4 at once, 7 wait, no longer than 0.150 s for one that becomes free, 2 are on their way here",
            ),
            (
                Reason::Prewarm {
                    due: -1.0,
                    period: 60.0,
                    batch: 12.0,
                },
                "work comes every 60.0 s, late by 1.0 s, about 12 at a time",
            ),
            (
                Reason::Held {
                    needed: 2,
                    most: 5,
                    hold: 2.5,
                },
                "2 would do now, 5 were needed in the last 2.5 s",
            ),
        ];
        for (reason, text) in texts {
            assert_eq!(reason.to_string(), text);
        }
    }
}
