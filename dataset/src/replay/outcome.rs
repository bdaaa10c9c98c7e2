//! What a run came to.

use serde::Serialize;

/// What a policy did with a trace.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Outcome {
    /// Waiting time in seconds of every order: what it took beyond its handling; sorted.
    #[serde(skip)]
    pub waits: Vec<f64>,
    /// Copies times seconds, from the decision to start one until it is stopped.
    pub instance_seconds: f64,
    /// Seconds of handling in them.
    pub work: f64,
    /// Tasks that found no copy ready.
    pub cold: u64,
    /// Copies that were started.
    pub starts: u64,
    /// Copies that were stopped.
    pub stops: u64,
    /// Starts within ten seconds after a stop of the same function.
    pub flaps: u64,
    /// Decisions asked for.
    pub decisions: u64,
}

impl Outcome {
    pub(super) fn finish(&mut self) {
        self.waits.sort_by(f64::total_cmp);
    }

    /// The waiting time in seconds that `share` of the orders do not exceed; 0 without orders.
    pub fn wait(&self, share: f64) -> f64 {
        let place = (share * self.waits.len() as f64).ceil() as usize;
        self.waits
            .get(place.saturating_sub(1))
            .copied()
            .unwrap_or_default()
    }

    /// The share of orders that waited longer than `seconds`.
    pub fn late(&self, seconds: f64) -> f64 {
        let in_time = self.waits.partition_point(|wait| *wait <= seconds);
        1.0 - in_time as f64 / (self.waits.len().max(1)) as f64
    }
}
