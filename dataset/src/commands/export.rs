//! `edgeless_dataset export`: writes the tables in another format. Every build has the command; one without the feature
//! `parquet` says how to get one that does it.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use edgeless_types::Timestamp;

use super::CommandError;
use crate::Where;

/// What a build says that cannot write Parquet.
#[cfg(not(feature = "parquet"))]
pub(crate) const HOW_TO_GET: &str =
    "built without Parquet: cargo build --release -p edgeless-dataset --features parquet";

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

/// This build cannot do it.
#[cfg(not(feature = "parquet"))]
pub(crate) const fn run(_: &Arguments, _: Timestamp) -> Result<ExitCode, CommandError> {
    Err(CommandError::NoParquet)
}

/// Writes each file, and shows which.
#[cfg(feature = "parquet")]
pub(crate) fn run(arguments: &Arguments, now: Timestamp) -> Result<ExitCode, CommandError> {
    use edgeless_daemon::show::{Form, Rows, print};
    use edgeless_dataset::{export::export, progress::Progress};
    use serde_json::json;

    use super::{bytes, not_after, tell};

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
