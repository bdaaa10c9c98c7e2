//! `edgeless_dataset replay` and `synth`: load through the scaling policies, and made-up load as CSV.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{ArgGroup, Args};
use edgeless_daemon::show::{Form, Rows, print};
use edgeless_dataset::{
    progress::Progress,
    replay::{
        Comparison, Line, Recorded, Recording, compare_with,
        daemons::{self, Daemons, Entry},
    },
    report::copies,
    synth::{Pattern, Trace, synth},
};
use edgeless_orc::scale::{Policy, Settings};
use edgeless_tables::Table;
use edgeless_types::{LogicalId, Timestamp, scaling};
use serde_json::{Value, json};

use super::{
    CommandError,
    replay_options::{Chain, chain, hours, some_time, time},
    scan, tell,
};
use crate::output::rounded;

/// What is replayed, and how.
#[derive(Clone, Debug, Args)]
#[command(group(ArgGroup::new("load").required(true).args(["dir", "synth"])))]
pub(crate) struct Replay {
    /// A recorded dataset: a folder, or a folder and the beginning of file names
    dir: Option<PathBuf>,
    /// Made-up load instead; several are several blocks
    #[arg(long, value_enum)]
    synth: Vec<Pattern>,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
    /// How many seeds, one after the other
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    pub(super) seeds: u64,
    /// Hours of made-up load
    #[arg(long, default_value_t = 2.0, value_parser = hours, conflicts_with = "dir")]
    hours: f64,
    /// `fixed`, `concurrency`, `queue` or `predictive`; all of them if none is named
    #[arg(long, value_parser = |text: &str| text.parse::<Policy>())]
    pub(super) policy: Vec<Policy>,
    /// Time until a copy is ready, such as 20ms or 2s; several are several blocks. 2s, or as recorded, if it is not said
    #[arg(long, value_parser = time)]
    start_time: Vec<Duration>,
    /// Functions of the dataset that orders pass one after the other: their ids, separated by commas; then others are
    /// left out
    #[arg(long, value_name = "ID,ID", value_parser = chain, conflicts_with = "synth")]
    pub(super) chain: Vec<Chain>,
    /// As the daemons carry it, which learn of the load a while later, instead of at once
    #[arg(long, value_enum, value_name = "ENTRY")]
    pub(super) daemons: Option<Entry>,
    /// Nodes of the daemons
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000), requires = "daemons")]
    nodes: u32,
    /// How often nodes refresh; 1s, or as recorded, if it is not said
    #[arg(long, value_parser = some_time, requires = "daemons")]
    refresh: Option<Duration>,
    /// The fewest copies of a function
    #[arg(long, default_value_t = 0)]
    pub(super) min_instances: u32,
    /// The most copies of a function
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) max_instances: u32,
    /// The longest time that the last copy is kept without work
    #[arg(long, value_parser = scaling::idle_after, default_value = "60s")]
    idle_after: Duration,
    /// Copies that all nodes can take together, at least 1; nodes of daemons have room for all
    #[arg(
        long,
        default_value_t = u32::MAX,
        value_parser = clap::value_parser!(u32).range(1..),
        hide_default_value = true,
        conflicts_with = "daemons"
    )]
    pub(super) capacity: u32,
    /// Longer waiting is late
    #[arg(long, value_parser = time, default_value = "1s")]
    late_after: Duration,
    /// Draw arrivals and copies as SVG: as recorded, and of the first policy with the first seed and start time
    #[arg(
        long,
        value_name = "FILE",
        requires = "daemons",
        conflicts_with = "synth"
    )]
    plot: Option<PathBuf>,
    /// End with the first fault of the dataset
    #[arg(long, requires = "dir")]
    strict: bool,
    /// Show JSON
    #[arg(long)]
    json: bool,
}

/// What is made up.
#[derive(Clone, Debug, Args)]
pub(crate) struct Synth {
    /// The shape
    #[arg(value_enum)]
    pattern: Pattern,
    /// The same seed gives the same orders
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many hours
    #[arg(long, default_value_t = 2.0, value_parser = hours)]
    hours: f64,
    /// Where to; to the standard output if it is not said
    #[arg(long)]
    out: Option<PathBuf>,
}

pub(crate) fn replay(arguments: &Replay, now: Timestamp) -> Result<ExitCode, CommandError> {
    arguments.check()?;
    let mut lines = Vec::new();
    match &arguments.dir {
        Some(dir) => {
            let place = super::Place {
                dir: dir.clone(),
                strict: arguments.strict,
            };
            let chains = arguments.chain.iter().map(|it| it.0.clone());
            let recording = recorded(&place, chains.collect(), now)?;
            arguments.check_room(recording.trace.functions.len())?;
            let load = dir.display().to_string();
            if let Some(path) = &arguments.plot {
                arguments.draw(&recording, path)?;
            }
            arguments.recorded(&load, recording, &mut lines);
        }
        None => {
            for &pattern in &arguments.synth {
                let seeds = arguments.seed..arguments.seed.saturating_add(arguments.seeds);
                let traces = seeds.map(|seed| (seed, arguments.made_up(pattern, seed)));
                let comparisons = arguments.comparisons(None);
                let traces: Vec<_> = traces.collect();
                let functions = traces.iter().map(|(_, trace)| trace.functions.len());
                arguments.check_room(functions.max().unwrap_or_default())?;
                let mut progress = steps(&comparisons, traces.len());
                for it in &comparisons {
                    lines.extend(compare_with(it, pattern.name(), &traces, &mut progress));
                }
            }
        }
    }
    let text = match arguments.json {
        true => crate::output::document(json!(lines)),
        false => as_text(&lines, Form::choose(false)),
    };
    print(&text).map_err(CommandError::Output)?;
    Ok(ExitCode::SUCCESS)
}

fn recorded(
    place: &super::Place,
    chains: Vec<Vec<LogicalId>>,
    now: Timestamp,
) -> Result<Recording, CommandError> {
    let files = place.files()?;
    let mut faults = place.faults();
    let mut recorded = Recorded::with_chains(chains);
    let tables = [
        Table::Vertices,
        Table::MappingToInstanceId,
        Table::ScalingDecisions,
        Table::HealthStatus,
        Table::PerformanceSamples,
    ];
    scan(&files, &mut faults, now, 1).rows(&tables, |row, _| recorded.take(row))?;
    tell(&faults);
    for (number, what) in [
        (
            recorded.unknown,
            "samples of instances that no row maps to a function",
        ),
        (
            recorded.of_resources,
            "samples of resources, which do not scale",
        ),
        (recorded.left_out, "events beyond those that fit"),
    ] {
        if number > 0 {
            eprintln!("edgeless_dataset: left out {number} {what}");
        }
    }
    Ok(recorded.recording()?)
}

impl Replay {
    fn made_up(&self, pattern: Pattern, seed: u64) -> Trace {
        let mut trace = synth(pattern, seed, self.hours);
        if self.daemons == Some(Entry::Http) {
            trace.first_only();
        }
        trace
    }

    /// What is compared, for each start time.
    fn comparisons(&self, recording: Option<&Recording>) -> Vec<Comparison> {
        let policies = match self.policy.is_empty() {
            true => Policy::ALL.to_vec(),
            false => self.policy.clone(),
        };
        let start_times = match self.start_time.is_empty() {
            true => {
                let recorded = recording.and_then(|it| it.start_time);
                vec![recorded.unwrap_or(Duration::from_secs(2))]
            }
            false => self.start_time.clone(),
        };
        let recorded = recording.and_then(|it| it.refresh);
        let refresh = self.refresh.or(recorded).unwrap_or(Duration::from_secs(1));
        let comparison = |start_time| Comparison {
            policies: policies.clone(),
            settings: Settings {
                min_instances: self.min_instances,
                max_instances: self.max_instances,
                idle_after: self.idle_after,
                ..Settings::default()
            },
            start_time,
            capacity: self.capacity,
            late_after: self.late_after,
            daemons: self.daemons.map(|entry| Daemons {
                nodes: self.nodes,
                refresh,
                entry,
                chance: 0,
            }),
        };
        start_times.into_iter().map(comparison).collect()
    }

    /// Copies as recorded and replayed.
    fn draw(&self, recording: &Recording, to: &Path) -> Result<(), CommandError> {
        let comparisons = self.comparisons(Some(recording));
        let Some((daemons, comparison)) =
            comparisons.first().and_then(|it| Some((it.daemons?, it)))
        else {
            return Ok(());
        };
        let policy = comparison.policies.first().copied().unwrap_or_default();
        let daemons = Daemons {
            chance: self.seed,
            ..daemons
        };
        let setup = comparison.setup(policy, self.seed);
        let replayed = daemons::run(&recording.trace, setup, daemons).copies;
        let name = format!("replayed with {}", policy.name());
        let runs = [
            ("recorded", recording.copies.as_slice()),
            (&name, replayed.as_slice()),
        ];
        let svg = copies(&recording.trace, &runs)?;
        std::fs::write(to, svg).map_err(|error| CommandError::File {
            path: to.to_owned(),
            source: error,
        })
    }

    /// What was recorded, and the policies with the same load: once for each seed.
    fn recorded(&self, load: &str, recording: Recording, into: &mut Vec<Line>) {
        let comparisons = self.comparisons(Some(&recording));
        let Recording { trace, outcome, .. } = recording;
        if let Some(first) = comparisons.first() {
            into.push(Line::recorded(first, load, &trace, &outcome));
        }
        let seeds = self.seed..self.seed.saturating_add(self.seeds);
        let traces: Vec<_> = seeds.map(|seed| (seed, trace.clone())).collect();
        let mut progress = steps(&comparisons, traces.len());
        for it in &comparisons {
            into.extend(compare_with(it, load, &traces, &mut progress));
        }
    }
}

/// How far all runs have come.
fn steps(comparisons: &[Comparison], seeds: usize) -> Progress {
    let policies: usize = comparisons.iter().map(|it| it.policies.len()).sum();
    Progress::of_steps((policies * seeds) as u64, "runs")
}

const COLUMNS: [&str; 16] = [
    "load",
    "start",
    "policy",
    "orders",
    "p50",
    "p99",
    "p99.9",
    "late %",
    "instance-s",
    "cold",
    "starts",
    "stops",
    "flaps",
    "p99/knative",
    "bill/knative",
    "bill/oracle",
];

fn as_text(lines: &[Line], form: Form) -> String {
    let mut rows = Rows::with_short_ids(&COLUMNS);
    let whole = |number: f64| json!(number.round() as u64);
    // Less than a microsecond is what sums of times are off.
    let wait = |seconds: f64| {
        json!(if seconds < 1e-6 {
            0.0
        } else {
            rounded(seconds)
        })
    };
    let ratio =
        |number: Option<f64>| number.map_or(Value::Null, |it| json!((it * 100.0).round() / 100.0));
    for line in lines {
        rows.push([
            json!(line.load),
            json!(rounded(line.start_time)),
            json!(line.policy),
            whole(line.orders),
            wait(line.wait_p50),
            wait(line.wait_p99),
            wait(line.wait_p999),
            json!(rounded(100.0 * line.late)),
            whole(line.instance_seconds),
            whole(line.cold),
            whole(line.starts),
            whole(line.stops),
            whole(line.flaps),
            ratio(line.wait_vs_knative),
            ratio(line.bill_vs_knative),
            ratio(Some(line.bill_vs_oracle)),
        ]);
    }
    rows.render(form)
}

pub(crate) fn write(arguments: &Synth) -> Result<ExitCode, CommandError> {
    let trace = synth(arguments.pattern, arguments.seed, arguments.hours);
    let written = match &arguments.out {
        Some(path) => File::create(path)
            .map_err(csv::Error::from)
            .and_then(|file| trace.write(file)),
        None => trace.write(io::stdout().lock()),
    };
    let path = arguments
        .out
        .clone()
        .unwrap_or_else(|| "standard output".into());
    match written {
        // Whoever reads has read enough.
        Err(error) if is_closed(&error) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(CommandError::File {
            path,
            source: error.into(),
        }),
        Ok(()) => Ok(ExitCode::SUCCESS),
    }
}

fn is_closed(error: &csv::Error) -> bool {
    matches!(error.kind(), csv::ErrorKind::Io(error) if error.kind() == io::ErrorKind::BrokenPipe)
}
