//! `edgeless_dataset`: validates, sums up, shows and exports recorded datasets.

mod commands;
mod output;

use std::{error::Error, path::PathBuf, process::ExitCode, time::SystemTime};

use clap::{Parser, Subcommand};
use edgeless_types::Timestamp;

use crate::commands::{Place, check, export, fit, replay, report, summary};

/// Looks into the datasets that an ε-ORC has recorded.
///
/// DIR is a folder with CSV files, or a folder and the beginning of their names, as `dataset_path` of
/// an ε-ORC. Exit code 1: there are faults (check), or the first fault (--strict); 2: it cannot be done.
#[derive(Debug, Parser)]
#[command(name = "edgeless_dataset", version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Validates all files row by row
    Check(check::Arguments),
    /// Shows figures per function and node
    Summary(summary::Arguments),
    /// Writes a page with plots, for browsers
    Report(report::Arguments),
    /// Writes what functions of each class need, for the scaling policies of ε-ORC
    Fit(fit::Arguments),
    /// Runs load, recorded or made up, through the scaling policies of ε-ORC
    Replay(replay::Replay),
    /// Makes up load with published shapes, as CSV
    Synth(replay::Synth),
    /// Writes the tables as Parquet
    #[cfg_attr(
        not(feature = "parquet"),
        command(
            about = "Writes the tables as Parquet (built without Parquet: see `export --help`)",
            after_help = export::HOW_TO_GET
        )
    )]
    Export(export::Arguments),
}

fn main() -> ExitCode {
    let verb = Cli::parse().verb;
    let now = now();
    let outcome = match &verb {
        Verb::Check(arguments) => check::run(arguments, now),
        Verb::Summary(arguments) => summary::run(arguments, now),
        Verb::Report(arguments) => report::run(arguments, now),
        Verb::Fit(arguments) => fit::run(arguments, now),
        Verb::Replay(arguments) => replay::replay(arguments, now),
        Verb::Synth(arguments) => replay::write(arguments),
        Verb::Export(arguments) => export::run(arguments, now),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            let mut text = error.to_string();
            let mut source = error.source();
            while let Some(cause) = source {
                text = format!("{text}: {cause}");
                source = cause.source();
            }
            eprintln!("edgeless_dataset: {text}");
            ExitCode::from(error.code())
        }
    }
}

/// The wall clock.
fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Timestamp::from_unix(since_epoch.unwrap_or_default())
}

/// Where the dataset is, as every command asks for it.
#[derive(Clone, Debug, clap::Args)]
struct Where {
    /// A folder, or a folder and the beginning of file names
    dir: PathBuf,
    /// End with the first fault
    #[arg(long)]
    strict: bool,
}

impl From<&Where> for Place {
    fn from(arguments: &Where) -> Self {
        Self {
            dir: arguments.dir.clone(),
            strict: arguments.strict,
        }
    }
}
