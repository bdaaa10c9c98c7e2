//! `simnode`: thousands of simulated nodes for a real ε-ORC, in one process.

use std::time::Duration;

use clap::Parser;
use edgeless_tests::simulated::{Fleet, Settings};

/// Simulates nodes that register with an ε-ORC, refresh, and take steps, but run nothing.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where ε-ORC takes registrations: its `node_register_url`
    #[arg(long, value_name = "URL")]
    register: String,
    /// How many nodes
    #[arg(long, default_value_t = 1_000)]
    nodes: usize,
    /// How often each refreshes its registration; 0s: again as soon as it is answered
    #[arg(long, value_parser = duration, default_value = "5s")]
    refresh: Duration,
    /// After how long without a refresh a node is lost; left out: three times `--refresh`, at least 3s
    #[arg(long, value_parser = duration)]
    deadline: Option<Duration>,
    /// Performance samples in each refresh
    #[arg(long, default_value_t = 10)]
    samples_per_refresh: usize,
    /// How long a node takes to answer a batch of steps
    #[arg(long, value_parser = duration, default_value = "0ms")]
    delay: Duration,
    /// End after this; left out: run until ctrl-c
    #[arg(long = "for", value_parser = duration, value_name = "TIME")]
    time: Option<Duration>,
}

/// A whole number with its unit: `250ms`, `5s` or `2m`.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|it: char| !it.is_ascii_digit());
    let number: u64 = digits
        .parse()
        .map_err(|_| "write a number and its unit, such as 250ms, 5s or 2m".to_owned())?;
    match &text[digits.len()..] {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number.saturating_mul(60))),
        other => Err(format!("the unit `{other}` is none of ms, s and m")),
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let usual = (arguments.refresh * 3).max(Duration::from_secs(3));
    let settings = Settings {
        register_url: arguments.register,
        nodes: arguments.nodes,
        refresh: arguments.refresh,
        deadline: arguments.deadline.unwrap_or(usual),
        samples: arguments.samples_per_refresh,
        delay: arguments.delay,
    };
    let fleet = Fleet::start(&settings).await?;
    let end = async {
        match arguments.time {
            Some(time) => tokio::time::sleep(time).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        stopped = tokio::signal::ctrl_c() => stopped?,
        () = end => {}
    }
    println!("{}", fleet.tally().summary());
    Ok(())
}
