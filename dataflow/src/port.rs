//! How asynchronous parts of a resource reach the engine.

use std::time::Duration;

use bytes::Bytes;
use edgeless_types::{
    InstanceId, PhysicalId, Timestamp,
    message::{MessageId, Refusal},
};
use tokio::sync::{mpsc, oneshot};

use crate::{
    operator::{Action, Answer, Destination},
    output::ChannelName,
    shard::Inject,
};

/// Why a message from a port was not sent, or a call not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// The output channel leads nowhere.
    #[error("output `{0}` leads nowhere")]
    Unmapped(String),
    /// The output channel leads to an instance that does not run now.
    #[error("output `{0}` leads to a vertex that does not run now")]
    Waiting(String),
    /// No answer in time.
    #[error("no answer in time")]
    Deadline,
    /// The callee failed.
    #[error("{0}")]
    Failed(String),
    /// The instance or the engine has ended.
    #[error("the instance has ended")]
    Stopped,
}

/// What a call of a port came to, and where it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Called {
    /// The instance that was called; None: it went to none, or it is not known to which.
    pub to: Option<InstanceId>,
    /// The answer, or why there is none.
    pub answer: Result<Answer, PortError>,
}

impl Called {
    /// One that went nowhere.
    pub(crate) fn nowhere(error: PortError) -> Self {
        Self {
            to: None,
            answer: Err(error),
        }
    }
}

/// A message that a task took over ([`Progress::Taken`](crate::Progress::Taken)) and is done with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handled {
    /// Who sent it.
    pub source: PhysicalId,
    /// When it was created.
    pub created: Timestamp,
    /// When its handling began.
    pub begin: Timestamp,
    /// Its id, where its sender waits for a signal.
    pub tracked: Option<MessageId>,
    /// Why it could not be handled.
    pub error: Option<Refusal>,
}

/// Sends on behalf of one instance; may be cloned and used on any thread.
#[derive(Clone, Debug)]
pub struct Port {
    me: InstanceId,
    inject: mpsc::Sender<Inject>,
}

impl Port {
    pub(crate) fn new(me: InstanceId, inject: mpsc::Sender<Inject>) -> Self {
        Self { me, inject }
    }

    /// The instance this sends for.
    pub fn instance(&self) -> InstanceId {
        self.me
    }

    /// Sends on an output channel; waits while the way is full.
    ///
    /// # Errors
    /// The channel leads nowhere, or the instance has ended.
    pub async fn cast(&self, channel: &str, payload: Bytes) -> Result<(), PortError> {
        self.send(channel, payload, false).await
    }

    /// Sends on an output channel on which messages are delivered at least once, and waits until the
    /// message is acknowledged: handled, and all that came of it. On other channels it only waits until
    /// the message is sent. If this is dropped before, who got the message learns that nobody waits.
    ///
    /// # Errors
    /// The message was given up, or the instance has ended.
    pub async fn deliver(&self, channel: &str, payload: Bytes) -> Result<(), PortError> {
        let mut waits = Waits(Some(&self.inject));
        let outcome = self.send(channel, payload, true).await;
        waits.0 = None;
        outcome
    }

    async fn send(&self, channel: &str, payload: Bytes, handled: bool) -> Result<(), PortError> {
        let (done, accepted) = oneshot::channel();
        let channel = ChannelName::from_slice(channel.as_bytes());
        let inject = Inject::PortCast {
            from: self.me.physical_id,
            channel,
            payload,
            handled,
            done,
        };
        self.inject
            .send(inject)
            .await
            .map_err(|_| PortError::Stopped)?;
        accepted.await.map_err(|_| PortError::Stopped)?
    }

    /// Calls on an output channel and waits for the answer; `None` when the callee has none. If this is
    /// dropped before, the callee learns that nobody waits.
    ///
    /// # Errors
    /// The channel leads nowhere or to nothing that runs, the callee fails or does not answer
    /// within `timeout`, or the instance has ended.
    pub async fn call(
        &self,
        channel: &str,
        payload: Bytes,
        timeout: Duration,
    ) -> Result<Option<Bytes>, PortError> {
        match self.ask(channel, payload, timeout).await.answer? {
            Answer::Reply(payload) => Ok(Some(payload)),
            Answer::NoReply => Ok(None),
            Answer::Error(text) => Err(PortError::Failed(text)),
        }
    }

    /// Calls as [`Port::call`] does, and says which instance was called.
    pub async fn ask(&self, channel: &str, payload: Bytes, timeout: Duration) -> Called {
        let (done, answer) = oneshot::channel();
        let channel = ChannelName::from_slice(channel.as_bytes());
        let from = self.me.physical_id;
        let inject = Inject::PortCall {
            from,
            channel,
            payload,
            timeout,
            done,
        };
        if self.inject.send(inject).await.is_err() {
            return Called::nowhere(PortError::Stopped);
        }
        let mut waits = Waits(Some(&self.inject));
        let called = answer.await;
        waits.0 = None;
        called.unwrap_or_else(|_| Called::nowhere(PortError::Stopped))
    }

    /// Lets the instance do something, such as answer a call that its operator took earlier.
    ///
    /// # Errors
    /// The instance or the engine has ended.
    pub async fn act(&self, action: Action) -> Result<(), PortError> {
        let inject = Inject::Act {
            from: self.me.physical_id,
            action,
        };
        self.inject
            .send(inject)
            .await
            .map_err(|_| PortError::Stopped)
    }

    /// Records that messages are handled now, and tells those who wait for it.
    ///
    /// # Errors
    /// The engine has ended.
    pub async fn handled(&self, messages: Vec<Handled>) -> Result<(), PortError> {
        let from = self.me.physical_id;
        let inject = Inject::Handled { from, messages };
        self.inject
            .send(inject)
            .await
            .map_err(|_| PortError::Stopped)
    }

    /// A destination by the name of an output channel.
    pub fn channel(name: &str) -> Destination {
        Destination::Channel(ChannelName::from_slice(name.as_bytes()))
    }
}

/// Tells the shard when whoever waits goes away before there is an outcome.
struct Waits<'a>(Option<&'a mpsc::Sender<Inject>>);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        // Full: the shard looks for those who have gone once a second anyway.
        if let Some(inject) = self.0
            && let Err(error) = inject.try_send(Inject::HungUp)
        {
            tracing::debug!(%error, "a shard learns later that nobody waits");
        }
    }
}
