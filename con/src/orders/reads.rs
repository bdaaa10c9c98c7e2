//! Reads orders and keys from the store for the owner, which never waits for a disk.

use std::{sync::Arc, time::Duration};

use edgeless_orders::{
    book::Event,
    store::{Store, StoreError},
    tasks::Lists,
};
use edgeless_types::OrderId;
use tokio::sync::mpsc;

use super::{Post, body_of};

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
    while let Some(read) = reads.recv().await {
        let event = match read {
            Read::Order(id) => {
                let row = when_there(&*store, || store.read(id))
                    .await
                    .and_then(|record| record.map(|record| body_of(record, &lists)).transpose());
                let body = row.unwrap_or_else(|error| {
                    tracing::error!(order = %id, %error, "an order cannot be read");
                    None
                });
                let body = body.map(Box::new);
                Event::Loaded { id, body }
            }
            Read::Key(client, key) => {
                let found = when_there(&*store, || store.find(&client, &key)).await;
                let found = found.unwrap_or_else(|error| {
                    tracing::error!(%error, "an idempotency key cannot be looked up");
                    None
                });
                Event::Found { client, key, found }
            }
        };
        let Some(inbox) = inbox.upgrade() else { return };
        if inbox.send(Post::Event(event)).await.is_err() {
            return;
        }
    }
}

/// Reads something; as long as the store as a whole cannot be read, as on a full disk, it is tried again. What is not
/// found while it is away would be taken for gone.
async fn when_there<T>(
    store: &dyn Store,
    read: impl Fn() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    loop {
        match read() {
            Err(error) if store.applied().is_err() => {
                tracing::warn!(%error, "the store of orders cannot be read now");
                tokio::time::sleep(PAUSE).await;
            }
            outcome => return outcome,
        }
    }
}
