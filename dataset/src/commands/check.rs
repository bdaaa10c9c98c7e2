//! `edgeless_dataset check`: validates all files, and mends torn tails.

use std::{fmt::Write as _, process::ExitCode};

use clap::Args;
use edgeless_daemon::show::{Form, Rows, print};
use edgeless_dataset::{
    check::{Checked, Repair, check},
    fault::{Fault, Faults},
    progress::Progress,
    scan::ScanError,
};
use edgeless_types::Timestamp;
use serde_json::json;

use super::{CommandError, bytes, not_after};
use crate::Where;

/// What is validated.
#[derive(Clone, Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Where,
    /// Mend torn tails: a last row that lacks only its end of line gets it, a torn one is moved to
    /// FILE.torn; nothing else is changed
    #[arg(long)]
    repair: bool,
    /// Faults of each file that are shown one by one; all are counted
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    limit: u64,
    /// Show JSON
    #[arg(long)]
    json: bool,
}

/// Code 0: nothing is wrong (any more); 1: there are faults.
pub(crate) fn run(arguments: &Arguments, now: Timestamp) -> Result<ExitCode, CommandError> {
    let place = super::Place::from(&arguments.place);
    let files = place.files()?;
    let mut faults = place.faults();
    let mut progress = Progress::of_bytes(bytes(&files));
    let mut all = Vec::new();
    for file in &files {
        let mut shown = 0;
        let mut checked = check(file, not_after(now), &mut progress, |fault: &Fault| {
            let strict = faults.add(fault.clone());
            strict.map_err(|fault| ScanError::Fault(Box::new(fault)))?;
            shown += 1;
            if shown <= arguments.limit && !arguments.json {
                print(&format!("{fault}\n")).map_err(|source| ScanError::Read {
                    path: "the standard output".into(),
                    source,
                })?;
            }
            Ok(())
        })?;
        if shown > arguments.limit && !arguments.json {
            let more = shown - arguments.limit;
            let path = file.path.display();
            let text = format!("{path}: {more} further faults; --limit shows more of them\n");
            print(&text).map_err(CommandError::Output)?;
        }
        if arguments.repair {
            checked.repair()?;
        }
        all.push(checked);
    }
    drop(progress);
    let text = match arguments.json {
        true => crate::output::document(as_json(&all, &faults)),
        false => as_text(&all),
    };
    print(&text).map_err(CommandError::Output)?;
    Ok(match all.iter().any(|checked| checked.left() > 0) {
        true => ExitCode::from(1),
        false => ExitCode::SUCCESS,
    })
}

/// What a repair did, in words.
fn repaired(checked: &Checked) -> Option<String> {
    Some(match checked.repair.as_ref()? {
        Repair::Ended => "the last line got its end".to_owned(),
        Repair::Cut { bytes, kept } => {
            format!("a torn tail of {bytes} bytes is now in {}", kept.display())
        }
    })
}

fn as_text(all: &[Checked]) -> String {
    let mut rows = Rows::with_short_ids(&["file", "rows", "headers", "faults"]);
    let mut text = String::new();
    for checked in all {
        let path = checked.file.path.display();
        if let Some(what) = repaired(checked) {
            let written = writeln!(text, "{path}: {what}");
            debug_assert!(written.is_ok(), "writing to memory does not fail");
        }
        rows.push([
            json!(path.to_string()),
            json!(checked.rows),
            json!(checked.headers),
            json!(checked.left()),
        ]);
    }
    text + &rows.render(Form::choose(false))
}

fn as_json(all: &[Checked], faults: &Faults) -> serde_json::Value {
    let file = |checked: &Checked| {
        json!({
            "file": checked.file.path.display().to_string(),
            "rows": checked.rows,
            "headers": checked.headers,
            "faults": checked.left(),
            "repair": repaired(checked),
        })
    };
    let files: Vec<_> = all.iter().map(file).collect();
    json!({ "files": files, "faults": crate::output::faults(faults) })
}
