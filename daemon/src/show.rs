//! How command line tools show rows: an aligned table on a terminal, tab-separated when piped, or JSON. Daemons have no
//! use for it: it is behind the feature `show`.

use std::io::{self, IsTerminal, Write};

use comfy_table::{ContentArrangement, Table, presets};
use edgeless_types::Timestamp;
use serde_json::Value;

/// Rows under named columns.
#[derive(Debug, PartialEq)]
pub struct Rows {
    /// The names of the columns; the fields of the JSON objects.
    pub columns: &'static [&'static str],
    /// As many cells as columns, each.
    pub rows: Vec<Vec<Value>>,
    /// Whether ids are cut short in tables.
    is_short: bool,
}

/// Characters of a short id.
const SHORT_ID: usize = 8;

/// The form in which rows are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For people.
    Table,
    /// For pipes: one header line, then one line each, separated by tabs.
    Tabs,
    /// An array of objects.
    Json,
}

impl Form {
    /// JSON where it is wanted; else what suits the standard output.
    pub fn choose(json: bool) -> Self {
        if json {
            Self::Json
        } else if io::stdout().is_terminal() {
            Self::Table
        } else {
            Self::Tabs
        }
    }
}

impl Rows {
    /// No row yet.
    pub fn new(columns: &'static [&'static str]) -> Self {
        Self {
            columns,
            rows: Vec::new(),
            is_short: false,
        }
    }

    /// The same, with the beginnings of ids in tables for people; other forms have them whole.
    pub fn with_short_ids(columns: &'static [&'static str]) -> Self {
        Self {
            is_short: true,
            ..Self::new(columns)
        }
    }

    /// Adds a row: a cell per column.
    pub fn push(&mut self, cells: impl Into<Vec<Value>>) {
        let cells = cells.into();
        debug_assert_eq!(cells.len(), self.columns.len(), "a cell per column");
        self.rows.push(cells);
    }

    /// The rows as text that ends with a newline.
    pub fn render(&self, form: Form) -> String {
        match form {
            Form::Table => self.table(),
            Form::Tabs => self.tabs(),
            Form::Json => self.json(),
        }
    }

    fn table(&self) -> String {
        let mut table = Table::new();
        table
            .load_preset(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled)
            .set_header(self.columns);
        for row in &self.rows {
            table.add_row(row.iter().map(|cell| match self.is_short {
                true => short(text(cell)),
                false => text(cell),
            }));
        }
        let lines = table.lines();
        lines.map(|line| format!("{}\n", line.trim_end())).collect()
    }

    fn tabs(&self) -> String {
        let mut lines = format!("{}\n", self.columns.join("\t"));
        for row in &self.rows {
            let one_line = |cell: &Value| text(cell).replace(['\t', '\n', '\r'], " ");
            let cells: Vec<String> = row.iter().map(one_line).collect();
            lines.push_str(&cells.join("\t"));
            lines.push('\n');
        }
        lines
    }

    fn json(&self) -> String {
        let object = |row: &Vec<Value>| {
            let names = self.columns.iter().map(|name| (*name).to_owned());
            Value::Object(names.zip(row.iter().cloned()).collect())
        };
        let array = Value::Array(self.rows.iter().map(object).collect());
        format!("{array:#}\n")
    }
}

/// A cell as text: nothing is a dash, elements of a list are separated by commas.
fn text(cell: &Value) -> String {
    match cell {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(","),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => cell.to_string(),
    }
}

/// The beginning of an id; everything else as it is.
fn short(text: String) -> String {
    match text.parse::<edgeless_types::NodeId>() {
        Ok(_) => text.chars().take(SHORT_ID).collect(),
        Err(_) => text,
    }
}

/// A moment as UTC with milliseconds.
pub fn moment(at: Timestamp) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(at.as_nanos()))
        .map_or_else(|_| at.to_string(), |moment| format!("{moment:.3}"))
}

/// Writes to the standard output; false when its reader has seen enough.
///
/// # Errors
/// Whatever else keeps it from being written.
pub fn print(text: &str) -> io::Result<bool> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rows() -> Rows {
        let mut rows = Rows::new(&["name", "nodes"]);
        rows.push([json!("a\tb"), json!(["x", "y"])]);
        rows.push([json!(null), json!(3)]);
        rows
    }

    #[test]
    fn pipes_get_one_line_per_row_separated_by_tabs() {
        assert_eq!(rows().render(Form::Tabs), "name\tnodes\na b\tx,y\n-\t3\n");
    }

    #[test]
    fn json_keeps_types_and_names_columns() {
        let shown: Value = serde_json::from_str(&rows().render(Form::Json)).unwrap();
        assert_eq!(
            shown,
            json!([{"name": "a\tb", "nodes": ["x", "y"]}, {"name": null, "nodes": 3}])
        );
    }

    #[test]
    fn tables_are_aligned_under_their_header() {
        let shown = rows().render(Form::Table);
        let columns: Vec<_> = [0, 2]
            .map(|line| shown.lines().nth(line).unwrap().rfind([' ']).unwrap())
            .into();
        assert_eq!(columns[0], columns[1], "{shown}");
    }

    #[test]
    fn short_ids_are_for_tables_only() {
        let id = "11111111-4a0e-4a2c-8f6e-2f0f6d6b7a11";
        let mut rows = Rows::with_short_ids(&["function", "count"]);
        rows.push([json!(id), json!(3)]);
        assert_eq!(
            rows.render(Form::Tabs),
            format!("function\tcount\n{id}\t3\n")
        );
        let table = rows.render(Form::Table);
        assert!(table.contains("11111111") && !table.contains(id), "{table}");
    }

    #[test]
    fn moments_are_utc_with_milliseconds() {
        let at = Timestamp::from_nanos(1_700_000_000_123_456_789);
        assert_eq!(moment(at), "2023-11-14T22:13:20.123Z");
    }
}
