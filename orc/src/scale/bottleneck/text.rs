//! Findings in words and numbers.

use std::fmt;

use super::{Cause, Finding, Held, Stage};

/// A finding in words and numbers.
pub struct Why<'a>(pub &'a Finding, pub &'a Stage);

impl fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(finding, stage) = self;
        let now = &stage.now;
        let milliseconds = |seconds: Option<f64>| 1e3 * seconds.unwrap_or(0.0);
        let (service, copies) = (milliseconds(now.service), stage.copies);
        let busy = 100.0 * stage.busy();
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
            (false, Cause::Transfer) => write!(
                f,
                "nothing limits; most of the time messages are on their way to it: {:.1} ms",
                1e3 * stage.way()
            )?,
            (false, Cause::Queue) => write!(
                f,
                "nothing limits; most of the time messages wait for it: {:.1} ms",
                1e3 * stage.wait()
            )?,
            (false, _) => write!(
                f,
                "nothing limits; most of the time it handles them: {service:.1} ms each"
            )?,
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
