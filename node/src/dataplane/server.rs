//! The receiving end: takes frames, hands their messages to the engine, grants credit.

use std::{
    pin::Pin,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use edgeless_daemon::net::Bound;
use edgeless_dataflow::Engine;
use edgeless_proto::{
    convert::{ConvertError, id_from_wire, signal_from_wire},
    v1::{
        self,
        invocation_server::{Invocation, InvocationServer},
    },
};
use edgeless_types::{
    NodeId, PhysicalId,
    message::{Message, Signal, Upward},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
};
use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

use super::{
    DataPlane, Inbound, LinkCounters, Peers,
    credit::{Due, Grants},
    load::{Report, Watch},
};

/// The largest frame that is taken.
const FRAME_BYTES: usize = 64 << 20;
/// The largest piece in which HTTP/2 carries a frame: large payloads come in few pieces.
const HTTP_FRAME: u32 = 512 << 10;
/// Connections that wait for one server.
const CONNECTIONS: usize = 64;
/// How long nothing is accepted after a connection was not, as descriptors may be out.
const NOT_ACCEPTED: Duration = Duration::from_millis(50);
/// How soon a target without room is looked at again.
const RECHECK: Duration = Duration::from_millis(1);

struct Service {
    engine: Engine,
    plane: DataPlane,
    shutdown: CancellationToken,
}

/// Serves the data plane until shutdown. Connections take turns over the shards: what comes in on one
/// is read on the thread of its shard. Where the data plane has TLS, nobody gets in without.
///
/// # Errors
/// A server fails.
pub async fn serve(
    bound: Bound,
    engine: Engine,
    plane: DataPlane,
    shutdown: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let (mut connections, mut servers) = (Vec::new(), JoinSet::new());
    for runtime in engine.runtimes() {
        let (give, take) = mpsc::channel(CONNECTIONS);
        connections.push(give);
        let service = Service {
            engine: engine.clone(),
            plane: plane.clone(),
            shutdown: shutdown.clone(),
        };
        let service = InvocationServer::new(service).max_decoding_message_size(FRAME_BYTES);
        let mut builder = tonic::transport::Server::builder();
        if let Some(tls) = plane.tls() {
            builder = builder.tls_config(tls.server())?;
        }
        let server = builder
            .initial_stream_window_size(4 << 20)
            .max_frame_size(HTTP_FRAME)
            .initial_connection_window_size(8 << 20)
            .add_service(service)
            .serve_with_incoming_shutdown(
                ReceiverStream::new(take).map(registered),
                shutdown.clone().cancelled_owned(),
            );
        servers.spawn_on(server, runtime);
    }
    let accepting = accept(bound.listener, &connections);
    let telling = tell_of_breaks(&engine, plane.take_broken());
    shutdown
        .run_until_cancelled(async { tokio::join!(accepting, telling) })
        .await;
    drop(connections);
    while let Some(ended) = servers.join_next().await {
        match ended {
            Ok(outcome) => outcome?,
            Err(error) => tracing::debug!(%error, "the engine has ended before its server"),
        }
    }
    Ok(())
}

/// Tells the engine of connections that broke: it sends again what may be lost.
async fn tell_of_breaks(engine: &Engine, broken: Option<mpsc::Receiver<NodeId>>) {
    let Some(mut broken) = broken else { return };
    while let Some(peer) = broken.recv().await {
        engine.lost(peer).await;
    }
}

/// Hands connections to the servers in turn.
async fn accept(listener: TcpListener, servers: &[mpsc::Sender<std::net::TcpStream>]) {
    for server in servers.iter().cycle() {
        let accepted = listener.accept().await;
        let stream = accepted.and_then(|(stream, _)| {
            stream.set_nodelay(true)?;
            stream.into_std()
        });
        match stream {
            Ok(stream) => {
                if server.send(stream).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(NOT_ACCEPTED).await;
            }
        }
    }
}

/// The connection as one of the runtime that is current here.
fn registered(stream: std::net::TcpStream) -> std::io::Result<TcpStream> {
    TcpStream::from_std(stream)
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
        let inbound = Inbound::enter(&plane, peer);
        tokio::spawn(async move {
            let _inbound = inbound;
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
    let (mut grants, mut watch) = (Grants::default(), Watch::default());
    loop {
        let withheld = grants.are_withheld().then(|| Instant::now() + RECHECK);
        let frame = match withheld.into_iter().chain(watch.due()).min() {
            Some(at) => tokio::select! {
                biased;
                frame = frames.message() => frame,
                () = tokio::time::sleep_until(at.into()) => Ok(Some(v1::Frame::default())),
                () = engine.idle(), if watch.due().is_some() => {
                    watch.hurry(Instant::now());
                    Ok(Some(v1::Frame::default()))
                }
            },
            None => frames.message().await,
        };
        let Ok(Some(mut frame)) = frame else { return };
        if !frame.watches.is_empty() {
            let watches = std::mem::take(&mut frame.watches).into_iter().map(watched);
            let watches = watches.inspect(|&target| engine.watch(target));
            let is_gone = |target| engine.load(target).is_none();
            watch.begin(watches.collect(), is_gone, Instant::now());
        }
        let number = frame.events.len();
        let Contents {
            signals,
            upwards,
            messages,
        } = read(frame, plane.node_id(), plane.counters());
        if !signals.is_empty() {
            engine.deliver_signals(signals).await;
        }
        if !upwards.is_empty() {
            engine.deliver_upwards(upwards).await;
        }
        if number > 0 {
            grants.taken(&messages);
            watch.taken(&messages, Instant::now());
            grants.discarded((number - messages.len()) as u64);
            engine.deliver(messages).await;
        }
        let due = grants.due(|target| engine.is_open(target));
        let loads = watch.reports(Instant::now(), |target| engine.load(target));
        if (due.is_some() || !loads.is_empty())
            && receipts.send(Ok(receipt(due, loads))).await.is_err()
        {
            return;
        }
    }
}

fn watched(target: v1::Target) -> PhysicalId {
    PhysicalId::new(Uuid::from_u64_pair(target.high, target.low))
}

fn receipt(due: Option<Due>, loads: Vec<Report>) -> v1::Receipt {
    let grant = |(target, weight): (PhysicalId, u64)| {
        let (target_high, target_low) = target.uuid().as_u64_pair();
        v1::Grant {
            target_high,
            target_low,
            weight,
        }
    };
    let load = |report: Report| {
        let (target_high, target_low) = report.target.uuid().as_u64_pair();
        v1::TargetLoad {
            target_high,
            target_low,
            taken: report.taken,
            waiting: report.waiting,
        }
    };
    let due = due.unwrap_or_default();
    v1::Receipt {
        allowed_events: due.allowed,
        grants: due.grants.into_iter().map(grant).collect(),
        loads: loads.into_iter().map(load).collect(),
    }
}

/// What a frame brings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// What is said about messages; to be delivered first.
    pub signals: Vec<Signal>,
    /// What instances say to those who send to them.
    pub upwards: Vec<Upward>,
    /// Messages.
    pub messages: Vec<Message>,
}

/// What a frame brings to the node `here`. What cannot be read is left out and counted.
pub fn read(frame: v1::Frame, here: NodeId, counters: &LinkCounters) -> Contents {
    let events = frame.events.len() as u64;
    counters.received.fetch_add(events, Relaxed);
    let signals = frame.signals.into_iter();
    let signals = signals.map(|signal| signal_from_wire(signal, here));
    let messages = frame.events.into_iter().map(Message::try_from);
    let upwards = frame.upwards.into_iter().map(Upward::try_from);
    Contents {
        signals: readable(signals, counters),
        upwards: readable(upwards, counters),
        messages: readable(messages, counters),
    }
}

fn readable<T>(
    read: impl ExactSizeIterator<Item = Result<T, ConvertError>>,
    counters: &LinkCounters,
) -> Vec<T> {
    let mut into = Vec::with_capacity(read.len());
    for outcome in read {
        match outcome {
            Ok(it) => into.push(it),
            Err(error) => {
                counters.malformed.fetch_add(1, Relaxed);
                tracing::debug!(%error, "a part of a frame cannot be read");
            }
        }
    }
    into
}
