//! The tables at the end of the page.

use super::{
    Report,
    gantt::{label, short},
    text::{Escaped, count, millis, number},
};
use crate::summary::{FunctionFigures, Quantiles, ScalingFigures};

/// Rows of tables.
const TABLE_ROWS: usize = 100;

/// Times by function and node.
pub(super) fn functions_table(report: &Report) -> String {
    let all = &report.figures.functions;
    if all.is_empty() {
        return String::new();
    }
    let mut rows = String::new();
    for one in all.iter().take(TABLE_ROWS) {
        rows += &function_row(one);
    }
    let more = match all.len().saturating_sub(TABLE_ROWS) {
        0 => String::new(),
        more => format!("<p class=\"soft\">{more} further rows are not shown.</p>"),
    };
    format!(
        "<h2>Functions by node</h2>\n<p class=\"soft\">Times in milliseconds, over the whole dataset: half, nine of \
         ten, and 99 of a hundred events took less.</p>\n<div class=\"wide\"><table>\n<tr><th>function</th>\
         <th class=\"name\">node</th><th>events</th><th>per second</th><th>execution p50</th><th>p90</th><th>p99</th>\
         <th>transfer p50</th><th>p90</th><th>p99</th><th>without sample</th></tr>\n{rows}</table></div>{more}\n"
    )
}

fn function_row(one: &FunctionFigures) -> String {
    let name = match one.logical_id {
        Some(logical_id) => label(one.name.as_deref(), logical_id),
        None => one.group.to_owned(),
    };
    let name = Escaped(&name);
    let node = one.node_id.map_or("–".to_owned(), short);
    let of = |quantiles: Option<Quantiles>| {
        let at = |choose: fn(Quantiles) -> Option<f64>| millis(quantiles.and_then(choose));
        format!(
            "<td>{}</td><td>{}</td><td>{}</td>",
            at(|q| q.p50),
            at(|q| q.p90),
            at(|q| q.p99)
        )
    };
    format!(
        "<tr><td><code>{name}</code></td><td class=\"name\"><code>{node}</code></td><td>{}</td><td>{}</td>{}{}<td>{}</td></tr>\n",
        count(one.executions),
        one.rate.map_or("–".to_owned(), number),
        of(one.execution),
        of(one.transfer),
        count(one.executions_summarised),
    )
}

/// Decisions by run and function.
pub(super) fn scaling_table(report: &Report) -> String {
    let all = &report.figures.scaling;
    if all.is_empty() {
        return String::new();
    }
    let has_runs = all.iter().any(|one| !one.run.is_empty());
    let rows: String = all
        .iter()
        .take(TABLE_ROWS)
        .map(|one| scaling_row(one, has_runs))
        .collect();
    let more = match all.len().saturating_sub(TABLE_ROWS) {
        0 => String::new(),
        more => format!("<p class=\"soft\">{more} further rows are not shown.</p>"),
    };
    let run = if has_runs { "<th>run</th>" } else { "" };
    format!(
        "<h2>Scaling decisions</h2>\n<p class=\"soft\">Decisions about the number of copies, by the reason they had; … \
         stands for numbers.</p>\n<div class=\"wide\"><table>\n<tr>{run}<th class=\"name\">function</th>\
         <th class=\"name\">policy</th><th>decisions</th><th>up</th><th>down</th><th>most copies</th>\
         <th class=\"name\">reasons</th></tr>\n{rows}</table></div>{more}\n"
    )
}

fn scaling_row(one: &ScalingFigures, has_runs: bool) -> String {
    let run = match has_runs {
        true => format!("<td>{}</td>", Escaped(&one.run)),
        false => String::new(),
    };
    let reasons = one.reasons.iter();
    let reasons = reasons.map(|(kind, number)| format!("{}: {}", count(*number), Escaped(kind)));
    format!(
        "<tr>{run}<td class=\"name\"><code>{}</code></td><td class=\"name\">{}</td><td>{}</td><td>{}</td><td>{}</td>\
         <td>{}</td><td class=\"name\">{}</td></tr>\n",
        Escaped(&label(one.name.as_deref(), one.logical_id)),
        Escaped(&one.policy),
        count(one.decisions()),
        count(one.up),
        count(one.down),
        one.most,
        reasons.collect::<Vec<_>>().join("<br>"),
    )
}

/// Health by node.
pub(super) fn nodes_table(report: &Report) -> String {
    let all = &report.figures.nodes;
    if all.is_empty() {
        return String::new();
    }
    let mut rows = String::new();
    for node in all.iter().take(TABLE_ROWS) {
        let or_dash = |value: Option<String>| value.unwrap_or_else(|| "–".to_owned());
        rows += &format!(
            "<tr><td><code>{}</code></td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
            short(node.node_id),
            or_dash(node.cores.map(|cores| cores.to_string())),
            count(node.reports),
            number(node.longest_silence_secs),
            or_dash(node.cpu_mean.map(number)),
            node.cpu_max,
            count(node.mem_used_max_mib),
            number(node.load_max),
        );
    }
    let more = match all.len().saturating_sub(TABLE_ROWS) {
        0 => String::new(),
        more => format!("<p class=\"soft\">{more} further nodes are not shown.</p>"),
    };
    format!(
        "<h2>Nodes</h2>\n<p class=\"soft\">Processor use in percent of one core; the longest silence is the longest \
         time between two reports.</p>\n<div class=\"wide\"><table>\n<tr><th>node</th><th>cores</th><th>reports</th>\
         <th>longest silence, s</th><th>processor mean</th><th>most</th><th>memory most, MiB</th>\
         <th>load most</th></tr>\n{rows}</table></div>{more}\n"
    )
}
