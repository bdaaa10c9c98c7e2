//! Writes into Redis: many in one pipeline.

use std::time::Duration;

use edgeless_types::{Samples, mirror};
use redis::{Pipeline, aio::MultiplexedConnection};

use super::{
    MirrorError,
    entries::{self, Item, Write},
};

/// How long Redis may take for a pipeline.
const DEADLINE: Duration = Duration::from_secs(5);
/// What one pipeline weighs: writes, and a quarter of the samples.
const PIPELINE: usize = 10_000;
/// Outcomes of intents that are kept.
const OUTCOMES: isize = 100;

/// Writes all of it.
pub(super) async fn write(
    redis: &mut MultiplexedConnection,
    items: Vec<Item>,
) -> Result<(), MirrorError> {
    let mut items = items.into_iter().peekable();
    while items.peek().is_some() {
        let (mut pipeline, mut weight) = (redis::pipe(), 0);
        while weight < PIPELINE
            && let Some(item) = items.next()
        {
            weight += match item {
                Item::Write(write) => {
                    add_write(&mut pipeline, write);
                    1
                }
                Item::Samples(samples) => add_samples(&mut pipeline, &samples),
            };
        }
        if pipeline.is_empty() {
            continue;
        }
        let done: Result<Result<(), _>, _> =
            tokio::time::timeout(DEADLINE, pipeline.query_async(redis)).await;
        done.map_err(|_| MirrorError::Slow)??;
    }
    Ok(())
}

fn add_write(pipeline: &mut Pipeline, write: Write) {
    match write {
        Write::Flush => pipeline.cmd("FLUSHDB").ignore(),
        Write::Set(key, value) => pipeline.set(key, value).ignore(),
        Write::Delete(key) => pipeline.del(key).ignore(),
        Write::Add { key, at, member } => pipeline.zadd(key, member, at.as_secs_f64()).ignore(),
        Write::Push(key, value) => pipeline
            .lpush(&key, value)
            .ignore()
            .ltrim(key, 0, OUTCOMES - 1)
            .ignore(),
    };
}

/// One command for each run of samples of one kind of one instance; what that weighs.
fn add_samples(pipeline: &mut Pipeline, samples: &Samples) -> usize {
    let mut text = String::new();
    let is_same = |a: &edgeless_types::Sample, b: &edgeless_types::Sample| {
        a.physical_id == b.physical_id && a.kind == b.kind
    };
    for run in samples.times.chunk_by(is_same) {
        let key = mirror::performance_key(run[0].kind.name(), run[0].physical_id);
        let add = pipeline.cmd("ZADD").arg(key);
        for sample in run {
            text.clear();
            let score = mirror::write_performance_member(&mut text, sample);
            add.arg(&text.as_bytes()[..score]).arg(text.as_bytes());
        }
        add.ignore();
    }
    for write in entries::of_logs(&samples.logs) {
        add_write(pipeline, write);
    }
    1 + samples.times.len() / 4 + 2 * samples.logs.len()
}
