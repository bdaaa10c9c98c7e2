//! What Redis has: counted, and how soon it has it.

use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;

use super::{
    Keep,
    daemon::{Caller, Orc, logical_id},
    probe::Probe,
};
use crate::{
    bench::{Options, quantile},
    wait::until_within,
};

/// Nodes of these benchmarks.
const NODES: usize = 500;
/// Functions of a workflow.
const WORKFLOW: u128 = 100;
/// Changes a second, in batches a hundred times a second.
const CHANGES: u128 = 10_000;
/// The workflow of the function whose way into Redis is timed.
const WATCHED: u128 = 1 << 40;

/// How many functions run, as Redis has it.
pub(super) async fn running(redis: &mut MultiplexedConnection) -> anyhow::Result<usize> {
    let mut number = 0;
    each(redis, "instance:*", "GET", |value: Option<String>| {
        let runs = |text: String| text.contains("\"instances\":[{");
        number += usize::from(value.is_some_and(runs));
    })
    .await?;
    Ok(number)
}

/// Elements of all sorted sets of samples.
pub(super) async fn samples(redis: &mut MultiplexedConnection) -> anyhow::Result<u64> {
    let mut number = 0;
    each(redis, "performance:function_*", "ZCARD", |set: u64| {
        number += set;
    })
    .await?;
    Ok(number)
}

/// Asks for each key that is like `pattern`.
async fn each<T: redis::FromRedisValue>(
    redis: &mut MultiplexedConnection,
    pattern: &str,
    ask: &str,
    mut take: impl FnMut(T),
) -> anyhow::Result<()> {
    let mut cursor = 0_u64;
    loop {
        let (next, keys): (u64, Vec<String>) = redis::cmd("SCAN")
            .arg(cursor)
            .arg("MATCH")
            .arg(pattern)
            .arg("COUNT")
            .arg(2_000)
            .query_async(redis)
            .await?;
        let mut pipeline = redis::pipe();
        for key in keys.iter().filter(|key| !key.ends_with("last_update")) {
            pipeline.cmd(ask).arg(key);
        }
        if !pipeline.is_empty() {
            let answers: Vec<T> = pipeline.query_async(redis).await?;
            answers.into_iter().for_each(&mut take);
        }
        cursor = next;
        if cursor == 0 {
            return Ok(());
        }
    }
}

/// How long a change takes into Redis, among many.
pub(super) async fn lag(options: &Options, keep: &mut Keep<'_>) -> anyhow::Result<()> {
    let orc = Orc::start().await?;
    let _fleet = orc.fleet(NODES, Duration::from_secs(5), 0).await?;
    let mut caller = orc.caller()?;
    for workflow in 0..10 {
        caller.start(workflow, WORKFLOW).await?;
    }
    caller.start(WATCHED, 3).await?;
    let time = Duration::from_secs(if options.quick { 5 } else { 30 });
    let changing = tokio::spawn(change(orc.caller()?, time));
    let mut redis = orc.connect().await?;
    let mut lags = Vec::new();
    let key = edgeless_types::mirror::dependency_key(logical_id(WATCHED, 0));
    while !changing.is_finished() {
        let target = if lags.len() % 2 == 0 { 2 } else { 1 };
        let wanted = logical_id(WATCHED, target).to_string();
        let begun = Instant::now();
        caller.patch(&[(WATCHED, 0, target)]).await?;
        loop {
            let value: String = redis::cmd("GET").arg(&key).query_async(&mut redis).await?;
            if value.contains(&wanted) {
                break;
            }
            anyhow::ensure!(begun.elapsed().as_secs() < 30, "Redis never has a change");
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        lags.push(begun.elapsed().as_secs_f64() * 1e3);
        tokio::time::sleep(Duration::from_millis(7)).await;
    }
    keep("mirror_lag_changes_per_s", "1/s", changing.await??);
    keep("mirror_lag_p50_ms", "ms", quantile(&mut lags, 0.5));
    keep("mirror_lag_p99_ms", "ms", quantile(&mut lags, 0.99));
    Ok(())
}

/// Patches functions of ten workflows to and fro; how many a second.
async fn change(mut caller: Caller, time: Duration) -> anyhow::Result<f64> {
    let batch = CHANGES / 100;
    let mut due = tokio::time::interval(Duration::from_millis(10));
    let (begun, mut done) = (Instant::now(), 0);
    while begun.elapsed() < time {
        due.tick().await;
        let round = done / (10 * WORKFLOW);
        let patch = |number: u128| {
            let number = number % (10 * WORKFLOW);
            let (workflow, function) = (number / WORKFLOW, number % WORKFLOW);
            let target = (function + 1 + round % 2) % WORKFLOW;
            (workflow, function, target)
        };
        let patches: Vec<_> = (done..done + batch).map(patch).collect();
        caller.patch(&patches).await?;
        done += batch;
    }
    Ok(done as f64 / begun.elapsed().as_secs_f64())
}

/// How long it takes until a Redis that lost everything has everything, and what starts take meanwhile.
pub(super) async fn rebuild(options: &Options, keep: &mut Keep<'_>) -> anyhow::Result<()> {
    let workflows = if options.quick { 200 } else { 1_000 };
    let mut orc = Orc::start().await?;
    let _fleet = orc.fleet(NODES, Duration::from_secs(5), 0).await?;
    let mut caller = orc.caller()?;
    for workflow in 0..workflows {
        caller.start(workflow, WORKFLOW).await?;
    }
    let instances = usize::try_from(workflows * WORKFLOW)?;
    let limit = Duration::from_secs(120);
    let mut redis = orc.connect().await?;
    until_within(limit, "Redis has all", async || {
        Ok((running(&mut redis).await? >= instances).then_some(()))
    })
    .await?;
    let calm = Probe::start(orc.caller()?, WATCHED);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut calm = calm.end().await?;
    let probe = Probe::start(orc.caller()?, WATCHED << 1);
    orc.redis.kill();
    // So long that ε-ORC notices.
    tokio::time::sleep(Duration::from_secs(2)).await;
    orc.redis.restart()?;
    let mut redis = until_within(limit, "Redis is back", async || {
        let mut redis = orc.connect().await?;
        let _: String = redis::cmd("PING").query_async(&mut redis).await?;
        Ok(Some(redis))
    })
    .await?;
    let begun = Instant::now();
    // Two keys for each function, and one for each node.
    let keys = 2 * instances + NODES;
    until_within(limit, "Redis has as many keys as before", async || {
        let number: usize = redis::cmd("DBSIZE").query_async(&mut redis).await?;
        Ok((number >= keys).then_some(()))
    })
    .await?;
    let rebuilt = begun.elapsed();
    let mut meanwhile = probe.end().await?;
    let there = running(&mut redis).await?;
    anyhow::ensure!(there >= instances, "{there} of {instances} run, in Redis");
    keep("mirror_rebuild_s", "s", rebuilt.as_secs_f64());
    keep(
        "rebuild_start_before_p50_ms",
        "ms",
        quantile(&mut calm, 0.5),
    );
    keep(
        "rebuild_start_before_max_ms",
        "ms",
        quantile(&mut calm, 1.0),
    );
    keep("rebuild_start_p50_ms", "ms", quantile(&mut meanwhile, 0.5));
    keep("rebuild_start_max_ms", "ms", quantile(&mut meanwhile, 1.0));
    Ok(())
}
