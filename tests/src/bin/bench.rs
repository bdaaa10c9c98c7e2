//! `cargo xtask bench [suite] [--quick] [--json FILE]`: measures the real daemons.

use std::path::PathBuf;

use clap::Parser;
use edgeless_tests::bench::{
    Options, domain_suite, engine_suite, instructions, machine, main_suite, orders_suite,
    scaling_suite, table,
};

/// Measures the real daemons and prints what it found.
#[derive(Debug, Parser)]
struct Arguments {
    /// The suite: `main`, `engine`, `domain`, `orders`, `scaling` or `instructions` (needs valgrind)
    #[arg(
        default_value = "main",
        value_parser = ["main", "engine", "domain", "orders", "scaling", "instructions"]
    )]
    suite: String,
    /// One short run of each, to see that all works
    #[arg(long)]
    quick: bool,
    /// Only what has a name that begins like this
    #[arg(long, value_name = "PREFIX", default_value = "")]
    only: String,
    /// Write the results as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Build everything from nothing as well, and say how long that took
    #[arg(long)]
    cold: bool,
    /// Pass so many events in this process: what the suite `instructions` counts
    #[arg(long, value_name = "CASE:NUMBER", hide = true)]
    count: Option<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some((case, number)) = arguments.count.as_deref().and_then(|it| it.split_once(':')) {
        return engine_suite::count(case, number.parse()?).await;
    }
    println!("{}", machine());
    let options = Options {
        only: arguments.only,
        quick: arguments.quick,
        cold: arguments.cold,
    };
    let results = match arguments.suite.as_str() {
        "engine" => engine_suite::run(&options).await?,
        "domain" => domain_suite::run(&options).await?,
        "orders" => orders_suite::run(&options).await?,
        "scaling" => scaling_suite::run(&options).await?,
        "instructions" => instructions::run(&options)?,
        _ => main_suite::run(&options).await?,
    };
    print!("{}", table(&results));
    if let Some(path) = arguments.json {
        std::fs::write(path, serde_json::to_string_pretty(&results)?)?;
    }
    Ok(())
}
