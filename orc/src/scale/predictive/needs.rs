//! What copies are needed for: what arrives, what waits, what is on its way, and what is foreseen.

use super::known::Known;
use crate::scale::{
    Reason, Settings, View, Window,
    reason::{Basis, Margin},
    staffing::ceil,
};

/// How long one in a hundred may wait if the user says nothing, in times of handling; once more for so many
/// seconds that peaks are held.
const WAIT: f64 = 1.075;
const HELD: f64 = 90.0;
/// And once more for so many busy copies beyond so few.
const MANY: f64 = 30.0;
const FEW: f64 = 4.0;
/// No more than one copy beyond those of which this share is busy.
const TARGET: f64 = 0.7;
/// Square roots of the load to spare where copies start at once: the rest starts when it is needed.
const SPARE: f64 = -1.0;
/// Times of handling for which events wait for a copy that becomes free rather than for one that starts at
/// once.
const PATIENCE: f64 = 0.75;
/// And no longer than so many seconds.
const LONGEST_PATIENCE: f64 = 0.25;
/// Busy slots below which no copy is needed all the time: the rule for idle ones decides.
const RARE: f64 = 0.02;
/// The same for copies that start at once, if silences are not as long as each other.
const RARE_AT_ONCE: f64 = 0.6;
/// A backlog is to be drained within that share of the time of a start, if that is longer than handling.
const DRAIN: f64 = 0.2;
/// Seconds in which a foreseen batch is to be handled.
const BATCH_WITHIN: f64 = 1.0;

/// A number of copies and its reason.
pub(super) type Need = (u32, Reason);

/// Copies for what arrives; none is given up for a change of the load that may be chance.
pub(super) fn steady(settings: &Settings, view: &View, known: &Known) -> Option<Need> {
    let need = base(settings, known, Basis::Measured);
    let (copies, _) = need;
    if copies >= view.copies() || copies == 0 {
        return Some(need);
    }
    let (more, why) = base(settings, &known.with_rate(known.at_most), Basis::AtMost);
    match more.min(view.copies()) {
        more if more > copies => Some((more, why)),
        _ => Some(need),
    }
}

/// Copies for a load.
fn base(settings: &Settings, known: &Known, basis: Basis) -> Need {
    let busy = known.load.busy;
    let by_share = |share: f64| ceil(busy / share / known.slots);
    let by_wait = |wait: f64| {
        let bound = f64::from(settings.max_instances) * known.slots + 1.0;
        let most = ceil((4.0 * busy + 4.0).min(bound));
        ceil(f64::from(known.load.slots_for(wait, most)) / known.slots)
    };
    // What is held serves as well: who holds longer needs fewer.
    let many = ((busy / known.slots - FEW) / MANY).clamp(0.0, 1.0);
    let wait = WAIT + known.hold / HELD + many;
    let (copies, margin) = match (settings.utilisation(), settings.p99()) {
        (Some(share), _) => (by_share(share), Margin::Share(share as f32)),
        (None, Some(wait)) => (by_wait(wait), Margin::Wait(wait as f32)),
        (None, None) if known.at_once => {
            let least = (busy + SPARE * busy.sqrt()).max(0.0);
            (ceil(least / known.slots).max(1), Margin::Later)
        }
        (None, None) => {
            let wait = wait * known.service;
            let (enough, most) = (by_wait(wait), by_share(TARGET) + 1);
            match enough > most {
                true => (most, Margin::Share(TARGET as f32)),
                false => (enough, Margin::Wait(wait as f32)),
            }
        }
    };
    // Less than one event in a while: the idle rule keeps a copy, not the load.
    let rare = match known.at_once && known.differ {
        true => RARE_AT_ONCE,
        false => RARE,
    };
    let copies = if busy < rare { 0 } else { copies };
    // How many a load needs is known when it is known how long an event takes.
    let (copies, margin) = match known.is_measured || copies <= 1 {
        true => (copies, margin),
        false => (1, Margin::Unmeasured),
    };
    (copies, known.why(basis, margin))
}

/// Copies for what is being done and what waits, where one starts at once.
pub(super) fn demand(
    settings: &Settings,
    window: &mut Window,
    view: &View,
    known: &Known,
) -> Option<Need> {
    let ahead = ready_by(known);
    let expected = window.expected_within(known.now + ahead);
    let wait = match settings.p99() {
        Some(wait) => (wait - known.start).max(0.0),
        None => (PATIENCE * known.service).min(LONGEST_PATIENCE),
    };
    // So many will have found a copy that became free by then.
    let in_flight = f64::from(window.most_in_flight(view));
    let patient = in_flight * wait / known.service;
    let waiting = (f64::from(view.queued) - patient).max(0.0);
    let at_once = in_flight + waiting + f64::from(expected);
    let needed = ceil(at_once / known.slots);
    let why = match in_flight + f64::from(view.copies()) > 0.0 {
        true => Reason::Busy {
            in_flight: in_flight as u32,
            queued: view.queued,
            expected,
            patience: wait as f32,
        },
        false => first(view, expected, ahead),
    };
    (needed > 0).then_some((needed, why))
}

/// Copies for what waits and what is announced, beyond what those that run will have handled by the time
/// that a copy started now is ready.
pub(super) fn backlog(
    settings: &Settings,
    window: &Window,
    view: &View,
    known: &Known,
) -> Option<Need> {
    let within = settings
        .p99()
        .unwrap_or(known.service)
        .max(DRAIN * known.start);
    let ahead = known.start + known.service;
    let expected = window.expected_within(known.now + ahead);
    if view.queued == 0 && expected == 0 {
        return None;
    }
    let copies = f64::from(view.copies());
    let rate_of_copy = known.slots / known.service;
    let waiting = f64::from(view.queued);
    // Copies that start take part from when they are ready: on average half of the time.
    let ready = f64::from(view.ready) + 0.5 * f64::from(view.starting);
    let handled = ready * rate_of_copy * known.start;
    let left = waiting + f64::from(expected) - handled;
    if left <= 0.0 {
        return (copies < 1.0).then_some((1, first(view, expected, ahead)));
    }
    // Those that run also go on after that, beside what arrives.
    let spare = (copies - known.load.busy / known.slots).max(0.0) * within * rate_of_copy;
    let extra = ((left - spare) / (rate_of_copy * within)).max(0.0);
    let most = view
        .copies()
        .saturating_add(view.queued)
        .saturating_add(expected);
    let needed = ceil(copies + extra).min(most).max(1);
    let why = match (view.queued, copies > 0.0) {
        (0, _) | (_, false) => first(view, expected, ahead),
        (queued, true) => Reason::Backlog {
            queued,
            drain: (waiting / (copies * rate_of_copy)) as f32,
            within: within as f32,
        },
    };
    (extra > 0.0 || copies < 1.0).then_some((needed, why))
}

fn first(view: &View, expected: u32, ahead: f64) -> Reason {
    match view.queued {
        0 => Reason::Expected {
            tasks: expected,
            within: ahead as f32,
        },
        queued => Reason::FirstWork { queued },
    }
}

/// Copies for a burst that began a moment ago, if past ones went on.
pub(super) fn burst(settings: &Settings, window: &Window, known: &Known) -> Option<Need> {
    let (age, rate) = (window.bursts.age(known.now), window.bursts.rate());
    let new = age <= known.start + 5.0 && window.arrivals(5) >= 3;
    if !new || rate <= known.rate || known.at_once {
        return None;
    }
    Some(base(settings, &known.with_rate(rate), Basis::Burst))
}

/// Copies for regular arrivals that are near.
pub(super) fn prewarm(window: &Window, known: &Known) -> Option<Need> {
    let next = window.bursts.next()?;
    if known.at_once || known.now > next.until || known.now < next.from - ready_by(known) {
        return None;
    }
    let batch = window.bursts.batch() * known.service / BATCH_WITHIN.max(known.service);
    let lasting = window.bursts.rate() * known.service / TARGET;
    let copies = ceil(batch.max(lasting) / known.slots).max(1);
    let why = Reason::Prewarm {
        due: (0.5 * (next.from + next.until) - known.now) as f32,
        period: next.period as f32,
        batch: window.bursts.batch() as f32,
    };
    Some((copies, why))
}

/// Seconds before they are needed at which copies are started.
pub(super) fn ready_by(known: &Known) -> f64 {
    match known.at_once {
        true => 1.25 * known.start + 0.0,
        false => 1.25 * known.start + 0.05,
    }
}
