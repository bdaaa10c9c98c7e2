//! The sending end of one stream: connects, introduces itself, sends what waits, connects anew.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use backon::{BackoffBuilder, ExponentialBuilder};
use edgeless_daemon::net::PeerUrl;
use edgeless_proto::{
    convert::id_bytes,
    v1::{self, invocation_client::InvocationClient},
};
use edgeless_types::{NodeId, PhysicalId};
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tonic::transport::Endpoint;
use uuid::Uuid;

use super::{LinkCounters, Me, Peers, Tls, credit::Credit, line::Line, load::Report};
use crate::words::in_words;

/// Frames out, receipts in.
type Connection = (mpsc::Sender<v1::Frame>, tonic::Streaming<v1::Receipt>);

/// Events in one frame.
const FRAME_EVENTS: usize = 1_024;
/// Bytes in one frame, but for one event that is larger by itself.
const FRAME_BYTES: usize = 256 << 10;
/// Frames that wait for the connection.
const FRAMES: usize = 4;
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(2);
/// What waits for a peer that cannot be reached for this long is dropped, and counted.
const UNREACHABLE: Duration = Duration::from_secs(30);

/// A link to one peer on behalf of one shard.
pub(super) struct Link {
    pub(super) me: Me,
    pub(super) tls: Option<Tls>,
    pub(super) peer: NodeId,
    pub(super) peers: Peers,
    pub(super) counters: Arc<LinkCounters>,
    pub(super) line: Arc<Line>,
    /// Where it says that a connection broke.
    pub(super) breaks: mpsc::Sender<NodeId>,
}

impl Link {
    /// Runs until it is dropped.
    pub(super) async fn run(self) {
        loop {
            self.line.filled(true).await;
            let (frames, receipts) = match self.reach().await {
                Ok(connection) => connection,
                Err(reason) => {
                    self.give_up(&reason);
                    continue;
                }
            };
            self.line.restart();
            self.exchange(&frames, receipts).await;
        }
    }

    /// Connects, again and again for some time; then says why it could not be done the last time.
    async fn reach(&self) -> Result<Connection, String> {
        let since = Instant::now();
        let mut backoff = backoff();
        loop {
            let reason = match self.connect().await {
                Ok(connection) => return Ok(connection),
                Err(reason) => reason,
            };
            tracing::debug!(peer = %self.peer, reason, "the peer cannot be reached");
            if since.elapsed() > UNREACHABLE {
                return Err(reason);
            }
            tokio::time::sleep(backoff.next().unwrap_or(CONNECT)).await;
        }
    }

    /// The way to the peer, where both speak TLS or neither does.
    fn endpoint(&self) -> Result<Endpoint, String> {
        let url = self.peers.url(self.peer);
        let url = url.ok_or("its address is not known")?;
        let url: PeerUrl = url.parse().map_err(in_words)?;
        let endpoint = Endpoint::from_shared(url.to_string()).map_err(in_words)?;
        match (&url, &self.tls) {
            (PeerUrl::Plain(_), None) => Ok(endpoint),
            (PeerUrl::Tls(_), Some(tls)) => endpoint.tls_config(tls.client()).map_err(in_words),
            (PeerUrl::Plain(_), Some(_)) => Err(format!(
                "it is at `{url}` without TLS, and this node speaks TLS only: `data_plane_tls` must \
                 be set on all nodes or on none"
            )),
            (PeerUrl::Tls(_), None) => Err(format!(
                "it is at `{url}` with TLS only, and this node has none: `data_plane_tls` must be set \
                 on all nodes or on none"
            )),
        }
    }

    pub(super) async fn connect(&self) -> Result<Connection, String> {
        let channel = self
            .endpoint()?
            .connect_timeout(CONNECT)
            .tcp_nodelay(true)
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(8 << 20)
            .http2_keep_alive_interval(Duration::from_secs(5))
            .keep_alive_timeout(Duration::from_secs(5))
            .connect()
            .await
            .map_err(in_words)?;
        let (frames, stream) = mpsc::channel(FRAMES);
        let hello = v1::Hello {
            node_id: id_bytes(&self.me.node_id),
            invocation_url: self.me.invocation_url.clone(),
        };
        let first = v1::Frame {
            hello: Some(hello),
            ..v1::Frame::default()
        };
        frames.try_send(first).map_err(|error| error.to_string())?;
        let mut client = InvocationClient::new(channel);
        let opened = tokio::time::timeout(CONNECT, client.exchange(ReceiverStream::new(stream)));
        let receipts = opened
            .await
            .map_err(|_| "it does not answer".to_owned())?
            .map_err(|status| status.to_string())?
            .into_inner();
        self.counters.connections.fetch_add(1, Relaxed);
        Ok((frames, receipts))
    }

    /// Sends until the connection breaks.
    async fn exchange(
        &self,
        frames: &mpsc::Sender<v1::Frame>,
        mut receipts: tonic::Streaming<v1::Receipt>,
    ) {
        let mut credit = Credit::new();
        let mut batch = Vec::with_capacity(FRAME_EVENTS);
        loop {
            let room = credit.room().min(FRAME_EVENTS);
            let watches = self.line.take(room, FRAME_BYTES, &mut batch);
            let (signals, upwards) = self.line.take_signals();
            let says = !(signals.is_empty() && upwards.is_empty() && watches.is_empty());
            if says || !batch.is_empty() {
                credit.sent(batch.len());
                self.counters.sent.fetch_add(batch.len() as u64, Relaxed);
                let events = batch.drain(..).map(v1::Event::from).collect();
                let frame = v1::Frame {
                    hello: None,
                    events,
                    signals: signals.into_iter().map(v1::Signal::from).collect(),
                    upwards: upwards.into_iter().map(v1::Upward::from).collect(),
                    watches: watches.into_iter().map(watched).collect(),
                };
                if frames.send(frame).await.is_err() {
                    return self.broken(&credit);
                }
            }
            let room = credit.room() > 0;
            tokio::select! {
                biased;
                receipt = receipts.next() => {
                    let Some(Ok(receipt)) = receipt else {
                        return self.broken(&credit);
                    };
                    credit.allow(receipt.allowed_events);
                    self.line.grant(receipt.grants.into_iter().map(granted));
                    self.line.told(receipt.loads.into_iter().map(told));
                }
                () = self.line.filled(room) => {}
            }
        }
    }

    fn broken(&self, credit: &Credit) {
        let in_doubt = credit.in_doubt();
        self.counters.in_doubt.fetch_add(in_doubt, Relaxed);
        tracing::info!(peer = %self.peer, in_doubt, "the connection to a peer broke");
        // Full: whoever is told of those has much to send again already, and of this after a while.
        if let Err(error) = self.breaks.try_send(self.peer) {
            tracing::debug!(%error, "nobody was told that a connection broke");
        }
    }

    fn give_up(&self, reason: &str) {
        let dropped = self.line.clear();
        self.counters.unreachable.fetch_add(dropped as u64, Relaxed);
        tracing::warn!(
            peer = %self.peer, dropped, reason, "messages for an unreachable peer are dropped"
        );
    }
}

fn watched(target: PhysicalId) -> v1::Target {
    let (high, low) = target.uuid().as_u64_pair();
    v1::Target { high, low }
}

fn told(load: v1::TargetLoad) -> Report {
    let target = Uuid::from_u64_pair(load.target_high, load.target_low);
    Report {
        target: PhysicalId::new(target),
        taken: load.taken,
        waiting: load.waiting,
    }
}

fn granted(grant: v1::Grant) -> (PhysicalId, u64) {
    let target = Uuid::from_u64_pair(grant.target_high, grant.target_low);
    (PhysicalId::new(target), grant.weight)
}

fn backoff() -> backon::ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(10))
        .with_max_delay(Duration::from_secs(1))
        .without_max_times()
        .with_jitter()
        .build()
}
