//! What is on its way to a function, as tasks of orders and what a function before it sends on: how many, and when due.

use edgeless_types::Timestamp;

use super::window::{Active, Window};

/// Tasks that are on their way here.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Expected {
    at: f64,
    tasks: u32,
}

/// Moments at which tasks are expected; nearer ones are taken together.
pub(super) const PLACES: usize = 8;
/// Seconds after which a task that was expected counts no more.
const OVERDUE: f64 = 30.0;

impl Window {
    /// So many tasks will arrive here at `at`, or a little later.
    pub fn expect(&mut self, tasks: u32, at: Timestamp) {
        let active = self.active.get_or_insert_default();
        active.expect(tasks, at.as_secs_f64());
    }

    /// Tasks on their way that are due until `until` (seconds since the epoch).
    pub fn expected_within(&self, until: f64) -> u32 {
        let due = |it: &&Expected| it.at <= until;
        self.active.as_ref().map_or(0, |active| {
            let due = active.expected.iter().filter(due);
            due.fold(0, |sum: u32, it| sum.saturating_add(it.tasks))
        })
    }

    /// What was due until now has not come, and is not waited for any more.
    pub(super) fn give_up_due(&mut self, now: Timestamp) {
        if let Some(active) = &mut self.active {
            let now = now.as_secs_f64();
            for place in active.expected.iter_mut().filter(|it| it.at <= now) {
                place.tasks = 0;
            }
        }
    }

    /// When the next task on its way is due, in seconds since the epoch.
    pub fn next_expected(&self) -> Option<f64> {
        let active = self.active.as_ref()?;
        let moments = active
            .expected
            .iter()
            .filter(|it| it.tasks > 0)
            .map(|it| it.at);
        moments.reduce(f64::min)
    }
}

impl Active {
    /// Into a free place, else into the nearest one.
    pub(super) fn expect(&mut self, tasks: u32, at: f64) {
        let distance = |it: &Expected| match it.tasks {
            // The same moment is better than a free place, a free place better than another moment.
            0 => 0.05,
            _ => (it.at - at).abs(),
        };
        let nearest = self
            .expected
            .iter_mut()
            .min_by(|a, b| distance(a).total_cmp(&distance(b)));
        if let Some(place) = nearest {
            place.at = match place.tasks {
                0 => at,
                _ => place.at.min(at),
            };
            place.tasks = place.tasks.saturating_add(tasks);
        }
    }

    /// Tasks that were expected have arrived: the earliest first.
    pub(super) fn took(&mut self, mut count: u32) {
        while count > 0 {
            let left = self.expected.iter_mut().filter(|it| it.tasks > 0);
            let Some(first) = left.min_by(|a, b| a.at.total_cmp(&b.at)) else {
                return;
            };
            let taken = first.tasks.min(count);
            first.tasks -= taken;
            count -= taken;
        }
    }

    pub(super) fn forget(&mut self, now: f64) {
        for place in &mut self.expected {
            if place.at + OVERDUE < now {
                place.tasks = 0;
            }
        }
    }
}
