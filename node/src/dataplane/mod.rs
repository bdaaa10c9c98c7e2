//! The data plane: one stream per peer and shard, in batches, with credits.
//!
//! [`DataPlane`] is the engine's way to other nodes; [`server::serve`] takes what they send. A link
//! that is idle sends at once; a busy one sends all that waits in one frame. Each target has a window
//! of its own; when it or the link is full, the message is given back, so that its sender waits.
//! With [`Tls`] both ends prove by a certificate that they may take part.

#[cfg(test)]
pub(crate) mod certificates;
mod credit;
mod line;
mod link;
mod load;
mod peers;
pub mod server;
mod tls;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64};

use edgeless_dataflow::Remote;
use edgeless_types::{
    InstanceId, NodeId,
    message::{Message, Signal, Upward},
};
use rustc_hash::FxHashMap;
use tokio::{runtime::Handle, sync::mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use line::Line;
pub use peers::Peers;
pub use tls::{Tls, TlsError};

/// Broken connections that the engine has not been told of yet.
const BREAKS: usize = 64;

/// What happened on the links.
#[derive(Debug, Default)]
pub struct LinkCounters {
    /// Messages sent to other nodes.
    pub sent: AtomicU64,
    /// Messages taken from other nodes.
    pub received: AtomicU64,
    /// Dropped: the peer was not reachable for too long.
    pub unreachable: AtomicU64,
    /// Sent on a connection that broke before the peer had taken them; they may be lost.
    pub in_doubt: AtomicU64,
    /// Connections made.
    pub connections: AtomicU64,
    /// Events refused because they could not be read.
    pub malformed: AtomicU64,
}

/// The engine's way to other nodes; cheap to clone.
#[derive(Clone)]
pub struct DataPlane(Arc<Inner>);

struct Inner {
    me: Me,
    tls: Option<Tls>,
    peers: Peers,
    counters: Arc<LinkCounters>,
    links: Vec<Mutex<FxHashMap<NodeId, Arc<Line>>>>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    /// Nodes that send to this one, and over how many streams.
    inbound: Mutex<FxHashMap<NodeId, usize>>,
    breaks: mpsc::Sender<NodeId>,
    /// Until the server takes it.
    broken: Mutex<Option<mpsc::Receiver<NodeId>>>,
}

/// How this node introduces itself.
#[derive(Clone, Debug)]
pub(crate) struct Me {
    pub(crate) node_id: NodeId,
    pub(crate) invocation_url: String,
}

impl DataPlane {
    /// A data plane without links yet; each is made when it is needed, on the runtime of the shard
    /// that needs it, and ends with `shutdown`. With `tls` it speaks with peers that have it as well and
    /// with nobody else, without it with those that have none.
    pub fn new(
        node_id: NodeId,
        invocation_url: String,
        tls: Option<Tls>,
        shards: usize,
        shutdown: CancellationToken,
    ) -> Self {
        let (breaks, broken) = mpsc::channel(BREAKS);
        Self(Arc::new(Inner {
            inbound: Mutex::default(),
            breaks,
            broken: Mutex::new(Some(broken)),
            me: Me {
                node_id,
                invocation_url,
            },
            tls,
            peers: Peers::default(),
            counters: Arc::default(),
            links: (0..shards.max(1)).map(|_| Mutex::default()).collect(),
            tasks: TaskTracker::new(),
            shutdown,
        }))
    }

    /// The node this is the data plane of.
    pub(crate) fn node_id(&self) -> NodeId {
        self.0.me.node_id
    }

    /// What it proves itself with, if it speaks TLS.
    pub(crate) fn tls(&self) -> Option<&Tls> {
        self.0.tls.as_ref()
    }

    /// Where peers take messages.
    pub fn peers(&self) -> &Peers {
        &self.0.peers
    }

    /// What happened on the links.
    pub fn counters(&self) -> &LinkCounters {
        &self.0.counters
    }

    /// Waits until all links have ended; they end with the shutdown.
    pub async fn ended(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    /// The peers to which a connection broke, as they do; for the first who asks.
    pub(crate) fn take_broken(&self) -> Option<mpsc::Receiver<NodeId>> {
        lock(&self.0.broken).take()
    }

    fn connect(&self, peer: NodeId) -> Arc<Line> {
        let line = Arc::<Line>::default();
        let link = self.link(peer, Arc::clone(&line));
        let shutdown = self.0.shutdown.clone();
        let run = async move {
            shutdown.run_until_cancelled(link.run()).await;
        };
        self.0.tasks.spawn_on(run, &Handle::current());
        line
    }

    fn link(&self, peer: NodeId, line: Arc<Line>) -> link::Link {
        link::Link {
            me: self.0.me.clone(),
            tls: self.0.tls.clone(),
            peer,
            peers: self.0.peers.clone(),
            counters: Arc::clone(&self.0.counters),
            line,
            breaks: self.0.breaks.clone(),
        }
    }
}

/// A stream from another node, for as long as it lives.
pub(crate) struct Inbound(DataPlane, NodeId);

impl Inbound {
    pub(crate) fn enter(plane: &DataPlane, peer: NodeId) -> Self {
        *lock(&plane.0.inbound).entry(peer).or_default() += 1;
        Self(plane.clone(), peer)
    }
}

impl Drop for Inbound {
    fn drop(&mut self) {
        let mut inbound = lock(&self.0.0.inbound);
        if let Some(streams) = inbound.get_mut(&self.1) {
            *streams -= 1;
            if *streams == 0 {
                inbound.remove(&self.1);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Remote for DataPlane {
    fn send(&self, shard: usize, node_id: NodeId, message: Message) -> Result<(), Message> {
        let links = &self.0.links[shard % self.0.links.len()];
        let mut links = lock(links);
        let line = links
            .entry(node_id)
            .or_insert_with(|| self.connect(node_id));
        line.push(message)
    }

    fn waiting(&self, shard: usize, instance: InstanceId) -> usize {
        let links = &self.0.links[shard % self.0.links.len()];
        let links = lock(links);
        let line = links.get(&instance.node_id);
        line.map_or(0, |line| line.waiting(instance.physical_id))
    }

    fn upward(&self, shard: usize, upward: &Upward) {
        let inbound = lock(&self.0.inbound);
        for &peer in inbound.keys() {
            let links = &self.0.links[shard % self.0.links.len()];
            let mut links = lock(links);
            let line = links.entry(peer).or_insert_with(|| self.connect(peer));
            line.push_upward(upward.clone());
        }
    }

    fn signal(&self, shard: usize, signal: Signal) {
        let links = &self.0.links[shard % self.0.links.len()];
        let mut links = lock(links);
        let peer = signal.to.node_id;
        let line = links.entry(peer).or_insert_with(|| self.connect(peer));
        line.push_signal(signal);
    }
}
