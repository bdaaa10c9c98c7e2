//! Takes a row apart into fields, as RFC 4180 writes them.
//!
//! Parsers of CSV put up with quotes at wrong places, so that a torn row swallows its successors; here
//! that is a fault of its line.

use std::ops::Range;

/// The fields of one row; kept for the next, so that nothing is allocated.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    ranges: Vec<Range<usize>>,
    /// Fields without their quotes; empty where the row has none.
    unquoted: Vec<u8>,
    has_quotes: bool,
}

/// How a row with quotes ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With a whole field.
    Whole,
    /// Within a quoted field.
    Open,
    /// A quote stands at a wrong place.
    Malformed,
}

impl Fields {
    /// Takes apart `row`, which has no end of line any more.
    pub(crate) fn split(&mut self, row: &[u8]) -> Ending {
        self.ranges.clear();
        self.unquoted.clear();
        self.has_quotes = memchr::memchr(b'"', row).is_some();
        if self.has_quotes {
            return self.split_quoted(row);
        }
        let mut begin = 0;
        for comma in memchr::memchr_iter(b',', row) {
            self.ranges.push(begin..comma);
            begin = comma + 1;
        }
        self.ranges.push(begin..row.len());
        Ending::Whole
    }

    fn split_quoted(&mut self, row: &[u8]) -> Ending {
        let mut rest = row;
        loop {
            let begin = self.unquoted.len();
            if let Some(quoted) = rest.strip_prefix(b"\"") {
                rest = quoted;
                loop {
                    let Some(quote) = memchr::memchr(b'"', rest) else {
                        return Ending::Open;
                    };
                    self.unquoted.extend_from_slice(&rest[..quote]);
                    rest = &rest[quote + 1..];
                    let Some(escaped) = rest.strip_prefix(b"\"") else {
                        break;
                    };
                    self.unquoted.push(b'"');
                    rest = escaped;
                }
                if !(rest.is_empty() || rest.starts_with(b",")) {
                    return Ending::Malformed;
                }
            } else {
                let end = memchr::memchr(b',', rest).unwrap_or(rest.len());
                if memchr::memchr(b'"', &rest[..end]).is_some() {
                    return Ending::Malformed;
                }
                self.unquoted.extend_from_slice(&rest[..end]);
                rest = &rest[end..];
            }
            self.ranges.push(begin..self.unquoted.len());
            match rest.strip_prefix(b",") {
                Some(behind) => rest = behind,
                None => return Ending::Whole,
            }
        }
    }

    /// How many fields there are.
    pub(crate) fn len(&self) -> usize {
        self.ranges.len()
    }

    /// A field of `row`, which was split last; empty where there is none.
    pub(crate) fn get<'a>(&'a self, row: &'a [u8], index: usize) -> &'a [u8] {
        let Some(range) = self.ranges.get(index) else {
            return &[];
        };
        let bytes = if self.has_quotes { &self.unquoted } else { row };
        bytes.get(range.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(row: &str, ending: Ending, wanted: &[&str]) {
        let mut fields = Fields::default();
        assert_eq!(fields.split(row.as_bytes()), ending, "{row}");
        let found: Vec<&[u8]> = (0..fields.len())
            .map(|index| fields.get(row.as_bytes(), index))
            .collect();
        let wanted: Vec<&[u8]> = wanted.iter().map(|field| field.as_bytes()).collect();
        assert_eq!(found, wanted, "{row}");
    }

    #[test]
    fn fields_are_found_with_and_without_quotes() {
        check("a,b,,c", Ending::Whole, &["a", "b", "", "c"]);
        check("", Ending::Whole, &[""]);
        check(
            "a,\"b,\"\"c\"\"\n\",d",
            Ending::Whole,
            &["a", "b,\"c\"\n", "d"],
        );
        check("\"\",", Ending::Whole, &["", ""]);
    }

    #[test]
    fn quotes_at_wrong_places_are_told_from_open_ones() {
        check("a,\"b\"c,d", Ending::Malformed, &["a"]);
        check("a,b\"c\"", Ending::Malformed, &["a"]);
        check("a,\"b,c", Ending::Open, &["a"]);
        check("a,\"b\"\"", Ending::Open, &["a"]);
    }
}
