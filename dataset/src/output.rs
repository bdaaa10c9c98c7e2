//! How rows are shown: an aligned table on a terminal, tab-separated when piped.

use std::io::{self, IsTerminal, Write};

use comfy_table::{ContentArrangement, Table, presets};
use edgeless_dataset::fault::Faults;
use edgeless_types::Timestamp;
use serde_json::{Value, json};

/// Characters of an id on a terminal.
const SHORT_ID: usize = 8;

/// Rows under named columns.
#[derive(Debug)]
pub(crate) struct Rows {
    columns: &'static [&'static str],
    rows: Vec<Vec<Value>>,
}

/// The form in which rows are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// For people: ids are short.
    Table,
    /// For pipes: one header line, then one line each, separated by tabs.
    Tabs,
}

impl Form {
    /// What suits the standard output.
    pub(crate) fn choose() -> Self {
        match io::stdout().is_terminal() {
            true => Self::Table,
            false => Self::Tabs,
        }
    }
}

impl Rows {
    pub(crate) fn new(columns: &'static [&'static str]) -> Self {
        Self {
            columns,
            rows: Vec::new(),
        }
    }

    /// Adds a row: a cell per column.
    pub(crate) fn push(&mut self, cells: impl Into<Vec<Value>>) {
        let cells = cells.into();
        debug_assert_eq!(cells.len(), self.columns.len(), "a cell per column");
        self.rows.push(cells);
    }

    /// The rows as text that ends with a newline.
    pub(crate) fn render(&self, form: Form) -> String {
        match form {
            Form::Table => {
                let mut table = Table::new();
                table
                    .load_preset(presets::NOTHING)
                    .set_content_arrangement(ContentArrangement::Disabled)
                    .set_header(self.columns);
                for row in &self.rows {
                    table.add_row(row.iter().map(|cell| short(text(cell))));
                }
                let lines = table.lines();
                lines.map(|line| format!("{}\n", line.trim_end())).collect()
            }
            Form::Tabs => {
                let mut lines = format!("{}\n", self.columns.join("\t"));
                for row in &self.rows {
                    let cells: Vec<String> = row.iter().map(text).collect();
                    lines.push_str(&cells.join("\t"));
                    lines.push('\n');
                }
                lines
            }
        }
    }
}

/// A cell as text; nothing is a dash.
fn text(cell: &Value) -> String {
    match cell {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.replace(['\t', '\n', '\r'], " "),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) | Value::Array(_) => cell.to_string(),
    }
}

/// The beginning of an id; everything else as it is.
fn short(text: String) -> String {
    match text.parse::<edgeless_types::NodeId>() {
        Ok(_) => text.chars().take(SHORT_ID).collect(),
        Err(_) => text,
    }
}

/// A number with three digits that count.
pub(crate) fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    if value.abs() >= 100.0 {
        return value.round();
    }
    let digits = 2 - value.abs().log10().floor() as i32;
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

/// A moment as UTC with milliseconds.
pub(crate) fn moment(at: Timestamp) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(at.as_nanos()))
        .map_or_else(|_| at.to_string(), |moment| format!("{moment:.3}"))
}

/// Faults as JSON: the first of each kind in each file, and their number.
pub(crate) fn faults(faults: &Faults) -> Value {
    let kinds = faults.kinds().into_iter().map(|count| {
        json!({
            "file": count.first.file.display().to_string(),
            "line": count.first.line,
            "kind": count.first.wrong.kind(),
            "number": count.number,
            "first": count.first.wrong.to_string(),
        })
    });
    Value::Array(kinds.collect())
}

/// A JSON document as it is printed: keys in the order of the alphabet, whatever the program was built with.
pub(crate) fn document(mut document: Value) -> String {
    document.sort_all_objects();
    format!("{document:#}\n")
}

/// Writes to the standard output; a reader that has seen enough is no error.
///
/// # Errors
/// Whatever else keeps it from being written.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_digits_that_count() {
        for (value, wanted) in [
            (0.0, 0.0),
            (1234.5, 1235.0),
            (12.345, 12.3),
            (0.001_234_5, 0.001_23),
        ] {
            assert!((rounded(value) - wanted).abs() < 1e-12, "{value}");
        }
    }

    #[test]
    fn terminals_get_short_ids_and_pipes_whole_ones() {
        let id = "11111111-4a0e-4a2c-8f6e-2f0f6d6b7a11";
        let mut rows = Rows::new(&["function", "count"]);
        rows.push([json!(id), json!(3)]);
        assert_eq!(
            rows.render(Form::Tabs),
            format!("function\tcount\n{id}\t3\n")
        );
        let table = rows.render(Form::Table);
        assert!(table.contains("11111111") && !table.contains(id), "{table}");
    }
}
