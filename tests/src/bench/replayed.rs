//! Benchmarks that need no daemon: made-up load replayed through the scaling policies in simulated time.

use std::time::Duration;

use edgeless_dataset::{
    replay::{Comparison, Line, compare},
    synth::{Pattern, synth},
};
use edgeless_orc::scale::{Policy, Settings};

use super::{Measured, Options};

/// What a pattern and a start time are measured by: the waiting time that one in a hundred orders exceeds
/// and the instance-seconds, by those of Knative's algorithm, and the latter by those of an oracle.
type Names = [[&'static str; 3]; 3];

macro_rules! names {
    ($pattern:literal) => {
        [
            names!($pattern, "20ms"),
            names!($pattern, "2s"),
            names!($pattern, "10s"),
        ]
    };
    ($pattern:literal, $start:literal) => {
        [
            concat!("wait_vs_knative_", $pattern, "_", $start),
            concat!("bill_vs_knative_", $pattern, "_", $start),
            concat!("bill_vs_oracle_", $pattern, "_", $start),
        ]
    };
}

/// The start times of the names.
const STARTS: [Duration; 3] = [
    Duration::from_millis(20),
    Duration::from_secs(2),
    Duration::from_secs(10),
];
/// The first seed: the policies were tuned with others.
const SEED: u64 = 101;

const fn names(pattern: Pattern) -> Names {
    match pattern {
        Pattern::Steady => names!("steady"),
        Pattern::Step => names!("step"),
        Pattern::Diurnal => names!("diurnal"),
        Pattern::OnOff => names!("on_off"),
        Pattern::Cron => names!("cron"),
        Pattern::Sparse => names!("sparse"),
        Pattern::Azure => names!("azure"),
    }
}

/// All that are asked for: the median of some seeds, two hours of load each.
pub(super) fn run(suite: &'static str, options: &Options) -> Vec<Measured> {
    let mut results = Vec::new();
    for pattern in Pattern::ALL {
        let names = names(pattern);
        if !options.wants(&names.concat()) {
            continue;
        }
        let (seeds, hours) = match (options.quick, pattern) {
            (true, _) => (2, 0.5),
            (false, Pattern::Azure) => (5, 2.0),
            (false, _) => (10, 2.0),
        };
        let seeds = SEED..SEED + seeds;
        let traces: Vec<_> = seeds
            .map(|seed| [(seed, synth(pattern, seed, hours))])
            .collect();
        for (names, start_time) in names.into_iter().zip(STARTS) {
            if !options.wants(&names) {
                continue;
            }
            let comparison = Comparison {
                policies: vec![Policy::Concurrency, Policy::Predictive],
                settings: Settings::default(),
                start_time,
                capacity: u32::MAX,
                late_after: Duration::from_secs(1),
                daemons: None,
            };
            let lines = traces
                .iter()
                .filter_map(|trace| compare(&comparison, pattern.name(), trace).pop());
            let lines: Vec<Line> = lines.collect();
            let values: [Vec<f64>; 3] = [
                lines.iter().filter_map(|it| it.wait_vs_knative).collect(),
                lines.iter().filter_map(|it| it.bill_vs_knative).collect(),
                lines.iter().map(|it| it.bill_vs_oracle).collect(),
            ];
            let pairs = names.into_iter().zip(values);
            let found = pairs.filter(|(name, _)| options.wants(&[name]));
            results.extend(found.filter_map(|(name, all)| Measured::of(suite, name, "ratio", all)));
        }
    }
    results
}
