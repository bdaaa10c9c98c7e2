//! `edgeless_dataset replay` and `synth`: load through the scaling policies, and made-up load as CSV.

use std::{fs::File, io, path::PathBuf, process::ExitCode, time::Duration};

use clap::Args;
use edgeless_daemon::show::{Form, Rows, print};
use edgeless_dataset::{
    replay::{Comparison, Line, Recorded, compare},
    synth::{Pattern, Trace, synth},
};
use edgeless_orc::scale::{Policy, Settings};
use edgeless_tables::Table;
use edgeless_types::Timestamp;
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
    /// Time until a copy is ready, such as 20ms or 2s; several are several blocks
    #[arg(long, value_parser = time, default_value = "2s")]
    start_time: Vec<Duration>,
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

pub(crate) fn replay(arguments: &Replay, now: Timestamp) -> Result<ExitCode, CommandError> {
    let mut lines = Vec::new();
    match &arguments.dir {
        Some(dir) => {
            let place = super::Place {
                dir: dir.clone(),
                strict: arguments.strict,
            };
            let trace = recorded(&place, now)?;
            let load = dir.display().to_string();
            arguments.lines(&load, &[(arguments.seed, trace)], &mut lines);
        }
        None => {
            for &pattern in &arguments.synth {
                let seeds = arguments.seed..arguments.seed.saturating_add(arguments.seeds);
                let traces = seeds.map(|seed| (seed, synth(pattern, seed, arguments.hours)));
                arguments.lines(pattern.name(), &traces.collect::<Vec<_>>(), &mut lines);
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

fn recorded(place: &super::Place, now: Timestamp) -> Result<Trace, CommandError> {
    let files = place.files()?;
    let mut faults = place.faults();
    let mut recorded = Recorded::default();
    let tables = [Table::MappingToInstanceId, Table::PerformanceSamples];
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
    Ok(recorded.trace()?)
}

impl Replay {
    fn lines(&self, load: &str, traces: &[(u64, Trace)], into: &mut Vec<Line>) {
        let policies = match self.policy.is_empty() {
            true => Policy::ALL.to_vec(),
            false => self.policy.clone(),
        };
        for &start_time in &self.start_time {
            let comparison = Comparison {
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
            };
            into.extend(compare(&comparison, load, traces));
        }
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
