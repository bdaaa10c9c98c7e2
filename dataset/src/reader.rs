//! Reads a table row by row; whatever is wrong is told with its line, and reading goes on.

use std::{io, path::Path, sync::Arc, time::Duration};

use edgeless_tables::{Table, header};
use edgeless_types::Timestamp;

use crate::{
    fault::{Fault, Wrong},
    fields::{Ending, Fields},
    layout::Layout,
    records::{End, MAX_ROW, Record, Records},
    row::{Parts, Row},
};

/// What is next in a file.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// A row of values.
    Row(Row),
    /// Something that is wrong. Of a fault that does not keep a row from being read the row follows.
    Fault(Fault),
}

/// A table that is read. Its memory does not grow with the file.
pub struct Reader<R> {
    file: Arc<Path>,
    table: Table,
    not_after: Timestamp,
    records: Records<R>,
    fields: Fields,
    layout: Option<Layout>,
    sections: usize,
    newest: Timestamp,
    /// A row behind a fault of it.
    waiting: Option<Row>,
    /// The line of the first row that was not read, and how many.
    unread: Option<(u64, u64)>,
    rows: u64,
    tail: Option<Tail>,
}

/// Characters of the name of a run.
const LONGEST_RUN: usize = 160;

/// What is behind the last whole line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// Where it begins: bytes before it.
    pub offset: u64,
    /// Whether it is a whole row that lacks only the end of its line.
    pub is_whole: bool,
}

/// How much earlier than a row above it a row may be.
///
/// Some tables have timestamps of ε-ORC's clock, in its order. The others have those of the nodes'
/// clocks; a node's samples come with its refresh, so that they are behind those of other nodes.
pub const fn tolerated_disorder(table: Table) -> Duration {
    match table {
        Table::HealthStatus
        | Table::Capabilities
        | Table::MappingToInstanceId
        | Table::SampleSummaries
        | Table::ScalingDecisions
        | Table::Vertices => Duration::from_secs(1),
        Table::PerformanceSamples | Table::ApplicationLogs => Duration::from_secs(300),
    }
}

impl<R: io::Read> Reader<R> {
    /// Reads `source`, which faults call `file`. Timestamps later than `not_after` are in the future.
    pub fn new(file: Arc<Path>, table: Table, source: R, not_after: Timestamp) -> Self {
        Self {
            file,
            table,
            not_after,
            records: Records::new(source),
            fields: Fields::default(),
            layout: None,
            sections: 0,
            newest: Timestamp::EPOCH,
            waiting: None,
            unread: None,
            rows: 0,
            tail: None,
        }
    }

    /// The next row or fault; none at the end of the file.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(&mut self) -> io::Result<Option<Item>> {
        loop {
            if let Some(row) = self.waiting.take() {
                self.rows += 1;
                return Ok(Some(Item::Row(row)));
            }
            let Some(record) = self.records.next()? else {
                return Ok(self.unread_fault().map(Item::Fault));
            };
            match self.row(record) {
                Ok(Some(row)) => {
                    self.rows += 1;
                    return Ok(Some(Item::Row(row)));
                }
                Ok(None) => {}
                Err((line, wrong)) => return Ok(Some(Item::Fault(self.fault(line, wrong)))),
            }
        }
    }

    /// What is read.
    pub fn file(&self) -> &Arc<Path> {
        &self.file
    }

    /// Rows that were read.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes that were read.
    pub fn offset(&self) -> u64 {
        self.records.offset()
    }

    /// Usable headers that were found.
    pub fn sections(&self) -> usize {
        self.sections
    }

    /// The columns of the row that was read last; none before the first header.
    pub fn layout(&self) -> Option<&Layout> {
        self.layout.as_ref()
    }

    /// The additional fields of the row that was read last, in the order of [`Layout::additional`].
    pub fn additional(&self) -> impl Iterator<Item = &[u8]> {
        let fields = self.fields.len();
        let places = self.layout.iter();
        places
            .flat_map(move |layout| layout.additional_places(fields))
            .map(|place| self.fields.get(self.records.current(), place))
    }

    /// Of which run the row is that was read last, where several are in one folder: what stands in its file's name before
    /// that of the table, and its additional fields.
    pub fn run(&self) -> String {
        let name = self.file.file_name().unwrap_or_default().to_string_lossy();
        let prefix = name
            .strip_suffix(self.table.file_name())
            .unwrap_or_default();
        let prefix = prefix.trim_end_matches(['-', '_', '.']).to_owned();
        let fields = self
            .additional()
            .map(|field| String::from_utf8_lossy(field).into_owned());
        let parts = std::iter::once(prefix).chain(fields);
        let parts: Vec<String> = parts.filter(|it| !it.is_empty()).collect();
        parts.join(" ").chars().take(LONGEST_RUN).collect()
    }

    /// What is behind the last whole line, once the end has been read.
    pub fn tail(&self) -> Option<Tail> {
        self.tail
    }

    fn fault(&self, line: u64, wrong: Wrong) -> Fault {
        let file = Arc::clone(&self.file);
        Fault { file, line, wrong }
    }

    fn unread_fault(&mut self) -> Option<Fault> {
        let (line, rows) = self.unread.take()?;
        Some(self.fault(line, Wrong::Unread { rows }))
    }

    /// A row of values; none where there is nothing to tell.
    fn row(&mut self, record: Record) -> Result<Option<Row>, (u64, Wrong)> {
        let line = record.line;
        match record.end {
            End::Line => {}
            End::TooLong => return Err((line, Wrong::TooLong { limit: MAX_ROW })),
            End::Malformed => return Err((line, Wrong::Quote)),
            End::File | End::Open => return self.last_row(record),
        }
        let row = self.records.current();
        if self.fields.split(row) != Ending::Whole {
            return Err((line, Wrong::Quote));
        }
        if let Some(layout) = &self.layout {
            return match self.parts(layout).parse(self.table) {
                Ok(row) => self.in_order(line, row).map(Some),
                Err(_) if row.is_empty() => Err((line, Wrong::Empty)),
                Err(_) if self.is_header(false) => Err((line, self.header_again())),
                Err(wrong) => Err((line, wrong)),
            };
        }
        self.first_header(line)
    }

    fn parts<'a>(&'a self, layout: &'a Layout) -> Parts<'a> {
        Parts {
            layout,
            fields: &self.fields,
            row: self.records.current(),
            not_after: self.not_after,
        }
    }

    /// A line above which there is no usable header.
    fn first_header(&mut self, line: u64) -> Result<Option<Row>, (u64, Wrong)> {
        let is_first = line == 1;
        if !self.is_header(is_first) {
            let (_, rows) = self.unread.get_or_insert((line, 0));
            *rows += 1;
            if is_first {
                let expected = header(self.table).join(",");
                return Err((line, Wrong::NoHeader { expected }));
            }
            return Ok(None);
        }
        match Layout::read(self.table, self.names()) {
            Ok(layout) => {
                self.begin(layout);
                match self.unread.take() {
                    Some((line, rows)) => Err((line, Wrong::Unread { rows })),
                    None => Ok(None),
                }
            }
            Err(wrong) => Err((line, wrong)),
        }
    }

    /// A header below rows.
    fn header_again(&mut self) -> Wrong {
        let columns: Vec<_> = self.names().map(String::from_utf8_lossy).collect();
        let columns = crate::fault::shown(columns.join(",").as_bytes());
        match Layout::read(self.table, self.names()) {
            Ok(layout) => {
                self.begin(layout);
                Wrong::HeaderAgain { columns }
            }
            Err(wrong) => {
                self.layout = None;
                wrong
            }
        }
    }

    fn begin(&mut self, layout: Layout) {
        self.layout = Some(layout);
        self.sections += 1;
        self.newest = Timestamp::EPOCH;
    }

    fn names(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.fields.len()).map(|index| self.fields.get(self.records.current(), index))
    }

    fn is_header(&self, is_first: bool) -> bool {
        Layout::is_header(self.table, self.names(), is_first)
    }

    fn in_order(&mut self, line: u64, row: Row) -> Result<Row, (u64, Wrong)> {
        let at = row.at();
        let by = self.newest.since(at);
        if by > tolerated_disorder(self.table) {
            // A clock was set back: from here on later rows are compared with this one.
            self.newest = at;
            self.waiting = Some(row);
            return Err((line, Wrong::Disorder { by }));
        }
        self.newest = self.newest.max(at);
        Ok(row)
    }

    /// What has no end of line.
    fn last_row(&mut self, record: Record) -> Result<Option<Row>, (u64, Wrong)> {
        let torn = Wrong::TornTail {
            bytes: record.bytes as u64,
        };
        let row = self.records.current();
        let whole = match &self.layout {
            Some(layout) if self.fields.split(row) == Ending::Whole => {
                let certain = layout.ends_with_certainty(row, self.fields.len());
                let parsed = self.parts(layout).parse(self.table);
                parsed.ok().filter(|_| certain)
            }
            Some(_) | None => None,
        };
        if whole.is_none() && self.records.has_lines() {
            // Its quotes may be those of a row that was torn long ago: lines that have an end are kept.
            self.records.only_first_line();
            return Err((record.line, Wrong::Quote));
        }
        self.tail = Some(Tail {
            offset: record.offset,
            is_whole: whole.is_some(),
        });
        match whole {
            Some(row) => {
                self.waiting = Some(row);
                Err((record.line, Wrong::NoLineEnd))
            }
            None => Err((record.line, torn)),
        }
    }
}
