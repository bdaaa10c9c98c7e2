//! `predictive`: copies from the true rate of handling, the backlog, orders on their way, and what was
//! learnt of past arrivals.
//!
//! Sources: rates from useful time, in one step, as DS2 (Kalavri et al., OSDI 2018); the waiting time of a
//! staff of copies, see `staffing`; keeping the last copy by the histogram of idle times, as "Serverless in
//! the Wild" (Shahrad et al., ATC 2020), see `gaps`; no growth before a bottleneck, as
//! Numaflow. Announcing the later tasks of an order, so that a chain of cold functions waits for one start
//! instead of one each, needs the order book and has no source elsewhere.

use std::time::Duration;

use edgeless_types::Timestamp;

use super::{
    Decision, Reason, Settings, Successor, UNKNOWN_SERVICE, View, Window,
    staffing::{Load, ceil},
};

/// The share of a start that is added to the time of handling that is assumed before the first is measured.
const UNKNOWN_SHARE: f64 = 0.1;
/// How long one in a hundred may wait if the user says nothing, in times of handling.
const WAIT: f64 = 1.6;
/// No more than one copy beyond those of which this share is busy.
const TARGET: f64 = 0.7;
/// Square roots of the load to spare where starting a copy is hardly felt: the rest starts when it is needed.
const SPARE: f64 = 0.6;
/// Busy slots below which no copy is needed all the time: the rule for idle ones decides.
const RARE: f64 = 0.02;
/// Starts for whose time a peak of the need is held, and bounds of that time in seconds.
const HOLD: f64 = 10.0;
const SHORTEST_HOLD: f64 = 2.0;
const LONGEST_HOLD: f64 = 50.0;
/// A backlog is to be drained within that share of the time of a start, if that is longer than handling.
const DRAIN: f64 = 0.2;
/// A second of waiting costs as much as that many seconds of an idle copy.
const WAIT_COST: f64 = 60.0;

/// A copy is given up when as many times the load would not need it either.
const DEAD_BAND: f64 = 1.05;
/// Standard deviations by which recent arrivals are off before they count as another rate.
const SURPRISE: f64 = 2.5;
/// Seconds in which a foreseen batch is to be handled.
const BATCH_WITHIN: f64 = 1.0;

/// What is known of the function, in seconds and slots.
struct Known {
    now: f64,
    start: f64,
    service: f64,
    slots: f64,
    rate: f64,
    load: Load,
    /// Seconds for which a peak of the need is held.
    hold: f64,
}

/// A number of copies and its reason.
type Need = (u32, Reason);

pub(super) fn decide(
    settings: &Settings,
    window: &mut Window,
    view: &View,
    now: Timestamp,
) -> Decision {
    let known = Known::of(settings, window, view, now);
    let needs = [
        steady(settings, view, &known),
        backlog(settings, window, view, &known),
        burst(settings, window, &known),
        prewarm(window, &known),
    ];
    let most = needs.into_iter().flatten().max_by_key(|it| it.0);
    let (needed, why) = most.unwrap_or((0, Reason::AtRest));
    let work = view.queued.saturating_add(view.in_flight) > 0;
    let needed = needed.max(u32::from(work));
    let (mut copies, mut why) = held(window, view, &known, (needed, why));
    if view.successor == Successor::Stuck && copies > view.copies() && view.copies() > 0 {
        why = Reason::NextLimits { wanted: copies };
        copies = view.copies();
    }
    let mut next = known.now + (known.hold / 8.0).clamp(0.1, 1.0);
    if !work && needed == 0 {
        let keep = keep(settings, window, &known);
        let idle = window.idle(now).unwrap_or(f64::INFINITY);
        let shown = (idle.min(1e9) as f32, keep as f32);
        if view.copies() == 0 {
            (copies, why) = (0, Reason::AtRest);
        } else if idle >= keep - 1e-6 {
            (copies, why) = (
                0,
                Reason::Idle {
                    idle: shown.0,
                    keep: shown.1,
                },
            );
        } else if copies <= 1 {
            (copies, why) = (
                1,
                Reason::KeptAlive {
                    idle: shown.0,
                    keep: shown.1,
                },
            );
            next = known.now + keep - idle;
        }
    }
    if copies > 0 && view.copies() == 0 {
        window.restart_idle(now);
    }
    if copies == 0 {
        next = wake(window, &known);
    }
    let later = next
        .is_finite()
        .then(|| Duration::from_secs_f64((next - known.now).max(0.001)));
    Decision {
        copies,
        why,
        next: later.map(|it| now + it),
    }
}

impl Known {
    fn of(settings: &Settings, window: &Window, view: &View, now: Timestamp) -> Self {
        let at = now.as_secs_f64();
        let start = window
            .start_time()
            .unwrap_or(settings.start_time.as_secs_f64());
        let service = window
            .service()
            .unwrap_or(UNKNOWN_SERVICE + UNKNOWN_SHARE * start)
            .max(1e-6);
        let (rate, settled) = rate(window, start, now);
        let peakedness = match settled {
            true => window.peakedness().unwrap_or(1.0).clamp(1.0, 16.0),
            false => 1.0,
        };
        let foreseen = window.bursts.next().is_some();
        Self {
            now: at,
            start,
            service,
            slots: f64::from(view.slots.max(1)),
            rate,
            load: Load {
                busy: rate * service,
                service,
                variation: window.service_variation(),
                peakedness,
            },
            hold: match foreseen {
                true => (1.5 * start).clamp(1.0, 20.0),
                false => (HOLD * start).clamp(SHORTEST_HOLD, LONGEST_HOLD),
            },
        }
    }

    /// Starting a copy takes so little time that waiting for one is hardly felt.
    fn starts_at_once(&self) -> bool {
        self.start <= 0.25 * self.service
    }
}

/// Arrivals per second, and whether they are steady: the last minute, unless the last seconds are further
/// off than chance explains. On past days' word where it foresees more when a copy started now is ready.
fn rate(window: &Window, start: f64, now: Timestamp) -> (f64, bool) {
    let long = window.rate(60, now);
    let off = |seconds: u32| {
        let expected = long * f64::from(seconds);
        let seen = f64::from(window.arrivals(seconds));
        (seen - expected) / (expected.max(1.0)).sqrt()
    };
    if window.arrivals(5) >= 3 && off(5) > SURPRISE {
        return (window.rate(5, now).max(long), false);
    }
    if off(15) < -SURPRISE {
        return (window.rate(15, now), false);
    }
    let ahead = now + Duration::from_secs_f64(start);
    let growth = match (window.usual_rate(now), window.usual_rate(ahead)) {
        (Some(usual), Some(ahead)) if usual > 0.0 => (ahead / usual).clamp(1.0, 2.0),
        _ => 1.0,
    };
    (long * growth, true)
}

/// Copies for what arrives; none is given up for a change of the load that may be chance.
fn steady(settings: &Settings, view: &View, known: &Known) -> Option<Need> {
    let (copies, why) = base(settings, known)?;
    if copies >= view.copies() {
        return Some((copies, why));
    }
    let (more, _) = base(settings, &known.with_rate(known.rate * DEAD_BAND))?;
    Some((copies.max(more.min(view.copies())), why))
}

/// Copies for a load.
fn base(settings: &Settings, known: &Known) -> Option<Need> {
    let busy = known.load.busy;
    let by_share = |share: f64| ceil(busy / share / known.slots);
    let by_wait = |wait: f64| {
        let most = ceil(4.0 * busy + 4.0);
        ceil(f64::from(known.load.slots_for(wait, most)) / known.slots)
    };
    let copies = match (settings.utilisation(), settings.p99()) {
        (Some(share), _) => by_share(share),
        (None, Some(wait)) => by_wait(wait),
        (None, None) if known.starts_at_once() => ceil((busy + SPARE * busy.sqrt()) / known.slots),
        (None, None) => by_wait(WAIT * known.service).min(by_share(TARGET) + 1),
    };
    // Less than one event in a while: the idle rule keeps a copy, not the load.
    let copies = if busy < RARE { 0 } else { copies };
    Some((copies, known.why()))
}

impl Known {
    fn with_rate(&self, rate: f64) -> Self {
        let busy = rate * self.service;
        Self {
            rate,
            load: Load { busy, ..self.load },
            ..*self
        }
    }

    fn why(&self) -> Reason {
        Reason::Load {
            rate: self.rate as f32,
            service: self.service as f32,
            load: (self.load.busy / self.slots) as f32,
        }
    }
}

/// Copies for what waits and what is announced, beyond what those that run will have handled by the time
/// that a copy started now is ready.
fn backlog(settings: &Settings, window: &Window, view: &View, known: &Known) -> Option<Need> {
    let patience = if known.starts_at_once() { 2.0 } else { 1.0 };
    let within = settings
        .p99()
        .unwrap_or(patience * known.service)
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
fn burst(settings: &Settings, window: &Window, known: &Known) -> Option<Need> {
    let (age, rate) = (window.bursts.age(known.now), window.bursts.rate());
    let new = age <= known.start + 5.0 && window.arrivals(5) >= 3;
    if !new || rate <= known.rate || known.starts_at_once() {
        return None;
    }
    base(settings, &known.with_rate(rate))
}

/// Copies for regular arrivals that are near.
fn prewarm(window: &Window, known: &Known) -> Option<Need> {
    let next = window.bursts.next()?;
    if known.starts_at_once() || known.now > next.until || known.now < next.from - ready_by(known) {
        return None;
    }
    let batch = window.bursts.batch() * known.service / BATCH_WITHIN.max(known.service);
    let lasting = window.bursts.rate() * known.service / TARGET;
    let copies = ceil(batch.max(lasting) / known.slots).max(1);
    let why = Reason::Prewarm {
        due: (0.5 * (next.from + next.until) - known.now) as f32,
        period: next.period as f32,
    };
    Some((copies, why))
}

/// Seconds before they are needed at which copies are started.
fn ready_by(known: &Known) -> f64 {
    1.25 * known.start + 0.05
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
            let hold = known.hold as f32;
            (most.min(view.copies()), Reason::Held { needed, hold })
        }
        false => (needed, why),
    }
}

/// For how many seconds the last copy is kept without work.
fn keep(settings: &Settings, window: &Window, known: &Known) -> f64 {
    let longest = settings.idle_after.as_secs_f64();
    // A start is paid for like an idle copy, and somebody waits for it.
    let cost = known.start * (1.0 + WAIT_COST) + 0.2;
    let shortest = (0.5 + 2.0 * known.start).min(longest);
    let keep = window.gaps.keep(cost, longest).max(shortest);
    match window.bursts.next() {
        // When the next ones come is known, and that it is later than is worth waiting for.
        Some(next) if next.from - known.now > cost => shortest,
        _ => keep,
    }
}

/// When something is expected of a function at rest, less the time to start it.
fn wake(window: &Window, known: &Known) -> f64 {
    let ordered = window
        .next_expected()
        .map(|at| (at - known.start).max(known.now + 0.05));
    let regular = window.bursts.next().map(|next| next.from - ready_by(known));
    let regular = regular.filter(|at| *at > known.now && !known.starts_at_once());
    let moments = [ordered, regular].into_iter().flatten();
    moments.fold(f64::INFINITY, f64::min)
}
