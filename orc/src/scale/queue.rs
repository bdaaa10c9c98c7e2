//! `queue`: as many copies as handle what arrives and drain the backlog within the target time.
//!
//! The rule for sources of Numaflow (`pkg/reconciler/vertex/scaling/scaling.go`): the rate that is handled
//! and the backlog over the target time, both by the rate of one copy.

use std::time::Duration;

use edgeless_types::Timestamp;

use super::{
    Decision, Reason, Settings, Successor, UNKNOWN_SERVICE, View, Window,
    reason::{Basis, Margin},
    staffing::ceil,
};

/// Seconds in which a backlog is to be drained, if the user says nothing.
const WITHIN: f64 = 5.0;
/// Seconds between two decisions while something runs.
const TICK: f64 = 1.0;
/// Seconds for which a need is held, so that nothing flaps.
const HOLD: f64 = 60.0;

pub(super) fn decide(
    settings: &Settings,
    window: &mut Window,
    view: &View,
    now: Timestamp,
) -> Decision {
    let at = now.as_secs_f64();
    if view.copies() == 0 && view.queued == 0 {
        return Decision {
            copies: 0,
            why: Reason::AtRest,
            bound: None,
            next: None,
        };
    }
    let service = window.service().unwrap_or(UNKNOWN_SERVICE) / f64::from(view.slots.max(1));
    let rate = window.rate(60, now);
    let within = settings.p99().unwrap_or(WITHIN);
    let backlog = f64::from(view.queued) * service / within;
    let load = rate * service / settings.utilisation().unwrap_or(1.0);
    let mut needed = ceil(load + backlog).min(view.queued.saturating_add(ceil(load)));
    needed = needed.max(u32::from(view.queued > 0 || view.in_flight > 0));
    let mut why = match backlog > load {
        true => Reason::Backlog {
            queued: view.queued,
            drain: (f64::from(view.queued) * service / f64::from(view.copies().max(1))) as f32,
            within: within as f32,
        },
        false => Reason::Load {
            rate: rate as f32,
            service: service as f32,
            load: (rate * service) as f32,
            basis: Basis::Measured,
            margin: settings
                .utilisation()
                .map_or(Margin::None, |share| Margin::Share(share as f32)),
        },
    };
    if view.successor == Successor::Stuck && needed > view.copies() {
        why = Reason::NextLimits { wanted: needed };
        needed = view.copies().max(1);
    }
    let idle = window.idle(now);
    let state = window.state();
    let mut copies = state.peaks.add(needed, HOLD, at);
    if copies > needed {
        why = Reason::Held {
            needed,
            most: copies,
            hold: HOLD as f32,
        };
    }
    let keep = settings.idle_after.as_secs_f64();
    if let Some(idle) = idle {
        let (seconds, keep) = (idle as f32, keep as f32);
        if idle >= f64::from(keep) {
            copies = 0;
            why = Reason::Idle {
                idle: seconds,
                keep,
            };
        } else if copies <= 1 {
            copies = 1;
            why = Reason::KeptAlive {
                idle: seconds,
                keep,
            };
        }
    }
    let next = (copies > 0).then(|| now + Duration::from_secs_f64(TICK));
    Decision {
        copies,
        why,
        bound: None,
        next,
    }
}
