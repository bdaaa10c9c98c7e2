//! The tool as its users see it: the binary over small datasets, and properties of the library.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bad;
mod export;
mod faults;
mod golden;
mod notebook;
mod repair;
mod replay;

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

/// Ids of a small domain.
const NODE: &str = "0b6f2e62-4a0e-4a2c-8f6e-2f0f6d6b7a11";
const FUNCTION: &str = "22222222-4a0e-4a2c-8f6e-2f0f6d6b7a11";
const COPY: &str = "33333333-4a0e-4a2c-8f6e-2f0f6d6b7a11";
const OTHER_COPY: &str = "44444444-4a0e-4a2c-8f6e-2f0f6d6b7a11";

const SAMPLES: &str = "performance_samples.csv";
const SAMPLES_HEADER: &str = "metric,identifier,value,timestamp\n";

/// Writes files into a folder.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// Runs the binary in a folder.
fn run(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_edgeless_dataset"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
