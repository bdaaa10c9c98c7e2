//! Gathers records into changes of rows: what many records say about one order is one change.

use bytes::Bytes;
use edgeless_types::OrderId;
use prost::Message;
use rustc_hash::FxHashMap;

use crate::{
    book::{EndedOrder, Told},
    record::{Change, Record, What},
};

/// Changes of rows by records that follow one another.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// The last record among them; 0: there is none.
    pub through: u64,
    /// By order.
    pub rows: FxHashMap<OrderId, RowChange>,
    bytes: usize,
}

/// What becomes of one row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowChange {
    /// Changes in their encoding, to be appended to what is there.
    pub append: Vec<u8>,
    /// There was no such row before.
    pub is_new: bool,
    /// It has come to its end.
    pub ended: Option<EndedOrder>,
    /// The client and the idempotency key it was sent with, and the digest of what was sent.
    pub key: Option<(String, String, Bytes)>,
    /// To so many outputs its end was told.
    pub delivered: u32,
}

impl Rows {
    /// Adds the next record.
    pub fn add(&mut self, sequence: u64, record: Record, told: &Told) {
        self.through = sequence;
        for change in record.changes {
            self.add_change(change);
        }
        for ended in &told.ended {
            self.rows.entry(ended.id).or_default().ended = Some(*ended);
        }
    }

    fn add_change(&mut self, change: Change) {
        let row = self.rows.entry(change.id()).or_default();
        match &change.what {
            Some(What::Accepted(accepted)) => {
                row.is_new = true;
                if !accepted.key.is_empty() {
                    let digest = accepted.digest.clone();
                    row.key = Some((accepted.client.clone(), accepted.key.clone(), digest));
                }
            }
            Some(What::Delivered(_)) => row.delivered += 1,
            Some(
                What::Done(_)
                | What::Missed(_)
                | What::Ended(_)
                | What::Paused(_)
                | What::Spawned(_)
                | What::Joined(_)
                | What::Retried(_),
            )
            | None => {}
        }
        let before = row.append.len();
        let encoded = Record::of(change).encode(&mut row.append);
        encoded.expect("a vector has room for everything");
        self.bytes += row.append.len() - before;
    }

    /// How many bytes they have.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// There is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}
