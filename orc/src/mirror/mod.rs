//! The mirror in Redis: pipelined, off the decision path, made whole after an outage.

pub mod entries;
mod intents;
mod pipeline;

use std::time::{Duration, Instant};

use edgeless_daemon::status::Readiness;
use edgeless_types::Timestamp;
use redis::aio::MultiplexedConnection;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    backlog::{Gauge, weight},
    handle::Handle,
    observers::Batch,
    orchestrator::now,
};

/// Vertices that are read at a time when the mirror is made whole.
const PART_VERTICES: usize = 2_000;
/// The part of `/readyz`.
const PART: &str = "mirror";
/// How long Redis may take for anything but a pipeline.
const DEADLINE: Duration = Duration::from_secs(5);
/// A mirror that misses changes is made whole after so many times as long as that took the last time.
const PATIENCE: u32 = 5;
/// Batches of changes taken at a time.
const BATCHES: usize = 64;
/// Between two tries to reach Redis.
const RETRY: Duration = Duration::from_millis(250);
/// How often it is checked whether Redis still has what it was given.
const CHECK: Duration = Duration::from_secs(1);

/// Batches of changes that wait for Redis.
pub(crate) const QUEUE: usize = 1_024;

/// Writes to one Redis for as long as ε-ORC runs.
pub(crate) struct Mirror {
    client: redis::Client,
    changes: mpsc::Receiver<Batch>,
    /// What waits to be written.
    gauge: Gauge,
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
    #[error("Redis takes less than changes: some were given up")]
    Behind,
    #[error("ε-ORC is ending")]
    Ended,
}

impl Mirror {
    pub(crate) fn new(
        client: redis::Client,
        changes: mpsc::Receiver<Batch>,
        gauge: Gauge,
        orc: Handle,
        readiness: Readiness,
        keep: Duration,
    ) -> Self {
        Self {
            client,
            changes,
            gauge,
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
            let pause = tokio::time::sleep(RETRY);
            let pause = self.discarding(pause);
            if shutdown.run_until_cancelled(pause).await.is_none() {
                break;
            }
        }
        if intents.await.is_err() {
            tracing::error!("the reader of intents panicked");
        }
    }

    /// Waits for something without keeping changes: what waits is part of the snapshot with which the
    /// mirror is made whole.
    async fn discarding<T>(&mut self, wait: impl Future<Output = T>) -> T {
        let mut wait = std::pin::pin!(wait);
        loop {
            tokio::select! {
                biased;
                done = &mut wait => return done,
                Some(batch) = self.changes.recv() => self.gauge.done(weight(&batch)),
            }
        }
    }

    /// Makes the mirror whole, then follows the changes.
    async fn session(&mut self, shutdown: &CancellationToken) -> Result<(), MirrorError> {
        let client = self.client.clone();
        let mut redis = self.discarding(connect(&client)).await?;
        let begun = Instant::now();
        self.gauge.begin();
        let mut next = None;
        loop {
            // In parts, so that nobody waits long for the owner.
            let look = self
                .orc
                .read(move |domain, now| domain.snapshot_part(next, now, PART_VERTICES));
            let (part, after) = look.await.map_err(|_| MirrorError::Ended)?;
            pipeline::write(&mut redis, entries::of_keys(part.iter())).await?;
            next = after;
            if next.is_none() {
                break;
            }
        }
        let (whole, took) = (Instant::now(), begun.elapsed());
        if self.readiness.restore(PART) {
            tracing::info!("the mirror is whole again");
        }
        let mut check = tokio::time::interval(CHECK);
        let mut purge = tokio::time::interval(self.keep.max(Duration::from_secs(1)));
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                number = self.changes.recv_many(&mut batch, BATCHES) => {
                    let written = pipeline::write(&mut redis, entries::coalesce(&batch)).await;
                    let taken = batch.drain(..).map(|changes| weight(&changes));
                    self.gauge.done(taken.sum());
                    written?;
                    if number == 0 {
                        return Ok(());
                    }
                }
                () = shutdown.cancelled() => {
                    while let Ok(changes) = self.changes.try_recv() {
                        batch.push(changes);
                    }
                    return pipeline::write(&mut redis, entries::coalesce(&batch)).await;
                }
                _ = check.tick() => {
                    is_whole(&mut redis).await?;
                    // Not again and again while there is more than Redis takes: that would make it worse.
                    if self.gauge.is_incomplete() && whole.elapsed() > took * PATIENCE {
                        return Err(MirrorError::Behind);
                    }
                }
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
