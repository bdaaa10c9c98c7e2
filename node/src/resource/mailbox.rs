//! Resources whose work is done by an asynchronous task: an operator hands messages to it through
//! a bounded mailbox; a full one makes the operator busy, and so upstream waits.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{self, Waker},
};

use bytes::Bytes;
use edgeless_dataflow::{
    Action, Answer, CallRef, Factory, Operator, Outbox, Port, Progress, SpawnContext,
};
use edgeless_types::{
    Timestamp,
    message::{Message, MessageKind},
};
use tokio::{runtime::Handle, sync::mpsc};
use tokio_util::task::TaskTracker;

/// Messages that wait for a task besides those in the inbox of its operator.
const CAPACITY: usize = 256;

/// A message for a task.
#[derive(Debug)]
pub(super) struct Delivery {
    /// What was sent.
    pub(super) payload: Bytes,
    /// When it was created.
    pub(super) created: Timestamp,
    /// Whom to answer; `None` for a cast.
    pub(super) call: Option<CallRef>,
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

/// Answers calls on behalf of a task.
#[derive(Clone, Debug)]
pub(super) struct Replies(Port);

impl Replies {
    /// Answers, if there is somebody to be answered.
    pub(super) async fn answer(&self, call: Option<CallRef>, answer: Answer) {
        if let Some(call) = call
            && let Err(error) = self.0.act(Action::Answer(call, answer)).await
        {
            tracing::debug!(%error, "an answer came too late");
        }
    }
}

/// Makes the operator of a task that runs on the current runtime, owned by `tasks`.
pub(super) fn factory<T, F>(tasks: TaskTracker, task: T) -> Factory
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
        tasks.spawn_on(task(mailbox, Replies(context.port)), &runtime);
        Ok(Box::new(Forwarder {
            sender,
            full,
            waiting: None,
        }))
    })
}

struct Forwarder {
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
            false => Progress::Done,
        }
    }
}

impl Operator for Forwarder {
    fn start(&mut self, _: &mut task::Context<'_>, _: &mut Outbox) -> Progress {
        Progress::Done
    }

    fn on_message(
        &mut self,
        message: Message,
        _: &mut task::Context<'_>,
        _: &mut Outbox,
    ) -> Progress {
        let call = (message.kind == MessageKind::Call).then(|| CallRef::of(&message));
        self.forward(Delivery {
            payload: message.payload,
            created: message.envelope.created,
            call,
        })
    }

    fn on_answer(
        &mut self,
        _: u64,
        _: Answer,
        _: &mut task::Context<'_>,
        _: &mut Outbox,
    ) -> Progress {
        Progress::Done
    }

    fn poll(&mut self, _: &mut task::Context<'_>, _: &mut Outbox) -> Progress {
        match self.waiting.take() {
            Some(delivery) => self.forward(delivery),
            None => Progress::Done,
        }
    }

    fn stop(&mut self, _: &mut Outbox) -> Option<Bytes> {
        None
    }
}
