//! From the command line to the end of a daemon.

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::Parser;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::{clock, config};

/// What `main` says about its daemon.
#[derive(Clone, Copy, Debug)]
pub struct Daemon {
    /// The name of the executable.
    pub name: &'static str,
    /// One line about it.
    pub about: &'static str,
    /// The configuration file that is read when none is named.
    pub default_config: &'static str,
    /// A commented configuration that `-t` writes.
    pub template: &'static str,
}

#[derive(Debug, Parser)]
#[command(version, disable_help_subcommand = true)]
struct Arguments {
    /// The configuration file [default: the daemon's own name for it in the working directory]
    #[arg(short, long, value_name = "FILE")]
    config_file: Option<PathBuf>,
    /// Write a commented configuration and end; without FILE to standard output
    #[arg(short, long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    template: Option<PathBuf>,
}

/// Reads arguments and configuration, starts logging, runs the daemon until it ends by itself or
/// by SIGTERM or SIGINT (then its shutdown token is cancelled), and reports the error chain.
pub fn run<C, F>(daemon: &Daemon, start: F) -> ExitCode
where
    C: DeserializeOwned,
    F: AsyncFnOnce(C, CancellationToken) -> anyhow::Result<()>,
{
    let command = <Arguments as clap::CommandFactory>::command()
        .name(daemon.name)
        .about(daemon.about);
    let arguments = <Arguments as clap::FromArgMatches>::from_arg_matches(&command.get_matches());
    let outcome = match arguments {
        Ok(arguments) => run_with(daemon, &arguments, start),
        Err(error) => error.exit(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error:#}", daemon.name);
            ExitCode::FAILURE
        }
    }
}

fn run_with<C, F>(daemon: &Daemon, arguments: &Arguments, start: F) -> anyhow::Result<()>
where
    C: DeserializeOwned,
    F: AsyncFnOnce(C, CancellationToken) -> anyhow::Result<()>,
{
    if let Some(path) = &arguments.template {
        return write_template(path, daemon.template);
    }
    let default = PathBuf::from(daemon.default_config);
    let config: C = config::load(arguments.config_file.as_ref().unwrap_or(&default))?;
    init_logging();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("could not start the runtime")?;
    runtime.block_on(async {
        let shutdown = CancellationToken::new();
        let signal = tokio::spawn(wait_for_signal(shutdown.clone()));
        let clock = tokio::spawn(clock::watch());
        let outcome = start(config, shutdown).await;
        signal.abort();
        clock.abort();
        outcome
    })
}

fn write_template(path: &Path, template: &str) -> anyhow::Result<()> {
    if path == Path::new("-") {
        print!("{template}");
        return Ok(());
    }
    let mut file = std::fs::File::create_new(path)
        .with_context(|| format!("could not create `{}`", path.display()))?;
    std::io::Write::write_all(&mut file, template.as_bytes())
        .with_context(|| format!("could not write `{}`", path.display()))
}

/// Logs to standard error; `RUST_LOG` chooses what, by default what an operator wants to see.
pub fn init_logging() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let logging = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    if let Err(error) = logging.try_init() {
        tracing::debug!(error, "logging was started before");
    }
}

/// Waits for SIGTERM or SIGINT, then cancels the token; also ends when the token is cancelled.
pub async fn wait_for_signal(shutdown: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let (terminate, interrupt) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    );
    let (Ok(mut terminate), Ok(mut interrupt)) = (terminate, interrupt) else {
        tracing::error!("signals cannot be caught here; end the daemon with SIGKILL");
        return;
    };
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: ending"),
        _ = interrupt.recv() => tracing::info!("SIGINT: ending"),
        () = shutdown.cancelled() => {}
    }
    shutdown.cancel();
}
