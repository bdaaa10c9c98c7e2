//! The mirror in Redis: pipelined, off the decision path, made whole after an outage.

pub mod entries;
mod intents;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use edgeless_daemon::status::Readiness;
use edgeless_types::Timestamp;
use redis::aio::MultiplexedConnection;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    change::{Change, What},
    handle::Handle,
    orchestrator::now,
};
use entries::Write;

/// The part of `/readyz`.
const PART: &str = "mirror";
/// How long Redis may take for a pipeline.
const DEADLINE: Duration = Duration::from_secs(5);
/// Writes in one pipeline.
const PIPELINE: usize = 10_000;
/// Between two tries to reach Redis.
const RETRY: Duration = Duration::from_millis(250);
/// How often it is checked whether Redis still has what it was given.
const CHECK: Duration = Duration::from_secs(1);
/// Outcomes of intents that are kept.
const OUTCOMES: isize = 100;

/// Batches of changes that wait for Redis.
pub(crate) const QUEUE: usize = 1_024;

/// Writes to one Redis for as long as ε-ORC runs.
pub(crate) struct Mirror {
    client: redis::Client,
    changes: mpsc::Receiver<Arc<[Change]>>,
    orc: Handle,
    readiness: Readiness,
    keep: Duration,
}

/// Redis does not do what it is asked, or what it was given is gone.
#[derive(Debug, thiserror::Error)]
enum MirrorError {
    #[error("{0}")]
    Redis(#[from] redis::RedisError),
    #[error("Redis does not answer in time")]
    Slow,
    #[error("Redis has lost its data")]
    Empty,
    #[error("ε-ORC is ending")]
    Ended,
}

impl Mirror {
    pub(crate) fn new(
        client: redis::Client,
        changes: mpsc::Receiver<Arc<[Change]>>,
        orc: Handle,
        readiness: Readiness,
        keep: Duration,
    ) -> Self {
        Self {
            client,
            changes,
            orc,
            readiness,
            keep,
        }
    }

    /// Runs until shutdown. What is queued by then is written, if Redis answers.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let intents = intents::run(self.client.clone(), self.orc.clone());
        let intents = tokio::spawn(shutdown.clone().run_until_cancelled_owned(intents));
        loop {
            let error = match self.session(&shutdown).await {
                Ok(()) => break,
                Err(error) => error,
            };
            if self.readiness.degrade(PART, error.to_string()) {
                tracing::warn!(%error, "the mirror is degraded; decisions go on");
            }
            // What waits is part of the snapshot with which the mirror is made whole.
            while self.changes.try_recv().is_ok() {}
            if shutdown
                .run_until_cancelled(tokio::time::sleep(RETRY))
                .await
                .is_none()
            {
                break;
            }
        }
        if intents.await.is_err() {
            tracing::error!("the reader of intents panicked");
        }
    }

    /// Makes the mirror whole, then follows the changes.
    async fn session(&mut self, shutdown: &CancellationToken) -> Result<(), MirrorError> {
        let mut redis = connect(&self.client).await?;
        let snapshot = self
            .orc
            .read(|domain, now| domain.snapshot(now))
            .await
            .map_err(|_| MirrorError::Ended)?;
        let writes = snapshot.iter().flat_map(entries::of_change).collect();
        write(&mut redis, writes).await?;
        if self.readiness.restore(PART) {
            tracing::info!("the mirror is whole again");
        }
        let mut check = tokio::time::interval(CHECK);
        let mut purge = tokio::time::interval(self.keep.max(Duration::from_secs(1)));
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                number = self.changes.recv_many(&mut batch, 64) => {
                    let writes = coalesce(batch.drain(..));
                    write(&mut redis, writes).await?;
                    if number == 0 {
                        return Ok(());
                    }
                }
                () = shutdown.cancelled() => {
                    while let Ok(changes) = self.changes.try_recv() {
                        batch.push(changes);
                    }
                    return write(&mut redis, coalesce(batch.drain(..))).await;
                }
                _ = check.tick() => is_whole(&mut redis).await?,
                _ = purge.tick() => purge_old(&mut redis, now() - self.keep).await?,
            }
        }
    }
}

async fn connect(client: &redis::Client) -> Result<MultiplexedConnection, MirrorError> {
    let config = redis::AsyncConnectionConfig::new()
        .set_connection_timeout(Some(Duration::from_secs(2)))
        .set_response_timeout(Some(DEADLINE));
    Ok(client
        .get_multiplexed_async_connection_with_config(&config)
        .await?)
}

/// The latest value of each key, and all elements of sorted sets, in order.
fn coalesce(batches: impl Iterator<Item = Arc<[Change]>>) -> Vec<Write> {
    let mut keys: BTreeMap<String, Write> = BTreeMap::new();
    let mut others = Vec::new();
    for batch in batches {
        for change in batch.iter() {
            // The first reset is part of the snapshot already.
            if matches!(change.what, What::Reset(_)) {
                continue;
            }
            for write in entries::of_change(change) {
                match &write {
                    Write::Set(key, _) | Write::Delete(key) => {
                        keys.insert(key.clone(), write);
                    }
                    Write::Flush | Write::Add { .. } | Write::Push(..) => others.push(write),
                }
            }
        }
    }
    others.extend(keys.into_values());
    others
}

async fn write(redis: &mut MultiplexedConnection, writes: Vec<Write>) -> Result<(), MirrorError> {
    let mut writes = writes.into_iter().peekable();
    while writes.peek().is_some() {
        let mut pipeline = redis::pipe();
        for write in writes.by_ref().take(PIPELINE) {
            match write {
                Write::Flush => pipeline.cmd("FLUSHDB").ignore(),
                Write::Set(key, value) => pipeline.set(key, value).ignore(),
                Write::Delete(key) => pipeline.del(key).ignore(),
                Write::Add { key, at, member } => {
                    pipeline.zadd(key, member, at.as_secs_f64()).ignore()
                }
                Write::Push(key, value) => pipeline
                    .lpush(&key, value)
                    .ignore()
                    .ltrim(key, 0, OUTCOMES - 1)
                    .ignore(),
            };
        }
        let done: Result<Result<(), _>, _> =
            tokio::time::timeout(DEADLINE, pipeline.query_async(redis)).await;
        done.map_err(|_| MirrorError::Slow)??;
    }
    Ok(())
}

/// A Redis that was restarted or flushed by others has lost the domain's id.
async fn is_whole(redis: &mut MultiplexedConnection) -> Result<(), MirrorError> {
    let there: bool = redis::cmd("EXISTS")
        .arg(edgeless_types::mirror::DOMAIN_ID)
        .query_async(redis)
        .await?;
    if there {
        Ok(())
    } else {
        Err(MirrorError::Empty)
    }
}

/// Removes what is older from all sorted sets.
async fn purge_old(
    redis: &mut MultiplexedConnection,
    before: Timestamp,
) -> Result<(), MirrorError> {
    for pattern in ["node:health:*", "performance:*"] {
        let mut cursor = 0_u64;
        loop {
            let (next, keys): (u64, Vec<String>) = redis::cmd("SCAN")
                .arg(cursor)
                .arg("MATCH")
                .arg(pattern)
                .arg("COUNT")
                .arg(1_000)
                .query_async(redis)
                .await?;
            if !keys.is_empty() {
                let mut pipeline = redis::pipe();
                for key in keys {
                    let until = before.as_secs_f64();
                    pipeline
                        .cmd("ZREMRANGEBYSCORE")
                        .arg(key)
                        .arg("-inf")
                        .arg(until)
                        .ignore();
                }
                let _: () = pipeline.query_async(redis).await?;
            }
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
    }
    Ok(())
}
