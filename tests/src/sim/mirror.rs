//! A Redis that stalls, goes away and loses what it had, and the shell of ε-ORC that writes to it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use edgeless_orc::{
    change::Change,
    domain::Domain,
    mirror::entries::{self, Item, Write},
};
use edgeless_types::{Timestamp, mirror};
use rand::Rng;

use super::{Sabotage, net::Context};

/// How often the shell looks for changes.
pub(super) const PAUSE: Duration = Duration::from_millis(100);
/// How often it looks whether Redis still has what it was given.
const CHECK: Duration = Duration::from_secs(1);
/// Batches that wait; fewer than in the product, as the world is smaller.
const QUEUE: usize = 16;
/// How long Redis may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// The database of one domain.
#[derive(Default)]
pub(super) struct Redis {
    pub(super) keys: BTreeMap<String, String>,
    /// Nobody reaches it until then.
    pub(super) away_until: Timestamp,
    /// It answers nothing until then, but takes what it is given.
    pub(super) stalls_until: Timestamp,
}

impl Redis {
    fn take(&mut self, write: Write) {
        match write {
            Write::Flush => self.keys.clear(),
            Write::Set(key, value) => {
                self.keys.insert(key, value);
            }
            Write::Delete(key) => {
                self.keys.remove(&key);
            }
            // What is measured is not compared.
            Write::Add { .. } | Write::Push(..) => {}
        }
    }
}

/// The shell's part: a session follows the changes until something fails, then begins with a snapshot.
#[derive(Default)]
pub(super) struct Mirror {
    queue: VecDeque<Arc<[Change]>>,
    in_session: bool,
    /// It waits for Redis until then.
    busy_until: Timestamp,
    check_at: Timestamp,
    /// A batch found no room: only a snapshot makes the mirror whole.
    behind: bool,
}

impl Mirror {
    /// Hands over what changed; never waits.
    pub(super) fn publish(&mut self, changes: &mut Vec<Change>, context: &mut Context) {
        if changes.is_empty() {
            return;
        }
        if self.queue.len() == QUEUE {
            context.say(|| "the mirror is behind: a batch of changes is dropped".to_owned());
            self.behind = true;
            changes.clear();
            return;
        }
        self.queue.push_back(std::mem::take(changes).into());
    }

    /// What the shell does when it is its turn.
    pub(super) fn turn(
        &mut self,
        redis: &mut Redis,
        domain: &Domain,
        now: Timestamp,
        context: &mut Context,
    ) {
        if self.busy_until > context.now {
            return;
        }
        let mut writes;
        if self.in_session {
            if self.check_at <= context.now {
                self.check_at = context.now + CHECK;
                self.in_session = redis.keys.contains_key(mirror::DOMAIN_ID);
            }
            if std::mem::take(&mut self.behind) {
                self.in_session = false;
            }
            if !self.in_session {
                self.queue.clear();
                return;
            }
            let batches: Vec<_> = self.queue.drain(..).collect();
            writes = entries::coalesce(&batches);
        } else {
            // What waits by now is part of the snapshot.
            self.queue.clear();
            self.behind = false;
            if redis.away_until > context.now {
                return;
            }
            self.in_session = true;
            let snapshot = domain.snapshot(now);
            writes = entries::of_keys(snapshot.iter());
        }
        if writes.is_empty() {
            return;
        }
        let stalls = redis.stalls_until.since(context.now);
        let fails = redis.away_until > context.now || stalls > DEADLINE;
        if context.sabotage == Some(Sabotage::MirrorForgetsDeletes) {
            writes.retain(|write| !matches!(write, Item::Write(Write::Delete(_))));
        }
        let mut number = writes.len();
        if fails {
            // Of a pipeline that breaks, any part may have arrived.
            number = context.rng.random_range(0..=number);
            self.in_session = false;
            self.queue.clear();
        }
        if redis.away_until <= context.now || fails {
            for write in writes.into_iter().take(number) {
                if let Item::Write(write) = write {
                    redis.take(write);
                }
            }
        }
        self.busy_until = context.now + stalls.min(DEADLINE);
    }
}

/// How the mirror differs from the state of its domain, in words; moments do not count.
pub(super) fn difference(redis: &Redis, domain: &Domain, now: Timestamp) -> Option<String> {
    let moments = [
        mirror::CAPABILITIES_LAST_UPDATE,
        mirror::PROVIDER_LAST_UPDATE,
        mirror::INSTANCE_LAST_UPDATE,
        mirror::DEPENDENCY_LAST_UPDATE,
    ];
    let is_state = |key: &&String| !moments.contains(&key.as_str());
    let state = entries::of_snapshot(&domain.snapshot(now));
    let keys = redis.keys.keys().chain(state.keys()).filter(is_state);
    for key in keys {
        let (is, should) = (redis.keys.get(key), state.get(key));
        if is != should {
            return Some(format!("`{key}` is {is:?}, the state says {should:?}"));
        }
    }
    None
}
