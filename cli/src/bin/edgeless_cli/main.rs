//! `edgeless_cli`: what people and scripts ask of ε-CON, over its REST interface.
//!
//! One file per noun; [`client`] talks HTTP, [`output`] shows what came back. Exit codes: 0 done,
//! 1 refused or failed, 2 wrong usage, 3 ε-CON cannot be reached.

mod build;
mod client;
mod config;
mod contract;
mod document;
mod domain;
mod dry_run;
mod explain;
mod failure;
mod function;
mod json;
mod node;
mod order;
mod output;
mod service;
mod tap;
mod view;
mod workflow;

use std::{path::PathBuf, process::ExitCode};

use clap::{CommandFactory, Parser, Subcommand};

use crate::{client::Client, failure::Failure, output::Output};

/// Asks ε-CON for workflows, functions, domains and nodes, and for orders, services and their clients.
#[derive(Debug, Parser)]
#[command(
    version,
    name = "edgeless_cli",
    disable_help_subcommand = true,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 ε-CON cannot be reached."
)]
struct Arguments {
    /// The configuration file [default: cli.toml in the working directory, if it is there]
    #[arg(short, long, value_name = "FILE", global = true)]
    config_file: Option<PathBuf>,
    /// Where ε-CON serves REST, instead of `controller_url` of the configuration
    #[arg(
        long,
        value_name = "URL",
        env = "EDGELESS_CONTROLLER_URL",
        global = true
    )]
    url: Option<String>,
    /// Show JSON instead of tables
    #[arg(long, global = true)]
    json: bool,
    /// Write a commented configuration and end; without FILE to standard output
    #[arg(short, long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    template: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start, stop, show and move workflows
    #[command(subcommand)]
    Workflow(workflow::Command),
    /// Show domains
    #[command(subcommand)]
    Domain(domain::Command),
    /// Show nodes
    #[command(subcommand)]
    Node(node::Command),
    /// Build, publish and show functions
    #[command(subcommand)]
    Function(function::Command),
    /// Send, show, watch, end and repeat orders
    #[command(subcommand)]
    Order(order::Command),
    /// Define, show, hold up and end services, which do the tasks of orders
    #[command(subcommand)]
    Service(service::Command),
    /// Define, show and forget clients, who send orders
    #[command(subcommand)]
    Client(contract::Command),
    /// Show the messages of a running function or resource as they pass, until Ctrl-C
    Tap(tap::Tap),
    /// Write completions for a shell to standard output
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = u8::try_from(error.exit_code()).unwrap_or(2);
            // Nobody reads it: there is nobody to tell.
            error.print().ok();
            return ExitCode::from(code);
        }
    };
    let output = Output::new(arguments.json);
    match run(arguments, &output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => output.failure(&failure),
    }
}

fn run(arguments: Arguments, output: &Output) -> Result<(), Failure> {
    if let Some(path) = &arguments.template {
        return config::write_template(path, output);
    }
    let command = arguments
        .command
        .ok_or_else(|| Failure::Usage("a command is missing; see --help".to_owned()))?;
    if let Command::Completions { shell } = command {
        let mut script = Vec::new();
        clap_complete::generate(
            shell,
            &mut Arguments::command(),
            "edgeless_cli",
            &mut script,
        );
        return output.text(&String::from_utf8_lossy(&script));
    }
    if let Command::Function(function::Command::Build(build)) = &command {
        return build::run(build, output);
    }
    let url = config::controller_url(arguments.url.as_deref(), arguments.config_file.as_deref())?;
    let client = Client::new(url)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::Runtime)?;
    runtime.block_on(async {
        match command {
            Command::Workflow(command) => workflow::run(command, &client, output).await,
            Command::Domain(command) => domain::run(command, &client, output).await,
            Command::Node(command) => node::run(command, &client, output).await,
            Command::Function(command) => function::run(command, &client, output).await,
            Command::Order(command) => order::run(command, &client, output).await,
            Command::Service(command) => service::run(command, &client, output).await,
            Command::Client(command) => contract::run(command, &client, output).await,
            Command::Tap(tap) => tap::run(tap, &client, output).await,
            Command::Completions { .. } => Ok(()),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_contradict_nothing() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn options_for_all_commands_may_stand_anywhere() {
        for line in [
            "edgeless_cli --json --url http://a:1 workflow list",
            "edgeless_cli workflow list --json --url http://a:1",
        ] {
            let arguments = Arguments::try_parse_from(line.split(' ')).unwrap();
            assert!(arguments.json);
            assert_eq!(arguments.url.as_deref(), Some("http://a:1"));
        }
    }

    #[test]
    fn wrong_usage_is_an_error_with_code_two() {
        for line in [
            "edgeless_cli nonsense",
            "edgeless_cli workflow",
            "edgeless_cli workflow inspect not-a-uuid",
            "edgeless_cli workflow migrate 7d1b8ba2-6d6b-4b0c-8fd5-4b4a7b9e6b64",
            "edgeless_cli workflow migrate 7d1b8ba2-6d6b-4b0c-8fd5-4b4a7b9e6b64 --vertex v",
        ] {
            let error = Arguments::try_parse_from(line.split(' ')).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
