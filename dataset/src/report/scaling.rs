//! Decisions about the number of copies: a step plot whose points say why.

use edgeless_types::{LogicalId, Timestamp, mirror::ScalingDecision};

use super::{
    ReportError,
    buckets::Buckets,
    page::{legend, section},
    plots::{self, Line, Mark},
    text::{count, number},
};

/// Points of the plot.
const POINTS: usize = 1_000;
/// Characters of a reason.
const LONGEST: usize = 300;

/// One decision.
#[derive(Debug)]
struct Decision {
    at: Timestamp,
    /// The place of the function.
    function: usize,
    before: u32,
    copies: u32,
    reason: String,
}

/// The decisions that changed most, of any number.
#[derive(Debug, Default)]
pub(super) struct Decisions {
    all: Vec<Decision>,
    dropped: u64,
}

impl Decisions {
    /// Takes one, if it is about one of the functions.
    pub(super) fn take(&mut self, decision: &ScalingDecision, functions: &[LogicalId]) {
        let mut places = functions.iter();
        let Some(function) = places.position(|it| *it == decision.logical_id) else {
            return;
        };
        self.all.push(Decision {
            at: decision.timestamp,
            function,
            before: decision.before,
            copies: decision.copies,
            reason: decision.reason.chars().take(LONGEST).collect(),
        });
        if self.all.len() >= 2 * POINTS {
            self.shorten();
        }
    }

    fn shorten(&mut self) {
        let change = |one: &Decision| std::cmp::Reverse(one.before.abs_diff(one.copies));
        self.all.sort_by_key(|one| (change(one), one.at));
        self.dropped += self.all.len().saturating_sub(POINTS) as u64;
        self.all.truncate(POINTS);
    }

    /// No more will come.
    pub(super) fn end(&mut self) {
        self.shorten();
        self.all.sort_by_key(|one| (one.at, one.function));
    }
}

/// The plot; nothing where nothing was decided.
pub(super) fn plot(
    buckets: &Buckets,
    decisions: &Decisions,
    functions: &[(usize, String)],
) -> Result<String, ReportError> {
    let scaled = buckets.functions.iter().enumerate();
    let scaled: Vec<_> = scaled
        .filter(|(_, lines)| lines.decided.is_known())
        .collect();
    if scaled.is_empty() {
        return Ok(String::new());
    }
    let line = |(colour, lines): &(usize, &super::buckets::FunctionLines)| Line {
        colour: *colour,
        values: lines.decided.values(),
    };
    let lines: Vec<Line> = scaled.iter().map(line).collect();
    let mark = |one: &Decision| {
        let secs = one.at.since(buckets.span.first).as_secs_f64();
        let name = functions.get(one.function).map_or("", |(_, name)| name);
        Mark {
            colour: one.function,
            secs,
            value: f64::from(one.copies),
            text: format!(
                "{name}, {} s: {} to {} copies: {}",
                number(secs),
                one.before,
                one.copies,
                one.reason
            ),
        }
    };
    let marks: Vec<Mark> = decisions.all.iter().map(mark).collect();
    let svg = plots::marked("copies", buckets, &lines, &marks)?;
    let names: Vec<_> = scaled
        .iter()
        .map(|(place, _)| functions[*place].clone())
        .collect();
    let mut says =
        "How many copies of each function were decided. Point at a dot to read why.".to_owned();
    if decisions.dropped > 0 {
        says += &format!(
            " {} decisions that changed less have no dot.",
            count(decisions.dropped)
        );
    }
    Ok(section(
        "Copies decided",
        &says,
        &legend(&names),
        svg,
        "Nothing was decided.",
    ))
}
