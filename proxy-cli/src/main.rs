//! `proxy_cli`: looks into a domain, through the mirror in Redis or ε-ORC's status port.

mod commands;
mod domain;
mod source;
#[cfg(test)]
mod testing;

use std::{process::ExitCode, time::Duration};

use clap::{CommandFactory, Parser, Subcommand};
use edgeless_daemon::show::{Form, print};

use crate::{
    commands::{CommandError, dump, instances::Instances, intent, now, show, top},
    source::Source,
};

/// Looks into an EDGELESS domain, and asks its ε-ORC for intents.
///
/// Without --redis-url and --orc-url, redis://127.0.0.1:6379 and http://127.0.0.1:7004 are tried.
/// Wherever an id is wanted, the beginning of it is enough if it is unique.
#[derive(Debug, Parser)]
#[command(name = "proxy_cli", version)]
struct Cli {
    /// The Redis to which ε-ORC mirrors the domain, such as redis://127.0.0.1:6379
    #[arg(
        short,
        long,
        global = true,
        value_name = "URL",
        conflicts_with = "orc_url"
    )]
    redis_url: Option<String>,
    /// The status port of ε-ORC, such as http://127.0.0.1:7004
    #[arg(long, global = true, value_name = "URL")]
    orc_url: Option<String>,
    /// Show JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Shows what the domain has
    #[command(subcommand)]
    Show(show::Show),
    /// Shows times of the last minute, each second, until Ctrl-C
    Top {
        #[command(subcommand)]
        by: top::Top,
        /// Show them once
        #[arg(long, global = true)]
        once: bool,
    },
    /// Asks ε-ORC for something and waits for the outcome
    #[command(subcommand)]
    Intent(intent::Ask),
    /// Writes files
    #[command(subcommand)]
    Dump(dump::Dump),
    /// Writes the completions of a shell to the standard output
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("proxy_cli: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<(), CommandError> {
    let form = Form::choose(cli.json);
    match &cli.verb {
        Verb::Show(what) => {
            let mut source = connect(&cli).await?;
            let rows = show::show(&mut source, what, now()).await?;
            print(&rows.render(form))?;
        }
        Verb::Top {
            by: top::Top::Instances { node_url },
            once,
        } => {
            tokio::select! {
                ended = live_instances(node_url, *once, form) => ended?,
                interrupted = tokio::signal::ctrl_c() => interrupted?,
            }
        }
        Verb::Top { by, once: true } => {
            let mut source = connect(&cli).await?;
            let rows = top::top(&mut source, by, now()).await?;
            print(&rows.render(form))?;
        }
        Verb::Top { by, once: false } => {
            let mut source = connect(&cli).await?;
            tokio::select! {
                ended = live(&mut source, by, form) => ended?,
                interrupted = tokio::signal::ctrl_c() => interrupted?,
            }
        }
        Verb::Intent(ask) => {
            let mut source = connect(&cli).await?;
            let rows = intent::ask(&mut source, ask).await?;
            print(&rows.render(form))?;
        }
        Verb::Dump(what) => {
            let mut source = connect(&cli).await?;
            let rows = dump::dump(&mut source, what, now()).await?;
            print(&rows.render(form))?;
        }
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "proxy_cli", &mut script);
            print(&String::from_utf8_lossy(&script))?;
        }
    }
    Ok(())
}

/// Shows the times each second for as long as somebody reads.
async fn live(source: &mut Source, by: &top::Top, form: Form) -> Result<(), CommandError> {
    let clear = match form {
        Form::Table => "\x1b[H\x1b[2J",
        Form::Tabs | Form::Json => "",
    };
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        seconds.tick().await;
        let rows = top::top(source, by, now()).await?;
        if !print(&format!("{clear}{}", rows.render(form)))? {
            return Ok(());
        }
    }
}

/// Shows what runs on a node: once after a second, in which rates are measured, or each second.
async fn live_instances(node_url: &str, once: bool, form: Form) -> Result<(), CommandError> {
    let clear = match (form, once) {
        (Form::Table, false) => "\x1b[H\x1b[2J",
        (Form::Table, true) | (Form::Tabs | Form::Json, _) => "",
    };
    let mut instances = Instances::new(node_url);
    instances.look().await?;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let rows = instances.look().await?;
        if !print(&format!("{clear}{}", rows.render(form)))? || once {
            return Ok(());
        }
    }
}

async fn connect(cli: &Cli) -> Result<Source, CommandError> {
    Ok(match (&cli.redis_url, &cli.orc_url) {
        (Some(url), _) => Source::redis(url).await?,
        (None, Some(url)) => Source::http(url).await?,
        (None, None) => {
            let source = Source::find().await?;
            eprintln!("proxy_cli: the domain is read from {}", source.url());
            source
        }
    })
}
