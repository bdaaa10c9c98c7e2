//! Measuring: results, their table, and the machine's facts.

mod certificates;
mod costs;
mod domain;
pub mod domain_suite;
pub mod engine_suite;
mod hops;
pub mod instructions;
pub mod main_suite;
pub mod orders;
pub mod orders_suite;
mod replayed;
mod scaling;
pub mod scaling_suite;

use std::{fmt::Write as _, process::Command};

use serde::Serialize;

/// How to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// Only what has a name that begins like this; empty: everything.
    pub only: String,
    /// One short run of each.
    pub quick: bool,
    /// Build from nothing as well.
    pub cold: bool,
}

impl Options {
    /// How many runs a median is taken of.
    pub fn runs(&self) -> usize {
        if self.quick { 1 } else { 5 }
    }

    /// Whether something with one of these names is to be measured.
    pub fn wants(&self, names: &[&str]) -> bool {
        names.iter().any(|name| name.starts_with(&self.only))
    }
}

/// The median of some runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// Its suite.
    pub suite: &'static str,
    /// Its name.
    pub name: &'static str,
    /// The median.
    pub value: f64,
    /// The unit of all values.
    pub unit: &'static str,
    /// How many runs.
    pub runs: usize,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// All of them, sorted.
    #[serde(skip)]
    pub values: Vec<f64>,
}

impl Measured {
    /// The median of values of one unit; none of no values.
    pub fn of(
        suite: &'static str,
        name: &'static str,
        unit: &'static str,
        mut values: Vec<f64>,
    ) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let value = values[values.len() / 2];
        Some(Self {
            suite,
            name,
            value,
            unit,
            runs: values.len(),
            min,
            max,
            values,
        })
    }
}

/// The results as a table.
pub fn table(results: &[Measured]) -> String {
    let mut text = String::new();
    for one in results {
        writeln!(
            text,
            "{:32} {:>12.2} {:8} (runs {}, {:.2} to {:.2})",
            one.name, one.value, one.unit, one.runs, one.min, one.max
        )
        .expect("writing to a string does not fail");
    }
    text
}

/// What the figures were measured on.
pub fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or(": unknown");
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = memory.lines().next().unwrap_or_default().to_owned();
    let said = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        text.unwrap_or_default().trim().to_owned()
    };
    format!(
        "machine: {} x {cores} cores; {memory}; kernel {}; {}; commit {}",
        model.trim_start_matches([' ', '\t', ':']),
        said("uname", &["-r"]),
        said("rustc", &["--version"]),
        said("git", &["rev-parse", "--short", "HEAD"]),
    )
}

/// The value below which `share` of `values` lie.
pub fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let index = ((values.len() as f64 * share) as usize).min(values.len().saturating_sub(1));
    values.get(index).copied().unwrap_or_default()
}
