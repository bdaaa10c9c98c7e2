//! Resources whose work is done by an asynchronous task: an operator hands messages to it through
//! a bounded mailbox; a full one makes the operator busy, and so upstream waits.

use std::{
    collections::HashMap,
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{self, Waker},
};

use bytes::Bytes;
use edgeless_dataflow::{
    Action, Answer, CallRef, Factory, Handled, Operator, Outbox, Port, Progress, SpawnContext,
};
use edgeless_types::{
    PhysicalId, Timestamp,
    message::{Message, MessageId, Refusal},
};
use tokio::{
    runtime::Handle,
    sync::{Notify, mpsc},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Messages that wait for a task besides those in the inbox of its operator.
const CAPACITY: usize = 256;

/// Owns all tasks of a node's resources, and knows what they have not finished.
#[derive(Clone, Default)]
pub(super) struct Owner {
    tasks: TaskTracker,
    open: Arc<Mutex<HashMap<PhysicalId, Arc<Open>>>>,
}

/// What the task of an instance has not finished, and whether it may begin anything more.
#[derive(Debug, Default)]
pub(super) struct Open {
    number: AtomicUsize,
    none: Notify,
    closing: CancellationToken,
}

/// An instance among those that the owner knows, until it is dropped.
pub(super) struct Entry {
    id: PhysicalId,
    owner: Owner,
    open: Arc<Open>,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct Unfinished(Arc<Open>);

impl Owner {
    /// Runs something that belongs to a resource.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Enters an instance.
    pub(super) fn enter(&self, id: PhysicalId) -> Entry {
        Entry {
            id,
            owner: self.clone(),
            open: Arc::clone(self.open().entry(id).or_default()),
        }
    }

    /// Tells the task of an instance to begin nothing of its own accord any more, and waits until it has
    /// finished what it was handed or has begun.
    pub(super) async fn idle(&self, id: PhysicalId) {
        let Some(open) = self.open().get(&id).map(Arc::clone) else {
            return;
        };
        open.closing.cancel();
        loop {
            let none = open.none.notified();
            tokio::pin!(none);
            none.as_mut().enable();
            if open.number.load(Ordering::SeqCst) == 0 {
                return;
            }
            none.await;
        }
    }

    #[cfg(test)]
    pub(super) fn is_busy(&self, id: PhysicalId) -> bool {
        let open = self.open().get(&id).map(Arc::clone);
        open.is_some_and(|open| open.number.load(Ordering::SeqCst) > 0)
    }

    /// Waits until all tasks have ended, which they do when their instances have stopped.
    pub(super) async fn finished(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn open(&self) -> MutexGuard<'_, HashMap<PhysicalId, Arc<Open>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Cancelled when the task is to begin nothing of its own accord any more.
    pub(super) fn closing(&self) -> &CancellationToken {
        &self.closing
    }
}

impl Entry {
    /// What the task of the instance has not finished.
    pub(super) fn open(&self) -> &Arc<Open> {
        &self.open
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.owner.open().remove(&self.id);
    }
}

impl Unfinished {
    /// One more thing that is not finished.
    pub(super) fn of(open: &Arc<Open>) -> Self {
        open.number.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(open))
    }

    /// One that belongs to no instance.
    #[cfg(test)]
    pub(super) fn nobodys() -> Self {
        Self::of(&Arc::default())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.0.number.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.none.notify_waiters();
        }
    }
}

/// A message for a task.
#[derive(Debug)]
pub(super) struct Delivery {
    /// What was sent.
    pub(super) payload: Bytes,
    /// Who sent it.
    pub(super) source: PhysicalId,
    /// When it was created.
    pub(super) created: Timestamp,
    /// When it came to the instance.
    pub(super) begin: Timestamp,
    /// Its id, where its sender waits for a signal.
    pub(super) tracked: Option<MessageId>,
    /// Whom to answer; `None` for a cast.
    pub(super) call: Option<CallRef>,
    /// Keeps the instance from counting as idle.
    pub(super) unfinished: Unfinished,
}

impl Delivery {
    fn handled(&self, error: Option<Refusal>) -> Handled {
        Handled {
            source: self.source,
            created: self.created,
            begin: self.begin,
            tracked: self.tracked,
            error,
        }
    }
}

/// Where a task takes its messages from. Ends when its instance stops.
pub(super) struct Mailbox {
    receiver: mpsc::Receiver<Delivery>,
    full: Arc<AtomicBool>,
    waker: Waker,
}

impl Mailbox {
    /// Waits for messages, takes at most `limit`, and returns how many; 0 at the end.
    pub(super) async fn take(&mut self, into: &mut Vec<Delivery>, limit: usize) -> usize {
        let number = self.receiver.recv_many(into, limit).await;
        if self.full.swap(false, Ordering::SeqCst) {
            self.waker.wake_by_ref();
        }
        number
    }
}

/// Says on behalf of a task what became of its messages.
#[derive(Clone, Debug)]
pub(super) struct Replies(Port);

impl Replies {
    /// Messages are handled: answers whoever waits, and records the times.
    pub(super) async fn finish(&self, handled: impl IntoIterator<Item = (Delivery, Answer)>) {
        let (mut times, mut unfinished) = (Vec::new(), Vec::new());
        for (delivery, answer) in handled {
            let error = match (&answer, delivery.tracked) {
                (Answer::Error(text), Some(_)) => Some(Refusal::passing(text.clone())),
                _ => None,
            };
            if let Some(call) = delivery.call
                && let Err(error) = self.0.act(Action::Answer(call, answer)).await
            {
                tracing::debug!(%error, "an answer came too late");
            }
            times.push(delivery.handled(error));
            unfinished.push(delivery.unfinished);
        }
        self.handled(times).await;
    }

    /// A message is not handled; its sender may send it again.
    pub(super) async fn refuse(&self, delivery: Delivery, refusal: Refusal) {
        self.handled(vec![delivery.handled(Some(refusal))]).await;
    }

    async fn handled(&self, messages: Vec<Handled>) {
        if let Err(error) = self.0.handled(messages).await {
            tracing::debug!(%error, "the engine has ended");
        }
    }
}

/// Makes the operator of a task that runs on the current runtime.
pub(super) fn factory<T, F>(owner: Owner, task: T) -> Factory
where
    T: FnOnce(Mailbox, Replies) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let runtime = Handle::current();
    Box::new(move |context: SpawnContext| {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        let full = Arc::new(AtomicBool::new(false));
        let mailbox = Mailbox {
            receiver,
            full: Arc::clone(&full),
            waker: context.waker,
        };
        let entry = owner.enter(context.me.physical_id);
        let running = task(mailbox, Replies(context.port));
        owner.tasks.spawn_on(running, &runtime);
        Ok(Box::new(Forwarder {
            entry,
            sender,
            full,
            waiting: None,
        }))
    })
}

struct Forwarder {
    entry: Entry,
    sender: mpsc::Sender<Delivery>,
    full: Arc<AtomicBool>,
    waiting: Option<Delivery>,
}

impl Forwarder {
    fn forward(&mut self, delivery: Delivery) -> Progress {
        let Err(mpsc::error::TrySendError::Full(delivery)) = self.sender.try_send(delivery) else {
            return self.open();
        };
        // Only after the flag is up can a task that takes meanwhile know that it must wake us.
        self.full.store(true, Ordering::SeqCst);
        match self.sender.try_send(delivery) {
            Err(mpsc::error::TrySendError::Full(delivery)) => {
                self.waiting = Some(delivery);
                Progress::Busy
            }
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => self.open(),
        }
    }

    fn open(&self) -> Progress {
        match self.sender.is_closed() {
            true => Progress::Failed("the task of the resource has ended".to_owned()),
            false => Progress::Taken,
        }
    }
}

impl Operator for Forwarder {
    fn on_message(
        &mut self,
        message: Message,
        _: &mut task::Context<'_>,
        out: &mut Outbox,
    ) -> Progress {
        let call = CallRef::of_call(&message);
        self.forward(Delivery {
            tracked: message.is_tracked().then_some(message.id),
            source: message.source.physical_id,
            payload: message.payload,
            created: message.envelope.created,
            begin: out.now,
            call,
            unfinished: Unfinished::of(self.entry.open()),
        })
    }

    fn poll(&mut self, _: &mut task::Context<'_>, _: &mut Outbox) -> Progress {
        match self.waiting.take() {
            Some(delivery) => self.forward(delivery),
            None => Progress::Done,
        }
    }
}
