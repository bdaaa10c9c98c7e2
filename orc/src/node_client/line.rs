//! The stream of steps to one node: open while there are steps, and closed when there have been none for a
//! while, as the connection is pinged for as long as it is open.

use std::{
    pin::pin,
    task::{Context, Waker},
    time::Duration,
};

use edgeless_proto::v1::{self, node_agent_client::NodeAgentClient};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming, transport::Channel};

/// It is closed after so long without steps: before the first ping.
pub(super) const IDLE: Duration = Duration::from_millis(1_800);

/// A node that may be asked.
pub(super) struct Line {
    client: NodeAgentClient<Channel>,
    open: Option<Open>,
}

struct Open {
    requests: mpsc::Sender<v1::ApplyRequest>,
    replies: Streaming<v1::ApplyReply>,
}

impl Line {
    pub(super) fn new(client: NodeAgentClient<Channel>) -> Self {
        Self { client, open: None }
    }

    /// For calls that are none of steps.
    pub(super) fn client(&mut self) -> &mut NodeAgentClient<Channel> {
        &mut self.client
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    pub(super) fn close(&mut self) {
        self.open = None;
    }

    /// Sends steps and waits for what they came to. Whoever stops waiting closes the stream, so that no
    /// answer is taken for another.
    ///
    /// # Errors
    /// There is no connection, or the node refuses.
    pub(super) async fn ask(&mut self, steps: v1::ApplyRequest) -> Result<v1::ApplyReply, Status> {
        let mut open = match self.open.take().and_then(Open::if_quiet) {
            Some(open) => {
                open.requests.try_send(steps).map_err(|_| ended())?;
                open
            }
            None => Open::with(&mut self.client, steps).await?,
        };
        let reply = open.replies.message().await?.ok_or_else(ended)?;
        self.open = Some(open);
        Ok(reply)
    }
}

impl Open {
    async fn with(
        client: &mut NodeAgentClient<Channel>,
        first: v1::ApplyRequest,
    ) -> Result<Self, Status> {
        let (requests, queue) = mpsc::channel(1);
        requests.try_send(first).map_err(|_| ended())?;
        let replies = client.apply(ReceiverStream::new(queue)).await?.into_inner();
        Ok(Self { requests, replies })
    }

    /// Unless something was said that nobody asked for: an answer, or that it is over.
    fn if_quiet(mut self) -> Option<Self> {
        let mut context = Context::from_waker(Waker::noop());
        let next = pin!(self.replies.message()).poll(&mut context);
        next.is_pending().then_some(self)
    }
}

fn ended() -> Status {
    Status::new(Code::Unavailable, "it has ended the stream of steps")
}
