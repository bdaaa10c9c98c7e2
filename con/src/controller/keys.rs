//! Idempotency keys: the same key and body give the same workflow.

use std::collections::{BTreeSet, HashMap};

use edgeless_types::{CodeDigest, Timestamp};
use tokio::sync::watch;

use crate::store::KeyRecord;

/// How long a key is remembered.
pub(super) const KEPT: std::time::Duration = std::time::Duration::from_hours(24);

/// All keys that are remembered or in use.
#[derive(Default)]
pub(super) struct Keys {
    by_key: HashMap<String, State>,
    by_age: BTreeSet<(Timestamp, String)>,
}

enum State {
    /// A request with it is being carried out; the receiver sees when that has ended.
    InUse(CodeDigest, watch::Receiver<()>),
    /// A request with it has been carried out.
    Used(KeyRecord),
}

/// What a key says about a request.
pub(super) enum Verdict {
    /// The key is new; it is in use until the sender is dropped.
    New(watch::Sender<()>),
    /// The same request is being carried out; ask again when that has ended.
    Busy(watch::Receiver<()>),
    /// The same request has been carried out.
    Done(KeyRecord),
    /// Another request has this key.
    Other,
}

impl Keys {
    pub(super) fn new(kept: Vec<(String, KeyRecord)>) -> Self {
        let mut keys = Self::default();
        for (key, record) in kept {
            keys.done(key, record);
        }
        keys
    }

    /// Looks a key up, and takes it when it is new.
    pub(super) fn claim(&mut self, key: &str, body: CodeDigest) -> Verdict {
        match self.by_key.get(key) {
            Some(State::Used(record)) if record.body == body => Verdict::Done(record.clone()),
            Some(State::InUse(other, ended)) if *other == body => Verdict::Busy(ended.clone()),
            Some(State::Used(_) | State::InUse(..)) => Verdict::Other,
            None => {
                let (in_use, ended) = watch::channel(());
                let state = State::InUse(body, ended);
                self.by_key.insert(key.to_owned(), state);
                Verdict::New(in_use)
            }
        }
    }

    /// The request with this key came to nothing: the key is free again.
    pub(super) fn release(&mut self, key: &str) {
        if let Some(State::Used(record)) = self.by_key.remove(key) {
            self.by_age.remove(&(record.used, key.to_owned()));
        }
    }

    /// The request with this key has been carried out.
    pub(super) fn done(&mut self, key: String, record: KeyRecord) {
        self.by_age.insert((record.used, key.clone()));
        self.by_key.insert(key, State::Used(record));
    }

    /// Forgets keys that are older than [`KEPT`], and names them.
    pub(super) fn expire(&mut self, now: Timestamp) -> Vec<String> {
        let mut expired = Vec::new();
        while let Some((used, _)) = self.by_age.first()
            && *used + KEPT <= now
            && let Some((_, key)) = self.by_age.pop_first()
        {
            self.by_key.remove(&key);
            expired.push(key);
        }
        expired
    }
}

#[cfg(test)]
mod tests {
    use edgeless_types::WorkflowId;
    use uuid::Uuid;

    use super::*;

    fn record(body: &[u8], used: u64) -> KeyRecord {
        KeyRecord {
            body: CodeDigest::of(body),
            workflow_id: WorkflowId::new(Uuid::nil()),
            used: Timestamp::from_nanos(used),
        }
    }

    #[test]
    fn a_key_is_taken_once_and_stands_for_one_body() {
        let mut keys = Keys::default();
        let (a, b) = (CodeDigest::of(b"a"), CodeDigest::of(b"b"));
        let Verdict::New(in_use) = keys.claim("k", a) else {
            panic!("it is new");
        };
        assert!(matches!(keys.claim("k", a), Verdict::Busy(_)));
        assert!(matches!(keys.claim("k", b), Verdict::Other));
        drop(in_use);
        keys.release("k");
        assert!(matches!(keys.claim("k", b), Verdict::New(_)));
        keys.done("k".into(), record(b"b", 1));
        assert!(matches!(keys.claim("k", b), Verdict::Done(_)));
        assert!(matches!(keys.claim("k", a), Verdict::Other));
    }

    #[test]
    fn old_keys_are_forgotten() {
        let mut keys = Keys::new(vec![
            ("old".into(), record(b"", 0)),
            ("new".into(), record(b"", 5)),
        ]);
        assert_eq!(keys.expire(Timestamp::EPOCH + KEPT), ["old"]);
        assert!(matches!(
            keys.claim("old", CodeDigest::of(b"")),
            Verdict::New(_)
        ));
        assert!(matches!(
            keys.claim("new", CodeDigest::of(b"")),
            Verdict::Done(_)
        ));
    }
}
