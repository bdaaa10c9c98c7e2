//! `edgeless_dataset replay` and `synth`: load through the scaling policies, and made-up load as CSV.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::Args;
use edgeless_daemon::show::{Form, Rows, print};
use edgeless_dataset::{
    replay::{
        Comparison, Line, Recorded, Recording, compare,
        daemons::{self, Daemons, Entry},
    },
    report::copies,
    synth::{Pattern, Trace, synth},
};
use edgeless_orc::scale::{Policy, Settings};
use edgeless_tables::Table;
use edgeless_types::{LogicalId, Timestamp};
use serde_json::{Value, json};

use super::{CommandError, scan, tell};
use crate::output::rounded;

/// What is replayed, and how.
#[derive(Clone, Debug, Args)]
pub(crate) struct Replay {
    /// A recorded dataset: a folder, or a folder and the beginning of file names
    #[arg(required_unless_present = "synth", conflicts_with = "synth")]
    dir: Option<PathBuf>,
    /// Made-up load instead; several are several blocks
    #[arg(long, value_enum)]
    synth: Vec<Pattern>,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds, one after the other
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    seeds: u64,
    /// Hours of made-up load
    #[arg(long, default_value_t = 2.0, value_parser = hours)]
    hours: f64,
    /// `fixed`, `concurrency`, `queue` or `predictive`; all of them if none is named
    #[arg(long, value_parser = |text: &str| text.parse::<Policy>())]
    policy: Vec<Policy>,
    /// Time until a copy is ready, such as 20ms or 2s; several are several blocks. 2s, or as recorded, if it is not said
    #[arg(long, value_parser = time)]
    start_time: Vec<Duration>,
    /// Functions of the dataset that orders pass one after the other: their ids, separated by commas; then others are
    /// left out
    #[arg(long, value_name = "ID,ID", value_parser = chain, conflicts_with = "synth")]
    chain: Vec<Chain>,
    /// As the daemons carry it, which learn of the load a while later, instead of at once
    #[arg(long, value_enum, value_name = "ENTRY")]
    daemons: Option<Entry>,
    /// Nodes of the daemons
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    nodes: u32,
    /// How often nodes refresh; 1s, or as recorded, if it is not said
    #[arg(long, value_parser = time)]
    refresh: Option<Duration>,
    /// The fewest copies of a function
    #[arg(long, default_value_t = 0)]
    min_instances: u32,
    /// The most copies of a function
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    max_instances: u32,
    /// The longest time that the last copy is kept without work
    #[arg(long, value_parser = time, default_value = "60s")]
    idle_after: Duration,
    /// Copies that all nodes can take together
    #[arg(long, default_value_t = u32::MAX)]
    capacity: u32,
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

/// A time with its unit.
fn time(text: &str) -> Result<Duration, String> {
    let split = text.find(|it: char| !it.is_ascii_digit() && it != '.');
    let (number, unit) = text.split_at(split.unwrap_or(text.len()));
    let unit = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "min" => 60.0,
        _ => return Err("write a number with `ms`, `s` or `min`, such as 20ms".to_owned()),
    };
    let number: f64 = number
        .parse()
        .map_err(|_| format!("`{number}` is not a number"))?;
    Duration::try_from_secs_f64(number * unit).map_err(|error| error.to_string())
}

fn hours(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok();
    number
        .filter(|it| *it > 0.0 && *it <= 168.0)
        .ok_or_else(|| format!("`{text}` is not a number of hours above 0, up to 168"))
}

/// Functions, one after the other.
#[derive(Clone, Debug)]
struct Chain(Vec<LogicalId>);

fn chain(text: &str) -> Result<Chain, String> {
    let ids = text.split(',').map(|id| {
        let parsed = id.trim().parse::<LogicalId>();
        parsed.map_err(|_| format!("`{id}` is no id of a function"))
    });
    ids.collect::<Result<_, _>>().map(Chain)
}

pub(crate) fn replay(arguments: &Replay, now: Timestamp) -> Result<ExitCode, CommandError> {
    let mut lines = Vec::new();
    match &arguments.dir {
        Some(dir) => {
            let place = super::Place {
                dir: dir.clone(),
                strict: arguments.strict,
            };
            let chains = arguments.chain.iter().map(|it| it.0.clone());
            let recording = recorded(&place, chains.collect(), now)?;
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
                let each = comparisons.iter();
                lines.extend(each.flat_map(|it| compare(it, pattern.name(), &traces)));
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
                min_instances: self.min_instances.min(self.max_instances),
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
        into.extend(comparisons.iter().flat_map(|it| compare(it, load, &traces)));
    }
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
    let ratio =
        |number: Option<f64>| number.map_or(Value::Null, |it| json!((it * 100.0).round() / 100.0));
    for line in lines {
        rows.push([
            json!(line.load),
            json!(line.start_time),
            json!(line.policy),
            whole(line.orders),
            json!(rounded(line.wait_p50)),
            json!(rounded(line.wait_p99)),
            json!(rounded(line.wait_p999)),
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
    written.map_err(|error| CommandError::File {
        path,
        source: error.into(),
    })?;
    Ok(ExitCode::SUCCESS)
}
