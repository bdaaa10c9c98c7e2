//! Findings in words and numbers.

use std::fmt;

use super::{Cause, Finding, Held, Stage};

/// Processors that are busy for more than this share make messages wait for them.
const FULL: f64 = 0.9;

/// A finding in words and numbers.
pub struct Why<'a>(pub &'a Finding, pub &'a Stage);

impl fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(finding, stage) = self;
        let now = &stage.now;
        let milliseconds = |seconds: Option<f64>| 1e3 * seconds.unwrap_or(0.0);
        let (service, copies) = (milliseconds(now.service), stage.copies);
        let busy = 100.0 * stage.busy();
        if copies == 0 && now.queued == 0 {
            return f.write_str("nothing is to do, and no copy runs");
        }
        if copies == 0 {
            return write!(f, "{} wait and no copy runs", now.queued);
        }
        match (finding.limits, finding.cause) {
            (true, Cause::Transfer) => write!(
                f,
                "messages to it are {:.1} ms on their way, and those before it cannot get rid of more",
                1e3 * stage.way()
            )?,
            (true, Cause::Execution) => match now.service {
                Some(_) => {
                    write!(f, "it takes {service:.1} ms for each of {:.1}/s", now.rate)?;
                }
                None => write!(f, "none was handled yet")?,
            },
            (true, Cause::Rate) => write!(
                f,
                "{:.1}/s arrive and take {service:.1} ms each",
                stage.offered()
            )?,
            (true, Cause::Queue) => write!(
                f,
                "{} wait that came earlier, by {:.1} fewer each second",
                now.queued, -now.growth
            )?,
            (false, cause) => slowest(f, cause, stage)?,
        }
        if (finding.limits || finding.cause == Cause::Transfer) && stage.processors >= FULL {
            let busy = 100.0 * stage.processors;
            write!(
                f,
                "; the processors of its node are {busy:.0} % busy, which may be why"
            )?;
        }
        if finding.limits && finding.cause != Cause::Transfer {
            match copies {
                1 => write!(f, "; its copy is {busy:.0} % busy")?,
                _ => write!(f, "; its {copies} copies are {busy:.0} % busy")?,
            }
            if now.queued > 0 {
                write!(f, ", {} wait, {:.1} s at most", now.queued, now.oldest)?;
            }
        }
        if let Some([rate, service, _]) = now.usual.filter(|_| finding.limits) {
            let (rate, service) = (rate, 1e3 * service);
            write!(f, " (usual: {rate:.1}/s, {service:.1} ms)")?;
        }
        Ok(())
    }
}

/// Where an event spends most of its time, where nothing limits.
fn slowest(f: &mut fmt::Formatter<'_>, cause: Cause, stage: &Stage) -> fmt::Result {
    let (what, seconds) = match cause {
        Cause::Transfer => ("messages are on their way to it:", stage.way()),
        Cause::Queue if stage.wait() <= stage.started => {
            ("messages waited for its first copy to start:", stage.wait())
        }
        Cause::Queue => ("messages wait for it:", stage.wait()),
        Cause::Rate | Cause::Execution => {
            let service_ms = 1e3 * stage.now.service.unwrap_or(0.0);
            return write!(
                f,
                "nothing limits; most of the time it handles them: {service_ms:.1} ms each"
            );
        }
    };
    let wait_ms = 1e3 * seconds;
    write!(f, "nothing limits; most of the time {what} {wait_ms:.1} ms")
}

/// What helps.
pub struct Action<'a>(pub &'a Finding, pub &'a Stage);

impl fmt::Display for Action<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(finding, stage) = self;
        let wanted = finding.wanted;
        if finding.cause == Cause::Transfer {
            return write!(
                f,
                "more copies would not help; a place nearer to those who send to it would"
            );
        }
        if !finding.limits {
            return write!(f, "nothing is to be done");
        }
        if stage.processors >= FULL && finding.held != Some(Held::NoRoom) {
            return write!(
                f,
                "more copies on busy processors would not help; more nodes, or fewer others on them, would"
            );
        }
        match finding.held {
            Some(Held::AtMost) => write!(
                f,
                "it has as many copies as it may; {wanted} would do: raise `max_instances`"
            ),
            Some(Held::NoRoom) => {
                write!(f, "{wanted} copies would do, and no node takes another one")
            }
            Some(Held::NotScaled) => write!(
                f,
                "it is not scaled; {wanted} copies would do: set `max_instances`"
            ),
            None if stage.starting > 0 => write!(f, "{} more copies start", stage.starting),
            None => write!(f, "it gets more copies; {wanted} would do"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scale::{bottleneck::find, traffic::Recent};

    /// A message that waited for two seconds on its way to a function that takes 10 ms.
    fn late() -> Stage {
        Stage {
            copies: 1,
            slots: 1,
            now: Recent {
                rate: 1.0,
                service: Some(0.01),
                transfer: Some(2.05),
                ..Recent::default()
            },
            ..Stage::default()
        }
    }

    #[test]
    fn a_start_is_not_taken_for_a_slow_way() {
        let far = [late()];
        let found = find(&far).unwrap();
        assert_eq!((found.cause, found.limits), (Cause::Transfer, false));
        let cold = [Stage {
            started: 2.0,
            ..late()
        }];
        let found = find(&cold).unwrap();
        assert_eq!((found.cause, found.limits), (Cause::Queue, false));
        let why = Why(&found, &cold[0]).to_string();
        assert!(
            why.contains("waited for its first copy to start: 2000.0 ms"),
            "{why}"
        );
    }

    #[test]
    fn a_long_way_to_a_node_whose_processors_are_busy_may_be_due_to_these() {
        let why = |processors| {
            let stages = [Stage {
                processors,
                ..late()
            }];
            Why(&find(&stages).unwrap(), &stages[0]).to_string()
        };
        assert!(why(0.97).ends_with("the processors of its node are 97 % busy, which may be why"));
        assert!(!why(0.5).contains("processors"));
    }
}
