//! Where the columns of a table stand in the rows under a header.

use edgeless_tables::{Table, header};

use crate::fault::{Wrong, shown};

/// The places of columns under one header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    table: Table,
    /// Fields of a row; the least number of them in the mapping, which has pairs.
    width: usize,
    /// The places of the columns of the schema, in its order. Of the mapping only `timestamp` and
    /// `logical_id`.
    fixed: Vec<usize>,
    /// The names and places of additional columns; a place behind the pairs counts from the end.
    additional: Vec<(String, Place)>,
}

/// Where a field stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// So many fields before it.
    Front(usize),
    /// So many fields behind it.
    Behind(usize),
}

/// Columns of the mapping that stand for any number of pairs.
fn is_pair(name: &str) -> bool {
    let number = |prefix| name.strip_prefix(prefix).map(str::parse::<u32>);
    name == "..." || matches!(number("node_id").or(number("physical_id")), Some(Ok(_)))
}

/// The columns of the schema that every row has.
fn fixed_columns(table: Table) -> &'static [&'static str] {
    match table {
        Table::MappingToInstanceId => &["timestamp", "logical_id"],
        Table::HealthStatus
        | Table::Capabilities
        | Table::PerformanceSamples
        | Table::ApplicationLogs
        | Table::SampleSummaries
        | Table::ScalingDecisions
        | Table::Vertices => header(table),
    }
}

impl Layout {
    /// Whether a row that is no row of values is a header of the table: it has half of the names of
    /// the schema; of the first line one is enough.
    pub(crate) fn is_header<'a>(
        table: Table,
        fields: impl Iterator<Item = &'a [u8]>,
        is_first: bool,
    ) -> bool {
        let wanted = fixed_columns(table);
        let is_name = |field: &&[u8]| wanted.iter().any(|name| name.as_bytes() == *field);
        let found = fields.filter(is_name).count();
        found >= 2 && found * 2 >= wanted.len() || is_first && found > 0
    }

    /// Whether the last field of a row of so many shows by itself that nothing of it is missing.
    pub(crate) fn ends_with_certainty(&self, row: &[u8], fields: usize) -> bool {
        let last = fields.wrapping_sub(1);
        let is_last = |column| self.fixed(column) == last;
        let nine_digits = row
            .rsplit(|&byte| byte == b'.')
            .next()
            .is_some_and(|digits| digits.len() == 9 && digits.iter().all(u8::is_ascii_digit));
        match self.table {
            // Closed quotes around JSON.
            Table::HealthStatus | Table::Capabilities => is_last(2) && row.ends_with(b"\""),
            // Further pairs, or more of the text, might have followed.
            Table::MappingToInstanceId | Table::ScalingDecisions | Table::Vertices => false,
            Table::PerformanceSamples | Table::ApplicationLogs => is_last(3) && nine_digits,
            Table::SampleSummaries => is_last(5) && nine_digits,
        }
    }

    /// Reads a header.
    ///
    /// # Errors
    /// A column is missing or there twice.
    pub(crate) fn read<'a>(
        table: Table,
        fields: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Self, Wrong> {
        let names: Vec<String> = fields
            .enumerate()
            .map(|(index, field)| {
                let bom = b"\xef\xbb\xbf".as_slice();
                let field = match index {
                    0 => field.strip_prefix(bom).unwrap_or(field),
                    _ => field,
                };
                String::from_utf8_lossy(field).into_owned()
            })
            .collect();
        let mut sorted: Vec<&String> = names.iter().collect();
        sorted.sort();
        if let Some(twice) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            let column = shown(twice[0].as_bytes());
            return Err(Wrong::ColumnTwice { column });
        }
        let place = |wanted: &str| names.iter().position(|name| name == wanted);
        let wanted = fixed_columns(table);
        let fixed: Vec<usize> = wanted.iter().filter_map(|name| place(name)).collect();
        if fixed.len() < wanted.len() {
            let missing = wanted.iter().filter(|name| place(name).is_none());
            let columns = missing.map(|name| (*name).to_owned()).collect();
            return Err(Wrong::MissingColumns { columns });
        }
        let pairs = match table {
            // Whatever comes behind the last of them counts from the end.
            Table::MappingToInstanceId => {
                let last_pair = names.iter().rposition(|name| is_pair(name));
                last_pair.unwrap_or_else(|| fixed.iter().copied().max().unwrap_or_default())
            }
            Table::HealthStatus
            | Table::Capabilities
            | Table::PerformanceSamples
            | Table::ApplicationLogs
            | Table::SampleSummaries
            | Table::ScalingDecisions
            | Table::Vertices => names.len(),
        };
        let is_schema = |index: usize, name: &str| {
            fixed.contains(&index) || (table == Table::MappingToInstanceId && is_pair(name))
        };
        let additional: Vec<(String, Place)> = names
            .iter()
            .enumerate()
            .filter(|&(index, name)| !is_schema(index, name))
            .map(|(index, name)| {
                let place = match index > pairs {
                    true => Place::Behind(names.len() - 1 - index),
                    false => Place::Front(index),
                };
                (name.clone(), place)
            })
            .collect();
        Ok(Self {
            table,
            width: fixed.len() + additional.len(),
            fixed,
            additional,
        })
    }

    /// Names of the additional columns, as they stand in the header.
    pub fn additional(&self) -> impl Iterator<Item = &str> {
        self.additional.iter().map(|(name, _)| name.as_str())
    }

    /// Checks the number of fields of a row.
    pub(crate) fn fits(&self, found: usize) -> Result<(), Wrong> {
        let expected = self.width;
        match self.table {
            Table::MappingToInstanceId if found < expected => {
                Err(Wrong::Columns { found, expected })
            }
            Table::MappingToInstanceId if !(found - expected).is_multiple_of(2) => {
                let fixed = expected;
                Err(Wrong::Pairs { found, fixed })
            }
            Table::MappingToInstanceId => Ok(()),
            Table::HealthStatus
            | Table::Capabilities
            | Table::PerformanceSamples
            | Table::ApplicationLogs
            | Table::SampleSummaries
            | Table::ScalingDecisions
            | Table::Vertices => match found == expected {
                true => Ok(()),
                false => Err(Wrong::Columns { found, expected }),
            },
        }
    }

    /// The place of a column of the schema.
    pub(crate) fn fixed(&self, column: usize) -> usize {
        self.fixed.get(column).copied().unwrap_or(usize::MAX)
    }

    /// The places of the fields of pairs in a row of so many fields.
    pub(crate) fn pairs(&self, fields: usize) -> std::ops::Range<usize> {
        let behind = |place: &Place| matches!(place, Place::Behind(_));
        let behind = self.additional.iter().filter(|(_, place)| behind(place));
        let behind = behind.count();
        self.width - behind..fields - behind
    }

    /// The places of additional fields in a row of so many fields.
    pub(crate) fn additional_places(&self, fields: usize) -> impl Iterator<Item = usize> {
        self.additional.iter().map(move |(_, place)| match place {
            Place::Front(before) => *before,
            Place::Behind(after) => fields.saturating_sub(1 + after),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(table: Table, header: &str) -> Result<Layout, Wrong> {
        Layout::read(table, header.split(',').map(str::as_bytes))
    }

    #[test]
    fn additional_columns_may_stand_in_front_and_behind() {
        let layout = read(
            Table::PerformanceSamples,
            "exp,metric,identifier,value,timestamp,run",
        )
        .unwrap();
        assert_eq!(layout.fixed, [1, 2, 3, 4]);
        assert_eq!(layout.additional().collect::<Vec<_>>(), ["exp", "run"]);
        assert_eq!(layout.additional_places(6).collect::<Vec<_>>(), [0, 5]);
        assert!(layout.fits(6).is_ok());
        assert!(layout.fits(5).is_err());
    }

    #[test]
    fn pairs_of_the_mapping_lie_between_additional_columns() {
        let layout = read(
            Table::MappingToInstanceId,
            "exp,timestamp,logical_id,node_id1,physical_id1,...,run",
        )
        .unwrap();
        assert!(layout.fits(4).is_ok());
        assert_eq!(layout.pairs(4), 3..3);
        assert_eq!(layout.pairs(8), 3..7);
        assert_eq!(layout.additional_places(8).collect::<Vec<_>>(), [0, 7]);
        assert!(matches!(layout.fits(5), Err(Wrong::Pairs { .. })));
        assert!(matches!(layout.fits(3), Err(Wrong::Columns { .. })));
    }

    #[test]
    fn columns_that_are_missing_or_twice_are_named() {
        let missing = read(Table::HealthStatus, "timestamp,node").unwrap_err();
        assert_eq!(
            missing.to_string(),
            "the header lacks `node_id`, `node_health_status`; rows under it are not read"
        );
        let twice = read(Table::HealthStatus, "timestamp,node_id,node_id").unwrap_err();
        assert!(matches!(twice, Wrong::ColumnTwice { .. }));
    }
}
