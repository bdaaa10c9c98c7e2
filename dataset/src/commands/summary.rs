//! `edgeless_dataset summary`: figures per function and node.

use std::process::ExitCode;

use clap::Args;
use edgeless_daemon::show::{Form, Rows, moment, print};
use edgeless_dataset::summary::{Figures, ORDER, Quantiles, ScalingFigures, Summary};
use edgeless_types::Timestamp;
use serde_json::{Value, json};

use super::{CommandError, scan, tell};
use crate::{Where, output::rounded};

/// What is summed up.
#[derive(Clone, Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Where,
    /// Show JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments, now: Timestamp) -> Result<ExitCode, CommandError> {
    let place = super::Place::from(&arguments.place);
    let files = place.files()?;
    let mut faults = place.faults();
    let mut summary = Summary::default();
    scan(&files, &mut faults, now, 1).rows(&ORDER, |row, from| summary.take(row, || from.run()))?;
    let figures = summary.figures();
    let text = if arguments.json {
        let mut document = json!(figures);
        document["faults"] = crate::output::faults(&faults);
        crate::output::document(document)
    } else {
        as_text(&figures, Form::choose(false))
    };
    print(&text).map_err(CommandError::Output)?;
    tell(&faults);
    Ok(ExitCode::SUCCESS)
}

/// The figures under headings.
fn as_text(figures: &Figures, form: Form) -> String {
    let rows = figures.rows.iter().filter(|(_, number)| *number > 0);
    let rows: Vec<String> = rows
        .map(|(file, number)| format!("{file}: {number}"))
        .collect();
    let span = figures.span.map_or("no rows".to_owned(), |span| {
        let (first, last) = (moment(span.first), moment(span.last));
        format!("{first} to {last}, {} s", rounded(span.secs))
    });
    let left_out = figures.left_out;
    let mut text = format!("{span}\nrows: {}\n", rows.join(", "));
    for (number, what) in [
        (left_out.instances, "mentions of further instances"),
        (
            left_out.rows_of_others,
            "rows of further functions (`others`)",
        ),
        (left_out.placements, "placements of further functions"),
        (left_out.nodes, "rows of further nodes"),
        (left_out.decisions, "decisions about further functions"),
    ] {
        if number > 0 {
            text += &format!("beyond the limits of a summary: {number} {what}\n");
        }
    }
    let parts = [
        (
            "functions by node, times in milliseconds",
            functions(figures),
        ),
        ("placements", placements(figures)),
        ("nodes", nodes(figures)),
    ];
    for (heading, rows) in parts {
        text += &format!("\n{heading}\n{}", rows.render(form));
    }
    if !figures.scaling.is_empty() {
        let (decisions, reasons) = (
            decisions(figures).render(form),
            reasons(figures).render(form),
        );
        text +=
            &format!("\nscaling decisions\n{decisions}\nreasons of scaling decisions\n{reasons}");
    }
    text
}

fn functions(figures: &Figures) -> Rows {
    let mut rows = Rows::with_short_ids(&[
        "function",
        "name",
        "node",
        "count",
        "per_s",
        "exec_p50",
        "exec_p90",
        "exec_p99",
        "exec_max",
        "transfer_p50",
        "transfer_p90",
        "transfer_p99",
        "transfer_max",
        "summarised",
        "logs",
    ]);
    for one in &figures.functions {
        let id = match one.logical_id {
            Some(logical_id) => json!(logical_id),
            None => json!(one.group),
        };
        let mut cells = vec![
            id,
            json!(one.name),
            json!(one.node_id),
            json!(one.executions),
            number(one.rate),
        ];
        cells.extend(times(one.execution));
        cells.extend(times(one.transfer));
        cells.push(json!(one.executions_summarised + one.transfers_summarised));
        cells.push(json!(one.logs));
        rows.push(cells);
    }
    rows
}

fn times(quantiles: Option<Quantiles>) -> [Value; 4] {
    let Some(times) = quantiles else {
        return [Value::Null, Value::Null, Value::Null, Value::Null];
    };
    let millis = |secs: Option<f64>| number(secs.map(|secs| secs * 1e3));
    [
        millis(times.p50),
        millis(times.p90),
        millis(times.p99),
        millis(Some(times.max)),
    ]
}

fn placements(figures: &Figures) -> Rows {
    let mut rows = Rows::with_short_ids(&[
        "function",
        "name",
        "instances",
        "most",
        "starts",
        "stops",
        "nodes",
        "instance_s",
    ]);
    for one in &figures.placements {
        rows.push([
            json!(one.logical_id),
            json!(one.name),
            json!(one.instances),
            json!(one.most_instances),
            json!(one.starts),
            json!(one.stops),
            json!(one.nodes),
            number(Some(one.instance_secs)),
        ]);
    }
    rows
}

fn nodes(figures: &Figures) -> Rows {
    let mut rows = Rows::with_short_ids(&[
        "node",
        "cores",
        "reports",
        "silence_s",
        "cpu_mean_%",
        "cpu_max_%",
        "mem_used_MiB",
        "mem_left_MiB",
        "load_max",
    ]);
    for one in &figures.nodes {
        rows.push([
            json!(one.node_id),
            json!(one.cores),
            json!(one.reports),
            number(Some(one.longest_silence_secs)),
            number(one.cpu_mean),
            json!(one.cpu_max),
            json!(one.mem_used_max_mib),
            json!(one.mem_available_min_mib),
            number(Some(one.load_max)),
        ]);
    }
    rows
}

fn decisions(figures: &Figures) -> Rows {
    let mut rows = Rows::with_short_ids(&[
        "run",
        "function",
        "name",
        "policy",
        "decisions",
        "up",
        "down",
        "most",
    ]);
    for one in &figures.scaling {
        rows.push([
            run_of(one),
            json!(one.logical_id),
            json!(one.name),
            json!(one.policy),
            json!(one.decisions()),
            json!(one.up),
            json!(one.down),
            json!(one.most),
        ]);
    }
    rows
}

fn reasons(figures: &Figures) -> Rows {
    let mut rows = Rows::with_short_ids(&["run", "function", "name", "decisions", "reason"]);
    for one in &figures.scaling {
        for (reason, number) in &one.reasons {
            let (id, name) = (json!(one.logical_id), json!(one.name));
            rows.push([run_of(one), id, name, json!(number), json!(reason)]);
        }
    }
    rows
}

/// The run, where there are several.
fn run_of(one: &ScalingFigures) -> Value {
    match one.run.is_empty() {
        true => Value::Null,
        false => json!(one.run),
    }
}

fn number(value: Option<f64>) -> Value {
    value.map_or(Value::Null, |value| json!(rounded(value)))
}
