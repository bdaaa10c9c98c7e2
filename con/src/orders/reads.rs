//! Reads orders and keys from the store for the owner, which never waits for a disk.

use std::{sync::Arc, time::Duration};

use edgeless_orders::{
    book::Event,
    store::{Store, StoreError},
    tasks::Lists,
};
use edgeless_types::OrderId;
use tokio::{sync::mpsc, time::Instant};

use super::{PATIENCE, Post, body_of};

/// The pause after the store could not be read.
const PAUSE: Duration = Duration::from_secs(1);

/// What is to be read.
#[derive(Debug)]
pub(super) enum Read {
    /// An order.
    Order(OrderId),
    /// The order that a client sent with an idempotency key.
    Key(Arc<str>, String),
}

/// Reads until nobody asks any more.
pub(super) async fn run(
    store: Arc<dyn Store>,
    lists: Lists,
    mut reads: mpsc::Receiver<Read>,
    inbox: mpsc::WeakSender<Post>,
) {
    let mut patience = Patience::default();
    while let Some(read) = reads.recv().await {
        let event = match read {
            Read::Order(id) => {
                let row = patience.read(&*store, || store.read(id)).await;
                let row = row
                    .map(|row| row.and_then(|row| row.map(|row| body_of(row, &lists)).transpose()));
                match row {
                    Err(StoreError(why)) => Event::Unread { id, why },
                    Ok(row) => {
                        let body = row.unwrap_or_else(|error| {
                            tracing::error!(order = %id, %error, "an order cannot be read");
                            None
                        });
                        let body = body.map(Box::new);
                        Event::Loaded { id, body }
                    }
                }
            }
            Read::Key(client, key) => {
                match patience.read(&*store, || store.find(&client, &key)).await {
                    Err(StoreError(why)) => Event::Unfound { client, key, why },
                    Ok(found) => {
                        let found = found.unwrap_or_else(|error| {
                            tracing::error!(%error, "an idempotency key cannot be looked up");
                            None
                        });
                        Event::Found { client, key, found }
                    }
                }
            }
        };
        let Some(inbox) = inbox.upgrade() else { return };
        if inbox.send(Post::Event(event)).await.is_err() {
            return;
        }
    }
}

/// Since when the store as a whole cannot be read, as on a full disk.
#[derive(Debug, Default)]
struct Patience(Option<Instant>);

impl Patience {
    /// Reads something; while the store is away it is tried again for a while, and once when it has been away for long.
    ///
    /// # Errors
    /// It is away. What is not found then would be taken for gone.
    async fn read<T>(
        &mut self,
        store: &dyn Store,
        read: impl Fn() -> Result<T, StoreError>,
    ) -> Result<Result<T, StoreError>, StoreError> {
        loop {
            match read() {
                Err(error) if store.applied().is_err() => {
                    let since = *self.0.get_or_insert_with(Instant::now);
                    if since.elapsed() >= PATIENCE {
                        return Err(error);
                    }
                    tracing::warn!(%error, "the store of orders cannot be read now");
                    tokio::time::sleep(PAUSE).await;
                }
                outcome => {
                    self.0 = None;
                    return Ok(outcome);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use edgeless_orders::{
        record::Record,
        store::{Keep, Rows, Which},
    };
    use edgeless_types::Timestamp;

    use super::*;

    /// A store that is away.
    struct Away;

    impl Store for Away {
        fn applied(&self) -> Result<u64, StoreError> {
            Err(StoreError("no space".to_owned()))
        }
        fn apply(&self, _: &Rows, _: Keep) -> Result<(), StoreError> {
            unreachable!("nothing is written here")
        }
        fn read(&self, _: OrderId) -> Result<Option<Record>, StoreError> {
            Err(StoreError("no space".to_owned()))
        }
        fn find(&self, _: &str, _: &str) -> Result<Option<(OrderId, [u8; 32])>, StoreError> {
            Err(StoreError("no space".to_owned()))
        }
        fn visit(
            &self,
            _: Which,
            _: Option<OrderId>,
            _: &mut dyn FnMut(OrderId, Record) -> ControlFlow<()>,
        ) -> Result<(), StoreError> {
            unreachable!("nothing is listed here")
        }
        fn undelivered(&self) -> Result<Vec<OrderId>, StoreError> {
            Ok(Vec::new())
        }
        fn forget(&self, _: Timestamp, _: usize) -> Result<usize, StoreError> {
            Ok(0)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_is_away_is_waited_for_once_and_those_who_ask_then_are_told() {
        let mut patience = Patience::default();
        let begun = Instant::now();
        let away = Err(StoreError("no space".to_owned()));
        let read = patience.read(&Away, || Away.find("A", "k")).await;
        assert_eq!(read.map(|_| ()), away);
        assert!((PATIENCE..2 * PATIENCE).contains(&begun.elapsed()));
        let begun = Instant::now();
        let read = patience.read(&Away, || Away.find("A", "k")).await;
        assert_eq!((read.map(|_| ()), begun.elapsed()), (away, Duration::ZERO));
        let read = patience.read(&Away, || Ok(5)).await;
        assert_eq!((read, patience.0), (Ok(Ok(5)), None));
    }
}
