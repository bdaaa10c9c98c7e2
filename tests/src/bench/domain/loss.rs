//! How soon a node that goes silent is noticed, and what ran there runs elsewhere.

use std::time::{Duration, Instant};

use anyhow::Context;

use super::{Keep, daemon::Orc};
use crate::{
    bench::Options,
    simulated::{SeenStep, Settings},
    wait::until,
};

/// As many nodes as workflows, and as many functions in each: each node has a hundred, of all workflows.
const NODES: usize = 100;
const WORKFLOWS: u128 = 100;
const DEADLINE: Duration = Duration::from_secs(1);

/// Kills nodes, one after the other.
pub(super) async fn run(options: &Options, keep: &mut Keep<'_>) -> anyhow::Result<()> {
    let orc = Orc::start().await?;
    let settings = Settings {
        register_url: String::new(),
        nodes: NODES,
        refresh: DEADLINE / 5,
        deadline: DEADLINE,
        samples: 10,
        delay: Duration::ZERO,
    };
    let fleet = orc.fleet_of(&settings).await?;
    let mut caller = orc.caller()?;
    for workflow in 0..WORKFLOWS {
        caller.start(workflow, NODES as u128).await?;
    }
    let wanted = i64::try_from(NODES * NODES)?;
    let settled = async || {
        let now = fleet.tally().summary();
        Ok((now.running == wanted && now.holding == 0).then_some(()))
    };
    until("all run and are patched", settled).await?;
    for index in 0..if options.quick { 1 } else { 5 } {
        let moved = fleet.instances(index);
        anyhow::ensure!(moved >= 90, "only {moved} functions are on the node");
        fleet.tally().begin_noting();
        let refreshed = fleet.kill(index).context("the node has refreshed")?;
        until("all run elsewhere and are patched", settled).await?;
        let seen = fleet.tally().end_noting();
        let of = |step: SeenStep| seen.iter().filter(move |it| it.step == step);
        let starts = of(SeenStep::Start).count();
        anyhow::ensure!(starts == moved, "{starts} starts for {moved} functions");
        let first = seen.first().context("a step was seen")?.at;
        let last: Instant = seen.last().context("a step was seen")?.at;
        let noticed = first.saturating_duration_since(refreshed + DEADLINE);
        let millis = |time: Duration| time.as_secs_f64() * 1e3;
        eprintln!(
            "lost: {moved} functions, {} patches",
            of(SeenStep::Patch).count()
        );
        keep("dead_node_noticed_ms", "ms", millis(noticed));
        keep("dead_node_replaced_ms", "ms", millis(last - first));
    }
    Ok(())
}
