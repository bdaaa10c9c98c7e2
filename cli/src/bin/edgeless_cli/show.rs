//! Tables on a terminal, tabs in a pipe, JSON on request.

use std::io::{IsTerminal, stdout};

use comfy_table::{Table, presets};
use serde::Serialize;

use crate::client::Failure;

/// Prints a value as JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text =
        serde_json::to_string_pretty(value).map_err(|error| Failure::Other(error.to_string()))?;
    println!("{text}");
    Ok(())
}

/// Prints rows under their header.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: Vec<[String; N]>) {
    if !stdout().is_terminal() {
        for row in rows {
            println!("{}", row.join("\t"));
        }
        return;
    }
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_header(header.map(str::to_uppercase));
    for row in rows {
        table.add_row(row);
    }
    println!("{table}");
}
