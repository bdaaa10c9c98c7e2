//! `cargo xtask …`: what developers and newcomers run.

mod bench;
mod component;
mod demo;
mod functions;
mod install;
mod process;
mod redis;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What developers and newcomers run.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build everything, start it, submit a workflow, send requests and show what happens
    Demo(demo::Arguments),
    /// Install what the tests need and run all of them
    Test,
    /// Build the WebAssembly of the example functions
    Functions(functions::Arguments),
    /// Measure; passes everything on to the benchmarks
    Bench {
        /// `[suite] [--quick] [--json FILE]`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Test => test::run(),
        Command::Functions(arguments) => functions::run(&arguments),
        Command::Bench { arguments } => bench::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
