//! `edgeless_dataset fit`: writes what functions of each class need, for `[scaling] priors` of an ε-ORC.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::Args;
use edgeless_daemon::show::{Form, Rows, print};
use edgeless_dataset::fit::{Fit, ORDER};
use edgeless_orc::scale::{Priors, priors::Times};
use edgeless_types::{LogicalId, Timestamp};
use serde_json::{Value, json};

use super::{CommandError, scan, tell};
use crate::{Where, output::rounded};

/// What is learnt from, and where to.
#[derive(Clone, Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Where,
    /// The file, which is replaced; ε-ORC reads it with `[scaling] priors`
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The class of a function, where no row says it
    #[arg(long, value_name = "LOGICAL_ID=CLASS", value_parser = named)]
    class: Vec<(LogicalId, String)>,
}

fn named(text: &str) -> Result<(LogicalId, String), String> {
    let pair = text.split_once('=').filter(|(_, class)| !class.is_empty());
    let (id, class) = pair.ok_or("write LOGICAL_ID=CLASS")?;
    let id = id.parse().map_err(|_| format!("`{id}` is not a UUID"))?;
    Ok((id, class.to_owned()))
}

pub(crate) fn run(arguments: &Arguments, now: Timestamp) -> Result<ExitCode, CommandError> {
    let place = super::Place::from(&arguments.place);
    let files = place.files()?;
    let mut faults = place.faults();
    let named: BTreeMap<LogicalId, String> = arguments.class.iter().cloned().collect();
    let mut fit = Fit::new(named);
    let mut file = None;
    scan(&files, &mut faults, now, 1).rows(&ORDER, |row, from| {
        if file
            .as_ref()
            .is_none_or(|file| !Arc::ptr_eq(file, from.file()))
        {
            fit.next_file();
            file = Some(Arc::clone(from.file()));
        }
        fit.take(row);
    })?;
    tell(&faults);
    let (priors, left_out) = fit.priors()?;
    let path = &arguments.out;
    let failed = |source| CommandError::File {
        path: path.clone(),
        source,
    };
    let text = priors
        .to_toml()
        .map_err(|error| failed(io::Error::other(error)))?;
    // Nothing is written that an ε-ORC would refuse.
    Priors::parse(&text, path).map_err(|error| failed(io::Error::other(error)))?;
    replace(path, &text).map_err(failed)?;
    print(&as_text(&priors, Form::choose(false))).map_err(CommandError::Output)?;
    for (number, what) in [
        (
            left_out.functions,
            "functions or resources of which no row says the class",
        ),
        (
            left_out.samples,
            "samples of instances of which no row says the class",
        ),
        (left_out.beyond, "rows beyond the limits"),
    ] {
        if number > 0 {
            eprintln!("edgeless_dataset: left out {number} {what}");
        }
    }
    eprintln!("edgeless_dataset: {} is written", path.display());
    Ok(ExitCode::SUCCESS)
}

/// Writes a file as a whole: whoever reads it meanwhile has the old one or the new one.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    fs::write(&name, text)?;
    fs::rename(&name, path)
}

fn as_text(priors: &Priors, form: Form) -> String {
    let mut rows = Rows::with_short_ids(&[
        "class",
        "events",
        "exec_mean_ms",
        "exec_p95_ms",
        "transfer_p95_ms",
        "starts",
        "start_mean_ms",
        "idle_times",
        "half_hours",
        "every_s",
    ]);
    let millis = |times: Option<Times>, of: fn(&Times) -> f64| {
        times.map_or(Value::Null, |it| json!(rounded(of(&it) * 1e3)))
    };
    let count = |times: Option<Times>| json!(times.map_or(0, |it| it.count));
    for class in priors.classes() {
        let period = class.bursts.and_then(|it| it.period);
        rows.push([
            json!(class.id),
            count(class.service),
            millis(class.service, |it| it.mean),
            millis(class.service, |it| it.p95),
            millis(class.transfer, |it| it.p95),
            count(class.start),
            millis(class.start, |it| it.mean),
            json!(class.gaps.iter().map(|it| it.1).sum::<u64>()),
            json!(class.day.len()),
            period.map_or(Value::Null, |it| json!(rounded(it))),
        ]);
    }
    rows.render(form)
}
