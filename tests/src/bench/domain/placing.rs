//! What it costs to start functions: placed, started on their nodes, patched, and in the mirror.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use super::{Keep, daemon::Orc, mirror};
use crate::{bench::Options, wait::until_within};

const NODES: usize = 5_000;
/// Functions of one workflow, which start together.
const WORKFLOW: u64 = 100;
/// Workflows that start at the same time.
const CALLERS: usize = 16;
/// Workflows with a thousand functions.
const THOUSAND: usize = 10;

/// Places many functions.
pub(super) async fn run(options: &Options, keep: &mut Keep<'_>) -> anyhow::Result<()> {
    let instances: u64 = if options.quick { 20_000 } else { 1_000_000 };
    let orc = Orc::start().await?;
    let fleet = orc.fleet(NODES, Duration::from_secs(5), 0).await?;
    let next = Arc::new(AtomicU64::new(0));
    // Once around, so that all connections are there.
    let warm = NODES as u64 / WORKFLOW;
    start(&orc, &next, warm).await?;
    let settled = |wanted: u64| {
        let now = fleet.tally().summary();
        u64::try_from(now.running).is_ok_and(|running| running >= wanted) && now.holding == 0
    };
    let limit = Duration::from_secs(600);
    let wanted = NODES as u64;
    until_within(limit, "all are patched", async || {
        Ok(settled(wanted).then_some(()))
    })
    .await?;
    let memory = orc.rss_mib()?;
    let begun = Instant::now();
    let costs = orc.costs()?;
    let cores = orc.cores(Duration::from_secs(if options.quick { 2 } else { 30 }));
    let workflows = instances / WORKFLOW;
    let (times, cores) = tokio::join!(start(&orc, &next, warm + workflows), cores);
    let times = times?;
    let answered = begun.elapsed();
    let wanted = NODES as u64 + instances;
    until_within(limit, "all are patched", async || {
        Ok(settled(wanted).then_some(()))
    })
    .await?;
    let patched = begun.elapsed();
    let costs = costs.per(instances)?;
    let mut redis = orc.connect().await?;
    // What is written last is what was started last: counting all takes longer than the rest of it.
    let keys = 2 * usize::try_from(wanted)?;
    until_within(limit, "all are in Redis", async || {
        let number: usize = redis::cmd("DBSIZE").query_async(&mut redis).await?;
        Ok((number >= keys).then_some(()))
    })
    .await?;
    let wanted = usize::try_from(wanted)?;
    let mirrored = until_within(limit, "all run, in Redis", async || {
        let at = begun.elapsed();
        Ok((mirror::running(&mut redis).await? >= wanted).then_some(at))
    })
    .await?;
    eprintln!(
        "placing: answered after {:.2} s, patched after {:.2} s, mirrored after {:.2} s; us of processors per instance:{costs}",
        answered.as_secs_f64(),
        patched.as_secs_f64(),
        mirrored.as_secs_f64()
    );
    let mean = |times: &[f64]| times.iter().sum::<f64>() / times.len() as f64;
    let (first, last) = (&times[..THOUSAND], &times[times.len() - THOUSAND..]);
    let took = mirrored.max(patched).as_secs_f64();
    keep("place_per_s", "1/s", instances as f64 / took);
    keep("place_last_over_first", "", mean(last) / mean(first));
    keep("place_workflow_ms", "ms", mean(&times) * 1e3);
    keep("place_cpu_cores", "cores", cores?);
    let grown = (orc.rss_mib()? - memory) * f64::from(1 << 20);
    keep("place_bytes_per_instance", "B", grown / instances as f64);
    Ok(())
}

/// Starts workflows up to a number; what each took, in seconds, in their order.
async fn start(orc: &Orc, next: &Arc<AtomicU64>, last: u64) -> anyhow::Result<Vec<f64>> {
    let mut tasks = JoinSet::new();
    for _ in 0..CALLERS {
        let (mut caller, next) = (orc.caller()?, Arc::clone(next));
        tasks.spawn(async move {
            let mut times = Vec::new();
            loop {
                let number = next.load(Relaxed);
                if number >= last {
                    return Ok::<_, anyhow::Error>(times);
                }
                let taken = next.compare_exchange(number, number + 1, Relaxed, Relaxed);
                if taken.is_err() {
                    continue;
                }
                let begun = Instant::now();
                caller
                    .start(u128::from(number), u128::from(WORKFLOW))
                    .await?;
                times.push((number, begun.elapsed().as_secs_f64()));
            }
        });
    }
    let mut times = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        times.extend(ended??);
    }
    times.sort_by_key(|&(number, _)| number);
    Ok(times.into_iter().map(|(_, time)| time).collect())
}
