//! The page itself: HTML that needs no network.

use super::{
    Report, ReportError,
    buckets::{Buckets, FunctionLines, NodeLines},
    gantt::{self, Names, label, short},
    plots::{self, COLOURS, GRID, INK, Line, Scale},
    scaling, tables,
    text::{Escaped, count, moment, number},
};
use crate::fault::Faults;

/// Buckets without a value over which a line is drawn.
const BRIDGE: usize = 12;

fn hex(colour: plotters::style::RGBColor) -> String {
    format!("#{:02X}{:02X}{:02X}", colour.0, colour.1, colour.2)
}

/// Styles that give the colours of plots those of the page, light or dark.
fn colours() -> String {
    let mut names: Vec<(String, String)> = COLOURS
        .iter()
        .enumerate()
        .map(|(index, &colour)| (hex(colour), format!("--c{index}")))
        .collect();
    names.push((hex(INK), "--soft".to_owned()));
    names.push((hex(GRID), "--grid".to_owned()));
    let mut style = String::new();
    for (colour, name) in names {
        style += &format!(
            "svg [stroke=\"{colour}\"]{{stroke:var({name})}}svg :not(text)[fill=\"{colour}\"]{{fill:var({name})}}\n"
        );
    }
    style
}

pub(super) fn page(report: &Report, title: &str, faults: &Faults) -> Result<String, ReportError> {
    let mut body = String::new();
    body += &format!("<h1>Dataset {}</h1>\n", Escaped(title));
    body += &head(report);
    body += &faults_section(faults);
    if let Some(buckets) = &report.buckets {
        body += &plots_section(report, buckets)?;
    }
    body += &tables::functions_table(report);
    body += &tables::scaling_table(report);
    body += &tables::nodes_table(report);
    let css = include_str!("page.css");
    let colours = colours();
    let title = Escaped(title);
    Ok(format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>Dataset {title}</title>\n<style>\n{css}{colours}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    ))
}

/// When, and what there is, in a few numbers.
fn head(report: &Report) -> String {
    let figures = &report.figures;
    let Some(span) = figures.span else {
        return "<p>There are no rows in this dataset.</p>\n".to_owned();
    };
    let executions: u64 = figures.functions.iter().map(|one| one.executions).sum();
    let summarised: u64 = figures
        .functions
        .iter()
        .map(|one| one.executions_summarised)
        .sum();
    let functions = figures.placements.len();
    let (unit, secs) = plots::unit(span.secs);
    let facts = [
        (format!("{} {unit}", number(span.secs / secs)), "recorded"),
        (count(executions), "events handled"),
        (count(summarised), "of these without a sample each"),
        (count(functions as u64), "functions and resources"),
        (count(figures.nodes.len() as u64), "nodes"),
    ];
    let facts = facts.map(|(value, what)| format!("<li><b>{value}</b>{what}</li>"));
    format!(
        "<p class=\"soft\">From {} to {}. Ids are shown by their first eight characters.</p>\n\
         <ul class=\"facts\">{}</ul>\n",
        moment(span.first),
        moment(span.last),
        facts.concat()
    )
}

fn faults_section(faults: &Faults) -> String {
    let total = faults.total();
    if total == 0 {
        return String::new();
    }
    let mut items = String::new();
    for kind in faults.kinds() {
        let first = kind.first.to_string();
        let more = match kind.number {
            1 => String::new(),
            number => format!(" (the first of {})", count(number)),
        };
        items += &format!("<li><code>{}</code>{more}</li>\n", Escaped(&first));
    }
    format!(
        "<section class=\"faults\"><h2>{} faults in the files</h2>\n\
         <p>Rows with faults are in no plot and no figure, unless the fault says that they are read.</p>\n\
         <ul>{items}</ul></section>\n",
        count(total)
    )
}

/// Names and colours of lines.
pub(super) fn legend(names: &[(usize, String)]) -> String {
    let item = |(colour, name): &(usize, String)| {
        format!(
            "<li><i style=\"background:var(--c{colour})\"></i><code>{}</code></li>",
            Escaped(name)
        )
    };
    let items: Vec<String> = names.iter().map(item).collect();
    format!("<ul class=\"legend\">{}</ul>", items.concat())
}

/// One plot under its heading.
pub(super) fn section(
    heading: &str,
    says: &str,
    names: &str,
    svg: Option<String>,
    none: &str,
) -> String {
    let figure = match svg {
        Some(svg) if svg.starts_with("<svg") => format!("<figure>{svg}</figure>{names}"),
        Some(figures) => format!("{figures}{names}"),
        None => format!("<p class=\"soft\">{none}</p>"),
    };
    format!("<h2>{heading}</h2>\n<p class=\"soft\">{says}</p>\n{figure}\n")
}

fn plots_section(report: &Report, buckets: &Buckets) -> Result<String, ReportError> {
    let (unit, _) = plots::unit(buckets.span.secs);
    let placed = report.figures.placements.iter();
    let names: Names = placed
        .filter_map(|one| Some((one.logical_id, one.name.clone()?)))
        .collect();
    let called = |logical_id| label(names.get(&logical_id).map(String::as_str), logical_id);
    let functions: Vec<(usize, String)> = buckets
        .functions
        .iter()
        .enumerate()
        .map(|(index, lines)| (index, called(lines.logical_id)))
        .collect();
    let mut html = format!(
        "<p class=\"soft\">All plots have the same axis: {unit} since the beginning.</p>\n"
    );
    html += &rates(buckets, &functions)?;
    html += &instances(buckets, &functions)?;
    html += &scaling::plot(buckets, &report.decisions, &functions)?;
    html += &latencies(buckets, &functions)?;
    html += &nodes(buckets)?;
    let ids: Vec<_> = buckets
        .functions
        .iter()
        .map(|lines| lines.logical_id)
        .collect();
    let chart = gantt::gantt(&report.placed, buckets.span, &ids, &names)?;
    let mut says =
        "A bar for each time that an instance of a function (left) ran on a node; darker where \
        several did. The colours are those of the lines above, grey for further functions."
            .to_owned();
    if report.not_drawn > 0 {
        says += &format!(" {} shorter times are not drawn.", count(report.not_drawn));
    }
    if let Some(more) = chart.as_ref().map(|chart| chart.rows_left_out)
        && more > 0
    {
        says += &format!(" {more} further pairs of function and node are not drawn.");
    }
    let svg = chart.map(|chart| chart.svg);
    html += &section("Placements", &says, "", svg, "No placement is recorded.");
    Ok(html)
}

fn rates(buckets: &Buckets, functions: &[(usize, String)]) -> Result<String, ReportError> {
    let per_second = |counts: &[u64]| {
        let rate = |&count: &u64| Some(count as f64 / buckets.secs());
        counts.iter().map(rate).collect::<Vec<_>>()
    };
    let mut names = functions.to_vec();
    let mut lines: Vec<Line> = buckets
        .functions
        .iter()
        .enumerate()
        .map(|(colour, lines)| Line {
            colour,
            values: per_second(&lines.executions),
        })
        .collect();
    if buckets.others.iter().any(|&count| count > 0) {
        let colour = COLOURS.len() - 1;
        names.push((colour, "all others".to_owned()));
        lines.push(Line {
            colour,
            values: per_second(&buckets.others),
        });
    }
    let any = lines
        .iter()
        .any(|line| line.values.iter().flatten().any(|&rate| rate > 0.0));
    let svg = match any {
        true => plots::lines("rates", buckets, &lines, Scale::Linear)?,
        false => None,
    };
    Ok(section(
        "Events per second",
        "How many events each function handled per second.",
        &legend(&names),
        svg,
        "No event is recorded.",
    ))
}

fn instances(buckets: &Buckets, functions: &[(usize, String)]) -> Result<String, ReportError> {
    let lines: Vec<Line> = buckets
        .functions
        .iter()
        .enumerate()
        .map(|(colour, lines)| Line {
            colour,
            values: lines.instances.values(),
        })
        .collect();
    let svg = plots::lines("instances", buckets, &lines, Scale::Whole)?;
    Ok(section(
        "Instances",
        "How many copies of each function ran. Lines that lie on each other show the last of them.",
        &legend(functions),
        svg,
        "No placement is recorded.",
    ))
}

fn latencies(buckets: &Buckets, functions: &[(usize, String)]) -> Result<String, ReportError> {
    let mut html = String::new();
    for (is_execution, heading, says) in [
        (
            true,
            "Execution time, milliseconds",
            "How long the handling of an event took. Each line of the grid is ten times the one below it.",
        ),
        (
            false,
            "Transfer time, milliseconds",
            "From the creation of an event to the start of its handling: the network and the queue. Where it \
             grows and execution times do not, events wait.",
        ),
    ] {
        let mut figures = String::new();
        for (quantile, says) in [
            (0.5, "Half of the events took less:"),
            (0.99, "99 of a hundred events took less:"),
        ] {
            let line = |(colour, function): (usize, &FunctionLines)| {
                let times = match is_execution {
                    true => &function.execution_times,
                    false => &function.transfer_times,
                };
                let values = times.iter().map(|times| {
                    let nanos = times.as_ref()?.value_at_quantile(quantile);
                    Some(nanos as f64 / 1e6)
                });
                Line {
                    colour,
                    values: plots::bridged(&values.collect::<Vec<_>>(), BRIDGE),
                }
            };
            let lines: Vec<Line> = buckets.functions.iter().enumerate().map(line).collect();
            if let Some(svg) = plots::lines("times", buckets, &lines, Scale::Logarithmic)? {
                figures += &format!("<p class=\"soft\">{says}</p><figure>{svg}</figure>\n");
            }
        }
        let figures = (!figures.is_empty()).then_some(figures);
        let none = "No sample is recorded.";
        html += &section(heading, says, &legend(functions), figures, none);
    }
    Ok(html)
}

fn nodes(buckets: &Buckets) -> Result<String, ReportError> {
    let names: Vec<(usize, String)> = buckets
        .nodes
        .iter()
        .enumerate()
        .map(|(index, lines)| (index, short(lines.node_id)))
        .collect();
    let mut html = String::new();
    for (plot, heading, says) in [
        (
            "processors",
            "Processor use of nodes, percent of one core",
            "What the agents of the busiest nodes used; 200 is two cores.",
        ),
        (
            "memory",
            "Memory in use on nodes, MiB",
            "All memory in use on the same nodes, also by other programs.",
        ),
    ] {
        let line = |(colour, node): (usize, &NodeLines)| {
            let means = match plot {
                "processors" => &node.cpu,
                _ => &node.mem_used,
            };
            let values: Vec<_> = means.iter().map(|mean| mean.value()).collect();
            Line {
                colour,
                values: plots::bridged(&values, BRIDGE),
            }
        };
        let lines: Vec<Line> = buckets.nodes.iter().enumerate().map(line).collect();
        let svg = plots::lines(plot, buckets, &lines, Scale::Linear)?;
        let none = "No health of nodes is recorded.";
        html += &section(heading, says, &legend(&names), svg, none);
    }
    Ok(html)
}
