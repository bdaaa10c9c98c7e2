//! What is known of a function when it is decided about: rates, times, and what follows from them.

use std::time::Duration;

use edgeless_types::Timestamp;

use crate::scale::{
    Reason, Settings, UNKNOWN_SERVICE, View, Window,
    rate::Rate,
    reason::{Basis, Margin},
    staffing::Load,
};

/// What a start costs beside its time: as much as so many seconds of an idle copy. About a fiftieth of that
/// is the time of processors that a start takes over gRPC, with its plan, mirror and journal.
pub(super) const START_PRICE: f64 = 0.05;
/// The share of a start that is added to the time of handling that is assumed before the first is measured.
const UNKNOWN_SHARE: f64 = 0.1;
/// Starts for whose time a peak of the need is held, and bounds of that time in seconds.
const HOLD: f64 = 5.0;
const SHORTEST_HOLD: f64 = 2.0;
const LONGEST_HOLD: f64 = 40.0;
/// The same when copies start at once and nothing comes before the next batch, of which it is known when it
/// comes.
const HOLD_FORESEEN: f64 = 0.05;
/// So many times as long is not longer.
const AS_LONG: f64 = 1.1;
/// How long a peak of events that come by chance is held, in mean times between two of them.
const BY_CHANCE: f64 = 0.7;
/// Variance over mean of the arrivals per second up to which they are even; 1 is chance.
const EVEN: f64 = 0.7;
/// So much more than 1 the peakedness is by chance.
const CHANCE: f64 = 0.3;
/// The share of the time of handling within which a copy has to be ready to have started at once; or
/// seconds within which it is so for whatever is not handled faster.
const AT_ONCE: f64 = 0.25;
const UNFELT_START: f64 = 0.025;
/// Times the mean one that a silence has to be as long as to be the end of the load, and seconds, if it is
/// not known when more will come.
const SILENT: f64 = 8.0;
const SILENT_SECONDS: f64 = 1.0;
/// A copy is given up when as many times the load would not need it either.
const DEAD_BAND: f64 = 1.03;
/// Or that many more events than were seen, in fewer seconds: those in which the rate changed.
const DEAD_EVENTS: f64 = 2.0;
const DEAD_SECONDS: f64 = 2.0;
/// A day: no start takes longer.
const LONGEST_START: f64 = 86_400.0;

/// What is known of the function, in seconds and slots.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) now: f64,
    pub(super) start: f64,
    pub(super) service: f64,
    /// It was measured.
    pub(super) is_measured: bool,
    pub(super) slots: f64,
    pub(super) rate: f64,
    /// A rate that is not told from this one.
    pub(super) at_most: f64,
    pub(super) load: Load,
    /// Seconds for which a peak of the need is held.
    pub(super) hold: f64,
    /// Starting a copy takes so little time that waiting for one is hardly felt.
    pub(super) at_once: bool,
    /// Silences last for different times.
    pub(super) differ: bool,
}

impl Known {
    pub(super) fn of(
        settings: &Settings,
        window: &mut Window,
        view: &View,
        now: Timestamp,
    ) -> Self {
        let start = window
            .start_time()
            .unwrap_or(settings.start_time.as_secs_f64())
            .clamp(0.0, LONGEST_START);
        let measured = window.service();
        let service = measured
            .unwrap_or(UNKNOWN_SERVICE + UNKNOWN_SHARE * start)
            .max(1e-6);
        let foreseen = window.bursts.next().is_some();
        let mut seen = window.regime(now);
        let late = window.told_late(seen.per_second);
        let (silent, least) = (
            window.silent(now),
            if foreseen { 0.0 } else { SILENT_SECONDS },
        );
        if silent * seen.per_second > SILENT && silent > least.max(2.0 * late) {
            window.end_regime();
            seen = window.regime(now);
        }
        let grown = growth(window, start, now);
        let rate = grown * seen.per_second;
        let at_most = grown * (seen.count + DEAD_EVENTS) / (seen.span - DEAD_SECONDS).max(1.0);
        let within = match start <= UNFELT_START {
            true => service,
            false => AT_ONCE * service,
        };
        let at_once = start + late <= within;
        let hold = match (at_once, foreseen) {
            (true, true) if window.bursts.rate() <= 0.0 => HOLD_FORESEEN,
            (true, _) => hold_at_once(seen, start, service),
            (false, true) => (1.5 * start).clamp(1.0, 20.0),
            (false, false) => (HOLD * start).clamp(SHORTEST_HOLD, LONGEST_HOLD),
        };
        Self {
            now: now.as_secs_f64(),
            start,
            service,
            is_measured: measured.is_some(),
            slots: f64::from(view.slots.max(1)),
            rate,
            at_most: at_most.max(DEAD_BAND * rate),
            load: Load {
                busy: rate * service,
                service,
                variation: window.service_variation(),
                peakedness: (seen.peakedness.unwrap_or(1.0) - CHANCE).clamp(1.0, 16.0),
            },
            hold,
            at_once,
            differ: window.gaps.differ(),
        }
    }

    pub(super) fn with_rate(&self, rate: f64) -> Self {
        let busy = rate * self.service;
        Self {
            rate,
            load: Load { busy, ..self.load },
            ..*self
        }
    }

    /// The load as a reason for a number of copies.
    pub(super) fn why(&self, basis: Basis, margin: Margin) -> Reason {
        Reason::Load {
            rate: self.rate as f32,
            service: self.service as f32,
            load: (self.load.busy / self.slots) as f32,
            basis,
            margin,
        }
    }
}

/// Seconds for which a peak is held when copies start at once: as long as that costs no more than a start.
///
/// Events of an even load come and go with the time of handling: as long as the load is not known to be
/// uneven, that is one peak.
fn hold_at_once(seen: Rate, start: f64, service: f64) -> f64 {
    let between = 1.0 / seen.per_second.max(1e-9);
    let even = match seen.uneven > EVEN {
        true => BY_CHANCE * between,
        false => AS_LONG * between.max(service),
    };
    (START_PRICE + start).max(even.min(SHORTEST_HOLD))
}

/// How many times as much past days saw when a copy that is started now is ready, at least once.
fn growth(window: &Window, start: f64, now: Timestamp) -> f64 {
    let ahead = now + Duration::from_secs_f64(start);
    match (window.usual_rate(now), window.usual_rate(ahead)) {
        (Some(usual), Some(ahead)) if usual > 0.0 => (ahead / usual).clamp(1.0, 2.0),
        _ => 1.0,
    }
}
