//! What the owner of the orders knows of others: how far the log is, what is on its way to the store, who has asked.

use std::sync::Arc;

use edgeless_daemon::status::Readiness;
use edgeless_orders::{
    book::Told,
    log::{Ended, Progress, TooLarge},
    record::Record,
};

/// Without so much room in the log no new orders are taken: results of those that were need some.
const RESERVE: u64 = 4 << 20;
/// With so much kept that the store does not have, no new orders are taken.
const BEHIND: usize = 256 << 20;

/// The part of `/readyz`.
const PART: &str = "orders";

/// The orders cannot go on: what follows would never be kept.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// A record is longer than it can be.
    #[error("record {sequence} of the orders cannot be kept, and none after it")]
    Record {
        /// Its number.
        sequence: u64,
        /// Why.
        source: TooLarge,
    },
    /// The thread of the log is gone.
    #[error("the orders cannot be kept")]
    Log(#[from] Ended),
}

/// How far the log is.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    /// The last record that is safe.
    pub(super) through: u64,
    /// Bytes that can be written.
    pub(super) room: u64,
    /// Why the disk refuses; none: it does not.
    pub(super) stalled: Option<String>,
    /// Syncs since the start.
    pub(super) syncs: u64,
    /// Bytes since the start.
    pub(super) bytes: u64,
}

impl Kept {
    pub(super) fn follow(&mut self, progress: Progress) {
        match progress {
            Progress::Durable {
                through,
                room,
                syncs,
                bytes,
            } => {
                *self = Self {
                    through,
                    room,
                    stalled: None,
                    syncs,
                    bytes,
                };
            }
            Progress::Stalled(reason) => self.stalled = Some(reason),
            Progress::Room(room) => self.room = room,
        }
    }

    /// Why no new orders are taken, with so many bytes that are safe and not in the store; none: they are.
    pub(super) fn full(&self, safe_bytes: usize) -> Option<Arc<str>> {
        if let Some(reason) = &self.stalled {
            return Some(format!("the disk refuses them: {reason}").into());
        }
        if self.room < RESERVE {
            let text =
                "the disk or the log (`orders.log_mib`) is full; make room, it goes on by itself";
            return Some(text.into());
        }
        (safe_bytes > BEHIND).then(|| "the store is far behind the log".into())
    }
}

/// Records on their way to the store.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// With their numbers, in order.
    pub(super) list: Vec<(u64, Record, Told)>,
    /// Somebody waits until the store has them.
    pub(super) wanted: bool,
}

/// Shows in `/readyz` why no new orders are taken, or that they are.
pub(super) fn show_full(readiness: &Readiness, full: Option<&str>) {
    match full {
        Some(reason) => {
            if readiness.degrade(PART, reason.to_owned()) {
                tracing::error!(%reason, "no order can be kept");
            }
        }
        None => {
            if readiness.restore(PART) {
                tracing::info!("orders are kept again");
            }
        }
    }
}
