//! Made-up load with published shapes: the same seed gives the same arrivals.
//!
//! A [`Trace`] says when orders of which contract arrive, and which functions a contract passes. Written
//! as CSV it is `t_seconds,contract`.

mod mix;
mod patterns;

use std::{collections::BTreeSet, io};

use rand::{SeedableRng, rngs::StdRng};
use serde::{Deserialize, Serialize};

/// The shape of arrivals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, clap::ValueEnum)]
pub enum Pattern {
    /// Poisson arrivals at one rate.
    Steady,
    /// Poisson arrivals whose rate is multiplied by twenty half-way.
    Step,
    /// Poisson arrivals whose rate follows a sine: a day in two hours.
    Diurnal,
    /// Trains at a high rate, with silences whose lengths follow a Pareto distribution.
    OnOff,
    /// Thirty orders at once, every five minutes.
    Cron,
    /// Single orders with lognormal times between them.
    Sparse,
    /// Contracts whose popularity, times and triggers are spread as in the Azure Functions study.
    Azure,
}

impl Pattern {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Steady,
        Self::Step,
        Self::Diurnal,
        Self::OnOff,
        Self::Cron,
        Self::Sparse,
        Self::Azure,
    ];

    /// The name on command lines and in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::Step => "step",
            Self::Diurnal => "diurnal",
            Self::OnOff => "on-off",
            Self::Cron => "cron",
            Self::Sparse => "sparse",
            Self::Azure => "azure",
        }
    }
}

/// A function of a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Mean time in seconds that one task is handled.
    pub service: f64,
    /// Standard deviation over mean of these times.
    pub variation: f64,
}

/// A contract: the functions that its orders pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contract {
    /// Its name.
    pub name: String,
    /// Places in [`Trace::functions`], in order.
    pub chain: Vec<usize>,
}

/// An order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arrival {
    /// Seconds since the begin of the trace.
    pub at: f64,
    /// The place of its contract in [`Trace::contracts`].
    pub contract: usize,
}

/// Orders over time, and what they pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// What there is to pass.
    pub functions: Vec<Function>,
    /// What orders pass.
    pub contracts: Vec<Contract>,
    /// The orders, by time.
    pub arrivals: Vec<Arrival>,
    /// How long it lasts, in seconds.
    pub lasts: f64,
    /// How long the steps of each order were handled; those that are not here are drawn.
    pub handled: Handled,
}

/// Handling times that were recorded, order by order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Handled {
    /// Seconds, step by step.
    times: Vec<f32>,
    /// Where the first one of each order is.
    firsts: Vec<usize>,
}

impl Handled {
    /// Adds the next order.
    pub fn push(&mut self, steps: impl IntoIterator<Item = f32>) {
        self.firsts.push(self.times.len());
        self.times.extend(steps);
    }

    /// Seconds of a step of an order; none: it was not recorded.
    pub fn get(&self, order: usize, step: usize) -> Option<f64> {
        let end = self.firsts.get(order + 1).copied();
        let steps = *self.firsts.get(order)?..end.unwrap_or(self.times.len());
        let time = self.times.get(steps)?.get(step)?;
        Some(f64::from(*time))
    }
}

/// A row of the CSV form.
#[derive(Debug, Serialize, Deserialize)]
struct Row<'a> {
    t_seconds: f64,
    contract: &'a str,
}

/// Makes the arrivals of a pattern; `hours` of it.
pub fn synth(pattern: Pattern, seed: u64, hours: f64) -> Trace {
    let mut rng = StdRng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ pattern as u64);
    let lasts = hours * 3_600.0;
    if pattern == Pattern::Azure {
        return mix::azure(&mut rng, lasts);
    }
    let times = patterns::times(pattern, &mut rng, lasts);
    let function = |name: &str, service: f64| Function {
        name: name.to_owned(),
        service,
        variation: 0.5,
    };
    Trace {
        functions: vec![function("a", 0.2), function("b", 0.4)],
        contracts: vec![Contract {
            name: "ab".to_owned(),
            chain: vec![0, 1],
        }],
        arrivals: times
            .into_iter()
            .map(|at| Arrival { at, contract: 0 })
            .collect(),
        lasts,
        handled: Handled::default(),
    }
}

impl Trace {
    /// Leaves the first function of each contract, as a load that comes through an `http-ingress` passes it.
    pub fn first_only(&mut self) {
        let firsts = self.contracts.iter().map(|it| it.chain[0]);
        let firsts: Vec<usize> = BTreeSet::from_iter(firsts).into_iter().collect();
        let functions = firsts.iter().map(|it| self.functions[*it].clone());
        self.functions = functions.collect();
        for contract in &mut self.contracts {
            let first = contract.chain[0];
            contract.chain = vec![firsts.partition_point(|it| *it < first)];
        }
    }

    /// Writes `t_seconds,contract`.
    ///
    /// # Errors
    /// The writer fails.
    pub fn write(&self, to: impl io::Write) -> Result<(), csv::Error> {
        let mut writer = csv::Writer::from_writer(to);
        for arrival in &self.arrivals {
            let contract = &self.contracts[arrival.contract].name;
            writer.serialize(Row {
                t_seconds: arrival.at,
                contract,
            })?;
        }
        writer.flush().map_err(csv::Error::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_orders_in_time_and_another_gives_others() {
        for pattern in Pattern::ALL {
            let trace = synth(pattern, 3, 2.0);
            assert_eq!(trace, synth(pattern, 3, 2.0));
            assert!(trace.arrivals.len() > 20, "{}", pattern.name());
            assert!(
                trace.arrivals.is_sorted_by(|a, b| a.at <= b.at),
                "{}",
                pattern.name()
            );
            assert!(
                trace
                    .arrivals
                    .iter()
                    .all(|it| (0.0..=trace.lasts).contains(&it.at))
            );
            assert_ne!(trace.arrivals, synth(pattern, 4, 2.0).arrivals);
        }
    }

    #[test]
    fn the_popularity_of_the_mix_has_a_heavy_tail() {
        let trace = synth(Pattern::Azure, 1, 2.0);
        let mut counts = vec![0_usize; trace.contracts.len()];
        trace
            .arrivals
            .iter()
            .for_each(|it| counts[it.contract] += 1);
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let top: usize = counts[..counts.len() / 5].iter().sum();
        assert!(top as f64 > 0.9 * trace.arrivals.len() as f64, "{counts:?}");
    }

    #[test]
    fn csv_has_a_row_for_each_order() {
        let (trace, mut text) = (synth(Pattern::Cron, 1, 0.5), Vec::new());
        trace.write(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(text.starts_with("t_seconds,contract\n"));
        assert_eq!(text.lines().count(), trace.arrivals.len() + 1);
    }
}
