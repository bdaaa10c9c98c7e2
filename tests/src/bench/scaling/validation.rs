//! The same load for real and replayed: what orders wait, and what copies cost.
//!
//! Handling times are those that a replay draws from the same seed; they are waited for outside, so that neither the
//! handling nor the other copies need the processors of the system that is measured.

use std::time::Duration;

use edgeless_dataset::{
    replay::{
        Setup,
        daemons::{Daemons, Entry, Run, run},
    },
    synth::{Pattern, Trace, synth},
};
use edgeless_orc::scale::{Policy, Settings};

use super::system::{NODES, REFRESH, Seen, System};
use crate::{
    bench::{Options, quantile},
    process::root,
};

/// A load: its names of the ratios of p99 waiting and of instance-seconds, what arrives and where.
struct Load {
    names: [&'static str; 2],
    pattern: Pattern,
    entry: Entry,
    policy: Policy,
    /// What functions wait for when they start.
    start: Duration,
}

const LOADS: [Load; 8] = [
    Load {
        names: [
            "validation_wait_ratio_steady",
            "validation_bill_ratio_steady",
        ],
        pattern: Pattern::Steady,
        entry: Entry::Orders,
        policy: Policy::Predictive,
        start: Duration::ZERO,
    },
    Load {
        names: ["validation_wait_ratio_step", "validation_bill_ratio_step"],
        pattern: Pattern::Step,
        entry: Entry::Orders,
        policy: Policy::Predictive,
        start: Duration::ZERO,
    },
    Load {
        names: [
            "validation_wait_ratio_on_off",
            "validation_bill_ratio_on_off",
        ],
        pattern: Pattern::OnOff,
        entry: Entry::Orders,
        policy: Policy::Predictive,
        start: Duration::ZERO,
    },
    Load {
        names: [
            "validation_wait_ratio_step_knative",
            "validation_bill_ratio_step_knative",
        ],
        pattern: Pattern::Step,
        entry: Entry::Orders,
        policy: Policy::Concurrency,
        start: Duration::ZERO,
    },
    Load {
        names: [
            "validation_wait_ratio_http_step",
            "validation_bill_ratio_http_step",
        ],
        pattern: Pattern::Step,
        entry: Entry::Http,
        policy: Policy::Predictive,
        start: Duration::ZERO,
    },
    Load {
        names: [
            "validation_wait_ratio_http_on_off",
            "validation_bill_ratio_http_on_off",
        ],
        pattern: Pattern::OnOff,
        entry: Entry::Http,
        policy: Policy::Predictive,
        start: Duration::ZERO,
    },
    Load {
        names: [
            "validation_wait_ratio_step_2s",
            "validation_bill_ratio_step_2s",
        ],
        pattern: Pattern::Step,
        entry: Entry::Orders,
        policy: Policy::Predictive,
        start: LONG,
    },
    Load {
        names: [
            "validation_wait_ratio_http_step_2s",
            "validation_bill_ratio_http_step_2s",
        ],
        pattern: Pattern::Step,
        entry: Entry::Http,
        policy: Policy::Predictive,
        start: LONG,
    },
];

/// The seed of the first run; each further one has the next.
const SEED: u64 = 101;
/// Hours of load: three minutes.
const HOURS: f64 = 0.05;
/// A start that takes long, as of a function that loads a model.
const LONG: Duration = Duration::from_secs(2);
/// Until a copy is ready, beside that.
const READY: Duration = Duration::from_millis(10);
/// Replays of one load: of what chance does in one, the median.
const REPLAYS: u64 = 21;

/// Runs what is wanted; `keep` takes name and ratio of real to replayed.
///
/// # Errors
/// A daemon does not start, or an order is not answered.
pub(in crate::bench) async fn validate(
    options: &Options,
    mut keep: impl FnMut(&'static str, f64),
) -> anyhow::Result<()> {
    for load in LOADS.iter().filter(|load| options.wants(&load.names)) {
        let runs = if options.quick { 1 } else { 3 };
        for number in 0..runs {
            let hours = if options.quick { HOURS / 3.0 } else { HOURS };
            let [wait, bill] = load.compare(SEED + number, hours).await?;
            keep(load.names[0], wait);
            keep(load.names[1], bill);
        }
    }
    Ok(())
}

impl Load {
    async fn compare(&self, seed: u64, hours: f64) -> anyhow::Result<[f64; 2]> {
        let mut trace = synth(self.pattern, seed, hours);
        if self.entry == Entry::Http {
            trace.first_only();
        }
        let settings = Settings {
            policy: self.policy,
            // As it was measured before services could sleep.
            min_instances: u32::from(self.entry == Entry::Orders),
            max_instances: 32,
            ..Settings::default()
        };
        let mut system = System::start(&trace, seed, &settings, self.start, self.entry).await?;
        let seen = system.run(&trace, seed).await?;
        let name = self.names[0].trim_start_matches("validation_wait_ratio_");
        let folder = root().join(format!("target/scaling_validation/{name}-{seed}"));
        system.keep_dataset(&folder, trace.arrivals.len()).await?;
        drop(system);
        let real = Figures::of(&seen, trace.lasts);
        let replayed = self.replay(&trace, settings, seed);
        let replayed: Vec<Figures> = replayed.iter().map(Figures::replayed).collect();
        let median = |figure: fn(&Figures) -> f64| {
            let mut all: Vec<f64> = replayed.iter().map(figure).collect();
            (quantile(&mut all, 0.5), all)
        };
        let (p50, _) = median(|it| it.p50);
        let (p99, waits) = median(|it| it.p99);
        let (bill, bills) = median(|it| it.bill);
        eprintln!(
            "{name} seed {seed}: {} orders; p50 {:.3} s real, {p50:.3} s replayed; p99 {:.3} s real, {p99:.3} s \
             ({:.3} to {:.3}) replayed; instance-seconds {:.0} real, {bill:.0} ({:.0} to {:.0}) replayed; {} tries failed",
            trace.arrivals.len(),
            real.p50,
            real.p99,
            waits[0],
            waits[waits.len() - 1],
            real.bill,
            bills[0],
            bills[bills.len() - 1],
            seen.failed,
        );
        Ok([real.p99 / p99, real.bill / bill])
    }

    /// The same orders and handling times; phases of refreshes and choices of copies differ.
    fn replay(&self, trace: &Trace, settings: Settings, seed: u64) -> Vec<Run> {
        let daemons = |chance| Daemons {
            nodes: u32::try_from(NODES).unwrap_or(u32::MAX),
            refresh: REFRESH,
            entry: self.entry,
            chance,
        };
        let setup = Setup {
            settings,
            start_time: self.start + READY,
            capacity: u32::MAX,
            seed,
        };
        (0..REPLAYS)
            .map(|chance| run(trace, setup, daemons(chance)))
            .collect()
    }
}

struct Figures {
    p50: f64,
    p99: f64,
    bill: f64,
}

impl Figures {
    fn of(seen: &Seen, lasts: f64) -> Self {
        let mut waits = seen.waits.clone();
        let copies = seen.copies.iter();
        Self {
            p50: quantile(&mut waits, 0.5),
            p99: quantile(&mut waits, 0.99),
            bill: copies
                .map(|it| edgeless_dataset::replay::daemons::bill(it, lasts))
                .sum(),
        }
    }

    fn replayed(run: &Run) -> Self {
        Self {
            p50: run.outcome.wait(0.5),
            p99: run.outcome.wait(0.99),
            bill: run.outcome.instance_seconds,
        }
    }
}
