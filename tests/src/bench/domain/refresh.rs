//! What refreshes and samples cost.

use std::{
    io::Read,
    path::Path,
    time::{Duration, Instant},
};

use super::{Keep, daemon::Orc, mirror, probe::Probe};
use crate::{
    bench::{Options, quantile},
    simulated::Fleet,
    wait::until_within,
};

/// Nodes that only refresh.
const NODES: usize = 5_000;
const REFRESH: Duration = Duration::from_secs(5);
const SAMPLES: usize = 10;
/// Measurements are remembered for two minutes: then the memory grows no more.
const REMEMBERED: Duration = Duration::from_secs(125);

/// Nodes that send as many samples as they can.
const SENDERS: usize = 500;
/// Samples in one refresh of theirs.
const MANY: usize = 500;
/// Samples a second while decisions are measured.
const PACED: u32 = 500_000;
/// Workflows and their functions that run on them.
const WORKFLOWS: u128 = 50;
const WORKFLOW: u128 = 100;

/// Many nodes that refresh.
pub(super) async fn refreshes(options: &Options, keep: &mut Keep<'_>) -> anyhow::Result<()> {
    let orc = Orc::start().await?;
    let fleet = orc.fleet(NODES, REFRESH, SAMPLES).await?;
    let warm = if options.quick { REFRESH } else { REMEMBERED };
    tokio::time::sleep(warm).await;
    fleet.tally().begin_times();
    let before = fleet.tally().summary();
    let time = Duration::from_secs(if options.quick { 15 } else { 30 });
    let cores = orc.cores(time).await?;
    let after = fleet.tally().summary();
    anyhow::ensure!(after.failed == 0, "{} refreshes failed", after.failed);
    let number = (after.refreshes - before.refreshes) as f64;
    keep("refresh_per_s", "1/s", number / time.as_secs_f64());
    keep("refresh_cpu_cores", "cores", cores);
    keep("refresh_rss_mib", "MiB", orc.rss_mib()?);
    keep("refresh_p50_ms", "ms", after.p50.as_secs_f64() * 1e3);
    keep("refresh_p99_ms", "ms", after.p99.as_secs_f64() * 1e3);
    Ok(())
}

/// As many samples as possible, each of which has to be in a file and in Redis.
pub(super) async fn samples(options: &Options, keep: &mut Keep<'_>) -> anyhow::Result<()> {
    let orc = Orc::start().await?;
    let second = Duration::from_secs(1);
    let fleet = orc.fleet(SENDERS, second, 0).await?;
    let mut caller = orc.caller()?;
    for workflow in 0..WORKFLOWS {
        caller.start(workflow, WORKFLOW).await?;
    }
    let calm = Probe::start(orc.caller()?, 1 << 40);
    tokio::time::sleep(2 * second).await;
    let mut calm = calm.end().await?;
    let rss = orc.rss_mib()?;
    fleet.tally().begin_times();
    let begun = Instant::now();
    let costs = orc.costs()?;
    fleet.set_pace(Duration::ZERO, MANY);
    tokio::time::sleep(second * if options.quick { 5 } else { 20 }).await;
    fleet.set_pace(second, 0);
    let offered = begun.elapsed();
    let grown = orc.rss_mib()? - rss;
    let costs = costs.per(fleet.tally().summary().samples)?;
    // What is under way is answered meanwhile.
    let mut sent = 0;
    let mut redis = orc.connect().await?;
    let table = orc.table("performance_samples.csv");
    let mut found = (0, 0);
    let limit = Duration::from_secs(180);
    let arrived = until_within(limit, "all samples are written", async || {
        let rows = lines(&table)?.saturating_sub(1);
        let now = fleet.tally().summary().samples;
        let before = std::mem::replace(&mut sent, now);
        found = (rows, mirror::samples(&mut redis).await?);
        let complete = before == now && found == (sent, sent);
        Ok(complete.then(|| begun.elapsed()))
    })
    .await;
    let busy = decisions_meanwhile(&orc, &fleet, options).await?;
    let summary = fleet.tally().summary();
    eprintln!(
        "samples: {sent} sent in {:.1} s, {} rows, {} in Redis, {} refreshes failed, {} registrations; us of processors per sample:{costs}",
        offered.as_secs_f64(),
        found.0,
        found.1,
        summary.failed,
        summary.registered
    );
    let took = arrived.unwrap_or(limit).as_secs_f64();
    let written = sent.min(found.0).min(found.1);
    keep(
        "samples_offered_per_s",
        "1/s",
        sent as f64 / offered.as_secs_f64(),
    );
    keep("samples_per_s", "1/s", written as f64 / took);
    keep("samples_lost", "", (sent - written) as f64);
    keep("samples_memory_mib", "MiB", grown);
    keep(
        "samples_start_before_p99_ms",
        "ms",
        quantile(&mut calm, 0.99),
    );
    keep("samples_start_p99_ms", "ms", busy);
    Ok(())
}

/// How long starts take, in ms at the 99th percentile, while nodes send [`PACED`] samples a second.
async fn decisions_meanwhile(orc: &Orc, fleet: &Fleet, options: &Options) -> anyhow::Result<f64> {
    let before = fleet.tally().summary().samples;
    let interval = Duration::from_secs((SENDERS * MANY) as u64) / PACED;
    fleet.set_pace(interval, MANY);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let probe = Probe::start(orc.caller()?, 1 << 41);
    let time = Duration::from_secs(if options.quick { 5 } else { 20 });
    let begun = Instant::now();
    tokio::time::sleep(time).await;
    let mut busy = probe.end().await?;
    let sent = fleet.tally().summary().samples - before;
    let rate = sent as f64 / (begun.elapsed().as_secs_f64() + 1.0);
    eprintln!("samples: starts were measured at {rate:.0} samples a second");
    Ok(quantile(&mut busy, 0.99))
}

/// Lines of a file that may be long.
fn lines(path: &Path) -> anyhow::Result<u64> {
    let mut file = std::fs::File::open(path)?;
    let (mut number, mut chunk) = (0, vec![0; 1 << 20]);
    loop {
        let read = file.read(&mut chunk)?;
        if read == 0 {
            return Ok(number);
        }
        number += chunk[..read].iter().filter(|&&byte| byte == b'\n').count() as u64;
    }
}
