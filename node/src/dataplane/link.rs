//! The sending end of one stream: connects, introduces itself, sends what waits, connects anew.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use backon::{BackoffBuilder, ExponentialBuilder};
use edgeless_proto::{
    convert::id_bytes,
    v1::{self, invocation_client::InvocationClient},
};
use edgeless_types::{NodeId, message::Message};
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tonic::transport::Endpoint;

use super::{LinkCounters, Me, Peers, credit::Credit};

/// Events in one frame.
const FRAME_EVENTS: usize = 1_024;
/// Frames that wait for the connection.
const FRAMES: usize = 4;
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(2);
/// What waits for a peer that cannot be reached for this long is dropped, and counted.
const UNREACHABLE: Duration = Duration::from_secs(30);

/// A link to one peer on behalf of one shard.
pub(super) struct Link {
    pub(super) me: Me,
    pub(super) peer: NodeId,
    pub(super) peers: Peers,
    pub(super) counters: Arc<LinkCounters>,
}

impl Link {
    /// Runs until the queue is closed.
    pub(super) async fn run(self, mut queue: mpsc::Receiver<Message>) {
        let mut waiting: Vec<v1::Event> = Vec::new();
        let mut backoff = backoff();
        let mut since = Instant::now();
        loop {
            if waiting.is_empty() {
                match queue.recv().await {
                    Some(message) => waiting.push(message.into()),
                    None => return,
                }
                since = Instant::now();
            }
            match self.connect().await {
                Ok((frames, receipts)) => {
                    backoff = self::backoff();
                    let ended = self
                        .exchange(&mut queue, &mut waiting, &frames, receipts)
                        .await;
                    since = Instant::now();
                    if ended {
                        return;
                    }
                }
                Err(reason) => {
                    tracing::debug!(peer = %self.peer, reason, "the peer cannot be reached");
                    if since.elapsed() > UNREACHABLE {
                        self.give_up(&mut queue, &mut waiting);
                        continue;
                    }
                    tokio::time::sleep(backoff.next().unwrap_or(CONNECT)).await;
                }
            }
        }
    }

    async fn connect(
        &self,
    ) -> Result<(mpsc::Sender<v1::Frame>, tonic::Streaming<v1::Receipt>), String> {
        let url = self
            .peers
            .url(self.peer)
            .ok_or("its address is not known")?;
        let channel = Endpoint::from_shared(url.to_string())
            .map_err(|error| error.to_string())?
            .connect_timeout(CONNECT)
            .tcp_nodelay(true)
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(8 << 20)
            .http2_keep_alive_interval(Duration::from_secs(5))
            .keep_alive_timeout(Duration::from_secs(5))
            .connect()
            .await
            .map_err(|error| error.to_string())?;
        let (frames, stream) = mpsc::channel(FRAMES);
        let hello = v1::Hello {
            node_id: id_bytes(&self.me.node_id),
            invocation_url: self.me.invocation_url.clone(),
        };
        let first = v1::Frame {
            hello: Some(hello),
            events: Vec::new(),
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

    /// Sends until the connection breaks (false) or the queue is closed (true).
    async fn exchange(
        &self,
        queue: &mut mpsc::Receiver<Message>,
        waiting: &mut Vec<v1::Event>,
        frames: &mpsc::Sender<v1::Frame>,
        mut receipts: tonic::Streaming<v1::Receipt>,
    ) -> bool {
        let mut credit = Credit::new();
        let mut batch = Vec::with_capacity(FRAME_EVENTS);
        loop {
            let number = credit.take(waiting.len().min(FRAME_EVENTS));
            if number > 0 {
                let events: Vec<_> = waiting.drain(..number).collect();
                let frame = v1::Frame {
                    hello: None,
                    events,
                };
                if frames.send(frame).await.is_err() {
                    self.broken(&credit);
                    return false;
                }
                self.counters.sent.fetch_add(number as u64, Relaxed);
                if !waiting.is_empty() {
                    continue;
                }
            }
            tokio::select! {
                biased;
                receipt = receipts.next() => {
                    let Some(Ok(receipt)) = receipt else {
                        self.broken(&credit);
                        return false;
                    };
                    credit.allow(receipt.allowed_events);
                }
                taken = queue.recv_many(&mut batch, FRAME_EVENTS), if waiting.is_empty() => {
                    if taken == 0 {
                        return true;
                    }
                    waiting.extend(batch.drain(..).map(v1::Event::from));
                }
            }
        }
    }

    fn broken(&self, credit: &Credit) {
        let in_doubt = credit.in_doubt();
        self.counters.in_doubt.fetch_add(in_doubt, Relaxed);
        tracing::info!(peer = %self.peer, in_doubt, "the connection to a peer broke");
    }

    fn give_up(&self, queue: &mut mpsc::Receiver<Message>, waiting: &mut Vec<v1::Event>) {
        let mut dropped = waiting.len() as u64;
        waiting.clear();
        while queue.try_recv().is_ok() {
            dropped += 1;
        }
        self.counters.unreachable.fetch_add(dropped, Relaxed);
        tracing::warn!(peer = %self.peer, dropped, "messages for an unreachable peer are dropped");
    }
}

fn backoff() -> backon::ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(10))
        .with_max_delay(Duration::from_secs(1))
        .without_max_times()
        .with_jitter()
        .build()
}
