//! `edgeless_dataset report`: writes a page with plots.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use edgeless_dataset::report::Report;
use edgeless_types::Timestamp;

use super::{CommandError, scan, tell};
use crate::Where;

/// What is shown, and where.
#[derive(Clone, Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Where,
    /// The page, which is replaced; it needs no network
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub(crate) fn run(arguments: &Arguments, now: Timestamp) -> Result<ExitCode, CommandError> {
    let place = super::Place::from(&arguments.place);
    let files = place.files()?;
    let mut faults = place.faults();
    let report = Report::read(&mut scan(&files, &mut faults, now, 2))?;
    let title = arguments.place.dir.display().to_string();
    let page = report.page(&title, &faults)?;
    let path = &arguments.out;
    std::fs::write(path, page).map_err(|source| CommandError::File {
        path: path.clone(),
        source,
    })?;
    tell(&faults);
    eprintln!("edgeless_dataset: {} is written", path.display());
    Ok(ExitCode::SUCCESS)
}
