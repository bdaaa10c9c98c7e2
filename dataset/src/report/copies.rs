//! A plot of a load and the copies that carried it, recorded and replayed, one above the other.

use plotters::{
    coord::{Shift, types::RangedCoordf64},
    prelude::*,
};

use super::{
    ReportError,
    plots::{COLOURS, GRID, INK, TEXT, WIDTH, unit},
};
use crate::synth::Trace;

/// How high the plot of a function is, and that of the arrivals.
const HEIGHT: u32 = 190;
/// Parts of the time for which arrivals are counted.
const PARTS: f64 = 120.0;

/// From when on, in seconds since the begin of a trace, there were how many copies of a function.
pub type Counts = Vec<(f64, u32)>;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// An SVG with the arrivals per second of a trace, and for each of its functions the copies in each of `runs`: a name
/// and the copies of all functions.
///
/// # Errors
/// The drawing fails.
pub fn copies(trace: &Trace, runs: &[(&str, &[Counts])]) -> Result<String, ReportError> {
    let mut svg = String::new();
    draw(&mut svg, trace, runs).map_err(|text| ReportError::Plot {
        plot: "copies",
        text,
    })?;
    Ok(svg)
}

fn draw(svg: &mut String, trace: &Trace, runs: &[(&str, &[Counts])]) -> Result<(), String> {
    let number = runs.iter().map(|(_, it)| it.len()).max().unwrap_or(0);
    let height = HEIGHT * u32::try_from(number + 1).unwrap_or(1);
    let root = SVGBackend::with_string(svg, (WIDTH, height)).into_drawing_area();
    root.fill(&WHITE).map_err(|error| error.to_string())?;
    let areas = root.split_evenly((number + 1, 1));
    let Some((first, others)) = areas.split_first() else {
        return Ok(());
    };
    let arrivals = arrivals(trace);
    let mut chart = chart(first, trace, "arrivals/s", &arrivals)?;
    line(&mut chart, &arrivals, 2, "arrivals per second")?;
    legend(&mut chart)?;
    for (function, area) in others.iter().enumerate() {
        let name = trace.functions.get(function).map_or("", |it| &it.name);
        let all: Vec<_> = runs
            .iter()
            .filter_map(|(run, counts)| Some((*run, steps(counts.get(function)?, trace.lasts))))
            .collect();
        let points: Vec<_> = all.iter().flat_map(|(_, it)| it.iter().copied()).collect();
        let mut chart = self::chart(area, trace, "copies", &points)?;
        for (place, (run, points)) in all.iter().enumerate() {
            line(&mut chart, points, place, &format!("{name}, {run}"))?;
        }
        legend(&mut chart)?;
    }
    root.present().map_err(|error| error.to_string())
}

/// Arrivals per second over the time.
fn arrivals(trace: &Trace) -> Vec<(f64, f64)> {
    let part = (trace.lasts / PARTS).max(1e-3);
    let mut counts = vec![0.0; PARTS as usize];
    for arrival in &trace.arrivals {
        if let Some(count) = counts.get_mut((arrival.at / part) as usize) {
            *count += 1.0 / part;
        }
    }
    let point = |(place, rate): (usize, f64)| ((place as f64 + 0.5) * part, rate);
    counts.into_iter().enumerate().map(point).collect()
}

/// The corners of a line of copies from 0 to the end.
fn steps(counts: &[(f64, u32)], lasts: f64) -> Vec<(f64, f64)> {
    let mut points = vec![(0.0, 0.0)];
    for &(at, copies) in counts {
        let (at, copies) = (at.clamp(0.0, lasts), f64::from(copies));
        let before = points.last().map_or(0.0, |it| it.1);
        match at > 0.0 {
            true => points.extend([(at, before), (at, copies)]),
            false => points = vec![(0.0, copies)],
        }
    }
    let last = points.last().map_or(0.0, |it| it.1);
    points.push((lasts, last));
    points
}

fn chart<'a, 'b: 'a>(
    area: &'a Area<'b>,
    trace: &Trace,
    what: &str,
    points: &[(f64, f64)],
) -> Result<Chart<'a, 'b>, String> {
    let (name, unit) = unit(trace.lasts);
    let top = points.iter().map(|it| it.1).fold(1.0, f64::max) * 1.1;
    let text = ("sans-serif", TEXT).into_font().color(&INK);
    let mut chart = ChartBuilder::on(area)
        .margin(6)
        .margin_right(18)
        .x_label_area_size(40)
        .y_label_area_size(62)
        .build_cartesian_2d(0.0..trace.lasts, 0.0..top)
        .map_err(|error| error.to_string())?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .x_labels(9)
        .y_labels(5)
        .x_label_formatter(&|seconds| format!("{:.1}", seconds / unit))
        .y_label_formatter(&|value| format!("{value:.0}"))
        .label_style(text)
        .x_desc(format!("{name} since the beginning"))
        .y_desc(what)
        .draw()
        .map_err(|error| error.to_string())?;
    Ok(chart)
}

fn line(
    chart: &mut Chart<'_, '_>,
    points: &[(f64, f64)],
    place: usize,
    name: &str,
) -> Result<(), String> {
    let style = COLOURS[place % COLOURS.len()].stroke_width(2);
    chart
        .draw_series(LineSeries::new(points.iter().copied(), style))
        .map_err(|error| error.to_string())?
        .label(name)
        .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
    Ok(())
}

fn legend<'a, 'b: 'a>(chart: &mut Chart<'a, 'b>) -> Result<(), String> {
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .label_font(("sans-serif", TEXT).into_font().color(&INK))
        .background_style(WHITE.mix(0.8))
        .draw()
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synth::{Pattern, synth};

    #[test]
    fn all_functions_and_runs_are_named() {
        let trace = synth(Pattern::Step, 1, 0.05);
        let runs = vec![vec![(-1.0, 1), (20.0, 3)], vec![(0.0, 2)]];
        let svg = copies(&trace, &[("recorded", &runs), ("replayed", &runs)]).unwrap();
        for name in ["a, recorded", "a, replayed", "b, recorded", "arrivals/s"] {
            assert!(svg.contains(name), "{name}");
        }
        assert_eq!(
            steps(&runs[0], 30.0),
            [(0.0, 1.0), (20.0, 1.0), (20.0, 3.0), (30.0, 3.0)]
        );
    }
}
