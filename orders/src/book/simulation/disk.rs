//! The log and the store of the simulation: what is kept, up to where, and what a crash leaves of it.

use std::collections::{BTreeMap, BTreeSet};

use edgeless_types::OrderId;
use prost::Message;
use rand::{Rng, rngs::SmallRng};

use crate::{
    body::Body,
    record::{Change, Record, What},
    tasks::Lists,
};

/// Orders by their id.
pub(super) type Rows = BTreeMap<OrderId, Body>;

/// The log and the store, and what both come to.
#[derive(Default)]
pub(super) struct Disk {
    /// All records; the first has the number 1.
    pub(super) log: Vec<Record>,
    /// The last that is kept.
    pub(super) durable: u64,
    /// The last of those that are being kept.
    pub(super) syncing: Option<u64>,
    /// Orders as kept records tell them.
    pub(super) kept: Rows,
    /// Orders as all records tell them.
    pub(super) all: Rows,
    /// Changes by order, as far as the store has them.
    rows: BTreeMap<OrderId, Vec<Change>>,
    keys: BTreeMap<(String, String), (OrderId, [u8; 32])>,
    /// The last record that the store has.
    pub(super) applied: u64,
    lists: Lists,
}

/// What the store has under a key, and what is found there.
pub(super) type Found = Option<(OrderId, [u8; 32])>;

impl Disk {
    /// Takes a record; the orders that it ends.
    pub(super) fn write(&mut self, record: Record) -> BTreeSet<OrderId> {
        let ended = follow(&mut self.all, &record, &self.lists);
        self.log.push(record);
        ended
    }

    /// All records up to this one are kept.
    pub(super) fn keep(&mut self, through: u64) {
        for number in self.durable..through {
            follow(&mut self.kept, &self.log[place(number)], &self.lists);
        }
        self.durable = through;
    }

    /// The store takes all records up to this one, which is kept.
    pub(super) fn apply(&mut self, through: u64) {
        assert!(
            through <= self.durable,
            "the store has what the log has not"
        );
        for number in self.applied..through {
            for change in &self.log[place(number)].changes {
                if let Some(What::Accepted(accepted)) = &change.what
                    && !accepted.key.is_empty()
                {
                    let digest = (*accepted.digest).try_into().expect("32 bytes");
                    let place = (accepted.client.clone(), accepted.key.clone());
                    let before = self.keys.insert(place, (change.id(), digest));
                    assert_eq!(before, None, "key `{}` made two orders", accepted.key);
                }
                self.rows
                    .entry(change.id())
                    .or_default()
                    .push(change.clone());
            }
        }
        self.applied = self.applied.max(through);
    }

    /// What the store has of an order.
    pub(super) fn read(&self, id: OrderId) -> Option<Box<Body>> {
        let changes = self.rows.get(&id)?.clone();
        Some(Box::new(self.body(changes)))
    }

    fn body(&self, changes: Vec<Change>) -> Body {
        let body = Body::of(changes, |text| self.lists.list(text));
        body.expect("what was recorded makes an order")
    }

    /// What the store has under a key.
    pub(super) fn find(&self, client: &str, key: &str) -> Found {
        let place = (client.to_owned(), key.to_owned());
        self.keys.get(&place).copied()
    }

    /// Everything that was not kept is lost, but for some of what was being written. Then the store catches up.
    pub(super) fn crash(&mut self, rng: &mut SmallRng) {
        let left = rng.random_range(self.durable..=self.log.len() as u64);
        self.log.truncate(place(left));
        for record in &mut self.log[place(self.durable)..] {
            let bytes = record.encode_to_vec();
            *record = Record::decode(&*bytes).expect("what was written is read");
        }
        self.keep(left);
        self.syncing = None;
        self.all = self.kept.clone();
        self.apply(left);
    }

    /// The orders that have not ended, as the store has them.
    pub(super) fn active(&self) -> impl Iterator<Item = Box<Body>> {
        let all = self.rows.keys().filter_map(|id| self.read(*id));
        all.filter(|body| !body.is_ended())
    }

    /// Every order from its records alone.
    pub(super) fn replayed(&self) -> BTreeMap<OrderId, (Vec<Change>, Body)> {
        let mut changes: BTreeMap<OrderId, Vec<Change>> = BTreeMap::new();
        for change in self.log.iter().flat_map(|record| &record.changes) {
            changes.entry(change.id()).or_default().push(change.clone());
        }
        let replay = |(id, changes): (OrderId, Vec<Change>)| {
            let body = self.body(changes.clone());
            (id, (changes, body))
        };
        changes.into_iter().map(replay).collect()
    }

    pub(super) fn lists(&self) -> &Lists {
        &self.lists
    }
}

fn place(number: u64) -> usize {
    usize::try_from(number).expect("few records")
}

/// Follows a record; the orders that it ends.
fn follow(rows: &mut Rows, record: &Record, lists: &Lists) -> BTreeSet<OrderId> {
    let mut ended = BTreeSet::new();
    for change in &record.changes {
        let id = change.id();
        let was = rows.get(&id).is_some_and(Body::is_ended);
        if let Some(What::Accepted(_)) = &change.what {
            let body = Body::of(vec![change.clone()], |text| lists.list(text));
            let before = rows.insert(id, body.expect("an acceptance makes an order"));
            assert!(before.is_none(), "{id} was accepted twice");
        } else {
            let row = rows.get_mut(&id);
            row.expect("an order is accepted before it changes")
                .apply(change.clone());
        }
        if !was && rows[&id].is_ended() {
            ended.insert(id);
        }
    }
    ended
}
