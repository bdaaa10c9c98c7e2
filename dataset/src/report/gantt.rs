//! Placements as a Gantt chart: a row per function and node, a bar for each time an instance ran there.

use std::collections::BTreeMap;

use edgeless_types::{LogicalId, NodeId};
use plotters::prelude::*;

use super::{
    ReportError,
    plots::{COLOURS, GRID, INK, TEXT, WIDTH, unit},
};
use crate::summary::{Interval, Span};

/// Rows of the chart.
const ROWS: usize = 40;
/// Bars of the chart.
const BARS: usize = 2_000;
/// The height of a row.
const ROW: u32 = 22;
/// Room for the names of rows.
const NAMES: u32 = 290;
/// Characters of the name of a function.
const SHORT_NAME: usize = 20;
/// Characters of an id.
const SHORT_ID: usize = 8;

/// The longest intervals of any number.
#[derive(Default)]
pub(super) struct Longest {
    intervals: Vec<Interval>,
    dropped: u64,
}

impl Longest {
    pub(super) fn add(&mut self, interval: Interval) {
        self.intervals.push(interval);
        if self.intervals.len() >= 2 * BARS {
            self.shorten();
        }
    }

    fn shorten(&mut self) {
        let secs = |one: &Interval| std::cmp::Reverse(one.to.since(one.from));
        self.intervals.sort_by_key(secs);
        let more = self.intervals.len().saturating_sub(BARS);
        self.dropped += more as u64;
        self.intervals.truncate(BARS);
    }

    /// The intervals by their beginning, and how many shorter ones there were.
    pub(super) fn end(mut self) -> (Vec<Interval>, u64) {
        self.shorten();
        self.intervals
            .sort_by_key(|one| (one.from, one.physical_id));
        (self.intervals, self.dropped)
    }
}

/// The beginning of an id.
pub(super) fn short(id: impl std::fmt::Display) -> String {
    id.to_string().chars().take(SHORT_ID).collect()
}

/// Names of functions and resources, where they are recorded.
pub(super) type Names = BTreeMap<LogicalId, String>;

/// A function as the page calls it: by its name, if it has one, and the beginning of its id.
pub(super) fn label(name: Option<&str>, logical_id: LogicalId) -> String {
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return short(logical_id);
    };
    let mut label: String = name.chars().take(SHORT_NAME).collect();
    if label.len() < name.len() {
        label.push('…');
    }
    format!("{label} {}", short(logical_id))
}

/// A chart that has been drawn.
pub(super) struct Gantt {
    pub(super) svg: String,
    /// Pairs of function and node for which there was no row.
    pub(super) rows_left_out: usize,
}

/// Draws the chart; none without intervals. Functions have the colours of `functions`, by their place.
pub(super) fn gantt(
    placed: &[Interval],
    span: Span,
    functions: &[LogicalId],
    names: &Names,
) -> Result<Option<Gantt>, ReportError> {
    let place = |logical_id: LogicalId| functions.iter().position(|&one| one == logical_id);
    let mut rows: BTreeMap<(usize, LogicalId, NodeId), Vec<&Interval>> = BTreeMap::new();
    for interval in placed {
        let order = place(interval.logical_id).unwrap_or(COLOURS.len() - 1);
        let row = (order, interval.logical_id, interval.node_id);
        rows.entry(row).or_default().push(interval);
    }
    if rows.is_empty() {
        return Ok(None);
    }
    let rows_left_out = rows.len().saturating_sub(ROWS);
    let rows: Vec<_> = rows.into_iter().take(ROWS).collect();
    let mut svg = String::new();
    draw(&mut svg, &rows, span, names).map_err(|text| ReportError::Plot {
        plot: "placements",
        text,
    })?;
    Ok(Some(Gantt { svg, rows_left_out }))
}

type Row<'a> = ((usize, LogicalId, NodeId), Vec<&'a Interval>);

fn draw(svg: &mut String, rows: &[Row<'_>], span: Span, names: &Names) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| error.to_string();
    let number = u32::try_from(rows.len()).unwrap_or(u32::MAX);
    let height = 60 + ROW * number;
    let (time, unit) = unit(span.secs);
    let end = (span.secs / unit).max(1e-9);
    let root = SVGBackend::with_string(svg, (WIDTH, height)).into_drawing_area();
    let mut chart = ChartBuilder::on(&root)
        .margin(6)
        .margin_right(18)
        .x_label_area_size(46)
        .margin_left(NAMES)
        .build_cartesian_2d(0.0..end, 0.0..f64::from(number))
        .map_err(|error| failed(&error))?;
    let text = ("sans-serif", TEXT).into_font().color(&INK);
    chart
        .configure_mesh()
        .disable_y_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .x_labels(8)
        .x_label_formatter(&|value| format!("{}", (value * 100.0).round() / 100.0))
        .y_labels(0)
        .label_style(text.clone())
        .x_desc(format!("{time} since the beginning"))
        .draw()
        .map_err(|error| failed(&error))?;
    for (index, ((order, logical_id, node_id), intervals)) in rows.iter().enumerate() {
        // The first row is at the top.
        let bottom = f64::from(number) - 1.0 - index as f64;
        let colour = COLOURS[order % COLOURS.len()];
        let bars = intervals.iter().map(|interval| {
            let at =
                |moment: edgeless_types::Timestamp| moment.since(span.first).as_secs_f64() / unit;
            let corners = [
                (at(interval.from), bottom + 0.15),
                (at(interval.to), bottom + 0.85),
            ];
            Rectangle::new(corners, colour.mix(0.75).filled())
        });
        chart.draw_series(bars).map_err(|error| failed(&error))?;
        let name = names.get(logical_id).map(String::as_str);
        let name = format!("{} on {}", label(name, *logical_id), short(node_id));
        let y = i32::try_from(6 + ROW * u32::try_from(index).unwrap_or_default() + 4);
        root.draw(&Text::new(name, (8, y.unwrap_or_default()), text.clone()))
            .map_err(|error| failed(&error))?;
    }
    root.present().map_err(|error| failed(&error))
}
