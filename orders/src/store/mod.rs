//! What is kept of orders besides the log: a row for each, built from the log's records.
//!
//! The log is what makes an order durable; the store is behind it, and is made whole from it at the start. So a store
//! needs no speed of its own, only to take batches in order and to say up to which record it has them for good.

mod pace;
mod rows;
mod tables;
mod write;

use std::ops::ControlFlow;

use edgeless_types::{OrderId, Timestamp};

use crate::record::Record;

pub use rows::{RowChange, Rows};
pub use tables::Tables;

/// A store of orders. What another database needs to stand in for the embedded one.
pub trait Store: Send + Sync + 'static {
    /// The last record that is in it.
    ///
    /// # Errors
    /// It cannot be read.
    fn applied(&self) -> Result<u64, StoreError>;

    /// Takes all changes of a batch, or none. With [`Keep::ForGood`] this batch and all before are there after a crash;
    /// the last record that is there then is what [`Store::applied`] says.
    ///
    /// # Errors
    /// It takes none of them.
    fn apply(&self, rows: &Rows, keep: Keep) -> Result<(), StoreError>;

    /// All changes of an order.
    ///
    /// # Errors
    /// It cannot be read.
    fn read(&self, id: OrderId) -> Result<Option<Record>, StoreError>;

    /// The order that a client sent with an idempotency key, and the digest of what it sent.
    ///
    /// # Errors
    /// It cannot be read.
    fn find(&self, client: &str, key: &str) -> Result<Option<(OrderId, [u8; 32])>, StoreError>;

    /// Visits orders from the newest to the oldest, from the one before `below` on, until told to stop.
    ///
    /// # Errors
    /// It cannot be read.
    fn visit(
        &self,
        which: Which,
        below: Option<OrderId>,
        each: &mut dyn FnMut(OrderId, Record) -> ControlFlow<()>,
    ) -> Result<(), StoreError>;

    /// Orders whose end is still to be told.
    ///
    /// # Errors
    /// It cannot be read.
    fn undelivered(&self) -> Result<Vec<OrderId>, StoreError>;

    /// Forgets orders that were accepted before a moment and have ended, at most so many; how many it were.
    ///
    /// # Errors
    /// It forgets none of them.
    fn forget(&self, before: Timestamp, most: usize) -> Result<usize, StoreError>;
}

/// Whether a batch has to survive a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// It has, with all before.
    ForGood,
    /// The log has it as well.
    Loosely,
}

/// Which orders are visited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// All.
    All,
    /// Those that have not come to their end.
    Active,
    /// Those that have.
    Ended,
    /// Those that failed.
    Failed,
}

/// The store cannot do what it is asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store of orders: {0}")]
pub struct StoreError(pub String);
