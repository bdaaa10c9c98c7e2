//! How late a window hears of events: at once, or with the reports of nodes.

use std::time::Duration;

use super::window::{LUMPS, Window};

impl Window {
    /// A node on which there are copies tells of events after it has told nothing for so long.
    pub fn told_after(&mut self, every: Duration) {
        let every = every.as_secs_f32();
        let active = self.active.get_or_insert_default();
        active.told_every = every.max(active.told_every + LUMPS * (every - active.told_every));
    }

    /// Seconds between two reports of a node; 0 where events are told of as they come.
    pub(super) fn told_every(&self) -> f64 {
        self.of_active(|it| f64::from(it.told_every))
    }

    /// Seconds for which events go untold: many told of at once come from reports, not as they arrive.
    pub(super) fn told_late(&self, rate: f64) -> f64 {
        let reports = 0.5 * self.told_every();
        let more = self.of_active(|it| f64::from(it.at_once) - 1.5);
        if rate > 0.0 {
            (more / rate).clamp(0.0, 60.0).max(reports)
        } else {
            reports
        }
    }
}
