//! `concurrency`: the published algorithm of Knative with its defaults, for comparison and for those who
//! know it.
//!
//! Source: Knative Serving, `pkg/autoscaler/scaling/autoscaler.go` and
//! `pkg/reconciler/autoscaling/kpa/scaler.go`; the defaults are those of `config-autoscaler`.

use edgeless_types::Timestamp;

use super::{
    Decision, Reason, Settings, View, Window,
    staffing::{Panic, ceil},
};

/// Seconds between two decisions.
const TICK: f64 = 2.0;
/// Seconds of the stable and of the panic window.
const STABLE: u32 = 60;
const SHORT: u32 = 6;
/// The share of its slots that a copy should have busy.
const TARGET: f64 = 0.7;
/// Panic begins when this many times the ready copies are wanted.
const PANIC_THRESHOLD: f64 = 2.0;
/// At most this many times the ready copies, and at least that share of them, are wanted at once.
const MAX_UP: f64 = 1_000.0;
const MAX_DOWN: f64 = 2.0;
/// Slots that are to be free for a burst. Below, the activator stays in the path of events, and the grace
/// period before the last stop (30 s) has long passed when the stable window is empty.
const TARGET_BURST: f64 = 211.0;
const GRACE: f64 = 30.0;

pub(super) fn decide(
    settings: &Settings,
    window: &mut Window,
    view: &View,
    now: Timestamp,
) -> Decision {
    let at = now.as_secs_f64();
    let per_copy = f64::from(view.slots) * settings.utilisation().unwrap_or(TARGET);
    let (stable, panic) = (window.concurrency(STABLE), window.concurrency(SHORT));
    let why = |panics: bool| {
        let target = per_copy as f32;
        match panics {
            true => Reason::Panic {
                concurrency: panic as f32,
                target,
            },
            false => Reason::Stable {
                concurrency: stable as f32,
                target,
            },
        }
    };
    // Nothing runs: asleep until the first event, which decides at once.
    if view.copies() == 0 && view.queued == 0 && settings.min_instances == 0 {
        return Decision {
            copies: 0,
            why: Reason::AtRest,
            bound: None,
            next: None,
        };
    }
    let poked = view.copies() == 0 && view.queued > 0;
    let state = window.state();
    if at < state.tick && !poked {
        let next = Some(now + seconds(state.tick - at));
        return Decision {
            copies: state.copies,
            why: why(state.panic.since > 0.0),
            bound: None,
            next,
        };
    }
    state.tick = at + TICK;
    let ready = f64::from(view.ready.max(1));
    let (wants_stable, wants_panic) = (stable / per_copy, panic / per_copy);
    let (most, least) = (ceil(ready * MAX_UP), (ready / MAX_DOWN).floor() as u32);
    let clamped = |wanted: f64| ceil(wanted).clamp(least, most);
    let crossed = f64::from(ceil(wants_panic)) / ready >= PANIC_THRESHOLD;
    state.panic.update(crossed, at);
    let mut copies = clamped(wants_stable);
    if state.panic.since > 0.0 {
        state.panic.most = state.panic.most.max(copies).max(clamped(wants_panic));
        copies = state.panic.most;
    }
    if poked {
        copies = copies.max(1);
    }
    if copies > 0 {
        state.inactive = 0.0;
    } else if state.inactive == 0.0 {
        state.inactive = at;
    }
    let in_path = ready * f64::from(view.slots) < TARGET_BURST;
    if copies == 0 && !in_path && at < state.inactive + GRACE {
        copies = 1;
    }
    state.copies = copies;
    let panics = state.panic.since > 0.0;
    let next = (copies > 0).then(|| now + seconds(TICK));
    Decision {
        copies,
        why: why(panics),
        bound: None,
        next,
    }
}

impl Panic {
    /// Entered or prolonged when the threshold is crossed, left when it was not for a stable window.
    fn update(&mut self, crossed: bool, now: f64) {
        if crossed {
            if self.since == 0.0 {
                self.most = 0;
            }
            self.since = now;
        } else if self.since > 0.0 && self.since + f64::from(STABLE) < now {
            self.since = 0.0;
        }
    }
}

fn seconds(seconds: f64) -> std::time::Duration {
    std::time::Duration::from_secs_f64(seconds.max(0.001))
}
