//! What is wrong in a dataset and where, and how faults are counted.

use std::{collections::BTreeMap, fmt, path::Path, sync::Arc, time::Duration};

use edgeless_types::scaling::{MOST_COPIES, Policy};

/// Characters of a field that a message shows.
const SHOWN: usize = 60;

/// Something that is wrong in a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}:{line}: {wrong}", file.display())]
pub struct Fault {
    /// The file, as it was named.
    pub file: Arc<Path>,
    /// The line in which the row begins; the first is 1.
    pub line: u64,
    /// What it is.
    pub wrong: Wrong,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// The first line is no header. Rows up to the next header are not read.
    #[error("there is no header: expected `{expected}`; rows are not read up to the next header")]
    NoHeader {
        /// The columns of the table.
        expected: String,
    },
    /// The header lacks columns. Rows under it are not read.
    #[error("the header lacks `{}`; rows under it are not read", columns.join("`, `"))]
    MissingColumns {
        /// Which.
        columns: Vec<String>,
    },
    /// The header names a column twice. Rows under it are not read.
    #[error("the header has `{column}` twice; rows under it are not read")]
    ColumnTwice {
        /// Which.
        column: String,
    },
    /// A header in the middle, as joined files have it. Rows under it are read.
    #[error("another header in the middle: `{columns}`; rows under it are read by it")]
    HeaderAgain {
        /// Its columns.
        columns: String,
    },
    /// A header ends the part that could not be read.
    #[error("rows not read from here on, as there is no usable header above them: {rows}")]
    Unread {
        /// How many.
        rows: u64,
    },
    /// Fewer or more fields than columns.
    #[error("{found} fields, but the header has {expected} columns")]
    Columns {
        /// Fields of the row.
        found: usize,
        /// Columns of the header.
        expected: usize,
    },
    /// A row of the mapping that does not end with a whole pair.
    #[error(
        "{found} fields, but node_id and physical_id come in pairs after {fixed} other columns"
    )]
    Pairs {
        /// Fields of the row.
        found: usize,
        /// Fields that are no part of a pair.
        fixed: usize,
    },
    /// A line without anything.
    #[error("the line is empty")]
    Empty,
    /// The file ends within a row.
    #[error("the last row is torn: {bytes} bytes without an end")]
    TornTail {
        /// Its length.
        bytes: u64,
    },
    /// The last row is whole but for the end of its line.
    #[error("the last row is whole but its line has no end; it is read")]
    NoLineEnd,
    /// A quote that is not closed, or not where a field ends.
    #[error("a quoted field does not end where it should")]
    Quote,
    /// More bytes than a row may have.
    #[error("the row is longer than {limit} bytes")]
    TooLong {
        /// The limit.
        limit: usize,
    },
    /// Not UTF-8.
    #[error("`{column}` is not UTF-8: `{text}`")]
    NotText {
        /// The column.
        column: &'static str,
        /// What stands there.
        text: String,
    },
    /// Not a number.
    #[error("`{column}` is not a number: `{text}`")]
    NotANumber {
        /// The column.
        column: &'static str,
        /// What stands there.
        text: String,
    },
    /// NaN or infinite.
    #[error("`{column}` is not finite: `{text}`")]
    NotFinite {
        /// The column.
        column: &'static str,
        /// What stands there.
        text: String,
    },
    /// Below zero.
    #[error("`{column}` is negative: `{text}`")]
    Negative {
        /// The column.
        column: &'static str,
        /// What stands there.
        text: String,
    },
    /// Longer than any handling or transfer.
    #[error("`{column}` is beyond all measure, longer than a day: `{text}`")]
    BeyondMeasure {
        /// The column.
        column: &'static str,
        /// What stands there.
        text: String,
    },
    /// Not `secs.nsecs`.
    #[error("`timestamp` is not of the form secs.nsecs: `{text}`")]
    Timestamp {
        /// What stands there.
        text: String,
    },
    /// Later than the moment of reading.
    #[error("`timestamp` is in the future: `{text}`")]
    Future {
        /// What stands there.
        text: String,
    },
    /// From a clock that was never set.
    #[error("`timestamp` is before the year 2000, from a clock that was not set: `{text}`")]
    Unset {
        /// What stands there.
        text: String,
    },
    /// Earlier than rows before it. The row is read.
    #[error("`timestamp` is {} s before that of a row above; the row is read", .by.as_secs_f64())]
    Disorder {
        /// By how much.
        by: Duration,
    },
    /// Not a UUID.
    #[error("`{column}` is not a UUID: `{text}`")]
    Id {
        /// The column.
        column: &'static str,
        /// What stands there.
        text: String,
    },
    /// A metric that is not in the schema.
    #[error("`metric` is not known: `{text}`")]
    Metric {
        /// What stands there.
        text: String,
    },
    /// Neither function nor resource.
    #[error("`kind` is neither `function` nor `resource`: `{text}`")]
    Kind {
        /// What stands there.
        text: String,
    },
    /// A policy that there is not.
    #[error(
        "`policy` is none of `{}`: `{text}`",
        Policy::ALL.map(Policy::name).join("`, `")
    )]
    Policy {
        /// What stands there.
        text: String,
    },
    /// More copies than a function may have.
    #[error("`{column}` is more than {MOST_COPIES}, the most that a function has: `{number}`")]
    Copies {
        /// The column.
        column: &'static str,
        /// What stands there.
        number: u64,
    },
    /// Nothing where something has to stand.
    #[error("`{column}` is empty")]
    Blank {
        /// The column.
        column: &'static str,
    },
    /// JSON that is torn, or not that of the column.
    #[error("`{column}` is not the JSON of that column: {error}")]
    Json {
        /// The column.
        column: &'static str,
        /// What the parser says, with its place in the field.
        error: String,
    },
    /// A summary whose numbers contradict each other.
    #[error("`count`, `sum` and `max` contradict each other: {count}, {sum}, {max}")]
    Contradiction {
        /// Samples.
        count: u64,
        /// Their sum as it stands there.
        sum: String,
        /// The largest as it stands there.
        max: String,
    },
}

/// A field as a message shows it: its beginning, without control characters.
pub(crate) fn shown(field: &[u8]) -> String {
    let text = String::from_utf8_lossy(&field[..field.len().min(SHOWN * 4)]);
    let mut short: String = text
        .chars()
        .take(SHOWN)
        .map(|c| {
            if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect();
    if short.len() < field.len() && text.chars().count() > SHOWN {
        short.push('…');
    }
    short
}

impl Wrong {
    /// Whether the row is read all the same.
    pub const fn is_read(&self) -> bool {
        matches!(
            self,
            Self::HeaderAgain { .. } | Self::Disorder { .. } | Self::NoLineEnd
        )
    }

    /// One word for all faults of this kind.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::NoHeader { .. } => "no header",
            Self::MissingColumns { .. } => "missing columns",
            Self::ColumnTwice { .. } => "column twice",
            Self::HeaderAgain { .. } => "header again",
            Self::Unread { .. } => "unread rows",
            Self::Columns { .. } => "number of columns",
            Self::Pairs { .. } => "incomplete pair",
            Self::Empty => "empty line",
            Self::TornTail { .. } => "torn tail",
            Self::NoLineEnd => "no line end",
            Self::Quote => "quote",
            Self::TooLong { .. } => "too long",
            Self::NotText { .. } => "not UTF-8",
            Self::NotANumber { .. } => "not a number",
            Self::NotFinite { .. } => "not finite",
            Self::Negative { .. } => "negative",
            Self::BeyondMeasure { .. } => "beyond measure",
            Self::Timestamp { .. } => "timestamp",
            Self::Future { .. } => "future",
            Self::Unset { .. } => "unset clock",
            Self::Disorder { .. } => "disorder",
            Self::Id { .. } => "not a UUID",
            Self::Metric { .. } => "metric",
            Self::Kind { .. } => "kind",
            Self::Policy { .. } => "policy",
            Self::Copies { .. } => "too many copies",
            Self::Blank { .. } => "empty",
            Self::Json { .. } => "JSON",
            Self::Contradiction { .. } => "contradiction",
        }
    }
}

/// Faults by file and kind: of each the first and how many there are. Its size is bounded by the
/// number of files, for any number of faults.
#[derive(Debug, Default)]
pub struct Faults {
    strict: bool,
    kinds: BTreeMap<(Arc<Path>, &'static str), Count>,
}

/// The faults of one kind in one file.
#[derive(Clone, Debug)]
pub struct Count {
    /// The first.
    pub first: Fault,
    /// How many in all.
    pub number: u64,
}

impl Faults {
    /// None yet; where `strict`, the first ends what is done.
    pub fn new(strict: bool) -> Self {
        Self {
            strict,
            kinds: BTreeMap::new(),
        }
    }

    /// Counts a fault.
    ///
    /// # Errors
    /// The fault itself, where they are strict.
    pub fn add(&mut self, fault: Fault) -> Result<(), Fault> {
        if self.strict {
            return Err(fault);
        }
        let key = (Arc::clone(&fault.file), fault.wrong.kind());
        let count = self.kinds.entry(key).or_insert(Count {
            first: fault,
            number: 0,
        });
        count.number += 1;
        Ok(())
    }

    /// How many in all.
    pub fn total(&self) -> u64 {
        self.kinds.values().map(|count| count.number).sum()
    }

    /// The first of each kind and its number, by file and line.
    pub fn kinds(&self) -> Vec<&Count> {
        let mut kinds: Vec<&Count> = self.kinds.values().collect();
        kinds.sort_by_key(|count| (&count.first.file, count.first.line));
        kinds
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Count { first, number } in self.kinds() {
            write!(f, "{first}")?;
            if *number > 1 {
                let kind = first.wrong.kind();
                write!(f, " (the first of {number} of this kind, `{kind}`)")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
