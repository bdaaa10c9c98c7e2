//! Brings records that are safe in the log to the store, in batches, and lets the log forget what the store has for
//! good.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use edgeless_daemon::status::Readiness;
use edgeless_orders::{
    log::Writer,
    store::{Keep, Rows, Store, StoreError},
};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use super::{now, progress::Records};

/// Records are gathered for so long, unless somebody wants to read them.
const GATHER: Duration = Duration::from_millis(200);
/// They are kept for good after so long, or so many bytes.
const FOR_GOOD: Duration = Duration::from_secs(5);
const FOR_GOOD_BYTES: usize = 16 << 20;
/// Bytes gathered at most.
const BATCH_BYTES: usize = 4 << 20;
/// The pause after the store has refused a batch.
const PAUSE: Duration = Duration::from_secs(1);
/// How often orders are forgotten that ended long ago, and how many at a time.
const FORGET: Duration = Duration::from_secs(60);
const FORGET_AT_ONCE: usize = 5_000;
/// The part of `/readyz`.
const PART: &str = "order rows";

/// What brings records to the store.
pub(super) struct Applier {
    pub(super) store: Arc<dyn Store>,
    pub(super) records: mpsc::Receiver<Records>,
    pub(super) applied: watch::Sender<u64>,
    /// Gone: nothing more is written there.
    pub(super) log: Weak<Writer>,
    pub(super) retention: Duration,
    pub(super) readiness: Readiness,
}

impl Applier {
    /// Runs until no more records come; then everything is in the store for good.
    pub(super) async fn run(mut self) {
        let mut rows = Rows::default();
        let mut gathered: Option<Instant> = None;
        let mut loose: Option<Instant> = None;
        let mut loose_bytes = 0;
        let mut forget = tokio::time::interval(FORGET);
        loop {
            let deadline = [
                gathered.map(|at| at + GATHER),
                loose.map(|at| at + FOR_GOOD),
            ];
            let deadline = deadline.into_iter().flatten().min();
            let far = Instant::now() + FORGET;
            let mut wanted = false;
            tokio::select! {
                records = self.records.recv() => {
                    let Some(records) = records else { break };
                    wanted = records.wanted;
                    for (sequence, record, told) in records.list {
                        rows.add(sequence, record, &told);
                    }
                    // Without records somebody only wants to know that there are none.
                    if !rows.is_empty() {
                        gathered.get_or_insert_with(Instant::now);
                    }
                }
                () = tokio::time::sleep_until(deadline.unwrap_or(far)), if deadline.is_some() => {}
                _ = forget.tick() => self.forget().await,
            }
            let is_time =
                |since: Option<Instant>, after| since.is_some_and(|since| since.elapsed() >= after);
            let for_good = is_time(loose, FOR_GOOD) || loose_bytes + rows.bytes() >= FOR_GOOD_BYTES;
            let due =
                wanted || rows.bytes() >= BATCH_BYTES || is_time(gathered, GATHER) || for_good;
            if !due || (rows.is_empty() && loose.is_none()) || (rows.is_empty() && !for_good) {
                continue;
            }
            let keep = if for_good {
                Keep::ForGood
            } else {
                Keep::Loosely
            };
            loose_bytes += rows.bytes();
            self.apply(&rows, keep).await;
            rows = Rows::default();
            gathered = None;
            match keep {
                Keep::ForGood => (loose, loose_bytes) = (None, 0),
                Keep::Loosely => drop(loose.get_or_insert_with(Instant::now)),
            }
        }
        self.apply(&rows, Keep::ForGood).await;
    }

    /// Has the store take a batch, however long that takes.
    async fn apply(&self, rows: &Rows, keep: Keep) {
        while let Err(error) = self.store.apply(rows, keep) {
            self.refused(&error);
            tokio::time::sleep(PAUSE).await;
        }
        if self.readiness.restore(PART) {
            tracing::info!("the store of orders is written again");
        }
        if rows.through > 0 {
            self.applied.send_replace(rows.through);
        }
        if keep == Keep::ForGood {
            let below = *self.applied.borrow() + 1;
            if let Some(log) = self.log.upgrade() {
                log.trim(below);
            }
        }
    }

    fn refused(&self, error: &StoreError) {
        if self.readiness.degrade(PART, error.to_string()) {
            tracing::error!(%error, "the store of orders cannot be written");
        }
    }

    async fn forget(&self) {
        let before = now().as_nanos();
        let retention = u64::try_from(self.retention.as_nanos()).unwrap_or(u64::MAX);
        let before = edgeless_types::Timestamp::from_nanos(before.saturating_sub(retention));
        loop {
            match self.store.forget(before, FORGET_AT_ONCE) {
                Ok(FORGET_AT_ONCE) => tokio::task::yield_now().await,
                Ok(_) => return,
                Err(error) => return self.refused(&error),
            }
        }
    }
}

#[cfg(test)]
mod tests;
