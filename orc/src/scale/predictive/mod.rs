//! `predictive`: copies from the true rate of handling, the backlog, orders on their way, and what was
//! learnt of past arrivals.
//!
//! Sources: rates from useful time, in one step, as DS2 (Kalavri et al., OSDI 2018); the waiting time of a
//! staff of copies, see `staffing`; keeping the last copy by the histogram of idle times, as "Serverless in
//! the Wild" (Shahrad et al., ATC 2020), see `gaps`; no growth before a bottleneck, as
//! Numaflow. Announcing the later tasks of an order, so that a chain of cold functions waits for one start
//! instead of one each, needs the order book and has no source elsewhere.

mod known;
mod needs;

use std::time::Duration;

use edgeless_types::Timestamp;

use self::{
    known::{Known, START_PRICE},
    needs::{Need, backlog, burst, demand, prewarm, ready_by, steady},
};
use super::{Decision, Reason, Settings, Successor, View, Window};

/// A second of waiting costs as much as that many seconds of an idle copy.
const WAIT_COST: f64 = 60.0;
/// Nobody notices that many seconds of it.
const UNFELT: f64 = 0.02;
/// When there is nothing to foresee: decided again after so many seconds at most.
const AGAIN: f64 = 1.0;
/// Not again sooner, unless something happens.
const SOONEST: f64 = 0.05;
/// No moment further ahead is of interest: a year.
const FURTHEST: f64 = 3.2e7;

pub(super) fn decide(
    settings: &Settings,
    window: &mut Window,
    view: &View,
    now: Timestamp,
) -> Decision {
    let known = Known::of(settings, window, view, now);
    let work = view.queued.saturating_add(view.in_flight) > 0;
    let is_over = !work
        && window
            .idle(now)
            .is_some_and(|it| it >= settings.idle_after.as_secs_f64());
    if is_over && view.copies() > 0 {
        window.give_up_due(now);
    }
    let needs = [
        steady(settings, view, &known).filter(|_| !is_over),
        match known.at_once {
            true => demand(settings, window, view, &known),
            false => backlog(settings, window, view, &known),
        },
        burst(settings, window, &known).filter(|_| !is_over),
        prewarm(window, &known),
    ];
    let most = needs.into_iter().flatten().max_by_key(|it| it.0);
    let (needed, why) = most.unwrap_or((0, Reason::AtRest));
    let needed = needed.max(u32::from(work));
    let (mut copies, mut why) = held(window, view, &known, (needed, why));
    if view.successor == Successor::Stuck && copies > view.copies() && view.copies() > 0 {
        why = Reason::NextLimits { wanted: copies };
        copies = view.copies();
    }
    let again = match (view.copies() > needed, known.at_once) {
        (true, _) => known.hold / 8.0,
        (false, true) => known.hold.min(0.25 * known.service),
        (false, false) => known.hold,
    };
    let mut next = known.now + again.clamp(SOONEST, AGAIN);
    if !work && needed == 0 {
        (copies, why, next) = unused(settings, window, view, (&known, now), (copies, why, next));
    }
    if copies > 0 && view.copies() == 0 {
        window.restart_idle(now);
    }
    if copies == 0 {
        next = wake(window, &known);
    }
    let later = next
        .is_finite()
        .then(|| Duration::from_secs_f64((next - known.now).clamp(0.001, FURTHEST)));
    Decision {
        copies,
        why,
        bound: None,
        next: later.map(|it| now + it),
    }
}

/// Copies of a function that nothing needs now, why, and when to ask again; `before`: what else would be decided.
fn unused(
    settings: &Settings,
    window: &mut Window,
    view: &View,
    (known, now): (&Known, Timestamp),
    before: (u32, Reason, f64),
) -> (u32, Reason, f64) {
    let for_long = keep(settings, window, known);
    let unused = window.idle(now).unwrap_or(f64::INFINITY);
    let (idle, keep) = (unused.min(1e9) as f32, for_long as f32);
    let (copies, _, next) = before;
    if view.copies() == 0 {
        return (0, Reason::AtRest, next);
    }
    if unused >= for_long - 1e-6 {
        // Who was expected has not come for that long.
        window.give_up_due(now);
        return (0, Reason::Idle { idle, keep }, next);
    }
    match copies <= 1 {
        true => {
            let heard = window.heard_until(now).as_secs_f64();
            let over = heard + for_long - unused;
            // Before the next report nothing new is known of it.
            let told = heard + window.told_every();
            let next = match heard < known.now {
                true => over.max(told).max(known.now + SOONEST),
                false => over,
            };
            (1, Reason::KeptAlive { idle, keep }, next)
        }
        false => before,
    }
}

/// More than needed, if more were needed a short while ago.
fn held(window: &mut Window, view: &View, known: &Known, need: Need) -> Need {
    let (needed, why) = need;
    if needed == 0 && view.copies() == 0 {
        return need;
    }
    let most = window.state().peaks.add(needed, known.hold, known.now);
    match most > needed && view.copies() > needed {
        true => {
            let (hold, most) = (known.hold as f32, most.min(view.copies()));
            (most, Reason::Held { needed, most, hold })
        }
        false => (needed, why),
    }
}

/// For how many seconds the last copy is kept without work.
fn keep(settings: &Settings, window: &Window, known: &Known) -> f64 {
    let longest = settings.idle_after.as_secs_f64();
    // A start is paid for, its copy while it starts, and somebody waits for it.
    let felt = (known.start - UNFELT).max(0.0);
    let cost = START_PRICE + known.start + WAIT_COST * felt;
    // What is started for an order that is on its way is there when it comes.
    let shortest = 2.0 * known.start + SOONEST;
    // Who is told of events late has heard of none for a while though they come.
    let shortest = shortest.max(2.0 * window.told_every()).min(longest);
    let keep = window.gaps.keep(cost, longest).max(shortest);
    match window.bursts.next() {
        // When the next ones come is known, and that it is later than is worth waiting for.
        Some(next) if next.from - known.now > cost => shortest.max(window.bursts.pause()),
        _ => keep,
    }
}

/// When something is expected of a function at rest, less the time to start it.
fn wake(window: &Window, known: &Known) -> f64 {
    let ahead = match known.at_once {
        true => ready_by(known),
        false => known.start,
    };
    let ordered = window
        .next_expected()
        .map(|at| (at - ahead).max(known.now + SOONEST));
    let regular = window.bursts.next().map(|next| next.from - ready_by(known));
    let regular = regular.filter(|at| *at > known.now && !known.at_once);
    let moments = [ordered, regular].into_iter().flatten();
    moments.fold(f64::INFINITY, f64::min)
}
