//! One change of a service at a time; what holds up one of them holds up no other.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::OwnedMutexGuard;

type Locks = Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>;

/// Whose turn it is, by service; only of those that are being changed.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns(Arc<Locks>);

/// A turn, until it is dropped.
pub(super) struct Turn {
    turns: Turns,
    name: String,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    /// Waits until nobody else changes the service.
    pub(super) async fn of(&self, name: &str) -> Turn {
        let lock = Arc::clone(self.locks().entry(name.to_owned()).or_default());
        let mut turn = Turn {
            turns: self.clone(),
            name: name.to_owned(),
            guard: None,
        };
        turn.guard = Some(lock.lock_owned().await);
        turn
    }

    fn locks(&self) -> MutexGuard<'_, BTreeMap<String, Arc<tokio::sync::Mutex<()>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.guard = None;
        let mut locks = self.turns.locks();
        // Those who wait hold it as well.
        if locks
            .get(&self.name)
            .is_some_and(|lock| Arc::strong_count(lock) == 1)
        {
            locks.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_change_waits_for_those_of_its_own_service_only() {
        let turns = Turns::default();
        let first = turns.of("A").await;
        assert!(turns.of("B").now_or_never().is_some());
        let mut second = Box::pin(turns.of("A"));
        assert!((&mut second).now_or_never().is_none());
        drop(first);
        let second = (&mut second).now_or_never().unwrap();
        assert_eq!(turns.locks().len(), 1);
        drop(second);
        assert!(turns.locks().is_empty());
    }
}
