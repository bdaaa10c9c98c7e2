//! What is learnt of one class, and the prior that it comes to.

use edgeless_orc::scale::priors::{Bursts, HalfHour, Prior, gap_seconds};

use super::{
    arrivals::HALF_HOUR_SECS,
    distribution::{Distribution, rounded},
};

/// What is learnt of one class.
#[derive(Debug)]
pub(super) struct Class {
    pub(super) id: String,
    pub(super) service: Distribution,
    pub(super) transfer: Distribution,
    pub(super) start: Distribution,
    pub(super) gaps: Vec<u64>,
    /// Events and half hours of functions, by half hour of the day; whole ones only.
    pub(super) events: [u64; HalfHour::NUMBER],
    pub(super) half_hours: [u64; HalfHour::NUMBER],
    /// Of each function that had any.
    pub(super) bursts: Vec<Bursts>,
}

impl Class {
    pub(super) fn new(id: String) -> Self {
        Self {
            id,
            service: Distribution::default(),
            transfer: Distribution::default(),
            start: Distribution::default(),
            gaps: Vec::new(),
            events: [0; HalfHour::NUMBER],
            half_hours: [0; HalfHour::NUMBER],
            bursts: Vec::new(),
        }
    }

    pub(super) fn prior(&self) -> Prior {
        let gaps = self
            .gaps
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0);
        let day = self.half_hours.iter().zip(&self.events).enumerate();
        let day = day.filter(|(_, (half_hours, _))| **half_hours > 0);
        Prior {
            id: self.id.clone(),
            gaps: gaps
                .map(|(bin, &count)| (rounded(gap_seconds(bin)), count))
                .collect(),
            service: self.service.times(),
            transfer: self.transfer.times(),
            start: self.start.times(),
            bursts: common(&self.bursts),
            day: day
                .map(|(number, (&half_hours, &events))| {
                    let rate = events as f64 / (half_hours as f64 * HALF_HOUR_SECS);
                    (HalfHour::of(number as u64), rounded(rate))
                })
                .collect(),
        }
    }
}

/// By which share the periods of functions may differ and still be that of the class.
const SAME_PERIOD: f64 = 0.1;

/// What the bursts of several functions have in common; none without any.
fn common(all: &[Bursts]) -> Option<Bursts> {
    let number = all.len() as f64;
    let mean = |of: fn(&Bursts) -> f64| all.iter().map(of).sum::<f64>() / number;
    let period = mean(|it| it.period.unwrap_or(f64::INFINITY));
    let agree = |it: &Bursts| {
        let off = it.period.map(|its| (its - period).abs());
        off.is_some_and(|off| off <= SAME_PERIOD * period)
    };
    let is_regular = period.is_finite() && all.iter().all(agree);
    let jitter = all.iter().map(|it| it.jitter).fold(0.0, f64::max);
    (!all.is_empty()).then(|| Bursts {
        batch: rounded(mean(|it| it.batch)),
        rate: rounded(mean(|it| it.rate)),
        period: is_regular.then(|| rounded(period)),
        jitter: if is_regular { rounded(jitter) } else { 0.0 },
    })
}
