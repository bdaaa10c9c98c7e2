//! `edgeless_dataset export`: writes the tables in another format.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use edgeless_daemon::show::{Form, Rows, print};
use edgeless_dataset::{export::export, progress::Progress};
use edgeless_types::Timestamp;
use serde_json::json;

use super::{CommandError, bytes, not_after, tell};
use crate::Where;

/// What is written, and where.
#[derive(Clone, Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Where,
    /// As Apache Parquet, the only format
    #[arg(long, required = true)]
    parquet: bool,
    /// The folder, which is created; files in it are not replaced
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
}

pub(crate) fn run(arguments: &Arguments, now: Timestamp) -> Result<ExitCode, CommandError> {
    let place = super::Place::from(&arguments.place);
    let files = place.files()?;
    let mut faults = place.faults();
    let mut progress = Progress::of_bytes(bytes(&files));
    let mut rows = Rows::with_short_ids(&["file", "rows"]);
    for file in &files {
        let out = &arguments.out;
        let all = export(file, out, not_after(now), &mut faults, &mut progress)?;
        for written in all {
            rows.push([json!(written.path), json!(written.rows)]);
        }
    }
    drop(progress);
    print(&rows.render(Form::choose(false))).map_err(CommandError::Output)?;
    tell(&faults);
    Ok(ExitCode::SUCCESS)
}
