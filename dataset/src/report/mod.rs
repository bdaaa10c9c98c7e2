//! One self-contained page about a dataset: plots over time, a table, and what was wrong.
//!
//! The dataset is read twice: the first pass says which functions and nodes matter and over which time,
//! the second fills a bounded number of buckets for them. So the page has about the same size for any dataset.

mod buckets;
mod copies;
mod gantt;
mod page;
mod plots;
mod scaling;
mod tables;
mod text;

use edgeless_types::{LogicalId, NodeId};

use crate::{
    fault::Faults,
    scan::{Scan, ScanError},
    summary::{Figures, Interval, ORDER, Summary},
};

use self::buckets::Buckets;
pub use self::copies::{Counts, copies};

/// Functions and nodes that have a line of their own in plots: as many as colours can be told apart.
pub const LINES: usize = 8;

/// The page cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The dataset cannot be read.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// A plot cannot be drawn.
    #[error("could not draw the plot `{plot}`: {text}")]
    Plot {
        /// Which.
        plot: &'static str,
        /// What the drawing says.
        text: String,
    },
}

/// All that is on the page.
#[derive(Debug)]
pub struct Report {
    figures: Figures,
    buckets: Option<Buckets>,
    /// Where functions ran.
    placed: Vec<Interval>,
    /// Intervals that are too short to be drawn, for their number.
    not_drawn: u64,
    decisions: scaling::Decisions,
}

/// What the plots show.
#[derive(Clone, Debug, Default)]
struct Shown {
    functions: Vec<LogicalId>,
    nodes: Vec<NodeId>,
}

impl Report {
    /// Reads a dataset.
    ///
    /// # Errors
    /// A file cannot be read; the first fault, where faults are strict.
    pub fn read(scan: &mut Scan<'_>) -> Result<Self, ScanError> {
        let mut summary = Summary::default();
        scan.rows(&ORDER, |row, from| summary.take(row, || from.run()))?;
        let figures = summary.figures();
        let shown = Shown::of(&figures);
        let Some(span) = figures.span else {
            return Ok(Self {
                figures,
                buckets: None,
                placed: Vec::new(),
                not_drawn: 0,
                decisions: scaling::Decisions::default(),
            });
        };
        let events = figures.functions.iter().map(|one| one.executions).sum();
        let mut buckets = Buckets::new(span, events, &shown);
        let mut intervals = gantt::Longest::default();
        let mut placements = crate::summary::Placements::default();
        let mut decisions = scaling::Decisions::default();
        // They were told in the first pass.
        let mut faults = Faults::new(false);
        let mut again = Scan {
            files: scan.files,
            not_after: scan.not_after,
            faults: &mut faults,
            progress: std::mem::take(&mut scan.progress),
        };
        again.rows(&ORDER, |row, _| {
            buckets.take(row, &summary);
            if let crate::Row::Scaling(decision) = row {
                decisions.take(decision, &shown.functions);
            }
            if let crate::Row::Mapping {
                at,
                logical_id,
                instances,
            } = row
            {
                let mut ended = |interval| intervals.add(interval);
                placements.place(*at, *logical_id, instances, &mut ended);
            }
        })?;
        buckets.end();
        decisions.end();
        for interval in placements.open(span.last) {
            intervals.add(interval);
        }
        let (placed, not_drawn) = intervals.end();
        Ok(Self {
            figures,
            buckets: Some(buckets),
            placed,
            not_drawn,
            decisions,
        })
    }

    /// The page. `title` says what it is about.
    ///
    /// # Errors
    /// A plot cannot be drawn.
    pub fn page(&self, title: &str, faults: &Faults) -> Result<String, ReportError> {
        page::page(self, title, faults)
    }
}

impl Shown {
    /// The functions with most executions, then those that ran longest; the busiest nodes.
    fn of(figures: &Figures) -> Self {
        let mut executions = std::collections::BTreeMap::new();
        for one in &figures.functions {
            if let Some(logical_id) = one.logical_id {
                *executions.entry(logical_id).or_insert(0) += one.executions;
            }
        }
        let ran = figures.placements.iter();
        let mut functions: Vec<(u64, f64, LogicalId)> = ran
            .map(|one| {
                let executions = executions.get(&one.logical_id).copied().unwrap_or_default();
                (executions, one.instance_secs, one.logical_id)
            })
            .collect();
        functions.sort_by(|a, b| {
            let most_first = b.0.cmp(&a.0).then(b.1.total_cmp(&a.1));
            most_first.then(a.2.cmp(&b.2))
        });
        let mut nodes: Vec<(f64, NodeId)> = figures
            .nodes
            .iter()
            .filter_map(|node| Some((node.cpu_mean?, node.node_id)))
            .collect();
        nodes.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        Self {
            functions: functions.iter().take(LINES).map(|one| one.2).collect(),
            nodes: nodes.iter().take(LINES).map(|one| one.1).collect(),
        }
    }
}
