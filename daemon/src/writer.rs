//! A thread of its own that writes to an embedded store: what comes together is committed together. After a failed
//! commit the store is opened anew before the next one. What is written, and where, is for the caller.

use tokio::sync::{mpsc, oneshot};

/// Requests that wait for the disk.
const QUEUE: usize = 4_096;

/// A write that is not on disk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WriteError(pub String);

/// A store as its writer uses it.
pub trait Committed: Send + Sized + 'static {
    /// One change.
    type Write: Send + 'static;

    /// Makes the changes durable, in their order, all of them or none.
    ///
    /// # Errors
    /// The disk refuses them, in words. The store is not used any more then, but opened anew.
    fn commit(&mut self, writes: &[Self::Write]) -> Result<(), String>;
}

enum Request<W> {
    Write(Vec<W>, oneshot::Sender<Result<(), WriteError>>),
    Close(oneshot::Sender<()>),
}

/// The way to the thread. It ends, and lets go of the store, when all clones are gone.
pub struct Writer<W> {
    requests: mpsc::Sender<Request<W>>,
}

impl<W> Clone for Writer<W> {
    fn clone(&self) -> Self {
        Self {
            requests: self.requests.clone(),
        }
    }
}

/// The outcome of a write that was handed over.
#[derive(Debug)]
pub struct Written(oneshot::Receiver<Result<(), WriteError>>);

impl Written {
    /// Returns when the writes are on disk; it can be given up and asked again.
    ///
    /// # Errors
    /// The disk refuses them, or the store is closed.
    pub async fn outcome(&mut self) -> Result<(), WriteError> {
        (&mut self.0).await.map_err(|_| closed())?
    }
}

impl<W: Send + 'static> Writer<W> {
    /// Starts the thread. `reopen` opens the store again after a commit that failed; its error is that of the writes
    /// that wait for it.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn spawn<S: Committed<Write = W>>(
        store: S,
        reopen: impl Fn() -> Result<S, String> + Send + 'static,
    ) -> std::io::Result<Self> {
        let (requests, queue) = mpsc::channel(QUEUE);
        std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || run(store, &reopen, queue))?;
        Ok(Self { requests })
    }

    /// Returns when the writes are on disk, all of them or none.
    ///
    /// # Errors
    /// The disk refuses them, or the store is closed.
    pub async fn write(&self, writes: Vec<W>) -> Result<(), WriteError> {
        let (done, written) = oneshot::channel();
        let request = Request::Write(writes, done);
        self.requests.send(request).await.map_err(|_| closed())?;
        Written(written).outcome().await
    }

    /// Hands writes over without waiting for them. When too many wait already, or the store is closed, that is their
    /// outcome.
    pub fn submit(&self, writes: Vec<W>) -> Written {
        let (done, written) = oneshot::channel();
        let request = Request::Write(writes, done);
        // Of a store that is closed the sender is dropped, which says so.
        if let Err(mpsc::error::TrySendError::Full(Request::Write(_, done))) =
            self.requests.try_send(request)
        {
            let full = WriteError(format!("{QUEUE} writes wait for the disk already"));
            done.send(Err(full)).ok();
        }
        Written(written)
    }

    /// Finishes what was asked for before and lets go of the store.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.requests.send(Request::Close(done)).await.is_ok() {
            // An error says that somebody else has closed it.
            closed.await.ok();
        }
    }
}

fn closed() -> WriteError {
    WriteError("the store is closed".to_owned())
}

fn run<S: Committed>(
    store: S,
    reopen: &dyn Fn() -> Result<S, String>,
    mut queue: mpsc::Receiver<Request<S::Write>>,
) {
    let mut store = Some(store);
    let mut closing = None;
    let mut waiting = Vec::new();
    while closing.is_none()
        && let Some(first) = queue.blocking_recv()
    {
        let mut writes = Vec::new();
        let mut next = Some(first);
        while let Some(request) = next {
            match request {
                Request::Write(more, done) => {
                    writes.extend(more);
                    waiting.push(done);
                }
                Request::Close(done) => closing = Some(done),
            }
            next = match closing {
                None => queue.try_recv().ok(),
                Some(_) => None,
            };
        }
        if waiting.is_empty() {
            continue;
        }
        let outcome = commit(&mut store, reopen, &writes);
        for done in waiting.drain(..) {
            if done.send(outcome.clone()).is_err() {
                tracing::debug!("nobody waited for a write");
            }
        }
    }
    drop((store, queue));
    if let Some(closing) = closing
        && closing.send(()).is_err()
    {
        tracing::debug!("nobody waited for the store to close");
    }
}

/// A store that has failed is let go of: it may be used only after it was opened anew.
fn commit<S: Committed>(
    store: &mut Option<S>,
    reopen: &dyn Fn() -> Result<S, String>,
    writes: &[S::Write],
) -> Result<(), WriteError> {
    let mut open = match store.take() {
        Some(store) => store,
        None => reopen().map_err(WriteError)?,
    };
    open.commit(writes).map_err(WriteError)?;
    *store = Some(open);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Keeps numbers; zero is refused, and so is everything after it until it is opened anew.
    struct Numbers(Arc<Mutex<Vec<u32>>>);

    impl Committed for Numbers {
        type Write = u32;

        fn commit(&mut self, writes: &[u32]) -> Result<(), String> {
            if writes.contains(&0) {
                return Err("no zeros".to_owned());
            }
            self.0.lock().unwrap().extend(writes);
            Ok(())
        }
    }

    fn writer() -> (Writer<u32>, Arc<Mutex<Vec<u32>>>) {
        let kept = Arc::default();
        let again = Arc::clone(&kept);
        let reopen = move || Ok(Numbers(Arc::clone(&again)));
        let writer = Writer::spawn(Numbers(Arc::clone(&kept)), reopen).unwrap();
        (writer, kept)
    }

    #[tokio::test]
    async fn writes_keep_their_order_and_are_done_when_it_is_closed() {
        let (writer, kept) = writer();
        let mut written: Vec<_> = (1..=100)
            .map(|number| writer.submit(vec![number]))
            .collect();
        writer.close().await;
        for one in &mut written {
            assert_eq!(one.outcome().await, Ok(()));
        }
        assert_eq!(*kept.lock().unwrap(), (1..=100).collect::<Vec<_>>());
        assert_eq!(writer.write(vec![1]).await, Err(closed()));
    }

    #[tokio::test]
    async fn after_a_refused_write_it_goes_on() {
        let (writer, kept) = writer();
        assert!(writer.write(vec![1, 0]).await.is_err());
        assert_eq!(writer.write(vec![2]).await, Ok(()));
        assert_eq!(*kept.lock().unwrap(), [2]);
    }
}
