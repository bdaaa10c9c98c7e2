//! Policies side by side: the same load, seed by seed.

use std::time::Duration;

use edgeless_orc::scale::{Policy, Settings};
use serde::Serialize;

use super::{
    Outcome, Setup,
    daemons::{self, Daemons},
    instance_seconds, run,
};
use crate::{progress::Progress, synth::Trace};

/// What is compared.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The policies, in the order of the lines.
    pub policies: Vec<Policy>,
    /// All but the policy and the start time.
    pub settings: Settings,
    /// Mean time until a copy is ready.
    pub start_time: Duration,
    /// Copies that all nodes together can take.
    pub capacity: u32,
    /// Seconds beyond which an order is late.
    pub late_after: Duration,
    /// As these carry it; none: as policies do that know everything at once.
    pub daemons: Option<Daemons>,
}

/// A policy on one load: means over the seeds. Times are in seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Line {
    /// The load.
    pub load: String,
    /// Mean seconds until a copy is ready.
    pub start_time: f64,
    /// The policy.
    pub policy: &'static str,
    /// How many seeds.
    pub seeds: u32,
    /// Orders.
    pub orders: f64,
    /// Waiting times that 50, 99 and 99.9 of 100 orders do not exceed.
    pub wait_p50: f64,
    /// See [`Self::wait_p50`].
    pub wait_p99: f64,
    /// See [`Self::wait_p50`].
    pub wait_p999: f64,
    /// The share of orders that waited longer than the target.
    pub late: f64,
    /// Copies times seconds, while they start as well.
    pub instance_seconds: f64,
    /// Tasks that found no copy ready.
    pub cold: f64,
    /// Copies that were started.
    pub starts: f64,
    /// Copies that were stopped.
    pub stops: f64,
    /// Starts within ten seconds after a stop of the same function.
    pub flaps: f64,
    /// p99 waiting by that of `concurrency`, waits below [`FELT`] taken as that: the geometric mean of the
    /// seeds. None when `concurrency` is not among the policies.
    pub wait_vs_knative: Option<f64>,
    /// Instance-seconds by those of `concurrency`.
    pub bill_vs_knative: Option<f64>,
    /// Instance-seconds by those of an oracle with the same p99 waiting, see [`instance_seconds`].
    pub bill_vs_oracle: f64,
}

/// Seconds: shorter waits are not told apart.
pub const FELT: f64 = 0.02;

/// Runs all policies on traces of the same kind, one for each seed.
pub fn compare(comparison: &Comparison, load: &str, traces: &[(u64, Trace)]) -> Vec<Line> {
    compare_with(comparison, load, traces, &mut Progress::hidden())
}

/// The same; `progress` gets a step for each policy and seed.
pub fn compare_with(
    comparison: &Comparison,
    load: &str,
    traces: &[(u64, Trace)],
    progress: &mut Progress,
) -> Vec<Line> {
    let blank = |policy: &Policy| Line {
        load: load.to_owned(),
        start_time: comparison.start_time.as_secs_f64(),
        policy: policy.name(),
        seeds: u32::try_from(traces.len()).unwrap_or(u32::MAX),
        ..Line::default()
    };
    let mut lines: Vec<Line> = comparison.policies.iter().map(blank).collect();
    let share = 1.0 / traces.len().max(1) as f64;
    for (seed, trace) in traces {
        let outcomes: Vec<Outcome> = comparison
            .policies
            .iter()
            .map(|&policy| comparison.run(trace, policy, *seed))
            .collect();
        let knative = comparison
            .policies
            .iter()
            .position(|it| *it == Policy::Concurrency);
        let knative = knative.map(|place| &outcomes[place]);
        for (line, outcome) in lines.iter_mut().zip(&outcomes) {
            let start = comparison.start_time.as_secs_f64();
            let oracle = instance_seconds(trace, start, *seed, outcome.wait(0.99));
            line.add(outcome, comparison, share);
            line.compare(outcome, knative, oracle, share);
            progress.add(1);
        }
    }
    for line in &mut lines {
        // Logarithms were added up.
        line.bill_vs_oracle = line.bill_vs_oracle.exp();
        line.wait_vs_knative = line.wait_vs_knative.map(f64::exp);
        line.bill_vs_knative = line.bill_vs_knative.map(f64::exp);
    }
    lines
}

impl Comparison {
    fn run(&self, trace: &Trace, policy: Policy, seed: u64) -> Outcome {
        let setup = self.setup(policy, seed);
        match self.daemons {
            None => run(trace, setup),
            Some(daemons) => {
                let chance = daemons.chance.wrapping_add(seed);
                daemons::run(trace, setup, Daemons { chance, ..daemons }).outcome
            }
        }
    }

    /// What one run is made with.
    pub fn setup(&self, policy: Policy, seed: u64) -> Setup {
        Setup {
            settings: Settings {
                policy,
                start_time: self.start_time,
                ..self.settings
            },
            start_time: self.start_time,
            capacity: self.capacity,
            seed,
        }
    }
}

impl Line {
    /// How the system did itself when the load was recorded.
    pub fn recorded(comparison: &Comparison, load: &str, trace: &Trace, outcome: &Outcome) -> Self {
        let start_time = comparison.start_time.as_secs_f64();
        let mut line = Self {
            load: load.to_owned(),
            start_time,
            policy: "recorded",
            seeds: 1,
            ..Self::default()
        };
        let oracle = instance_seconds(trace, start_time, 0, outcome.wait(0.99));
        line.add(outcome, comparison, 1.0);
        line.compare(outcome, None, oracle, 1.0);
        line.bill_vs_oracle = line.bill_vs_oracle.exp();
        line
    }

    fn add(&mut self, outcome: &Outcome, comparison: &Comparison, share: f64) {
        for (field, value) in [
            (&mut self.orders, outcome.waits.len() as f64),
            (&mut self.wait_p50, outcome.wait(0.5)),
            (&mut self.wait_p99, outcome.wait(0.99)),
            (&mut self.wait_p999, outcome.wait(0.999)),
            (
                &mut self.late,
                outcome.late(comparison.late_after.as_secs_f64()),
            ),
            (&mut self.instance_seconds, outcome.instance_seconds),
            (&mut self.cold, outcome.cold as f64),
            (&mut self.starts, outcome.starts as f64),
            (&mut self.stops, outcome.stops as f64),
            (&mut self.flaps, outcome.flaps as f64),
        ] {
            *field += share * value;
        }
    }

    fn compare(&mut self, outcome: &Outcome, knative: Option<&Outcome>, oracle: f64, share: f64) {
        let ratio = |ours: f64, theirs: f64| share * (ours / theirs).ln();
        let nothing = 1e-9;
        self.bill_vs_oracle += ratio(outcome.instance_seconds + nothing, oracle + nothing);
        if let Some(knative) = knative {
            let (ours, theirs) = (outcome.wait(0.99).max(FELT), knative.wait(0.99).max(FELT));
            *self.wait_vs_knative.get_or_insert(0.0) += ratio(ours, theirs);
            let theirs = knative.instance_seconds + nothing;
            *self.bill_vs_knative.get_or_insert(0.0) +=
                ratio(outcome.instance_seconds + nothing, theirs);
        }
    }
}
