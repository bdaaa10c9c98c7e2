//! Suite `instructions`: what a message costs in instructions, counted by valgrind. Unlike times, these
//! figures do not depend on what else the machine does.

use std::process::Command;

use super::{Measured, Options};

const SUITE: &str = "instructions";

/// Events that pass each chain of hops.
pub const EVENTS: u64 = 3_000;
/// Relays in a short chain and in a long one.
const RELAYS: [u64; 2] = [2, 34];
/// Events to a guest or to another node, in a short run and in a long one.
const CASTS: [u64; 2] = [2_000, 12_000];

/// Runs all counts of the suite.
///
/// # Errors
/// valgrind is not there, or a count fails.
pub fn run(options: &Options) -> anyhow::Result<Vec<Measured>> {
    let mut results = Vec::new();
    let mut keep = |name: &'static str, value: f64| {
        if let Some(measured) = Measured::of(SUITE, name, "", vec![value]) {
            eprintln!("{} {:.0}", measured.name, measured.value);
            results.push(measured);
        }
    };
    for (name, case) in [
        ("fused_hop_instructions", "fused_hop_ns"),
        ("queued_hop_instructions", "queued_hop_ns"),
        ("shard_hop_instructions", "shard_hop_ns"),
    ] {
        if options.wants(&[name]) {
            let all = difference(case, RELAYS)?;
            keep(name, all / (EVENTS * (RELAYS[1] - RELAYS[0])) as f64);
        }
    }
    let casts = (CASTS[1] - CASTS[0]) as f64;
    for (name, case) in [
        ("wasm_cast_instructions", "wasm_cast_ns"),
        ("component_cast_instructions", "component_cast_ns"),
        ("node_hop_instructions", "node_hop"),
    ] {
        if options.wants(&[name]) {
            let source = difference("source", CASTS)?;
            keep(name, (difference(case, CASTS)? - source) / casts);
        }
    }
    Ok(results)
}

/// How many more instructions the larger of two numbers takes.
fn difference(case: &str, [few, many]: [u64; 2]) -> anyhow::Result<f64> {
    Ok(count(case, many)? - count(case, few)?)
}

fn count(case: &str, number: u64) -> anyhow::Result<f64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args(["--count", &format!("{case}:{number}")])
        .output()
        .map_err(|error| anyhow::anyhow!("valgrind cannot be started ({error}); install it"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let collected = text
        .lines()
        .find_map(|line| line.split("Collected : ").nth(1));
    let collected = collected.and_then(|number| number.trim().parse().ok());
    let ended = output.status.success();
    collected
        .filter(|_| ended)
        .ok_or_else(|| anyhow::anyhow!("`{case}` was not counted: {text}"))
}
