//! Plots over time, as SVG. Colours are those of light pages; the style of the page maps them to dark ones.

use plotters::{coord::ranged1d::ValueFormatter, prelude::*};

use super::{ReportError, buckets::Buckets, text::Escaped};

/// Colours of lines, told apart also by the colour-blind: M. Okabe and K. Ito, "Color Universal
/// Design", with a grey for the eighth.
pub(super) const COLOURS: [RGBColor; 9] = [
    RGBColor(0x00, 0x72, 0xB2),
    RGBColor(0xD5, 0x5E, 0x00),
    RGBColor(0x00, 0x9E, 0x73),
    RGBColor(0xCC, 0x79, 0xA7),
    RGBColor(0xB8, 0x86, 0x0B),
    RGBColor(0x56, 0xB4, 0xE9),
    RGBColor(0x8A, 0x5A, 0x44),
    RGBColor(0x5B, 0x5B, 0xA5),
    RGBColor(0x80, 0x80, 0x80),
];
/// Text, and the lines of axes.
pub(super) const INK: RGBColor = RGBColor(0x33, 0x33, 0x33);
/// The grid.
pub(super) const GRID: RGBColor = RGBColor(0xE3, 0xE3, 0xE3);
/// The size of a plot; it grows and shrinks with the page.
pub(super) const WIDTH: u32 = 960;
const HEIGHT: u32 = 270;
/// Of texts in there.
pub(super) const TEXT: u32 = 16;

/// A line: its values, where there are any, in the buckets.
pub(super) struct Line {
    /// Its place in [`COLOURS`].
    pub(super) colour: usize,
    /// The same as long as there are values; of values that follow none, a new piece.
    pub(super) values: Vec<Option<f64>>,
}

/// How the values are drawn.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    /// From zero.
    Linear,
    /// From zero, in whole numbers.
    Whole,
    /// Each line of the grid ten times the last.
    Logarithmic,
}

/// The unit in which time is shown: its name and seconds.
pub(super) fn unit(secs: f64) -> (&'static str, f64) {
    match secs {
        secs if secs < 300.0 => ("seconds", 1.0),
        secs if secs < 18_000.0 => ("minutes", 60.0),
        secs if secs < 400_000.0 => ("hours", 3_600.0),
        _ => ("days", 86_400.0),
    }
}

/// A number as axes have it.
fn label(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size >= 1e6 => format!("{}M", value / 1e6),
        size if size >= 1e4 => format!("{}k", value / 1e3),
        size if size >= 1.0 => format!("{}", (value * 100.0).round() / 100.0),
        _ => format!("{}", (value * 1e6).round() / 1e6),
    }
}

/// A plot of lines over the time of the buckets; none where no line has a value.
pub(super) fn lines(
    plot: &'static str,
    buckets: &Buckets,
    lines: &[Line],
    scale: Scale,
) -> Result<Option<String>, ReportError> {
    let values = || lines.iter().flat_map(|line| line.values.iter().flatten());
    let highest = values().copied().fold(0.0, f64::max);
    if values().next().is_none() {
        return Ok(None);
    }
    let lowest = values().copied().filter(|&value| value > 0.0);
    let lowest = lowest.fold(f64::INFINITY, f64::min);
    let mut svg = String::new();
    let drawn = match scale {
        Scale::Linear | Scale::Whole => {
            let top = if highest > 0.0 { highest * 1.08 } else { 1.0 };
            draw(&mut svg, buckets, lines, &[], 0.0..top, (scale, 0.0))
        }
        Scale::Logarithmic => {
            let (low, high) = match lowest.is_finite() {
                true => (lowest, highest),
                false => (0.001, 1.0),
            };
            // A little below, so that the axis names its beginning.
            let low = 10_f64.powf(low.log10().floor()) * 0.999;
            let high = 10_f64.powf(high.log10().ceil()).max(low * 10.0);
            draw(
                &mut svg,
                buckets,
                lines,
                &[],
                (low..high).log_scale(),
                (scale, low),
            )
        }
    };
    drawn.map_err(|text| ReportError::Plot { plot, text })?;
    Ok(Some(svg))
}

/// A point that says something: its place in time (seconds since the beginning), its value, and its text.
pub(super) struct Mark {
    /// Its place in [`COLOURS`].
    pub(super) colour: usize,
    pub(super) secs: f64,
    pub(super) value: f64,
    /// What is shown when it is pointed at.
    pub(super) text: String,
}

/// The same in whole numbers, with points that say something.
pub(super) fn marked(
    plot: &'static str,
    buckets: &Buckets,
    lines: &[Line],
    marks: &[Mark],
) -> Result<Option<String>, ReportError> {
    let values = lines.iter().flat_map(|line| line.values.iter().flatten());
    let marked = marks.iter().map(|mark| &mark.value);
    let highest = values.chain(marked).copied().fold(1.0, f64::max);
    if lines.is_empty() {
        return Ok(None);
    }
    let mut svg = String::new();
    let top = highest * 1.08;
    let drawn = draw(
        &mut svg,
        buckets,
        lines,
        marks,
        0.0..top,
        (Scale::Whole, 0.0),
    );
    let places = drawn.map_err(|text| ReportError::Plot { plot, text })?;
    let Some(end) = svg.rfind("</svg>") else {
        return Ok(Some(svg));
    };
    let mut points = String::new();
    for (mark, (x, y)) in marks.iter().zip(places) {
        let RGBColor(red, green, blue) = COLOURS[mark.colour % COLOURS.len()];
        let text = Escaped(&mark.text);
        // What draws has no titles.
        points += &format!(
            "<circle cx=\"{x}\" cy=\"{y}\" r=\"3.5\" fill=\"#{red:02X}{green:02X}{blue:02X}\"><title>{text}</title></circle>\n"
        );
    }
    svg.insert_str(end, &points);
    Ok(Some(svg))
}

/// Draws axes and lines; values are drawn as `floor` where they are less. Gives the places of the
/// marks, which are not drawn.
fn draw<Y>(
    svg: &mut String,
    buckets: &Buckets,
    lines: &[Line],
    marks: &[Mark],
    y: Y,
    (scale, floor): (Scale, f64),
) -> Result<Vec<(i32, i32)>, String>
where
    Y: plotters::coord::ranged1d::AsRangedCoord<Value = f64>,
    Y::CoordDescType: ValueFormatter<f64>,
{
    let failed = |error: &dyn std::fmt::Display| error.to_string();
    let (name, unit) = unit(buckets.span.secs);
    let end = (buckets.secs() * buckets.number() as f64 / unit).max(1e-9);
    let root = SVGBackend::with_string(svg, (WIDTH, HEIGHT)).into_drawing_area();
    let mut chart = ChartBuilder::on(&root)
        .margin(6)
        .margin_right(18)
        .x_label_area_size(46)
        .y_label_area_size(62)
        .build_cartesian_2d(0.0..end, y)
        .map_err(|error| failed(&error))?;
    let text = ("sans-serif", TEXT).into_font().color(&INK);
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .x_labels(9)
        .y_labels(5)
        .x_label_formatter(&|value| label(*value))
        .y_label_formatter(&|value| match scale {
            Scale::Whole if value.fract() != 0.0 => String::new(),
            Scale::Linear | Scale::Whole | Scale::Logarithmic => label(*value),
        })
        .label_style(text)
        .x_desc(format!("{name} since the beginning"))
        .draw()
        .map_err(|error| failed(&error))?;
    let width = end / buckets.number() as f64;
    // What holds for the whole of a bucket is drawn so; else its middle stands for it.
    let places: &[f64] = match scale {
        Scale::Whole => &[0.0, 1.0],
        Scale::Linear | Scale::Logarithmic => &[0.5],
    };
    for line in lines {
        let style = COLOURS[line.colour % COLOURS.len()].stroke_width(2);
        for piece in pieces(&line.values) {
            let points = piece.iter().flat_map(|&(index, value)| {
                let value = value.max(floor);
                let place = move |place: &f64| ((index as f64 + place) * width, value);
                places.iter().map(place)
            });
            let drawn = match piece.len() {
                1 => {
                    let dot = points.map(|point| Circle::new(point, 2, style.filled()));
                    chart.draw_series(dot).map(|_| ())
                }
                _ => chart
                    .draw_series(LineSeries::new(points, style))
                    .map(|_| ()),
            };
            drawn.map_err(|error| failed(&error))?;
        }
    }
    let place = |mark: &Mark| chart.backend_coord(&(mark.secs / unit, mark.value));
    let places = marks.iter().map(place).collect();
    root.present().map_err(|error| failed(&error))?;
    Ok(places)
}

/// Values without gaps between them, with their places.
fn pieces(values: &[Option<f64>]) -> Vec<Vec<(usize, f64)>> {
    let mut pieces: Vec<Vec<(usize, f64)>> = Vec::new();
    let mut is_open = false;
    for (index, value) in values.iter().enumerate() {
        match (value, pieces.last_mut()) {
            (Some(value), Some(piece)) if is_open => piece.push((index, *value)),
            (Some(value), _) => pieces.push(vec![(index, *value)]),
            (None, _) => {}
        }
        is_open = value.is_some();
    }
    pieces
}

/// Joins values that are few gaps apart: what reports each second has no gap in a shorter bucket.
pub(super) fn bridged(values: &[Option<f64>], gap: usize) -> Vec<Option<f64>> {
    let mut bridged = values.to_vec();
    let mut last: Option<(usize, f64)> = None;
    for (index, value) in values.iter().enumerate() {
        let Some(value) = *value else {
            continue;
        };
        if let Some((before, old)) = last
            && index - before <= gap
        {
            for (step, slot) in bridged[before + 1..index].iter_mut().enumerate() {
                let share = (step + 1) as f64 / (index - before) as f64;
                *slot = Some(old + share * (value - old));
            }
        }
        last = Some((index, value));
    }
    bridged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_where_there_is_nothing_for_long() {
        let values = [Some(1.0), None, Some(3.0), None, None, None, Some(5.0)];
        let bridged = bridged(&values, 2);
        let lengths: Vec<usize> = pieces(&bridged).iter().map(Vec::len).collect();
        assert_eq!(lengths, [3, 1]);
        assert_eq!(bridged[1], Some(2.0));
    }
}
