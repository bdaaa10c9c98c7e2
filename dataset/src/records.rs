//! Cuts a stream of bytes into rows, with a bound on the length of each.

use std::io::{self, Read};

use crate::fields::{Ending, Fields};

/// Bytes that a row may have: those of the mapping have 74 for each instance of a function, so that a
/// hundred thousand fit.
pub(crate) const MAX_ROW: usize = 8 << 20;
/// Bytes that are read at once.
const CHUNK: usize = 256 << 10;

/// Where a row lies in the file, and how it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// The line in which it begins; the first is 1.
    pub(crate) line: u64,
    /// Bytes of the file before it.
    pub(crate) offset: u64,
    /// Its bytes, with the end of the line.
    pub(crate) bytes: usize,
    /// How it ends.
    pub(crate) end: End,
}

/// How a row ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With its line.
    Line,
    /// With the file, outside of quotes.
    File,
    /// With the file, within a quoted field.
    Open,
    /// It is too long, and passed over.
    TooLong,
    /// A quote that it opens is not closed as it should be; this is its first line.
    Malformed,
}

/// A stream that is cut into rows.
pub(crate) struct Records<R> {
    source: R,
    buffer: Vec<u8>,
    /// Where the row that was given last begins in there, and where it ends.
    begin: usize,
    next: usize,
    end: usize,
    offset: u64,
    line: u64,
    /// Lines of the row that was given last.
    lines: u64,
    ended: bool,
    fields: Fields,
}

impl<R: Read> Records<R> {
    pub(crate) fn new(source: R) -> Self {
        Self {
            source,
            buffer: Vec::new(),
            begin: 0,
            next: 0,
            end: 0,
            offset: 0,
            line: 1,
            lines: 0,
            ended: false,
            fields: Fields::default(),
        }
    }

    /// Bytes of the file before the next row.
    pub(crate) fn offset(&self) -> u64 {
        self.offset + (self.next - self.begin) as u64
    }

    /// The row that was given last, without the end of its line.
    pub(crate) fn current(&self) -> &[u8] {
        trimmed(&self.buffer[self.begin..self.next])
    }

    /// The next row; none at the end of the file.
    pub(crate) fn next(&mut self) -> io::Result<Option<Record>> {
        self.offset += (self.next - self.begin) as u64;
        self.line += self.lines;
        self.begin = self.next;
        let (mut at, mut quoted, mut lines) = (0, false, 0);
        loop {
            let unseen = &self.buffer[self.begin + at..self.end];
            match memchr::memchr2(b'\n', b'"', unseen) {
                Some(found) if unseen[found] == b'"' => {
                    quoted = !quoted;
                    at += found + 1;
                }
                Some(found) => {
                    at += found + 1;
                    lines += 1;
                    if !quoted {
                        return Ok(Some(self.whole(at, lines)));
                    }
                }
                None => {
                    at += unseen.len();
                    if at >= MAX_ROW {
                        return self.too_long(at, lines).map(Some);
                    }
                    if !self.fill()? {
                        return Ok(self.last(at, quoted, lines));
                    }
                }
            }
        }
    }

    /// Gives only the first line of the row that was given last; the next begins behind it.
    pub(crate) fn only_first_line(&mut self) -> usize {
        let row = &self.buffer[self.begin..self.next];
        let length = memchr::memchr(b'\n', row).map_or(row.len(), |end| end + 1);
        self.next = self.begin + length;
        self.lines = 1;
        length
    }

    /// Whether a line ends in the row that was given last.
    pub(crate) fn has_lines(&self) -> bool {
        memchr::memchr(b'\n', &self.buffer[self.begin..self.next]).is_some()
    }

    fn given(&mut self, bytes: usize, lines: u64, end: End) -> Record {
        self.next = self.begin + bytes;
        self.lines = lines;
        Record {
            line: self.line,
            offset: self.offset,
            bytes,
            end,
        }
    }

    fn is_malformed(&mut self, bytes: usize) -> bool {
        let row = trimmed(&self.buffer[self.begin..self.begin + bytes]);
        self.fields.split(row) == Ending::Malformed
    }

    fn first_line(&mut self, bytes: usize) -> Record {
        self.next = self.begin + bytes;
        let bytes = self.only_first_line();
        self.given(bytes, 1, End::Malformed)
    }

    fn whole(&mut self, bytes: usize, lines: u64) -> Record {
        if lines > 1 && self.is_malformed(bytes) {
            return self.first_line(bytes);
        }
        self.given(bytes, lines, End::Line)
    }

    fn last(&mut self, bytes: usize, quoted: bool, lines: u64) -> Option<Record> {
        if bytes == 0 {
            self.lines = 0;
            return None;
        }
        if lines > 0 && self.is_malformed(bytes) {
            return Some(self.first_line(bytes));
        }
        let end = if quoted { End::Open } else { End::File };
        Some(self.given(bytes, lines + 1, end))
    }

    fn too_long(&mut self, bytes: usize, lines: u64) -> io::Result<Record> {
        if lines > 0 {
            return Ok(self.first_line(bytes));
        }
        // What has been seen is given up, up to the end of the line.
        let mut skipped = bytes;
        self.begin = self.end;
        self.next = self.end;
        loop {
            let more = self.fill()?;
            let unseen = &self.buffer[self.begin..self.end];
            let line_end = memchr::memchr(b'\n', unseen);
            let taken = line_end.map_or(unseen.len(), |end| end + 1);
            self.begin += taken;
            self.next = self.begin;
            skipped += taken;
            if line_end.is_some() || !more {
                break;
            }
        }
        let record = Record {
            line: self.line,
            offset: self.offset,
            bytes: skipped,
            end: End::TooLong,
        };
        self.offset += skipped as u64;
        self.lines = 1;
        Ok(record)
    }

    /// Reads more behind what is there; whether there was any.
    fn fill(&mut self) -> io::Result<bool> {
        if self.ended {
            return Ok(false);
        }
        if self.buffer.len() - self.end < CHUNK {
            self.buffer.copy_within(self.begin..self.end, 0);
            self.next = self.next.saturating_sub(self.begin);
            self.end -= self.begin;
            self.begin = 0;
            if self.buffer.len() - self.end < CHUNK {
                self.buffer.resize(self.end + 2 * CHUNK, 0);
            }
        }
        let number = loop {
            match self.source.read(&mut self.buffer[self.end..]) {
                Ok(number) => break number,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        };
        self.end += number;
        self.ended = number == 0;
        Ok(!self.ended)
    }
}

/// A row without the end of its line.
fn trimmed(row: &[u8]) -> &[u8] {
    let row = row.strip_suffix(b"\n").unwrap_or(row);
    row.strip_suffix(b"\r").unwrap_or(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte at a time, as a slow pipe does.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let number = self.0.len().min(1);
            buffer[..number].copy_from_slice(&self.0[..number]);
            self.0 = &self.0[number..];
            Ok(number)
        }
    }

    fn rows<R: Read>(source: R) -> Vec<(u64, u64, String, End)> {
        let mut records = Records::new(source);
        let mut rows = Vec::new();
        while let Some(record) = records.next().unwrap() {
            let text = String::from_utf8_lossy(records.current()).into_owned();
            rows.push((record.line, record.offset, text, record.end));
        }
        rows
    }

    fn check(text: &str, wanted: &[(u64, u64, &str, End)]) {
        let wanted: Vec<_> = wanted
            .iter()
            .map(|&(line, offset, text, end)| (line, offset, text.to_owned(), end))
            .collect();
        assert_eq!(rows(text.as_bytes()), wanted, "{text:?}");
        assert_eq!(rows(Slow(text.as_bytes())), wanted, "{text:?}");
    }

    #[test]
    fn rows_end_with_lines_that_are_not_quoted() {
        check("", &[]);
        check(
            "a,b\r\nc,\"d\ne\"\nf\n",
            &[
                (1, 0, "a,b", End::Line),
                (2, 5, "c,\"d\ne\"", End::Line),
                (4, 13, "f", End::Line),
            ],
        );
        check("a\nb", &[(1, 0, "a", End::Line), (2, 2, "b", End::File)]);
        check(
            "a\n\"b\n",
            &[(1, 0, "a", End::Line), (2, 2, "\"b", End::Open)],
        );
    }

    #[test]
    fn a_torn_quote_in_the_middle_swallows_only_its_line() {
        check(
            "a,\"torn\nb,\"c\"\nd\n",
            &[
                (1, 0, "a,\"torn", End::Malformed),
                (2, 8, "b,\"c\"", End::Line),
                (3, 14, "d", End::Line),
            ],
        );
        // Two of them, so that the second closes what the first has opened.
        check(
            "a,\"torn\nb,\"torn\nc\n",
            &[
                (1, 0, "a,\"torn", End::Malformed),
                (2, 8, "b,\"torn\nc", End::Open),
            ],
        );
    }

    #[test]
    fn long_rows_are_passed_over_in_bounded_memory() {
        let long = "x".repeat(3 * MAX_ROW);
        let text = format!("a\n{long}\nb\n");
        let mut records = Records::new(text.as_bytes());
        let mut found = Vec::new();
        while let Some(record) = records.next().unwrap() {
            found.push((record.line, record.offset, record.bytes, record.end));
        }
        let behind = 2 + long.len() as u64 + 1;
        assert_eq!(
            found,
            [
                (1, 0, 2, End::Line),
                (2, 2, long.len() + 1, End::TooLong),
                (3, behind, 2, End::Line),
            ]
        );
        assert!(records.buffer.len() <= MAX_ROW + 4 * CHUNK);
        // A quote that is never closed: its line is given up, not the megabytes behind it.
        let text = format!("\"open\n{}", "a,b\n".repeat(MAX_ROW / 3));
        let mut records = Records::new(text.as_bytes());
        assert_eq!(records.next().unwrap().unwrap().end, End::Malformed);
        let mut number = 0;
        while records.next().unwrap().is_some() {
            number += 1;
        }
        assert_eq!(number, MAX_ROW / 3);
    }
}
