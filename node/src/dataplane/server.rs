//! The receiving end: takes frames, hands their messages to the engine, grants credit.

use std::{pin::Pin, sync::atomic::Ordering::Relaxed, time::Duration};

use edgeless_daemon::net::Bound;
use edgeless_dataflow::Engine;
use edgeless_proto::{
    convert::id_from_wire,
    v1::{
        self,
        invocation_server::{Invocation, InvocationServer},
    },
};
use edgeless_types::{NodeId, PhysicalId, message::Message};
use tokio::sync::mpsc;
use tokio_stream::{
    Stream, StreamExt,
    wrappers::{ReceiverStream, TcpListenerStream},
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::{
    DataPlane, LinkCounters, Peers,
    credit::{Due, Grants},
};

/// The largest frame that is taken.
const FRAME_BYTES: usize = 64 << 20;
/// How soon a target without room is looked at again.
const RECHECK: Duration = Duration::from_millis(1);

struct Service {
    engine: Engine,
    plane: DataPlane,
    shutdown: CancellationToken,
}

/// Serves the data plane until shutdown.
///
/// # Errors
/// The listener fails.
pub async fn serve(
    bound: Bound,
    engine: Engine,
    plane: DataPlane,
    shutdown: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let service = Service {
        engine,
        plane,
        shutdown: shutdown.clone(),
    };
    let service = InvocationServer::new(service).max_decoding_message_size(FRAME_BYTES);
    let incoming = TcpListenerStream::new(bound.listener).map(|stream| {
        stream.inspect(|stream| {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "no TCP_NODELAY");
            }
        })
    });
    tonic::transport::Server::builder()
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(8 << 20)
        .add_service(service)
        .serve_with_incoming_shutdown(incoming, shutdown.cancelled_owned())
        .await
}

#[tonic::async_trait]
impl Invocation for Service {
    type ExchangeStream = Pin<Box<dyn Stream<Item = Result<v1::Receipt, Status>> + Send>>;

    async fn exchange(
        &self,
        request: Request<Streaming<v1::Frame>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        let mut frames = request.into_inner();
        let first = frames.message().await?.and_then(|frame| frame.hello);
        let hello = first.ok_or_else(|| {
            Status::invalid_argument("field `hello`: the first frame must say who opens the stream")
        })?;
        let peer: NodeId = id_from_wire(&hello.node_id, "hello.node_id")?;
        let peers: &Peers = self.plane.peers();
        peers.learn(peer, &hello.invocation_url);
        let (receipts, stream) = mpsc::channel(16);
        let (engine, plane) = (self.engine.clone(), self.plane.clone());
        let shutdown = self.shutdown.clone();
        tokio::spawn(async move {
            let taking = take(frames, engine, plane, receipts);
            if shutdown.run_until_cancelled(taking).await.is_none() {
                tracing::debug!(%peer, "a stream ends with the node");
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

async fn take(
    mut frames: Streaming<v1::Frame>,
    engine: Engine,
    plane: DataPlane,
    receipts: mpsc::Sender<Result<v1::Receipt, Status>>,
) {
    let mut grants = Grants::default();
    loop {
        let frame = if grants.are_withheld() {
            match tokio::time::timeout(RECHECK, frames.message()).await {
                Ok(frame) => frame,
                Err(_) => Ok(Some(v1::Frame::default())),
            }
        } else {
            frames.message().await
        };
        let Ok(Some(frame)) = frame else { return };
        let number = frame.events.len();
        if number > 0 {
            let messages = read(frame.events, plane.counters());
            grants.taken(&messages);
            grants.discarded((number - messages.len()) as u64);
            engine.deliver(messages).await;
        }
        if let Some(due) = grants.due(|target| engine.is_open(target))
            && receipts.send(Ok(receipt(due))).await.is_err()
        {
            return;
        }
    }
}

fn receipt(due: Due) -> v1::Receipt {
    let grant = |(target, weight): (PhysicalId, u64)| {
        let (target_high, target_low) = target.uuid().as_u64_pair();
        v1::Grant {
            target_high,
            target_low,
            weight,
        }
    };
    v1::Receipt {
        allowed_events: due.allowed,
        grants: due.grants.into_iter().map(grant).collect(),
    }
}

fn read(events: Vec<v1::Event>, counters: &LinkCounters) -> Vec<Message> {
    counters.received.fetch_add(events.len() as u64, Relaxed);
    let mut messages = Vec::with_capacity(events.len());
    for event in events {
        match Message::try_from(event) {
            Ok(message) => messages.push(message),
            Err(error) => {
                counters.malformed.fetch_add(1, Relaxed);
                tracing::debug!(%error, "an event cannot be read");
            }
        }
    }
    messages
}
