//! All daemons in one process: one ε-CON, one ε-ORC and some nodes, for a first look and for tests.
//!
//! It writes the configuration files that the daemons would read into `--dir`, starts each from its
//! file, and prints one line of JSON with every address when all are up.

mod configs;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::Parser;
use edgeless_daemon::{config, init_logging, wait_for_signal};
use serde::Serialize;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use configs::{NodeFile, Ports};

/// ε-CON, ε-ORC and nodes in one process.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Where configuration, state, datasets and files of workflows are kept
    #[arg(long, default_value = "edgeless_inabox")]
    dir: PathBuf,
    /// Mirror to this Redis; without it there is no mirror
    #[arg(long, value_name = "URL")]
    redis_url: Option<String>,
    /// How many nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=64))]
    nodes: u16,
    /// Take any free ports instead of the usual ones
    #[arg(long)]
    free_ports: bool,
}

/// What is printed when all daemons are up.
#[derive(Serialize)]
struct Addresses {
    con: serde_json::Value,
    orc: serde_json::Value,
    nodes: Vec<serde_json::Value>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    init_logging();
    let outcome = tokio::runtime::Runtime::new()
        .context("could not start the runtime")
        .and_then(|runtime| runtime.block_on(run(&arguments)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("edgeless_inabox: {error:#}");
            ExitCode::FAILURE
        }
    }
}
