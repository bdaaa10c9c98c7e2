//! `edgeless_cli`: submits and shows workflows, functions, domains and nodes over ε-CON's REST.

mod client;
mod domain;
mod function;
mod node;
mod show;
mod workflow;

use std::{path::PathBuf, process::ExitCode};

use clap::{CommandFactory, Parser, Subcommand};
use serde::Deserialize;

use client::{Client, Failure};

/// Submits and shows workflows, functions, domains and nodes.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 ε-CON does not answer."
)]
struct Arguments {
    /// Where ε-CON's REST interface is
    #[arg(
        long,
        global = true,
        env = "EDGELESS_CONTROLLER_URL",
        value_name = "URL"
    )]
    url: Option<String>,
    /// A configuration file with `controller_url` [default: cli.toml, where it is there]
    #[arg(short, long, global = true, value_name = "FILE")]
    config_file: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Workflows: start, stop, list, inspect, migrate
    #[command(subcommand)]
    Workflow(workflow::Command),
    /// The function registry: build, push, list
    #[command(subcommand)]
    Function(function::Command),
    /// Domains: list, inspect
    #[command(subcommand)]
    Domain(domain::Command),
    /// Nodes: list, inspect
    #[command(subcommand)]
    Node(node::Command),
    /// Print the completion script of a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// The configuration file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    controller_url: edgeless_daemon::net::Listen,
}

/// The usual place of ε-CON's REST interface.
const USUAL_URL: &str = "http://127.0.0.1:7008";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("edgeless_cli: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Failure> {
    if let Command::Completions { shell } = arguments.command {
        let mut command = Arguments::command();
        clap_complete::generate(shell, &mut command, "edgeless_cli", &mut std::io::stdout());
        return Ok(());
    }
    let client = Client::new(url(&arguments)?, arguments.json);
    match arguments.command {
        Command::Workflow(command) => workflow::run(command, &client).await,
        Command::Function(command) => function::run(command, &client).await,
        Command::Domain(command) => domain::run(command, &client).await,
        Command::Node(command) => node::run(command, &client).await,
        Command::Completions { .. } => Ok(()),
    }
}

fn url(arguments: &Arguments) -> Result<String, Failure> {
    if let Some(url) = &arguments.url {
        return Ok(url.trim_end_matches('/').to_owned());
    }
    let usual = PathBuf::from("cli.toml");
    let path = match &arguments.config_file {
        Some(path) => path,
        None if usual.exists() => &usual,
        None => return Ok(USUAL_URL.to_owned()),
    };
    let config: Config =
        edgeless_daemon::config::load(path).map_err(|error| Failure::Usage(error.to_string()))?;
    Ok(config.controller_url.to_string())
}
